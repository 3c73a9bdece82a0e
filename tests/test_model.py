from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.comparison import random_params
from mlp_jax.nn import matmul
from mlp_jax.nn.config import INITS, NORM_FLAGS, MLPConfig, norm_options
from mlp_jax.nn.model import (
    Layer,
    NormLayer,
    RunningStats,
    dropout_mask,
    forward,
    init,
    init_stats,
    trace,
    update_stats,
)

X = np.random.default_rng(0).normal(size=(6, 4))


def by_hand(params, x, config, stats=None):
    """The forward pass in numpy: relu, normalised with the batch's statistics or the given ones."""
    params, a = jax.tree.map(np.asarray, params), np.asarray(x, np.float64)
    stats = jax.tree.map(np.asarray, stats)

    def normalize(u, layer, running):
        mean, var = (u.mean(0), u.var(0)) if running is None else running
        return layer.scale * (u - mean) / np.sqrt(var + 1e-5) + layer.shift

    place = "none" if config.norm == "none" else config.norm_place
    for number, layer in enumerate(params[:-1]):
        running = None if stats is None else stats[number]
        z = a @ layer.w + layer.b
        z = normalize(z, layer, running) if place == "before" else z
        a = np.maximum(z, 0)
        a = normalize(a, layer, running) if place == "after" else a
    return a @ params[-1].w + params[-1].b


@pytest.mark.parametrize("hidden", [(), (3,), (5, 2, 7)])
@pytest.mark.parametrize("batch_norm", NORM_FLAGS)
@pytest.mark.usefixtures("x64")
def test_forward_against_numpy(hidden, batch_norm):
    config = MLPConfig(hidden=hidden, inputs=4, classes=3, dtype="float64", **norm_options(batch_norm))
    params = random_params(np.random.default_rng(1), config)
    np.testing.assert_allclose(forward(params, X, config, train=True), by_hand(params, X, config), rtol=1e-10)
    stats = tuple(RunningStats(jnp.full(w, 0.3), jnp.full(w, 2.0)) for w in hidden) if batch_norm != "none" else ()
    found = forward(params, X, config, stats=stats)
    np.testing.assert_allclose(found, by_hand(params, X, config, stats or None), rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_running_statistics_of_the_report_s_framework():
    """Expected: torch.nn.BatchNorm1d(1) of PyTorch 2.13 after the batch [1, 2, 4], and then [0, 0, 3]."""
    config = MLPConfig(hidden=(1,), inputs=1, activation="identity", norm="batch", dtype="float64")
    params = init(jax.random.key(0), config)
    params = (params[0]._replace(w=jnp.ones((1, 1)), b=jnp.zeros(1)), *params[1:])
    stats = init_stats(config)
    expected = [(0.23333333, 1.13333333), (0.31, 1.32)]
    for batch, (mean, var) in zip(([1.0, 2, 4], [0.0, 0, 3]), expected, strict=True):
        stats = update_stats(stats, trace(params, np.array(batch)[:, None], config), config)
        np.testing.assert_allclose([stats[0].mean[0], stats[0].var[0]], [mean, var], rtol=1e-7)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "float32") for name in INITS), ("uniform_fan_in", "float64"), ("normal", "float64")],
)
@pytest.mark.usefixtures("x64")
def test_initial_spread(name, dtype):
    config = MLPConfig(hidden=(300,), inputs=400, init=name, init_std=0.02, dtype=dtype)
    first, last = init(jax.random.key(0), config)
    std = {
        "uniform_fan_in": 400**-0.5 / 3**0.5,
        "normal": 0.02,
        "he": (2 / 400) ** 0.5,
        "glorot": (2 / 700) ** 0.5,
        "lecun": 400**-0.5,
    }[name]
    assert first.w.dtype == first.b.dtype == dtype
    np.testing.assert_allclose(first.w.std(), std, rtol=0.02)
    assert abs(float(first.w.mean())) < 5 * std / 400
    if name == "uniform_fan_in":
        assert float(jnp.abs(first.w).max()) <= 0.05
        assert 0 < float(jnp.abs(first.b).max()) <= 0.05
        assert 0.05 < float(jnp.abs(last.w).max()) <= 300**-0.5
    else:
        assert not first.b.any()


@pytest.mark.optimized
@pytest.mark.parametrize("name", INITS)
def test_a_quick_compilation_draws_the_same_bits(name):
    """As part of a program, which is compiled in full, and as a program of its own."""
    config = MLPConfig(hidden=(31, 7), inputs=65, init=name)
    alone, within = init(jax.random.key(3), config), jax.jit(lambda key: init(key, config))(jax.random.key(3))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(within), strict=True):
        np.testing.assert_array_equal(a, b)


def test_initialisation_is_a_function_of_the_key():
    config = MLPConfig(hidden=(3, 3), inputs=3)
    a, b, c = (init(jax.random.key(seed), config) for seed in (0, 0, 1))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))
    assert not np.array_equal(a[0].w, c[0].w)
    assert not np.array_equal(a[0].w, a[1].w)


def test_parameters_are_arrays_only():
    plain = init(jax.random.key(0), MLPConfig(hidden=(5,), inputs=4, classes=3))
    normalized = init(
        jax.random.key(0), MLPConfig(hidden=(5,), inputs=4, classes=3, norm="batch", norm_place="after")
    )
    assert [type(layer) for layer in plain] == [Layer, Layer]
    assert [type(layer) for layer in normalized] == [NormLayer, Layer]
    assert [leaf.shape for leaf in jax.tree.leaves(normalized)] == [(4, 5), (5,), (5,), (5,), (5, 3), (3,)]


def test_bottlenecks_and_residual_blocks_are_what_their_papers_say():
    config = MLPConfig(hidden=(5, 5, 5), inputs=4, classes=3, block="bottleneck", expansion=2, activation="gelu")
    params: Any = random_params(np.random.default_rng(0), config)
    x = X.astype(np.float32)
    assert config.sizes == (4, 5, 10, 5, 10, 5, 3)
    assert [leaf.shape for leaf in params[1]] == [(5, 10), (10,), (5,), (5,)]
    a = x @ params[0].w + params[0].b[None]
    for expand, contract in (params[1:3], params[3:5]):
        n = (a - a.mean(axis=1, keepdims=True)) / jnp.sqrt(a.var(axis=1, keepdims=True) + config.norm_eps)
        wide = jax.nn.gelu(
            (expand.scale[None] * n + expand.shift[None]) @ expand.w + expand.b[None], approximate=False
        )
        a = a + wide @ contract.w + contract.b[None]
    np.testing.assert_allclose(
        forward(params, x, config), a @ params[-1].w + params[-1].b[None], rtol=1e-4, atol=1e-5
    )

    config = MLPConfig(hidden=(5, 5), inputs=4, classes=3, block="residual")
    params = random_params(np.random.default_rng(0), config)
    a = jax.nn.relu(x @ params[0].w + params[0].b[None])
    a = a + jax.nn.relu(a @ params[1].w + params[1].b[None])
    np.testing.assert_allclose(
        forward(params, x, config), a @ params[2].w + params[2].b[None], rtol=1e-4, atol=1e-5
    )


def test_layer_normalisation_is_of_each_row_in_training_and_evaluation():
    config = MLPConfig(hidden=(5,), inputs=4, classes=3, norm="layer")
    params: Any = random_params(np.random.default_rng(0), config)
    x = X.astype(np.float32)
    z = x @ params[0].w + params[0].b[None]
    n = (z - z.mean(axis=1, keepdims=True)) / jnp.sqrt(z.var(axis=1, keepdims=True) + config.norm_eps)
    expected = jax.nn.relu(params[0].scale[None] * n + params[0].shift[None]) @ params[1].w + params[1].b[None]
    for train in (True, False):
        np.testing.assert_allclose(forward(params, x, config, train=train), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(forward(params, x[:1], config, train=True), expected[:1], rtol=1e-4, atol=1e-5)


def test_logits_are_scaled():
    config = MLPConfig(hidden=(5,), inputs=4, classes=3)
    params = init(jax.random.key(0), config)
    x = jax.random.normal(jax.random.key(1), (6, 4))
    scaled = forward(params, x, replace(config, logit_scale=0.3))
    np.testing.assert_allclose(scaled, 0.3 * forward(params, x, config), rtol=1e-6)


def test_dropout_drops_a_share_and_keeps_the_mean():
    mask = dropout_mask(jax.random.key(0), (500, 400), 0.2, jnp.dtype("float32"))
    assert set(np.unique(mask)) == {0, 1.25}
    np.testing.assert_allclose((np.asarray(mask) == 0).mean(), 0.2, atol=5 * (0.16 / 2e5) ** 0.5)


def test_dropout_is_off_in_evaluation_and_differs_by_layer_and_key():
    config = MLPConfig(hidden=(50, 50), inputs=4, dropout=0.5)
    params, x = init(jax.random.key(0), config), X.astype(np.float32)
    plain = forward(params, x, MLPConfig(hidden=(50, 50), inputs=4))
    np.testing.assert_array_equal(forward(params, x, config), plain)
    masks = [layer.mask for layer in trace(params, x, config, key=jax.random.key(1)).hidden]
    assert not np.array_equal(masks[0], masks[1])
    other = trace(params, x, config, key=jax.random.key(2)).hidden[0].mask
    assert not np.array_equal(masks[0], other)


def test_the_largest_network_is_allowed():
    assert MLPConfig(hidden=(), inputs=2**30, classes=2).sizes == (2**30, 2)


def test_the_flags_of_normalisation_name_its_kind_and_its_place():
    assert [norm_options(place) for place in NORM_FLAGS] == [
        {"norm": "none"}, {"norm": "batch", "norm_place": "before"}, {"norm": "batch", "norm_place": "after"},
    ]  # fmt: skip
    assert norm_options("none", "after") == {"norm": "layer", "norm_place": "after"}
    for wrong, words in [
        (("both",), "unknown batch_norm 'both': choose one of none, before, after"),
        (("none", "both"), "unknown layer_norm 'both': choose one of none, before, after"),
        (("after", "before"), "exclude each other"),
    ]:
        with pytest.raises(UserError, match=words):
            norm_options(*wrong)


def test_inputs_that_do_not_fit():
    config = MLPConfig(hidden=(5,), inputs=4, classes=3)
    params, x = init(jax.random.key(0), config), X.astype(np.float32)
    for arguments, words in [
        ((params, x[:, :3], config), r"x has shape \(6, 3\), but the network takes \(batch, 4\)"),
        ((params[:1], x, config), "the configuration says"),
        ((params, x, MLPConfig(hidden=(5,), inputs=4, classes=3, norm="batch", norm_place="after")), "disagree"),
    ]:
        with pytest.raises(UserError, match=words):
            forward(*arguments)


def test_what_training_and_evaluation_need():
    x = X.astype(np.float32)
    normalized = MLPConfig(hidden=(5,), inputs=4, norm="batch", norm_place="after")
    dropped = MLPConfig(hidden=(5,), inputs=4, dropout=0.5)
    with pytest.raises(UserError, match="batch of 1"):
        forward(init(jax.random.key(0), normalized), x[:1], normalized, train=True)
    assert forward(init(jax.random.key(0), normalized), x[:2], normalized, train=True).shape == (2, 10)
    with pytest.raises(UserError, match="stats="):
        forward(init(jax.random.key(0), normalized), x, normalized)
    with pytest.raises(UserError, match="key="):
        forward(init(jax.random.key(0), dropped), x, dropped, train=True)


def test_float64_without_x64_is_refused():
    with pytest.raises(UserError, match="jax_enable_x64"):
        init(jax.random.key(0), MLPConfig(dtype="float64"))


@pytest.mark.parametrize("batch", [1, 3, 37, 500])
@pytest.mark.parametrize("inputs", [2, 50, 301, 1024])
@pytest.mark.parametrize("outputs", [1, 10, 400])
def test_products_in_bfloat16_are_those_of_rounded_operands_for_every_size(batch, inputs, outputs):
    """Some compilers have had no such product for every size, and stopped at run time."""
    rng = np.random.default_rng(batch + inputs + outputs)
    x, w, delta = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((batch, inputs), (inputs, outputs), (batch, outputs))
    )
    rounded_x, rounded_w, rounded_delta = (v.astype(jnp.bfloat16).astype(np.float64) for v in (x, w, delta))
    expected = rounded_x @ rounded_w, rounded_x.T @ rounded_delta, rounded_delta @ rounded_w.T
    products = jax.jit(
        lambda x, w, d: (matmul.affine(x, w, "bf16"), matmul.outer(x, d, "bf16"), matmul.back(d, w, "bf16"))
    )
    for found, right in zip(products(x, w, delta), expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-4 * np.sqrt(max(batch, inputs, outputs)))
