"""A claim of the report is judged here, and the answer to it is written.

Every claim stands beside ours under both protocols, with a verdict by `verdicts.RULE`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlp_jax.studies import statistics, verdicts
from mlp_jax.studies.further_run import further_run
from mlp_jax.studies.options import PROTOCOLS
from mlp_jax.studies.results import Row
from mlp_jax.studies.rows import find, shared_images

REMARK = "remark"
ONE_RUN = "one_run"
"""Under this key an answer has the prediction interval of one further run, its two ends as fractions."""
NOT_RUN, CIFAR_ONLY, NOT_ASKED = "not run", "CIFAR-10 only", "not under this protocol"
JUDGED = (verdicts.REPRODUCED, verdicts.TIE, statistics.CANNOT_TELL, verdicts.NOT_REPRODUCED)
Judge = Callable[[Row], Row]
Contents = Mapping[tuple[str | None, str], Row]
"""These are results files by protocol and study."""


class Missing(Exception):
    """This is raised where what a claim is about was not run."""


@dataclass(frozen=True)
class Claim:
    """This is what the report claims, and who judges it.

    report: its number as printed. number: of CIFAR-10 alone. protocols: under which it makes sense. study, and the
    part of the report: those of the `Study` that holds it, which fills them in.
    """

    id: str
    claim: str
    report: str
    judge: Judge
    number: bool = False
    protocols: tuple[str, ...] = PROTOCOLS
    study: str = ""
    part: str = ""


def one(content: Row, **label: Any) -> Row:
    """Gives the last row with this label: that of the longest runs. Raises Missing if it was not run."""
    row = find(reversed(content["rows"]), label)
    if row is None:
        raise Missing(label)
    return row


def quantity(ours: Row, verdict: str, scale: float = 100, digits: int = 1) -> Row:
    """Gives a measured quantity as an answer; scale 100 shows fractions in %."""
    numbers = {name: ours[name] for name in ("mean", "std", "n")}
    if ours["mean"] is None:
        return {"text": "every run diverged", "verdict": verdict, **numbers}
    spread = "" if ours["std"] is None else f" ± {scale * ours['std']:.{digits}f}"
    return {"text": f"{scale * ours['mean']:.{digits}f}{spread} ({ours['n']})", "verdict": verdict, **numbers}


def several(differences: Mapping[str, Row], verdict: str) -> Row:
    """Gives paired differences, by what they are differences to, as one answer."""
    parts = {name: statistics.measured(difference["values"]) for name, difference in differences.items()}
    text = "; ".join(f"{points(values)} {name}" for name, values in parts.items())
    numbers = [{"what": name, **{k: v[k] for k in ("mean", "std", "n")}} for name, v in parts.items()]
    return {"text": text, "verdict": verdict, "parts": numbers}


def points(values: Row) -> str:
    """Writes measured differences in percentage points, "+1.2 ± 0.3 (5)"."""
    if values["mean"] is None:
        return "no run to compare"
    spread = "" if values["std"] is None else f" ± {100 * values['std']:.1f}"
    return f"{100 * values['mean']:+.1f}{spread} ({values['n']})"


def greater(difference: Callable[[Row], Row]) -> Judge:
    """Judges "greater" by a paired difference in a results file, and tells it in points, with its interval."""

    def judge(content: Row) -> Row:
        found = difference(content)
        values = statistics.measured(found["values"])
        text = points(values)
        if found["low"] is not None:
            text += f", 95 %: {100 * found['low']:+.1f} to {100 * found['high']:+.1f}"
            if found["over"] == statistics.SEEDS:
                text += " over seeds alone"
        numbers = {name: values[name] for name in ("mean", "std", "n")}
        return {"text": text, "verdict": verdicts.judge_difference(found), **numbers}

    return judge


def against(row: Row, name: str, report: float, images: int) -> Row:
    """Gives a row's accuracy as an answer to the report's, which one run had on so many images."""
    split = name.split("_")[0]
    shared = shared_images(row, split, images)
    predicted = further_run(row[name], row["images"][split], images, shared)
    answer = quantity(row[name], verdicts.judge_number(row[name], report, predicted))
    return answer if predicted is None else {**answer, ONE_RUN: predicted.interval()}


def beside_report(row: Row, name: str, images: int) -> str:
    """Writes what the report states of a row's accuracy, and the verdict, in parentheses; "" for nothing."""
    if (stated := (row["report"] or {}).get(name)) is None:
        return ""
    return f" (report: {100 * stated:.1f} %: {against(row, name, stated, images)['verdict']})"


def accuracy(report: float, images: int, name: str = "validation_accuracy", **label: Any) -> Judge:
    """Judges a number: the accuracy of the row with this label, against the report's on so many images."""
    return lambda content: against(one(content, **label), name, report, images)


def judged(contents: Contents, claims: Iterable[Claim]) -> list[Row]:
    """Gives a row for each claim: what ours is under each protocol, in words and numbers, and the verdict."""
    return [
        {
            "id": claim.id,
            "part": claim.part,
            "claim": claim.claim,
            "report": claim.report,
            "study": claim.study,
            "once": claim.study == "gradient_check",
            **{protocol: _answer(claim, protocol, contents) for protocol in PROTOCOLS},
        }
        for claim in claims
    ]


def _answer(claim: Claim, protocol: str, contents: Contents) -> Row:
    content = contents.get((protocol, claim.study), contents.get((None, claim.study)))
    if content is None:
        return {"text": "-", "verdict": NOT_RUN}
    if protocol not in claim.protocols:
        return {"text": "-", "verdict": NOT_ASKED}
    try:
        answer = claim.judge(content)
    except Missing:
        return {"text": "-", "verdict": CIFAR_ONLY if claim.number and _elsewhere(content) else NOT_RUN}
    if claim.number and _elsewhere(content):
        return {**{name: told for name, told in answer.items() if name != ONE_RUN}, "verdict": CIFAR_ONLY}
    return answer


def _elsewhere(content: Row) -> bool:
    return bool(content["config"]["dataset"] != "cifar10")


def tally(claims: Sequence[Row], protocol: str) -> dict[str, int]:
    """Tells how many claims have each verdict, those that were judged first; remarks are none."""
    counts = Counter(claim[protocol]["verdict"] for claim in claims if claim[protocol]["verdict"] != REMARK)
    return {name: counts[name] for name in dict.fromkeys((*JUDGED, *counts)) if counts[name]}


def summary(claims: Sequence[Row]) -> str:
    """Tells how many claims hold, in a sentence or two."""
    said = []
    for protocol in PROTOCOLS:
        counts = tally(claims, protocol)
        yes, ties, open_, no = (counts.get(name, 0) for name in JUDGED)
        if total := yes + no + ties + open_:
            said.append(
                f"Under the {protocol} protocol {yes} of the {total} claims that could be judged {_are(yes)} "
                f"reproduced, {no} {_are(no)} not, {ties} {_are(ties)} a tie, and {open_} cannot be decided."
            )
    return " ".join(said) or "No claim was judged: the studies that could were not run."


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
