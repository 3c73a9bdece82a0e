"""What the report claims, question by question, and which results judge it.

A claim's `judge` is a pure function of one study's results.json, which raises Missing where the settings that the
claim is about were not run.
"""

from experiments import depth_study
from mlp_jax.studies import statistics
from mlp_jax.studies.claims import REMARK, Claim, Judge, Missing, accuracy, compared, one, quantity, several
from mlp_jax.studies.results import Row

Q2, Q3, Q4 = (
    "Question 2: the gradients",
    "Question 3: the two-layer network",
    "Question 4: deeper networks",
)

# Question 2


def equation(number: int) -> Judge:
    """Judges an equation by all its checks."""

    def judge(content: Row) -> Row:
        rows = [row for row in content["rows"] if row.get("leaf") == f"eq{number}"]
        if not rows:
            raise Missing(number)
        passed = sum(row["verdict"] == "PASS" for row in rows)
        errors = [row["relative_error"] for row in rows if row["dtype"] == "float64"]
        worst = "not finite" if None in errors else f"{max(errors):.0e}"
        verdict = statistics.REPRODUCED if passed == len(rows) else statistics.NOT_REPRODUCED
        return {
            "text": f"{passed} of {len(rows)} checks pass, error at most {worst} in float64",
            "verdict": verdict,
        }

    return judge


def remark(text: str) -> Judge:
    """Says what the report's text has wrong, where the check ran."""
    return lambda content: {"text": text, "verdict": REMARK}


EQUATIONS = (
    "dJ/dz3, by the chain rule through log and softmax",
    "the derivative of the logarithm, 1/ψ",
    "the derivative of softmax, ψ_y (Δ - ψ)",
    "dJ/dz3 = (ψ - Δ)/N",
    "dJ/dw2 as a sum over examples",
    "dJ/dw2 = a2ᵀ (ψ - Δ)/N",
    "dJ̃/dw2: equation 6 + 2λ w2",
    "dJ/db2 as a sum over examples",
    "dJ̃/db2: the column sums of equation 4",
    "dJ̃/dw1 as a chain",
    "the derivative of ReLU: 1 where z2 > 0, else 0",
    "dJ̃/dw1 = a1ᵀ [((ψ - Δ) w2ᵀ) ∘ 1(z2 > 0)]/N + 2λ w1",
    "dJ̃/db1: the column sums of [((ψ - Δ) w2ᵀ) ∘ 1(z2 > 0)]/N",
)
SLIPS = (
    ("eq6-slip", "Equations 6 and 7 as printed", "a plain product", "an outer product is meant; checked so"),
    ("eq11-slip", "Equation 11 at z2 = 0", "left open", "0 here, as in the report's scripts and jax.nn.relu"),
    (
        "eq12-slip",
        "Equations 12 and 13 as printed",
        "w2 not transposed",
        "do not conform: w2 must be transposed, the mask multiplies element by element, the sum in 13 goes on",
    ),
)
CLAIMS: list[Claim] = [
    Claim(f"eq{number}", Q2, f"Equation {number}: {text}", "formula", "gradient_check", equation(number))
    for number, text in enumerate(EQUATIONS, start=1)
]
CLAIMS += [Claim(name, Q2, text, said, "gradient_check", remark(truth)) for name, text, said, truth in SLIPS]


# Question 3


def _best_row(content: Row) -> Row:
    """The best configuration, trained longest."""
    rows: list[Row] = [row for row in content["rows"] if row["kind"] == "best"]
    if not rows:
        raise Missing("best")
    return rows[-1]


REPORT_BEST = {"hidden": 200, "learning_rate": 1e-3, "l2": 0.01}


def _reached(row: Row) -> float:
    """Validation accuracy of a configuration; 0 if it diverged."""
    return float(row["validation_accuracy"]["mean"] or 0.0)


def best_configuration(content: Row) -> Row:
    """Is hidden 200, learning rate 0.001, lambda 0.01 the best of the grid?"""
    tried = [row for row in content["rows"] if row["kind"] == "grid"]
    longest = [row for row in tried if row["steps"] == max(row["steps"] for row in tried)]
    theirs = [row for row in longest if all(row[name] == value for name, value in REPORT_BEST.items())]
    if not theirs:
        raise Missing("not in the grid")
    best, images = max(longest, key=_reached), _best_row(content)["images"]["validation"]
    claimed, top = max(map(_reached, theirs)), _reached(best)
    text = f"hidden {best['hidden']}, rate {best['learning_rate']:g}, λ {best['l2']:g}: {100 * top:.1f}"
    if claimed < top:
        text += f"; the report's choice: {100 * claimed:.1f}"
    return {"text": text, "verdict": statistics.judge_tried_best(claimed, top, images)}


def best_validation(report: float) -> Judge:
    """Judges a validation accuracy of the best configuration."""

    def judge(content: Row) -> Row:
        row = _best_row(content)
        ours, images = row["validation_accuracy"], row["images"]["validation"]
        return quantity(ours, statistics.judge_number(ours, images, report, 1000))

    return judge


def above_the_bar(content: Row) -> Row:
    """Is the best configuration above 0.48 on validation?"""
    row = _best_row(content)
    ours = row["validation_accuracy"]
    return quantity(ours, statistics.judge_above(ours, row["images"]["validation"], 0.48))


def longer_is_better(content: Row) -> Row:
    """Are 5,000 steps better than 3,000? Elsewhere: the longest runs than the shortest."""
    rows = [row for row in content["rows"] if row["kind"] == "best"]
    if len(rows) < 2:
        raise Missing("one length")
    difference = statistics.paired(rows[-1], rows[0], "validation_accuracy")
    return compared(difference, statistics.judge_difference(difference))


def first_loss(content: Row) -> Row:
    """The first minibatch's loss of the best configuration, first seed."""
    ours = statistics.measured([loss for loss in _best_row(content)["first_losses"][:1] if loss is not None])
    return quantity(ours, statistics.judge_loss(ours, 2.303, 0.0005), scale=1, digits=4)


def last_loss(content: Row) -> Row:
    """The mean loss of the last 100 steps of the best configuration."""
    curves = [run["loss"][-4:] for run in _best_row(content)["figure_1"]]
    ours = statistics.measured([sum(curve) / len(curve) for curve in curves])
    return quantity(ours, statistics.judge_loss(ours, 0.95, 0.05 * 0.95), scale=1, digits=3)


PUBLISHED = ("published",)
SEARCH = "grid_search"
CLAIMS += [
    Claim("q3-best", Q3, "Best of the grid: hidden size 200, learning rate 0.001, λ 0.01", "best of 36", SEARCH,
          best_configuration, True, PUBLISHED),
    Claim("q3-validation", Q3, "Its validation accuracy", "53.3", SEARCH, best_validation(0.533), True),
    Claim("q3-longer", Q3, "5,000 iterations instead of 3,000, and tuning, raise validation accuracy",
          "48 to 53.3", SEARCH, longer_is_better, False, PUBLISHED),
    Claim("q3-default", Q3, "The handed-out default's validation accuracy", "about 29", SEARCH,
          accuracy(0.29, 1000, kind="default"), True, PUBLISHED),
    Claim("q3-bar", Q3, "The course's bar for validation accuracy is passed", "above 48", SEARCH, above_the_bar,
          True),
    Claim("q3-first-loss", Q3, "Figure 1: the first loss", "2.303", SEARCH, first_loss, True),
    Claim("q3-last-loss", Q3, "Figure 1: the last loss", "about 0.95", SEARCH, last_loss, True),
    Claim("q3-figure", Q3, "Figure 1: validation accuracy at the end", "near 54", SEARCH, best_validation(0.54),
          True),
]  # fmt: skip


# Question 4


def deeper(layers: int) -> Judge:
    """Is so many layers better than 2, on test?"""

    def judge(content: Row) -> Row:
        ours, base = (one(content, layers=n, init="uniform_fan_in") for n in (layers, 2))
        difference = statistics.paired(ours, base)
        return compared(difference, statistics.judge_difference(difference))

    return judge


def three_are_best(content: Row) -> Row:
    """Are 3 layers better than 2, 4 and 5, on test?"""
    ours, *others = (one(content, layers=n, init="uniform_fan_in") for n in (3, 2, 4, 5))
    differences = {f"over {row['layers']}": statistics.paired(ours, row) for row in others}
    return several(differences, statistics.judge_best(list(differences.values())))


for layers, numbers in depth_study.REPORT.items():
    for name, number in zip(("validation", "test"), numbers, strict=True):
        CLAIMS.append(
            Claim(f"table1-{layers}-{name}", Q4, f"Table 1: {layers} layers, {name}", f"{100 * number:.1f}",
                  "depth_study",
                  accuracy(number, 1000, f"{name}_accuracy", layers=layers, hidden=50, init="uniform_fan_in"),
                  True)
        )  # fmt: skip
CLAIMS += [
    Claim(f"deeper-{layers}", Q4, f"Deeper is better: {layers} layers over 2, test",
          f"{100 * (depth_study.REPORT[layers][1] - depth_study.REPORT[2][1]):+.1f}", "depth_study",
          deeper(layers))
    for layers in (3, 4, 5)
]  # fmt: skip
CLAIMS += [Claim("three-best", Q4, "3 layers are the best, test", "52.8", "depth_study", three_are_best)]


def factor(name: str, *factors: str) -> Judge:
    """Judges a claim that activation_study itself has a verdict on, by how its text starts.

    The answer tells the change in test accuracy with every other value of these factors.
    """

    def judge(content: Row) -> Row:
        verdict = next((row["verdict"] for row in content["verdicts"] if row["claim"].startswith(name)), None)
        if verdict is None:
            raise Missing(name)
        changes = {
            f"with {row['setting'][KEYS[row['factor']]]}": row
            for row in content["comparisons"]
            if row["factor"] in factors and row["quantity"] == "test_accuracy"
        }
        return several(changes, verdict)

    return judge


KEYS = {"dropout": "dropout", "activation": "activation", "batch normalisation": "batch_norm"}


def best_model(name: str, report: float, images: int) -> Judge:
    """Judges an accuracy of the best model."""

    def judge(content: Row) -> Row:
        row = content["rows"][0]
        return quantity(
            row[name], statistics.judge_number(row[name], row["images"][name.split("_")[0]], report, images)
        )

    return judge


def handed_out_dies(content: Row) -> Row:
    """Do networks of 3 layers not learn from the handed-out initialisation, under Adam? Tells of SGD too."""
    row = one(content, init="normal_1e-3", optimizer="adam", layers=3)
    runs = len(row["seeds"]) + row["diverged"]
    first = {found["optimizer"]: found["layers"] for found in content["dies"] if found["init"] == "normal_1e-3"}
    deepest = max(row["layers"] for row in content["rows"])
    where = (
        f"none learns from {layers} layers on" if layers else f"no depth up to {deepest} fails in every run"
        for layers in (first["adam"], first.get("sgd"))
    )
    text = f"Adam: {row['dead']} of {runs} runs with 3 layers do not learn; {next(where)}"
    if "sgd" in first:
        text += f". SGD: {next(where)}"
    return {"text": text, "verdict": statistics.judge_event(row["dead"], runs)}


CLAIMS += [
    Claim("init", Q4, "With more than 2 layers the handed-out initialisation, N(0, 0.001), does not learn",
          "in words", "init_study", handed_out_dies),
    Claim("dropout", Q4, "Dropout gives no improvement, test", "in words", "activation_study",
          factor("dropout", "dropout")),
    Claim("factors", Q4, "LeakyReLU(0.1) with batch normalisation after it is best, test", "in words",
          "activation_study", factor("LeakyReLU", "activation", "batch normalisation")),
    Claim("best-validation", Q4, "Best model, 400-400-400: validation", "56.1", "best_model",
          best_model("validation_accuracy", 0.561, 5000), True),
    Claim("best-test", Q4, "Best model, 400-400-400: test", "56.4", "best_model",
          best_model("test_accuracy", 0.564, 1000), True),
]  # fmt: skip
