"""Is a hand-written gradient right, and if not, what is wrong with it?

  python -m experiments.gradient_check --target=path/to/net.py:TwoLayerNet     somebody's gradient
  python -m experiments.gradient_check                                         this package's own, and the checker

Whatever the job, jax.grad itself is first held against numpy, once for a jaxlib: a few seconds more, at the first
start. If it computes wrong, a line says so, nobody is judged, and the exit status is 2.

A target is held against jax.grad in float64 on a battery of cases, in a process of its own; each mistake is named
by a code and a sentence. A few seconds. Exit status 0 if it is right, 1 if it is wrong, 2 if it cannot be used.

Without a target: equations 1 to 13 of the report (Question 2) and the backward pass of a table of architectures,
in float64 and float32, on examples of the chosen dataset; then every known mistake, seeded into a right gradient.
About half a minute on two cores. Expected: PASS everywhere, errors near 1e-15 (float64), 1e-6 (float32).
"""

from dataclasses import dataclass

from mlp_jax import data, gradcheck
from mlp_jax.errors import UserError
from mlp_jax.gradcheck import process, seeded_mistakes
from mlp_jax.gradcheck.options import Options
from mlp_jax.gradcheck.report import as_row
from mlp_jax.gradcheck.witness import trusted_witness
from mlp_jax.nn.equations import EQUATIONS
from mlp_jax.studies import figures as draw
from mlp_jax.studies import options, own_gradients, verdicts
from mlp_jax.studies.claims import REMARK, Claim, Judge, Missing
from mlp_jax.studies.folder import ResultsFolder
from mlp_jax.studies.results import Row, by
from mlp_jax.studies.study import Study
from mlp_jax.studies.tables import Table


@dataclass(frozen=True)
class Config(Options, options.Common):
    """These are the options; `gradient` names the source that is checked where no target is given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.checked()
        if self.target is None:
            return
        process.find(self.target)
        for name in ("gradient", "seeds", "protocol"):
            if name in self.changed():
                raise UserError(f"--{name} would be ignored with --target: leave one of them out")


def run(config: Config) -> bool:
    """Checks the target, or everything of this package; True if all is right.

    Raises UserError, before anything is written, if `jax.grad` itself is computed wrong here.
    """
    trusted_witness()
    folder = ResultsFolder("gradient_check", config)
    if config.target is not None:
        return run_target(config, folder, config.target)
    dataset = config.load()
    folder.use(dataset)
    return run_own(config, folder, dataset)


def run_target(config: Config, folder: ResultsFolder, place: str) -> bool:
    """Checks somebody's gradient, prints the report, writes results.json."""
    how = {name: getattr(config, name) for name in ("l2_convention", "objective", "seed", "scale")}
    network = config.checked()
    foreseen = process.foresee(network, config.seed, config.scale)
    with process.Target(place, config.arrays, config.timeout, foreseen) as target:
        report = gradcheck.check(target, network, **how)
    folder.rows = [as_row(row) for row in report.leaves]
    findings = [{**finding._asdict(), "leaves": list(finding.leaves)} for finding in report.findings]
    more: Row = {"findings": findings, "notes": list(report.notes), "witness": trusted_witness()}
    path = folder.finish(codes=report.codes, remarks=report.remarks, **more)
    print(f"{report}\n\n{path}")
    return report.passed


def run_own(config: Config, folder: ResultsFolder, dataset: data.Dataset) -> bool:
    """Checks this package's gradients and the checker itself, prints tables, writes results.json."""
    folder.rows = [*own_gradients.check_all(config, dataset), *seeded_mistakes.mutation_rows()]
    content = {"rows": folder.rows}
    path = folder.finish(figures(content), witness=trusted_witness())
    print("\n\n".join(map(str, table(content))))
    passed = all(row["verdict"] == "PASS" for row in folder.rows)
    print(f"{'PASS' if passed else 'FAIL'}: {config.gradient} gradients against jax.grad; {path}")
    return passed


def table(content: Row) -> list[Table]:
    """Gives the table of this package's gradients, and that of the seeded mistakes."""
    rows = content["rows"]
    seeded = [row for row in rows if "seeded" in row]
    own = own_gradients.summary_table([row for row in rows if "seeded" not in row])
    checker = f"The checker: {passed(seeded)} of {len(seeded)} seeded changes named."
    return [own, Table.of(own_gradients.MISTAKES, seeded, checker)]


def passed(rows: list[Row]) -> int:
    """Tells how many rows pass."""
    return sum(row["verdict"] == "PASS" for row in rows)


def finding(content: Row) -> str:
    """Tells how many leaves pass, the worst errors, and how many seeded mistakes were found."""
    leaves = [row for row in content["rows"] if "leaf" in row]
    seeded = [row for row in content["rows"] if "seeded" in row]
    failed, found = len(leaves) - passed(leaves), passed(seeded)
    told = f"{failed} do not agree with jax.grad" if failed else "all agree with jax.grad"
    by_dtype = sorted(by(leaves, "dtype").items(), reverse=True)
    worst = " and ".join(f"{own_gradients.largest_error(own)} in {dtype}" for dtype, own in by_dtype)
    witness = content.get("witness")  # results from before that was checked have none
    before = f" Before that jax.grad itself was {witness_told(witness)}." if witness else ""
    return (
        f"Of {len(leaves)} gradients (equations 1 to 13, and each parameter of every architecture) {told}; the "
        f"largest relative error is {worst}. Of {len(seeded)} changes seeded into a right gradient the checker "
        f"named {'all' if found == len(seeded) else found}.{before}"
    )


def witness_told(witness: Row) -> str:
    """Tells how `jax.grad` was checked, on what."""
    return (
        f"held against a derivation in plain numpy, and found right in {len(witness['programs'])} programs, among "
        f"them what released jaxlibs are known to compute wrong (jaxlib {witness['jaxlib']}, "
        f"{witness['processor']}, {witness['device']})"
    )


SMALLEST = 1e-17  # an error of exactly 0 is drawn here


def figures(content: Row) -> dict[str, draw.Figure]:
    """Draws every case's worst error by type of numbers, and the limits; what is no number stands at 1."""
    rows = [row for row in content["rows"] if "leaf" in row]
    if not rows:
        return {}
    cases = list(by(rows, "case"))
    lines, limits = [], []
    for number, (dtype, own) in enumerate(sorted(by(rows, "dtype").items(), reverse=True)):
        errors = [(row["case"], 1.0 if row["relative_error"] is None else row["relative_error"]) for row in own]
        worst = [max([SMALLEST, *(error for case, error in errors if case == name)]) for name in cases]
        places = [place + 0.16 * (2 * number - 1) for place in range(len(cases))]
        lines.append(draw.Line(dtype, worst, places, number=2 - number, how="points"))
        limits.append((f"{dtype}: limit", max(row["tolerance"] for row in own), 2 - number))
    xlabel = "relative error of the worst leaf (0 shown at 1e-17)"
    panel = draw.Panel(lines, xlabel, xscale="log", rows=cases, limits=limits, legend="above")
    caption = (
        "Relative error between the hand-written gradient and jax.grad: the worst parameter of each network. "
        "Dashed: the largest error that passes."
    )
    drawn = draw.lines([panel], height=1.4 + 0.2 * len(cases))
    return {"errors.svg": draw.Figure(drawn, caption)}


def equation(name: str) -> Judge:
    """Judges an equation by all its checks."""

    def judge(content: Row) -> Row:
        rows = [row for row in content["rows"] if row.get("leaf") == name]
        if not rows:
            raise Missing(name)
        worst = own_gradients.largest_error(row for row in rows if row["dtype"] == "float64")
        right = passed(rows)
        verdict = verdicts.REPRODUCED if right == len(rows) else verdicts.NOT_REPRODUCED
        text = f"{right} of {len(rows)} checks pass, error at most {worst} in float64"
        return {"text": text, "verdict": verdict}

    return judge


def remark(text: str) -> Judge:
    """Says what the report's text has wrong, where the check ran."""
    return lambda content: {"text": text, "verdict": REMARK}


CLAIMS = [
    *(
        Claim(name, f"Equation {each.number}: {each.meaning}", "formula", equation(name))
        for name, each in EQUATIONS.items()
    ),
    *(
        Claim(f"{name}-slip", f"Equation {each.number} as printed", "formula", remark(each.slip))
        for name, each in EQUATIONS.items()
        if each.slip
    ),
]

STUDY = Study(
    name="gradient_check",
    title="Gradients: are the equations of Question 2 right?",
    caveat=(
        "Equations 12 and 13 are checked as they were meant: as printed, their matrices do not conform. The "
        "report leaves the derivative of ReLU at exactly 0 open; it is 0 here, as in its scripts."
    ),
    doc=__doc__,
    options=Config,
    table=table,
    finding=finding,
    figures=figures,
    job=run,
    claims=CLAIMS,
    part="Question 2: the gradients",
    scales={"standard": {"seeds": 2}, "full": {"seeds": 2}},  # errors do not vary much, and the file stays small
)
main = STUDY.main

if __name__ == "__main__":
    raise SystemExit(main())
