import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mlp_jax.gradcheck.comparison import check_backward, check_leaf, compare, compiled, random_params
from mlp_jax.nn import activations, equations, gradients, losses
from mlp_jax.nn.activations import ACTIVATIONS, Activation
from mlp_jax.nn.config import DTYPES, NORM_FLAGS, MLPConfig, norm_options
from mlp_jax.nn.model import Layer
from tests.mutation import mutants, survives

WIDTHS = (5, 5)  # one shape for most tests: jax compiles each operation once per shape


def network(seed=0, batch=9, scale=1.0, **options):
    """A configuration, its random parameters, and a batch, whose first row is 0 so that relu meets its kink."""
    config = MLPConfig(**{"hidden": WIDTHS, "inputs": 4, "classes": 3, "dtype": "float64", **options})
    rng = np.random.default_rng(seed)
    params = random_params(rng, config)
    x = scale * rng.normal(size=(batch, config.inputs)).astype(config.dtype)
    x[0] = 0
    first = params[0]
    params = (first._replace(b=first.b.at[0].set(0)), *params[1:]) if config.hidden else params
    return params, jnp.asarray(x), jnp.asarray(rng.integers(0, config.classes, batch)), config


@functools.cache
def case(seed, batch, scale, soft, **options):
    """What a backward pass is given, and what `jax.grad` says: asked once, for all mutants."""
    key = jax.random.key(seed) if options.get("dropout") else None
    params, x, y, config = network(seed, batch, scale, **options)
    if soft:
        y = jnp.asarray(np.random.default_rng(seed).dirichlet(np.ones(config.classes), batch), config.dtype)
    given = {"l2": 0.05, "key": key}
    return (params, x, y, config), given, jax.grad(losses.loss)(params, x, y, config, **given)


def failures(candidate, seed=0, batch=9, scale=1.0, *, soft=False, **options):
    arguments, given, true = case(seed, batch, scale, soft, **options)
    return [check for check in compare(candidate(*arguments, **given), true, arguments[-1]) if not check.passed]


BATCH_NORMS = [norm_options(place) for place in NORM_FLAGS]


@pytest.mark.parametrize("depth", [0, 1, 2, 5, 16])
@pytest.mark.parametrize("norm", BATCH_NORMS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("x64")
def test_every_depth(depth, norm, dtype):
    for activation in ("relu", "tanh"):
        options = {"hidden": (5,) * depth, "activation": activation, "dtype": dtype, **norm}
        assert failures(gradients.gradients, **options) == []


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", BATCH_NORMS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("x64")
def test_every_activation_with_and_without_dropout(activation, norm, dtype):
    options = {"activation": activation, "dtype": dtype, **norm}
    assert failures(gradients.gradients, **options) == []
    assert failures(gradients.gradients, dropout=0.4, **options) == []


@pytest.mark.parametrize(
    ("block", "layer_norm"), [("bottleneck", "none"), *itertools.product(("plain", "residual"), NORM_FLAGS)]
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("x64")
def test_every_block_with_layer_normalisation_dropout_and_soft_labels(block, layer_norm, dtype):
    options = {"block": block, "dtype": dtype, "hidden": (5, 5, 5), **norm_options("none", layer_norm)}
    if block == "bottleneck":
        options["expansion"] = 1
    assert failures(gradients.gradients, activation="gelu", **options) == []
    assert failures(gradients.gradients, dropout=0.4, soft=True, **options) == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("x64")
def test_a_scale_of_the_logits(dtype):
    for options in ({}, {"hidden": ()}, {**BATCH_NORMS[1], "soft": True}):
        assert failures(gradients.gradients, logit_scale=0.3, dtype=dtype, **options) == []


@pytest.mark.parametrize("norm", BATCH_NORMS[1:], ids=str)
@pytest.mark.usefixtures("x64")
def test_residual_blocks_with_batch_normalisation_and_other_widths_between(norm):
    options = {"block": "residual", "hidden": (4, 4, 5, 5, 5), **norm}  # 4 inputs: no skip there
    assert failures(gradients.gradients, dropout=0.4, **options) == []


ARCHITECTURES = {
    "hidden": st.lists(st.integers(1, 6), max_size=4),
    "activation": st.sampled_from(sorted(ACTIVATIONS)),
    "batch_norm": st.sampled_from(NORM_FLAGS),
    "dropout": st.sampled_from([0.0, 0.5]),
    "batch": st.integers(1, 6),
    "classes": st.integers(1, 4),
    "one_class": st.booleans(),
    "l2": st.sampled_from([0.0, 0.3]),
    "scale": st.sampled_from([1e-3, 1.0, 30.0]),
    "seed": st.integers(0, 2**16),
}
# no shrinking: every new shape is compiled, and a failure would take minutes to be told
DRAWN = settings(deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])


@settings(DRAWN, max_examples=8)
@given(**ARCHITECTURES)
def test_random_architectures(**drawn):
    agrees(**drawn)


@settings(DRAWN, max_examples=20)
@given(**ARCHITECTURES)
def test_many_random_architectures(**drawn):
    agrees(**drawn)


def agrees(hidden, activation, batch_norm, dropout, batch, classes, one_class, l2, scale, seed):
    with jax.enable_x64(True):
        # two rows normalise to +-1 whatever they are: the true gradient is then all but 0, and noise beside it
        # and a single unit loses its scale to the next normalisation
        if batch_norm != "none":
            batch, hidden = batch + 3, [width + 2 for width in hidden]
        params, x, y, config = network(
            seed, batch, scale, hidden=tuple(hidden), activation=activation, dropout=dropout, classes=classes,
            **norm_options(batch_norm),
        )  # fmt: skip
        y = jnp.zeros_like(y) if one_class else y
        if batch_norm == "none":  # dead or saturated units
            params = tuple(layer._replace(b=layer.b.at[0].add(-50 * scale)) for layer in params)
        key = jax.random.key(seed)
        mine = compiled(lambda p: gradients.gradients(p, x, y, config, l2=l2, key=key))(params)
        true = compiled(lambda p: jax.grad(losses.loss)(p, x, y, config, l2=l2, key=key))(params)
        assert jax.tree.structure(mine) == jax.tree.structure(true)
        assert [check for check in compare(mine, true, config) if not check.passed] == []


@pytest.mark.parametrize(
    "case",
    [{"batch": 1}, {"hidden": (), "batch": 1}, {"classes": 1}, {"hidden": (1,)}, {"inputs": 1}],
    ids=["batch of 1", "softmax regression, batch of 1", "one class", "one unit", "one input"],
)
@pytest.mark.usefixtures("x64")
def test_smallest_shapes(case):
    assert failures(gradients.gradients, **case) == []


@pytest.mark.usefixtures("x64")
def test_labels_of_one_class_and_dead_units():
    params, x, y, config = network()
    dead = params[0]._replace(b=jnp.full(5, -1e3))
    params = (dead, *params[1:])
    found = gradients.gradients(params, x, jnp.zeros_like(y), config)
    np.testing.assert_array_equal(found[0].w, 0)
    checks = check_backward(params, x, jnp.zeros_like(y), config, candidate=gradients.gradients)
    assert all(check.passed for check in checks)


@pytest.mark.usefixtures("x64")
def test_types_are_those_of_the_parameters_whatever_the_rest_is():
    params, x, y, config = network(dtype="float32")
    options = {"l2": jnp.asarray(0.1, "float64")}
    mine = gradients.gradients(params, x.astype("float64"), y, config, **options)
    true = jax.grad(losses.loss)(params, x.astype("float64"), y, config, **options)
    assert jax.tree.map(lambda leaf: leaf.dtype, mine) == jax.tree.map(lambda leaf: leaf.dtype, true)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64"])
def test_labels_of_any_integer_type(dtype):
    config = MLPConfig(hidden=(), inputs=3, classes=300)
    params = random_params(np.random.default_rng(0), config)
    x, y = jnp.ones((2, 3)), np.array([0, 100], dtype)
    assert all(c.passed for c in check_backward(params, x, y, config, candidate=gradients.gradients))


@pytest.mark.usefixtures("x64")
def test_equal_to_the_equations_in_the_two_layer_case():
    params, x, y, config = network(hidden=(5,))
    mine = gradients.gradients(params, x, y, config, l2=0.05)
    literal = equations.two_layer_gradients(params, x, y, 0.05)
    for found, expected in zip(jax.tree.leaves(mine), jax.tree.leaves(literal), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.usefixtures("x64")
def test_toy_case_gradients(toy):
    arrays = {k: jnp.asarray(toy[k]) for k in ("W1", "b1", "W2", "b2", "X", "y")}
    params = (Layer(arrays["W1"], arrays["b1"]), Layer(arrays["W2"], arrays["b2"]))
    config = MLPConfig(hidden=(10,), inputs=4, classes=3, dtype="float64")
    for source in gradients.SOURCES.values():
        objective, (first, second) = source(params, arrays["X"], arrays["y"], config, l2=toy["reg"])
        assert abs(float(objective.loss) - toy["loss"]) < 1e-12
        for name, found in {"W1": first.w, "b1": first.b, "W2": second.w, "b2": second.b}.items():
            np.testing.assert_allclose(found, toy["grads"][name], rtol=0, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_finite_differences_as_a_third_witness():
    params, x, y, config = network(activation="tanh", norm="batch", norm_place="after")
    direction = random_params(np.random.default_rng(7), config)

    def along(step):
        moved = jax.tree.map(lambda p, d: p + step * d, params, direction)
        return losses.loss(moved, x, y, config, l2=0.1)

    grads = gradients.gradients(params, x, y, config, l2=0.1)
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), grads, direction)))
    np.testing.assert_allclose(slope, (along(1e-5) - along(-1e-5)) / 2e-5, rtol=1e-8)


BROKEN = ("backward", "output_delta", "layer_gradients", "hidden_delta", "norm_backward")


@pytest.mark.parametrize("function", BROKEN)
@pytest.mark.usefixtures("x64")
def test_every_break_of_the_backward_pass_is_found(function):
    """Every operation and result of the hand-written code, broken one at a time, in a copy of its source."""

    def passes(module):
        return not (
            failures(module.gradients)
            or failures(module.gradients, scale=1e3)  # logits that overflow a softmax without max-shift
            or failures(module.gradients, norm="batch")
            or failures(module.gradients, norm="batch", norm_place="after", dropout=0.4)
            or failures(module.gradients, block="bottleneck", expansion=1, hidden=(5, 5), soft=True)
            or failures(module.gradients, block="residual", norm="layer", hidden=(5, 5))
        )

    assert passes(gradients)
    found = list(mutants(gradients, {function}))
    assert found
    assert [what for what, broken in found if survives(passes, broken)] == []


TERMS = (
    "- mean_term",
    "- variance_term_BH",
    "* jnp.expand_dims(hidden.norm.inverse_std, axis)",
    "* layer.scale[None]",
    "* hidden.mask",
)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.usefixtures("x64")
def test_a_term_left_out_is_found(term):
    import inspect
    import types

    source = inspect.getsource(gradients)
    assert source.count(term) == 1
    broken = types.ModuleType("broken")
    exec(source.replace(term, ""), broken.__dict__)
    assert failures(broken.gradients, norm="batch", dropout=0.4)
    assert failures(broken.gradients, norm="layer", dropout=0.4)


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n != "identity"])
@pytest.mark.usefixtures("x64")
def test_a_broken_activation_is_found_by_the_network_check(name, monkeypatch):
    function, derivative = ACTIVATIONS[name]
    monkeypatch.setitem(activations.ACTIVATIONS, name, Activation(function, lambda z: 1.001 * derivative(z)))
    assert failures(gradients.gradients, activation=name)


def test_check_leaf_reports_the_worst_element_and_nan():
    reference = np.arange(6.0).reshape(2, 3)
    wrong = reference.copy()
    wrong[1, 2] += 1
    check = check_leaf("w", wrong, reference, 1e-12)
    assert check.worst == (1, 2)
    np.testing.assert_allclose(check.relative_error, 1 / np.linalg.norm(reference))
    wrong[0, 1] = np.nan
    check = check_leaf("w", wrong, reference, 1e-12)
    assert check.worst == (0, 1)
    assert not check.passed
    assert not check_leaf("w", reference.T, reference, 1e-12).passed
    assert not check_leaf("w", reference, 0 * reference, 1e-12).passed
    assert check_leaf("w", 0 * reference, 0 * reference, 1e-12).passed
