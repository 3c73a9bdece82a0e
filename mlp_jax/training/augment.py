"""Training images are changed at random, minibatch by minibatch on the device; for testing there are fixed views.

Images are rows as `data.normalize` makes them, in height-width-channel order ("mean_image", "standardize"): pixels
that are filled in are 0, the training images' mean. Or they are amplitudes of frequencies, as
`spectrum.movable_rows` makes them. Every function is pure; none has parameters to learn.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer, PRNGKeyArray

from mlp_jax.data.dataset import ChannelFirst, Split
from mlp_jax.data.spectrum import Image, Spectrum
from mlp_jax.errors import UserError, in_range, whole_number
from mlp_jax.nn.activations import Array
from mlp_jax.nn.config import later
from mlp_jax.nn.matmul import platform

Mirrored: TypeAlias = Bool[Array, "batch"]
"""It tells which images of a minibatch are mirrored."""


@dataclass(frozen=True)
class Augmentation:
    """These happen to a minibatch, in this order; each is off by default.

    crop: pixels of padding around the image, from which a window of its own size is cut at random (Krizhevsky et
      al. 2012).
    flip: mirrors left and right with probability 1/2.
    alternating: with flip, whether an image is mirrored is drawn once for the run's first epoch, and changes from
      epoch to epoch: every two epochs show both (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds", section 3.6).
    cutout: side, in pixels, of a square at a random place, which may stand out of the image, that is set to 0
      (DeVries & Taylor 2017).
    mixup: alpha of Beta(alpha, alpha), from which the share of a second image and of its label is drawn, once for
      a minibatch (Zhang et al. 2018).
    image: height, width and channels of an image.
    spectrum: which frequencies a row holds, if it does not hold pixels. A crop then moves the image by up to so
      many pixels in both directions; what leaves it comes back mirrored at the same side, instead of being lost.

    Raises UserError for a value out of range.
    """

    crop: int = 0
    flip: bool = False
    alternating: bool = later(False)
    cutout: int = 0
    mixup: float = 0.0
    image: Image = (32, 32, 3)
    spectrum: Spectrum | None = None

    def __post_init__(self) -> None:
        for name, size in zip(("height", "width", "channels"), self.image, strict=True):
            whole_number(f"an image's {name}", size, 1)
        whole_number("crop", self.crop, 0, min(self.image[:2]))
        whole_number("cutout", self.cutout, 0, max(self.image[:2]))
        in_range("mixup", self.mixup, 0, 1000)
        if self.alternating and not self.flip:
            raise UserError("alternating is for flip: give both, or leave it out")
        if self.spectrum is not None and self.cutout:
            raise UserError("cutout is for rows of pixels, not of frequencies: leave cutout or spectrum out")

    @property
    def moves_pixels(self) -> bool:
        """Tells whether it matters where in a row a pixel stands."""
        return self.spectrum is None and bool(self.crop or self.flip or self.cutout)


def check_order(split: Split) -> None:
    """Raises UserError if the rows of a split are not in height-width-channel order, as far as is known."""
    if isinstance(split, ChannelFirst):
        raise UserError(
            "augmentation and views would scramble pixels in channel-first order: normalise the images as "
            "'standardize' or 'mean_image', not 'unit_range'"
        )


def augment(
    key: PRNGKeyArray, x: Float[Array, "batch features"], how: Augmentation, mirrored: Mirrored | None = None
) -> Float[jax.Array, "batch inputs"]:
    """Returns the images cropped, mirrored and cut out, each in its own way; pixels stay as many as they are.

    mirrored: which images are mirrored, as `alternating_flips` tells; drawn here if it is None.

    Raises UserError as `views` does, and for rows that are not `spectrum.movable_rows` of the frequencies.
    """
    crop_key, flip_key, cutout_key = jax.random.split(key, 3)
    if how.flip and mirrored is None:
        assert not how.alternating, "whether an image is mirrored in this epoch is not drawn anew"
        mirrored = jax.random.bernoulli(flip_key, shape=(len(x),))
    if how.spectrum is not None:
        return _moved(crop_key, x, how.crop, mirrored, how.spectrum)
    images = _images(x, how.image)
    if how.crop:
        corners = jax.random.randint(crop_key, (len(images), 2), 0, 2 * how.crop + 1)
        images = _each(lambda image, corner: _window(image, how.crop, corner), images, corners)
    if mirrored is not None:
        images = _each(_mirrored, images, jnp.asarray(mirrored))
    if how.cutout:
        images = jnp.where(_hole(cutout_key, images, how.cutout), 0, images)
    return images.reshape(x.shape)


def alternating_flips(
    key: PRNGKeyArray, epoch: Integer[Array, ""] | int, examples: int
) -> Bool[jax.Array, "examples"]:
    """Tells which images are mirrored in epoch 0, 1, ...: half of them at random, and next the others."""
    return jax.random.bernoulli(key, shape=(examples,)) ^ (epoch % 2 == 1)


def _moved(
    crop_key: PRNGKeyArray,
    x: Float[Array, "batch four_inputs"],
    pixels: int,
    mirrored: Mirrored | None,
    spectrum: Spectrum,
) -> Float[jax.Array, "batch inputs"]:
    """Moves images, by turning each frequency by an angle, and mirrors them, by a sign of the odd ones."""
    if x.shape[1] != 4 * spectrum.inputs:
        raise UserError(f"rows of {x.shape[1]} values are no movable rows of {spectrum.inputs} frequencies")
    u, v, _ = spectrum.places.T
    both, sine_wide, sine_tall, sines = (jnp.asarray(x).reshape(len(x), 4, -1)[:, kind] for kind in range(4))
    if pixels:
        steps = jax.random.randint(crop_key, (len(x), 2), -pixels, pixels + 1).astype(x.dtype)
        tall, wide = (
            jnp.outer(steps[:, axis], jnp.asarray(np.pi * frequency / spectrum.image[axis], x.dtype))
            for axis, frequency in enumerate((u, v))
        )
        cosine = jnp.cos(wide) * both - jnp.sin(wide) * sine_wide
        sine = jnp.cos(wide) * sine_tall - jnp.sin(wide) * sines
        both = jnp.cos(tall) * cosine - jnp.sin(tall) * sine
    if mirrored is not None:
        both = jnp.where(mirrored[:, None], both * jnp.asarray((-1.0) ** v, x.dtype)[None], both)
    return both


def _images(x: Float[Array, "batch features"], image: Image) -> Float[jax.Array, "batch height width channels"]:
    if x.shape[1] != math.prod(image):
        raise UserError(f"rows of {x.shape[1]} values are no images of height, width and channels {image}")
    return jnp.asarray(x).reshape(-1, *image)


def _each(change: Callable[..., jax.Array], images: jax.Array, drawn: jax.Array) -> jax.Array:
    """Changes, on a CPU, one image after the other, which stays in its cache; elsewhere all at once."""
    pairs = (images, drawn)
    on_cpu = platform() == "cpu"
    changed: jax.Array = jax.lax.map(lambda pair: change(*pair), pairs) if on_cpu else jax.vmap(change)(*pairs)
    return changed


def _window(image: Float[jax.Array, "height width channels"], pixels: int, corner: jax.Array) -> jax.Array:
    """Returns the image moved by up to so many pixels, in both directions; what comes in is 0."""
    padded = jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))
    return jax.lax.dynamic_slice(padded, (*corner, 0), image.shape)


def _mirrored(image: Float[jax.Array, "height width channels"], whether: jax.Array) -> jax.Array:
    found: jax.Array = jax.lax.cond(whether, lambda image: image[:, ::-1], lambda image: image, image)
    return found


def _hole(key: PRNGKeyArray, images: jax.Array, side: int) -> jax.Array:
    """Tells, shape (B, H, W, 1), where each image has its square, whose centre is anywhere in the image."""
    batch, height, width, _ = images.shape
    y_key, x_key = jax.random.split(key)

    def inside(key: PRNGKeyArray, length: int) -> jax.Array:
        first = jax.random.randint(key, (batch, 1), 0, length) - side // 2
        place = jnp.arange(length)[None]
        return (place >= first) & (place < first + side)

    return (inside(y_key, height)[:, :, None] & inside(x_key, width)[:, None])[..., None]


def mixup(
    key: PRNGKeyArray,
    x: Float[Array, "batch features"],
    labels: Float[Array, "batch classes"],
    alpha: float,
) -> tuple[Float[jax.Array, "batch features"], Float[jax.Array, "batch classes"]]:
    """Mixes every image with its opposite in the minibatch, whose order is random already, and labels alike."""
    share = jax.random.beta(key, alpha, alpha, dtype=x.dtype)
    mixed_x, mixed_labels = (share * values + (1 - share) * values[::-1] for values in (x, labels))
    return jnp.asarray(mixed_x), jnp.asarray(mixed_labels)


def views(x: Float[Array, "batch features"], image: Image, shift: int = 1) -> list[jax.Array]:
    """Returns images and their mirror images: as they are, and moved by `shift` pixels down right and up left.

    Raises UserError if a row has not as many values as an image.
    """
    images = _images(x, image)
    found = []
    for mirrored in (images, images[:, :, ::-1]):
        padded = jnp.pad(mirrored, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
        for start in (shift, 0, 2 * shift) if shift else (0,):
            window = padded[:, start : start + image[0], start : start + image[1]]
            found.append(window.reshape(x.shape))
    return found
