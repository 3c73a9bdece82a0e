"""One small file beside a study's results holds a bit for each test image and run: whether it is right.

A row of results says `{"quantity", "images", "sha256"}` under "correct": whose bits they are and how many images
each run has, and the digest by which the file, or the study in work, holds them. The bits of a row are a boolean
array of shape (runs, images), the runs in the order of the row's seeds. So a row finds its bits by their content:
neither its place nor its label matter, and a file that lost them or has others is told at once.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from mlp_jax.errors import UserError
from mlp_jax.files import sha256
from mlp_jax.studies.crossed import Correct

FILE = "correct.safetensors"
ENTRY = "mlp_jax"

Store = dict[str, Correct]
"""A store has bits by their digest."""


def add(store: Store, bits: Correct, quantity: str = "test_accuracy") -> dict[str, Any]:
    """Puts bits of shape (runs, images), whose means are the quantity, there; gives what the row says."""
    name = _digest(bits)
    store[name] = bits
    return {"quantity": quantity, "images": bits.shape[1], "sha256": name}


def of_rows(store: Mapping[str, Correct], rows: Iterable[Mapping[str, Any]]) -> Store:
    """Gives the bits that these rows speak of, as far as they are there."""
    names = dict.fromkeys(row["correct"]["sha256"] for row in rows if row.get("correct"))
    return {name: store[name] for name in names if name in store}


def packed(store: Mapping[str, Correct]) -> bytes:
    """Gives the content of a file that holds the bits."""
    images = {name: bits.shape[1] for name, bits in store.items()}
    tensors = {name: np.packbits(bits, axis=1) for name, bits in sorted(store.items())}
    return safetensors.numpy.save(tensors, {ENTRY: json.dumps(images, sort_keys=True)})


def unpacked(content: bytes) -> Store:
    """Gives what `packed` was given. Raises UserError if it was altered."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        images = json.loads(header["__metadata__"][ENTRY])
        tensors = safetensors.numpy.load(content)
        store = {name: _unpacked(bits, images[name]) for name, bits in tensors.items()}
        if any(_digest(bits) != name for name, bits in store.items()):
            raise ValueError("bits that are not what their name says")
        return store
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise UserError(f"its bits of test images are altered ({error!r})") from error


def as_text(store: Mapping[str, Correct]) -> str:
    """Gives the bits as text, for the file of a study in work."""
    return base64.b64encode(packed(store)).decode()


def from_text(text: str) -> Store:
    """Gives what `as_text` was given. Raises UserError if it was altered."""
    try:
        content = base64.b64decode(text)
    except (ValueError, TypeError):
        content = b""
    return unpacked(content)


def _unpacked(packed: np.ndarray, images: int) -> Correct:
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != -(-images // 8):
        raise ValueError(f"bits of shape {packed.shape} for {images} images")
    return np.unpackbits(packed, axis=1, count=images).astype(bool)


def _digest(bits: Correct) -> str:
    return sha256(f"{bits.shape}", np.packbits(bits, axis=1).tobytes())
