"""The initialisation study: norms, the rule for death, words and figures, and the command as users run it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import init_study
from mlp_jax import data
from mlp_jax.data.dataset import Split
from mlp_jax.data.pixels import normalize
from mlp_jax.nn import losses
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Layer, forward, init
from mlp_jax.studies import statistics
from mlp_jax.studies.norms import norms, root_mean_square
from mlp_jax.training import population
from mlp_jax.training.config import Run, TrainConfig
from mlp_jax.training.evaluate import evaluate
from tests.studies import results_of

SMALL = {
    "dataset": "synthetic", "layers": "3", "hidden": 8, "epochs": 2, "seeds": 2, "optimizers": "adam",
    "inits": "normal_1e-15,he", "adam_learning_rate": 0.01,
}  # fmt: skip


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    assert init_study.STUDY.run(init_study.Config(**SMALL, results_dir=str(folder)))
    written = results_of(folder, "init_study")
    assert {file["file"] for file in written["figures"]} == {
        "accuracy.svg", "first_gradient.svg", "norms_3_layers.svg",
    }  # fmt: skip
    assert all((folder / "init_study" / file["file"]).stat().st_size < 200_000 for file in written["figures"])
    return written


def synthetic():
    """The splits of `SMALL`, made without the study."""
    config = init_study.Config(**SMALL)
    return normalize(config.split(data.load("synthetic")), "standardize")


def test_the_rows_of_a_small_study(content):
    labels = [(row["optimizer"], row["init"], row["layers"]) for row in content["rows"]]
    assert labels == [("adam", name, 3) for name in ("normal_1e-15", "he")]
    for row in content["rows"]:
        assert (row["status"], row["protocol"]) == ("finished", "clean")
        assert row["data_fingerprint"] == data.load("synthetic").fingerprint
        for name in ("activation", "gradient"):
            assert np.shape(row["norms"][name]["mean"]) == (3, row["layers"])  # the start and 2 epochs
            assert np.shape(row["norms"][name]["spread"]) == (2, row["layers"])
    assert [row["dead"] for row in content["rows"]] == [2, 0]
    assert {found["init"]: found["layers"] for found in content["dies"]}["he"] is None


def test_the_norms_at_the_start_are_those_of_autodiff(content):
    """And the spread is the geometric standard deviation over seeds."""
    splits = synthetic()
    x, y = (jnp.asarray(values[:200]) for values in splits.train)
    config = MLPConfig(hidden=(8, 8), init="he", inputs=x.shape[1])

    @jax.jit
    def expected(key):
        params = init(jax.random.split(key, 3)[0], config)
        first = jax.nn.relu(x @ params[0].w + params[0].b[None])
        return jax.grad(losses.loss)(params, x, y, config), (first, forward(params, x, config))

    gradients, outputs = [], []
    for seed in range(2):
        grads, layers = expected(jax.random.key(seed))
        gradients.append([np.sqrt(np.mean(np.square(layer.w, dtype=float))) for layer in grads])
        outputs.append([np.sqrt(np.mean(np.square(layer, dtype=float))) for layer in layers])
    (row,) = (row for row in content["rows"] if (row["init"], row["layers"]) == ("he", 3))
    found = row["norms"]["gradient"]
    np.testing.assert_allclose(found["mean"][0], np.exp(np.log(gradients).mean(axis=0)), rtol=2e-3)
    np.testing.assert_allclose(found["spread"][0], np.exp(np.log(gradients).std(axis=0, ddof=1)), rtol=2e-3)
    activations = np.array(row["norms"]["activation"]["mean"][0])
    np.testing.assert_allclose(activations[[0, 2]], np.exp(np.log(outputs).mean(axis=0)), rtol=2e-3)


def test_small_values_do_not_vanish_when_they_are_squared():
    values = jnp.array([3e-30, -4e-30])
    assert float(root_mean_square(values)) == pytest.approx(np.sqrt(12.5) * 1e-30)
    assert float(root_mean_square(jnp.zeros(3))) == 0


def test_softmax_regression_has_one_layer():
    config = MLPConfig(hidden=(), inputs=4, classes=3)
    params = (Layer(jnp.full((4, 3), 0.5), jnp.zeros(3)),)
    found = norms(params, Split(jnp.ones((5, 4)), jnp.zeros(5, jnp.int32)), config)
    np.testing.assert_allclose(found.activation, [2.0], rtol=1e-6)
    # the softmax is 1/3, so a column of the gradient is -2/3 and the others are 1/3
    np.testing.assert_allclose(found.gradient, [np.sqrt((4 + 1 + 1) / 9 / 3)], rtol=1e-5)


def test_parameters_are_observed_after_every_epoch():
    """And training takes no notice."""
    splits = synthetic()
    model = MLPConfig(hidden=(8,), inputs=splits.train.x.shape[1], init="he")
    recipe = TrainConfig(optimizer="adam", batch_size=20, epochs=2, decay=1.0)
    runs = [Run(jax.random.key(n), model, recipe) for n in (0, 1)]
    seen = {}

    def observe(number, epoch, params):
        seen[number, epoch] = params
        return (params[0].b,)

    found: dict[int, object] = {}
    for epoch in population.epochs(runs, splits):
        epoch.observe(observe)
        found |= epoch.results()
    plain = population.train_population(runs, splits)
    assert seen.keys() == {(number, epoch) for number in (0, 1) for epoch in (0, 1, 2)}
    for number, (ours, other) in enumerate(zip(found.values(), plain, strict=True)):
        for a, b, last in zip(
            *map(jax.tree.leaves, (ours.state.params, other.state.params, seen[number, 2])), strict=True
        ):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a, last)
        first = jax.jit(init, static_argnums=1)(jax.random.split(jax.random.key(number), 3)[0], model)
        np.testing.assert_allclose(seen[number, 0][0].w, first[0].w, rtol=1e-5)
        np.testing.assert_array_equal(ours.observed, [(seen[number, n][0].b,) for n in range(3)])
        after_1 = evaluate(seen[number, 1], (), splits.validation, model)
        assert after_1.accuracy == ours.history.validation_accuracy[0]


def test_a_network_is_dead_up_to_two_standard_errors_above_the_commonest_class():
    split = Split(np.zeros((10, 1)), np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2]))
    assert init_study.majority(split) == 0.4
    limit = 0.4 + 2 * statistics.accuracy_error(0.4, 1000)
    assert limit == pytest.approx(0.43098, abs=1e-5)
    assert init_study.is_dead(0.43, 0.4, 1000)
    assert not init_study.is_dead(0.432, 0.4, 1000)
    assert init_study.is_dead(0.1, 0.4, 1000)


def made_row(init, layers, dead, first, *, optimizer="sgd", diverged=0):
    seeds = [0, 1, 2][: 3 - diverged]
    norms = {"mean": [[first] * layers, [0.0] * layers], "spread": [[1.5] * layers, [1.0] * layers]}
    return {
        "init": init, "optimizer": optimizer, "layers": layers, "recipe": {"epochs": 4}, "chance": 0.11,
        "validation_accuracy": statistics.measured([0.1 + 0.1 * n for n in seeds]), "seeds": seeds,
        "test_accuracy": statistics.measured([0.2 for _ in seeds]), "dead": dead, "diverged": diverged,
        "status": "diverged" if diverged else "finished",
        "norms": {"activation": norms if seeds else None, "gradient": norms if seeds else None,
                  "moved": [0.1] * layers if seeds else None},
    }  # fmt: skip


def test_the_finding_tells_where_learning_dies_and_how_gradients_shrink():
    rows = [
        made_row("normal_1e-3", 2, 0, 1e-2),
        made_row("normal_1e-3", 3, 3, 1e-4),
        made_row("normal_1e-3", 4, 2, 1e-6),  # not all of them
        made_row("normal_1e-3", 6, 3, 1e-10),
        made_row("normal_1e-3", 8, 3, 1e-14),
        made_row("he", 2, 0, 0.5),
        made_row("he", 8, 0, 0.0, diverged=3),
    ]
    dies = init_study.dies(rows)
    assert dies == [
        {"optimizer": "sgd", "init": "normal_1e-3", "layers": 6},
        {"optimizer": "sgd", "init": "he", "layers": None},
    ]
    content = {"rows": rows, "dies": dies}
    assert init_study.finding(content) == (
        "Learning dies under SGD: normal_1e-3 from 6 layers on, he at no depth up to 8. At the start, each "
        "further layer divides the first layer's gradient by 100 (normal_1e-3)."
    )
    assert "| 3 diverged |" in str(init_study.table({"rows": rows}))
    figures = init_study.figures(content)
    assert figures.keys() == {"accuracy.svg", "first_gradient.svg", "norms_8_layers.svg"}
    assert all(words in figures["accuracy.svg"].content for words in ("SGD", "commonest class", "he", "[%]"))
    norms = figures["norms_8_layers.svg"].content
    assert all(words in norms for words in ("at the start", "after 4 epochs of SGD", "normal_1e-3"))


def test_protocols_name_their_sgd():
    published, clean = (init_study.Config(protocol=name) for name in ("published", "clean"))
    assert init_study.recipe(published, "sgd").optimizer == "sgd"
    assert init_study.recipe(published, "adam").weight_decay == 1e-3
    assert init_study.recipe(clean, "sgd").optimizer == "momentum"
    assert init_study.Config(dataset="cifar10").value("layers") == (2, 3, 4, 5, 6, 7, 8)
    assert init_study.start("normal_1e-4") == {"init": "normal", "init_std": 1e-4}
