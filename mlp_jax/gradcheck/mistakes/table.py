"""The mistakes that a check can name: one table, a row for each, and all that is known of a mistake in its row.

Symbols and equation numbers are the report's (see `equations.py`): z2 = a1 w1 + b1, a2 = relu(z2),
z3 = a2 w2 + b2, psi = softmax(z3), Delta = one-hot label, N examples. The rows of one kind of operation are in
`of_steps`, those of single layers in `of_layers`.
"""

from mlp_jax.gradcheck.mistakes import deviations as d
from mlp_jax.gradcheck.mistakes.layer_ops import Conv
from mlp_jax.gradcheck.mistakes.of_layers import LAYER_ROWS
from mlp_jax.gradcheck.mistakes.of_steps import STEPS
from mlp_jax.gradcheck.mistakes.ops import Norm
from mlp_jax.gradcheck.mistakes.row import Row, leaf

__all__ = ["CODES", "LAYER_ROWS", "MISTAKES", "ROWS", "Row"]

# fmt: off
SIZES: tuple[Row, ...] = (
    # -- factors, told by how large a leaf's part from the data is
    Row("batch_mean_missing", "sums over the examples of the batch without dividing by N",
        "J is a mean over the batch: equation 4 has the factor 1/N", "divide dJ/dz3 by N = X.shape[0], once",
        ("dz3 = dz3 / N", "pass"),
        layer=("The loss is a mean over the examples", "divide by N, the number of examples, once")),
    Row("batch_mean_twice", "divides by N once too often",
        "equation 4 has the factor 1/N once, and everything below inherits it", "remove one of the two divisions",
        ("a2.T @ dz3", "a2.T @ dz3 / N"),
        layer=("A layer's backward pass sums over the examples: the 1/N of the mean loss is in dout already",
               "remove the division by N")),
    Row("mean_over_other", "divides by another number than that of the examples",
        "J is a mean over the batch: equation 4 has the factor 1/N, and N is the number of rows of X",
        "divide dJ/dz3 by N = X.shape[0], once, and by nothing else", ("dz3 = dz3 / N", "dz3 = dz3 / X.shape[1]"),
        cost=1.05, layer=("No such division is in the chain rule", "remove it")),
    Row("constant_factor", "multiplies by a number that does not belong there",
        "no equation has a factor beside 1/N in front of what comes from the data", "remove the factor",
        ("a2.T @ dz3", "2 * a2.T @ dz3"), cost=1.2,
        layer=("The derivative of sum(output * dout) has no such factor", "remove the factor")),
    Row("sign", "gives the opposite sign",
        "equation 4 is psi - Delta, not Delta - psi, and the penalty's part is + 2 lambda W", "flip the sign",
        ("dz3 = dz3 / N", "dz3 = -dz3 / N"),
        layer=("The gradient is the derivative of sum(output * dout), not its negative", "flip the sign")),
    Row("bias_mean", "averages over the batch where it should sum",
        "equations 9 and 13 are sums over the examples: 1/N is in dJ/dz already",
        "use .sum(axis=0) in place of .mean(axis=0)", ("dz2.sum(axis=0)", "dz2.mean(axis=0)"),
        layer=("A layer's backward pass sums over the examples: the 1/N of the mean loss is in dout already",
               "use .sum(axis=0) in place of .mean(axis=0)"), instead={
            (Conv, "b"): leaf(
                lambda op, g: g.mean(axis=(0, 2, 3)), lambda op, g: g.mean(axis=(2, 3)).sum(axis=0)
            )
        }),
    # -- the penalty
    Row("l2_factor", "adds the penalty term with another factor than the penalty's derivative has",
        "the derivative of c ||W||^2 is 2 c W: 2 lambda W in equations 7 and 12",
        "add 2 * reg * W, once, and not divided by N", ("+ 2 * reg * W2", "+ reg * W2")),
    Row("l2_ignored", "leaves the penalty out", "equations 7 and 12 end in + 2 lambda W", "add 2 * reg * W",
        ("+ 2 * reg * W1", ""),
        layer=("A penalty's derivative is 2 * l2 * w for l2 ||w||^2, and l1 * sign(w) for l1 |w|",
               "add the one that is missing")),
    Row("l2_constant", "adds a penalty term that does not depend on lambda",
        "equations 7 and 12 have 2 lambda W, with the lambda that is given",
        "replace the number by the argument reg", ("+ 2 * reg * W2", "+ 2 * 0.05 * W2")),
    Row("l2_on_bias", "penalises a bias (or a normalisation's scale or shift)",
        "the penalty is lambda (||W1||^2 + ||W2||^2): equations 9 and 13 have no lambda",
        "remove the penalty term from this leaf", ("dz3.sum(axis=0)", "dz3.sum(axis=0) + 2 * reg * b2")),
    Row("penalty_value", "adds the penalty itself, one number, in place of its derivative",
        "the derivative of lambda ||W||^2 is 2 lambda W, a matrix (equations 7 and 12)",
        "add 2 * reg * W, not reg * np.sum(W**2)", ("+ 2 * reg * W2", "+ reg * np.sum(W2**2)")),
)
ANSWERS: tuple[Row, ...] = (
    # -- how the candidate behaves
    Row("softmax_unstable", "overflows for large scores, because exp is taken of them as they are",
        "the softmax does not change if the largest score of each row is subtracted first; the log of a sigmoid "
        "is -log(1 + exp(-z))",
        "scores -= scores.max(axis=1, keepdims=True) before np.exp, or -np.logaddexp(0, -z) for a sigmoid's log",
        ("scores = scores - scores.max(axis=1, keepdims=True)", "pass"), remark=True, cost=0.5),
    Row("loss_mismatch", "returns a loss that is not J~",
        "J~ is the mean cross-entropy + lambda (||W1||^2 + ||W2||^2), biases not penalised",
        "compare the returned loss with J~ term by term", (".mean() +", ".sum() +")),
    Row("mutates_input", "changes its arguments in place",
        "a gradient is a function of parameters and data: computing it must leave them as they were",
        "work on a copy, or replace -=, *= and item assignment by expressions that make a new array",
        ("N = X.shape[0]", "N = X.shape[0]; X -= X.mean(axis=0)")),
    Row("state_between_calls", "gives another answer to the same question when it is asked again",
        "a gradient is a function of parameters and data, and of nothing that was computed before",
        "set to 0 what is added up (grad = ..., not grad += ...), and keep nothing from one call to the next",
        ("dz3 = dz3 / N", "TwoLayerNet.n = getattr(TwoLayerNet, 'n', 0) + 1; dz3 = dz3 / N * TwoLayerNet.n")),
    Row("non_finite", "gives NaN or infinity where the gradient is an ordinary number",
        "every term of the equations is finite there",
        "look for a division by 0, such as 0/0 where a unit is dead or a pre-activation is exactly 0",
        ("(z2 > 0)", "(1 + z2 / abs(z2)) / 2"),
        layer=("The true gradient is finite there", "look for a division by 0, or an exp that overflows")),
    Row("wrong_shape", "gives another shape than the parameter's, or nothing",
        "a gradient has one number per parameter, in the parameter's own shape",
        "compare grads[name].shape with params[name].shape", ("dz2.sum(axis=0)", "dz2.sum(axis=0)[:-1]"),
        layer=("A gradient has the shape of what it is the gradient of", "compare the shapes")),
    # -- what a loss or a network is, where the gradient is right for it
    Row("half_penalty", "has the penalty lambda/2 ||W||^2, in the loss and in the gradient",
        "the report's J~ has lambda ||W||^2; lambda/2 is a convention, not a mistake",
        "leave it if it is meant, or 2 * reg where the report's lambda is meant",
        ("N = X.shape[0]", "N = X.shape[0]; reg = reg / 2"), remark=True, cost=0.5),
    Row("penalty_over_n", "divides the penalty by the number of examples, in the loss and in the gradient",
        "the report's J~ has lambda ||W||^2, whatever N is; lambda/N is another convention",
        "leave it if it is meant, or leave N out of the penalty's terms",
        ("N = X.shape[0]", "N = X.shape[0]; reg = reg / N"), remark=True, cost=0.5),
    Row("biases_penalised", "penalises the biases too, in the loss",
        "the penalty of J~ is of the weights alone",
        "leave it if it is meant, or leave the biases out of the penalty",
        ("return loss, grads",
         "bias = {'b1': b1, 'b2': b2}; return loss + reg * sum(np.sum(b**2) for b in bias.values()), "
         "{n: g + 2 * reg * bias.get(n, 0) for n, g in grads.items()}"), remark=True, cost=0.5),
    Row("other_penalty", "has a penalty that is not lambda ||W||^2, in the loss and in the gradient",
        "the penalty of J~ is lambda (||W1||^2 + ||W2||^2)",
        "leave it if it is meant, or change loss and gradient together",
        ("N = X.shape[0]", "N = X.shape[0]; reg = 3 * reg"), remark=True, cost=0.5),
    Row("no_penalty", "has no penalty, in the loss or in the gradient",
        "J~ ends in + lambda (||W1||^2 + ||W2||^2); without it, J is left",
        "leave it if it is meant, or add reg * ||W||^2 to the loss and 2 * reg * W to the gradient",
        ("N = X.shape[0]", "N = X.shape[0]; reg = 0"), remark=True, cost=0.5),
    Row("other_loss", "computes another loss than the mean cross-entropy of softmax",
        "J is the mean cross-entropy of softmax; the gradient was judged by that other loss",
        "leave it if it is meant, or change loss and gradient together",
        ("return loss, grads",
         "return 3 * loss - 2 * reg * (np.sum(W1**2) + np.sum(W2**2)), {n: 3 * g - 4 * reg * "
         "self.params[n] * (g.ndim == 2) for n, g in grads.items()}"), remark=True, cost=0.5),
    Row("other_network", "computes another network than the one that was asked for",
        "the gradient was judged by that other network",
        "name that network by the options if it is meant, or change both passes",
        ("a, slope = np.tanh(z), 1 - np.tanh(z) ** 2", "a, slope = z, 1.0"), remark=True, cost=0.5),
    Row("bn_eps", "adds another eps to the variance, or adds it elsewhere, than was asked for",
        "normalisation divides by sqrt(var + eps), with eps = 1e-5 unless --bn_eps says another",
        "leave it if it is meant, or use that eps, under the root",
        ("u.var(axis=0) + 1e-5", "u.var(axis=0) + 1e-3"), remark=True, cost=0.5, in_layers={Norm: d.other_eps},
        layer=("normalisation divides by sqrt(var + eps), with eps = 1e-5 in most courses",
               "leave it if it is meant, or use 1e-5, under the root")),
    Row("bias_shape", "gives a bias's gradient as a row or a column",
        "the numbers are right, and numpy stretches them in an update; the parameter itself has one axis",
        "leave keepdims=True out", ("dz2.sum(axis=0)", "dz2.sum(axis=0, keepdims=True)"), remark=True, cost=0.5),
    Row("fails", "stops in some of the cases, and is right in the others",
        "a gradient is defined for every batch, also for one that lacks a class",
        "mend that line: the number of classes is that of the scores, not what the labels have, say",
        ("N = X.shape[0]", "N = X.shape[0]; X[1]")),
    Row("unknown", "deviates from the equation in a way that is not on the list of known mistakes",
        "the table shows the worst element, its value and what it should be", "compute that one element by hand",
        ("da2 * (z2 > 0)", "np.tanh(da2) * (z2 > 0)")),
)
# fmt: on

ROWS = (*SIZES, *STEPS, *ANSWERS)
MISTAKES: dict[str, Row] = {row.code: row for row in (*ROWS, *LAYER_ROWS)}
CODES = tuple(MISTAKES)
