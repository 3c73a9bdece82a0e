"""How much memory a population takes on a device, estimated before it is trained."""

from collections.abc import Sequence

import jax
import numpy as np
import psutil
from jax.experimental import multihost_utils

from mlp_jax.data.dataset import Splits
from mlp_jax.errors import UserError
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.matmul import platform
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.step import bare, init_state

EVALUATED_AT_ONCE = 1000  # examples, by `evaluate.sums`


def available() -> float:
    """Bytes per local device: three quarters of what is left of a GPU's or TPU's memory, or of a CPU's share.

    A CPU's is what programs can have without swapping, file caches included. The limit of a container is not
    seen: `max_memory_gb` states it.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return 0.75 * float(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return 0.75 * float(psutil.virtual_memory().available) / len(jax.local_devices())


def least(own: float, devices: Sequence[jax.Device]) -> float:
    """The least `own` of the processes that `devices` belong to, which must all ask: they lay out runs alike."""
    if all(device.process_index == jax.process_index() for device in devices):
        return own
    return float(multihost_utils.process_allgather(np.float32(own)).min())


def parameters(model: MLPConfig) -> int:
    """Number of parameters of one network."""
    norms = sum(2 * unit.norm_width for unit in model.units if unit.norm != "none")
    return sum((a + 1) * b for a, b in zip(model.sizes[:-1], model.sizes[1:], strict=True)) + norms


def member_bytes(model: MLPConfig, config: TrainConfig, steps: int) -> tuple[int, int]:
    """Bytes of one run: (held from epoch to epoch, needed beside that while it is trained).

    Held: parameters, their average and optimiser state, twice, because XLA may keep an epoch's argument beside
    its result, and the metrics of an epoch. Beside that: gradients and updates; per layer, five arrays of a
    minibatch's activations (product, activation, normalised, mask, delta).
    """
    size = 8 if model.dtype == "float64" else 4
    state = jax.eval_shape(lambda: bare(init_state(jax.random.key(0), model, config)))
    held = 2 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) + 2 * steps * size
    rows = max(config.batch_size, EVALUATED_AT_ONCE)
    used = 3 * parameters(model) + 5 * rows * sum(model.sizes[1:])
    return held, size * used


def footprint(model: MLPConfig, config: TrainConfig, data: Splits, width: int) -> tuple[int, int]:
    """Bytes on one device: (whatever the number of blocks, for each block of `width` runs)."""
    size = 8 if model.dtype == "float64" else 4
    examples = data.train.y.size
    held, used = member_bytes(model, config, examples // config.batch_size)
    fixed = sum(part.x.size * size + 8 * part.y.size for part in data[:2]) + 8 * examples  # and the permutation
    batch = max(config.batch_size, EVALUATED_AT_ONCE) * model.inputs * size
    if platform() == "cpu":  # one block after the other
        return fixed + width * used + batch, width * held
    return fixed, width * (held + used) + batch


def blocks_at_once(model: MLPConfig, config: TrainConfig, data: Splits, width: int, bound: float) -> int:
    """Blocks of `width` runs that one device can hold in `bound` bytes. Raises UserError if it is not even one."""
    fixed, block = footprint(model, config, data, width)
    if fixed + block > bound:
        raise UserError(
            f"{width} network(s) of {parameters(model)} parameters and the data need about "
            f"{(fixed + block) / 1e9:.2g} GB on a device, and {bound / 1e9:.2g} GB may be used: raise "
            "--max_memory_gb, or choose a smaller network or batch"
        )
    return int((bound - fixed) // block)
