"""What the known mistakes compute in place of an operation's own backward step; `mistakes.ROWS` names them.

A function here takes one operation in several cases, `ops`, and yields alternatives to its `back`, or to one of
its leaves. An alternative that does not conform in some case is none: it raises ValueError there, or gives another
shape, and `search` drops it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.gradcheck.battery import slopes_of
from mlp_jax.nn import activations

Array = np.ndarray


class Alternative(NamedTuple):
    """Another backward step: of case number j, from the cotangent g of the output and `above`, that of the product
    above.

    detail: what a code alone does not say. extra: what is added to it, times a number that the candidate tells,
    put into words by `say`. keywords: of `ops.Norm.back`, where such parts may be combined.
    """

    back: Callable[[int, Array, Array], Array]
    detail: str = ""
    extra: Callable[[int, Array, Array], Array] | None = None
    say: Callable[[float], str] = "{:.3g}".format
    keywords: Mapping[str, Any] = {}


class LeafAlternative(NamedTuple):
    """Another way to a leaf: of case number j, from the cotangent g of the operation's output."""

    value: Callable[[int, Array], Array]
    detail: str = ""


Ops = Sequence[Any]  # one operation in every case
Alternatives = Iterator[Alternative]
LeafAlternatives = Iterator[LeafAlternative]


# -- the loss --------------------------------------------------------------------------------------------------


def _of_scores(ops: Ops, derivative: Callable[[Any], Array], detail: str = "") -> Alternative:
    return Alternative(lambda j, g, above: ops[j].weight * derivative(ops[j]) / len(ops[j].psi), detail)


def psi_alone(ops: Ops) -> Alternatives:
    """psi / N."""
    yield _of_scores(ops, lambda op: op.psi)


def true_class_alone(ops: Ops) -> Alternatives:
    """(psi - 1) / N at the true class, and 0 elsewhere."""
    yield _of_scores(ops, lambda op: op.one_hot * (op.psi - 1))


def derivative_by_psi(ops: Ops) -> Alternatives:
    """- Delta / psi / N, by psi, or - Delta / N, by log psi."""
    yield _of_scores(ops, lambda op: -op.one_hot / np.maximum(op.psi, 1e-30))
    yield _of_scores(ops, lambda op: -op.one_hot)


def through_softmax_again(ops: Ops) -> Alternatives:
    """psi - Delta times psi (1 - psi), or times the softmax's whole Jacobian."""

    def whole(op: Any) -> Array:
        d = op.psi - op.one_hot
        return np.asarray(op.psi * (d - (op.psi * d).sum(axis=1, keepdims=True)))

    yield _of_scores(ops, lambda op: (op.psi - op.one_hot) * op.psi * (1 - op.psi))
    yield _of_scores(ops, whole)


def softmax_over(ops: Ops) -> Alternatives:
    """psi of exp(scores) divided by sums over the examples, or over everything."""

    def along(axis: int | None, op: Any, *, shifted: bool) -> Array:
        scores = op.scores - op.scores.max(axis=1, keepdims=True) if shifted else op.scores
        exp = np.exp(scores - scores.max(axis=axis, keepdims=True))
        return np.asarray(exp / exp.sum(axis=axis, keepdims=True) - op.one_hot)

    for axis, text in ((0, "over the examples"), (None, "over the whole batch")):
        for shifted in (False, True):
            yield _of_scores(ops, partial(along, axis, shifted=shifted), text)


# -- the way back through a product ----------------------------------------------------------------------------


def straight(ops: Ops) -> Alternatives:
    """g w."""
    yield Alternative(lambda j, g, above: g @ ops[j].w)


def after_a_step(ops: Ops) -> Alternatives:
    """g (w - rate * dJ~/dw)^T, with the penalty's part and without."""

    def moved(j: int, g: Array, penalty: Any) -> Array:
        return np.asarray(-g @ (ops[j].leaves(g)["w"] + penalty).T)

    say = "with the learning rate {:.3g}".format
    right = lambda j, g, above: ops[j].back(g)  # noqa: E731
    yield Alternative(right, extra=lambda j, g, above: moved(j, g, ops[j].penalty), say=say)
    yield Alternative(right, extra=lambda j, g, above: moved(j, g, 0), say=say)


def with_a_bias(ops: Ops) -> Alternatives:
    """g w^T + b, with the bias below, or g (w + b)^T."""
    if all(op.below_b is not None for op in ops):
        yield Alternative(lambda j, g, above: g @ ops[j].w.T + ops[j].below_b)
    yield Alternative(lambda j, g, above: g @ (ops[j].w + ops[j].b).T)


def without_upstream(ops: Ops) -> Alternatives:
    """The operation's own derivative, as if the cotangent of its output were 1."""
    yield Alternative(lambda j, g, above: ops[j].back(np.ones_like(g)))


# -- the activation --------------------------------------------------------------------------------------------


def _times(ops: Ops, slopes: list[Array], detail: str = "") -> Alternative:
    return Alternative(lambda j, g, above: g * slopes[j], detail)


def no_slope(ops: Ops) -> Alternatives:
    """g."""
    yield Alternative(lambda j, g, above: g)


def slope_at(*names: str) -> Callable[[Ops], Alternatives]:
    """The derivative at another tensor; without names at any of the same shape, and at what is handed down."""

    def alternatives(ops: Ops) -> Alternatives:
        def at(tensors: list[Array]) -> list[Array]:
            return slopes_of(((ops[0].activation, ops[0].negative_slope),), tensors)[0]

        common = [name for name in ops[0].tensors if all(name in op.tensors for op in ops)]
        for name in names or [name for name in common if name != "without bias"]:
            if name in common:
                yield _times(ops, at([op.tensors[name] for op in ops]), f"at {name}" * (not names))
        if not names:
            yield Alternative(lambda j, g, above: g * at([g])[0], "at the gradient from above")
            yield Alternative(lambda j, g, above: g * at([above])[0], "at the gradient of the layer above")

    return alternatives


def other_value_at_zero(ops: Ops) -> Alternatives:
    """At exactly 0 the slope of the other side, or one between them."""
    if kinked(ops[0]) is None:
        return
    low, ours = kinked(ops[0]), float(ops[0].activation == "leaky_relu")
    if not any((op.z == 0).any() for op in ops):
        return
    for value in dict.fromkeys((1.0, low, (1 + (low or 0)) / 2, 0.0)):
        if value != ours:
            yield _times(ops, [np.asarray(np.where(op.z == 0, value, op.slope)) for op in ops])


def kinked(op: Any) -> float | None:
    """The slope left of 0 of a (leaky) ReLU."""
    if op.activation not in ("relu", "leaky_relu"):
        return None
    return 0.0 if op.activation == "relu" else 0.1 if op.negative_slope is None else float(op.negative_slope)


def value_for_derivative(ops: Ops) -> Alternatives:
    """g a, where g phi'(z) belongs."""
    yield _times(ops, [op.a for op in ops])


FORMS: dict[str, Callable[[Array], Array]] = {
    "tanh": lambda v: 1 - v**2,
    "sigmoid": lambda v: v * (1 - v),
    "elu": lambda v: np.where(v > 0, 1, v + 1),
    "softplus": lambda v: 1 - np.exp(-v),
}
"""Derivatives as functions of the activation's value a = phi(z)."""


def form_at_z(ops: Ops) -> Alternatives:
    """A formula in a is given z."""
    for name, form in FORMS.items():
        if name in (ops[0].activation, "tanh", "sigmoid"):
            yield _times(
                ops, [form(op.z) for op in ops], {"tanh": "1 - z^2", "sigmoid": "z (1 - z)"}.get(name, "")
            )


def of_another(ops: Ops) -> Alternatives:
    """The derivative of another activation, at z, or in its form in a."""
    kinks = ("relu", "leaky_relu") if kinked(ops[0]) is not None else ()
    names = [name for name in activations.ACTIVATIONS if name not in (ops[0].activation, "identity", *kinks)]
    every = slopes_of(tuple((name, None) for name in names), [op.z for op in ops])
    for name, slopes in zip(names, every, strict=True):
        yield _times(ops, slopes, f"that of {name}")
    if not kinks:
        yield from _leaky(ops, "that of a leaky ReLU with slope {:.3g}".format)
    for name in ("tanh", "sigmoid"):
        if name != ops[0].activation:
            yield _times(ops, [FORMS[name](op.a) for op in ops], f"that of {name}, taken at a")


def another_low_slope(ops: Ops) -> Alternatives:
    """1 right of 0, and left of it a number that is not the forward pass's, whichever of them at 0."""
    if kinked(ops[0]) is not None:
        yield from _leaky(ops, "a slope of {:.3g}".format)
        if kinked(ops[0]):
            for is_right in (np.greater, np.greater_equal):
                yield _times(ops, [is_right(op.z, 0).astype(float) for op in ops], "a slope of 0")


def _leaky(ops: Ops, say: Callable[[float], str]) -> Alternatives:
    for is_right in (np.greater, np.greater_equal):
        right = [is_right(op.z, 0).astype(float) for op in ops]
        left = _times(ops, [1 - mask for mask in right]).back
        yield _times(ops, right)._replace(extra=left, say=say)


# -- dropout and skips -----------------------------------------------------------------------------------------


def no_skip(ops: Ops) -> Alternatives:
    """What arrives over the unit itself, without what a skip brings."""
    if any(op.starts for op in ops):
        yield Alternative(lambda j, g, above: g)


def no_mask(ops: Ops) -> Alternatives:
    """g, or g / (1 - rate)."""
    yield Alternative(lambda j, g, above: g)
    yield Alternative(lambda j, g, above: g / (1 - ops[j].rate))


def mask_of_ones(ops: Ops) -> Alternatives:
    """g where a unit is kept, unscaled."""
    yield Alternative(lambda j, g, above: g * (ops[j].mask > 0))


# -- normalisation ---------------------------------------------------------------------------------------------


def parts(*choices: Callable[[int], dict[str, Any]]) -> Callable[[Ops], Alternatives]:
    """`ops.Norm.back` with other keywords, which may depend on how many numbers are averaged."""

    def alternatives(ops: Ops) -> Alternatives:
        def back(choice: Callable[[int], dict[str, Any]], j: int, g: Array, above: Array) -> Array:
            return np.asarray(ops[j].back(g, **choice(ops[j].count)))

        for choice in choices:
            keywords = choice(2)
            combined = {} if any(keywords.values()) else keywords
            yield Alternative(partial(back, choice), keywords=combined)

    return alternatives


def other_axis(ops: Ops) -> Alternatives:
    """Means over the examples in layer normalisation, over the features in batch normalisation."""
    yield Alternative(lambda j, g, above: ops[j].back(g, axis=1 - ops[j].axis))


def terms_more(ops: Ops) -> Alternatives:
    """The mean's or the variance's term another number of times, also with another 1/N."""

    def extra(number: int, power: int, j: int, g: Array, above: Array) -> Array:
        op = ops[j]
        term = op.parts(g * op.scale, op.axis)[number] * np.expand_dims(op.inverse_std, op.axis)
        return np.asarray(np.broadcast_to(-term * float(op.count) ** power, g.shape))

    for number, name in enumerate(("mean", "variance")):
        for power, text in ((0, ""), (-1, " / N")):
            yield Alternative(
                lambda j, g, above: ops[j].back(g),
                extra=partial(extra, number, power),
                say=f"{{:.3g}}{text} times the {name}'s term more than once".format,
            )


# -- leaves ----------------------------------------------------------------------------------------------------


def _product(factors: list[Array]) -> LeafAlternative:
    return LeafAlternative(lambda j, g: factors[j].T @ g)


def w_from(*names: str) -> Callable[[Ops], LeafAlternatives]:
    """w's gradient with another tensor in place of the inputs."""

    def alternatives(ops: Ops) -> LeafAlternatives:
        for number, (name, _) in enumerate(ops[0].before):
            if name in names:
                yield _product([op.before[number][1] for op in ops])

    return alternatives


def output_for_inputs(ops: Ops) -> LeafAlternatives:
    """The layer's own output, its pre-activation, or, of the scores, psi."""
    for number in range(len(ops[0].outputs)):
        yield _product([op.outputs[number] for op in ops])


def transposed_products(ops: Ops) -> LeafAlternatives:
    """inputs^T g with other factors transposed, or the whole."""

    def value(left: bool, right: bool, whole: bool, j: int, g: Array) -> Array:
        product_ = (ops[j].inputs if left else ops[j].inputs.T) @ (g.T if right else g)
        return np.asarray(product_.T if whole else product_)

    for left, right, whole in list(product((False, True), repeat=3))[1:]:
        yield LeafAlternative(partial(value, left, right, whole))


def bias_in_w(ops: Ops) -> LeafAlternatives:
    """inputs^T g + b."""
    yield LeafAlternative(lambda j, g: ops[j].inputs.T @ g + ops[j].b)


def sum_of_w(ops: Ops) -> LeafAlternatives:
    """Sums or means of dJ/dw, with the penalty's part and without, in place of sums of g."""

    def value(penalised: bool, mean: bool, axis: int, j: int, g: Array) -> Array:
        w = ops[j].leaves(g)["w"] + (ops[j].penalty if penalised else 0)
        return np.asarray(w.mean(axis=axis) if mean else w.sum(axis=axis))

    for penalised, mean, axis in product((False, True), (False, True), (0, 1)):
        yield LeafAlternative(partial(value, penalised, mean, axis))


def sum_over_columns(ops: Ops) -> LeafAlternatives:
    """Sums over the classes, or over everything."""

    def everything(j: int, g: Array) -> Array:
        total = g.sum()
        if abs(total) < 1e-12 * np.abs(g).sum():
            raise ValueError("it is 0 anyway, and says nothing")
        return np.full(g.shape[1], total)

    yield LeafAlternative(lambda j, g: g.sum(axis=1))
    yield LeafAlternative(everything)


def scale_from(*names: str) -> Callable[[Ops], LeafAlternatives]:
    """The scale's gradient with `u` or the output in place of n."""

    def alternatives(ops: Ops) -> LeafAlternatives:
        for name in names:
            if name == "u":
                yield LeafAlternative(lambda j, g: (g * ops[j].u).sum(axis=0))
            else:
                yield LeafAlternative(lambda j, g: (g * (ops[j].scale * ops[j].n + ops[j].shift)).sum(axis=0))

    return alternatives
