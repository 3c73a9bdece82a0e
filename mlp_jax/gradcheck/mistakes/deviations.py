"""What the known mistakes compute in place of an operation's own way back; the rows of the `table` name them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from mlp_jax.gradcheck.mistakes.row import (
    Alternative,
    Alternatives,
    Array,
    LeafAlternative,
    LeafAlternatives,
    Ops,
    Steps,
    leaf,
    step,
)

# -- the loss --------------------------------------------------------------------------------------------------


def by_scores(*derivatives: Callable[[Any], Any], detail: str = "") -> Steps:
    """Each function of the loss is taken for the derivative of an example's loss by the scores."""
    mean = [partial(_mean, derivative) for derivative in derivatives]
    return step(*mean, detail=detail)


def _mean(derivative: Callable[[Any], Array], op: Any, g: Array) -> Array:
    return np.asarray(op.weight * derivative(op) / len(op.psi))


def softmax_over(ops: Ops) -> Alternatives:
    """The softmax divides exp(scores) by sums over the examples, or over everything."""

    def along(axis: int | None, shifted: bool, op: Any) -> Array:
        scores = op.scores - op.scores.max(axis=1, keepdims=True) if shifted else op.scores
        exp = np.exp(scores - scores.max(axis=axis, keepdims=True))
        return np.asarray(exp / exp.sum(axis=axis, keepdims=True) - op.one_hot)

    for axis, text in ((0, "over the examples"), (None, "over the whole batch")):
        yield from by_scores(partial(along, axis, False), partial(along, axis, True), detail=text)(ops)


# -- the way back through a product ----------------------------------------------------------------------------


def after_a_step(ops: Ops) -> Alternatives:
    """The step back is g (w - rate * dJ~/dw)^T, with the penalty's part and without."""

    def moved(penalised: bool, op: Any, g: Array) -> Array:
        return np.asarray(-g @ (op.leaves(g)["w"] + penalised * op.penalty).T)

    for penalised in (True, False):
        say = "with the learning rate {:.3g}".format
        yield Alternative(_right, extra=partial(moved, penalised), say=say)


def _right(op: Any, g: Array) -> Any:
    return op.back(g)


def with_a_bias(ops: Ops) -> Alternatives:
    """The step back is g w^T + b, with the bias below, also where that is divided by N later, or g (w + b)^T."""
    if all(op.below_b is not None for op in ops):
        yield from step(lambda op, g: g @ op.w.T + op.below_b, lambda op, g: g @ op.w.T + op.below_b / len(g))(ops)
    yield from step(lambda op, g: g @ (op.w + op.b).T)(ops)


def turned(ops: Ops) -> Alternatives:
    """The gradient of a function's argument is transposed, or another argument is."""

    def back(number: int, op: Any, g: Array) -> Array:
        return np.asarray(op.turned[number](g))

    ways = [partial(back, number) for number in range(len(ops[0].turned))]
    return step(lambda op, g: op.pull(g).T, *ways)(ops)


# -- skips and normalisation -----------------------------------------------------------------------------------


def no_skip(ops: Ops) -> Alternatives:
    """Only what arrives over the unit itself goes on, without what a skip brings."""
    return step(lambda op, g: g)(ops) if any(op.starts for op in ops) else iter(())


def parts(*choices: Callable[[int], dict[str, Any]]) -> Steps:
    """`ops.Norm.back` gets other keywords, which may depend on how many numbers are averaged."""

    def back(choice: Callable[[int], dict[str, Any]], op: Any, g: Array) -> Any:
        return op.back(g, **choice(op.count))

    def alternatives(ops: Ops) -> Alternatives:
        for choice in choices:
            keywords = choice(2)
            yield Alternative(partial(back, choice), keywords={} if any(keywords.values()) else keywords)

    return alternatives


def terms_more(ops: Ops) -> Alternatives:
    """The mean's or the variance's term is there another number of times, also with another 1/N."""

    def extra(number: int, power: int, op: Any, g: Array) -> Array:
        term = op.parts(g * op.scale)[number] * np.expand_dims(op.inverse_std, op.axis)
        return np.asarray(np.broadcast_to(-term * float(op.count) ** power, g.shape))

    def times(name: str, power: int, more: float) -> str:
        return f"{f'1 {more:+.3g} / N' if power else f'{1 + more:.3g}'} times the {name}'s term"

    for number, name in enumerate(("mean", "variance")):
        for power in (0, -1):
            say = partial(times, name, power)
            yield Alternative(_right, extra=partial(extra, number, power), say=say)


def unbiased_variance(ops: Ops) -> Alternatives:
    """The variance is divided by N - 1: that of std, of the variance's term, of both, or of the values n too."""
    yield from parts(
        lambda m: {"ddof": 1},
        lambda m: {"variance": _less_one(m)},
        lambda m: {"mean": _less_one(m), "variance": _less_one(m)},
        lambda m: {"ddof": 1, "variance": _less_one(m)},
    )(ops)
    yield Alternative(lambda op, g: op.back(g, ddof=1, variance=_by_unbiased(op) ** 2))


def _less_one(count: int) -> float:
    """Gives N / (N - 1); of a single number, which has no such variance, 1."""
    return count / max(count - 1, 1)


def scale_of_unbiased(op: Any, g: Array) -> Any:
    """The scale's gradient by values n that are divided by the unbiased std."""
    return op.total(g * op.n * _by_unbiased(op))


def _by_unbiased(op: Any) -> Array:
    return np.expand_dims(op.inverse_std_of(1) / op.inverse_std, op.axis)


def other_eps(ops: Ops) -> Alternatives:
    """The backward pass has another eps than the forward pass."""

    def back(eps: float, op: Any, g: Array) -> Array:
        var = np.maximum(1 / np.expand_dims(op.inverse_std, op.axis) ** 2 - op.eps + eps, 1e-30)
        return np.asarray(op.back(g, divided=False) / np.sqrt(var))

    for eps, text in ((0.0, "none"), (-1e-5, "subtracted"), (1e-8, "1e-08")):
        yield from step(partial(back, eps), detail=f"in the backward pass: {text}")(ops)


def sums_over(*, other_axis: bool) -> Steps:
    """The sums of the mean's term, the variance's, or both, are over another axis, or are not divided by N.

    Where the axis is another, it matters whether 1 / std stands inside the sums, as in a backward pass that goes
    step by step, and whether the mean's term then has the variance's in it.
    """

    def alternatives(ops: Ops) -> Alternatives:
        own = [op.n.shape[1 - op.axis if other_axis else op.axis] for op in ops]
        lengths: dict[str, list[int]] = {"": own, " over N": [op.count for op in ops]}
        if not other_axis:
            of_others = {f", divided by {name}": [op.sizes[name] for op in ops] for name in ops[0].sizes}
            lengths = {"": [1 for _ in ops], **of_others}
        forms = ("outside", "inside", "carried") if other_axis else ("outside",)
        for (wrong, name), (said, length), form in product(WHICH.items(), lengths.items(), forms):
            of = dict(zip(ops, length, strict=True))
            detail = f"{name}{said}" if said or (other_axis and not all(wrong)) else ""
            unusual = bool(said) or form != "outside" or (other_axis and not all(wrong))
            yield Alternative(partial(_summed, wrong, other_axis, of, form), detail, alone=unusual)

    return alternatives


WHICH = {(True, False): "the mean's term", (False, True): "the variance's term", (True, True): "both terms"}


def _summed(
    wrong: tuple[bool, bool], other_axis: bool, lengths: Mapping[Any, int], form: str, op: Any, g: Array
) -> Array:
    """lengths: of every operation, what the wrong sums are divided by."""
    d, inverse_std = g * op.scale, np.expand_dims(op.inverse_std, op.axis)

    def mean(of: Array, is_wrong: bool) -> Any:
        axis = 1 - op.axis if is_wrong and other_axis else op.axis
        return of.sum(axis=axis, keepdims=True) / (lengths[op] if is_wrong else op.count)

    if form == "outside":
        return np.asarray((d - mean(d, wrong[0]) - op.n * mean(d * op.n, wrong[1])) * inverse_std)
    variance = op.n * inverse_std**2 * mean(d * op.n / inverse_std, wrong[1])
    of_mean = d * inverse_std - (variance if form == "carried" else 0)
    return np.asarray(d * inverse_std - mean(of_mean, wrong[0]) - variance)


# -- leaves ----------------------------------------------------------------------------------------------------


def _product(ops: Ops, factors: Sequence[Array]) -> LeafAlternative:
    of = dict(zip(ops, factors, strict=True))
    return LeafAlternative(lambda op, g: of[op].T @ g)


def w_from(name: str) -> Callable[[Ops], LeafAlternatives]:
    """Another tensor stands in place of the inputs in w's gradient."""

    def alternatives(ops: Ops) -> LeafAlternatives:
        for number, (known, _) in enumerate(ops[0].before):
            if known == name:
                yield _product(ops, [op.before[number][1] for op in ops])

    return alternatives


def output_for_inputs(ops: Ops) -> LeafAlternatives:
    """The layer's own output, its pre-activation, or psi stands in place of the inputs."""
    return (_product(ops, outputs) for outputs in zip(*(op.outputs for op in ops), strict=True))


def transposed_products(ops: Ops) -> LeafAlternatives:
    """Other factors of inputs^T g are transposed, or the whole is."""

    def value(left: bool, right: bool, whole: bool, op: Any, g: Array) -> Array:
        product_ = (op.inputs if left else op.inputs.T) @ (g.T if right else g)
        return np.asarray(product_.T if whole else product_)

    ways = list(product((False, True), repeat=3))[1:]
    return leaf(*(partial(value, left, right, whole) for left, right, whole in ways))(ops)


def sum_of_w(ops: Ops) -> LeafAlternatives:
    """Sums or means of dJ/dw, with the penalty's part and without, stand in place of sums of g."""

    def value(penalised: bool, mean: bool, axis: int, op: Any, g: Array) -> Array:
        w = op.leaves(g)["w"] + penalised * op.penalty
        return np.asarray(w.mean(axis=axis) if mean else w.sum(axis=axis))

    ways = product((False, True), (False, True), (0, 1))
    return leaf(*(partial(value, penalised, mean, axis) for penalised, mean, axis in ways))(ops)


def sum_of_all(op: Any, g: Array) -> Array:
    """Every unit gets the sum over everything."""
    return np.full(g.shape[1], g.sum())
