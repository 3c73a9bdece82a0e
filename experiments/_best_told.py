"""What `best_model` tells of its results: figures, the finding, the table. Pure functions of results.json."""

from experiments import _rows, _study
from mlp_jax.studies import results, statistics
from mlp_jax.studies.plots import best_model as plots
from mlp_jax.studies.tables import Table

REPORT = {"validation_accuracy": 0.561, "test_accuracy": 0.564}
REPORT_IMAGES = {"validation_accuracy": 5000, "test_accuracy": 1000}


def figures(content: results.Row) -> dict[str, _study.Figure]:
    """The figures that a results file tells all of: training curves, confusion matrix."""
    row = content["rows"][0]
    found = {
        "training_curves.svg": _study.Figure(
            plots.training_curves(row),
            "Loss (with the L2 term for training) and accuracy by epoch: mean over seeds, band of one standard "
            "deviation. Training is the mean over the epoch's minibatches, before their updates."
            + (" Validation is in training mode, as the report's script has it." if _published(row) else ""),
        )
    }
    if "confusion" in content:
        counts = content["confusion"]["counts"]
        found["confusion_matrix.svg"] = _study.Figure(
            plots.confusion_matrix(counts, content["classes"]),
            f"Of the test images of each class (all {sum(map(sum, counts)):,}), the percentage that seed "
            f"{row['model']['seed']}'s network takes for each class; right answers are on the diagonal.",
        )
    return found


def _published(row: results.Row) -> bool:
    return bool(row["protocol"] == "published")


def finding(content: results.Row) -> str:
    """What came out, in one or two sentences."""
    row, name = content["rows"][0], _rows.dataset_name(content)
    many = len(row["seeds"])
    if not many:
        return f"On {name} none of {row['diverged']} runs finished: all diverged."
    validation, test = (results.percent(row[q]) for q in ("validation_accuracy", "test_accuracy"))
    runs = f"{many} seed{'s' if many > 1 else ''}" + (f", {row['diverged']} diverged" if row["diverged"] else "")
    images = row["images"]
    told = f"the recipe {row['name']}" if "name" in row else "the network"
    text = f"On {name} {told} reaches {validation} % on validation and {test} % on "
    text += f"{images['test']:,} test images ({runs})"
    if _published(row):
        text += (
            f"; in evaluation mode {results.percent(row['validation_accuracy_evaluation_mode'])} % on validation, "
        )
        text += (
            f"and {results.percent(row['test_accuracy_all_images'])} % on all {images['all_test']:,} test images"
        )
    if row["report"] is None:
        return text + "."
    return f"{text}. {_against_report(row)}"


def _against_report(row: results.Row) -> str:
    stated = row["report"]
    if not _published(row):
        gap = 100 * (row["test_accuracy"]["mean"] - stated["test_accuracy"])
        return (
            f"The report states {100 * stated['test_accuracy']:.1f} % on its 1,000 test images: ours, with "
            f"another recipe and all test images, is {abs(gap):.1f} points {'above' if gap >= 0 else 'below'}."
        )
    names = {"validation_accuracy": "validation", "test_accuracy": "test"}
    verdicts = [
        f"{100 * value:.1f} % on {names[q]}: "
        + statistics.judge_number(row[q], row["images"][names[q]], value, REPORT_IMAGES[q])
        for q, value in stated.items()
    ]
    return f"The report's {'; its '.join(verdicts)}."


def table(rows: list[results.Row]) -> Table:
    """In %: ours beside the report's."""
    header = ["accuracy", "images", "ours %", "report %"]
    return Table(header, [line for row in rows for line in _lines(row)])


def _lines(row: results.Row) -> list[list[str]]:
    images, stated = row["images"], row["report"] or {}
    kinds = [
        ("validation_accuracy", "validation" + (", training mode" if _published(row) else ""), "validation"),
        ("validation_accuracy_evaluation_mode", "validation, evaluation mode", "validation"),
        ("test_accuracy", "test" + (", the first images" if _published(row) else ""), "test"),
        ("test_accuracy_all_images", "test, all images", "all_test"),
        ("test_accuracy_over_views", "test, each image as 6 views", "test"),
    ]
    return [
        [
            title,
            f"{images[split]:,}",
            results.percent(row[quantity]),
            f"{100 * stated[quantity]:.1f}" if quantity in stated else "-",
        ]
        for quantity, title, split in kinds
        if quantity in row
    ]
