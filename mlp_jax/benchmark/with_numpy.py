"""The benchmark's peers on NumPy: the report's equations in place, and scikit-learn's MLPClassifier."""

import time
from typing import Any

import numpy as np

from mlp_jax.benchmark.start import Net, Start, minibatches

VERSION = f"numpy {np.__version__}"
EPS, MOMENTUM = 1e-5, 0.1  # of batch normalisation
B1, B2, ADAM_EPS = 0.9, 0.999, 1e-8


class Network:
    """One network in float32: products and updates go to arrays that are made once."""

    def __init__(self, net: Net) -> None:
        self.l2: float = 2 * net.train["l2"]
        self.rate: float = net.train["learning_rate"]
        self.slope = {"relu": 0.0, "leaky_relu": 0.1}[net.model["activation"]]
        self.params = [leaf.copy() for leaf in net.start]
        self.layers = [self.params[where] for where in net.layers]
        self.grads = [np.empty_like(leaf) for leaf in self.params]
        self.layer_grads = [self.grads[where] for where in net.layers]
        self.running = [[np.zeros_like(b), np.ones_like(b)] for _, b, *_ in self.layers]
        self.adam = net.train["optimizer"] == "adam"
        self.moments = [[np.zeros_like(leaf) for leaf in self.params] for _ in range(2)] if self.adam else []
        self.scratch = [np.empty_like(leaf) for leaf in self.params]
        self.steps = 0

    def penalty(self) -> float:
        """Of J~; not needed to train."""
        return self.l2 / 2 * sum(float(np.vdot(w, w)) for w, *_ in self.layers)

    def step(self, x: np.ndarray, y: np.ndarray) -> float:
        """One update; the loss before it, without the penalty."""
        loss = self.gradients(x, y)
        self.steps += 1
        self._adam() if self.adam else self._sgd()
        return loss

    def gradients(self, x: np.ndarray, y: np.ndarray) -> float:
        """Forward and backward (equations 1 to 13, and for depth the same again); the loss without the penalty."""
        trace, a = [], x
        for number, (w, b, *norm) in enumerate(self.layers[:-1]):
            z = a @ w
            z += b
            activated = np.maximum(z, self.slope * z if self.slope else 0)
            normal = self._normalize(activated, number) if norm else None
            trace.append((a, z, normal))
            a = activated
            if normal is not None:
                a = normal[0] * norm[0]
                a += norm[1]
        w, b = self.layers[-1]
        delta = a @ w
        delta += b
        delta -= delta.max(axis=1, keepdims=True)
        rows = np.arange(len(y))
        true = delta[rows, y]
        np.exp(delta, out=delta)
        total = delta.sum(axis=1, keepdims=True)
        loss = float((np.log(total[:, 0]) - true).mean())
        delta /= total
        delta[rows, y] -= 1
        delta /= np.float32(len(y))
        self._layer(-1, a, delta)
        for number in range(len(trace) - 1, -1, -1):
            a, z, normal = trace[number]
            delta = delta @ self.layers[number + 1][0].T
            if normal is not None:
                delta = self._back_through_norm(delta, normal, number)
            if self.slope:
                delta *= np.where(z > 0, np.float32(1), np.float32(self.slope))
            else:
                delta *= z > 0
            self._layer(number, a, delta)
        return loss

    def _layer(self, number: int, a: np.ndarray, delta: np.ndarray) -> None:
        w_grad, b_grad = self.layer_grads[number][:2]
        np.matmul(a.T, delta, out=w_grad)
        delta.sum(axis=0, out=b_grad)

    def _normalize(self, u: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        mean = u.mean(axis=0)
        n = u - mean
        var = np.einsum("bh,bh->h", n, n) / np.float32(len(u))
        inverse = 1 / np.sqrt(var + np.float32(EPS))
        n *= inverse
        unbiased = var * np.float32(len(u) / (len(u) - 1))
        for running, new in zip(self.running[number], (mean, unbiased), strict=True):
            running += np.float32(MOMENTUM) * (new - running)
        return n, inverse

    def _back_through_norm(
        self, delta: np.ndarray, normal: tuple[np.ndarray, np.ndarray], number: int
    ) -> np.ndarray:
        n, inverse = normal
        scale, (scale_grad, shift_grad) = self.layers[number][2], self.layer_grads[number][2:]
        np.einsum("bh,bh->h", delta, n, out=scale_grad)
        delta.sum(axis=0, out=shift_grad)
        # d - mean(d) - n mean(d n) with d = delta scale: both means are the sums above, times scale / B
        share = np.float32(1 / len(delta))
        delta -= shift_grad * share
        delta -= n * (scale_grad * share)
        delta *= scale * inverse
        return delta

    def _decay(self) -> None:
        """Equations 7 and 12: + 2 lambda w, of weights only."""
        for (w, *_), (w_grad, *_) in zip(self.layers, self.layer_grads, strict=True):
            w_grad += np.float32(self.l2) * w

    def _sgd(self) -> None:
        rate = np.float32(self.rate)
        if self.l2:
            for w, *_ in self.layers:
                w *= np.float32(1 - self.rate * self.l2)
        for leaf, grad in zip(self.params, self.grads, strict=True):
            grad *= rate
            leaf -= grad

    def _adam(self) -> None:
        if self.l2:
            self._decay()
        rate = np.float32(self.rate / (1 - B1**self.steps))
        root = np.float32((1 - B2**self.steps) ** -0.5)
        for leaf, grad, m, v, s in zip(self.params, self.grads, *self.moments, self.scratch, strict=True):
            np.multiply(grad, np.float32(1 - B1), out=s)
            m *= np.float32(B1)
            m += s
            grad *= grad
            grad *= np.float32(1 - B2)
            v *= np.float32(B2)
            v += grad
            np.sqrt(v, out=s)
            s *= root
            s += np.float32(ADAM_EPS)
            np.divide(m, s, out=s)
            s *= rate
            leaf -= s


class Sequential:
    """Networks of a workload one after the other: one of each shape is timed, and stands for all of its shape."""

    def __init__(self, start: Start) -> None:
        self.x, self.y = start.x, start.y
        self.shapes = start.shapes
        self.nets = {numbers[0]: start.nets[numbers[0]] for numbers in start.shapes}
        self.batches = {number: minibatches(net, len(self.y)) for number, net in self.nets.items()}

    def steps(self, number: int, count: int) -> None:
        """Trains one network."""
        raise NotImplementedError

    def train(self, steps: int) -> float:
        """Seconds for so many steps of every network, from one network of each shape."""
        total = 0.0
        for numbers in self.shapes:
            begun = time.perf_counter()
            self.steps(numbers[0], steps)
            total += len(numbers) * (time.perf_counter() - begun)
        return total


class Contender(Sequential):
    """NumPy as a careful student would write it."""

    def __init__(self, contender: str, start: Start) -> None:
        super().__init__(start)
        self.networks = {number: Network(net) for number, net in self.nets.items()}

    def steps(self, number: int, count: int) -> None:
        """Trains one network."""
        network, batches = self.networks[number], self.batches[number]
        for _ in range(count):
            index = next(batches)
            network.step(self.x[index], self.y[index])

    def first_losses(self, steps: int) -> dict[int, list[float]]:
        """J~ of the first steps, in nats, of one network of each shape."""
        found: dict[int, list[float]] = {}
        for number, network in self.networks.items():
            found[number] = []
            for _ in range(steps):
                index, penalty = next(self.batches[number]), network.penalty()
                found[number].append(penalty + network.step(self.x[index], self.y[index]))
        return found


class Sklearn(Sequential):
    """scikit-learn's MLPClassifier; its alpha is 2 lambda B, so that the penalty is lambda ||w||^2."""

    def __init__(self, contender: str, start: Start) -> None:
        super().__init__(start)
        self.models = {number: self._model(net) for number, net in self.nets.items()}

    def _model(self, net: Net) -> Any:
        from sklearn.neural_network import MLPClassifier

        batch = net.train["batch_size"]
        model = MLPClassifier(
            net.model["hidden"], solver=net.train["optimizer"], alpha=2 * net.train["l2"] * batch, shuffle=False,
            batch_size=batch, learning_rate_init=net.train["learning_rate"], momentum=0.0,
            nesterovs_momentum=False,
        )  # fmt: skip
        # it draws its own parameters at its first step: they are replaced, and its optimiser forgets that step
        model.partial_fit(self.x[:batch], self.y[:batch], classes=np.arange(net.model["classes"]))
        for mine, given in zip(
            (*model.coefs_, *model.intercepts_), (*net.start[::2], *net.start[1::2]), strict=True
        ):
            mine[...] = given
        del model._optimizer
        return model

    def steps(self, number: int, count: int) -> None:
        """Trains one network: many minibatches in each call, whose checks of the data cost as much as a step."""
        while count > 0:
            chunk = [next(self.batches[number]) for _ in range(min(count, 20))]
            index = np.concatenate(chunk)
            self.models[number].partial_fit(self.x[index], self.y[index])
            count -= len(chunk)

    def first_losses(self, steps: int) -> dict[int, list[float]]:
        """J~ of the first steps, in nats, of one network of each shape."""
        for number in self.models:
            for _ in range(steps):
                self.steps(number, 1)
        return {number: model.loss_curve_[1:] for number, model in self.models.items()}


def cannot(contender: str, start: Start) -> str | None:
    """Why a workload is beyond this contender."""
    models = [net.model for net in start.nets]
    if any(model["precision"] != "float32" for model in models):
        return "has no bfloat16"
    if contender == "sklearn" and any(model["batch_norm"] != "none" for model in models):
        return "has neither batch normalisation nor LeakyReLU"
    if contender == "sklearn" and any(net.train["optimizer"] == "adam" for net in start.nets):
        return "adds Adam's epsilon before its bias correction, which is other work"
    return None


def peak_bytes() -> None:
    """The process's own: there is no device."""


CONTENDERS = {"numpy": Contender, "sklearn": Sklearn}
