"""A configuration for a class that is built from one: an object or dict that gives what it is asked for."""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading.names import ALL_SIZES, DEPTHS, SPREAD, is_penalty, is_sizes, size_of
from mlp_jax.gradcheck.reading.signatures import WRAP
from mlp_jax.gradcheck.truth import Case

CONFIGS = re.compile(
    r"(model_|net_)?(config|cfg|args|opts?|hparams|hp|settings|conf|options|params|configuration)"
)


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
        module = vars(sys.modules.get(target.__module__, object())) if target.__module__ in sys.modules else {}
        classes = [value for key, value in module.items() if CONFIGS.search(key.lower())]
        self.__dict__ |= {"_target": target, "_case": case, "_name": name, "_others": classes}

    def __getitem__(self, name: str) -> Any:
        config, kind = self._case.config, size_of(name)
        if name in DEPTHS or (kind == "hidden" and len(config.hidden) > 1):
            if name not in DEPTHS:
                raise of_depth(self._target, 1)
            return list(config.hidden)
        widths = {"input": config.inputs, "hidden": config.sizes[1], "classes": config.classes}
        known: Any = list(config.sizes) if is_sizes(name) else widths.get(str(kind))
        known = self._case.l2 if is_penalty(name) else 1e-2 if name in SPREAD else known
        return self._other(name) if known is None else known

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
        return 1
