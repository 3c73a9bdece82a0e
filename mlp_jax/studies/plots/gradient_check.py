"""The figure of the gradient check: how far each case's worst leaf is from jax.grad."""

from collections.abc import Sequence

from mlp_jax.studies.plots.style import STYLES, Row, canvas, svg

SMALLEST = 1e-17  # where an error of exactly 0 is drawn


def errors(rows: Sequence[Row]) -> str:
    """Relative error of every case's worst leaf, a line per case, float64 and float32, with their tolerances.

    A leaf whose error is not a number is drawn at 1, as a large one.
    """
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure, (axes,) = canvas(height=1.4 + 0.2 * len(cases))
    for number, dtype in enumerate(sorted({row["dtype"] for row in rows}, reverse=True)):
        color, marker = STYLES[2 - number]
        mine = [row for row in rows if row["dtype"] == dtype]
        worst = [max(_error(row) for row in mine if row["case"] == case) for case in cases]
        places = [place + 0.16 * (2 * number - 1) for place in range(len(cases))]
        axes.plot(worst, places, linestyle="", color=color, marker=marker, markersize=4, label=dtype)
        axes.axvline(
            max(row["tolerance"] for row in mine),
            color=color,
            linestyle="--",
            linewidth=1,
            label=f"{dtype}: limit",
        )
    axes.set(xscale="log", xlabel="relative error of the worst leaf (0 shown at 1e-17)")
    axes.set_yticks(range(len(cases)), cases, fontsize="small")
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=4, fontsize="small", frameon=False)
    return svg(figure)


def _error(row: Row) -> float:
    error = row["relative_error"]
    return 1.0 if error is None else max(float(error), SMALLEST)
