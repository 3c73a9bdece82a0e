"""The files of a prepared CIFAR-10: sizes and sha256, recorded when we wrote them, verified at every reading.

`checksums.json` stands beside the files that `cifar10_archive.prepare` wrote. A data set that tfds itself prepared
has none: then array_record's own hashes of the images and labels are all that guards it until it is decoded.
"""

import hashlib
import json
from pathlib import Path

from mlp_jax.errors import UserError
from mlp_jax.files import open_regular

CHECKSUMS = "checksums.json"
METADATA = ("dataset_info.json", "features.json", "label.labels.txt")

Sources = dict[str, list[int | str]]
"""Size in bytes and sha256 of every file of a prepared data set, by file name."""


def verified(directory: Path) -> Sources:
    """The files as they are now. Raises UserError if one is missing, or is not the one that was written."""
    sources = digests(directory)
    for name in METADATA:  # tfds would go on without label.labels.txt, and call the classes 0 to 9
        if name not in sources:
            raise damaged(directory, f"{name} is missing")
    written = _recorded(directory)
    if written is not None and (change := changed(written, sources)) is not None:
        name, states = change
        raise damaged(directory, f"{name} changed since it was prepared: {states}")
    return sources


def digests(directory: Path) -> Sources:
    """Raises UserError if a file cannot be read."""
    sources: Sources = {}
    try:
        for path in sorted(path for pattern in (*METADATA, "cifar10-*") for path in directory.glob(pattern)):
            with open_regular(path) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                sources[path.name] = [file.tell(), digest]
    except OSError as error:
        raise UserError(f"cannot read the prepared data set: {error}") from error
    return sources


def record(directory: Path) -> None:
    """Writes what `verified` will compare with. Raises OSError."""
    (directory / CHECKSUMS).write_text(json.dumps(digests(directory), indent=1) + "\n", encoding="utf-8")


def _recorded(directory: Path) -> Sources | None:
    try:
        with open_regular(directory / CHECKSUMS) as file:
            recorded = json.loads(file.read().decode())
        return {name: [size, digest] for name, (size, digest) in recorded.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(directory, f"{CHECKSUMS} cannot be read, {error}") from error


def changed(then: Sources, now: Sources) -> tuple[str, str] | None:
    """The first file that is not what it was, and what it was and is; None if there is none."""

    def state(sources: Sources, name: str) -> str:
        return "{} bytes, sha256 {}".format(*sources[name]) if name in sources else "missing"

    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            return name, f"it was {state(then, name)}, it is {state(now, name)}"
    return None


def damaged(directory: Path, reason: str) -> UserError:
    """What to say of a data set that cannot be used."""
    return UserError(
        f"the prepared data set {directory} is damaged ({reason}): restore its files, "
        "or delete that directory and it will be prepared again"
    )
