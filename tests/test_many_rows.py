"""The package's programs on so many rows, of so few numbers, that jaxlib 0.10.2 computed some programs wrong.

Those are products of 32,769 rows or more with one matrix, held by columns, and a sum or a maximum over each row's
result: what `products.affine` writes for wide inputs. Written so for narrow ones too, layer normalisation is wrong
there, and with it loss, hits and gradient, whatever the compiler optimises; as it is, nothing of the package is.
"""

import jax
import numpy as np
import pytest

from mlp_jax.data.dataset import Split
from mlp_jax.gradcheck import derivation
from mlp_jax.gradcheck.comparison import random_params
from mlp_jax.nn import losses, matmul, model
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.gradients import SOURCES
from mlp_jax.training import augment
from mlp_jax.training.evaluate import evaluate

ROWS = 40_000
NORMS = {"none": {}, "batch_norm": {"norm": "batch"}, "layer_norm": {"norm": "layer"}}
LIMIT = {"float32": 1e-3, "float64": 1e-10}


class Case:
    """A network of width 3 throughout, float64 copies of its parameters and inputs, and what is right."""

    def __init__(self, dtype, **norm):
        self.config = MLPConfig((3, 3), inputs=3, classes=3, dtype=dtype, **norm)
        rng = np.random.default_rng(0)
        self.params = random_params(rng, self.config)
        self.x = rng.standard_normal((ROWS, 3)).astype(dtype)
        self.y = rng.integers(0, 3, ROWS)
        exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), self.params), self.x.astype(np.float64)
        self.log_softmax = derivation.log_softmax(*exact, self.config)
        self.gradient = derivation.gradient(*exact, self.y, self.config, 0.05)

    def statistics(self):
        """Running statistics that are those of all rows: then evaluation computes what training does."""
        traced = model.trace(self.params, self.x, self.config)
        norms = [hidden.norm for hidden in traced.hidden if hidden.norm] if self.config.has_running_stats else []
        return tuple(model.RunningStats(norm.mean, norm.var) for norm in norms)

    def close(self, found, true):
        """Whether no row of many can be wrong: relative to the size of all numbers, their mean error is small."""
        distance = np.linalg.norm(np.asarray(found, np.float64) - true)
        return distance <= LIMIT[self.config.dtype] * np.linalg.norm(true)


@pytest.fixture(params=[(dtype, norm) for dtype in LIMIT for norm in (*NORMS, "layer_norm, by columns")])
def case(request, monkeypatch):
    dtype, norm = request.param
    if norm.endswith("by columns"):
        monkeypatch.setattr(matmul, "MANY", 1)
    with jax.enable_x64(dtype == "float64"):
        yield Case(dtype, **NORMS[norm.removesuffix(", by columns")])


def test_the_loss_of_each_row_and_the_hits(case):
    @jax.jit
    def run(params, x, y):
        logits = model.trace(params, x, case.config).logits
        return losses.cross_entropy(logits, y), losses.correct(logits, y)

    found, hits = run(case.params, case.x, case.y)
    assert case.close(found, -case.log_softmax[np.arange(ROWS), case.y])
    assert np.mean(np.asarray(hits) != (case.log_softmax.argmax(axis=1) == case.y)) < 1e-3


@pytest.mark.parametrize("source", SOURCES)
def test_both_gradients(case, source):
    @jax.jit
    def run(params, x, y):  # without the forward pass, which it would hold otherwise
        return SOURCES[source](params, x, y, case.config, l2=0.05)[1]

    scale = max(np.linalg.norm(leaf) for leaf in jax.tree.leaves(case.gradient))
    found = jax.tree.leaves(run(case.params, case.x, case.y))
    for mine, true in zip(found, jax.tree.leaves(case.gradient), strict=True):
        assert np.linalg.norm(np.asarray(mine, np.float64) - true) <= LIMIT[case.config.dtype] * scale


def test_a_whole_split_in_one_batch(case):
    stats = case.statistics()
    found = evaluate(case.params, stats, Split(case.x, case.y), case.config, batch_size=ROWS)
    hits = case.log_softmax.argmax(axis=1) == case.y
    assert found.loss == pytest.approx(-case.log_softmax[np.arange(ROWS), case.y].mean(), rel=1e-5)
    assert found.accuracy == pytest.approx(hits.mean(), abs=1e-4)


def test_images_are_mirrored_one_by_one():
    x = np.arange(ROWS * 3, dtype=np.float32).reshape(ROWS, 3)
    how = augment.Augmentation(flip=True, image=(1, 3, 1))
    found = np.asarray(jax.jit(augment.augment, static_argnums=2)(jax.random.key(0), x, how))
    mirrored = (found == x[:, ::-1]).all(axis=1)
    assert ((found == x).all(axis=1) ^ mirrored).all()
    assert 0.45 < mirrored[32_768:].mean() < 0.55
