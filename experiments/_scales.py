"""What the main job gives its studies at each scale."""

from collections.abc import Mapping
from typing import Any

Options = Mapping[str, Mapping[str, Any]]

# rounding errors do not vary much, and a results file should stay small
GRADIENTS: Options = {"gradient_check": {"seeds": 2}}
SCALES: dict[str, dict[str, Options]] = {
    "smoke": {
        "cifar10": {
            "*": {"seeds": 1},
            "grid_search": {"trials": 2},
            "grid_search/published": {"steps": "50,100"},
            "grid_search/clean": {"epochs": 1},
            "depth_study": {"layers": "2,3", "epochs": 1},
            "activation_study": {"activations": "relu", "batch_norms": "none", "dropouts": "0.2", "epochs": 1},
            "init_study": {"layers": "2,3", "inits": "normal_1e-3,uniform_fan_in", "epochs": 1},
            "best_model": {"epochs": 1},
            "ablation": {"variations": "no_augmentation", "epochs": 1},
        },
        "else": {
            "*": {"seeds": 2},
            "grid_search": {"trials": 3, "hidden": "20", "batch_size": "20"},
            "grid_search/published": {"steps": "100,200"},
            "grid_search/clean": {"epochs": 3},
            "depth_study": {"layers": "2,3", "epochs": 3},
            "activation_study": {
                "activations": "relu", "batch_norms": "none", "dropouts": "0.2", "widths": "50", "epochs": 3,
            },
            "activation_study/clean": {"learning_rate": 0.002},
            "init_study": {
                "layers": "2,3", "inits": "normal_1e-3,uniform_fan_in", "optimizers": "adam", "epochs": 3,
            },
            "best_model": {"hidden": "50,50", "epochs": 3},
            "ablation": {"variations": "no_augmentation", "epochs": 3},
        },
    },
    "standard": {
        # two cores train an even number of runs side by side: a fourth costs no more than a third, but where a
        # learning rate is chosen from four (first seed), the fourth would
        "cifar10": {
            "*": {"seeds": 4},
            **GRADIENTS,
            "depth_study": {"init": "uniform_fan_in,normal"},
            "activation_study/clean": {"seeds": 3},
            "ablation": {"seeds": 3},
        },
        "else": {
            # about three minutes on two cores, nearly all of them compilation: the choice of a learning rate from
            # two and the other two seeds are populations of one size, so one program
            "*": {"seeds": 3},
            **GRADIENTS,
            "grid_search": {"hidden": "10,40", "batch_size": "20"},
            "grid_search/clean": {"trials": 8},
            "depth_study": {"init": "uniform_fan_in,normal"},
            "depth_study/clean": {"learning_rates": "0.04,0.08"},
            "activation_study": {"activations": "relu,leaky_relu,tanh", "dropouts": "0,0.2", "widths": "50"},
            "init_study": {"layers": "2,3,5", "inits": "normal_1e-3,he,uniform_fan_in"},
            "best_model": {"hidden": "100,100,100"},
            "best_model/clean": {"learning_rates": "0.001,0.003"},
            "ablation": {"variations": "no_augmentation,no_flips,no_normalisation"},
        },
    },
    "full": {
        "cifar10": {
            "*": {"seeds": 10},
            **GRADIENTS,
            "depth_study": {"layers": "2,3,4,5,6,8,12,16", "init": "uniform_fan_in,normal"},
            "activation_study": {"full": True},
            "init_study": {"layers": "2,3,4,5,6,7,8,12,16"},
        },
        "else": {
            "*": {"seeds": 10},
            **GRADIENTS,
            "depth_study": {"layers": "2,3,4,5,6,8,12,16", "init": "uniform_fan_in,normal"},
            "activation_study": {"full": True},
            "init_study": {"layers": "2,3,4,5,6,7,8,12,16"},
        },
    },
}  # fmt: skip
"""By scale and kind of data: options of all studies ("*"), of one, of one under one protocol; the last win."""
