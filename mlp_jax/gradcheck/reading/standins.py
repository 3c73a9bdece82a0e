"""Stand-ins for modules that a target imports and that are not there.

`past` and `future` only rename Python's own, so theirs work; `nnfs.init` only sets a seed and a dtype, `numba`
only compiles, and `tqdm` only tells how far a loop is. Any other missing module becomes one that raises where it
is used: many files import pictures or data that their gradient never needs.
"""

import importlib
import importlib.abc
import importlib.util
import inspect
import itertools
import re
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

PYTHON_2 = {"xrange": range, "basestring": str, "unicode": str, "long": int, "raw_input": input, "unichr": chr}


def _as_it_is(*arguments: Any, **_: Any) -> Any:
    """A decorator, with or without arguments, that leaves functions as they are."""
    functions = [each for each in arguments if inspect.isfunction(each)]
    return functions[0] if functions else lambda function: function


RENAMED: dict[str, dict[str, Any]] = {
    "past": {},
    "past.builtins": PYTHON_2,
    "past.utils": {"old_div": lambda a, b: a // b if isinstance(a, int) and isinstance(b, int) else a / b},
    "future": {},
    "future.builtins": {},
    "future.standard_library": {"install_aliases": lambda: None},
    "future.utils": {
        "iteritems": lambda d: iter(d.items()),
        "iterkeys": iter,
        "itervalues": lambda d: iter(d.values()),
    },
    "six": {},
    "six.moves": PYTHON_2,
    "six.moves.cPickle": {},
    "cPickle": {},
    "numba": {
        **dict.fromkeys(("jit", "njit", "vectorize", "generated_jit"), _as_it_is),
        "prange": range,
    },
    "tqdm": {"tqdm": lambda each=(), *_, **__: each, "trange": lambda *a, **_: range(*a)},
    "nnfs": {"init": lambda *_, **__: None},
}
# names that numpy 1 had
NUMPY_1 = {
    "product": np.prod, "cumproduct": np.cumprod, "alltrue": np.all, "sometrue": np.any, "row_stack": np.vstack,
    "float": float, "int": int, "bool": bool, "object": object, "str": str, "float_": np.float64, "infty": np.inf,
    "Inf": np.inf, "NaN": np.nan, "Infinity": np.inf, "asfarray": lambda a: np.asarray(a, np.float64),
    "complex": complex, "asscalar": lambda a: a.item(), "round_": np.round, "mat": np.asmatrix, "in1d": np.isin,
}  # fmt: skip
NOT_INSTALLED = "which is not installed"
BROKEN = " (which does not compile)"
"""Stands behind the name of a module that is there and cannot be imported."""

OF_A_COURSE = re.compile("util|helper|testcase|test_case|public_test|grader")
"""A module that is called so is a file that a course hands out beside the student's, and no package."""
PACKAGES = {"cv2": "opencv-python", "sklearn": "scikit-learn", "skimage": "scikit-image", "PIL": "pillow"}


OLD_NAMES: dict[ModuleType, dict[str, Any]] = {
    np: NUMPY_1,
    itertools: {"izip": zip, "imap": map, "ifilter": filter, "izip_longest": itertools.zip_longest},
    sys: {"maxint": sys.maxsize},
    time: {"clock": time.perf_counter},
}


def rename_in_modules() -> None:
    """Gives numpy, and Python's own modules, the names that they have no more, and reshape its old argument."""
    for module, names in OLD_NAMES.items():
        for name, value in names.items():
            if name not in vars(module):
                setattr(module, name, value)
    if "newshape" not in inspect.signature(np.reshape).parameters:
        np.reshape = _reshape


_as_now = np.reshape


def _reshape(a: Any, shape: Any = None, order: Any = "C", *, newshape: Any = None, **options: Any) -> Any:
    """As numpy's own, which called the shape `newshape` before."""
    return _as_now(a, shape if newshape is None else newshape, order, **options)


class Missing:
    """Something of a module that is not installed. Any use raises ModuleNotFoundError."""

    def __init__(self, module: str) -> None:
        self._module: str
        self.__dict__["_module"] = module

    def _use(self, *_: Any, **__: Any) -> NoReturn:
        raise not_installed(self._module)

    def __getattr__(self, name: str) -> "Missing":
        if name.startswith("__"):
            raise AttributeError(name)
        return Missing(self._module)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        """A class can be derived from it, and raises where an object of it is made."""
        return (type("Missing", (), {"__init__": self._use}),)

    __call__ = __getitem__ = __iter__ = __len__ = __enter__ = __array__ = __bool__ = _use
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __float__ = __int__ = _use


class NotInstalled(ModuleNotFoundError):
    """A missing module is used."""


NotInstalled.__name__ = ModuleNotFoundError.__name__  # what messages show is the name that Python's users know


def not_installed(module: str) -> NotInstalled:
    """The error where a missing module is used."""
    if BROKEN in module:
        return NotInstalled(f"uses {module}: mend that file, or take the line out")
    top = module.partition(".")[0]
    install = "" if OF_A_COURSE.search(top.lower()) else f"pip install {PACKAGES.get(top, top)}, "
    return NotInstalled(
        f"uses {module}, {NOT_INSTALLED} or cannot be imported here: {install}put it beside the file, or take the "
        "line out"
    )


starred: dict[str, None] = {}
"""The missing modules of which everything is imported, by *."""


class _Module(ModuleType):
    @property
    def __all__(self) -> tuple[str, ...]:
        """Nothing; what asks is an import by *."""
        starred[self.__dict__["_shown"]] = None
        return ()

    def __getattr__(self, name: str) -> Missing:
        if name.startswith("__") or f"{self.__name__}.{name}" in RENAMED:  # a module of its own, to be imported
            raise AttributeError(name)
        return Missing(self.__dict__["_shown"])


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The last of the finders: it has modules of `RENAMED`, and those that an import did not find before.

    missing: the latter, each with the name that is shown.
    """

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for what has a stand-in."""
        if name in RENAMED or self._shown(name):
            return importlib.util.spec_from_loader(name, self, is_package=True)
        return None

    def _shown(self, name: str) -> str:
        if name.startswith("nnfs."):  # its data sets
            return name
        return next((s for m, s in self.missing.items() if name == m or name.startswith(f"{m}.")), "")

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module with what was renamed, or one that raises where it is used."""
        module: ModuleType = _Module(spec.name)
        module.__dict__["_shown"] = self._shown(spec.name) or spec.name
        if spec.name not in RENAMED:
            return module
        if spec.name == "future.builtins":
            module.__dict__.update(
                {k: v for k, v in vars(importlib.import_module("builtins")).items() if k[0] != "_"}
            )
        if spec.name.endswith("cPickle"):  # a target is code, and reads its own files; this package unpickles none
            module.__dict__.update(vars(importlib.import_module("pickle")))
        module.__dict__.update(RENAMED[spec.name])
        return module

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""

    def learn(self, error: ImportError, shown: str) -> bool:
        """Whether the import that failed so can be tried again, with a stand-in for what it missed."""
        name, attribute = error.name, _attribute(error)
        if name is None or name in self.missing:
            return False
        if attribute and name in sys.modules:
            broken = BROKEN if BROKEN in self._shown(name) else ""
            setattr(sys.modules[name], attribute, Missing(f"{shown}.{attribute}{broken}"))
            self.missing[f"{name}.{attribute}"] = f"{shown}.{attribute}{broken}"
            return True
        if isinstance(error, ModuleNotFoundError):
            self.missing[name] = shown + (BROKEN if str(error).endswith("does not compile") else "")
            return True
        return False


def _attribute(error: ImportError) -> str:
    """The name that `from module import name` did not find there."""
    if isinstance(error, ModuleNotFoundError) or "partially initialized" in str(error):
        return ""
    _, quote, rest = str(error).partition("cannot import name '")
    return rest.partition("'")[0] if quote else ""
