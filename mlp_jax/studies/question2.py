"""A page shows Question 2 so: each equation typeset, its slip, its line of code, and its check."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from latex2mathml.converter import convert
from markupsafe import Markup

from mlp_jax.nn.equations import EQUATIONS
from mlp_jax.studies.results import Row

NOT_CHECKED = "not checked here"


@dataclass(frozen=True)
class Shown:
    """This is one equation of the report.

    mathml: the equation for a page; latex: the same for Markdown. slip: how the report prints it where that is
    wrong, else empty. code: what its function in `mlp_jax.nn.equations` returns. errors: the worst relative error
    against `jax.grad` for each type of numbers, None where it is not finite. verdict: "pass", "fail" or
    `NOT_CHECKED`.
    """

    number: int
    mathml: Markup
    latex: str
    slip: str
    code: str
    errors: dict[str, float | None]
    verdict: str

    @property
    def checked(self) -> str:
        """Gives the numbers behind the verdict, in words; empty where there are none."""
        worst = {d: "not finite" if e is None else f"{e:.0e}" if e else "0" for d, e in self.errors.items()}
        return f"error {', '.join(f'{error} in {dtype}' for dtype, error in worst.items())}" if worst else ""


def shown(rows: Sequence[Row]) -> list[Shown]:
    """Gives the equations in the report's order.

    rows: those of the gradient check's results; without any, no equation has a verdict.
    """
    return [
        Shown(
            each.number,
            Markup(convert(each.latex, display="block")),  # MathML, which browsers draw by themselves
            each.latex,
            each.slip,
            returned(each.function),
            *_check(name, rows),
        )
        for name, each in EQUATIONS.items()
    ]


def returned(function: Callable[..., Any]) -> str:
    """Gives the expression that a function returns, as its source has it, on one line.

    Raises ValueError if the function is more than its docstring and one return.
    """
    source = textwrap.dedent(inspect.getsource(function))
    (definition,) = ast.parse(source).body
    if not isinstance(definition, ast.FunctionDef):
        raise ValueError(f"{function} is no function")
    *before, last = definition.body
    if len(before) > 1 or not isinstance(last, ast.Return) or last.value is None:
        raise ValueError(f"{definition.name} is not one expression")
    return " ".join((ast.get_source_segment(source, last.value) or "").split())


def _check(name: str, rows: Sequence[Row]) -> tuple[dict[str, float | None], str]:
    """Gives the worst errors of one equation's leaf, and the verdict on all of them."""
    own = [row for row in rows if row.get("leaf") == name]
    if not own:
        return {}, NOT_CHECKED
    errors: dict[str, float | None] = {}
    for dtype in sorted({row["dtype"] for row in own}, reverse=True):
        found = [row["relative_error"] for row in own if row["dtype"] == dtype]
        errors[dtype] = None if None in found else max(found)
    return errors, "pass" if all(row["verdict"] == "PASS" for row in own) else "fail"
