"""Options of networks and training that are out of range, or do not fit one another: refused in one line."""

import pytest

from mlp_jax.errors import UserError
from mlp_jax.nn.config import MLPConfig
from mlp_jax.training.augment import Augmentation
from mlp_jax.training.config import TrainConfig

NAN, INFINITE = float("nan"), float("inf")
REFUSED = {
    TrainConfig: [
        ({"optimizer": "sdg"}, "choose one of sgd, momentum, adam, adamw, lion, muon.*Did you mean 'sgd'"),
        ({"gradient": "numeric"}, "manual, autodiff"), ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": -1.0}, "learning_rate"), ({"learning_rate": INFINITE}, "learning_rate"),
        ({"l2": -1e-9}, "l2"), ({"l2": NAN}, "l2"), ({"momentum": 1.0}, "momentum"), ({"decay": 0.0}, "decay"),
        ({"decay": 1.1}, "decay"), ({"weight_decay": -1.0}, "weight_decay"), ({"batch_size": 0}, "batch_size"),
        ({"epochs": -1}, "epochs"), ({"steps": -1}, "steps"), ({"optimizer": "adamax"}, "optimizer"),
        ({"schedule": "linear"}, "schedule"), ({"warmup": 1.0}, "warmup"),
        ({"label_smoothing": -0.1}, "label_smoothing"), ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"average_decay": 1.1}, "average_decay"), ({"average_start": 1.0}, "average_start"),
        ({"muon_steps": 0}, "muon_steps"), ({"muon_coefficients": "best"}, "muon_coefficients"),
        ({"muon_layers": "first"}, "muon_layers"), ({"bias_rate": -1.0}, "bias_rate"),
        ({"last_layer_rate": INFINITE}, "last_layer_rate"), ({"muon_every": 0}, "muon_every"),
        ({"muon_every": 2}, "muon_every is for the optimizer muon, not momentum"), ({"beta2": 1.0}, "beta2"),
        ({"beta2": 0.9, "optimizer": "sgd"}, "beta2 is for adam, adamw, muon, not sgd"),
        ({"average_decay": 0.9, "validate_in_training_mode": True}, "average_decay"),
        ({"average_start": 0.5}, "average_start is for average_decay"), ({"lookahead": 0}, "lookahead"),
        ({"lookahead": 5, "lookahead_rate": 0.0}, "lookahead_rate"),
        ({"lookahead_rate": 0.2}, "lookahead_rate is for lookahead"),
        ({"lookahead": 5, "average_decay": 0.9}, "lookahead excludes average_decay"),
        ({"lookahead": 5, "validate_in_training_mode": True}, "lookahead excludes"),
        ({"accumulate": 0}, "accumulate"), ({"accumulate": 2, "accumulate_from": 1.0}, "accumulate_from"),
        ({"accumulate_from": 0.5}, "accumulate_from is for accumulate"),
        ({"warmup": 0.1}, "warmup is for the schedules"),
        ({"schedule": "cosine", "decay_after_first_step": True}, "decay_after_first_step is for"),
    ],
    MLPConfig: [
        ({"hidden": (0,)}, "hidden layer's width must be a whole number of at least 1, not 0"),
        ({"hidden": (50, -3)}, "not -3"), ({"inputs": 0}, "inputs"), ({"classes": 0}, "classes"),
        ({"activation": "swish"}, "choose one of relu"), ({"norm": "both"}, "none, batch, layer"),
        ({"init": "xavier"}, "uniform_fan_in"), ({"dtype": "float16"}, "float32, float64"),
        ({"dropout": 1.0}, r"dropout must be a number in \[0, 1\), not 1.0"), ({"dropout": -0.1}, "dropout"),
        ({"dropout": NAN}, "dropout"), ({"init_std": -1.0}, "init_std"), ({"norm_momentum": 2.0}, "norm_momentum"),
        ({"activation": "leaky_relu", "negative_slope": NAN}, "negative_slope"),
        ({"activation": "leaky_relu", "negative_slope": INFINITE}, "negative_slope"),
        ({"hidden": (10**9,)}, "3082000000000 weights"),
        ({"hidden": (), "inputs": 2**30 + 1, "classes": 2}, "2147483650 weights"),
        ({"norm": "layer", "norm_place": "none"}, "before, after"),
        ({"norm_place": "after"}, "norm_place 'after' is of a normalisation; norm is 'none'"),
        ({"expansion": 2}, "expansion is for bottleneck blocks"),
        ({"block": "residual", "hidden": (8, 6)}, "equal width in a row"),
        ({"precision": "bf16", "dtype": "float64"}, "precision 'bf16' is for float32 networks"),
        ({"logit_scale": 0.0}, "logit_scale"), ({"block": "dense"}, "plain, residual, bottleneck"),
        ({"block": "bottleneck", "hidden": (5, 6)}, "one width"),
        ({"block": "bottleneck", "hidden": ()}, "one width"),
        ({"block": "bottleneck", "norm": "batch"}, "their own normalisation"),
        ({"block": "bottleneck", "norm": "layer", "norm_place": "after"}, "their own normalisation"),
        ({"expansion": 0}, "expansion"),
    ],
    Augmentation: [
        ({"crop": -1}, "crop must be"), ({"crop": 33}, "crop must be"), ({"cutout": 33}, "cutout must be"),
        ({"mixup": -0.1}, "mixup must be"), ({"mixup": NAN}, "mixup must be"),
        ({"image": (32, 0, 3)}, "an image's width must be"), ({"alternating": True}, "alternating is for flip"),
    ],
}  # fmt: skip
"""Of each class: options, and words of what is said."""


@pytest.mark.parametrize(
    ("config", "options", "words"), [(config, *row) for config, rows in REFUSED.items() for row in rows]
)
def test_options_out_of_range(config, options, words):
    with pytest.raises(UserError, match=words) as caught:
        config(**options)
    assert "\n" not in str(caught.value)
