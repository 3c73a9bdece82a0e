"""Figures of the benchmark: a roofline, and throughput against the number of networks."""

from collections.abc import Sequence

from mlp_jax.studies.plots.style import STYLES, Row, canvas, svg


def roofline(rows: Sequence[Row], peak_flops: float, peak_bytes: float) -> str:
    """GFLOP/s against FLOP per byte of every measured row, under the machine's roof (in FLOP/s and bytes/s)."""
    figure, (axes,) = canvas(1)
    measured = [row for row in rows if row["gflops"] is not None]
    places = sorted(
        {row["flops_per_step"] / row["bytes_per_step"] for row in measured} | {peak_flops / peak_bytes}
    )
    ends = (places[0] / 2, peak_flops / peak_bytes, places[-1] * 2)
    axes.plot(
        ends, [min(peak_flops, x * peak_bytes) / 1e9 for x in ends], color="black", label="machine, measured"
    )
    for (name, (color, marker)), mine in _by_contender(measured):
        x = [row["flops_per_step"] / row["bytes_per_step"] for row in mine]
        y = [row["gflops"] for row in mine]
        axes.plot(x, y, linestyle="", color=color, marker=marker, alpha=0.8, label=name)
    axes.set(xscale="log", yscale="log", xlabel="intensity [FLOP per byte that must be moved]", ylabel="GFLOP/s")
    axes.legend(fontsize="small")
    return svg(figure)


def throughput(rows: Sequence[Row]) -> str:
    """Networks x steps per second against the number of networks, whiskers from slowest to fastest repeat."""
    figure, (axes,) = canvas(1)
    measured = [row for row in rows if row["workload"].startswith("population-") and row["gflops"] is not None]
    for (name, (color, marker)), mine in _by_contender(measured):
        mine = sorted(mine, key=lambda row: row["networks"])
        sizes = [row["networks"] for row in mine]
        middle, high, low = (
            [1e3 * row["networks"] / row["milliseconds_per_step"][which] for row in mine]
            for which in ("median", "min", "max")
        )
        whiskers = [
            [m - v for m, v in zip(middle, low, strict=True)],
            [v - m for m, v in zip(middle, high, strict=True)],
        ]
        axes.errorbar(sizes, middle, whiskers, color=color, marker=marker, capsize=3, label=name)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="networks trained side by side",
        ylabel="networks x steps per second [1/s]",
    )
    sizes = sorted({row["networks"] for row in measured})
    axes.set_xticks(sizes, [str(size) for size in sizes], minor=False)
    axes.minorticks_off()
    if measured:
        axes.legend(fontsize="small")
    return svg(figure)


def _by_contender(rows: Sequence[Row]) -> list[tuple[tuple[str, tuple[str, str]], list[Row]]]:
    names = list(dict.fromkeys(row["contender"] for row in rows))
    styles = [STYLES[i % len(STYLES)] for i in range(len(names))]
    return [
        (pair, [row for row in rows if row["contender"] == pair[0]]) for pair in zip(names, styles, strict=True)
    ]
