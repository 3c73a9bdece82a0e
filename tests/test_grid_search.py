"""The grid search: what is tried, what is chosen, what is said of it, and the published recipe against numpy."""

import jax
import numpy as np
import pytest

from experiments import grid_search
from experiments.grid_search import DEFAULT, DEFAULT_STEPS, STUDY, Point, lengths, points, setting
from mlp_jax.data import DATASETS
from mlp_jax.data.digits import synthetic
from mlp_jax.studies import options, runs, study
from mlp_jax.studies.statistics import measured
from mlp_jax.studies.study import Shape, shape_of
from mlp_jax.training.step import init_state, minibatches
from tests.studies import results_of, without_times

# as many seeds as configurations: what is tried and what is measured then share their programs
SMALL = {"dataset": "synthetic", "hidden": "4", "batch_size": "20", "seeds": 3}
RATES = (0.003, 0.01, 100.0)  # the last one diverges
PUBLISHED = {
    **SMALL, "protocol": "published", "l2": "0.01", "learning_rate": ",".join(map(str, RATES)), "steps": "60,20",
}  # fmt: skip

SHORT = Point(hidden=4, batch_size=20, l2=0.25, learning_rate=1e-4)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A whole run: its exit status as a bool, the content and the folder of its results."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:  # so that the default needs no program of its own
        patch.setattr(grid_search, "DEFAULT", SHORT)
        patch.setattr(grid_search, "DEFAULT_STEPS", 20)
        ok = grid_search.STUDY.run(grid_search.Config(**PUBLISHED, results_dir=str(folder)))
    return ok, results_of(folder, "grid_search"), folder / "grid_search"


def of_kind(content, kind):
    return [row for row in content["rows"] if row["kind"] == kind]


def test_every_configuration_is_tried_once_and_the_best_over_all_seeds(published):
    ok, content, _ = published
    assert ok  # a corner of the grid may diverge
    tried = of_kind(content, "grid")
    assert [(r["steps"], r["learning_rate"]) for r in tried] == [(s, rate) for s in (20, 60) for rate in RATES]
    assert [r["status"] for r in tried] == ["finished", "finished", "diverged"] * 2
    assert all(r["seeds"] == ([0] if r["status"] == "finished" else []) for r in tried)
    assert not any("test_accuracy" in r for r in tried)
    long = [r for r in tried if r["steps"] == 60 and r["status"] == "finished"]
    best = max(long, key=lambda row: row["validation_accuracy"]["mean"])
    assert content["best"] == {name: best[name] for name in Point._fields}
    measured = of_kind(content, "best")
    assert [(r["steps"], r["seeds"]) for r in measured] == [(20, [0, 1, 2]), (60, [0, 1, 2])]
    # the run that was chosen is one of the best's runs: trained together or alone, it is the same
    assert measured[1]["validation_accuracy"]["values"][0] == best["validation_accuracy"]["mean"]
    (default,) = of_kind(content, "default")
    assert Point(*(default[name] for name in Point._fields)) == SHORT
    assert (default["steps"], default["seeds"]) == (20, [0, 1, 2])


def numpy_run(key, rate, l2, steps):
    """The report's script for a network of 4 units: losses, accuracy on each minibatch, on validation."""
    dataset = synthetic()
    pixels = dataset.train_images.reshape(len(dataset.train_images), -1).astype(np.float64)
    x, y = pixels[:-200], dataset.train_labels[:-200]
    validation, labels = pixels[-200:] - x.mean(axis=0), dataset.train_labels[-200:]
    x = x - x.mean(axis=0)
    one = setting(
        grid_search.Config(**PUBLISHED), shape_of(dataset, len(y)), "grid", Point(4, 20, l2, rate), steps
    )
    state = init_state(key, one.model, one.recipes[0])
    (w1, b1), (w2, b2) = (tuple(np.asarray(a, np.float64) for a in layer) for layer in state.params)
    assert w1.std() == pytest.approx(1e-4, rel=0.1)
    assert not b1.any()
    losses, accuracies = [], []
    for step in range(steps):
        epoch, place = divmod(step, len(y) // 20)
        if place == 0:
            order = np.asarray(minibatches(state.order_key, epoch, len(y), 20))
        rows = order[place]
        a, t = x[rows], np.eye(10)[y[rows]]
        z = np.maximum(a @ w1 + b1, 0)
        scores = z @ w2 + b2
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        losses.append(-np.log((p * t).sum(axis=1)).mean() + l2 * ((w1**2).sum() + (w2**2).sum()))
        accuracies.append((scores.argmax(axis=1) == y[rows]).mean())
        delta = (p - t) / len(rows)
        back = (delta @ w2.T) * (z > 0)
        # one decay after the very first step, then one after each epoch
        now = rate * 0.95 ** (epoch + (1 if place else 0))
        w2, b2 = w2 - now * (z.T @ delta + 2 * l2 * w2), b2 - now * delta.sum(axis=0)
        w1, b1 = w1 - now * (a.T @ back + 2 * l2 * w1), b1 - now * back.sum(axis=0)
    scores = np.maximum(validation @ w1 + b1, 0) @ w2 + b2
    return losses, accuracies, (scores.argmax(axis=1) == labels).mean()


def test_the_published_recipe_is_the_scripts(published):
    _, content, _ = published
    row = of_kind(content, "best")[1]
    for seed in (0, 2):
        losses, accuracies, validation = numpy_run(jax.random.key(seed), row["learning_rate"], row["l2"], 60)
        thin = [np.mean(losses[start : start + 25]) for start in (0, 25, 50)]
        np.testing.assert_allclose(row["figure_1"][seed]["loss"], thin, rtol=1e-3)
        shown = row["figure_1"][seed]["batch_accuracy"]
        assert shown == pytest.approx([accuracies[39], accuracies[59]], abs=1e-5)
        # an image of 200 may stand on the boundary
        assert row["validation_accuracy"]["values"][seed] == pytest.approx(validation, abs=0.0051)


def test_the_comparison_is_paired_by_seed(published):
    _, content, _ = published
    short, long = (row["validation_accuracy"]["values"] for row in of_kind(content, "best"))
    (comparison,) = content["comparisons"]
    assert comparison["values"] == pytest.approx(np.subtract(long, short))
    assert (comparison["ours"], comparison["base"]) == ("best, 60 steps", "best, 20 steps")


def test_figures_and_table_show_what_diverged(published):
    _, content, folder = published
    assert [figure["file"] for figure in content["figures"]] == ["figure1.svg", "grid.svg"]
    grid = (folder / "grid.svg").read_text()
    assert grid.count(">x<") == 2
    for row in of_kind(content, "grid"):
        if row["status"] == "finished":
            assert f">{100 * row['validation_accuracy']['mean']:.1f}<" in grid
    assert "after 20 steps" in grid
    curves = (folder / "figure1.svg").read_text()
    assert "training: current minibatch" in curves
    assert "report" not in curves  # that is about CIFAR-10
    assert str(grid_search.table(content)).count("| diverged") == 2
    assert grid_search.finding(content).startswith("The best of 3 configurations was hidden 4, batch 20, lambda ")
    assert " 1 of 3 configurations diverged" in " " + grid_search.finding(content)


def test_resume_trains_only_what_is_missing(published, monkeypatch, tmp_path):
    def stop(*arguments):
        raise KeyboardInterrupt

    options = {**PUBLISHED, "results_dir": str(tmp_path)}
    with monkeypatch.context() as patch:
        patch.setattr(study, "measure", stop)
        with pytest.raises(KeyboardInterrupt):
            grid_search.STUDY.run(grid_search.Config(**options))
    monkeypatch.setattr(grid_search, "DEFAULT", SHORT)
    monkeypatch.setattr(grid_search, "DEFAULT_STEPS", 20)
    monkeypatch.setattr(runs, "measure_together", lambda *a: pytest.fail("trained again"))
    assert grid_search.STUDY.run(grid_search.Config(**options, resume=True))
    resumed = results_of(tmp_path, "grid_search")
    assert without_times(resumed["rows"]) == without_times(published[1]["rows"])


def test_random_search_in_the_clean_protocol_on_the_command_line(tmp_path, capsys):
    options = {**SMALL, "trials": 3, "epochs": 1, "learning_rate_range": "0.01,0.02", "results_dir": tmp_path}
    assert grid_search.main([f"--{name}={value}" for name, value in options.items()]) == 0
    assert capsys.readouterr().err == ""
    content = results_of(tmp_path, "grid_search")
    assert [row["kind"] for row in content["rows"]] == ["trial"] * 3 + ["best"]
    drawn = points(grid_search.Config(**{**options, "results_dir": "."}))
    assert [Point(*(row[name] for name in Point._fields)) for row in of_kind(content, "trial")] == drawn
    assert all(0.01 <= point.learning_rate <= 0.02 for point in drawn)
    assert {row["recipe"]["optimizer"] for row in content["rows"]} == {"momentum"}
    assert {row["steps"] for row in content["rows"]} == {40}
    best = of_kind(content, "best")[0]
    assert best["validation_accuracy"]["values"][0] == max(
        row["validation_accuracy"]["mean"] for row in of_kind(content, "trial")
    )
    assert best["images"]["test"] == 200
    assert [figure["file"] for figure in content["figures"]] == ["figure1.svg", "trials.svg"]
    assert "The best of 3 random trials" in grid_search.finding(content)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("protocol", options.PROTOCOLS)
def test_the_defaults_are_a_search(dataset, protocol):
    config = grid_search.Config(dataset=dataset, protocol=protocol)
    STUDY.check(config)
    number = {"published": 36, "clean": 24 if dataset == "cifar10" else 12}[protocol]
    assert len(set(points(config))) == number


def test_the_report_s_grid():
    config = grid_search.Config(dataset="cifar10", protocol="published")
    assert {tuple(point) for point in points(config)} == {
        (h, b, l2, rate)
        for h in (50, 100, 200)
        for b in (64, 128, 200)
        for l2 in (1e-3, 1e-2)
        for rate in (1e-3, 1e-2)
    }
    assert lengths(config) == (3000, 5000)
    assert tuple(DEFAULT) == (50, 200, 0.25, 1e-4)
    assert DEFAULT_STEPS == 1000
    (trained,) = setting(config, Shape(), "default", DEFAULT, 1000).recipes
    assert (trained.optimizer, trained.decay, trained.decay_after_first_step) == ("sgd", 0.95, True)


def test_draws_are_log_uniform_and_more_of_them_begin_with_the_same():
    def draw(trials, seed):
        ranges = {"l2_range": "1e-4,1e-2", "learning_rate_range": "1e-3,1e-1"}
        return points(grid_search.Config(**ranges, hidden="5,10", batch_size="20,40", trials=trials, seed=seed))

    drawn = draw(400, seed=0)
    assert drawn[:7] == draw(7, seed=0) != draw(7, seed=1)
    for values, low in (([p.l2 for p in drawn], 1e-4), ([p.learning_rate for p in drawn], 1e-3)):
        assert low <= min(values) < max(values) <= 100 * low
        assert np.mean(np.array(values) < 10 * low) == pytest.approx(0.5, abs=0.1)  # half of the decades
    assert {(p.hidden, p.batch_size) for p in drawn} == {(5, 20), (5, 40), (10, 20), (10, 40)}


def made(kind, steps, *values, rate=0.001, **more):
    """A row by hand; without values every run diverged."""
    row = {"kind": kind, "hidden": 200, "batch_size": 200, "l2": 0.01, "learning_rate": rate, "steps": steps}
    row |= {"recipe": {"steps": steps}, "status": "finished" if values else "diverged", "diverged": not values}
    row |= {"validation_accuracy": measured(values), "seeds": list(range(len(values))), "report": None}
    if kind in ("best", "default"):
        row |= {"test_accuracy": measured(values), "images": {"train": 49000, "validation": 1000, "test": 1000}}
        row["curves"] = {"validation_accuracy": [[0.4, v] for v in values]}
        row["figure_1"] = [{"loss": [2.3, 1.0], "batch_accuracy": [0.4, 0.5]} for _ in values]
    return row | more


def content_by_hand():
    best = [
        made("best", 300, 0.50, 0.51, 0.52),
        made("best", 490, 0.53, 0.53, 0.56, report={"validation_accuracy": 0.533}),
    ]
    rows = [made("grid", 490, 0.53), made("grid", 490, rate=0.01), *best]
    rows.append(made("default", 1000, 0.2, 0.21, report={"validation_accuracy": 0.29}))
    point = {"hidden": 200, "batch_size": 200, "l2": 0.01, "learning_rate": 0.001}
    return {"rows": rows, "best": point, "comparisons": grid_search.comparisons(rows)}


def test_the_finding_states_report_verdict_gain_and_what_diverged():
    assert grid_search.finding(content_by_hand()) == (
        "The best of 2 configurations was hidden 200, batch 200, lambda 0.01, learning rate 0.001: validation "
        "54.0 ± 1.7 % over 3 seeds (report: 53.3 %: cannot tell) after 490 steps, 54.0 ± 1.7 % on "
        "1000 test images, 3.0 points more than after 300 (95 % interval +0.5 to +5.5). 1 of 2 configurations "
        "diverged; the default reached validation 20.5 ± 0.7 % over 2 seeds (report: 29.0 %: cannot tell)."
    )


def test_the_choice_is_of_the_longest_runs_that_finished_and_ties_go_to_the_first():
    rows = [made("grid", 300, 0.9, rate=5.0), made("grid", 490, rate=4.0)]
    rows += [made("grid", 490, 0.5, rate=3.0), made("grid", 490, 0.6, rate=2.0), made("grid", 490, 0.6, rate=1.0)]
    assert grid_search.choose(rows) == Point(200, 200, 0.01, 2.0)
    assert grid_search.choose(rows[:2]) is None


def test_words_and_figures_when_nothing_finished_or_one_seed_ran():
    nothing = {"rows": [made("grid", 490)], "best": None, "comparisons": []}
    assert grid_search.finding(nothing) == "None of 1 configurations finished, so there is no best one."
    assert list(grid_search.figures(nothing)) == ["grid.svg"]
    rows = [made("grid", 490, 0.5), made("best", 300, 0.4), made("best", 490, 0.5)]
    single = {**content_by_hand(), "rows": rows, "comparisons": grid_search.comparisons(rows)}
    assert "validation 50.0 % over 1 seed after 490 steps" in grid_search.finding(single)
    assert "10.0 points more than after 300." in grid_search.finding(single)
    lost = [made("grid", 490, 0.5), made("best", 300), made("best", 490)]
    gone = {**single, "rows": lost, "comparisons": grid_search.comparisons(lost)}
    assert "no accuracy, since every run diverged" in grid_search.finding(gone)
    assert list(grid_search.figures(gone)) == ["grid.svg"]


def test_figures_show_the_report_s_values_and_random_trials():
    figures = grid_search.figures(content_by_hand())
    assert "report: 53.3 %" in figures["figure1.svg"].content
    assert "report: ends near 0.95" in figures["figure1.svg"].content
    assert "200 images, as in the report" in figures["figure1.svg"].caption
    rows = [made("trial", 490, 0.5), made("trial", 490, 0.4, rate=0.1, hidden=50), made("trial", 490, rate=1.0)]
    figure = grid_search.figures({**content_by_hand(), "rows": rows})["trials.svg"].content
    for word in ("hidden 50", "hidden 200", "learning rate", "lambda"):
        assert word in figure
