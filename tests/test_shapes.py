"""Gradients in the shapes that people have: all right, and taken as they are."""

import pytest

from tests import shapes
from tests.commands import ROOT

FOUND = dict(
    zip(shapes.MISTAKES, ("mask_without_bias", "bias_mean", "l2_ignored", "batch_mean_missing"), strict=True)
)


def test_the_readme_has_every_shape_and_each_is_told_as_it_should_be():
    """What its matrix says is made anew by `test_readme`."""
    part = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- shapes -->")[1].split("<!-- end of")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.strip().splitlines()[2:]]
    assert [name for name, *_ in rows] == list(shapes.sources())
    for name, right, *wrong in rows:
        assert right == "right"
        made = shapes.mistaken(name)
        assert len(made) >= 2
        assert wrong == [f"`{code}`" if mistake in made else "-" for mistake, code in FOUND.items()], name


@pytest.mark.parametrize("what", shapes.REFUSED)
def test_what_cannot_be_checked_is_refused_with_what_to_write(what):
    told = shapes.refused(shapes.REFUSED[what])
    assert ("check_vjp(function, backward, x)" if what == "a derivative alone" else "grads") in told
    assert what != "a backward pass alone" or "f(params, x, y, l2)" in told
