"""`predict`: picture files of every format that is read, and the model given with --model."""

import contextlib
import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from experiments import predict
from mlp_jax.data.pictures import read_picture
from mlp_jax.training import saved_model
from tests import bad_files
from tests.fuzz import mutations

SECONDS, MEGABYTES = 20.0, 1500.0
SAME_LENGTH = {"flip", "over", "zero"}


def _saved(mode: str, kind: str, **options: Any) -> bytes:
    return bad_files.picture(kind, (13, 17), mode, **options)  # type: ignore[no-any-return]


def _sixteen(kind: str) -> bytes:
    buffer = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 65536, (13, 17)).astype(np.uint16)
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


def pictures() -> dict[str, bytes]:
    """Good pictures of every format and many ways to write it."""
    exif = Image.Exif()
    exif[274], exif[270] = 6, "text"  # turned; a description
    more = {"save_all": True, "append_images": [Image.new("RGB", (17, 13), "red")]}
    found = {f"PNG {mode}": _saved(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")}
    found |= {f"JPEG {mode}": _saved(mode, "JPEG", exif=exif) for mode in ("L", "RGB", "CMYK")}
    found |= {f"BMP {mode}": _saved(mode, "BMP") for mode in ("1", "P", "RGB")}
    found |= {f"PPM {mode}": _saved(mode, "PPM") for mode in ("1", "L", "RGB")}
    tiffs = (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4")
    found |= {
        f"TIFF {how}": _saved("1" if how == "group4" else "RGB", "TIFF", compression=how, exif=exif)
        for how in tiffs
    }
    return found | {
        "PNG exif": _saved("RGB", "PNG", exif=exif, **more),
        "PNG transparent": _saved("P", "PNG", transparency=3),
        "PNG 16": _sixteen("PNG"),
        "TIFF 16": _sixteen("TIFF"),
        "JPEG progressive": _saved("RGB", "JPEG", progressive=True),
        "GIF": _saved("P", "GIF", transparency=3, **more),
        "WEBP": _saved("RGB", "WEBP", exif=exif),
        "WEBP lossless": _saved("RGBA", "WEBP", lossless=True, **more),
        "PPM text": b"P3\n# text\n2 2\n255\n" + b"1 2 3 " * 4,
        "PFM": b"PF\n2 2\n-1.0\n" + bytes(48),
        "TIFF float": _saved("F", "TIFF"),
    }


GOOD = pictures()


def examples() -> Any:
    """A damaged picture, a model damaged in its bytes, its header or its metadata, or odd names."""
    picture = st.tuples(
        st.just("picture"),
        st.sampled_from(sorted(GOOD)),
        mutations.BYTE_EDITS,
        st.booleans(),
        st.sampled_from([1, 3]),
    )
    models = st.tuples(st.just("model"), mutations.BYTE_EDITS)
    parts = st.tuples(st.sampled_from(["header", "metadata"]), mutations.JSON_EDITS)
    odd = st.tuples(st.sampled_from(["odd picture", "odd model"]), st.sampled_from(mutations.ODD_FILES))
    names = st.tuples(
        st.just("names"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), st.sampled_from(sorted(GOOD))
    )
    return st.one_of(picture, picture, picture, models, parts, odd, names)


NAMES = (
    "good", "good,good", "good,", ",", "", "~/x", "~nobody/x", "a\0b", "a\nb", "\udcff", "x" * 300, ".", "/",
    "good/x", "\x1b[2J", "a|b", "/dev/zero", "/dev/null", "/proc/self/mem", "/proc/self/status", "none",
)  # fmt: skip


def prepare(folder: Path) -> None:
    """A good model."""
    bad_files.model(folder)


def check(folder: Path, place: Path, example: Any) -> str:
    """Reads the picture or model; or, for odd files and names, the whole command."""
    good = (folder / "model.safetensors").read_bytes()
    match example:
        case ["picture", name, edits, whole, channels]:
            return _picture(place, name, edits, whole, channels)
        case ["model", edits]:
            return _model(place, good, mutations.edited(good, edits))
        case ["header" | "metadata" as part, edits]:
            return _model(place, good, _with(good, part, edits))
        case ["odd picture", odd]:
            mutations.put(place / "picture", odd, GOOD["PNG RGB"])
            return _predict_all(place, good, ["picture"])
        case ["odd model", odd]:
            (place / "picture").write_bytes(GOOD["PNG RGB"])
            mutations.put(place / "model", odd, good)
            return _predict_all(place, None, ["picture"])
        case [_, names, kind]:
            (place / "good").write_bytes(GOOD[kind])
            return _predict_all(place, good, names)
    raise ValueError(example)


def _picture(place: Path, name: str, edits: Any, whole: bool, channels: int) -> str:
    good = GOOD[name]
    content = mutations.edited(good, edits)
    if whole and name.startswith("PNG"):
        content = with_checksums(content)
    path = place / "picture"
    path.write_bytes(content)
    shape = (8, 8, channels)
    found = read_picture(str(path), shape)
    assert found.shape == shape
    assert found.dtype == np.uint8
    assert path.read_bytes() == content, "the picture was changed"
    if name.startswith("PNG") and content.startswith(b"\x89PNG") and not whole:
        (place / "good").write_bytes(good)
        same = np.array_equal(found, read_picture(str(place / "good"), shape))
        assert same or not {edit[0] for edit in edits} <= SAME_LENGTH, "a damaged PNG counts as whole"
    return f"read {name.split()[0]}"


def with_checksums(png: bytes) -> bytes:
    """The PNG with right checksums of the chunks that it still has."""
    found, at = png[:8], 8
    while at + 8 <= len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        chunk = png[at + 4 : at + 8 + length]
        rest = struct.pack(">I", zlib.crc32(chunk)) if at + 12 + length <= len(png) else b""
        found += png[at : at + 4] + chunk + rest
        at += 12 + length
    return found + png[at:]


def _with(good: bytes, part: str, edits: Any) -> bytes:
    """The model with another header, or other metadata in it."""
    (length,) = struct.unpack("<Q", good[:8])
    header, tensors = json.loads(good[8 : 8 + length]), good[8 + length :]
    if part == "header":
        header = mutations.edited_json(header, edits)
    else:
        entry = header["__metadata__"]
        entry["mlp_jax"] = json.dumps(mutations.edited_json(json.loads(entry["mlp_jax"]), edits))
    text = mutations.as_text(header)
    return struct.pack("<Q", len(text)) + text + tensors


def _model(place: Path, good: bytes, content: bytes) -> str:
    path = place / "model"
    path.write_bytes(content)
    found = saved_model.load(path)
    assert path.read_bytes() == content, "the model was changed"
    assert saved_model.as_bytes(found) == good, "a damaged model counts as whole"
    return "the same model"


def _predict_all(place: Path, good: bytes | None, names: list[str]) -> str:
    """`predict`, printing to nowhere."""
    path = place / "model"
    if good is not None:
        path.write_bytes(good)
    before = mutations.state(place)
    config = predict.Config(pictures=tuple(names), model=str(path), results_dir=str(place / "r"))
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            predict.run(config)
    finally:
        assert {name: now for name, now in mutations.state(place).items() if name[:1] != "r"} == before
    assert printed.getvalue().isprintable() or "\x1b" not in printed.getvalue()
    return "classified"


KEPT: tuple[Any, ...] = (
    ("model", [("flip", -1, 0)]),
    ("header", [("replace", [0], 0)]),
    ("picture", "PNG LA", [("zero", -22, 1)], False, 1),
)
