"""The mistakes that only single layers have (`layers`); see `table`."""

import numpy as np

from mlp_jax.gradcheck.mistakes import deviations as d
from mlp_jax.gradcheck.mistakes.layer_ops import Conv, Embedding, Hinge, MaxPool
from mlp_jax.gradcheck.mistakes.row import Row, leaf, step

# fmt: off
LAYER_ROWS: tuple[Row, ...] = (
    Row("forward_mismatch", "gives another output than the operation that the layer is named after",
        "the gradient is held against the operation, or against this forward pass if it belongs to that",
        "compare the forward pass with the formula, first of all", ("x @ w + b", "x @ w")),
    Row("test_mode", "goes back through test mode in another way than the forward pass goes there",
        "in test mode dropout hands everything on, and batch normalisation's mean and variance are constants",
        "ask for the mode in the backward pass as in the forward pass", ("dx = dout", "dx = dout * mask")),
    Row("derivative_by_scores",
        "is given probabilities, and gives the derivative by the scores of the softmax (or sigmoid) below it",
        "that is psi - Delta for the cross-entropy: right only where the backward pass below hands it on as it is",
        "leave it if it does, or give the derivative by psi, -Delta / psi",
        ("dpsi = -one_hot / psi", "dpsi = psi - one_hot"), remark=True, cost=0.5),
    Row("svm_margin", "compares the scores without the margin of 1 in the backward pass",
        "a class counts where s_j - s_y + 1 > 0, in the loss and in the gradient",
        "compute the mask from the margins of the loss", ("(margins > 0)", "(x > x[np.arange(N), y][:, None])"),
        instead={Hinge: d.by_scores(
            lambda op: op.of_mask(op.mask(0.0)),
            lambda op: op.mask(0.0) + op.true_class(op.mask()),
        )}),
    Row("svm_true_class",
        "gives the score of the true class another gradient than minus the sum of the other classes'",
        "the score s_y is subtracted in every margin: its derivative is minus the number of margins above 0",
        "subtract the sum of the mask over the classes at the true class",
        ("dx[np.arange(N), y] -= (margins > 0).sum(axis=1)", "dx[np.arange(N), y] -= 1"),
        instead={Hinge: d.by_scores(
            lambda op: op.mask(),
            lambda op: op.mask() - op.one_hot,
            lambda op: abs(op.of_mask(op.mask())),
            lambda op: op.mask() - op.one_hot * (op.scores.shape[1] - 1),
            lambda op: op.mask() + op.true_class(op.margins() > 0),
            lambda op: op.of_mask(op.mask()) + op.one_hot,
            lambda op: op.of_mask(op.mask()) - op.one_hot,
            lambda op: op.mask() - op.one_hot * (op.mask().sum(axis=1, keepdims=True) > 0),
        )}),
    Row("svm_mask", "gives the wrong classes another gradient than 1 where their margin is above 0, and else 0",
        "the derivative of max(0, margin) is 1 where the margin is above 0 and else 0",
        "use the mask (margins > 0)", ("dx = (margins > 0) * 1.0", "dx = np.ones_like(x)"),
        instead={Hinge: d.by_scores(
            lambda op: op.of_mask(1 - op.one_hot),
            lambda op: op.of_mask(op.mask(power=3 - op.power)),
            lambda op: op.of_mask(op.mask(power=3 - op.power)) * op.power**2 / 2,
            lambda op: op.of_mask((op.scores > 0) * (1 - op.one_hot)),
            lambda op: op.of_mask((op.margins() < 0) * (1 - op.one_hot)),
            lambda op: op.mask(power=3 - op.power) + op.true_class(op.mask()),
            lambda op: op.mask(power=3 - op.power) * op.power**2 / 2 + op.true_class(op.mask()),
            lambda op: 1 - op.one_hot + op.true_class(op.mask()),
            lambda op: -op.mask() + op.true_class(op.mask()),
            lambda op: op.true_class(op.mask()),
        )}),
    Row("repeated_index", "counts an index that occurs several times once",
        "every place where a word occurs adds its dout to the word's row: dw[x] += dout keeps that of one place",
        "use np.add.at(dw, x, dout)", ("np.add.at(dw, x, dout)", "dw[x] += dout"),
        instead={Embedding: step(
            lambda op, g: op.each_once(g), lambda op, g: op.each_once(g, 0), lambda op, g: op.each_once(g, 1)
        )}),
    Row("window_stride", "places the windows in the backward pass without the stride",
        "the window of output (i, j) starts at row i stride and column j stride",
        "multiply i and j by the stride, as in the forward pass",
        ("x[:, :, i * s : i * s + h]", "x[:, :, i : i + h]"), instead={
            Conv: step(lambda op, g: op.back(g, stride=1)),
            (Conv, "w"): leaf(lambda op, g: op.leaves(g, stride=1)["w"]),
            MaxPool: step(
                lambda op, g: op.back(g, stride=1), lambda op, g: op.back(g, stride=1, of_output=True)
            ),
        }),
    Row("window_pad", "leaves the padding out of the backward pass",
        "the windows lie in the padded input, and the gradient of x is its inner part",
        "pad x as in the forward pass, and cut the padding off the gradient at the end: dx[:, :, p:-p, p:-p]",
        ("dx[:, :, p:-p, p:-p]", "dx[:, :, :H, :W]"), instead={
            Conv: step(lambda op, g: op.back(g, cut=False)),
            (Conv, "w"): leaf(lambda op, g: op.leaves(g, cut=False)["w"]),
        }),
    Row("window_overwritten", "overwrites where windows overlap, or where outputs share weights",
        "every output of which a number is a part adds to that number's gradient", "use += in place of =",
        ("dx[window] += ", "dx[window] = "), instead={
            Conv: step(
                lambda op, g: op.back(g, add=False), lambda op, g: op.of(filters=-1).back(g[:, -1:], add=False)
            ),
            (Conv, "w"): leaf(
                lambda op, g: op.leaves(g, add=False)["w"],
                lambda op, g: op.of(examples=-1).leaves(g[-1:], add=False)["w"],
            ),
            (Conv, "b"): leaf(lambda op, g: g[:, :, -1, -1].sum(axis=0), lambda op, g: g[-1, :, -1, -1]),
            MaxPool: step(lambda op, g: op.overwritten(g), lambda op, g: op.back(g, add=False)),
        }),
    Row("kernel_flipped", "goes back through the kernel turned by 180 degrees",
        "the input at a place of a window has been multiplied by the kernel's number at that same place",
        "use w as in the forward pass: only a full convolution of dout needs the turned kernel",
        ("w[f]", "w[f, :, ::-1, ::-1]"), instead={Conv: step(lambda op, g: op.back(g, flip=True))}),
    Row("pool_everywhere", "sends the gradient to every input of a window",
        "the maximum depends on the largest input alone", "multiply by the mask (window == window.max())",
        ("(window == window.max()) * dout", "dout"), instead={MaxPool: step(
            lambda op, g: op.back(g, everywhere=True), lambda op, g: op.back(g, everywhere=True) / np.prod(op.size)
        )}),
    Row("pool_ties", "sends the whole gradient to each of several equal maxima",
        "where inputs are equal the derivative is a convention; most libraries choose the first",
        "leave it if inputs are never equal, or use the place of np.argmax",
        ("np.argmax(window)", "window == window.max()"), remark=True),
)
# fmt: on
