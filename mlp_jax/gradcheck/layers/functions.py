"""Layers that are functions: a forward and a backward one, or a loss of scores with its gradient."""

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers import containers, operations, shapes
from mlp_jax.gradcheck.layers.asking import Layer
from mlp_jax.gradcheck.layers.kept import FIXED, LEARNT, is_number
from mlp_jax.gradcheck.layers.losses import Array
from mlp_jax.gradcheck.layers.trials import apart
from mlp_jax.gradcheck.reading import signatures
from mlp_jax.gradcheck.reading.answers import double
from mlp_jax.gradcheck.reading.arguments import kind_of
from mlp_jax.gradcheck.reading.conventions import likely_arrays
from mlp_jax.gradcheck.reading.holders import names_of_gradient
from mlp_jax.gradcheck.reading.paths import is_array
from mlp_jax.gradcheck.reading.signatures import signature

Learnt = dict[str, Any]  # by name, the shape of the first gradient that was returned


class Pair(Layer):
    """The layer has forward(...) -> (out, cache) and backward(dout, cache); a loss may have backward(cache)."""

    def __init__(self, name: str, forward: Any, backward: Any, library: str = "") -> None:
        self.name, self._forward, self._backward = name, forward, backward
        self.parameters = list(signature(forward).values())
        self.operation = operations.named(name, [p.name for p in self.parameters])
        if self.operation == "other_loss" and re.search("entropy|xent", name.lower()):
            self.mistakes_of = "softmax_loss"
        self.only_inputs = shapes.attends([p.name for p in self.parameters])
        self.operation = "attention" if self.only_inputs else self.operation
        self._dict, self._keys = containers.name_of(self.operation, [p.name for p in self.parameters]), list[str]()
        self.library = library or likely_arrays(*(getattr(f, "__func__", f) for f in (forward, backward)))[0]
        self._learnt, self._options = Learnt(), dict[str, Any]()
        known = {p.name.lower() for p in self.parameters}
        taken = [name.lower() for name in signature(backward)]
        self._of_loss = all(name in known or kind_of(name) == "cache" for name in taken[:1])
        caches = [number for number, name in enumerate(taken) if kind_of(name) == "cache"]
        self._upstreams = caches[0] if caches else 0  # which are of the first outputs; 0: of all of them
        scaled = not self.operation and any(p.name.lower() in shapes.SCALES for p in self.parameters)
        self.several_shapes = scaled or self.operation == "layernorm"  # of rows, or of sequences

    def layouts(self) -> Sequence[int]:
        """Of what is scaled by beta alone, that is one number first: its gradient would fit a vector too."""
        usual = operations.layouts(self.operation)
        alone = not self.operation and self.several_shapes
        alone = alone and not any(p.name.lower() == "gamma" for p in self.parameters)
        return (*shapes.GUESSED, *usual) if alone else usual

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Random leaves, and the arguments that have no gradient."""
        named = [p for p in self.parameters if p.name != self._dict]
        leaves, options = operations.arguments(self.operation, named, rng, number, layout)
        for p in (p for p in self.parameters if p.name in self._learnt):
            options.pop(p.name, None)
            shape = _shape_of(p, self._learnt[p.name], next(iter(leaves.values())))
            leaves[p.name] = shapes.drawn(rng, shape)
        self._options = options
        drawn = {p.name: leaves[p.name] for p in self.parameters if p.name in leaves}
        return drawn | self._weights(drawn, options, rng, number, layout), options

    def _weights(
        self, leaves: Any, options: dict[str, Any], rng: Any, number: int, layout: int
    ) -> dict[str, Array]:
        """The weights that the forward pass asks its dict for; those on which nothing depends become options."""
        if not self._dict:
            return {}
        drawn, self._keys = containers.Drawn(self._shapes_of(number, layout), rng), []
        self._outputs({**leaves, **operations.fresh(options), self._dict: drawn})
        self._keys = list(drawn)
        used = containers.used(drawn, lambda weights: self.forward({**leaves, **weights}, options)[0])
        options |= {key: drawn[key] for key in drawn if key not in used}
        return {key: drawn[key] for key in used}

    def _shapes_of(self, number: int, layout: int) -> shapes.Shapes:
        of = shapes.Shapes(self.operation, *operations.SIZES[number], layout)
        of.of("x")
        return of

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """The output, several of them end to end; and the cache, or what stands for it."""
        given = {n: self.array(value) for n, value in {**leaves, **operations.fresh(options)}.items()}
        if self._dict:
            given[self._dict] = {key: given.pop(key) for key in self._keys}
        outputs, cache = self._outputs(given)
        arrays = [double(output) for output in outputs]
        self._shapes = [array.shape for array in arrays]
        out = arrays[0] if len(arrays) == 1 else np.concatenate([array.ravel() for array in arrays])
        if self._of_loss and out.size == 1:
            self.upstream, out = False, out.reshape(())
        return out, (cache, {**given, "out": out, "a": out, "output": out})

    def _outputs(self, given: Mapping[str, Any]) -> tuple[list[Any], Any]:
        """The outputs that have an upstream gradient, and the cache."""
        answer = self._forward(*(given[p.name] for p in self.parameters if p.name in given))
        if not isinstance(answer, (tuple, list)):
            outputs, cache = [answer], None
        else:
            outputs, cache = list(answer[:-1]), answer[-1]
        if any(output is None for output in outputs):
            raise UserError(f"{self._forward.__name__} returns nothing: it is not written yet")
        return outputs[: self._upstreams or None], cache

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """The gradients by the names of the leaves."""
        saved, given = cache
        known = {**({} if saved is None else {"cache": saved}), **{n.lower(): value for n, value in given.items()}}
        names = [n for n, p in signature(self._backward).items() if p.default is p.empty or n.lower() in known]
        upstream = list(map(self.array, self._upstream(dout, len(names) - 1))) if self.upstream else []
        rest = names[len(upstream) :]
        if saved is not None and (len(rest) == 1 or rest[0].lower() not in known):
            more = [known[name.lower()] for name in rest[1:] if name.lower() in known]
            return self._matched(self._backward(*upstream, saved, *more), leaves)
        values = [known.get(name.lower(), next(iter(leaves.values()))) for name in rest]
        return self._matched(self._backward(*upstream, *values), leaves)

    def _matched(self, answer: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """Gradients by leaf; numbers that turn out to have one are leaves from the next draw on."""
        answer = _ordered(answer, leaves, self.parameters)
        self._learnt |= _numbers_learnt(answer, leaves, self.parameters, self._options)
        return matched(answer, leaves)

    def in_test_mode(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> dict[str, Any] | None:
        """Returns the options of test mode after a call in training, if the backward pass asks for the mode."""
        given = operations.fresh(options)
        tested = operations.in_test_mode(given)
        if tested is None or not _asks_for_the_mode(self._backward):
            return None
        known = {**{n: self.array(leaf) for n, leaf in leaves.items()}, **given}
        self._forward(*(known[p.name] for p in self.parameters if p.name in known))
        return operations.in_test_mode(given)

    def _upstream(self, dout: Array, most: int) -> list[Array]:
        if len(self._shapes) == 1 or most < len(self._shapes):
            return [dout]
        return apart(dout, self._shapes)


def _ordered(answer: Any, leaves: Mapping[str, Array], parameters: Sequence[inspect.Parameter]) -> Any:
    """The gradients of the leaves first: of a tuple with None for what has none, those at the leaves' places."""
    if isinstance(answer, (tuple, list)) and len(answer) == len(parameters) > len(leaves):
        of = {p.name: value for p, value in zip(parameters, answer, strict=True)}
        return [*(of.pop(name) for name in leaves), *of.values()]
    return answer


def _numbers_learnt(
    answer: Any, leaves: Mapping[str, Array], parameters: Sequence[inspect.Parameter], options: Mapping[str, Any]
) -> Learnt:
    """The numbers among the arguments of which `answer` has a gradient, beside the leaves.

    Raises UserError if there are more gradients than such numbers.
    """
    found = [p.name for p in parameters if p.name not in leaves and _may_be(p, options.get(p.name, p.default))]
    if isinstance(answer, Mapping):
        keys = {name: next((k for k in names_of_gradient(name)[1:] if k in answer), None) for name in found}
        return {name: np.shape(answer[key]) for name, key in keys.items() if key is not None}
    if not isinstance(answer, (tuple, list)):
        return {}
    more = [value for value in answer[len(leaves) :] if is_number(value) or is_array(value)]
    if len(more) > len(found):
        raise UserError(
            f"it returns {len(answer)} gradients, and of which arguments those behind {', '.join(leaves)} are "
            "cannot be told: use mlp_jax.gradcheck.check_vjp(f, backward, *args)"
        )
    return {name: np.shape(value) for name, value in zip(found, more, strict=False)}


def _may_be(p: inspect.Parameter, value: Any) -> bool:
    """Whether an argument may be a number that is learnt, rather than a size or a constant."""
    name = p.name.lower()
    return is_number(value) and name not in FIXED and (isinstance(value, float) or name in LEARNT)


def _shape_of(p: inspect.Parameter, gradient: tuple[int, ...], x: Array) -> tuple[int, ...]:
    """The shape of a number that is learnt: one for each feature, if its gradient is so and it has no default."""
    if is_number(p.default) or int(np.prod(gradient)) == 1:
        return () if is_number(p.default) else gradient
    return {1: x.shape[-1:], 2: (1, *x.shape[-1:])}.get(len(gradient), ()) if gradient != x.shape else ()


def _asks_for_the_mode(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    words = (*code.co_consts, *code.co_names, *code.co_varnames) if code else ()
    asked = {word for word in words if isinstance(word, str) and word in operations.MODES}
    return bool(asked and asked - _unread(function))


def _unread(function: Any) -> set[str]:
    """The names of the variables that a function sets and never reads."""
    try:
        tree = ast.parse(textwrap.dedent(signatures.source_of(function)))
    except SyntaxError:
        return set()
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    written, read = ({n.id for n in names if isinstance(n.ctx, how)} for how in (ast.Store, ast.Load))
    return written - read


class Scores(Pair):
    """The layer is a function loss(x, y) -> (loss, dx): the gradient is what its forward pass keeps."""

    upstream = False

    def __init__(self, name: str, target: Any) -> None:
        super().__init__(name, target, lambda dout, cache: cache)

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """Returns the loss, and its gradient as the cache."""
        loss, cache = super().forward(leaves, options)
        if loss.size != 1 or cache[0] is None:
            raise UserError("it must return (loss, dx)")
        return loss.reshape(()), cache


def matched(answer: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
    """Gradients by the names of the leaves, from a dict (dx, dw) or in the order of the forward's arguments.

    Those of the first leaves may stand before a dict of the others.
    """
    if isinstance(answer, (tuple, list)) and len(answer) > 1 and isinstance(answer[-1], Mapping):
        first = dict(list(leaves.items())[: len(answer) - 1])
        others = {name: leaf for name, leaf in leaves.items() if name not in first}
        return matched(answer[:-1], first) | matched(answer[-1], others)
    if isinstance(answer, Mapping):
        mine = {name.lower().replace("_", ""): value for name, value in answer.items()}
        keys = {leaf: (f"d{leaf}".lower().replace("_", ""), leaf.lower().replace("_", "")) for leaf in leaves}
        found = {leaf: next((mine[k] for k in keys[leaf] if k in mine), None) for leaf in leaves}
    else:
        values = list(answer) if isinstance(answer, (tuple, list)) else [answer]
        values += [None] * (len(leaves) - len(values))
        found = dict(zip(leaves, values, strict=False))
    if all(value is None for value in found.values()):
        raise UserError("its backward pass returns nothing: it is not written yet")
    return {leaf: double(value) for leaf, value in found.items() if value is not None}
