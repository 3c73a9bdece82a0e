"""A long run of one target: `python -m tests.fuzz --target=NAME --minutes=10 [--seed=0]`."""

import argparse
import collections
import re
import sys
import time
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase

from tests.fuzz import TARGETS
from tests.fuzz.server import FAILED, Client, Outcome

BATCH = 200  # examples of one start of hypothesis, which then shrinks what it found


class Finding(Exception):
    """The property does not hold."""


def strategy(target: str) -> Any:
    """The target's examples."""
    return __import__(f"tests.fuzz.{target}", fromlist=["examples"]).examples()


class Run:
    """Counts examples and outcomes, and keeps one example, the smallest, of every finding."""

    def __init__(self, target: str, client: Client, minutes: float, seed: int) -> None:
        self.target, self.client, self.seed = target, client, seed
        self.end = time.monotonic() + 60 * minutes
        self.examples = 0
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.findings: dict[str, tuple[Any, Outcome]] = {}
        self.largest = self.slowest = 0.0

    def go(self) -> None:
        """Until the time is over."""
        seed = self.seed
        while time.monotonic() < self.end:
            known = set(self.findings)
            try:
                self._batch(seed, known)
            except (Finding, hypothesis.errors.Flaky, BaseExceptionGroup) as error:
                print(f"finding: {error!r}", flush=True)
            for where in set(self.findings) - known:
                example, outcome = self.findings[where]
                print(f"  {where}: example {example!r}\n  {outcome.text}", flush=True)
            seed += 1

    def _batch(self, seed: int, known: set[str]) -> None:
        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=BATCH, deadline=None, phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck), report_multiple_bugs=False, database=None,
        )  # fmt: skip
        @hypothesis.given(strategy(self.target))
        def holds(example: Any) -> None:
            if time.monotonic() > self.end:
                return
            outcome = self.client.run(self.target, example)
            self._count(outcome)
            if outcome.kind == FAILED and outcome.where not in known:
                self.findings[outcome.where] = example, outcome
                if outcome.where != "hang":  # to make it smaller would take hours
                    raise Finding(outcome.where)

        holds()

    def _count(self, outcome: Outcome) -> None:
        self.examples += 1
        self.largest, self.slowest = max(self.largest, outcome.megabytes), max(self.slowest, outcome.seconds)
        told = outcome.where if outcome.kind == FAILED else outcome.text
        words = re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*|[\d.]+", "*", told)[:90]
        self.outcomes[f"{outcome.kind}: {words}"] += 1

    def told(self) -> str:
        """The summary."""
        lines = [f"{count:7} {text}" for text, count in self.outcomes.most_common(25)]
        kinds = collections.Counter(text.partition(":")[0] for text in self.outcomes.elements())
        return "\n".join(
            [
                *lines,
                f"{self.target}: {self.examples} examples ({dict(kinds)}), {len(self.outcomes)} distinct "
                f"outcomes, {len(self.findings)} findings; at most {self.slowest:.1f} s and {self.largest:.0f} MB",
            ]
        )


def main() -> int:
    """Exit status 1 if there is a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--target", choices=TARGETS, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with Client() as client:
        run = Run(options.target, client, options.minutes, options.seed)
        run.go()
    print(run.told())
    return 1 if run.findings else 0


if __name__ == "__main__":
    sys.exit(main())
