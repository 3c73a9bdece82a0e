"""The activation study: what is trained, a run against an independent one, comparisons, words and figures."""

import jax
import numpy as np
import pytest

from experiments import activation_study
from experiments.activation_study import Config, labels, recipe, settings
from mlp_jax.data import load
from mlp_jax.data.pixels import normalize
from mlp_jax.nn.config import MLPConfig
from mlp_jax.studies import statistics, verdicts
from mlp_jax.studies.claims import Missing
from mlp_jax.studies.rows import reported
from mlp_jax.studies.study import Shape
from mlp_jax.training import population
from mlp_jax.training.config import Run, TrainConfig
from mlp_jax.training.evaluate import evaluate
from tests.studies import results_of

FEW = {
    "dataset": "synthetic", "activations": "leaky_relu", "batch_norms": "after", "dropouts": "0,0.5",
    "widths": "8", "width": 8, "hidden_layers": 1,
}  # fmt: skip
CENTRE = {"hidden": "400,400,400", "activation": "leaky_relu", "batch_norm": "after", "dropout": 0.0}


def row(values, *, seeds=None, report=None, **changes):
    """A finished row with these test accuracies; validation is 0.01 more."""
    seeds = list(range(len(values))) if seeds is None else seeds
    return {
        **CENTRE, **changes, "recipe": {"learning_rate": 0.001}, "status": "finished" if values else "diverged",
        "diverged": 0 if values else 3, "seeds": seeds, "test_accuracy": statistics.measured(values),
        "validation_accuracy": statistics.measured([v + 0.01 for v in values]),
        "images": {"train": 45_000, "validation": 5_000, "test": 10_000}, "report": report,
        "choice": [{"learning_rate": 0.001}],
    }  # fmt: skip


def content(rows):
    return {"rows": rows, "comparisons": activation_study.comparisons(rows)}


REPORT = {"validation_accuracy": 0.561, "test_accuracy": 0.564}
ROWS = [
    row([0.54, 0.55, 0.545], report=REPORT),
    row([0.50, 0.51, 0.505], batch_norm="none"),
    row([0.49, 0.50, 0.496], batch_norm="none", activation="relu"),
    row([0.48, 0.49, 0.485], hidden="8", batch_norm="none", activation="relu"),
    row([0.545, 0.545, 0.54], activation="gelu"),
    row([], activation="softplus"),
    row([0.53, 0.54, 0.5351], dropout=0.2),
    row([0.50, 0.51, 0.5051], dropout=0.5),
    row([0.50, 0.51, 0.506], hidden="50,50,50"),
]


def test_what_is_trained_on_cifar10():
    found = labels(Config(dataset="cifar10"))
    assert found[0] == CENTRE
    assert len(found) == 19  # the centre, 3 of the path, 10 activations, 1 more norm, 2 dropouts, 2 widths
    assert {**CENTRE, "hidden": "200,200,200"} in found
    assert {"hidden": "8", "activation": "relu", "batch_norm": "none", "dropout": 0.0} in found
    cifar10 = Config(dataset="cifar10")
    stated = [setting.report for setting in settings(cifar10, Shape())]
    assert stated.count(None) == 18
    assert {"validation_accuracy": 0.561, "test_accuracy": 0.564} in stated
    plain = reported(cifar10, activation_study.REPORT["50,50", "relu", "none", 0.0])
    assert plain == {"validation_accuracy": 0.525, "test_accuracy": 0.528}
    assert all(setting.report is None for setting in settings(Config(), Shape()))


def test_the_clean_rate_ends_at_a_32nd():
    for epochs in (2, 6, 9):
        found = recipe(Config(epochs=epochs), 1.0)
        assert found.decay ** (epochs - 1) == pytest.approx(1 / 32)


@pytest.fixture(scope="module", autouse=True)
def _small_plain():
    """The path starts at the shape of the others, which are compiled anyway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(activation_study.PLAIN, "hidden", "8")
        yield


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    config = Config(**FEW, protocol="published", epochs=2, seeds=2, results_dir=str(folder))
    assert activation_study.STUDY.run(config)
    return folder / "activation_study", results_of(folder, "activation_study")


def test_a_row_is_what_an_independent_run_gives(published):
    centre = published[1]["rows"][0]
    splits = normalize(Config(**FEW, protocol="published").split(load("synthetic")), "unit_range")
    model = MLPConfig(
        hidden=(8,), activation="leaky_relu", norm="batch", norm_place="after", inputs=splits.train.x.shape[1]
    )
    how = TrainConfig("adam", 1e-3, weight_decay=1e-3, batch_size=20, epochs=2, validate_in_training_mode=True)
    _, result = population.train_population([Run(jax.random.key(seed), model, how) for seed in (0, 1)], splits)
    assert centre["seeds"] == [0, 1]
    assert centre["validation_accuracy"]["values"][1] == result.history.validation_accuracy[-1]
    tested = evaluate(result.state.params, result.state.stats, splits.test, model)
    assert centre["test_accuracy"]["values"][1] == tested.accuracy


def test_the_results_file(published):
    folder, found = published
    assert [activation_study.label(r) for r in found["rows"]] == labels(Config(**FEW))
    assert {file["file"] for file in found["figures"]} == {"accuracies.svg", "differences.svg"}
    (dropped,) = (r for r in found["rows"] if r["dropout"] == 0.5)
    compared = [c for c in found["comparisons"] if c["setting"]["dropout"] == 0.5]
    assert [c["quantity"] for c in compared] == ["test_accuracy", "validation_accuracy"]
    ours, base = (r["test_accuracy"]["values"] for r in (dropped, found["rows"][0]))
    assert compared[0]["values"] == pytest.approx(np.subtract(ours, base))
    assert all(dropped["recipe"][k] == v for k, v in {"learning_rate": 1e-3, "weight_decay": 1e-3}.items())
    assert "dropout" in (folder / "accuracies.svg").read_text()


def test_a_choice_of_rates(tmp_path):
    config = Config(**{**FEW, "widths": "4,8"}, epochs=0, seeds=1, results_dir=str(tmp_path))
    assert activation_study.STUDY.run(config)
    for found in results_of(tmp_path, "activation_study")["rows"]:
        assert [c["learning_rate"] for c in found["choice"]] == list(activation_study.SMALL_RATES)
        assert (found["validation_accuracy"]["n"], found["train_loss"]["mean"]) == (1, None)


def test_factors_and_the_path():
    expected = [None, "batch normalisation", "several", "several", *["activation"] * 2, *["dropout"] * 2, "width"]
    assert [activation_study.factor(r, ROWS[0]) for r in ROWS] == expected
    assert list(activation_study.sweep(ROWS, "width")) == ["50,50,50", "400,400,400"]
    assert list(activation_study.sweep(ROWS, "activation")) == ["leaky_relu", "gelu", "softplus"]
    assert list(activation_study.path(ROWS)) == ["8 relu", "+ 400,400,400", "+ leaky_relu", "+ norm after"]
    steps = [
        c for c in activation_study.comparisons(ROWS) if (c["factor"], c["quantity"]) == ("path", "test_accuracy")
    ]
    assert [round(step["mean"], 4) for step in steps] == [0.0103, 0.0097, 0.04]


def test_verdicts_by_hand():
    def answers(rows):
        return activation_study.no_better(content(rows))["verdict"], activation_study.best(content(rows))[
            "verdict"
        ]

    # softplus diverged: there is nothing to compare
    assert answers(ROWS) == (verdicts.REPRODUCED, statistics.CANNOT_TELL)
    answer = activation_study.no_better(content(ROWS))
    assert [part["what"] for part in answer["parts"]] == ["with 0.2", "with 0.5"]
    better = row([0.56, 0.5701, 0.565], activation="elu")
    worse = row([0.55, 0.5601, 0.555], dropout=0.2)
    assert answers([*ROWS, better])[1] == verdicts.NOT_REPRODUCED
    assert activation_study.no_better(content([ROWS[0], worse, ROWS[7]]))["verdict"] == verdicts.NOT_REPRODUCED
    for judge in (activation_study.no_better, activation_study.best):
        with pytest.raises(Missing):
            judge(content([row([0.5])]))


def test_words():
    found = activation_study.finding(content(ROWS))
    assert "[400,400,400], reaches 54.5 ± 0.5 % on test (plain [8] of relu: 48.5 ± 0.5 %); dropout" in found
    assert "dropout changes it by -1.0 (0.2) and -4.0 (0.5) points" in found
    assert "Of the activations leaky_relu is first with 54.5 ± 0.5 %" in found
    assert "by -4.0 (none) points" in found
    assert f"improvement': {verdicts.REPRODUCED})" in found
    one = [row([0.5]), row([0.4], dropout=0.5), row([], dropout=0.2), row([], activation="relu")]
    assert "- (0.2, diverged) and -10.0 (0.5)" in activation_study.finding(content(one))
    assert "reaches - % on test" in activation_study.finding(content([row([]), row([0.4], dropout=0.5)]))
    assert "dropout" not in activation_study.finding(content([row([0.5])]))


def test_table():
    lines = str(activation_study.table(content(ROWS))).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert "| 54.5 ± 0.5 |" in lines[2]
    assert lines[2].endswith("| -                         |")
    assert "56.4" in lines[2]
    assert "-4.0 [-4.4, -3.6]" in lines[3]  # no spread over seeds: that of 400 in 10,000 images
    assert "3 diverged" in lines[7]


def test_figures():
    found = activation_study.figures(content(ROWS))
    accuracies, differences = (found[name].content for name in ("accuracies.svg", "differences.svg"))
    for word in ("batch normalisation", "gelu", "report: 56.4 %", "diverged", "from plain to best", "0.2"):
        assert f">{word}</text>" in accuracies
    assert "minus" not in accuracies
    assert ">+ norm after</text>" in differences
    assert ">leaky_relu</text>" not in differences  # the centre minus itself
    assert len(accuracies) < 100_000
    alone = activation_study.figures(content([row([0.5])]))
    assert ">report" not in alone["accuracies.svg"].content
