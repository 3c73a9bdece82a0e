"""The benchmark's peer on scikit-learn trains MLPClassifiers, one network after the other."""

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier

from mlp_jax.benchmark.start import Cannot, Net, Sequential, Start, minibatches

VERSION = f"scikit-learn {sklearn.__version__}"
AT_ONCE = 20
"""Each call has so many minibatches, since its checks of the data cost as much as a step."""


def make(contender: str, start: Start) -> Sequential:
    """Makes the networks of a workload. Raises Cannot for what scikit-learn does not have."""
    if start.half:
        raise Cannot("has no bfloat16")
    if any(net.model["norm"] != "none" or net.slope for net in start.nets):
        raise Cannot("has neither batch normalisation nor LeakyReLU")
    if any(net.train["optimizer"] == "adam" for net in start.nets):
        raise Cannot("adds Adam's epsilon before its bias correction, which is other work")
    return Sequential(start, lambda net: Classifier(net, start.x, start.y))


class Classifier:
    """This is one network; scikit-learn's alpha is 2 lambda B, so that its penalty is lambda ||w||^2."""

    def __init__(self, net: Net, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y, self.batches = x, y, minibatches(net, len(y))
        batch = net.train["batch_size"]
        self.model = MLPClassifier(
            net.model["hidden"], solver="sgd", alpha=2 * net.train["l2"] * batch, shuffle=False, batch_size=batch,
            learning_rate_init=net.train["learning_rate"], momentum=0.0, nesterovs_momentum=False,
        )  # fmt: skip
        # it draws its own parameters at its first step: they are replaced, and its optimiser forgets that step
        self.model.partial_fit(x[:batch], y[:batch], classes=np.arange(net.model["classes"]))
        given = (*net.start[::2], *net.start[1::2])
        for mine, first in zip((*self.model.coefs_, *self.model.intercepts_), given, strict=True):
            mine[...] = first
        del self.model._optimizer

    def losses(self, steps: int) -> list[float]:
        """Gives J~ before each of so many steps."""
        for _ in range(steps):
            self.train(1)
        return list(self.model.loss_curve_[-steps:])

    def train(self, steps: int) -> None:
        """Takes so many steps."""
        while steps > 0:
            chunk = [next(self.batches) for _ in range(min(steps, AT_ONCE))]
            index = np.concatenate(chunk)
            self.model.partial_fit(self.x[index], self.y[index])
            steps -= len(chunk)
