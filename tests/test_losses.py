import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from mlp_jax.errors import UserError
from mlp_jax.nn import losses
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Layer, NormLayer, init


@pytest.mark.parametrize("scale", [1e-3, 1, 100, 1e4])
@pytest.mark.usefixtures("x64")
def test_cross_entropy_against_scipy_and_optax(scale):
    rng = np.random.default_rng(0)
    logits, labels = scale * rng.normal(size=(20, 7)), rng.integers(0, 7, 20)
    found = losses.cross_entropy(jnp.asarray(logits), labels)
    np.testing.assert_allclose(found, -log_softmax(logits, axis=1)[np.arange(20), labels], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found, optax.softmax_cross_entropy_with_integer_labels(logits, labels), rtol=1e-9)


def test_cross_entropy_of_extreme_logits_in_float32():
    logits = jnp.asarray([[1e4, -1e4, 0], [1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4 - 0.5, -1e4]], jnp.float32)
    found = losses.cross_entropy(logits, np.array([0, 1, 2, 1]))
    # the last: log(1 + e^0.5)
    np.testing.assert_allclose(found, [0, 2e4, np.log(3), 0.9740770], rtol=1e-6)
    grads = jax.grad(lambda z: losses.cross_entropy(z, np.array([0, 1, 2, 1])).sum())(logits)
    assert np.isfinite(grads).all()


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_label_out_of_range(label):
    labels = np.array([0, label])
    with pytest.raises(UserError, match=rf"label {label} at index 1 is out of range: labels are 0 to 2"):
        losses.cross_entropy(jnp.zeros((2, 3)), labels)
    traced = jax.jit(losses.cross_entropy)(jnp.zeros((2, 3)), labels)
    assert np.isnan(traced[1])
    assert np.isfinite(traced[0])


def test_penalty_counts_weights_only():
    params = (
        NormLayer(jnp.full((2, 3), 2.0), jnp.ones(3), 5 * jnp.ones(3), jnp.ones(3)),
        Layer(jnp.full((3, 1), -1.0), jnp.ones(1)),
    )
    assert losses.l2_penalty(params) == 6 * 4 + 3


def test_loss_is_data_term_plus_penalty():
    config = MLPConfig(hidden=(4,), inputs=3, classes=3)
    params = init(jax.random.key(0), config)
    x, y = np.ones((5, 3), np.float32), np.arange(5) % 3
    data_term = losses.loss(params, x, y, config)
    found = losses.loss(params, x, y, config, l2=0.7)
    np.testing.assert_allclose(found, data_term + 0.7 * losses.l2_penalty(params), rtol=1e-6)


NOT_FITTING = """
import numpy as np
from mlp_jax.errors import UserError
from mlp_jax.nn import losses
for function in (losses.cross_entropy, losses.accuracy):
    try:
        function(np.eye(3), np.array([0]))
    except UserError as error:
        print(error)
"""


def test_labels_that_do_not_fit_the_logits(server):
    """As a user meets it, in a process without the tests' shape checks."""
    assert server.code(NOT_FITTING).out == 2 * "logits of shape (3, 3) need labels of shape (3,), not (1,)\n"
    for function in (losses.cross_entropy, losses.accuracy):
        with pytest.raises(UserError, match="out of range"):
            function(jnp.eye(3), np.array([0, 1, 3]))


def test_accuracy_is_a_fraction_and_nan_is_wrong():
    logits = jnp.asarray([[1.0, 2], [3, 0], [0, 1], [jnp.nan, 0]])
    assert losses.accuracy(logits, np.array([1, 0, 0, 0])) == 0.5


def test_soft_labels_give_the_expected_cross_entropy():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    soft = np.array([[1, 0, 0], [0, 0.5, 0.5], [0.2, 0.3, 0.5], [0, 0, 1]], np.float32)
    expected = sum(soft[:, c] * np.asarray(losses.cross_entropy(logits, np.full(4, c))) for c in range(3))
    np.testing.assert_allclose(losses.cross_entropy(logits, jnp.asarray(soft)), expected, rtol=1e-5)
    assert losses.accuracy(logits, jnp.asarray(soft)) == losses.accuracy(logits, soft.argmax(axis=1))


@pytest.mark.parametrize("row", [[0.5, 0.6, 0], [-0.5, 0.5, 1], [float("nan"), 0, 1]])
def test_soft_labels_that_are_no_probabilities(row):
    with pytest.raises(UserError, match="soft labels are probabilities; row 0 is"):
        losses.cross_entropy(jnp.ones((1, 3)), np.array([row], np.float32))
