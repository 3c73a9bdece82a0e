"""The house: imports run downwards, without circles, and the checker drags in nothing that it does not need."""

import ast
import importlib
from pathlib import Path

from tests.commands import ROOT, python

BELOW = {
    "errors": set(), "text": set(), "fields": {"errors"}, "flags": {"errors", "fields"}, "files": {"errors"},
    "machine": {"errors"}, "nn": {"errors", "machine"}, "data": {"errors", "files"},
    "gradcheck": {"errors", "fields", "files", "flags", "machine", "nn", "text"},
    "training": {"data", "errors", "files", "machine", "nn"},
    "benchmark": {"data", "errors", "files", "nn", "training"},
    "studies": {
        "data", "errors", "fields", "files", "flags", "gradcheck", "machine", "nn", "text", "training",
    },
}  # fmt: skip
"""What each part of the library may import beside itself."""


def modules() -> dict[str, Path]:
    """Every module of the library and its file."""
    found = {path.relative_to(ROOT).with_suffix(""): path for path in (ROOT / "mlp_jax").rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in found.items()}


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """The library's modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{name.name}" for name in node.names}
            found |= (inside & known.keys()) or {node.module}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.split(".")[0] in ("mlp_jax", "experiments")}


def part(module: str) -> str:
    """The part of the library that a module belongs to."""
    return module.split(".")[1]


def test_each_part_imports_only_what_stands_below_it():
    known = modules()
    for module, path in known.items():
        for other in imported(path, known) - {module, "mlp_jax"}:
            assert other.startswith("mlp_jax."), f"{module} imports {other}"
            same = part(module) == part(other)
            assert same or part(other) in BELOW[part(module)], f"{module} imports {other}"


def test_there_is_no_circle():
    known = modules()
    left = {module: imported(path, known) - {module} for module, path in known.items()}
    while ready := [module for module, others in left.items() if not others & left.keys()]:
        for module in ready:
            del left[module]
    assert not left, f"circles among {sorted(left)}"


def test_the_mathematics_and_the_checker_load_little():
    heavy = ["optax", "tensorflow_datasets", "matplotlib", "sklearn", "scipy.stats", "mlp_jax.training"]
    code = "import sys, mlp_jax.nn.gradients, mlp_jax.gradcheck; "
    code += f"print([name for name in {heavy} if name in sys.modules])"
    assert python("-c", code) == (0, "[]\n", "")


def test_one_place_asks_for_the_platform():
    asking = [name for name, path in modules().items() if "default_backend" in path.read_text(encoding="utf-8")]
    assert asking == ["mlp_jax.nn.matmul"]


def test_experiments_are_scripts_on_few_floors():
    """No private module, a `main(argv)` in each, and a chain of imports among them of four files at most."""
    scripts = {path.stem: path for path in (ROOT / "experiments").glob("*.py") if path.stem != "__init__"}
    assert not [name for name in scripts if name.startswith("_")]
    assert all(callable(importlib.import_module(f"experiments.{name}").main) for name in scripts)
    known = {f"experiments.{name}": path for name, path in scripts.items()}
    left = {module: imported(path, known) & known.keys() - {module} for module, path in known.items()}
    floors = 0
    while left:
        floors += 1
        ready = [module for module, others in left.items() if not others & left.keys()]
        assert ready, f"circles among {sorted(left)}"
        for module in ready:
            del left[module]
    assert floors <= 4
