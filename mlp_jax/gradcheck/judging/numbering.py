"""The report's numbers of the equations that mistakes and leaves are of."""

from mlp_jax.gradcheck.mistakes.situation import Mistake

_OUTPUT = {"delta": "4", "all": "4", "w": "7", "b": "9"}
_HIDDEN = {"delta": "12, 13", "w": "12", "b": "13"}
_SLOPE = ("mask_missing", "mask_without_bias", "mask_wrong_tensor", "mask_at_zero")


def equation(mistake: Mistake, layers: int) -> str:
    """The report's equation number where a mistake is made; beyond two layers, with the layer it stands for."""
    if mistake.layer == layers - 1:
        number = _OUTPUT.get(mistake.place, "4")
    else:
        number = "11" if mistake.code in _SLOPE else _HIDDEN.get(mistake.place, "batch normalisation")
    return number if layers == 2 else f"{number} (layer {mistake.layer + 1})"


def leaf_equation(k: int, field: str, layers: int) -> str:
    """Returns the equation of a leaf in the two-layer network; the layer in others."""
    return equation(Mistake("", k, field), layers) if layers == 2 else f"layer {k + 1}"
