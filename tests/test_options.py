"""What stands for an option that is left out: by data set and protocol, in what is trained and in --help."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from experiments import ablation, activation_study, best_model, depth_study, grid_search, init_study
from mlp_jax.data import Dataset
from mlp_jax.errors import UserError
from mlp_jax.fields import option
from mlp_jax.studies import options
from mlp_jax.studies.command import configured
from mlp_jax.studies.options import narrowest

PLACES = {
    "clean": {"epochs": 5, "l2": 0.5}, "cifar10 clean": {"epochs": 9}, "published": {"decay": 0.5},
    "else": {"x": 1},
}  # fmt: skip


@dataclass(frozen=True)
class Config(options.Tuned):
    """A study's own options."""

    USUAL: ClassVar[options.Places] = PLACES

    activation: str = option("tanh", "activation function")


@pytest.mark.parametrize(
    ("here", "found"),
    [
        (("cifar10", "clean"), {"epochs": 9, "l2": 0.5}),
        (("else", "clean"), {"epochs": 5, "l2": 0.5, "x": 1}),
        (("cifar10", "published"), {"decay": 0.5}),
        ((), {}),
    ],
)
def test_the_narrowest_place_wins(here, found):
    assert narrowest(PLACES, *here) == found


def test_what_is_given_goes_before_what_is_usual_and_the_study_s_own_before_both():
    trained = Config(dataset="cifar10", l2=0.0).training(learning_rate=0.25)
    assert (trained.epochs, trained.l2, trained.learning_rate, trained.batch_size) == (9, 0.0, 0.25, 200)
    trained = Config(epochs=2, batch_size=7).training(l2=1.0)
    assert (trained.epochs, trained.l2, trained.batch_size) == (2, 1.0, 7)
    assert Config(protocol="published").training().decay == 0.5
    model = Config(precision="bf16").network(hidden=(3,), inputs=5)
    assert (model.hidden, model.inputs, model.activation, model.precision) == ((3,), 5, "tanh", "bf16")


def test_help_states_what_is_usual_where(capsys):
    assert configured(Config, "", ["--help"]) is None
    told = " ".join(capsys.readouterr().out.split())
    assert "--epochs: epochs of each run; default 5 if clean, 9 on cifar10 if clean" in told
    assert "--batch_size: examples in a minibatch; default 200 on cifar10, 20 elsewhere; at least 1" in told
    assert "--activation: activation function (default" in told


@pytest.mark.parametrize(
    ("study", "given", "sizes"),
    [
        *[(study, {"protocol": "published"}, [49_000, 1_000, 1_000]) for study in (depth_study, grid_search)],
        *[(study, {"protocol": "clean"}, [45_000, 5_000, 10_000]) for study in (depth_study, init_study)],
        (activation_study, {"protocol": "published"}, [45_000, 5_000, 1_000]),
        (best_model, {"protocol": "published"}, [45_000, 5_000, 1_000]),
        (activation_study, {}, [45_000, 5_000, 10_000]),
        (best_model, {}, [45_000, 5_000, 10_000]),
        (best_model, {"recipe": "augmented"}, [49_000, 1_000, 10_000]),
        (ablation, {}, [45_000, 5_000, 5_000]),
    ],
)
def test_the_splits_of_cifar10(study, given, sizes):
    images, labels = np.zeros((50_000, 1, 1, 3), np.uint8), np.zeros(50_000, np.int32)
    cifar10 = Dataset("cifar10", images, labels, images[:10_000], labels[:10_000], ("a", "b"))
    splits = study.Config(dataset="cifar10", **given).split(cifar10)
    assert [len(part.y) for part in splits] == sizes
    assert (splits.test is splits.validation) == (study is ablation)


def test_an_entry_of_a_list_is_called_by_the_singular():
    with pytest.raises(UserError, match="unknown activation 'rlu'"):
        activation_study.Config(activations="relu,rlu")
