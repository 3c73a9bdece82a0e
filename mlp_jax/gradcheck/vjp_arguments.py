"""The arguments and the output of any function, which may be containers, as arrays that have a gradient each."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mlp_jax.errors import UserError, one_line
from mlp_jax.gradcheck.layers.trials import Array, apart, looks_single

CALLED = "it is called as backward(dout, *args)"
OTHERS = ("torch", "tensorflow")
NUMPY_OR_JAX = "check_vjp takes functions of numpy or jax arrays: lambda x: f(torch.tensor(x)).numpy() is one"


class Arguments:
    """Arguments of a function: numbers, arrays, or lists and dictionaries of them.

    names: of the arrays and numbers of floating point, which have a gradient. fixed: the arguments without one.
    """

    def __init__(self, args: Sequence[Any], fixed: Sequence[int] = ()) -> None:
        self.count = len(args)
        trees: list[Any] = [jax.tree_util.tree_flatten_with_path(_array_of_numbers(arg)) for arg in args]
        self._trees = trees
        places = [(i, path, leaf) for i, (leaves, _) in enumerate(self._trees) for path, leaf in leaves]
        self._leaves = [leaf for _, _, leaf in places]
        self._at = [n for n, (i, _, leaf) in enumerate(places) if i not in fixed and _kind(leaf) == "f"]
        names = [f"argument {i}{jax.tree_util.keystr(path)}" for i, path, _ in places]
        self.names, self._others = [names[n] for n in self._at], names
        for name, leaf in zip(names, self._leaves, strict=True):
            if type(leaf).__module__.partition(".")[0] in OTHERS:
                raise UserError(f"{name} is a {type(leaf).__name__} of another library: {NUMPY_OR_JAX}")
        if not self._at:
            raise UserError("at least one argument must be a number or an array of floating-point numbers")
        for name, value in zip(self.names, self.values, strict=True):
            if not value.size or not np.isfinite(value).all():
                raise UserError(f"{name} is empty, or holds NaN or infinity: give ordinary numbers")

    @property
    def values(self) -> list[Array]:
        """The arrays that have a gradient, in float64."""
        return [np.asarray(self._leaves[n], np.float64) for n in self._at]

    @property
    def single(self) -> bool:
        """Whether one of them came in float32."""
        return any(np.asarray(self._leaves[n]).dtype == np.float32 for n in self._at)

    def with_values(self, chosen: Sequence[Any]) -> list[Any]:
        """The arguments with these arrays in place of those that have a gradient."""
        leaves = list(self._leaves)
        for n, value in zip(self._at, chosen, strict=True):
            leaves[n] = value
        return self._in_trees(leaves)

    def _in_trees(self, leaves: list[Any]) -> list[Any]:
        """What has the form of the arguments, of leaves for all of theirs."""
        rest = iter(leaves)
        return [jax.tree.unflatten(tree, [next(rest) for _ in mine]) for mine, tree in self._trees]

    def of(self, arguments: Sequence[Any]) -> list[Any]:
        """The arrays that have a gradient among other arguments of the same form."""
        leaves = [leaf for arg in arguments for leaf in jax.tree.leaves(_array_of_numbers(arg))]
        return [leaves[n] for n in self._at]

    def answer(self, gradients: Sequence[Any]) -> list[Any]:
        """What a backward pass returns of these gradients: None in the place of what has none."""
        found = dict(zip(self._at, gradients, strict=True))
        return self._in_trees([found.get(n) for n in range(len(self._leaves))])

    def gradients(self, answer: Any) -> list[Array]:
        """The gradients of these arrays in what backward returns. Raises UserError if they are not all there."""
        if answer is None:
            raise UserError(f"backward returns None: return one gradient for each argument; {CALLED}")
        with_gradient = sorted({int(name.split("[")[0].split()[1]) for name in self.names})
        leaves = list[Any]()
        for i, grad in self._by_argument(answer, with_gradient).items():
            leaves += self._leaves_of(i, grad)
        told = dict(leaves)
        for name, grad in told.items():
            self._check(name, grad)
        return [np.asarray(told[name], np.float64) for name in self.names]

    def _by_argument(self, answer: Any, with_gradient: Sequence[int]) -> dict[int, Any]:
        """What backward returns, by the number of the argument; one for each, or for each that has a gradient."""
        only = with_gradient[0] if len(with_gradient) == 1 else None
        if only is not None and not self._is_sequence_of(answer, only):
            return {only: answer}
        parts = list(answer) if isinstance(answer, (tuple, list)) else [answer]
        for numbers in (range(self.count), with_gradient):
            if len(parts) == len(numbers):
                return dict(zip(numbers, parts, strict=True))
        wanted = f"{len(with_gradient)} argument{'s' * (len(with_gradient) != 1)}"
        raise UserError(
            f"backward returns {len(parts)} gradient{'s' * (len(parts) != 1)} for {wanted}: return one for each"
        )

    def _is_sequence_of(self, answer: Any, only: int) -> bool:
        """Whether the answer is a tuple or a list of gradients, not the gradient of the only argument."""
        tree = self._trees[only][1]
        is_gradient = tree.num_leaves != 0 and jax.tree.structure(answer) == tree and tree.num_nodes > 1
        return isinstance(answer, (tuple, list)) and not is_gradient

    def _leaves_of(self, i: int, grad: Any) -> list[tuple[str, Any]]:
        first = sum(len(leaves) for leaves, _ in self._trees[:i])
        leaves, tree = self._trees[i]
        names = self._others[first : first + len(leaves)]
        if grad is None:
            return [(name, None) for name in names]
        try:
            return list(zip(names, tree.flatten_up_to(grad), strict=True))
        except ValueError as error:
            form = type(jax.tree.unflatten(tree, names)).__name__
            raise UserError(
                f"argument {i} is a {form}, and backward returns a gradient of another form for it: return a "
                f"{form} with a gradient for each of its arrays"
            ) from error

    def _check(self, name: str, grad: Any) -> None:
        if name in self.names and grad is None:
            raise UserError(f"backward returns None for {name}, which has a gradient: return an array")
        if name not in self.names and not (grad is None or getattr(grad, "dtype", None) == jax.dtypes.float0):
            raise UserError(
                f"{name} is given without floating-point numbers, so that its gradient cannot be checked: give "
                "it with such numbers (2.0 for 2), or return None in the gradient's place"
            )


def _array_of_numbers(arg: Any) -> Any:
    """The argument, but an array for a list of floating-point numbers."""
    numbers = jax.tree.leaves(arg) if isinstance(arg, (list, tuple)) else []
    if not numbers or not all(isinstance(number, (int, float)) for number in numbers):
        return arg
    try:
        array = np.asarray(arg)
    except ValueError:  # of lists of different lengths
        return arg
    return array if array.dtype.kind == "f" else arg


def _kind(leaf: Any) -> str:
    """The kind of an array's numbers, as numpy calls it."""
    return np.asarray(leaf).dtype.kind if hasattr(leaf, "dtype") or isinstance(leaf, float) else "O"


class Function:
    """A function, and its backward pass, of the arrays that have a gradient, with one array as its output.

    An output of several arrays is one row of all their numbers, and so is its dout.
    """

    def __init__(self, f: Callable[..., Any], backward: Callable[..., Any], arguments: Arguments) -> None:
        for name, function in (("f", f), ("backward", backward)):
            if not callable(function):
                raise UserError(f"{name} must be a function, not {type(function).__name__}")
        self._f, self._backward, self.arguments = f, backward, arguments
        self.of_jax, self._output = False, None
        try:
            self.of_jax = self.pull(arguments.values) is not None
            self._output, again = self._of_copies(), self._of_copies()
        except Exception as error:
            hint = f"; {NUMPY_OR_JAX}" if "Tensor" in str(error) else ""
            raise UserError(f"f raises {one_line(error)}{hint}") from error
        self._check_output(again)

    def _of_copies(self) -> Any:
        copies = [jax.numpy.asarray(v) if self.of_jax else v.copy() for v in self.arguments.values]
        with np.errstate(all="ignore"):
            return self._f(*self.arguments.with_values(copies))

    def _check_output(self, again: Any) -> None:
        """Raises UserError where f gives no numbers, or others when it is asked again."""
        kind = "None" if self._output is None else f"a {type(self._output).__name__}"
        leaves = jax.tree.leaves(self._output)
        if not leaves or any(np.asarray(leaf).dtype.kind not in "fiub" for leaf in leaves):
            raise UserError(f"f must return an array of numbers, or a tuple of such arrays; it returns {kind}")
        if any(np.isnan(np.asarray(leaf, np.float64)).any() for leaf in leaves):
            raise UserError("f gives NaN for these arguments: give others, for which it is a number")
        if not all(map(np.array_equal, leaves, jax.tree.leaves(again))):
            raise UserError("f gives another output for the same arguments: fix its seed")

    def __call__(self, values: Sequence[Any]) -> Any:
        """The output as one array."""
        output = self._f(*self.arguments.with_values(values))
        if not isinstance(self._output, (tuple, list, dict)):
            return output
        leaves = jax.tree.leaves(output)
        xp = jax.numpy if any(isinstance(leaf, jax.Array) for leaf in leaves) else np
        return xp.concatenate([xp.ravel(leaf) for leaf in leaves])

    def output(self, values: Sequence[Array]) -> Array:
        """The output for copies of these arrays, in float64."""
        with np.errstate(all="ignore"):
            return np.asarray(self([value.copy() for value in values]), np.float64)

    def pull(self, values: Sequence[Any]) -> tuple[Any, Any] | None:
        """(output, vjp) of f from jax; None where f is not one of jax arrays."""
        try:
            return jax.vjp(lambda *chosen: self(chosen), *map(jax.numpy.asarray, values))
        except TypeError:  # what numpy's functions and in-place operations raise for a tracer
            return None

    def looks_single(self, rng: np.random.Generator) -> bool:
        """Whether f computes in float32: all its numbers are ones of float32 where the arguments are none."""
        values = [value * np.exp(1e-3 * rng.normal(size=value.shape)) for value in self.arguments.values]
        try:
            output = self.output(values)
        except Exception:  # out of its domain
            return False
        return looks_single([output]) and bool((output != np.round(output)).any())

    def gradients(self, dout: Array, values: Sequence[Array]) -> list[Array]:
        """What backward returns. Raises UserError if it raises, or does not return the gradients."""
        try:
            answer = self._backward(self._split(dout), *self.arguments.with_values(values))
        except UserError:
            raise
        except Exception as error:
            hint = f"; {CALLED}" * isinstance(error, (TypeError, ValueError))
            raise UserError(f"backward raises {one_line(error)}{hint}") from error
        return self.arguments.gradients(answer)

    def _split(self, dout: Array) -> Any:
        """Dout in the form of f's output."""
        if not isinstance(self._output, (tuple, list, dict)):
            return dout
        leaves, tree = jax.tree.flatten(self._output)
        return jax.tree.unflatten(tree, apart(dout, [np.shape(leaf) for leaf in leaves]))
