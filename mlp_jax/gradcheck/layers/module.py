"""Single layers: `affine_backward` beside its `affine_forward`, `softmax_loss(x, y)`, layer objects.

`forward(x, ..., options) -> (out, cache)` and `backward(dout, cache) -> gradients`, in the order of the arguments,
as in CS231n's layers.py. The forward pass is compared with the operation that the name says (`operations`), where
that is known; the gradient must be that of sum(out * dout) for the candidate's own forward pass.
"""

import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers import derivatives, loss_pairs, taped
from mlp_jax.gradcheck.layers.asking import Layer
from mlp_jax.gradcheck.layers.check import judge
from mlp_jax.gradcheck.layers.classes import LOSSES, OTHER_NAMES, is_layer_class, not_told, with_usual_names
from mlp_jax.gradcheck.layers.functions import Pair, Scores
from mlp_jax.gradcheck.layers.objects import layer_of
from mlp_jax.gradcheck.layers.operations import is_factor
from mlp_jax.gradcheck.layers.shapes import LABELS
from mlp_jax.gradcheck.reading import pairs
from mlp_jax.gradcheck.reading.beside import backward_beside, forward_beside, methods_with_derivatives
from mlp_jax.gradcheck.reading.conventions import kinds_of
from mlp_jax.gradcheck.reading.names import is_penalty
from mlp_jax.gradcheck.reading.running import quiet, where
from mlp_jax.gradcheck.reading.signatures import BACKWARDS, METHODS, method_of, needed, positions_of, signature
from mlp_jax.gradcheck.report import Report
from mlp_jax.text import table

OTHER_DERIVATIVE = (
    "its function is none of every element alone: use mlp_jax.gradcheck.check_vjp(f, backward, *args)"
)


@dataclass(frozen=True, repr=False)
class ModuleReport(Report):
    """The reports of every layer of a file as one: a leaf is called layer.leaf.

    refused: (name, why) of the layers that could not be checked.
    """

    layers: tuple[Report, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        rows = [
            [layer.name, "RIGHT" if layer.passed else "WRONG", ", ".join(layer.codes or layer.remarks)]
            for layer in self.layers
        ] + [[name, "not checked", why] for name, why in self.refused]
        right = sum(layer.passed for layer in self.layers)
        heading = f"{self.name}: {right} of {len(self.layers)} layers right, {len(self.refused)} not checked"
        details = [str(layer) for layer in self.layers if layer.findings]
        details += [f"Note on {r.name}: {note}." for r in self.layers if not r.findings for note in r.notes]
        in_table = {_not_checked(*each) for each in self.refused}
        details += [f"Note: {note}." for note in self.notes if note not in in_table]
        return "\n\n".join([heading, table(["layer", "verdict", ""], rows), *details])


def _not_checked(layer: str, why: str) -> str:
    return f"{layer} is not checked: {why}"


def _together(name: str, layers: Sequence[Report], refused: Sequence[tuple[str, str]]) -> ModuleReport:
    leaves = [replace(row, leaf=f"{r.name}.{row.leaf}") for r in layers for row in r.leaves]
    found = [
        f._replace(leaves=tuple(f"{r.name}.{leaf}" for leaf in f.leaves) or (r.name,))
        for r in layers
        for f in r.findings
    ]
    notes = [_not_checked(*each) for each in refused]
    cases = sum(r.cases for r in layers)
    return ModuleReport(
        name, tuple(leaves), tuple(found), tuple(notes), cases, layers=tuple(layers), refused=tuple(refused)
    )


def is_layer(name: str, module: ModuleType) -> bool:
    """Whether a name is one layer's: a backward beside its forward, a loss of scores, or a layer's class.

    A class that is plainly a layer, but cannot be asked, is one too, so that it is told why.
    """
    target = getattr(module, name, None)
    if not inspect.isclass(target):
        return _of_function(name, module) is not None
    target = with_usual_names(target)
    found = (
        is_layer_class(target) or not_told(target) or derivatives.of_class(target) or loss_pairs.of_methods(target)
    )
    return bool(found)


def beside(target: Any) -> ModuleType | None:
    """A module in which a layer's class or function is checked; None for a network's, or what is neither."""
    name, home = getattr(target, "__name__", ""), sys.modules.get(getattr(target, "__module__", None) or "")
    if home is None or vars(home).get(name) is not target:
        home = ModuleType("__main__")  # for what a function or a test defines
        vars(home)[name] = target
    return home if pairs.joined(target) is None and is_layer(name, home) else None


def _of_function(name: str, module: ModuleType) -> Layer | None:
    target = getattr(module, name, None)
    if not callable(target):
        return None
    beside = vars(module)
    if (joined := taped.joined(name, beside) or loss_pairs.joined(name, beside)) is not None:
        return joined
    if (of_numbers := derivatives.by_argument(name, beside)) is not None:
        return of_numbers
    backward = backward_beside(name, beside)
    if backward is not None and kinds_of(signature(beside[backward])) is None:  # else it is a whole network's
        return Pair(backward, forward_beside(backward, beside), beside[backward])
    if (derivative := derivatives.joined(name, beside)) is not None:
        return derivative
    return Scores(name, target) if _is_loss(name, target) else None


def _is_loss(name: str, target: Any) -> bool:
    """softmax_loss(x, y) -> (loss, dx); one with parameters or a penalty is a network."""
    names = {n.lower(): p for n, p in signature(target).items()}
    defaults = {n: p.default is not p.empty and not is_penalty(n) for n, p in names.items()}
    rest = all(n == "mask" or is_factor(n) or defaults[n] for n in list(names)[2:])
    return "loss" in name.lower() and len(names) > 1 and list(names)[1] in LABELS and rest


def check(name: str, module: ModuleType, seed: int = 0, objective: str = "auto") -> Report:
    """Checks one layer, or, without a name, every layer of a module.

    objective: "auto", or "report", which holds every gradient against the operation that the layer's name says.
    """
    strict = objective == "report"
    return check_layer(name, module, seed, strict=strict) if name else check_module(module, seed, strict=strict)


def check_module(module: ModuleType, seed: int = 0, *, strict: bool = False) -> ModuleReport:
    """Checks every layer of a module. Raises UserError if it has none."""
    name = module.__name__.removeprefix("_target_package.")
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
    names = [n for n in own if is_layer(n, module) and backward_beside(n, vars(module)) in (None, n)]
    if not names:
        raise UserError(
            f"{name} has no layer: write FILE.py:Name for a whole network, or put name_forward beside "
            "name_backward"
        )
    reports, refused = [], _left_out([n for n in own if n not in names], names, vars(module))
    for layer in names:
        try:
            reports.append(check_layer(layer, module, seed, strict=strict))
        except Exception as error:  # whatever one of them does, the others are to be checked
            refused.append((layer, where(error, getattr(module, layer))))
    if not reports:
        raise UserError(f"no layer of {name} can be checked: {refused[0][0]}: {refused[0][1]}")
    return _together(name, reports, [each for each in refused if not _is_base(each[0], vars(module))])


def _has_other(target: Any) -> bool:
    """Whether a class has a function of one argument and its derivative, which is no layer."""
    pairs = methods_with_derivatives(target) if inspect.isclass(target) else []
    alone = [[len(needed(positions_of(getattr(target, name)))) for name in pair] for pair in pairs]
    return [1, 1] in alone and not method_of(target, (*METHODS, *BACKWARDS))


def _is_base(name: str, module: dict[str, Any]) -> bool:
    """Whether a class has others of the file below it, and no pass that computes anything: it is abstract."""
    below = (other.__mro__[1:] for other in module.values() if inspect.isclass(other))
    passes = (getattr(module[name], forward, None) for forward in ("forward", *dict(OTHER_NAMES)))
    used = {n for each in passes for n in getattr(getattr(each, "__code__", None), "co_names", ())}
    return used <= {"NotImplementedError", "NotImplemented"} and any(module[name] in above for above in below)


def _left_out(others: Sequence[str], names: Sequence[str], module: dict[str, Any]) -> list[tuple[str, str]]:
    """What is told not to be checked: derivatives of other functions, and networks beside derivatives alone."""
    found = [(n, OTHER_DERIVATIVE) for n in others if derivatives.functions_of(n, module) or _has_other(module[n])]
    if not all(derivatives.functions_of(n, module) for n in names):
        return found
    networks = [n for n in others if inspect.isclass(module[n]) and method_of(module[n], (*METHODS, *BACKWARDS))]
    return [*found, *((n, f"it is no layer: write FILE.py:{n} for a network") for n in networks)]


def check_layer(name: str, module: ModuleType, seed: int = 0, *, strict: bool = False) -> Report:
    """Checks one layer. Raises UserError if it cannot be called."""
    target = getattr(module, name)
    with quiet():
        if inspect.isclass(target):
            layer: Layer | None = derivatives.of_class(target) or loss_pairs.of_methods(target) or layer_of(target)
        else:
            layer = _of_function(name, module)
        if layer is None:
            raise UserError(f"{name} is no layer")
        layer.loss_by_scores = partial(_has_loss_by_scores, name, module)
        return judge(name, layer, seed, strict=strict)


def _has_loss_by_scores(name: str, module: ModuleType) -> bool:
    """Whether a loss beside a softmax has the derivative by its scores: then the softmax hands it on as it is."""
    for other in vars(module).copy():
        if other != name and any(word in other.lower() for word in LOSSES) and is_layer(other, module):
            try:
                if "derivative_by_scores" in check_layer(other, module).remarks:
                    return True
            except UserError:
                continue
    return False
