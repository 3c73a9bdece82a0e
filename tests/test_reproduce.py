"""The main job: what it keeps, runs again, sets aside, and writes; mostly with a study that takes no time."""

import html
import json
from dataclasses import dataclass, replace

import pytest

from experiments import ablation, depth_study, gradient_check, reproduce
from mlp_jax.data import DATASETS
from mlp_jax.errors import UserError
from mlp_jax.fields import option
from mlp_jax.files import sealed, unsealed
from mlp_jax.gradcheck import seeded_mistakes
from mlp_jax.studies import options, own_gradients, results
from mlp_jax.studies.figures import Figure
from mlp_jax.studies.folder import ResultsFolder
from mlp_jax.studies.keep import kept
from mlp_jax.studies.study import Study
from mlp_jax.studies.tables import Table
from tests import browser


@dataclass(frozen=True)
class FakeConfig(options.Common):
    knob: int = option(1, "what it writes")


def fake(name, ran, passes=True):
    """A study that writes its knob, and notes that it ran."""

    def run(config):
        study = ResultsFolder(name, config)
        study.use(config.load())
        ran.append((name, config.protocol, len(study.rows)))
        study.add({"knob": config.knob, "protocol": config.protocol})
        study.finish({"a.svg": Figure('<svg width="72pt" xmlns="http://www.w3.org/2000/svg"/>', "a figure")})
        return passes

    def table(content):
        return Table.of({"knob": "knob"}, content["rows"])

    return Study(
        name, f"Title of {name}", "A caveat.", "A question?\n\nMore.", FakeConfig, table,
        lambda content: f"The knob is {content['rows'][0]['knob']}.", lambda content: {}, job=run,
    )  # fmt: skip


@pytest.fixture
def ran(monkeypatch):
    """Two fake studies; which of them ran, under which protocol, with how many rows at hand."""
    seen: list[tuple[str, str, int]] = []
    monkeypatch.setattr(reproduce, "STUDIES", {name: fake(name, seen) for name in ("first", "second")})
    return seen


def start(folder, **options):
    return reproduce.run(reproduce.Config(dataset="synthetic", results_dir=str(folder), **options))


def own(folder):
    return results.read_json(folder / "reproduce" / "results.json")


ALL = [("first", "published", 0), ("first", "clean", 0), ("second", "published", 0), ("second", "clean", 0)]


def test_both_protocols_run_once_and_are_kept(ran, tmp_path, capsys):
    assert start(tmp_path)
    assert ran == ALL
    assert [row["status"] for row in own(tmp_path)["rows"]] == ["passed"] * 4
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("results.json")} == {
        "first/results.json", "second/results.json", "published/first/results.json",
        "published/second/results.json", "reproduce/results.json",
    }  # fmt: skip
    capsys.readouterr()
    assert start(tmp_path)
    assert ran == ALL
    assert [row["status"] for row in own(tmp_path)["rows"]] == ["kept"] * 4
    out, err = capsys.readouterr()
    assert f"== second, clean protocol (4 of 4): kept, {tmp_path}/second/results.json" in out
    assert err == ""
    assert start(tmp_path, force=True)
    assert ran == ALL * 2


def test_what_is_kept_needs_no_data(ran, tmp_path, monkeypatch):
    assert start(tmp_path)
    monkeypatch.setattr(options, "_dataset", lambda *a: pytest.fail("loaded"))
    assert start(tmp_path)


def test_some_studies_under_one_protocol(ran, tmp_path):
    assert start(tmp_path, studies="second", protocol="clean")
    assert ran == [("second", "clean", 0)]
    page = (tmp_path / "reproduce" / "report.html").read_text()
    assert "Title of second" in page
    assert "Title of first" not in page


def test_other_options_run_again_and_say_so(ran, tmp_path, capsys):
    assert start(tmp_path, protocol="clean")
    assert start(tmp_path, protocol="clean", seeds=5)
    assert len(ran) == 4
    err = capsys.readouterr().err
    assert (
        f"note: {tmp_path}/first/results.json has other options (seeds=3 then, 5 now): the study runs again" in err
    )
    assert err.count("\n") == 2
    assert sorted(p.name for p in (tmp_path / "first").iterdir()) == [".lock", "a.svg", "results.json"]


def test_other_data_run_again_and_say_so(ran, tmp_path, capsys):
    assert start(tmp_path, protocol="clean")
    path = tmp_path / "first" / "results.json"
    change(path, environment={**results.read_json(path)["environment"], "data_fingerprint": "0" * 64})
    (tmp_path / "second" / "results.json").unlink()  # else nothing runs, and no data are looked at
    assert start(tmp_path, protocol="clean")
    assert ran[2:] == [("first", "clean", 0), ("second", "clean", 0)]
    assert (
        "first/results.json comes from another copy of the data: the study runs again" in capsys.readouterr().err
    )


def test_kept_results_of_different_data_make_no_page(ran, tmp_path):
    assert start(tmp_path)
    page = tmp_path / "reproduce" / "report.html"
    before = page.read_bytes()
    path = tmp_path / "published" / "second" / "results.json"
    environment = results.read_json(path)["environment"]
    ours = environment["data_fingerprint"]
    change(path, environment={**environment, "data_fingerprint": "0" * 64})
    with pytest.raises(UserError, match=rf"data_fingerprint '{'0' * 64}', and '{ours}' in .*first/results.json"):
        start(tmp_path)
    assert page.read_bytes() == before


def test_results_merged_by_hand_are_set_aside(ran, tmp_path, capsys):
    assert start(tmp_path)
    mine, other = (tmp_path / folder / "first" / "results.json" for folder in (".", "published"))
    change(mine, rows=[*results.read_json(mine)["rows"], *results.read_json(other)["rows"]])
    assert start(tmp_path)
    assert ran[4:] == [("first", "clean", 0)]
    err = capsys.readouterr().err
    assert "first/results.json has protocol 'published', and 'clean' in the same file" in err
    assert (tmp_path / "first" / "results.unusable-1.json").exists()


def change(path, **values):
    """As if the study itself had written it so: with a right seal."""
    content = unsealed(json.loads(path.read_text()))
    path.write_text(json.dumps(sealed({**content, **values})))


def version(path):
    content = json.loads(path.read_text())
    content["environment"]["versions"]["mlp_jax"] = "0.0.1"
    path.write_text(json.dumps(content))


DAMAGES = {
    "cut": (lambda path: path.write_text(path.read_text()[:200]), "not a whole JSON file"),
    "empty": (lambda path: path.write_text(""), "is empty"),
    "deep": (lambda path: path.write_text("[" * 100_000), "not a whole JSON file"),
    "foreign": (lambda path: path.write_text("[1]"), "not a results file of this project"),
    "of nothing else": (lambda path: path.write_text('{"rows": []}'), "not a results file of this project"),
    "of no name": (lambda path: change(path, study=3), "not a results file of this project"),
    "another study's": (lambda path: change(path, study="other"), "is of another study, other"),
    "another version's": (version, "was written by version 0.0.1 of mlp_jax"),
    "another number": (lambda path: path.write_text(path.read_text().replace('"knob": 1', '"knob": 2')),
                       "it is altered"),
    "another figure": (lambda path: (path.parent / "a.svg").write_text("<svg/>"),
                       "lacks its figure a.svg, or has"),
    "no rows": (lambda path: change(path, rows=[]), "does not hold what first writes"),
    "wrong rows": (lambda path: change(path, rows=[{"knob": 1}, 3]), "does not hold what first writes"),
    "wrong environment": (lambda path: change(path, environment=[]), "not a results file of this project"),
    "wrong options": (lambda path: change(path, config=3), "not a results file of this project"),
    "a figure lost": (lambda path: (path.parent / "a.svg").unlink(), "lacks its figure a.svg"),
    "a figure elsewhere": (
        lambda path: change(path, figures=[{"file": "../../secret.svg", "caption": "", "sha256": ""}]),
        "does not hold what first writes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_set_aside_and_its_study_runs_again(name, ran, tmp_path, capsys):
    damage, words = DAMAGES[name]
    (tmp_path / "secret.svg").write_text("<svg/>")
    folder = tmp_path / "results"
    assert start(folder, protocol="clean")
    path = folder / "first" / "results.json"
    damage(path)
    damaged = path.read_text()
    capsys.readouterr()
    assert start(folder, protocol="clean")
    assert ran[2:] == [("first", "clean", 0)]
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert words in err
    assert "it is kept as results.unusable-1.json, and the study runs again" in err
    assert (path.parent / "results.unusable-1.json").read_text() == damaged
    assert results.read_json(path)["rows"] == [{"knob": 1, "protocol": "clean"}]


def interrupted(folder, **options):
    """Leaves the first study as an interruption after its first row does."""
    job = next(reproduce.jobs(reproduce.Config(
        dataset="synthetic", results_dir=str(folder), protocol="clean", **options)))  # fmt: skip
    study = ResultsFolder(job.name, job.config)
    study.use(job.config.load())
    study.add({"knob": 1, "protocol": "clean"})


def test_an_interrupted_study_continues(ran, tmp_path, capsys):
    interrupted(tmp_path)
    assert start(tmp_path, protocol="clean")
    assert ran[0] == ("first", "clean", 1)
    interrupted(tmp_path)
    (tmp_path / "first" / "results.json").unlink()
    assert start(tmp_path, protocol="clean", resume=False)
    assert ran[2] == ("first", "clean", 0)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "which --resume would have continued; it is kept as partial.earlier-1.json" in err


def test_an_interrupted_job_goes_on_without_a_word(ran, tmp_path, monkeypatch, capsys):
    def stop(config):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(reproduce.STUDIES, "second", replace(fake("second", ran), job=stop))
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path, protocol="clean")
    assert start(tmp_path, protocol="clean")
    assert ran == [("first", "clean", 0), ("second", "clean", 0)]
    assert capsys.readouterr().err == ""


def test_rows_of_other_options_are_set_aside(ran, tmp_path, capsys):
    interrupted(tmp_path)
    assert start(tmp_path, protocol="clean", seeds=5)
    assert ran[0] == ("first", "clean", 0)
    err = capsys.readouterr().err
    assert "partial.json does not fit: seeds=3 then, 5 now; it is kept as partial.unusable-1.json" in err
    assert err.count("\n") == 1


def test_a_failed_study_fails_the_job_also_when_it_is_kept(ran, tmp_path, monkeypatch):
    monkeypatch.setitem(reproduce.STUDIES, "first", fake("first", ran, passes=False))
    assert not start(tmp_path, protocol="clean")
    assert [row["status"] for row in own(tmp_path)["rows"]] == ["failed", "passed"]
    assert not start(tmp_path, protocol="clean")
    assert len(ran) == 2
    assert [row["status"] for row in own(tmp_path)["rows"]] == ["failed", "kept"]
    assert "did not do what was asked" in (tmp_path / "reproduce" / "report.html").read_text()


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("scale", reproduce.SCALES)
def test_every_scale_gives_options_that_the_studies_take(scale, dataset):
    config = reproduce.Config(dataset=dataset, scale=scale)
    for study in reproduce.STUDIES.values():
        for values in study.scales.values():
            assert values.keys() <= study.options.__dataclass_fields__.keys()
    for job in reproduce.jobs(config):
        given = job.study.at(scale, dataset, job.protocol or "clean")
        assert job.config.seeds == given.get("seeds", config.seeds)
        job.study.check(job.config)
    for seeds in (7, config.seeds):  # also where it is what the scale has for most studies
        mine = reproduce.Config(dataset=dataset, scale=scale, seeds=seeds)
        assert {job.config.seeds for job in reproduce.jobs(mine)} == {seeds}


REAL = {
    "studies": "gradient_check,depth_study,ablation", "scale": "smoke", "seeds": 1, "protocol": "clean",
    "precision": "tf32",
}  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The folder of three true studies, few of whose gradients are checked."""
    folder = tmp_path_factory.mktemp("real")
    few = dict(list(own_gradients.architectures(192, 10).items())[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_gradients, "architectures", lambda inputs, classes: few)
        patch.setattr(seeded_mistakes, "SEEDS", seeded_mistakes.SEEDS[:1])
        assert start(folder, **REAL | {"studies": "gradient_check"})
    assert start(folder, **REAL)  # this keeps the gradient check
    return folder


def test_real_studies(real):
    report = (real / "reproduce" / "report.md").read_text()
    content = results.read_json(real / "depth_study" / "results.json")
    assert content["config"]["precision"] == "tf32"  # handed on to every study that trains
    assert content["config"]["layers"] == "2,3"
    assert gradient_check.finding(results.read_json(real / "gradient_check" / "results.json")) in report
    told = gradient_check.witness_told(own(real)["witness"])
    assert "in plain numpy, and found right" in told
    for page in (report, html.unescape((real / "reproduce" / "report.html").read_text())):
        assert f"Before that jax.grad itself was {told}" in page.replace("<code>", "").replace("</code>", "")
        assert f"was {told} before anything ran" in page
    assert depth_study.finding(content) in report
    changes = results.read_json(real / "ablation" / "results.json")
    assert {row["network"]["precision"] for row in changes["rows"]} == {"tf32"}
    assert ablation.finding(changes) in report
    assert "](<../ablation/differences.svg>)" in report
    assert "](<../depth_study/accuracy.svg>)" in report
    claims = {claim["id"]: claim for claim in own(real)["claims"]}
    assert claims["eq13"]["clean"]["verdict"] == "reproduced"
    assert claims["deeper-3"]["clean"]["n"] == 1
    assert claims["deeper-3"]["published"]["verdict"] == "not run"
    jobs = reproduce.jobs(reproduce.Config(dataset="synthetic", results_dir=str(real), **REAL))
    assert all(kept(job) is not None for job in jobs)


def test_what_the_gradient_check_finds():
    def leaf(dtype, verdict, error, tolerance):
        return {"case": "a", "leaf": "w", "dtype": dtype, "verdict": verdict, "relative_error": error,
                "tolerance": tolerance}  # fmt: skip

    rows = [leaf("float64", "PASS", 2e-16, 1e-12)]
    rows += [leaf("float32", "FAIL", error, 1e-4) for error in (0.5, None)]
    rows += [{"seeded": "x", "verdict": "PASS"}, {"seeded": "y", "verdict": "FAIL"}]
    assert gradient_check.finding({"rows": rows}) == (
        "Of 3 gradients (equations 1 to 13, and each parameter of every architecture) 2 do not agree with "
        "jax.grad; the largest relative error is 2e-16 in float64 and not finite in float32. Of 2 changes seeded "
        "into a right gradient the checker named 1."
    )
    several = [
        {**leaf("float64", "PASS", error, 1e-12), "leaf": name} for name, error in {"w": 1e-16, "b": 3e-16}.items()
    ]
    (line,) = own_gradients.summary_table([*several, *rows[1:3]]).rows
    assert line == ["a", "3.0e-16 b", "not finite w", "FAIL"]
    figure = gradient_check.figures({"rows": rows})["errors.svg"].content
    for words in ("float64: limit", "float32: limit", "relative error"):
        assert words in figure
    assert gradient_check.figures({"rows": rows[3:]}) == {}


@browser.needed
@pytest.mark.parametrize(("width", "scheme"), browser.VIEWS)
def test_the_real_page_in_a_browser(width, scheme, real, chromium):
    shown = chromium.show(real / "reproduce" / "report.html", width, scheme)
    browser.check(shown, figures=3)
