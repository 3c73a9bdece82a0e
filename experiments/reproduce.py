"""The main job: are the gradients right, and does depth help? Runs every study in order and writes one report.

  python -m experiments.reproduce                                   digits, about a minute on two cores
  TFDS_DATA_DIR=... python -m experiments.reproduce --dataset=cifar10

Writes each study's results.json and RESULTS_DIR/reproduce/report.md. Expected: every gradient passes; on the
digits every depth ends above 95 % on test. Exit status 1 if a gradient fails or a run diverges.
"""

from dataclasses import asdict, dataclass, fields

from experiments import _common, depth_study, gradient_check
from mlp_jax import results


@dataclass(frozen=True)
class Config(_common.Training):
    """Options of the main job: each is handed to every study that has it."""


STUDIES = {"gradient_check": gradient_check, "depth_study": depth_study}


def run(config: Config) -> bool:
    """Runs the studies, then writes the report from their results files; True if all of them succeeded."""
    study = _common.Study("reproduce", config)
    study.rows = []
    options = asdict(config)  # with --resume, each study keeps its own rows
    for name, module in STUDIES.items():
        print(f"== {name}")
        own = {field.name: options[field.name] for field in fields(module.Config) if field.name in options}
        study.add({"study": name, "status": "passed" if module.run(module.Config(**own)) else "failed"})
    root = study.folder.parent
    report = study.folder / "report.md"
    if study.writes:
        results.write(
            report, markdown({name: results.read_json(root / name / "results.json") for name in STUDIES})
        )
    path = study.finish()
    print(f"report: {report}; {path}")
    return all(row["status"] == "passed" for row in study.rows)


def markdown(files: dict[str, results.Row]) -> str:
    """The report, as a pure function of the studies' results files."""
    checks, depth = files["gradient_check"], files["depth_study"]
    leaves = [row for row in checks["rows"] if "leaf" in row]
    failed = sum(row["verdict"] == "FAIL" for row in leaves)
    verdict = f"{len(leaves)} leaves checked, {failed} failed."
    environment = depth["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    config = depth["config"]
    return f"""# mlp_jax: {config["dataset"]}, {config["protocol"]} protocol, {config["seeds"]} seeds

## Hand-written gradients against jax.grad

{verdict} Relative error of the worst leaf:

{gradient_check.own_tables(checks["rows"])}

## Depth (Table 1 of the report)

Accuracy in %, mean ± standard deviation over seeds.

{depth_study.table(depth["rows"])}

Made by `{environment["command"]}` on {environment["device"]["kind"]} ({environment["device"]["cores"]} cores) with
{versions}; commit {environment["commit"]}, data {environment["data_fingerprint"][:12]}.
"""


if __name__ == "__main__":
    _common.launch(Config, run)
