"""The options of the two commands that check somebody's gradient, `mlp_jax.gradcheck` and `gradient_check`."""

from dataclasses import dataclass

from mlp_jax.errors import UserError
from mlp_jax.fields import Ints, option
from mlp_jax.gradcheck.check import SCALES
from mlp_jax.gradcheck.objective import CONVENTIONS, OBJECTIVES
from mlp_jax.gradcheck.reading.settling import ARRAYS
from mlp_jax.nn.config import MLPConfig, norm_options

WIDEST = 1000
"""No wider layer is asked for: a mistyped number shall not fill the memory."""
NETWORK = ("hidden", "activation", "batch_norm", "dropout", "layer_norm", "negative_slope", "bn_eps")
"""These name a network."""


@dataclass(frozen=True)
class Options:
    """These say of which network a target's gradient is, and how it is judged."""

    target: str | None = option(None, "path/to/file.py:Name or package.module:Name, somebody's gradient to check")
    hidden: Ints | None = option(
        None, "hidden widths; default 6 or several depths", low=1, high=WIDEST, empty=True, repeats=True,
        needs="target",
    )  # fmt: skip
    activation: str = option("relu", "activation function", needs="target")
    batch_norm: str = option("none", "batch normalisation: none, before or after the activation", needs="target")
    dropout: float = option(0.0, "dropout probability, in [0, 1)", needs="target")
    layer_norm: str = option("none", "layer normalisation: none, before or after the activation", needs="target")
    negative_slope: float | None = option(None, "slope of leaky_relu below 0; default 0.1", needs="target")
    bn_eps: float = option(1e-5, "what normalisation adds to the variance", low=0, needs="target")
    l2_convention: str = option(
        "auto",
        "penalty lambda ||W||^2 (full), half of it (half), or as the target's loss (auto)",
        choices=("auto", *CONVENTIONS),
        needs="target",
    )
    objective: str = option(
        "auto", "judge by its own loss (auto), or the report's alone (report)", choices=OBJECTIVES, needs="target"
    )
    arrays: str = option("auto", "arrays that it wants", choices=("auto", *ARRAYS), needs="target")
    scale: float = option(1.0, "factor of inputs and parameters", low=SCALES[0], high=SCALES[1], needs="target")
    timeout: float = option(60.0, "seconds that it may take", above=0, high=1e6, needs="target")

    def checked(self) -> MLPConfig | None:
        """Gives the network that the options name, of 7 inputs and 4 classes; None, if they name none."""
        if all(getattr(self, name) == getattr(Options, name) for name in NETWORK):
            return None
        if self.negative_slope is not None and self.activation != "leaky_relu":
            raise UserError(
                "--negative_slope is of a network with --activation=leaky_relu: add that, or leave it out, for a "
                "layer has its own slope"
            )
        norm = norm_options(self.batch_norm, self.layer_norm)
        return MLPConfig(
            (6,) if self.hidden is None else self.hidden,
            self.activation,
            dropout=self.dropout,
            negative_slope=self.negative_slope,
            norm_eps=self.bn_eps,
            inputs=7,
            classes=4,
            **norm,
        )
