"""Gradients in the shapes that people have: all right, and taken as they are."""

import pytest

from mlp_jax.gradcheck.check import check_gradients
from tests import shapes

FOUND = dict(
    zip(shapes.MISTAKES, ("mask_without_bias", "bias_mean", "l2_ignored", "batch_mean_missing"), strict=True)
)


@pytest.mark.parametrize("shape", shapes.sources())
def test_a_gradient_of_this_shape(shape):
    """It is taken as it is: right, and the same with each of the mistakes wrong by that mistake's code."""
    report = check_gradients(shapes.defined(shapes.sources()[shape]))
    assert report.passed, str(report)
    wrong = shapes.mistaken(shape)
    assert len(wrong) >= 2
    for mistake, changed in wrong.items():
        report = check_gradients(shapes.defined(changed))
        assert (report.passed, report.codes) == (False, [FOUND[mistake]]), str(report)


@pytest.mark.parametrize("what", shapes.REFUSED)
def test_what_cannot_be_checked_is_refused_with_what_to_write(what):
    told = shapes.refused(shapes.REFUSED[what])
    assert ("check_vjp(function, backward, x)" if what == "a derivative alone" else "grads") in told
    assert what != "a backward pass alone" or "f(params, x, y, l2)" in told
