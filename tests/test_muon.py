"""Muon is optax's up to rounding, for less; and its iterations need not be made in every step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlp_jax.nn.model import Layer
from mlp_jax.training.config import TrainConfig, hyper_from
from mlp_jax.training.muon import POLAR_EXPRESS, STANDARD
from mlp_jax.training.optimizers import optimizer

RATE, BETA = 0.1, 0.9
SHAPES = ((100, 20), (20, 90), (20, 24), (30, 30), (2, 40))
EXACT = {"muon_steps": 9, "muon_coefficients": "polar_express"}
NAMES = ("standard", "polar_express")


def ours(**options):
    config = TrainConfig(optimizer="muon", learning_rate=RATE, momentum=BETA, **options)
    return optimizer(config, hyper_from(config), RATE)


def of_optax(name="standard", steps=5, **options):
    how: dict[str, Any] = {"ns_coeffs": STANDARD}
    if name == "polar_express":
        how = {"ns_coeffs": (*POLAR_EXPRESS, *POLAR_EXPRESS[-1:] * 20)[:steps], "preconditioning": "schatten"}
    return optax.contrib.muon(RATE, **how, ns_steps=steps, beta=BETA, consistent_rms=0.2, **options)


def drawn(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def layers(shapes=SHAPES, seed=0):
    return tuple(Layer(jnp.asarray(drawn(shape, seed)), jnp.asarray(drawn(shape[1], seed))) for shape in shapes)


def moves(rule, steps, shapes=SHAPES):
    """What the rule adds to the parameters in its first steps, with gradients that are drawn."""
    params, found = layers(shapes), []
    state = rule.init(params)
    for step in range(steps):
        updates, state = rule.update(layers(shapes, step + 1), state, params)
        found.append(updates)
        params = optax.apply_updates(params, updates)
    return found


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 5])
def test_it_is_that_of_optax(steps, name):
    rule = ours(muon_steps=steps, muon_coefficients=name, weight_decay=0.3)
    close(moves(rule, 3), moves(of_optax(name, steps, weight_decay=0.3), 3))


def step_from(rule, gradient):
    """The first move of a matrix, over the size that an orthogonal one has in it."""
    params = (Layer(jnp.zeros(gradient.shape), jnp.zeros(gradient.shape[1])),)
    grads = (Layer(jnp.asarray(gradient), params[0].b),)
    (found,), _ = rule.update(grads, rule.init(params), params)
    return -found.w / (RATE * 0.2 * max(gradient.shape) ** 0.5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [5, 20, 60])
def test_a_gradient_without_full_rank_stays_bounded(steps, name):
    """That of the last layer is one: over the classes it sums to 0."""
    gradient = drawn((400, 10))
    gradient -= gradient.mean(axis=1, keepdims=True)
    rule = ours(muon_steps=steps, muon_coefficients=name)
    sizes = np.linalg.svd(step_from(rule, gradient), compute_uv=False)
    assert ((sizes[:9] > 0.6) & (sizes[:9] < 1.3)).all()
    assert sizes[9] < 1.3
    np.testing.assert_array_equal(step_from(rule, 0 * gradient), 0)


def operations(rule, shape):
    params = layers([shape])
    arguments = (params, rule.init(params), params)
    costs: Any = jax.jit(rule.update).lower(*arguments).compile().cost_analysis()
    return costs["flops"]


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize(("shape", "at_most"), [((640, 64), 0.75), ((64, 100), 1), ((64, 64), 1)])
def test_it_costs_less_than_optax_s_where_a_matrix_is_wide_and_no_more_elsewhere(shape, at_most, steps):
    share = operations(ours(muon_steps=steps), shape) / operations(of_optax(steps=steps), shape)
    assert share < (1 if steps == 1 else at_most) + 0.03


def test_weights_that_go_to_adamw_decay_as_well():
    plain, decayed = (moves(ours(muon_layers="hidden", weight_decay=decay), 1)[0] for decay in (0.0, 0.3))
    for before, without, with_decay in zip(layers(), plain, decayed, strict=True):
        np.testing.assert_allclose(with_decay.w - without.w, -RATE * 0.3 * before.w, atol=1e-6)
        np.testing.assert_array_equal(with_decay.b, without.b)


def nesterov(steps, shape):
    """Nesterov's momentum of each step, as optax's Muon has it."""
    momentum, found = np.zeros(shape), []
    for step in range(1, steps + 1):
        gradient = drawn(shape, step)
        momentum = BETA * momentum + (1 - BETA) * gradient
        now = gradient / (1 - BETA**step)
        found.append(BETA * momentum / (1 - BETA ** (step + 1)) + (1 - BETA) * now)
    return found


@pytest.mark.parametrize("shape", [(100, 20), (20, 24)])
def test_in_between_the_last_factor_is_multiplied_with_the_new_momentum(shape):
    """With enough iterations, the factor is the inverse root of the Gram matrix."""
    found = moves(ours(**EXACT, muon_every=3), 5, [shape])
    momentum = [m if shape[0] < shape[1] else m.T for m in nesterov(5, shape)]
    for step, ((layer,), m) in enumerate(zip(found, momentum, strict=True)):
        renewed = momentum[step - step % 3]
        values, vectors = np.linalg.eigh(renewed @ renewed.T)
        expected = -RATE * 0.2 * max(shape) ** 0.5 * (vectors / np.sqrt(values)) @ vectors.T @ m
        moved = layer.w if shape[0] < shape[1] else layer.w.T
        np.testing.assert_allclose(moved, expected, atol=0.03 * np.abs(expected).max())
