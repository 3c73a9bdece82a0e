"""Is a hand-written gradient right, and if not, what is wrong with it?

  python -m experiments.gradient_check --target=path/to/net.py:TwoLayerNet     somebody's gradient
  python -m experiments.gradient_check                                         this package's own, and the checker
  python -m experiments.gradient_check --compare=autodiff,manual               the two sources side by side

Whatever the job, jax.grad itself is first held against numpy, once for a jaxlib: a few seconds more, at the first
start. If it computes wrong, a line says so, nobody is judged, and the exit status is 2.

A target is held against jax.grad in float64 on a battery of cases, in a process of its own; each mistake is named
by a code and a sentence. A few seconds. Exit status 0 if it is right, 1 if it is wrong, 2 if it cannot be used.

Without a target: equations 1 to 13 of the report (Question 2) and the backward pass of a table of architectures,
in float64 and float32, on examples of the chosen dataset; then every known mistake, seeded into a right gradient.
About half a minute on two cores. Expected: PASS everywhere, errors near 1e-15 (float64), 1e-6 (float32).

A comparison trains with both sources on the chosen dataset: about half a minute on the digits.
"""

from dataclasses import dataclass, replace
from typing import Any

from experiments import _common, _compare, _launch, _mutants, _own_gradients, _study
from experiments._common import option
from experiments._study import Figure
from mlp_jax import gradcheck
from mlp_jax.data.pixels import normalize
from mlp_jax.errors import UserError, in_range, one_of
from mlp_jax.gradcheck import process
from mlp_jax.gradcheck.candidates import ARRAYS
from mlp_jax.gradcheck.check import SCALES
from mlp_jax.gradcheck.objective import CONVENTIONS, OBJECTIVES
from mlp_jax.gradcheck.report import as_row
from mlp_jax.gradcheck.witness import trusted_witness
from mlp_jax.nn.config import MLPConfig
from mlp_jax.studies import results
from mlp_jax.studies.plots import gradient_check as plots
from mlp_jax.studies.tables import Table

TITLE = "Gradients: are the equations of Question 2 right?"
CAVEAT = (
    "Equations 12 and 13 are checked as they were meant: as printed, their matrices do not conform. The report "
    "leaves the derivative of ReLU at exactly 0 open; it is 0 here, as in its scripts."
)


_NETWORK, _TARGET = ("target", "compare"), ("target",)
BELONGS = {
    **dict.fromkeys(("hidden", "activation", "batch_norm", "dropout", "layer_norm", "negative_slope"), _NETWORK),
    "bn_eps": _TARGET,
    **dict.fromkeys(("l2_convention", "objective", "arrays", "scale", "timeout"), _TARGET),
    "gradient": ("own check",),
    **dict.fromkeys(("seeds", "protocol"), ("compare", "own check")),
}
"""Which of the three jobs has an option; the others would ignore it."""


@dataclass(frozen=True)
class Config(_common.Common):
    """Options of the gradient check. `gradient` names the source that is checked where no target is given."""

    target: str | None = option(None, "path/to/file.py:Name or package.module:Name, somebody's gradient to check")
    compare: str | None = option(
        None, "autodiff,manual: trains with both, and compares errors, losses, time, work"
    )
    hidden: str | None = option(
        None, "hidden widths of the target or comparison, with commas; default 6 or several depths, and 50"
    )
    activation: str = option("relu", "activation function of the target or comparison")
    batch_norm: str = option("none", "their batch normalisation: none, before or after the activation")
    dropout: float = option(0.0, "their dropout probability, in [0, 1)")
    layer_norm: str = option("none", "their layer normalisation: none, before or after the activation")
    negative_slope: float | None = option(None, "slope of leaky_relu below 0; default 0.1")
    bn_eps: float = option(1e-5, "what a target's normalisation adds to the variance")
    l2_convention: str = option(
        "auto", "penalty lambda ||W||^2 (full), half of it (half), or as the target's loss (auto)"
    )
    objective: str = option("auto", "judge a target by its own loss (auto), or by the report's alone (report)")
    arrays: str = option("auto", "arrays that the target wants: numpy, jax, torch, or auto")
    scale: float = option(1.0, "multiplies the inputs, weights and biases on which a target is checked")
    timeout: float = option(60.0, "seconds that a target may take")

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("l2_convention", self.l2_convention, ("auto", *CONVENTIONS))
        one_of("objective", self.objective, OBJECTIVES)
        one_of("arrays", self.arrays, ("auto", *ARRAYS))
        in_range("scale", self.scale, *SCALES)
        in_range("timeout", self.timeout, 0, 1e6, open_low=True)
        self.network(7, 4)
        if self.compare is not None:
            _compare.sources(self.compare)
        if self.compare is not None and self.target is not None:
            raise UserError("--target and --compare are two jobs: give one of them")
        if self.target is not None:
            process.find(self.target)
        job = "target" if self.target is not None else "own check" if self.compare is None else "compare"
        for name, where in BELONGS.items():
            if job not in where and getattr(self, name) != type(self).__dataclass_fields__[name].default:
                others = " or ".join(f"--{other}" if other != "own check" else f"the {other}" for other in where)
                raise UserError(f"--{name} belongs to {others}, and would be ignored here: leave it out")

    def network(self, inputs: int, classes: int, hidden: tuple[int, ...] = (6,)) -> MLPConfig:
        """The network that the options name, with `hidden` as the default."""
        if self.hidden is not None:
            hidden = _common.whole_numbers("hidden", self.hidden, 1) if self.hidden else ()
        return MLPConfig(
            hidden,
            self.activation,
            self.batch_norm,
            self.dropout,
            layer_norm=self.layer_norm,
            negative_slope=self.negative_slope,
            norm_eps=self.bn_eps,
            inputs=inputs,
            classes=classes,
        )

    @property
    def names_a_network(self) -> bool:
        """Whether any option does; if not, a target decides."""
        fields = ("hidden", "activation", "batch_norm", "dropout", "layer_norm", "negative_slope", "bn_eps")
        return any(getattr(self, name) != type(self).__dataclass_fields__[name].default for name in fields)


def run(config: Config) -> bool:
    """Checks the target, compares, or checks everything of this package; True if all is right.

    Raises UserError, before anything is written, if `jax.grad` itself is computed wrong here.
    """
    trusted_witness()
    if config.target is not None:
        return run_target(config, config.target)
    return run_own(config) if config.compare is None else run_compare(config, config.compare)


def run_target(config: Config, place: str) -> bool:
    """Checks somebody's gradient, prints the report, writes results.json."""
    study = _study.Study("gradient_check", config)
    network = config.network(7, 4) if config.names_a_network else None
    with process.Target(place, config.arrays, config.timeout) as target:
        report = gradcheck.check(
            target,
            network,
            l2_convention=config.l2_convention,
            objective=config.objective,
            seed=config.seed,
            scale=config.scale,
        )
    study.rows = [as_row(row) for row in report.leaves]
    findings = [{**finding._asdict(), "leaves": list(finding.leaves)} for finding in report.findings]
    path = study.finish(
        codes=report.codes,
        remarks=report.remarks,
        findings=findings,
        notes=list(report.notes),
        witness=trusted_witness(),
    )
    print(f"{report}\n\n{path}")
    return report.passed


def run_compare(config: Config, names: str) -> bool:
    """Trains with two sources, prints the comparison, writes results.json; False if a run diverged."""
    study = _study.Study("gradient_check", config)
    dataset = config.load()
    study.use(dataset)
    splits = normalize(config.split(dataset), "standardize")
    model = config.network(splits.train.x.shape[1], len(dataset.classes), hidden=(50,))
    rows = _compare.compare(config, splits, model, _compare.recipe(config.dataset), _compare.sources(names))
    study.rows = [{**row, "data_fingerprint": dataset.fingerprint} for row in rows]
    path = study.finish(witness=trusted_witness())
    print(f"{_compare.tables(study.rows)}\n\n{path}")
    return all(row.get("status", "finished") == "finished" for row in study.rows)


def run_own(config: Config) -> bool:
    """Checks this package's gradients and the checker itself, prints tables, writes results.json."""
    study = _study.Study("gradient_check", config)
    dataset = config.load()
    study.use(dataset)
    study.rows = [*_own_gradients.check_all(config, dataset), *_mutants.mutation_rows()]
    path = study.finish(figures({"rows": study.rows}), witness=trusted_witness())
    print("\n\n".join(map(str, table(study.rows))))
    passed = all(row["verdict"] == "PASS" for row in study.rows)
    print(f"{'PASS' if passed else 'FAIL'}: {config.gradient} gradients against jax.grad; {path}")
    return passed


def table(rows: list[results.Row]) -> list[Table]:
    """The table of this package's gradients, and that of the seeded mistakes."""
    seeded = [row for row in rows if "seeded" in row]
    own = _own_gradients.summary_table([row for row in rows if "seeded" not in row])
    found = sum(row["verdict"] == "PASS" for row in seeded)
    checker = f"The checker: {found} of {len(seeded)} seeded changes named."
    return [own, replace(_mutants.mutation_table(seeded), title=checker)]


def finding(content: dict[str, Any]) -> str:
    """How many leaves pass, the worst errors, and how many seeded mistakes were found."""
    leaves = [row for row in content["rows"] if "leaf" in row]
    seeded = [row for row in content["rows"] if "seeded" in row]
    failed = [row for row in leaves if row["verdict"] != "PASS"]
    told = "all agree with jax.grad" if not failed else f"{len(failed)} do not agree with jax.grad"
    worst = " and ".join(
        f"{_largest([row for row in leaves if row['dtype'] == dtype])} in {dtype}"
        for dtype in sorted({row["dtype"] for row in leaves}, reverse=True)
    )
    found = sum(row["verdict"] == "PASS" for row in seeded)
    return (
        f"Of {len(leaves)} gradients (equations 1 to 13, and each parameter of every architecture) {told}; the "
        f"largest relative error is {worst}. Of {len(seeded)} changes seeded into a right gradient the checker "
        f"named {'all' if found == len(seeded) else found}.{_trusted(content.get('witness'))}"
    )


def _trusted(witness: dict[str, Any] | None) -> str:
    """What is said of the witness; nothing of results from before it was checked."""
    return f" Before that jax.grad itself was {witness_told(witness)}." if witness else ""


def witness_told(witness: dict[str, Any]) -> str:
    """How `jax.grad` was checked, on what."""
    return (
        f"held against a derivation in plain numpy, and found right in {len(witness['programs'])} programs, among "
        f"them what released jaxlibs are known to compute wrong (jaxlib {witness['jaxlib']}, "
        f"{witness['processor']}, {witness['device']})"
    )


def _largest(leaves: list[results.Row]) -> str:
    errors = [row["relative_error"] for row in leaves]
    return "not finite" if None in errors else f"{max(errors):.0e}"


def figures(content: dict[str, Any]) -> dict[str, Figure]:
    """Errors by case."""
    leaves = [row for row in content["rows"] if "leaf" in row]
    caption = (
        "Relative error between the hand-written gradient and jax.grad: the worst parameter of each network. "
        "Dashed: the largest error that passes."
    )
    return {"errors.svg": Figure(plots.errors(leaves), caption)} if leaves else {}


if __name__ == "__main__":
    _launch.launch(Config, run)
