"""README and the pages beside the code tell the truth: examples, tables, links and commands."""

import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
from typing import Any

import pytest

from experiments import depth_study, reproduce
from experiments.reproduce import CLAIMS
from mlp_jax.errors import UserError
from mlp_jax.files import sealed, unsealed
from mlp_jax.studies import results
from mlp_jax.studies.claims import judged
from mlp_jax.studies.origin import differing
from mlp_jax.training.recipes import RECIPES, fitted
from mlp_jax.training.written import as_written
from tests import readme
from tests import result_tables as tables
from tests.commands import ROOT, python
from tests.committed import alike

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {*readme.PAGES, "BUILD_NOTES.md", "mlp_jax/studies/README.md"}


def block(name, language):
    return README.split(f"<!-- {name} -->\n```{language}\n")[1].split("\n```")[0]


@pytest.mark.optimized
def test_the_example_prints_what_it_says():
    code = block("example", "python")
    expected = README.split(code)[1].split("```text\n")[1].split("\n```")[0]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue().strip() == expected


def test_the_wrong_network_gets_what_it_says(tmp_path):
    (tmp_path / "net.py").write_text(block("wrong net", "python"))
    words = block("check it", "sh").split()
    assert words[0] == "python"
    done = python(*words[1:], folder=tmp_path, environment={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.status, done.err) == (1, "")
    assert done.out.strip() == block("what it prints", "text")


def test_the_checkers_own_command_says_the_same_and_writes_nothing(server, tmp_path):
    (tmp_path / "net.py").write_text(block("wrong net", "python"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(target):
        return server.checked(target, folder=tmp_path, environment=environment)

    report = block("what it prints", "text").removesuffix("results/gradient_check/results.json").strip()
    done = run("net.py:TwoLayerNet")
    assert (done.status, done.out.strip(), done.err) == (1, report, "")
    status, printed, said = run("other.py:TwoLayerNet")
    assert (status, printed, said.count("\n")) == (2, "", 1)
    assert said.startswith("error: ")
    assert "other.py" in said
    assert [path.name for path in tmp_path.iterdir()] == ["net.py"]


@pytest.mark.parametrize("page", readme.PAGES)
def test_the_generated_parts_are_up_to_date(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert alike(readme.updated(page, text), text), "run: python -m tests.readme"
    assert "| FAIL |" not in text  # of a mistake that the checker did not name


@pytest.mark.parametrize("page", ["README.md", "BUILD_NOTES.md"])
def test_a_page_that_is_read_whole_is_short(page):
    assert len((ROOT / page).read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.parametrize("page", sorted(PAGES))
def test_what_a_page_links_and_runs_exists(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]*)\)", text):
        name, _, heading = target.partition("#")
        linked = (ROOT / page).parent / name if name else ROOT / page
        assert linked.exists(), target
        assert not heading or heading in headings(linked), target
    for name in re.findall(r"-m ((?:experiments|tests|mlp_jax)[\w.]*)", text):
        assert importlib.util.find_spec(name), name


def headings(page):
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_a_page_without_its_part_is_named():
    with pytest.raises(ValueError, match=r"gradcheck/README\.md has no part called 'seeded mistakes'"):
        readme.updated("mlp_jax/gradcheck/README.md", "# Empty")


def test_every_fault_of_the_soak_was_survived():
    content = results.read_sealed(ROOT / "experiments" / "results" / "soak_kill.json")
    assert content["complaints"] == []
    assert all(row["tried"] == row["survived"] > 0 for row in content["rows"])
    tried = {
        signal: sum(row["tried"] for row in content["rows"] if row["fault"].startswith(signal))
        for signal in ("SIGKILL", "SIGTERM", "a full disk")
    }
    assert tried["SIGKILL"] >= 50
    assert min(tried.values()) >= 5


def test_the_committed_results_hold_their_figures():
    published, clean = tables.depth_studies()
    assert all(0.47 <= row["validation_accuracy"]["mean"] <= 0.54 for row in tables.of_table_1(published))
    assert max(row["test_accuracy"]["mean"] for row in clean["rows"]) >= 0.51
    for content in (published, clean):
        assert [row["layers"] for row in tables.of_table_1(content)] == sorted(depth_study.REPORT)
        assert all(row["test_accuracy"]["n"] >= 3 for row in content["rows"])


def test_the_committed_page_is_of_the_committed_results():
    main = results.read_json(tables.RESULTS / "reproduce" / "results.json")
    jobs = list(reproduce.jobs(reproduce.Config(dataset="cifar10", results_dir=str(tables.RESULTS))))
    files = {(job.protocol, job.name): results.read_json(job.folder / "results.json") for job in jobs}
    assert alike(json.loads(json.dumps(judged(files, CLAIMS))), main["claims"])
    page = (tables.RESULTS / "reproduce" / "report.md").read_text(encoding="utf-8")
    for job in jobs:
        content = files[job.protocol, job.name]
        assert differing(content["config"], job.config) == ""
        assert content["environment"]["dirty"] is False
        finding = job.study.finding(content)
        assert any(alike(finding, line) for line in page.splitlines() if line[:30] == finding[:30])
        assert all((job.folder / figure["file"]).exists() for figure in content["figures"])
    best = files["published", "grid_search"]["rows"]
    assert {row["validation_accuracy"]["n"] for row in best if row["kind"] == "best"} == {16}


def test_a_table_takes_no_file_of_the_other_protocol_or_of_other_data(monkeypatch, tmp_path):
    for folder in ("published", "."):
        (tmp_path / folder / "depth_study").mkdir(parents=True)
        shutil.copy(tables.RESULTS / folder / "depth_study" / "results.json", tmp_path / folder / "depth_study")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert len(tables.depth_studies()) == 2
    mine, other = (tmp_path / folder / "depth_study" / "results.json" for folder in (".", "published"))
    text = mine.read_text()
    mine.write_text(other.read_text())
    with pytest.raises(UserError, match="protocol 'published' where 'clean' belongs"):
        tables.depth_studies()
    content = unsealed(json.loads(text))
    for place in (content["environment"], *content["rows"]):
        place["data_fingerprint"] = "0" * 64
    mine.write_text(json.dumps(sealed(content)))
    with pytest.raises(UserError, match=f"data_fingerprint '{'0' * 64}'"):
        tables.depth_studies()


def test_the_commands_are_what_ci_runs():
    assert reproduce.__name__ in block("main job", "sh")
    assert "pytest" in block("tests", "sh")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="NOT TESTED: not a git checkout")
def test_the_repository_keeps_its_shape():
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    ).stdout
    files = listed.split()
    top = {name.split("/")[0] for name in files}
    assert {name for name in top if not name.startswith(".")} == {
        "BUILD_NOTES.md", "LICENSE", "README.md", "experiments", "mlp_jax", "pyproject.toml", "tests",
    }  # fmt: skip
    for name in files:
        if name.startswith("experiments/results/"):
            assert (ROOT / name).stat().st_size < 200_000


def test_the_committed_recipes_reach_what_is_said_of_them():
    floors = {"report": 0.65, "plain": 0.58, "augmented": 0.68, "long": 0.72}
    most = {"report": 3, "long": 100}  # minutes, of the others 30
    seeds = {"long": 1}
    for name, content in tables.recipe_runs().items():
        (row,), expected = content["rows"], RECIPES[name].expected
        assert content["environment"]["dirty"] is False
        assert expected is not None
        assert (row["name"], row["images"]["test"], row["diverged"]) == (name, 10_000, 0)
        model, training = fitted(RECIPES[name], (32, 32, 3), 10, 49_000)
        assert row["recipe"] == json.loads(json.dumps(as_written(training)))
        assert row["network"] == json.loads(json.dumps(as_written(model)))
        assert len(row["seeds"]) == expected.seeds >= seeds.get(name, 3)
        assert row["test_accuracy"]["mean"] == pytest.approx(expected.accuracy, abs=0.0005)
        seconds = content["environment"]["wall_seconds"] / expected.seeds
        assert seconds == pytest.approx(expected.seconds, abs=3)
        assert seconds <= 60 * most.get(name, 30)
        assert row["test_accuracy"]["mean"] >= floors[name]
    for name, content in tables.speedruns().items():
        assert content["environment"]["dirty"] is False
        anew, cached = content["rows"]
        expected, goal = RECIPES[name].expected, RECIPES[name].target
        assert expected is not None
        assert anew["test_accuracy"]["mean"] == pytest.approx(expected.accuracy, abs=0.0005)
        assert anew["seconds_from_process_start"]["mean"] == pytest.approx(expected.seconds, abs=1)
        assert anew["target"] == goal == {"speedrun": 0.564, "speedrun_60": 0.60, "speedrun_65": 0.65}[name]
        assert anew["reached"]
        assert anew["same_parameters"]
        assert len(anew["seeds"]) >= 3
        assert (
            max(anew["seconds_from_process_start"]["values"])
            < {"speedrun": 30, "speedrun_60": 60, "speedrun_65": 120}[name]
        )
        assert cached["seconds_from_process_start"]["mean"] < anew["seconds_from_process_start"]["mean"]


def test_the_recipe_that_was_run_by_an_earlier_version_is_what_it_was():
    """What is an option since then stands at its default."""
    (row,) = results.read_json(tables.EARLIER / "bottleneck" / "best_model" / "results.json")["rows"]
    written = as_written(fitted(RECIPES["bottleneck"], (32, 32, 3), 10, 49_000)[1])
    then = {name: value for name, value in row["recipe"].items() if name != "augmentation"}
    assert {name: written[name] for name in then} == then
    expected = RECIPES["bottleneck"].expected
    assert expected is not None
    assert expected.accuracy == pytest.approx(row["test_accuracy"]["mean"], abs=0.0005)


def test_the_committed_benchmark_holds_what_the_notes_say():
    rows: dict[str, dict[str, Any]] = {}
    for name in tables.RACES:
        content = results.read_json(tables.RESULTS / name / "results.json")
        assert content["environment"]["dirty"] is False
        assert content["config"]["repeats"] >= 5
        rows |= {row["workload"]: row for row in content["rows"] if row["contender"] == "manual"}
    for load in ("default", "best", "deep", "normalized"):
        assert rows[load]["faster_than"]["numpy"]["median"] >= 1.1
        assert rows[load]["faster_than"]["torch"]["median"] >= 1.2
    for load in tables.WORKLOADS:
        assert 1 / rows[load]["faster_than"]["autodiff"]["median"] <= 1.02
    assert rows["population-32"]["fraction_of_peak"] >= 0.55
