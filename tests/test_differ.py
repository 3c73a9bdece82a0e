"""Same seed, same bits: real results of a tiny study, run twice, with another seed, and altered by hand."""

import json
import os

import pytest

from experiments import compare_results, depth_study
from mlp_jax.files import as_json
from mlp_jax.studies import differences, results


def study(folder, seed=0):
    common = {"dataset": "synthetic", "seeds": 2, "layers": "1,2", "hidden": 8, "epochs": 2, "learning_rate": 0.05}
    depth_study.STUDY.run(depth_study.Config(**common, seed=seed, results_dir=str(folder)))
    return folder / "depth_study" / "results.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results of one study: twice with one seed, once with another."""
    root = tmp_path_factory.mktemp("differ")
    return [study(root / "first"), study(root / "again"), study(root / "other", seed=7)]


@pytest.fixture
def differ(capfd):
    """Status, standard output and error of `compare_results`."""

    def differ(*places):
        status = compare_results.main([str(place) for place in places])
        return status, *capfd.readouterr()

    return differ


def altered(path, tmp_path, change):
    content = json.loads(path.read_text())
    change(content)
    (tmp_path / "results.json").write_text(as_json(content))
    return tmp_path / "results.json"


def test_the_same_seed_gives_the_same_bits(made, differ):
    first, again, _ = made
    assert first.read_bytes() != again.read_bytes()  # they have other times
    assert differ(first, again) == (0, "same bits: 2 rows\n", "")
    assert differ(first.parent, again.parent)[0] == 0


def test_another_seed_is_told_row_by_row(made, differ):
    code, out, err = differ(made[0], made[2])
    assert (code, err) == (1, "")
    for row in ("1: layers 1, hidden 8", "2: layers 2, hidden 8"):
        assert f"| {row}" in out
    assert "| curves.loss " in out
    assert "| 4 of 4 " in out  # 2 seeds x 2 epochs
    assert "config: seed: 0 | 7" in out
    assert "environment" not in out
    assert "seconds" not in out


def test_the_last_bit_of_one_number(made, tmp_path, differ):
    def change(content):
        loss = content["rows"][1]["first_losses"]
        loss[3] += 2**-22
        content["environment"]["versions"]["jaxlib"] = "0.0.1"
        content["environment"]["settings"]["variables"]["XLA_FLAGS"] = "--fast"
        content["rows"][0]["seconds"] = 1e9

    code, text, _ = differ(made[0], altered(made[0], tmp_path, change))
    assert code == 1
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert [cell.strip() for cell in rows[2].split("|")][2:5] == ["first_losses", "1 of 20", "2.38e-07"]
    causes = [line for line in text.splitlines() if line.startswith("- ")]
    assert len(causes) == 2
    assert causes[0].startswith("- environment: versions.jaxlib: ")
    flags = os.environ.get("XLA_FLAGS", "not told")
    assert causes[1] == f"- environment: settings.variables.XLA_FLAGS: {flags} | --fast"


def test_what_is_no_number(made, tmp_path):
    def change(content):
        content["rows"][0]["status"] = "diverged"
        content["rows"][0]["test_accuracy"]["values"].pop()
        content["rows"][0]["parameters"] = [*content["rows"][0]["parameters"], "f" * 64]

    assert all("-" not in d.row for d in differences.all_differences(*map(results.read_json, made[:2])))
    told = differences.all_differences(
        results.read_json(made[0]), results.read_json(altered(made[0], tmp_path, change))
    )
    assert [d[1:] for d in told] == [
        ("status", "1 of 1", "finished and diverged"),
        ("parameters", "their number", "2 and 3"),
        ("test_accuracy.values", "their number", "2 and 1"),
    ]


def test_another_number_of_rows(made, tmp_path, differ):
    code, out, _ = differ(made[0], altered(made[0], tmp_path, lambda content: content["rows"].pop()))
    assert code == 1
    assert "2 and 1" in out


def test_other_machines_with_the_same_bits_are_the_same(made, tmp_path, differ):
    def change(content):
        content["environment"]["device"]["model"] = "another"

    code, out, _ = differ(made[0], altered(made[0], tmp_path, change))
    assert code == 0
    assert out.splitlines()[1].startswith("although they differ in environment: device.model: ")


def test_what_cannot_be_compared_is_one_line(made, tmp_path, differ):
    cut = tmp_path / "cut.json"
    cut.write_text(made[0].read_text()[:300])
    other = altered(made[0], tmp_path, lambda content: content.update(study="init_study"))
    for places, words in (
        ((made[0], tmp_path / "nothing.json"), "cannot read"),
        ((cut, made[0]), "not a whole JSON file"),
        ((made[0], other), "give two of one study"),
        ((made[0],), "--help"),
    ):
        code, out, err = differ(*places)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("error: ")
        assert words in err


def test_times_of_a_speedrun_are_no_bits(made, tmp_path, differ):
    def timed(seconds):
        def change(content):
            for row in content["rows"]:
                row["seconds_from_process_start"] = {"mean": seconds, "std": 0.1, "n": 2, "values": [seconds]}
                row["seconds_of"] = {"training": {"mean": seconds, "std": 0.1, "n": 2, "values": [seconds]}}

        folder = tmp_path / str(seconds)
        folder.mkdir()
        return altered(made[0], folder, change)

    assert differ(timed(1.5), timed(2.5))[0] == 0
