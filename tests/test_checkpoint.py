"""Where runs stand, on disk: the same bits as if they had never been stopped, or a word on what is damaged."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from mlp_jax.errors import UserError
from mlp_jax.training import checkpoint, population
from mlp_jax.training.checkpoint import Checkpoints
from mlp_jax.training.config import Run, TrainConfig
from mlp_jax.training.history import Result
from tests.bad_files import flip
from tests.small import MODEL, bits

NORMALIZED = dataclasses.replace(MODEL, norm="batch", dropout=0.2)
ADAM = TrainConfig(optimizer="adam", learning_rate=0.02, batch_size=50, epochs=4, l2=1e-3)
RUNS = {
    "a": Run(jax.random.key(0), NORMALIZED, ADAM),
    "b": Run(jax.random.key(1), NORMALIZED, dataclasses.replace(ADAM, learning_rate=0.01)),
    "diverging": Run(jax.random.key(2), NORMALIZED, dataclasses.replace(ADAM, learning_rate=1e38)),
    "inside an epoch": Run(jax.random.key(0), MODEL, TrainConfig(batch_size=50, steps=60)),
}


def observe(number, epoch, params):
    first = (np.asarray(params[0].w),) if epoch == 0 else ()
    return (np.asarray(params[-1].b), *first)


def train(splits, resume_from=None, **options):
    """The results by name; what was resumed and had ended is as it was."""
    names, found = list(RUNS), dict(resume_from or {})
    for epoch in population.epochs(list(RUNS.values()), splits, resume_from=dict(found), **options):
        epoch.observe(observe)
        found |= epoch.results()
    return {names[number]: found[number] for number in range(len(names))}


def everything(result):
    return result.status, bits((result.state, result.history, result.observed))


def stopped(splits, folder, pauses):
    """Trains, saving after every epoch, until the pause of that number."""
    names, checkpoints, seen = list(RUNS), Checkpoints(folder), 0
    found: dict[int, Result] = {}
    for epoch in population.epochs(list(RUNS.values()), splits):
        epoch.observe(observe)
        if epoch.number:
            found |= epoch.results()
            checkpoints.save({names[number]: result for number, result in found.items()}, {"pause": seen})
            seen += 1
        if seen == pauses:
            return
    pytest.fail("there were fewer epochs")


@pytest.fixture(scope="module")
def saved(splits, tmp_path_factory):
    """After three epochs of the first runs, one of which has diverged; nothing of the last."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    stopped(splits, folder, 3)
    return folder


def reached(folder):
    names = list(RUNS)
    return {
        names.index(name): checkpoint.result(run, RUNS[name].model, RUNS[name].config)
        for name, run in newest(folder).runs.items()
    }


@pytest.fixture(scope="module")
def whole(splits, both_ways):
    """What the runs end with that nobody stops."""
    return train(splits)


@pytest.mark.parametrize("pauses", [3, 5])
def test_resumed_runs_have_the_bits_of_undisturbed_ones(splits, whole, tmp_path, pauses):
    """On one device and on eight; stopped in the first shape of runs, and in the second."""
    assert [whole[name].status for name in RUNS] == ["finished", "finished", "diverged", "finished"]
    stopped(splits, tmp_path / "saved", pauses)
    start = reached(tmp_path / "saved")
    assert [start[number].status for number in sorted(start)][:3] == [
        *(["unfinished"] * 2 if pauses == 3 else ["finished"] * 2),
        "diverged",
    ]
    for devices in (jax.devices(), jax.devices()[:1]):
        resumed = train(splits, resume_from=start, devices=devices)
        assert {n: everything(run) for n, run in resumed.items()} == {n: everything(r) for n, r in whole.items()}


def test_no_epoch_is_trained_twice(splits, saved):
    epochs = population.epochs(list(RUNS.values()), splits, resume_from=reached(saved))
    trained = [(number, epoch.number) for epoch in epochs for number in epoch.reports]
    assert [entry for entry in trained if entry[0] < 3] == [(0, 4), (1, 4)]


def test_the_last_two_are_kept(saved):
    assert sorted(path.name for path in saved.iterdir()) == ["2.safetensors", "3.safetensors"]
    assert newest(saved).about == {"pause": 2}


@pytest.fixture
def copy(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("where", [0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 1])
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_newest_falls_back_to_the_one_before(copy, where, damage):
    """Wherever a bit is altered, or whatever is cut: the header, the metadata or the arrays."""
    file = copy / "3.safetensors"
    content = bytearray(file.read_bytes())
    place = int(where * (len(content) - 1))
    content[place] ^= 1
    file.write_bytes(content if damage == "flip" else content[:place])
    found = newest(copy)
    assert found.about == {"pause": 1}
    assert len(found.damaged) == 1
    assert found.damaged[0].startswith(f"{file}: ")


def test_one_that_was_never_finished_is_not_spoken_of(copy):
    (copy / "3.safetensors").unlink()
    (copy / ".3.safetensors.0123abcd.mlp_jax-unfinished").write_bytes(b"1")
    assert (newest(copy).about, newest(copy).damaged) == ({"pause": 1}, [])


def test_one_of_an_earlier_version_is_told(tmp_path):
    folder = tmp_path / "earlier"
    (folder / "1").mkdir(parents=True)
    (folder / "1.json").write_text("{}")
    with pytest.raises(UserError, match="earlier version"):
        Checkpoints(folder).newest()


def newest(folder):
    found = Checkpoints(folder).newest()
    assert found is not None
    return found


def test_after_a_damaged_one_two_whole_ones_are_kept_again(copy):
    flip(copy / "3.safetensors", 5000, 1)
    checkpoints = Checkpoints(copy)
    found = checkpoints.newest()
    assert found is not None
    run = checkpoint.result(found.runs["a"], *RUNS["a"][1:])
    checkpoints.save({"a": run}, {"pause": 9})
    assert sorted(path.name for path in copy.iterdir()) == ["2.safetensors", "4.safetensors"]
    assert newest(copy).about == {"pause": 9}


def test_where_all_are_damaged_it_is_said(copy, tmp_path):
    assert Checkpoints(tmp_path / "none").newest() is None
    (copy / "2.safetensors").write_text("[" * 100_000)
    content = (copy / "3.safetensors").read_bytes()
    (copy / "3.safetensors").write_bytes(content.replace(b"pause", b"cause"))
    told = r"^no checkpoint in .* is whole \(.*3.safetensors: it is altered; .*2.safetensors: "
    with pytest.raises(UserError, match=told):
        Checkpoints(copy).newest()


def test_a_run_of_another_network_is_refused(saved):
    run = newest(saved).runs["a"]
    for model, config in [
        (dataclasses.replace(NORMALIZED, hidden=(17,)), ADAM),
        (MODEL, ADAM),
        (NORMALIZED, dataclasses.replace(ADAM, optimizer="sgd")),
    ]:
        with pytest.raises(UserError, match="is of another network"):
            checkpoint.result(run, model, config)


def test_a_save_that_fails_loses_nothing_of_a_folder_that_nobody_has_read(copy):
    before = newest(copy)
    state = {"a": checkpoint.result(before.runs["a"], NORMALIZED, ADAM)}
    with pytest.raises(ValueError, match="JSON"):
        Checkpoints(copy).save(state, {"not JSON": float("nan")})
    assert newest(copy).about == before.about
    assert not newest(copy).damaged
    Checkpoints(copy).save(state, {"pause": 9})
    assert newest(copy).about == {"pause": 9}
