"""Every claim of the report stands here beside ours under both protocols, with a verdict by `statistics.RULE`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from mlp_jax.studies import statistics
from mlp_jax.studies.claims import ONE_RUN, PROTOCOLS, REMARK, Claim, Missing
from mlp_jax.studies.results import Row

NOT_RUN, CIFAR_ONLY, NOT_ASKED = "not run", "CIFAR-10 only", "not under this protocol"
JUDGED = (statistics.REPRODUCED, statistics.TIE, statistics.CANNOT_TELL, statistics.NOT_REPRODUCED)
Contents = Mapping[tuple[str | None, str], Row]
"""These are results files by protocol and study."""


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
