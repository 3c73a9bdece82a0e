"""Any function's hand-written backward pass against `jax.vjp`, leaf by leaf."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import vjp_arguments
from mlp_jax.gradcheck.layers.elementwise import network_of
from mlp_jax.gradcheck.layers.network import LayerNetwork, alone
from mlp_jax.gradcheck.layers.report import finding, judged
from mlp_jax.gradcheck.layers.trials import SINGLE, TOLERANCE, Array, Trial, differences, distance, looks_single
from mlp_jax.gradcheck.mistakes.layer_ops import Function
from mlp_jax.gradcheck.report import Finding, Report
from mlp_jax.gradcheck.vjp_arguments import Arguments

FEW = 8  # numbers
OWN = 7919
"""Drawn numbers are of another stream than `default_rng(seed)`, from which the arguments may come."""


def check_vjp(f: Callable[..., Any], backward: Callable[..., Any], *args: Any, seed: int = 0) -> Report:
    """Checks `backward(dout, *args)`, a tuple of one gradient per argument, against `jax.vjp(f, *args)`.

    f: a function of jax arrays that returns one array, or several, for which dout is several too. One of
    numpy's is held against central differences.
    args: floating-point numbers, arrays of them, or lists and dictionaries of these, in whose shapes random ones
    are drawn as well; others (labels, options) are given as they are, and have no gradient: None. A mutated
    argument and another answer to the same question are failures too. Raises UserError if either function raises,
    or `backward` returns another number of gradients.
    """
    with jax.enable_x64(True):
        return _check(f, backward, Arguments(args), seed, _title(backward))


def check_custom_vjp(f: Any, *args: Any, seed: int = 0) -> Report:
    """Checks the rules of a `jax.custom_vjp` function against autodiff of the function that it decorates.

    args: as in `check_vjp`. Raises UserError if f is no `jax.custom_vjp`.
    """
    if not isinstance(f, jax.custom_vjp):  # below jax.jit, say
        f = getattr(f, "__wrapped__", f)
    if not isinstance(f, jax.custom_vjp):
        raise UserError(f"{_title(f)} is no jax.custom_vjp function: use check_vjp(f, backward, *args)")
    arguments = Arguments(args, tuple(f.nondiff_argnums))

    def backward(dout: Any, *given: Any) -> list[Any]:
        output, pull = jax.vjp(lambda *chosen: f(*arguments.with_values(chosen)), *arguments.of(given))
        of_output = jax.tree.map(lambda g, out: jax.numpy.asarray(g, out.dtype), dout, output)
        return arguments.answer(pull(of_output))

    with jax.enable_x64(True):
        return _check(f.fun, backward, arguments, seed, _title(f.fun))


def _title(f: Any) -> str:
    return str(getattr(f, "__name__", type(f).__name__))


def _check(
    f: Callable[..., Any], backward: Callable[..., Any], arguments: Arguments, seed: int, name: str
) -> Report:
    function = vjp_arguments.Function(f, backward, arguments)
    rng, trials, changed, state = np.random.default_rng([OWN, seed]), [], set[str](), False
    single = function.looks_single(rng)
    for given in _inputs(function, rng):
        trial, mutated = _trial(function, given, rng, single=single)
        trials.append(trial)
        changed |= mutated
        state |= bool(trial.increments)
    against = "jax.vjp in float64" if function.of_jax else "central differences of f in float64"
    network = partial(_network, function, trials)
    return judged(name, trials, findings=_behaviour(changed, state=state), network=network, against=against)


def _behaviour(changed: set[str], *, state: bool) -> list[Finding]:
    """What is told of how backward behaves; to change dout alone is a remark, as in a layer."""
    findings = []
    if changed:
        told = f"it changes {', '.join(sorted(changed))}"
        findings.append(finding("mutates_input", "-", (), told, remark=changed == {"dout"}))
    return [*findings, finding("state_between_calls", "-", ())] if state else findings


def _inputs(function: vjp_arguments.Function, rng: np.random.Generator) -> Iterator[list[Array]]:
    """The inputs of every trial: those that were given, and others near them at which f is finite.

    A few numbers may all lie on one side of a kink, so that those of the other side are tried as well. What is 0
    or 1 everywhere, as one-hot labels and masks are, stays: a rule may be right for such alone.
    """
    given = function.arguments.values
    yield given
    drawn = [np.zeros(v.shape) if _is_one_hot(v) else rng.normal(size=v.shape) for v in (*given, *given)]
    moved = [[np.asarray(v + d * size) for v, d in zip(given, drawn, strict=False)] for size in (1, 0.1)]
    pairs = list(zip(given, drawn[len(given) :], strict=True))
    scaled = [[np.asarray(v * np.exp(size * d)) for v, d in pairs] for size in (1, 0.1)]
    for both in zip(moved, scaled, strict=True):
        yield from [values for values in both if _is_finite(function, values)][:1]
    mirrored = [value if _is_one_hot(value) else np.asarray(-value) for value in given]
    if min(value.size for value in given) < FEW and _is_finite(function, mirrored):
        yield mirrored


def _is_one_hot(value: Array) -> bool:
    return value.size > 1 and bool(np.isin(value, (0, 1)).all())


def _is_finite(function: vjp_arguments.Function, values: list[Array]) -> bool:
    try:
        return bool(np.isfinite(function.output(values)).all())
    except Exception:  # out of its domain, as math.log is; what else it may be is told where it is asked
        return False


def _true(
    function: vjp_arguments.Function, given: list[Array], rng: np.random.Generator, *, single: bool
) -> tuple[Array, ...]:
    """The output, a random dout, and the true gradients."""
    told = function.pull(given) if function.of_jax else None
    output = function.output(given) if told is None else np.asarray(told[0], np.float64)
    dout = rng.normal(size=output.shape)
    if told is not None:
        return output, dout, *(np.asarray(g, np.float64) for g in told[1](jax.numpy.asarray(dout, told[0].dtype)))

    def value(i: int, moved: Array) -> float:
        return float((function.output([*given[:i], moved, *given[i + 1 :]]) * dout).sum())

    return output, dout, *(differences(partial(value, i), each, single=single) for i, each in enumerate(given))


def _trial(
    function: vjp_arguments.Function, given: list[Array], rng: np.random.Generator, *, single: bool
) -> tuple[Trial, set[str]]:
    """The trial, and what backward changed in it."""
    names = function.arguments.names
    output, dout, *true = _true(function, given, rng, single=single)
    answers, changed, factor = [], set[str](), rng.normal(size=dout.shape)
    for scaled in (dout, dout, dout * factor):
        mine, upstream = [value.copy() for value in given], scaled.copy()
        answers.append([np.array(g) for g in function.gradients(upstream, mine)])
        changed |= {n for n, a, b in zip(names, mine, given, strict=True) if not np.array_equal(a, b)}
        changed |= set() if np.array_equal(upstream, scaled) else {"dout"}
    first, second, third = (dict(zip(names, answer, strict=True)) for answer in answers)
    increments = {
        n: second[n] - a for n, a in first.items() if a.shape == second[n].shape and distance(a, second[n]) > 1e-6
    }
    of_dout = {n: a for n, a in first.items() if a.shape == third[n].shape == dout.shape}
    trial = Trial(
        dict(zip(names, given, strict=True)),
        output,
        dout,
        first,
        dict(zip(names, true, strict=True)),
        {"N": float(len(given[0]))} if given[0].ndim and len(given[0]) > 1 else {},
        " and ".join(str(value.shape) for value in given),
        SINGLE if single or (function.arguments.single and looks_single(answers[0])) else TOLERANCE,
        diagonal=frozenset(n for n, a in of_dout.items() if distance(third[n], a * factor) < 1e-6),
        increments=increments,
    )
    return trial, changed


def _network(function: vjp_arguments.Function, trials: Sequence[Trial], leaf: str) -> LayerNetwork:
    """One argument as the input of f, in every trial: of an activation, or of any function."""

    def of_one(trial: Trial, moved: Array) -> Array:
        return function.output([moved if name == leaf else value for name, value in trial.inputs.items()])

    def pull(trial: Trial, turned: str, dout: Array) -> Array:
        given = [value.T if n == turned else value for n, value in trial.inputs.items()]
        told = function.pull(given)
        assert told is not None
        grads = dict(zip(trial.inputs, told[1](jax.numpy.asarray(dout, told[0].dtype)), strict=True))
        return np.asarray(grads[leaf], np.float64)

    def ways(trial: Trial) -> Function:
        squares = [n for n, v in trial.inputs.items() if n != leaf and v.ndim == 2 and v.shape == v.shape[::-1]]
        return Function(0, partial(pull, trial, ""), tuple(partial(pull, trial, name) for name in squares))

    known = network_of(leaf, [partial(of_one, trial) for trial in trials], trials)
    return known or alone(leaf, trials, list(map(ways, trials)) if function.of_jax else [])
