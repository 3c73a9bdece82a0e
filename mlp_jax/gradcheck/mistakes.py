"""The mistakes that a check can name: one table, a row for each, and all that is known of a mistake in its row.

Symbols and equation numbers are the report's (see `equations.py`): z2 = a1 w1 + b1, a2 = relu(z2),
z3 = a2 w2 + b2, psi = softmax(z3), Delta = one-hot label, N examples.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mlp_jax.gradcheck import deviations as d
from mlp_jax.gradcheck.ops import Affine, Dropout, Loss, Norm, Skip, Slope

Place = type | tuple[type, str]  # an operation's way back, or one of its leaves


class Row(NamedTuple):
    """One mistake: what to say to a student, and where something else is computed, and what.

    does, says, mend: what the code does, what the equation says, how to mend it. instead: by place, the function
    of `deviations` that yields what is computed there instead; a mistake without any is told from the size of a
    leaf's parts (`fits`), or from how the candidate behaves. example: a line of a right gradient, and that line
    with the mistake in it (`seeded_mistakes`). remark: it is no failure. cost: what the search pays for it:
    more where a number of the candidate's own has to be assumed. late: tried only if nothing else explains.
    layer: `says` and `mend` of a single layer, or of any function, where no equation of the report's says them.
    """

    code: str
    does: str
    says: str
    mend: str
    example: tuple[str, str]
    instead: Mapping[Place, Callable[[d.Ops], Iterator[Any]]] = {}
    remark: bool = False
    cost: float = 1.0
    late: bool = False
    layer: tuple[str, str] = ("", "")


W, B, SCALE = (Affine, "w"), (Affine, "b"), (Norm, "scale")

ROWS: tuple[Row, ...] = (
    # -- factors, told by how large a leaf's part from the data is
    Row(
        "batch_mean_missing",
        "sums over the examples of the batch without dividing by N",
        "J is a mean over the batch: equation 4 has the factor 1/N",
        "divide dJ/dz3 by N = X.shape[0], once",
        ("dz3 = dz3 / N", "pass"),
        layer=(
            "The loss is a mean over the examples",
            "divide by N, the number of examples, once",
        ),
    ),
    Row(
        "batch_mean_twice",
        "divides by N twice",
        "equation 4 has the factor 1/N once, and everything below inherits it",
        "remove one of the two divisions",
        ("a2.T @ dz3", "a2.T @ dz3 / N"),
        layer=(
            "A layer's backward pass sums over the examples: the 1/N of the mean loss is in dout already",
            "remove the division by N",
        ),
    ),
    Row(
        "mean_over_other",
        "divides by another number than that of the examples",
        "J is a mean over the batch: equation 4 has the factor 1/N, and N is the number of rows of X",
        "divide dJ/dz3 by N = X.shape[0], once, and by nothing else",
        ("dz3 = dz3 / N", "dz3 = dz3 / X.shape[1]"),
        cost=1.05,
        layer=(
            "No such division is in the chain rule",
            "remove it",
        ),
    ),
    Row(
        "constant_factor",
        "multiplies by a number that does not belong there",
        "no equation has a factor beside 1/N in front of what comes from the data",
        "remove the factor",
        ("a2.T @ dz3", "2 * a2.T @ dz3"),
        cost=1.2,
        layer=(
            "The derivative of sum(output * dout) has no such factor",
            "remove the factor",
        ),
    ),
    Row(
        "sign",
        "gives the opposite sign",
        "equation 4 is psi - Delta, not Delta - psi, and the penalty's part is + 2 lambda W",
        "flip the sign",
        ("dz3 = dz3 / N", "dz3 = -dz3 / N"),
        layer=(
            "The gradient is the derivative of sum(output * dout), not its negative",
            "flip the sign",
        ),
    ),
    Row(
        "bias_mean",
        "averages over the batch where it should sum",
        "equations 9 and 13 are sums over the examples: 1/N is in dJ/dz already",
        "use .sum(axis=0) in place of .mean(axis=0)",
        ("dz2.sum(axis=0)", "dz2.mean(axis=0)"),
        layer=(
            "A layer's backward pass sums over the examples: the 1/N of the mean loss is in dout already",
            "use .sum(axis=0) in place of .mean(axis=0)",
        ),
    ),
    # -- the penalty
    Row(
        "l2_factor",
        "adds the penalty term with another factor than 2 lambda",
        "the derivative of lambda ||W||^2 is 2 lambda W (equations 7 and 12)",
        "add 2 * reg * W, once, and not divided by N",
        ("+ 2 * reg * W2", "+ reg * W2"),
    ),
    Row(
        "l2_ignored",
        "leaves the penalty out",
        "equations 7 and 12 end in + 2 lambda W",
        "add 2 * reg * W",
        ("+ 2 * reg * W1", ""),
    ),
    Row(
        "l2_constant",
        "adds a penalty term that does not depend on lambda",
        "equations 7 and 12 have 2 lambda W, with the lambda that is given",
        "replace the number by the argument reg",
        ("+ 2 * reg * W2", "+ 2 * 0.05 * W2"),
    ),
    Row(
        "l2_on_bias",
        "penalises a bias (or a normalisation's scale or shift)",
        "the penalty is lambda (||W1||^2 + ||W2||^2): equations 9 and 13 have no lambda",
        "remove the penalty term from this leaf",
        ("dz3.sum(axis=0)", "dz3.sum(axis=0) + 2 * reg * b2"),
    ),
    Row(
        "penalty_value",
        "adds the penalty itself, one number, in place of its derivative",
        "the derivative of lambda ||W||^2 is 2 lambda W, a matrix (equations 7 and 12)",
        "add 2 * reg * W, not reg * np.sum(W**2)",
        ("+ 2 * reg * W2", "+ reg * np.sum(W2**2)"),
    ),
    # -- the loss
    Row(
        "one_hot_missing",
        "uses psi alone as the derivative of the scores",
        "equation 4 is (psi - Delta) / N, with Delta 1 at the true class",
        "subtract 1 at the true class: probs[np.arange(N), y] -= 1",
        ("dz3[np.arange(N), y] -= 1", "pass"),
        {Loss: d.psi_alone},
        layer=(
            "dx is (softmax - one-hot) / N",
            "subtract 1 at the true class",
        ),
    ),
    Row(
        "softmax_jacobian_diagonal",
        "uses only the diagonal of the softmax's Jacobian, so that the scores of wrong classes get no gradient",
        "the derivative dpsi_y/dz3 is psi_y (Delta - psi): it has a term for every class (equation 3)",
        "use (psi - Delta) / N in all columns",
        ("dz3 = probs.copy()", "dz3 = probs * np.eye(W2.shape[1])[y]"),
        {Loss: d.true_class_alone},
        layer=(
            "dx is a (dout - sum(dout a)) with the softmax's output a",
            "subtract the sum over the classes",
        ),
    ),
    Row(
        "softmax_derivative_missing",
        "leaves the softmax's derivative out, and takes the derivative by psi (or log psi) for that by z3",
        "the derivative dJ/dz3 is dJ/dpsi times the softmax's Jacobian (equation 1), together (psi - Delta) / N",
        "use (psi - Delta) / N",
        ("dz3[np.arange(N), y] -= 1", "dz3 = -np.eye(W2.shape[1])[y] / probs"),
        {Loss: d.derivative_by_psi},
    ),
    Row(
        "softmax_derivative_twice",
        "multiplies psi - Delta by the softmax's (or a sigmoid's) derivative once more",
        "equation 4 has that derivative in it already: it is psi - Delta for the cross-entropy",
        "remove the factor psi (1 - psi)",
        ("dz3 = dz3 / N", "dz3 = dz3 * probs * (1 - probs) / N"),
        {Loss: d.through_softmax_again},
    ),
    Row(
        "softmax_axis",
        "takes the softmax over the wrong axis",
        "the softmax gives an example a probability for every class: each row of psi sums to 1",
        "sum with axis=1, keepdims=True",
        ("dz3 = probs.copy()", "dz3 = np.exp(scores); dz3 = dz3 / dz3.sum(axis=0)"),
        {Loss: d.softmax_over},
    ),
    # -- the activation
    Row(
        "mask_missing",
        "does not multiply by the activation's derivative",
        "equation 11: phi'(z2) is 1 where z2 > 0 and else 0, and equations 12 and 13 multiply by it",
        "multiply by (z2 > 0)",
        ("da2 * (z2 > 0)", "da2"),
        {Slope: d.no_slope},
        layer=(
            "The chain rule multiplies dout by the activation's derivative",
            "multiply by it, for ReLU by (x > 0)",
        ),
    ),
    Row(
        "mask_without_bias",
        "takes the activation's derivative at x w, without the bias",
        "equation 11 is taken at z2 = a1 w1 + b1",
        "compute the mask from the same z2 as the forward pass",
        ("(z2 > 0)", "(X @ W1 > 0)"),
        {Slope: d.slope_at("without bias")},
    ),
    Row(
        "mask_wrong_tensor",
        "takes the activation's derivative at another tensor than this layer's pre-activation",
        "equation 11 is 1 where z2 > 0, whatever the gradient or the other layers are",
        "compute the mask from this layer's z2",
        ("(z2 > 0)", "(da2 > 0)"),
        {Slope: d.slope_at()},
        layer=(
            "The activation's derivative is taken at its input x",
            "compute it from the cached x",
        ),
    ),
    Row(
        "mask_at_zero",
        "takes another derivative of the activation at exactly 0",
        "equation 11 leaves z2 = 0 open; jax.nn.relu and the report's scripts use 0",
        "nothing to mend: at a kink the derivative is a convention",
        ("(z2 > 0)", "(z2 >= 0)"),
        {Slope: d.other_value_at_zero},
        remark=True,
        cost=0.5,
    ),
    Row(
        "activation_for_derivative",
        "multiplies by the activation's value a where its derivative belongs",
        "equation 11 is phi'(z2): for ReLU 1 where z2 > 0, not z2 itself",
        "multiply by (z2 > 0)",
        ("da2 * (z2 > 0)", "da2 * a2"),
        {Slope: d.value_for_derivative},
        layer=(
            "The chain rule has phi'(x)",
            "multiply by phi'(x), not by phi(x)",
        ),
    ),
    Row(
        "output_form_at_z",
        "gives z to a formula for the derivative that is one in the activation's value a",
        "the derivative is 1 - a^2 for tanh and a (1 - a) for the sigmoid, with a = phi(z)",
        "give the formula a, not z",
        ("* (1 - a**2)", "* (1 - z**2)"),
        {Slope: d.form_at_z},
        late=True,
        layer=(
            "1 - a^2 and a (1 - a) are formulas in the output a",
            "give the formula the output",
        ),
    ),
    Row(
        "other_activation",
        "goes back through another activation than the forward pass's",
        "equation 11 is the derivative of the very phi that the forward pass applies",
        "use the derivative of the forward pass's activation",
        ("* (1 - a**2)", "* (z > 0)"),
        {Slope: d.of_another},
        cost=1.05,
        late=True,
        layer=(
            "The derivative must be that of the forward pass's activation",
            "use that one's derivative",
        ),
    ),
    Row(
        "leaky_slope",
        "has another slope left of 0 in the backward pass than in the forward pass",
        "equation 11 is the derivative of the very phi that the forward pass applies",
        "use the forward pass's slope (0 for ReLU) where z2 < 0",
        ("(z2 > 0)", "np.where(z2 > 0, 1, 0.01)"),
        {Slope: d.another_low_slope},
        cost=1.05,
        layer=(
            "The slope left of 0 must be that of the forward pass",
            "use the forward pass's slope",
        ),
    ),
    # -- the products
    Row(
        "pre_activation_used",
        "multiplies by the pre-activation z where the activation a belongs",
        "equation 7 has a2^T, and a2 = relu(z2)",
        "use the hidden layer's output",
        ("a2.T @ dz3", "z2.T @ dz3"),
        {W: d.w_from("z"), SCALE: d.scale_from("u")},
    ),
    Row(
        "own_output",
        "multiplies by the layer's own output where its input belongs",
        "the gradient dJ/dW is (inputs)^T dJ/dz (equations 6 and 12)",
        "use what the forward pass multiplied by W",
        ("a1.T @ dz2", "a2.T @ dz2"),
        {W: d.output_for_inputs, SCALE: d.scale_from("output")},
        layer=(
            "dw is x^T dout, with the layer's input x",
            "use what the forward pass multiplied by w",
        ),
    ),
    Row(
        "transpose",
        "leaves a transpose out, or has one too many",
        "the derivative dJ/da2 is dJ/dz3 W2^T, and dJ/dW is (inputs)^T dJ/dz (equations 6 and 12)",
        "check the shapes with N, D, H and C all different",
        ("dz3 @ W2.T", "dz3 @ W2"),
        {Affine: d.straight, W: d.transposed_products},
        layer=(
            "dx is dout w^T, and dw is x^T dout",
            "check the shapes with all dimensions different",
        ),
    ),
    Row(
        "upstream_lost",
        "does not multiply by the gradient that comes from above",
        "the chain rule: every step back multiplies what arrives by the step's own derivative",
        "multiply by the upstream gradient (dout)",
        ("da2 * (z2 > 0)", "1.0 * (z2 > 0)"),
        dict.fromkeys((Affine, Skip, Dropout, Slope, Norm), d.without_upstream),
        layer=(
            "Every step back multiplies dout by the step's own derivative",
            "multiply by dout",
        ),
    ),
    Row(
        "updated_weights",
        "goes back through weights that have been updated already",
        "the derivative dJ/da2 is dJ/dz3 W2^T with the W2 of the forward pass (equation 12)",
        "compute all gradients first, and update the weights then",
        ("da2 = dz3 @ W2.T", "da2 = dz3 @ (W2 - 0.1 * (a2.T @ dz3)).T"),
        {Affine: d.after_a_step},
        cost=1.1,
        layer=(
            "dx is dout w^T with the w of the forward pass",
            "compute dx first, and update w then",
        ),
    ),
    Row(
        "bias_in_product",
        "adds a bias in the backward pass",
        "a bias is added in the forward pass; its derivative by the inputs is 0",
        "remove the bias from the backward pass",
        ("da2 = dz3 @ W2.T", "da2 = dz3 @ W2.T + b1"),
        {Affine: d.with_a_bias, W: d.bias_in_w},
    ),
    Row(
        "bias_over_classes",
        "sums over the classes or units where it should sum over the examples",
        "equations 9 and 13 are sums over the examples, one for every unit",
        "use .sum(axis=0)",
        ("dz2.sum(axis=0)", "dz2.sum() + 0 * b1"),
        {B: d.sum_over_columns},
        layer=(
            "db is the sum of dout over the examples",
            "use .sum(axis=0)",
        ),
    ),
    Row(
        "bias_from_weights",
        "computes the bias's gradient from that of the weights",
        "equations 9 and 13 are sums of dJ/dz over the examples",
        "sum dJ/dz: dz.sum(axis=0)",
        ("dz2.sum(axis=0)", "(X.T @ dz2).sum(axis=0)"),
        {B: d.sum_of_w},
    ),
    # -- normalisation
    Row(
        "bn_scale_dropped",
        "goes back through the normalisation without its scale",
        "the derivative dJ/dn is dJ/dy * scale (Ioffe & Szegedy 2015, section 3)",
        "multiply by the scale before the other terms",
        ("dn = dz * gamma", "dn = dz"),
        {Norm: d.parts(lambda m: {"scaled": False})},
    ),
    Row(
        "bn_mean_term_dropped",
        "treats the normalisation's mean as a constant",
        "the mean depends on everything that it is of: - mean(dJ/dn) (Ioffe & Szegedy 2015, section 3)",
        "subtract the mean of dJ/dn",
        ("dn - dn.mean(axis=0)", "dn"),
        {Norm: d.parts(lambda m: {"mean": 0})},
    ),
    Row(
        "bn_variance_term_dropped",
        "treats the normalisation's variance as a constant",
        "the variance depends on everything that it is of: - n mean(dJ/dn * n) (Ioffe & Szegedy 2015, section 3)",
        "subtract n times the mean of dJ/dn * n",
        ("- n * (dn * n).mean(axis=0)", ""),
        {Norm: d.parts(lambda m: {"variance": 0})},
    ),
    Row(
        "bn_std_dropped",
        "goes back through the normalisation without dividing by the standard deviation",
        "the forward pass has n = (u - mean) / std: everything that goes back to u is divided by std",
        "divide by std = sqrt(var + eps)",
        ("n * (dn * n).mean(axis=0)) / std", "n * (dn * n).mean(axis=0))"),
        {Norm: d.parts(lambda m: {"divided": False})},
    ),
    Row(
        "bn_sum_for_mean",
        "sums where the normalisation's backward pass has a mean",
        "the two terms are means: - mean(dJ/dn) - n mean(dJ/dn * n) (Ioffe & Szegedy 2015, section 3)",
        "use .mean, or divide by the number of what is summed",
        ("dn - dn.mean(axis=0)", "dn - dn.sum(axis=0)"),
        {Norm: d.parts(lambda m: {"mean": m, "variance": m}, lambda m: {"mean": m}, lambda m: {"variance": m})},
    ),
    Row(
        "bn_ddof",
        "takes the unbiased variance, divided by N - 1, in the normalisation's backward pass",
        "the forward pass divides by the biased one, with N (numpy's default, ddof=0)",
        "use the standard deviation of the forward pass, and means over N",
        ("(dn * n).mean(axis=0)) / std", "(dn * n).mean(axis=0)) / np.sqrt(u.var(axis=0, ddof=1) + 1e-5)"),
        {
            Norm: d.parts(
                lambda m: {"ddof": 1},
                lambda m: {"variance": m / (m - 1)},
                lambda m: {"mean": m / (m - 1), "variance": m / (m - 1)},
                lambda m: {"ddof": 1, "variance": m / (m - 1)},
            )
        },
    ),
    Row(
        "bn_axis",
        "takes the normalisation's means over the wrong axis in the backward pass",
        "batch normalisation has means over the examples, layer normalisation over the features of each",
        "use the forward pass's axis",
        (
            "dn - dn.mean(axis=0) - n * (dn * n).mean(axis=0)",
            "dn - dn.mean(axis=1, keepdims=True) - n * (dn * n).mean(axis=1, keepdims=True)",
        ),
        {Norm: d.other_axis},
    ),
    Row(
        "bn_extra_term",
        "counts a term of the normalisation's backward pass another number of times than once",
        "the terms are d - mean(d) - n mean(d n), each once (Ioffe & Szegedy 2015, section 3)",
        "leave out what is there twice",
        ("dn - dn.mean(axis=0)", "dn - dn.mean(axis=0) - dn.mean(axis=0) / len(y)"),
        {Norm: d.terms_more},
        cost=1.15,
    ),
    # -- skips and dropout
    Row(
        "skip_missing",
        "leaves out the gradient that goes back over a skip connection",
        "the unit's output is added as it is to a later one: dJ/da has that one's gradient as a term",
        "add the gradient of the output that the skip connection ends in",
        ("da1 = dz2 @ W2.T + da2", "da1 = dz2 @ W2.T"),
        {Skip: d.no_skip},
    ),
    Row(
        "dropout_mask_missing",
        "goes back through dropout without its mask",
        "a unit that was dropped passes no gradient (Srivastava et al. 2014)",
        "multiply by the mask of the forward pass",
        ("* masks[0] / (1 - 0.5) * (z > 0)", "* (z > 0)"),
        {Dropout: d.no_mask, W: d.w_from("undropped")},
    ),
    Row(
        "dropout_scale_missing",
        "goes back through dropout with the mask, but without 1 / (1 - rate)",
        "inverted dropout multiplies by mask / (1 - rate) in both directions",
        "divide by (1 - rate) as in the forward pass",
        ("* masks[0] / (1 - 0.5) * (z > 0)", "* masks[0] * (z > 0)"),
        {Dropout: d.mask_of_ones},
    ),
    Row(
        "fresh_mask",
        "draws a new dropout mask in the backward pass",
        "the gradient goes back through the units that the forward pass kept (Srivastava et al. 2014)",
        "keep the forward pass's mask, and use that",
        ("* masks[0] / (1 - 0.5) * (z > 0)", "* (np.random.rand(*z.shape) < 0.5) / (1 - 0.5) * (z > 0)"),
        cost=1.2,
    ),
    # -- how the candidate behaves
    Row(
        "softmax_unstable",
        "overflows for large scores, because exp is taken of them as they are",
        "the softmax does not change if the largest score of each row is subtracted first",
        "scores -= scores.max(axis=1, keepdims=True) before np.exp",
        ("scores = scores - scores.max(axis=1, keepdims=True)", "pass"),
        remark=True,
        cost=0.5,
    ),
    Row(
        "loss_mismatch",
        "returns a loss that is not J~",
        "J~ is the mean cross-entropy + lambda (||W1||^2 + ||W2||^2), biases not penalised",
        "compare the returned loss with J~ term by term",
        (".mean() +", ".sum() +"),
    ),
    Row(
        "mutates_input",
        "changes its arguments in place",
        "a gradient is a function of parameters and data: computing it must leave them as they were",
        "work on a copy, or replace -=, *= and item assignment by expressions that make a new array",
        ("N = X.shape[0]", "N = X.shape[0]; X -= X.mean(axis=0)"),
    ),
    Row(
        "state_between_calls",
        "gives another answer to the same question when it is asked again",
        "a gradient is a function of parameters and data, and of nothing that was computed before",
        "set to 0 what is added up (grad = ..., not grad += ...), and keep nothing from one call to the next",
        ("dz3 = dz3 / N", "TwoLayerNet.n = getattr(TwoLayerNet, 'n', 0) + 1; dz3 = dz3 / N * TwoLayerNet.n"),
    ),
    Row(
        "non_finite",
        "gives NaN or infinity where the gradient is an ordinary number",
        "every term of the equations is finite there",
        "look for a division by 0, such as 0/0 where a unit is dead or a pre-activation is exactly 0",
        ("(z2 > 0)", "(1 + z2 / abs(z2)) / 2"),
        layer=(
            "The true gradient is finite there",
            "look for a division by 0, or an exp that overflows",
        ),
    ),
    Row(
        "wrong_shape",
        "gives another shape than the parameter's, or nothing",
        "a gradient has one number per parameter, in the parameter's own shape",
        "compare grads[name].shape with params[name].shape",
        ("dz2.sum(axis=0)", "dz2.sum(axis=0)[:-1]"),
        layer=(
            "A gradient has the shape of what it is the gradient of",
            "compare the shapes",
        ),
    ),
    # -- what a loss or a network is, where the gradient is right for it
    Row(
        "half_penalty",
        "has the penalty lambda/2 ||W||^2, in the loss and in the gradient",
        "the report's J~ has lambda ||W||^2; lambda/2 is a convention, not a mistake",
        "leave it if it is meant, or 2 * reg where the report's lambda is meant",
        ("N = X.shape[0]", "N = X.shape[0]; reg = reg / 2"),
        remark=True,
        cost=0.5,
    ),
    Row(
        "penalty_over_n",
        "divides the penalty by the number of examples, in the loss and in the gradient",
        "the report's J~ has lambda ||W||^2, whatever N is; lambda/N is another convention",
        "leave it if it is meant, or leave N out of the penalty's terms",
        ("N = X.shape[0]", "N = X.shape[0]; reg = reg / N"),
        remark=True,
        cost=0.5,
    ),
    Row(
        "biases_penalised",
        "penalises the biases too, in the loss and in the gradient",
        "the penalty of J~ is of the weights alone",
        "leave it if it is meant, or leave the biases out of the penalty",
        (
            "return loss, grads",
            "bias = {'b1': b1, 'b2': b2}; return loss + reg * sum(np.sum(b**2) for b in bias.values()), "
            "{n: g + 2 * reg * bias.get(n, 0) for n, g in grads.items()}",
        ),
        remark=True,
        cost=0.5,
    ),
    Row(
        "other_penalty",
        "has a penalty that is not lambda ||W||^2, in the loss and in the gradient",
        "the penalty of J~ is lambda (||W1||^2 + ||W2||^2)",
        "leave it if it is meant, or change loss and gradient together",
        ("N = X.shape[0]", "N = X.shape[0]; reg = 3 * reg"),
        remark=True,
        cost=0.5,
    ),
    Row(
        "no_penalty",
        "has no penalty, in the loss or in the gradient",
        "J~ ends in + lambda (||W1||^2 + ||W2||^2); without it, J is left",
        "leave it if it is meant, or add reg * ||W||^2 to the loss and 2 * reg * W to the gradient",
        ("N = X.shape[0]", "N = X.shape[0]; reg = 0"),
        remark=True,
        cost=0.5,
    ),
    Row(
        "other_loss",
        "computes another loss than the mean cross-entropy of softmax",
        "J is the mean cross-entropy of softmax; the gradient was judged by the loss that is returned",
        "leave it if it is meant, or change loss and gradient together",
        (
            "return loss, grads",
            "return 3 * loss - 2 * reg * (np.sum(W1**2) + np.sum(W2**2)), "
            "{n: 3 * g - 4 * reg * self.params[n] * (g.ndim == 2) for n, g in grads.items()}",
        ),
        remark=True,
        cost=0.5,
    ),
    Row(
        "other_network",
        "computes another network than the one that was asked for",
        "the gradient was judged by the network that the losses belong to",
        "name that network by the options if it is meant, or change both passes",
        ("a, slope = np.tanh(z), 1 - np.tanh(z) ** 2", "a, slope = z, 1.0"),
        remark=True,
        cost=0.5,
    ),
    Row(
        "bn_eps",
        "adds another eps to the variance, or adds it elsewhere, than was asked for",
        "normalisation divides by sqrt(var + eps), with eps = 1e-5 unless --bn_eps says another",
        "leave it if it is meant, or use that eps, under the root",
        ("u.var(axis=0) + 1e-5", "u.var(axis=0) + 1e-3"),
        remark=True,
        cost=0.5,
    ),
    Row(
        "bias_shape",
        "gives a bias's gradient as a row or a column",
        "the numbers are right, and numpy stretches them in an update; the parameter itself has one axis",
        "leave keepdims=True out",
        ("dz2.sum(axis=0)", "dz2.sum(axis=0, keepdims=True)"),
        remark=True,
        cost=0.5,
    ),
    Row(
        "unknown",
        "deviates from the equation in a way that is not on the list of known mistakes",
        "the table shows the worst element, its value and what it should be",
        "compute that one element by hand",
        ("da2 * (z2 > 0)", "np.tanh(da2) * (z2 > 0)"),
    ),
)
# of a single layer alone (`layers`); what is computed instead is in `layer_ops.WAYS`
LAYER_ROWS: tuple[Row, ...] = (
    Row(
        "forward_mismatch",
        "gives another output than the operation that the layer is named after",
        "the gradient is held against the operation, or against this forward pass if it belongs to that",
        "compare the forward pass with the formula, first of all",
        ("x @ w + b", "x @ w"),
    ),
    Row(
        "test_mode",
        "goes back through test mode in another way than the forward pass goes there",
        "in test mode dropout hands everything on, and batch normalisation's mean and variance are constants",
        "ask for the mode in the backward pass as in the forward pass",
        ("dx = dout", "dx = dout * mask"),
    ),
    Row(
        "svm_margin",
        "compares the scores without the margin of 1 in the backward pass",
        "a class counts where s_j - s_y + 1 > 0, in the loss and in the gradient",
        "compute the mask from the margins of the loss",
        ("(margins > 0)", "(x > x[np.arange(N), y][:, None])"),
    ),
    Row(
        "svm_true_class",
        "gives the score of the true class another gradient than minus the number of violated margins",
        "the score s_y is subtracted in every margin: its derivative is minus the number of margins above 0",
        "subtract the sum of the mask over the classes at the true class",
        ("dx[np.arange(N), y] -= (margins > 0).sum(axis=1)", "dx[np.arange(N), y] -= 1"),
    ),
    Row(
        "svm_mask",
        "gives a gradient to classes whose margin is not above 0, or multiplies by the margin itself",
        "the derivative of max(0, margin) is 1 where the margin is above 0 and else 0",
        "use the mask (margins > 0)",
        ("dx = (margins > 0) * 1.0", "dx = np.ones_like(x)"),
    ),
    Row(
        "window_stride",
        "places the windows in the backward pass without the stride",
        "the window of output (i, j) starts at row i stride and column j stride",
        "multiply i and j by the stride, as in the forward pass",
        ("x[:, :, i * s : i * s + h]", "x[:, :, i : i + h]"),
    ),
    Row(
        "window_pad",
        "leaves the padding out of the backward pass",
        "the windows lie in the padded input, and the gradient of x is its inner part",
        "pad x as in the forward pass, and cut the padding off the gradient at the end: dx[:, :, p:-p, p:-p]",
        ("dx[:, :, p:-p, p:-p]", "dx[:, :, :H, :W]"),
    ),
    Row(
        "window_overwritten",
        "overwrites where windows overlap, or where outputs share weights",
        "every output of which a number is a part adds to that number's gradient",
        "use += in place of =",
        ("dx[window] += ", "dx[window] = "),
    ),
    Row(
        "kernel_flipped",
        "goes back through the kernel turned by 180 degrees",
        "the input at a place of a window has been multiplied by the kernel's number at that same place",
        "use w as in the forward pass: only a full convolution of dout needs the turned kernel",
        ("w[f]", "w[f, :, ::-1, ::-1]"),
    ),
    Row(
        "pool_everywhere",
        "sends the gradient to every input of a window",
        "the maximum depends on the largest input alone",
        "multiply by the mask (window == window.max())",
        ("(window == window.max()) * dout", "dout"),
    ),
    Row(
        "pool_ties",
        "sends the whole gradient to each of several equal maxima",
        "where inputs are equal the derivative is a convention; most libraries choose the first",
        "leave it if inputs are never equal, or use the place of np.argmax",
        ("np.argmax(window)", "window == window.max()"),
        remark=True,
    ),
)
MISTAKES: dict[str, Row] = {row.code: row for row in (*ROWS, *LAYER_ROWS)}
CODES = tuple(MISTAKES)
