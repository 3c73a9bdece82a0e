"""The kinds of figure: what is drawn of the data, and that the same data give the same bytes."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mlp_jax.studies import figures, learned, plotted
from mlp_jax.studies.figures import Line, Mark, Panel

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def bands(svg):
    return sum(
        "fill-opacity" in (path.get("style") or "") for path in ElementTree.fromstring(svg).iter(f"{SVG}use")
    )


def test_the_spread_over_seeds_is_a_standard_deviation():
    line = plotted.over_seeds("loss", [1, 2], [[1.0, 5.0], [3.0, 5.0]], 0)
    np.testing.assert_allclose(line.y, [2, 5])
    np.testing.assert_allclose(line.low, [2 - 2**0.5, 5])
    np.testing.assert_allclose(line.high, [2 + 2**0.5, 5])


def test_one_seed_has_no_band():
    one, two = (plotted.over_seeds("loss", [1, 2], seeds, 0) for seeds in ([[1.0, 2.0]], [[1.0, 2.0]] * 2))
    assert (one.low, one.high) == (None, None)
    assert two.low is not None
    assert [bands(figures.lines([Panel([line], "epoch")])) for line in (one, two)] == [0, 1]


def test_lines_with_everything():
    panel = Panel(
        [
            Line("ours", [1, 10], [0.0, 2.0], [0.0, 1.0], [1.0, 3.0]),
            Line("theirs", [1, 10], [1.0, 2.0], [0.5, 1.5], [2.0, 3.0], number=1, how="whiskers"),
            Line("tried", [1], [1.0], number=9, how="points"),
            Line("report", [10], [2.0], number=None, how="ring"),
            Line("of no run", [], []),
        ],
        "steps", "loss", "a title", xscale="log", yscale="log", xticks=[1, 10], levels={"chance": 1.5},
        limits=[("limit", 5.0, 2)],
    )  # fmt: skip
    svg = figures.lines([panel, Panel([], "nothing")])
    assert svg == figures.lines([panel, Panel([], "nothing")])
    words = {"ours", "theirs", "tried", "report", "chance", "limit", "steps", "loss", "a title"}
    assert words <= set(texts(svg))
    assert "of no run" not in texts(svg)
    assert {"1", "10"} <= set(texts(svg))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("places", [[1e-3], [1e-3, 1e-3], []])
def test_one_place_on_a_logarithmic_scale_needs_no_warning(places):
    line = Line("tried", places, [50.0] * len(places), how="points")
    assert "rate" in texts(figures.lines([Panel([line], "rate", xscale="log")]))


def test_rows_run_downwards():
    words = texts(
        figures.lines([Panel([Line("", [1, 2], [0, 1], how="points")], "error", rows=["first", "second"])])
    )
    assert {"first", "second"} <= set(words)


def test_a_forest_tells_what_diverged_and_leaves_empty_groups_out():
    groups = {"width": {"50": Mark(50.0, 49.0, 51.0, [49.5, 50.5], False), "400": None}, "dropout": {}}
    svg = figures.forest(groups, "accuracy, %", {"report": 56.4})
    assert {"width", "50", "400", "diverged", "report", "accuracy, %"} <= set(texts(svg))
    assert "dropout" not in texts(svg)
    assert "report" not in texts(figures.forest(groups, "accuracy, %", {"": 0.0}))


def test_only_headings_are_bold():
    svg = figures.forest({"dropout": {"dropout": Mark(1.0, 0.0, 2.0)}}, "points", {})
    styles = [e.get("style") for e in ElementTree.fromstring(svg).iter(f"{SVG}text") if e.text == "dropout"]
    assert sorted("bold" in style or "700" in style for style in styles) == [False, True]


@pytest.mark.parametrize(("low", "ends"), [(-0.01, (-1, 3)), (None, (1, 1))])
def test_a_difference_is_in_points_and_one_seed_has_no_interval(low, ends):
    mark = plotted.difference({"mean": 0.01, "low": low, "high": 0.03}) or pytest.fail("no mark")
    assert (mark.value, mark.low, mark.high) == pytest.approx((1, *ends))


def test_a_difference_of_no_runs_is_no_mark():
    assert plotted.difference({"mean": None, "low": None, "high": None}) is None


def test_a_heat_map_crosses_out_what_diverged():
    values = np.array([[50.25, np.nan]])
    svg = figures.heat_map({"after 3000 steps": values}, ["50, 64"], ["0.1", "0.2"], ("rate", "net"))
    assert {"50.2", "x", "50, 64", "0.2", "rate", "net", "after 3000 steps"} <= set(texts(svg))
    framed = figures.heat_map({"": values}, ["a"], ["b", "c"], ("", ""), framed=(0, 1))
    assert "#d55e00" in framed
    assert "#d55e00" not in svg


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_grid_is_a_small_png_of_its_size(channels):
    pictures = [np.full((8, 8, channels), 10 * number, np.uint8) for number in range(7)]
    data = learned.image_grid(pictures, [f"picture {number}" for number in range(7)], 5, (1.0, 1.5))
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (550, 330))
    assert data == learned.image_grid(pictures, [f"picture {number}" for number in range(7)], 5, (1.0, 1.5))


def inches(svg):
    return float(ElementTree.fromstring(svg).attrib["height"].removesuffix("pt")) / 72


def test_drawings_are_as_high_as_their_lines_need():
    def drawn(rows):
        names = [f"row {number}" for number in range(rows)]
        return figures.heat_map({"": np.full((rows, 2), 50.0)}, names, ["a", "b"], ("", ""))

    assert inches(drawn(2)) < inches(drawn(20)) < 10
    few, many = (figures.forest({"": {str(n): Mark(1, 0, 2) for n in range(count)}}, "", {}) for count in (2, 12))
    assert 0.2 < (inches(many) - inches(few)) / 10 < 0.4
