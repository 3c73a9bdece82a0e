"""Single layers: one function beside another, a loss of scores, or an object.

`module` finds the layers of a file, and `check` checks one: it is asked (`asking`; `functions`, `contexts`,
`objects`, `losses`, `loss_pairs`, `derivatives`, `taped`) with arguments that its name says (`operations`,
`shapes`, `windows`, `containers`), in those shapes that its passes take (`arrangements`), in `trials`, held
against what is true (`references`, `forward`), and searched for mistakes as the `network` that it is, or that it
is told to be (`elementwise`, `diagnosis`); `report` tells it.
"""

from mlp_jax.gradcheck.layers.module import ModuleReport, beside, check, check_layer, check_module, is_layer

__all__ = ["ModuleReport", "beside", "check", "check_layer", "check_module", "is_layer"]
