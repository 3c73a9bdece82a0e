"""The benchmark's peer on NumPy computes the report's equations in place, as a careful student would."""

from itertools import islice
from typing import Any

import numpy as np

from mlp_jax.benchmark.start import NORM, Cannot, Net, Sequential, Start, minibatches

EPS, MOMENTUM = NORM
B1, B2, ADAM_EPS = 0.9, 0.999, 1e-8
VERSION = f"numpy {np.__version__}"


def make(contender: str, start: Start) -> Sequential:
    """Makes the networks of a workload. Raises Cannot for products in bfloat16."""
    if start.half:
        raise Cannot("has no bfloat16")
    return Sequential(start, lambda net: Network(net, start.x, start.y))


class Network:
    """A network in float32 has products and updates go to arrays that are made once."""

    def __init__(self, net: Net, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y, self.batches = x, y, minibatches(net, len(y))
        self.decay: float = 2 * net.train["l2"]
        self.rate: float = net.train["learning_rate"]
        self.slope = net.slope
        self.params = [leaf.copy() for leaf in net.start]
        self.layers = [self.params[where] for where in net.layers]
        self.grads = [np.empty_like(leaf) for leaf in self.params]
        self.layer_grads = [self.grads[where] for where in net.layers]
        self.running = [[np.zeros_like(b), np.ones_like(b)] for _, b, *_ in self.layers]
        self.adam = net.train["optimizer"] == "adam"
        self.moments = [[np.zeros_like(leaf) for leaf in self.params] for _ in range(2)] if self.adam else []
        self.scratch = [np.empty_like(leaf) for leaf in self.params]
        self.steps = 0

    def losses(self, steps: int) -> list[float]:
        """Gives J~ before each of so many steps."""
        return [self._penalty() + self._step(index) for index in islice(self.batches, steps)]

    def train(self, steps: int) -> None:
        """Takes so many steps."""
        for index in islice(self.batches, steps):
            self._step(index)

    def _penalty(self) -> float:
        return self.decay / 2 * sum(float(np.vdot(w, w)) for w, *_ in self.layers)

    def _step(self, index: np.ndarray) -> float:
        """Makes one update; gives the loss before it, without the penalty."""
        loss = self.gradients(self.x[index], self.y[index])
        self.steps += 1
        self._adam() if self.adam else self._sgd()
        return loss

    def gradients(self, x: np.ndarray, y: np.ndarray) -> float:
        """Fills `grads` (equations 1 to 13, for depth the same again); gives the loss without the penalty.

        The decay of the weights is left to the update.
        """
        trace, a = self._hidden(x)
        delta, loss = self._output(a, y)
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

    def _hidden(self, a: np.ndarray) -> tuple[list[Any], np.ndarray]:
        """Gives (input, product, normalisation) of every hidden layer, and what the last of them gives."""
        trace = []
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
        return trace, a

    def _output(self, a: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
        """Gives the gradient with respect to the logits, and the mean cross-entropy."""
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
        return delta, loss

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

    def _sgd(self) -> None:
        rate = np.float32(self.rate)
        if self.decay:
            for w, *_ in self.layers:
                w *= np.float32(1 - self.rate * self.decay)
        for leaf, grad in zip(self.params, self.grads, strict=True):
            grad *= rate
            leaf -= grad

    def _adam(self) -> None:
        if self.decay:
            for (w, *_), (w_grad, *_) in zip(self.layers, self.layer_grads, strict=True):
                w_grad += np.float32(self.decay) * w  # equations 7 and 12
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
