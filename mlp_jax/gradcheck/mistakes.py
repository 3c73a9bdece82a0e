"""The mistakes that a check can name: a stable code each, and a sentence for a student.

Symbols and equation numbers are the report's (see `equations.py`): z2 = a1 w1 + b1, a2 = relu(z2),
z3 = a2 w2 + b2, psi = softmax(z3), Delta = one-hot label, N examples.
"""

from typing import NamedTuple


class Explanation(NamedTuple):
    """For a student: what the code does, what the equation says, and how to mend it; `remark`: not a failure."""

    does: str
    says: str
    mend: str
    remark: bool = False


MISTAKES: dict[str, Explanation] = {
    "batch_mean_missing": Explanation(
        "sums over the examples of the batch without dividing by N",
        "J is a mean over the batch: equation 4 has the factor 1/N",
        "divide dJ/dz3 by N = X.shape[0], once",
    ),
    "batch_mean_twice": Explanation(
        "divides by N twice",
        "equation 4 has the factor 1/N once, and everything below inherits it",
        "remove one of the two divisions",
    ),
    "sign": Explanation(
        "gives the opposite sign",
        "equation 4 is psi - Delta, not Delta - psi, and the penalty's part is + 2 lambda W",
        "flip the sign",
    ),
    "l2_factor": Explanation(
        "adds the penalty term with another factor than 2 lambda",
        "the derivative of lambda ||W||^2 is 2 lambda W (equations 7 and 12)",
        "add 2 * reg * W, once, and not divided by N",
    ),
    "l2_ignored": Explanation(
        "leaves the penalty out",
        "equations 7 and 12 end in + 2 lambda W",
        "add 2 * reg * W",
    ),
    "l2_constant": Explanation(
        "adds a penalty term that does not depend on lambda",
        "equations 7 and 12 have 2 lambda W, with the lambda that is given",
        "replace the number by the argument reg",
    ),
    "l2_on_bias": Explanation(
        "penalises a bias (or a normalisation's scale or shift)",
        "the penalty is lambda (||W1||^2 + ||W2||^2): equations 9 and 13 have no lambda",
        "remove the penalty term from this leaf",
    ),
    "one_hot_missing": Explanation(
        "uses psi alone as the derivative of the scores",
        "equation 4 is (psi - Delta) / N, with Delta 1 at the true class",
        "subtract 1 at the true class: probs[np.arange(N), y] -= 1",
    ),
    "mask_missing": Explanation(
        "does not multiply by the activation's derivative",
        "equation 11: phi'(z2) is 1 where z2 > 0 and else 0, and equations 12 and 13 multiply by it",
        "multiply by (z2 > 0)",
    ),
    "mask_without_bias": Explanation(
        "takes the activation's derivative at x w, without the bias",
        "equation 11 is taken at z2 = a1 w1 + b1",
        "compute the mask from the same z2 as the forward pass",
    ),
    "mask_wrong_tensor": Explanation(
        "takes the activation's derivative at another tensor than this layer's pre-activation",
        "equation 11 is 1 where z2 > 0, whatever the gradient or the other layers are",
        "compute the mask from this layer's z2",
    ),
    "mask_at_zero": Explanation(
        "takes another derivative of the activation at exactly 0",
        "equation 11 leaves z2 = 0 open; jax.nn.relu and the report's scripts use 0",
        "nothing to mend: at a kink the derivative is a convention",
        remark=True,
    ),
    "pre_activation_used": Explanation(
        "multiplies by the pre-activation z where the activation a belongs",
        "equation 7 has a2^T, and a2 = relu(z2)",
        "use the hidden layer's output",
    ),
    "transpose": Explanation(
        "leaves a transpose out, or has one too many",
        "dJ/da2 is dJ/dz3 W2^T, and dJ/dW is (inputs)^T dJ/dz (equations 6 and 12)",
        "check the shapes with N, D, H and C all different",
    ),
    "bias_mean": Explanation(
        "averages over the batch where it should sum",
        "equations 9 and 13 are sums over the examples: 1/N is in dJ/dz already",
        "use .sum(axis=0) in place of .mean(axis=0)",
    ),
    "softmax_unstable": Explanation(
        "overflows for large scores, because exp is taken of them as they are",
        "psi does not change if the largest score of each row is subtracted first",
        "scores -= scores.max(axis=1, keepdims=True) before np.exp",
        remark=True,
    ),
    "bn_scale_dropped": Explanation(
        "goes back through batch normalisation without its scale",
        "dJ/dn = dJ/dy * scale (Ioffe & Szegedy 2015, section 3)",
        "multiply by the scale before the other terms",
    ),
    "bn_mean_term_dropped": Explanation(
        "treats the batch's mean as a constant",
        "the mean depends on every example: - mean(dJ/dn) (Ioffe & Szegedy 2015, section 3)",
        "subtract the batch mean of dJ/dn",
    ),
    "bn_variance_term_dropped": Explanation(
        "treats the batch's variance as a constant",
        "the variance depends on every example: - n mean(dJ/dn * n) (Ioffe & Szegedy 2015, section 3)",
        "subtract n times the batch mean of dJ/dn * n",
    ),
    "dropout_mask_missing": Explanation(
        "goes back through dropout without its mask",
        "a unit that was dropped passes no gradient (Srivastava et al. 2014)",
        "multiply by the mask of the forward pass",
    ),
    "dropout_scale_missing": Explanation(
        "goes back through dropout with the mask, but without 1 / (1 - rate)",
        "inverted dropout multiplies by mask / (1 - rate) in both directions",
        "divide by (1 - rate) as in the forward pass",
    ),
    "loss_mismatch": Explanation(
        "returns a loss that is not J~",
        "J~ is the mean cross-entropy + lambda (||W1||^2 + ||W2||^2), biases not penalised",
        "compare the returned loss with J~ term by term",
    ),
    "mutates_input": Explanation(
        "changes its arguments in place",
        "a gradient is a function of parameters and data: computing it must leave them as they were",
        "work on a copy, or replace -=, *= and item assignment by expressions that make a new array",
    ),
    "non_finite": Explanation(
        "gives NaN or infinity where the gradient is an ordinary number",
        "every term of the equations is finite there",
        "look for a division by 0, such as 0/0 where a unit is dead or a pre-activation is exactly 0",
    ),
    "wrong_shape": Explanation(
        "gives another shape than the parameter's, or nothing",
        "a gradient has one number per parameter, in the parameter's own shape",
        "compare grads[name].shape with params[name].shape",
    ),
    "unknown": Explanation(
        "deviates from the equation in a way that is not on the list of known mistakes",
        "the table shows the worst element, its value and what it should be",
        "compute that one element by hand",
    ),
}
CODES = tuple(MISTAKES)
