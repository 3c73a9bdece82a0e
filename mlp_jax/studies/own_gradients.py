"""This checks the package's own gradients: equations 1 to 13, and the general backward pass."""

import functools
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import optax

from mlp_jax import data
from mlp_jax.data.pixels import normalize
from mlp_jax.gradcheck import comparison
from mlp_jax.gradcheck.comparison import LeafCheck
from mlp_jax.nn import activations, losses
from mlp_jax.nn.config import DTYPES, MLPConfig
from mlp_jax.nn.gradients import SOURCES
from mlp_jax.nn.model import Params
from mlp_jax.studies import ahead, options, results
from mlp_jax.studies.results import by
from mlp_jax.studies.tables import Columns, Table
from mlp_jax.training.augment import mixup

EQUATIONS = "equations 1 to 13"
EXAMPLES = 16
L2 = 0.05


def architectures(inputs: int, classes: int) -> dict[str, MLPConfig]:
    """Gives the networks that are checked, by name: what differs from plain ones of 3 layers of ReLU units."""
    deep, places = {"hidden": (50, 50, 50)}, ("before", "after")
    batch, layer = ({place: {"norm": n, "norm_place": place} for place in places} for n in ("batch", "layer"))
    changes: dict[str, dict[str, Any]] = {
        "softmax regression": {"hidden": ()},
        "2 layers, as in Question 2": {"hidden": (50,)},
        "5 layers": {"hidden": (50,) * 4},
        "17 layers": {"hidden": (50,) * 16},
        "uneven widths": {"hidden": (31, 7, 19)},
        **{f"3 layers, {name}": {"activation": name} for name in activations.ACTIVATIONS},
    }
    for place in places:
        for name in ("relu", "leaky_relu", "tanh"):
            changes[f"3 layers, {name}, normalised {place}"] = {"activation": name, **batch[place]}
    changes["3 layers, dropout 0.5"] = {"dropout": 0.5}
    leaky = {"activation": "leaky_relu", **batch["after"], "dropout": 0.2}
    changes["4 layers, leaky_relu, normalised after, dropout 0.2"] = {**deep, **leaky}
    for place in places:
        changes[f"4 layers, gelu, layer normalisation {place}"] = {**deep, "activation": "gelu", **layer[place]}
        changes[f"4 layers, residual, normalised {place}"] = {**deep, "block": "residual", **batch[place]}
    residual = {"block": "residual", **layer["before"], "dropout": 0.2}
    changes["4 layers, residual, layer normalisation before, dropout 0.2"] = {**deep, **residual}
    changes["2 bottleneck blocks, gelu"] = {**deep, "block": "bottleneck", "activation": "gelu"}
    changes["3 layers, logits times 0.3"] = {"logit_scale": 0.3}
    base = MLPConfig(hidden=(50, 50), inputs=inputs, classes=classes)
    return {name: replace(base, **change) for name, change in changes.items()} | dict.fromkeys(SOFTENED, base)


def _smoothed(batch: data.Split, classes: int) -> data.Split:
    labels = optax.smooth_labels(jax.nn.one_hot(batch.y, classes, dtype=batch.x.dtype), 0.1)
    return data.Split(batch.x, labels)


def _mixed(batch: data.Split, classes: int) -> data.Split:
    return data.Split(*mixup(jax.random.key(0), *_smoothed(batch, classes), 1.0))


SOFTENED = {"3 layers, label smoothing": _smoothed, "3 layers, label smoothing, mixup": _mixed}
"""These make a batch with soft labels, for the cases that have them."""


def _of_dtype(batch: data.Split, dtype: str) -> data.Split:
    labels = np.asarray(batch.y)
    return data.Split(np.asarray(batch.x, dtype), labels.astype(dtype) if labels.ndim == 2 else labels)


def check_networks(
    networks: Mapping[str, MLPConfig], batches: Mapping[str, data.Split], source: str, seeds: Iterable[int]
) -> dict[str, list[list[LeafCheck]]]:
    """Holds the named source against jax.grad: for each network on its batch, for each seed, its leaves.

    All networks are two programs, what is checked and autodiff: many small programs take longer to compile. In
    one program, XLA would merge what both have in common, and compare it with itself.
    """

    def candidate(given: dict[str, Any], key: jax.Array) -> dict[str, Params]:
        return {n: SOURCES[source](*given[n], config, l2=L2, key=key)[1] for n, config in networks.items()}

    def reference(given: dict[str, Any], key: jax.Array) -> dict[str, Params]:
        return {n: jax.grad(losses.loss)(*given[n], config, l2=L2, key=key) for n, config in networks.items()}

    programs = comparison.compiled(candidate), comparison.compiled(reference)
    checks: dict[str, list[list[LeafCheck]]] = {name: [] for name in networks}
    for seed in seeds:
        given = {
            name: (comparison.random_params(np.random.default_rng(seed), config), *batches[name])
            for name, config in networks.items()
        }
        found, true = (program(given, jax.random.key(seed)) for program in programs)
        for name, config in networks.items():
            checks[name].append(comparison.compare(found[name], true[name], config))
    return checks


def check_all(config: options.Common, dataset: data.Dataset) -> list[results.Row]:
    """Gives one row per leaf of the equations and every architecture in each dtype, on examples of the dataset.

    It tells of the seed with the largest error: a row for each seed would double a file that is committed.
    """
    splits, classes = normalize(config.split(dataset), "standardize", dtype=np.float64), len(dataset.classes)
    batch = data.Split(splits.train.x[:EXAMPLES], splits.train.y[:EXAMPLES])
    networks = architectures(batch.x.shape[1], classes)
    with jax.enable_x64(True):
        soft = jax.jit(lambda: {name: softened(batch, classes) for name, softened in SOFTENED.items()})()
    batches = {name: soft.get(name, batch) for name in networks}
    seeds = range(config.seed, config.seed + config.seeds)
    rows: list[results.Row] = []
    check = functools.partial(_check, networks, batches, config.gradient, seeds)
    cases = options.progress(len(DTYPES) * (1 + len(networks)), "case")
    with cases as bar, ThreadPoolExecutor(ahead.AT_ONCE) as pool:  # nearly all of the time is compilation
        for dtype, found in zip(DTYPES, pool.map(check, DTYPES), strict=True):
            for name, checks in found.items():
                leaves = zip(*checks, strict=True)
                rows += [_row(name, dtype, dict(zip(seeds, leaf, strict=True))) for leaf in leaves]
                bar.update()
    return rows


def _check(
    networks: Mapping[str, MLPConfig], batches: Mapping[str, data.Split], source: str, seeds: range, dtype: str
) -> dict[str, list[list[LeafCheck]]]:
    """Checks the equations and the networks with numbers of this type: of each case, for each seed, the leaves."""
    with jax.enable_x64(True):  # each thread has its own
        drawn = [comparison.two_layer_case(np.random.default_rng(seed), dtype) for seed in seeds]
        equations = list(comparison.check_equations(*drawn))
        typed = {name: replace(config, dtype=dtype) for name, config in networks.items()}
        rows = {name: _of_dtype(batch, dtype) for name, batch in batches.items()}
        return {EQUATIONS: equations} | check_networks(typed, rows, source, seeds)


def _row(name: str, dtype: str, checks: Mapping[int, LeafCheck]) -> results.Row:
    """Gives the row of one leaf, checked with each of these seeds; of a failure it also tells where."""
    seed, check = max(checks.items(), key=lambda item: np.nan_to_num(item[1].relative_error, nan=np.inf))
    return {
        "case": name,
        "dtype": dtype,
        "leaf": check.leaf,
        "relative_error": float(f"{check.relative_error:.2e}") if np.isfinite(check.relative_error) else None,
        "tolerance": check.tolerance,
        **({"verdict": "PASS"} if check.passed else {"verdict": "FAIL", "seed": seed, "index": list(check.worst)}),
    }


def summary_table(rows: list[results.Row]) -> Table:
    """Gives one line per case: its worst leaf in each dtype, and PASS only if every leaf passed."""
    groups = by(rows, "case").values()
    return Table.of(
        {
            "case": lambda group: group[0]["case"],
            **{f"{dtype}: worst leaf": functools.partial(_worst_leaf, dtype=dtype) for dtype in DTYPES[::-1]},
            "": lambda group: "PASS" if all(row["verdict"] == "PASS" for row in group) else "FAIL",
        },
        groups,
    )


def _worst_leaf(rows: list[results.Row], dtype: str) -> str:
    own = [row for row in rows if row["dtype"] == dtype]
    worst = max(own, key=lambda row: np.inf if row["relative_error"] is None else row["relative_error"])
    return f"{largest_error([worst], digits=1)} {worst['leaf']}"


def largest_error(rows: Iterable[results.Row], digits: int = 0) -> str:
    """Gives the largest relative error of these rows, in words."""
    errors = [row["relative_error"] for row in rows]
    return "not finite" if None in errors else f"{max(errors):.{digits}e}"


MISTAKES: Columns = {
    "mistake": lambda row: ", ".join(row["seeded"]) or "(none)",
    "seeded as": lambda row: f"`{row['change']}`",
    "found": lambda row: ", ".join(row["found"]) or "(none)",
    "": "verdict",
    "what is said": lambda row: row.get("said", ""),
}
"""The table tells of every seeded mistake how it was seeded, what was found, and what was said of it."""
