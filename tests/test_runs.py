from types import SimpleNamespace

import numpy as np
import pytest

from experiments import grid_search
from mlp_jax.studies import plotted
from mlp_jax.studies.norms import summary
from mlp_jax.studies.results import by
from mlp_jax.studies.rows import edge_notes, epoch_means, families
from mlp_jax.studies.statistics import measured, paired
from mlp_jax.training.history import History


def row(best, *tried):
    choice = [{"learning_rate": rate, "validation_accuracy": accuracy} for rate, accuracy in tried]
    return {"layers": 3, "init": "he", "protocol": "clean", "recipe": {"learning_rate": best}, "choice": choice}


def test_a_best_rate_at_the_edge_is_noted():
    inside = row(0.2, (0.1, 0.5), (0.2, 0.6), (0.4, 0.5))
    low, high = row(0.1, (0.1, 0.7), (0.2, 0.6), (0.4, 0.5)), row(0.4, (0.1, 0.1), (0.2, 0.2), (0.4, 0.3))
    dead = row(0.1, (0.1, 0.1), (0.2, 0.1), (0.4, 0.1))
    two = row(0.1, (0.1, 0.7), (0.2, 0.6))
    assert edge_notes([inside, dead, two]) == []
    assert edge_notes([low, high]) == [
        "note: layers 3, init he did best at the edge of --learning_rates: try beyond 0.1",
        "note: layers 3, init he did best at the edge of --learning_rates: try beyond 0.4",
    ]


def history(*losses):
    values = np.array(losses, np.float32)
    return SimpleNamespace(
        history=History(values, np.ones_like(values), np.ones(1, np.float32), np.ones(1, np.float32))
    )


def test_epoch_means_are_of_finite_numbers_and_finite():
    assert epoch_means(history(1, 2, 3), 3)["loss"] == [2.0]
    assert epoch_means(history(3e38, 3e38), 2)["loss"] == [pytest.approx(3e38)]  # their sum is no float32
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="not finite"):
            epoch_means(history(1, value), 2)
        with pytest.raises(ValueError, match="not finite"):
            grid_search.shown_in_figure_1(history(1, value).history, 2)


def test_figures_and_norms_of_finite_numbers_only():
    with pytest.raises(ValueError, match="not finite"):
        plotted.over_seeds("loss", [1, 2], [[1.0, 2.0], [1.0, np.nan]], 0)
    run = SimpleNamespace(observed=((np.ones(2), np.array([1, np.inf])),) * 2)
    with pytest.raises(ValueError, match="not finite"):
        summary([run])  # type: ignore[list-item]


def test_rows_are_grouped_in_their_order():
    rows = [{"a": 2, "b": 1}, {"a": 1, "b": 1}, {"a": 2, "b": 3}]
    assert by(rows, "a") == {2: [rows[0], rows[2]], 1: [rows[1]]}
    assert list(by(rows, "a", "b")) == [(2, 1), (1, 1), (2, 3)]


def test_the_comparisons_of_each_quantity_are_one_family():
    def row(*values):
        return {
            "seeds": [0, 1, 2],
            **{name: measured(values) for name in ("test_accuracy", "validation_accuracy")},
        }

    base, better, same = row(0.5, 0.51, 0.52), row(0.52, 0.535, 0.54), row(0.501, 0.509, 0.521)
    found = families([({"of": "better"}, better, base), ({"of": "same"}, same, base)])
    assert [(each["of"], each["quantity"]) for each in found] == [
        (name, quantity) for quantity in ("test_accuracy", "validation_accuracy") for name in ("better", "same")
    ]
    alone = paired(better, base)
    assert found[0]["values"] == alone["values"]
    assert found[0]["p_holm"] == pytest.approx(2 * alone["p"])  # the smaller p of two, not of four
