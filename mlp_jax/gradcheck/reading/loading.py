"""Imports somebody's file as Python would from its own folder, and says in one line why it cannot.

Its folder is the working directory and sys.argv its own. Folders above are packages, also without `__init__.py`;
a package or sibling that does not compile is left out. A Jupyter notebook is what it defines and imports.
"""

import builtins
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading.definitions import definitions
from mlp_jax.gradcheck.reading.running import TooLong, within
from mlp_jax.gradcheck.reading.siblings import ASKS, LEVELS, Siblings, Source, where_imported
from mlp_jax.gradcheck.reading.standins import PYTHON_2, NotInstalled, StandIns, rename_in_modules

PACKAGE = "_target_package"
TRIES = 60  # imports that may miss a module each
IMPORT_SECONDS = 5  # after which a file that still runs is taken to train


class Loaded:
    """A target's module.

    notes: sentences on what was left out of it, or read otherwise. stopped: where it stops, "" if it does not.
    """

    def __init__(self, place: str) -> None:
        self.place, self.notes = place, list[str]()
        self._standins, self.stopped = StandIns(), ""
        rename_in_modules()
        sys.meta_path.append(self._standins)
        is_file = place.endswith((".py", ".ipynb"))
        try:
            self.module = self._import_file(Path(place)) if is_file else self._import_module(place)
        except (Exception, SystemExit) as error:
            raise UserError(f"cannot import {place}: {where_imported(error, place)}") from error
        if self._standins.missing:
            names = ", ".join(dict.fromkeys(self._standins.missing.values()))
            self.notes.append(f"not installed, and not needed by the gradient: {names}")

    def get(self, name: str) -> Any:
        """The class or function. Raises UserError if there is none of that name."""
        if not hasattr(self.module, name):
            named = {n: value for n, value in vars(self.module).items() if PYTHON_2.get(n) is not value}
            names = [n for n, value in named.items() if callable(value) and not n.startswith("_")]
            if self.stopped:
                raise UserError(f"cannot import {self.place}: {self.stopped}")
            has = ", ".join(names[:10]) or "no class or function"
            raise UserError(f"{self.place} has no {name}: it has {has}")
        return getattr(self.module, name)

    def _import_module(self, name: str) -> ModuleType:
        sys.path.insert(0, os.getcwd())
        return self._persistently(lambda: importlib.import_module(name), [name])

    def _import_file(self, path: Path) -> ModuleType:
        os.chdir(path.parent)
        sys.argv = [str(path)]
        builtins.input, sys.stdin = _no_input, _NoInput()
        top = _top(path)
        above = [str(folder) for folder in list(path.parents)[1 : LEVELS + 1]]
        folders = [path.parent, top.parent]
        if path.parent.name == path.stem:  # a package comes before its member of the same name
            folders.insert(0, path.parent.parent)
        sys.path[:0] = list(dict.fromkeys(map(str, folders)))
        sys.path += [folder for folder in above if folder not in sys.path]
        sys.meta_path.insert(0, Siblings(top, path, self._standins, self.notes))
        try:
            with within(IMPORT_SECONDS):
                return self._persistently(lambda: self._member(path, top, own=True), [])
        except TooLong as error:  # it trains, say
            return self._defined(path, top, where_imported(error, str(path)))
        except (Exception, SystemExit) as error:
            first = where_imported(error, str(path))
            own = first.startswith(f"{path.name}:") and (
                isinstance(error, NotInstalled) or not isinstance(error, ASKS)
            )
            if own:
                return self._defined(path, top, first)
            if not any((folder / "__init__.py").exists() for folder in _between(path, top)):
                raise
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        module = self._persistently(lambda: self._member(path, top, own=False), [])
        self.notes.append(f"imported without its package's __init__.py, which fails: {first}")
        return module

    def _defined(self, path: Path, top: Path, why: str) -> ModuleType:
        """What the file defines, where `why` stops the rest of it."""
        self.stopped = why
        self.notes.append(f"only what it defines is checked, for the file stops: {why}")
        return self._persistently(lambda: self._member(path, top, own=True, whole=False), [])

    def _persistently(self, load: Any, own: list[str]) -> ModuleType:
        """Imports, again and again, with a stand-in more for each module that was missing."""
        for _ in range(TRIES):
            try:
                module = load()
                assert isinstance(module, ModuleType)
                return module
            except ImportError as error:
                name = (error.name or "").removeprefix(f"{PACKAGE}.")
                is_target = any(place == name or place.startswith(f"{name}.") for place in own)
                if is_target or not self._standins.learn(error, name):
                    raise
        raise UserError(f"more than {TRIES} modules are missing")

    def _member(self, path: Path, top: Path, *, own: bool, whole: bool = True) -> ModuleType:
        """The file as a member of its packages, so that relative imports work.

        whole: with what it does, not only what it defines.
        The outermost folder gets a name of its own, which no module that is loaded already can have.
        """
        name = PACKAGE
        for folder in reversed(_between(path, top)):
            name = PACKAGE if folder == top else f"{name}.{folder.name}"
            start = folder / "__init__.py"
            if own and start.exists() and name not in sys.modules:
                _execute(name, start, [str(folder)])
            elif name not in sys.modules:
                sys.modules[name] = ModuleType(name)
                sys.modules[name].__path__ = [str(folder)]
        if path.suffix == ".ipynb" or not whole:
            return definitions(f"{name}.{path.stem}", path)
        return _execute(f"{name}.{path.stem}", path, None)


def _between(path: Path, top: Path) -> list[Path]:
    """The file's folder, and those above it up to `top`."""
    folders = list(path.parents)
    return folders[: folders.index(top) + 1]


def _top(path: Path) -> Path:
    """The outermost folder that is a package: with an `__init__.py` above it, or as relative imports want it."""
    above = list(path.parents)[:LEVELS]
    dots = re.findall(r"^\s*from\s+(\.+)", path.read_text(errors="replace"), re.MULTILINE)
    most = min(max(map(len, dots), default=1), len(above))
    marked = [i for i, folder in enumerate(above) if (folder / "__init__.py").exists()]
    return above[max([most - 1, *marked])]


def _execute(name: str, path: Path, folders: list[str] | None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file")
    spec.loader = Source(spec.name, str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _no_input(*_: Any) -> NoReturn:
    raise EOFError("it asks for input")


class _NoInput(io.StringIO):
    """A standard input that nobody types into."""

    read = readline = readlines = __next__ = _no_input
