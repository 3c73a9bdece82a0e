"""A function that the returned losses may be the values of: its formula, its name, and in what it is not J~."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mlp_jax.gradcheck.judging.variants import Variant
from mlp_jax.gradcheck.objective import Objective, Purpose
from mlp_jax.gradcheck.other_losses import CLIPPED, PLAIN, behind
from mlp_jax.gradcheck.truth import Case


@dataclass(frozen=True)
class Fitted:
    """a N^examples C^classes * mean data loss, and a penalty.

    The penalty: sum_k (lambda weights[k] + constant) ||W_k||^2 + lambda biases ||b||^2; over_n: divided by N.
    """

    data: float = 1.0
    examples: int = 0
    classes: int = 0
    weights: tuple[float, ...] = ()
    constant: float = 0.0
    biases: float = 0.0
    over_n: bool = False

    def at(self, case: Case) -> Objective:
        """The objective in a case."""
        n = float(len(case.y))
        n_of_penalty = n if self.over_n else 1.0
        l2 = case.l2 / n_of_penalty
        weights = tuple(l2 * factor + self.constant / n_of_penalty for factor in self.weights)
        data = self.data * n**self.examples * float(case.config.classes) ** self.classes
        return Objective(data, weights, l2 * self.biases)

    def text(self, loss: str) -> str:
        """The function in words."""
        kind = {0: "mean", 1: "sum", -1: "mean divided by N"}[self.examples]
        kind += " over the examples and classes" if self.classes else " over the examples"
        factor = "" if _one(self.data) else f"{self.data:.4g} times "
        parts = [f"{factor}the {kind} of the {loss}", self.penalty_text(), self._term(self.biases, "||b||^2")]
        n = "/N" * self.over_n
        parts += [f"{self.constant:.4g}{n} ||W||^2 whatever lambda is"] if self.constant else []
        return " + ".join(filter(None, parts))

    def penalty_text(self) -> str:
        """The penalty of the weights by lambda in words; "" without one."""
        if len(set(self.weights)) == 1:
            return self._term(self.weights[0], "||W||^2")
        terms = (self._term(factor, f"||W{k}||^2") for k, factor in enumerate(self.weights, start=1))
        return " + ".join(filter(None, terms))

    def _term(self, factor: float, square: str) -> str:
        unit = "lambda/N" if self.over_n else "lambda"
        return f"{'' if _one(factor) else f'{factor:.4g} '}{unit} {square}" if factor else ""

    @property
    def penalty_code(self) -> str:
        """The remark on the penalty of the weights; "" if it is lambda ||W||^2."""
        if not any((*self.weights, self.constant)):
            return "no_penalty"
        if len(set(self.weights)) > 1 or self.constant:
            return "other_penalty"
        if self.over_n:
            return "penalty_over_n"
        return {1.0: "", 0.5: "half_penalty"}.get(self.weights[0], "other_penalty")


def _one(factor: float) -> bool:
    return abs(factor - 1) < 1e-6


class Own(NamedTuple):
    """The function that the returned losses are the values of."""

    variant: Variant
    fitted: Fitted

    def purpose(self, cases: Sequence[Case]) -> Purpose:
        """What a gradient of it is meant for."""
        return Purpose(tuple(self.fitted.at(case) for case in cases), self.text(), self.fitted.penalty_text())

    @property
    def is_j(self) -> bool:
        """Whether it is J~, or what replaces it within the rounding that keeps a log finite."""
        return not self.remarks()

    def near(self) -> Iterator["Own"]:
        """Yields the functions that somebody's gradient may be of who forgot a part of the loss."""
        f, layers = self.fitted, len(self.fitted.weights)
        name, activation = behind(self.variant.loss)
        if activation:
            yield self._replace(variant=self.variant._replace(loss=name))
        if f.examples == 1:
            yield self._replace(fitted=replace(f, examples=0))
        if self.variant.loss == PLAIN and not _one(f.data):
            yield self._replace(fitted=replace(f, data=1.0))
        if f.biases:
            yield self._replace(fitted=replace(f, biases=0.0))
        if f.penalty_code == "no_penalty":
            for factor in (1.0, 0.5):
                for over_n in (False, True):
                    yield self._replace(fitted=replace(f, weights=(factor,) * layers, over_n=over_n))

    @property
    def clip(self) -> str:
        """What is added inside the log, or ""."""
        return self.variant.loss.split()[2] if CLIPPED in self.variant.loss else ""

    def text(self) -> str:
        """The function in words."""
        name = self.loss_name()
        network = network_text(self.variant)
        return self.fitted.text(name) + (f", of {network}" if network else "")

    def loss_name(self) -> str:
        """The data loss, and what stands on the scores."""
        name, activation = behind(self.variant.loss)
        name = "cross-entropy" if name == PLAIN else name
        return f"{name} behind {activation} on the scores" if activation else name

    def remarks(self) -> list[tuple[str, str]]:
        """(code, detail) for everything in which it is not J~."""
        name, activation = behind(self.variant.loss)
        found = []
        f = self.fitted
        if (name != PLAIN and not self.clip) or f.examples or f.classes or not _one(f.data):
            found.append(("other_loss", f"it is {f.text(self.loss_name())}"))
        options = dict(self.variant.options)
        if "norm_eps" in options:
            found.append(("bn_eps", network_text(self.variant)))
        elif options:
            found.append(("other_network", f"it is {network_text(self.variant)}"))
        if activation:
            found.append(("other_network", f"there is the activation {activation} on the scores"))
        if f.penalty_code:
            found.append((f.penalty_code, f"the loss is {f.text(self.loss_name())}"))
        if f.biases:
            found.append(("biases_penalised", f"the loss is {f.text(self.loss_name())}"))
        return found


def network_text(variant: Variant) -> str:
    """The network in words, or "" if it is the one that was asked for."""
    options = dict(variant.options)
    if "norm_eps" in options:
        place = "outside the root: sqrt(var) + eps" if options.get("eps_place") else "inside the root"
        return f"a network whose normalisation has eps = {options['norm_eps']:.4g} {place}"
    if "none" in options.get("activations", ()):
        return f"a network without an activation in hidden layer {options['activations'].index('none') + 1}"
    if "activations" in options:
        return f"a network with the activations {', '.join(options['activations'])} in its hidden layers"
    if "scaled_dropout" in options:
        return "a network whose dropout does not divide the kept units by 1 - dropout"
    if "activation" not in options:
        return ""
    name, slope = options["activation"], options["negative_slope"]
    if name == "identity":
        return "a network without an activation in its hidden layers (identity)"
    if name == "leaky_relu":
        option = f"--activation=leaky_relu --negative_slope={slope:.6g}"
        return f"a leaky_relu network with the slope {slope:.6g} ({option})"
    return f"a{'n' * (name[0] in 'aeiou')} {name} network (--activation={name})"
