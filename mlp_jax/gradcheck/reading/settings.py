"""A configuration for a class that is built from one, and the names of its activations."""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading.names import ALL_SIZES, DEPTHS, SPREAD, is_penalty, plainly, size_of, width
from mlp_jax.gradcheck.reading.signatures import WRAP, module_of
from mlp_jax.gradcheck.truth import Case
from mlp_jax.nn.config import MLPConfig

CONFIGS = re.compile(
    r"(model_|net_|network_|nn_|mlp_|fcn?_)?(config|cfg|args|opts?|hparams|hp|settings|conf|options|params|configuration)"
)
ACTIVATION = re.compile(r"(hidden)?(act|activation|nonlinearity|nonlin)(fn|func|function|name|type)?s?")
DEFAULT = MLPConfig.activation


def of_depth(target: Any, depth: int) -> UserError:
    """What to say of a class that has another depth."""
    return UserError(f"{target.__name__} has {depth} hidden layer(s): name as many widths with --hidden")


def settings_name(parameters: dict[str, inspect.Parameter]) -> str | None:
    """The argument that holds the whole configuration, where no other tells a width."""
    if any(size_of(name) or name in (*DEPTHS, *ALL_SIZES) for name in parameters):
        return None
    return next((name for name in parameters if CONFIGS.fullmatch(name.lower())), None)


class _NoKey(UserError, KeyError):
    """Said to the user, unless the class asks for a key that need not be there."""

    def __str__(self) -> str:
        return str(self.args[0])


class _NoAttribute(UserError, AttributeError):
    """The same of an attribute."""


class Settings(Mapping[str, Any]):
    """A configuration, object or dict, that gives what it is asked for, by its name.

    What the name does not tell has the value that a class of configurations in the target's module gives it.
    """

    def __init__(self, target: Any, case: Case, name: str) -> None:
        classes = [value for key, value in module_of(target).items() if CONFIGS.search(key.lower())]
        self.__dict__ |= {"_target": target, "_case": case, "_name": name, "_others": classes, "_popped": False}

    def __getitem__(self, name: str) -> Any:
        config, kind = self._case.config, size_of(name)
        if name in DEPTHS or (kind == "hidden" and len(config.hidden) > 1):
            if name not in DEPTHS:
                raise of_depth(self._target, 1)
            return list(config.hidden)
        known: Any = list(config.sizes) if name in ALL_SIZES else width(name, config)
        known = self._case.l2 if is_penalty(name) else 1e-2 if name in SPREAD else known
        return self._other(name) if known is None else known

    def pop(self, name: str, *default: Any) -> Any:
        """The same; who takes everything out asks then whether anything is left."""
        self.__dict__["_popped"] = True
        return self.get(name, *default) if default else self[name]

    def _other(self, name: str) -> Any:
        for other in self._others:
            if isinstance(other, Mapping) and name in other:
                return other[name]
            if hasattr(other, name):
                return getattr(other, name)
        raise _NoKey(f"{self._target.__name__} needs {self._name}.{name}, which is not known: {WRAP}")

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise _NoAttribute(error.args[0]) from None

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0 if self._popped else 1


def activations_of(target: Any, case: Case, parameters: dict[str, inspect.Parameter]) -> dict[str, Any]:
    """Names of activations, as the class spells them, for what has none: one, or one of every layer."""
    wanted, found = case.config.activation, dict[str, Any]()
    spelled = {word.lower(): word for word in _words(target)}
    for name, p in parameters.items():
        chosen = isinstance(p.default, str) and wanted not in (DEFAULT, p.default.lower())
        if ACTIVATION.fullmatch(plainly(name)) and (chosen or p.default in (None, p.empty)) and wanted in spelled:
            last = next((spelled[word] for word in ("softmax", "linear", "identity") if word in spelled), "")
            every = [spelled[wanted]] * len(case.config.hidden)
            found[name] = [*every, last] if name.endswith("s") and not name.endswith("ss") else spelled[wanted]
    return found


def _words(target: Any) -> Iterator[str]:
    """The text constants in a class, and in the functions and classes beside it."""
    methods = [each for each in vars(target).values() if inspect.isfunction(each)]
    space = methods[0].__globals__ if methods else {}
    beside = [each for each in space.values() if getattr(each, "__module__", "") == target.__module__]
    inside = [each for other in beside if inspect.isclass(other) for each in vars(other).values()]
    functions = [getattr(each, "__func__", each) for each in (*methods, *beside, *inside)]
    codes = [inspect.unwrap(each).__code__ for each in functions if inspect.isfunction(each)]
    while codes:
        constants = codes.pop().co_consts
        constants += tuple(each for some in constants if isinstance(some, tuple) for each in some)  # keys of dicts
        codes += [each for each in constants if inspect.iscode(each)]
        yield from (each for each in constants if isinstance(each, str))
