"""Any function's hand-written backward pass against `jax.vjp`, leaf by leaf."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers.elementwise import network_of
from mlp_jax.gradcheck.layers.network import LayerNetwork, alone
from mlp_jax.gradcheck.layers.report import finding, judged
from mlp_jax.gradcheck.layers.trials import SINGLE, TOLERANCE, Trial, differences, distance, looks_single
from mlp_jax.gradcheck.mistakes.layer_ops import Function
from mlp_jax.gradcheck.report import Report

Array = np.ndarray
FEW = 8  # numbers


def check_vjp(f: Callable[..., Any], backward: Callable[..., Any], *args: Any, seed: int = 0) -> Report:
    """Checks `backward(dout, *args)`, a tuple of one gradient per argument, against `jax.vjp(f, *args)`.

    f: a function of jax arrays that returns one array; one of numpy's is held against central differences.
    args: arrays of floating-point numbers, in whose shapes random ones are drawn as well; others (labels, options)
    are given as they are, and have no gradient. A mutated argument and another answer to the same question are
    failures too. Raises UserError if either function raises, or `backward` returns another number of gradients.
    """
    with jax.enable_x64(True):
        return _check(f, backward, args, seed, _title(backward))


def check_custom_vjp(f: Any, *args: Any, seed: int = 0) -> Report:
    """Checks the rules of a `jax.custom_vjp` function against autodiff of the function that it decorates.

    args: as in `check_vjp`. Raises UserError if f is no `jax.custom_vjp`.
    """
    if not isinstance(f, jax.custom_vjp):  # below jax.jit, say
        f = getattr(f, "__wrapped__", f)
    if not isinstance(f, jax.custom_vjp):
        raise UserError(f"{_title(f)} is no jax.custom_vjp function: use check_vjp(f, backward, *args)")

    fixed = tuple(f.nondiff_argnums)

    def backward(dout: Any, *given: Any) -> tuple[Any, ...]:
        at = _differentiable(given, fixed)
        _, pull = jax.vjp(lambda *chosen: f(*_merged(given, at, chosen)), *(given[i] for i in at))
        return tuple(pull(jax.numpy.asarray(dout)))

    with jax.enable_x64(True):
        return _check(f.fun, backward, args, seed, _title(f.fun), fixed)


def _title(f: Any) -> str:
    return str(getattr(f, "__name__", type(f).__name__))


def _differentiable(args: Sequence[Any], fixed: Sequence[int] = ()) -> list[int]:
    kinds = [
        np.asarray(arg).dtype.kind if hasattr(arg, "dtype") or isinstance(arg, float) else "O" for arg in args
    ]
    return [i for i, kind in enumerate(kinds) if kind == "f" and i not in fixed]


def _merged(args: Sequence[Any], at: Sequence[int], chosen: Sequence[Any]) -> list[Any]:
    values = list(args)
    for i, value in zip(at, chosen, strict=True):
        values[i] = value
    return values


def _check(
    f: Callable[..., Any],
    backward: Callable[..., Any],
    args: Any,
    seed: int,
    name: str,
    fixed: Sequence[int] = (),
) -> Report:
    at = _differentiable(args, fixed)
    if not at:
        raise UserError("check_vjp needs at least one argument that is an array of floating-point numbers")
    unusable = [i for i in at if not np.size(args[i]) or not np.isfinite(np.asarray(args[i], np.float64)).all()]
    if unusable:
        raise UserError(f"argument {unusable[0]} is empty, or holds NaN or infinity: give ordinary numbers")
    rng, trials, changed, state = np.random.default_rng(seed), [], set[str](), False
    for given in _inputs(f, args, at, rng):
        trial, mutated, again = _trial(f, backward, args, at, given, rng)
        trials.append(trial)
        changed |= mutated
        state |= again
    findings = []
    if changed:
        findings.append(finding("mutates_input", "-", (), f"it changes {', '.join(sorted(changed))}"))
    if state:
        findings.append(finding("state_between_calls", "-", ()))
    of_jax = _pull(f, args, at, list(trials[0].inputs.values())) is not None
    against = "jax.vjp in float64" if of_jax else "central differences of f in float64"
    network = partial(_network, f, args, at, trials, of_jax)
    return judged(name, trials, findings=findings, network=network, against=against)


def _inputs(f: Callable[..., Any], args: Any, at: list[int], rng: np.random.Generator) -> Iterator[list[Array]]:
    """The inputs of every trial: those that were given, and others near them at which f is finite.

    A few numbers may all lie on one side of a kink, so that those of the other side are tried as well.
    """
    given = [np.asarray(args[i], np.float64) for i in at]
    yield given
    moved = [[np.asarray(value + rng.normal(size=value.shape) * size) for value in given] for size in (1, 0.1)]
    scaled = [
        [np.asarray(value * np.exp(size * rng.normal(size=value.shape))) for value in given] for size in (1, 0.1)
    ]
    for first, second in zip(moved, scaled, strict=True):
        yield first if _is_finite(f, args, at, first) else second
    mirrored = [np.asarray(-value) for value in given]
    if min(value.size for value in given) < FEW and _is_finite(f, args, at, mirrored):
        yield mirrored


def _is_finite(f: Callable[..., Any], args: Any, at: list[int], given: list[Array]) -> bool:
    try:
        with np.errstate(all="ignore"):
            output = f(*_merged(args, at, [value.copy() for value in given]))
        return bool(np.isfinite(np.asarray(output, np.float64)).all())
    except Exception:  # out of its domain, as math.log is; what else it may be is told where it is asked
        return False


def _pull(f: Callable[..., Any], args: Any, at: list[int], given: Sequence[Array]) -> tuple[Any, Any] | None:
    """(output, vjp) of f from jax; None where f is not one of jax arrays."""
    try:
        return jax.vjp(lambda *chosen: f(*_merged(args, at, chosen)), *map(jax.numpy.asarray, given))
    except TypeError:  # what numpy's functions and in-place operations raise for a tracer
        return None


def _true(f: Callable[..., Any], args: Any, at: list[int], given: list[Array], rng: Any) -> tuple[Array, ...]:
    """The output, a random dout, and the true gradients. Raises UserError if f raises or gives several arrays."""
    try:
        told = _pull(f, args, at, given)
        output = f(*_merged(args, at, [value.copy() for value in given])) if told is None else told[0]
    except Exception as error:
        raise UserError(f"f raises {type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
    if isinstance(output, (tuple, list, dict)):
        raise UserError("f returns several arrays: check it for one of them at a time")
    output = np.asarray(output, np.float64)
    dout = rng.normal(size=output.shape)
    if told is not None:
        return output, dout, *(np.asarray(g, np.float64) for g in told[1](jax.numpy.asarray(dout, told[0].dtype)))

    def value(i: int, moved: Array) -> float:
        return float((f(*_merged(args, at, [*given[:i], moved, *given[i + 1 :]])) * dout).sum())

    return output, dout, *(differences(partial(value, i), each) for i, each in enumerate(given))


def _trial(
    f: Callable[..., Any], backward: Callable[..., Any], args: Any, at: list[int], given: list[Array], rng: Any
) -> tuple[Trial, set[str], bool]:
    names = [f"argument {i}" for i in at]
    output, dout, *true = _true(f, args, at, given, rng)
    answers, factor = [], rng.normal(size=dout.shape)
    for scaled in (dout, dout, dout * factor):
        mine, upstream = [value.copy() for value in given], scaled.copy()
        try:
            answers.append(_gradients(backward(upstream, *_merged(args, at, mine)), len(args), at))
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"backward raises {type(error).__name__}: {error}") from error
    changed = {n for n, a, b in zip(names, mine, given, strict=True) if not np.array_equal(a, b)}
    changed |= set() if np.array_equal(upstream, scaled) else {"dout"}
    pairs = zip(*answers[:2], strict=True)
    again = any(a.shape == b.shape and distance(a, b) > 1e-6 for a, b in pairs)
    of_scaled = zip(names, answers[0], answers[2], strict=True)
    diagonal = [n for n, a, b in of_scaled if a.shape == b.shape == dout.shape and distance(b, a * factor) < 1e-6]
    shape = " and ".join(str(value.shape) for value in given)
    found, sizes = dict(zip(names, answers[0], strict=True)), _sizes(given)
    inputs = dict(zip(names, given, strict=True))
    single = any(np.asarray(args[i]).dtype == np.float32 for i in at) and looks_single(answers[0])
    trial = Trial(inputs, output, dout, found, dict(zip(names, true, strict=True)), sizes, shape)
    tolerance = SINGLE if single else TOLERANCE
    return trial._replace(tolerance=tolerance, diagonal=frozenset(diagonal)), changed, again


def _sizes(given: Sequence[Array]) -> dict[str, float]:
    return {"N": float(len(given[0]))} if given[0].ndim and len(given[0]) > 1 else {}


def _gradients(answer: Any, arguments: int, at: list[int]) -> list[Array]:
    leaves = list(answer) if isinstance(answer, (tuple, list)) else [answer]
    if len(leaves) == arguments:
        leaves = [leaves[i] for i in at]
    if len(leaves) != len(at):
        raise UserError(f"backward returns {len(leaves)} gradients for {len(at)} arguments: return one for each")
    missing = [i for i, leaf in zip(at, leaves, strict=True) if leaf is None]
    if missing:
        raise UserError(f"backward returns None for argument {missing[0]}, which has a gradient: return an array")
    return [np.asarray(leaf, np.float64) for leaf in leaves]


def _network(
    f: Callable[..., Any], args: Any, at: list[int], trials: Sequence[Trial], of_jax: bool, leaf: str
) -> LayerNetwork:
    """One argument as the input of f, in every trial: of an activation, or of any function."""

    def of_one(trial: Trial, moved: Array) -> Array:
        given = [moved if name == leaf else value for name, value in trial.inputs.items()]
        with np.errstate(all="ignore"):
            return np.asarray(f(*_merged(args, at, given)), np.float64)

    def pull(trial: Trial, turned: str, dout: Array) -> Array:
        given = [jax.numpy.asarray(value.T if n == turned else value) for n, value in trial.inputs.items()]
        output, back = jax.vjp(lambda *chosen: f(*_merged(args, at, chosen)), *given)
        grads = dict(zip(trial.inputs, back(jax.numpy.asarray(dout, output.dtype)), strict=True))
        return np.asarray(grads[leaf], np.float64)

    def function(trial: Trial) -> Function:
        squares = [n for n, v in trial.inputs.items() if n != leaf and v.ndim == 2 and v.shape == v.shape[::-1]]
        return Function(0, partial(pull, trial, ""), tuple(partial(pull, trial, name) for name in squares))

    known = network_of(leaf, [partial(of_one, trial) for trial in trials], trials)
    return known or alone(leaf, trials, list(map(function, trials)) if of_jax else [])
