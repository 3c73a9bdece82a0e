"""Files as users have them when something went wrong: each function makes one, in a folder, and gives its path.

`test_bad_input` names them in its table: {cut_png} is what `cut_png(folder)` gives.
"""

import functools
import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

from mlp_jax.data.pixels import Scaling
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Layer, NormLayer, RunningStats
from mlp_jax.training import saved_model


def _written(path, content):
    path.write_bytes(content)
    return path


def flipped(content, offset, bits=0xFF):
    """The content with these bits of one byte altered."""
    changed = bytearray(content)
    changed[offset] ^= bits
    return bytes(changed)


def flip(path, offset, bits=0xFF):
    """Alters these bits of one byte of a file."""
    return _written(path, flipped(path.read_bytes(), offset, bits))


def cut(path, size):
    """Leaves so many bytes of a file, from its beginning."""
    return _written(path, path.read_bytes()[:size])


# Pictures


def picture(kind="png", size=(20, 30), mode="RGB", **options):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(data, format=kind, **options)
    return data.getvalue()


def promising(width, height):
    """A PNG whose header promises so many pixels."""
    content = bytearray(picture())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def good_png(folder):
    return _written(folder / "good.png", picture())


def text_png(folder):
    return _written(folder / "text.png", b"This is no picture.\n")


def long_file(folder):
    """More than is read, and nothing of it on the disk."""
    path = _written(folder / "long.png", b"")
    os.truncate(path, 2**31)
    return path


def folder_png(folder):
    (folder / "folder.png").mkdir()
    return folder / "folder.png"


def pipe(folder):
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def loop(folder):
    """A link to itself."""
    (folder / "loop").symlink_to("loop")
    return folder / "loop"


def dangling(folder):
    (folder / "dangling").symlink_to("gone")
    return folder / "dangling"


# Models


@functools.cache
def _model(last=1.0):
    """The file of a small network whose last weights are random numbers times `last`."""
    draw = np.random.default_rng(0).standard_normal
    config = MLPConfig(hidden=(8,), activation="leaky_relu", norm="batch", norm_place="after", inputs=192)
    one, zero = np.ones(8, np.float32), np.zeros(8, np.float32)
    layers = (
        NormLayer(draw((192, 8), np.float32), zero, one, zero),
        Layer(np.float32(last) * draw((8, 10), np.float32), np.zeros(10, np.float32)),
    )
    about = saved_model.About("synthetic", "f" * 64, "clean", 0, 0.5, 200, "0.2.0")
    scaling = Scaling("standardize", np.full(3, 127.5), np.full(3, 50.0))
    classes = tuple(f"class {number}" for number in range(10))
    model = saved_model.Model(config, layers, (RunningStats(zero, one),), scaling, (8, 8, 3), classes, about)
    return saved_model.as_bytes(model)


def model(folder):
    """One that is in order."""
    return _written(folder / "model.safetensors", _model())


def overflowing_model(folder):
    """Finite numbers whose answer is not."""
    return _written(folder / "model.safetensors", _model(1e38))
