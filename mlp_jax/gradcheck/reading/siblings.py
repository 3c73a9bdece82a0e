"""The files beside a target: how they are found and run, and what is said of one that stops."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from mlp_jax.gradcheck.reading import magics, python2
from mlp_jax.gradcheck.reading.definitions import definitions
from mlp_jax.gradcheck.reading.running import TooLong
from mlp_jax.gradcheck.reading.standins import PYTHON_2, NotInstalled, StandIns

LEVELS = 4  # folders above a file that may be its packages
ASKS = (ImportError, SyntaxError, EOFError, FileNotFoundError)
"""Errors of a file that has to be mended, or is not run as it must be; others stop what it does, a training."""


class Source(importlib.machinery.SourceFileLoader):
    """Compiles a file as `python2` reads it."""

    def source_to_code(self, data: Any, path: Any, **options: Any) -> Any:  # type: ignore[override]
        """The file's code."""
        return python2.compiled(magics.tree(importlib.util.decode_source(data), path), path)

    def path_stats(self, path: str) -> Any:
        """Nothing, so that no bytecode of a changed text is read or left beside the file."""
        raise OSError(path)

    def exec_module(self, module: ModuleType) -> None:
        """Runs the file, with those of Python 2's names that occur in it."""
        words = set(re.findall(r"\w+", self.get_data(self.path).decode(errors="replace")))
        module.__dict__.update({name: value for name, value in PYTHON_2.items() if name in words})
        module.__dict__[python2.DIVIDE] = python2.divide
        super().exec_module(module)


class _Sibling(Source):
    """Gives of a file beside the target what it defines, where what it does stops."""

    def __init__(self, name: str, path: str, notes: list[str]) -> None:
        super().__init__(name, path)
        self._notes = notes

    def exec_module(self, module: ModuleType) -> None:
        """Runs the file, or its definitions."""
        try:
            super().exec_module(module)
        except (TooLong, *ASKS) as error:
            if not isinstance(error, NotInstalled):
                raise
            self._define(module, error)
        except Exception as error:
            self._define(module, error)

    def _define(self, module: ModuleType, error: Exception) -> None:
        defined = definitions(module.__name__, Path(self.path))
        vars(module).update({name: value for name, value in vars(defined).items() if name[:2] != "__"})
        sys.modules[module.__name__] = module
        self._notes.append(
            f"only what it defines is taken of a file that stops: {where_imported(error, self.path)}"
        )


class Siblings(importlib.abc.MetaPathFinder):
    """Finds what lies beside the target, and leaves out what does not compile there."""

    def __init__(self, top: Path, target: Path, standins: StandIns, notes: list[str]) -> None:
        self._top, self._target, self._standins, self._notes = top, target, standins, notes
        self._packages = _packages(target)

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """The usual spec, with a loader of ours where the file lies below the target's top folder."""
        if name in self._standins.missing:  # it did not compile before
            return self._standins.find_spec(name, path, target)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if name in self._packages and (spec is None or spec.submodule_search_locations is None):
            return importlib.machinery.PathFinder.find_spec(name, [str(self._packages[name])], target)
        origin = getattr(spec, "origin", None)
        if spec is None or not origin or not origin.endswith(".py") or not self._is_users(Path(origin)):
            return None
        loader = _Sibling(name, origin, self._notes)
        try:
            loader.get_code(name)
        except (SyntaxError, ValueError) as error:
            self._notes.append(f"{where_imported(error, origin)}: left out, for the gradient does not need it")
            raise ModuleNotFoundError(f"{name} does not compile", name=name) from error
        spec.loader = loader
        return spec

    def _is_users(self, origin: Path) -> bool:
        """Whether a file lies in or beside the target's folders, and is neither Python's nor installed."""
        installed = "site-packages" in origin.parts or "dist-packages" in origin.parts
        python = any(origin.is_relative_to(prefix) for prefix in (sys.prefix, sys.base_prefix))
        beside = any(origin.is_relative_to(folder) for folder in list(self._target.parents)[:LEVELS])
        return not installed and (origin.is_relative_to(self._top) or (beside and not python))


def _packages(target: Path) -> dict[str, Path]:
    """The folders around the target of which it imports members, each with where it lies.

    In model/net.py, `from model.layers import relu` means that folder, although model/model.py is found first.
    """
    text = target.read_text(errors="replace")
    names = set(re.findall(r"^\s*(?:from|import)\s+(\w+)\.\w", text, re.MULTILINE))
    around = [folder for folder in target.parents[:LEVELS] if folder.name in names]
    return {folder.name: folder.parent for folder in reversed(around)}


def where_imported(error: BaseException, place: str) -> str:
    """The error, with the line of the target's file that it comes from, and what to do."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}: SyntaxError: {error.msg}"
    frames, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == place:
            frames.append(trace.tb_lineno)
        trace = trace.tb_next
    line = f"{Path(place).name}:{frames[-1]}: " if frames else ""
    told: dict[type[BaseException], str] = {
        EOFError: " when it is imported: put that below `if __name__ == '__main__':`",
        FileNotFoundError: "; it needs this file when it is imported: put that below `if __name__ == '__main__':`",
    }
    if isinstance(error, SystemExit) and error.code == 2:  # as argparse ends
        told[SystemExit] = "; it asks for arguments of its own when it is imported"
    kind = "" if isinstance(error, TooLong) else f"{type(error).__name__}: "
    return f"{line}{kind}{error}{told.get(type(error), '')}"
