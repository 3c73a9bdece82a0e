"""Rewrites the generated parts of README.md and of the pages beside the code: `python -m tests.readme`.

A part stands between `<!-- NAME -->` and `<!-- end of NAME -->`; `PAGES` says which file has which, and what makes
it. A test holds the files against it.
"""

from collections.abc import Callable, Mapping

from experiments import activation_study, best_model, speedrun
from mlp_jax.files import write
from mlp_jax.studies import results
from tests import result_tables as tables
from tests import shapes


def headlines() -> str:
    """One line each on the claims, on what decides, on accuracy past the report and on speed."""
    told, made = tables.judged_claims()
    (factors,) = tables.beside({tables.RESULTS / "activation_study": "clean"})
    fast = tables.speedruns()["speedrun"]
    lines = {
        f"**Claims.** {tables.tally(told)}": made,
        f"**What decides.** {activation_study.finding(factors)}": factors,
        f"**Past the report.** {_past_the_report()}": tables.recipe_runs()["augmented"],
        f"**Speed.** {speedrun.finding(fast)}": fast,
        f"**Beside others.** {_beside_others()}": tables.races()[0][0],
    }
    return "\n".join(f"- {said} `{content['environment']['command']}`" for said, content in lines.items())


def _past_the_report() -> str:
    (same,), (best,), (long,) = (tables.recipe_runs()[name]["rows"] for name in ("report", "augmented", "long"))
    keys = ("test_accuracy", "test_accuracy_over_views")
    ours, larger, views = map(results.percent, (same[keys[0]], best[keys[0]], best[keys[1]]))
    longest, its_views = map(results.percent, (long[keys[0]], long[keys[1]]))
    return (
        f"The report states {100 * best_model.REPORT['test_accuracy']:.1f} % on test for its best network. By a "
        f"recipe of today (`--recipe=report`) that network reaches {ours} %; a larger one, of dense layers "
        f"alone, {larger} %, and {views} % as the mean over 6 views of an image. The longest training "
        f"(`--recipe=long`, one seed) reaches {longest} %, and {its_views} %."
    )


def _beside_others() -> str:
    rows, said = tables.races()[1], []
    for load in ("default", "grid"):
        torch, numpy = (tables.ratio(rows[load]["faster_than"].get(peer)) for peer in ("torch", "numpy"))
        said.append(f"{tables.WORKLOADS[load]}: {torch} times as fast as eager PyTorch, {numpy} times as NumPy")
    return f"{'; '.join(said)} (median and range of the repeats)."


PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {
        "shapes": lambda: shapes.matrix().markdown(),
        "refusals": lambda: shapes.refusals().markdown(),
        "headlines": headlines,
        "table 1": tables.table_1_alone,
    },
    "experiments/results/README.md": {
        "claims": tables.claims,
        "table 1": tables.table_1,
        "benchmark": tables.benchmark,
        "recipes": tables.recipe_table,
        "ablation": tables.ablation_table,
        "speedrun": tables.speedrun_table,
        "records": tables.records_table,
        "faults": tables.faults,
    },
    "mlp_jax/gradcheck/README.md": {"seeded mistakes": tables.mistakes_table},
}
"""The generated parts of each file, by their names."""


def updated(page: str, text: str) -> str:
    """The page's text with its generated parts made anew. Raises ValueError if it lacks one."""
    for name, make in PAGES[page].items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{page} has no part called {name!r}")
        text = before + start + make() + "\n" + end + after
    return text


if __name__ == "__main__":
    for page_name in PAGES:
        path = tables.ROOT / page_name
        write(path, updated(page_name, path.read_text(encoding="utf-8")))
    write(tables.ROOT / "experiments" / "results" / "records.svg", tables.records_figure())
