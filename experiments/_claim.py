"""One claim of the report, and how an answer to it is written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments import _runs
from mlp_jax import statistics
from mlp_jax.results import Row

PROTOCOLS = ("published", "clean")
REMARK = "remark"
Judge = Callable[[Row], Row]


class Missing(Exception):
    """What a claim is about was not run."""


@dataclass(frozen=True)
class Claim:
    """report: its number as printed. number: of CIFAR-10 alone. protocols: under which it makes sense."""

    id: str
    part: str
    claim: str
    report: str
    study: str
    judge: Judge
    number: bool = False
    protocols: tuple[str, ...] = PROTOCOLS


def one(content: Row, **label: Any) -> Row:
    """The row with this label. Raises Missing if it was not run."""
    row = _runs.find(content["rows"], label)
    if row is None:
        raise Missing(label)
    return row


def quantity(ours: Row, verdict: str, scale: float = 100, digits: int = 1) -> Row:
    """A measured quantity as an answer; scale 100 shows fractions in %."""
    numbers = {name: ours[name] for name in ("mean", "std", "n")}
    if ours["mean"] is None:
        return {"text": "every run diverged", "verdict": verdict, **numbers}
    spread = "" if ours["std"] is None else f" ± {scale * ours['std']:.{digits}f}"
    return {"text": f"{scale * ours['mean']:.{digits}f}{spread} ({ours['n']})", "verdict": verdict, **numbers}


def points(difference: Row) -> str:
    """A paired difference in percentage points with its interval."""
    if difference["mean"] is None:
        return "no run to compare"
    if difference["low"] is None:
        return f"{100 * difference['mean']:+.1f} ({difference['n']})"
    ends = f"{100 * difference['low']:+.1f} to {100 * difference['high']:+.1f}"
    return f"{100 * difference['mean']:+.1f} ({difference['n']}; 95 %: {ends})"


def compared(difference: Row, verdict: str) -> Row:
    """A paired difference as an answer."""
    values = statistics.measured(difference["values"])
    return {"text": points(difference), "verdict": verdict, **{k: values[k] for k in ("mean", "std", "n")}}


def accuracy(report: float, images: int, name: str = "validation_accuracy", **label: Any) -> Judge:
    """Judges a number: the accuracy of the row with this label, against the report's on so many images."""

    def judge(content: Row) -> Row:
        row = one(content, **label)
        own = row["images"][name.split("_")[0]]
        return quantity(row[name], statistics.judge_number(row[name], own, report, images))

    return judge
