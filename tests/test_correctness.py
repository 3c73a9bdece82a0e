"""Which test images each run gets right: kept as bits, the same however a study was run."""

from pathlib import Path

import jax
import numpy as np
import pytest

from mlp_jax.data.dataset import Split
from mlp_jax.errors import UserError
from mlp_jax.files import sha256_of_file as sha256
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import forward, init
from mlp_jax.studies import correctness, crossed
from mlp_jax.training.evaluate import evaluate, evaluate_each
from tests.commands import python
from tests.studies import results_of

STUDY = ("--dataset=synthetic", "--layers=1,2", "--hidden=8", "--epochs=2", "--seeds=3", "--learning_rate=0.02")


def stored(runs=3, images=13):
    bits = np.random.default_rng(0).random((runs, images)) < 0.6
    store: correctness.Store = {}
    return store, correctness.add(store, bits), bits


def test_a_row_finds_its_bits():
    store, about, bits = stored()
    other = correctness.add(store, ~bits)
    assert (about["quantity"], about["images"]) == ("test_accuracy", 13)
    found = correctness.unpacked(correctness.packed(correctness.of_rows(store, [{"correct": about}, {}])))
    assert found.keys() == {about["sha256"]}
    assert other["sha256"] in store
    assert (found[about["sha256"]] == bits).all()
    assert found[about["sha256"]].dtype == bool
    again = correctness.from_text(correctness.as_text(store))
    assert all((again[name] == store[name]).all() for name in store)
    assert correctness.from_text(correctness.as_text({})) == {}


@pytest.mark.parametrize("how", ["a bit", "cut", "empty", "no images"])
def test_altered_bits_are_not_used(how):
    store, _, _ = stored(images=16)
    content = correctness.packed(store)
    altered = {
        "a bit": content[:-1] + bytes([content[-1] ^ 1]),
        "cut": content[:-1],
        "empty": b"",
        "no images": content.replace(b"16", b"17"),
    }
    with pytest.raises(UserError, match="altered"):
        correctness.unpacked(altered[how])


@pytest.mark.parametrize(
    "change", [lambda text: text[:-9], lambda text: "AAAA", lambda text: None, lambda text: {}]
)
def test_altered_text_is_not_used(change):
    store, _, _ = stored()
    with pytest.raises(UserError, match="altered"):
        correctness.from_text(change(correctness.as_text(store)))


@pytest.mark.parametrize("batch_size", [1, 7, 10, 20, 1000])
def test_the_pass_that_counts_the_hits_tells_which_they_are(batch_size):
    """Whatever the batches, also where the last one overlaps the one before."""
    model = MLPConfig(inputs=6, hidden=(5,), classes=3)
    x = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
    params = init(jax.random.key(0), model)
    labels = np.random.default_rng(2).integers(0, 3, 20)
    found, right = evaluate_each(params, (), Split(x, labels), model, batch_size=batch_size)
    assert (right == (np.asarray(forward(params, x, model)).argmax(axis=1) == labels)).all()
    assert found.accuracy == right.mean()
    assert found == evaluate(params, (), Split(x, labels), model, batch_size=batch_size)


def study(folder: Path, *options):
    done = python("-m", "experiments.depth_study", *STUDY, f"--results_dir={folder}", *options)
    assert done.status == 0, done.err
    return results_of(folder), folder / "depth_study" / correctness.FILE


def test_the_bits_of_a_study_are_its_accuracies_and_give_its_intervals(tmp_path):
    content, file = study(tmp_path / "one")
    assert content["correct"] == {"file": file.name, "sha256": sha256(file)}
    store = correctness.unpacked(file.read_bytes())
    bits = [store[row["correct"]["sha256"]] for row in content["rows"]]
    for row, right in zip(content["rows"], bits, strict=True):
        assert right.shape == (len(row["seeds"]), row["images"]["test"])
        assert right.mean(axis=1).tolist() == row["test_accuracy"]["values"]
    compared = content["comparisons"][0]
    assert (compared["low"], compared["high"]) == crossed.mean_difference(bits[1], bits[0]).interval()
    _, chunked = study(tmp_path / "other", "--max_memory_gb=0.02")
    assert chunked.read_bytes() == file.read_bytes()
