"""A user's pictures are read here in the size and the colours of a data set's images."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mlp_jax.data.dataset import Images
from mlp_jax.errors import UserError, user_path
from mlp_jax.files import printable, read_bounded

# A picture may be one of these; others that Pillow knows start programs (EPS) or hold many sizes (ICO).
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MOST_BYTES = 64 * 2**20
MOST_PIXELS = 64_000_000


def read_picture(name: str, shape: tuple[int, int, int]) -> Images:
    """Read a picture file as uint8 pixels of this shape. Raises UserError, one line, if it cannot be one."""
    shown = printable(name)
    content = read_bounded(user_path(name), MOST_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd files
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decoded(shown, content, shape)
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{shown} is not a picture of a known format ({', '.join(FORMATS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(f"{shown} has too many pixels: make it smaller, at most {MOST_PIXELS:,}") from None
    except Exception as error:  # Pillow raises whatever it stumbles over in a damaged file
        reason = printable(str(error)) or type(error).__name__
        raise UserError(f"{shown} cannot be decoded ({reason}): it may be cut or damaged") from error


def _decoded(shown: str, content: bytes, shape: tuple[int, int, int]) -> Images:
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        width, height = picture.size
        if width * height > MOST_PIXELS:
            raise UserError(f"{shown} has {width} x {height} pixels: make it smaller, at most {MOST_PIXELS:,}")
        if picture.format == "PNG":  # Pillow compares the pixels' checksums only when it is told to
            with Image.open(io.BytesIO(content), formats=["PNG"]) as again:
                again.verify()
        return pixels(picture, shape)


def pixels(picture: Image.Image, shape: tuple[int, int, int]) -> Images:
    """Return the first frame, upright, on white, resized to (height, width, channels) and in its colours."""
    height, width, channels = shape
    if picture.mode == "F":
        raise ValueError("its values are not whole numbers")
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        upright = _from_16_bits(upright)
    if upright.has_transparency_data:
        # it is resized first, which weighs colours by their opacity, and leaves less to work on
        small = upright.convert("RGBA").resize((width, height), Image.Resampling.BICUBIC)
        white = Image.new("RGBA", small.size, "white")
        small = Image.alpha_composite(white, small).convert("RGB")
    else:
        plain = upright if upright.mode == "L" else upright.convert("RGB")
        small = plain.resize((width, height), Image.Resampling.BICUBIC)
    values = np.asarray(small.convert("L" if channels == 1 else "RGB"))
    return values.reshape(shape)


def _from_16_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its grey values are not of 8 or 16 bits")
    return Image.fromarray((values // 257).astype(np.uint8))
