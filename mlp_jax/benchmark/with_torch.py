"""The benchmark's peers on PyTorch: eager with fused optimisers, and a whole step under torch.compile."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F

from mlp_jax.benchmark import start as shared
from mlp_jax.benchmark.start import ADAM, NORM, Cannot, Net, Sequential, Start

EPS, MOMENTUM = NORM
B1, B2, ADAM_EPS = ADAM
VERSION = f"torch {torch.__version__}"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.backends.cuda.matmul.allow_tf32 = False  # float32 products, as everyone else's


def make(contender: str, start: Start) -> Sequential:
    """The networks of a workload. Raises Cannot for what is not tried."""
    if start.half and DEVICE.type != "cuda":
        raise Cannot("needs a GPU")
    if start.half and contender == "torch-compile":
        raise Cannot("is written for float32")
    kind: type[Network] = Compiled if contender == "torch-compile" else Eager
    x, y = (torch.from_numpy(part).to(DEVICE) for part in (start.x, start.y))
    made = Sequential(start, lambda net: kind(net, x, y))
    _wait()
    return made


class Network:
    """One network on its minibatches; how it is updated is up to its kind."""

    def __init__(self, net: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y, self.batches = x, y, _minibatches(net, len(y))

    def losses(self, steps: int) -> list[float]:
        """See `Single`."""
        return [float(self.penalty() + self._next()) for _ in range(steps)]

    def train(self, steps: int) -> None:
        """See `Single`."""
        for _ in range(steps):
            self._next()
        _wait()

    def _next(self) -> torch.Tensor:
        index = next(self.batches)
        return self.step(self.x.index_select(0, index), self.y.index_select(0, index))

    def penalty(self) -> torch.Tensor:
        """The L2 term of J~, which nobody needs to train."""
        raise NotImplementedError

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Makes one update; the loss before it, without the penalty."""
        raise NotImplementedError


class Eager(Network):
    """A module with autograd; the L2 penalty is the optimiser's weight decay of the weights."""

    def __init__(self, net: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        super().__init__(net, x, y)
        layers: list[torch.nn.Module] = []
        for where in net.layers:
            w, b, *norm = (torch.from_numpy(leaf) for leaf in net.start[where])
            linear = torch.nn.Linear(*w.shape)
            linear.weight.data, linear.bias.data = w.T.contiguous(), b.clone()
            layers.append(linear)
            if where != net.layers[-1]:
                layers.append(torch.nn.LeakyReLU(net.slope) if net.slope else torch.nn.ReLU())
            if norm:
                layers.append(torch.nn.BatchNorm1d(len(b), eps=EPS, momentum=MOMENTUM))
        self.module = torch.nn.Sequential(*layers).to(DEVICE)
        self.weights = [layer.weight for layer in self.module if isinstance(layer, torch.nn.Linear)]
        self.half, self.l2 = net.model["precision"] == "bf16", net.train["l2"]
        self.optimizer = self._optimizer(net)

    def _optimizer(self, net: Net) -> Any:
        ids = {id(w) for w in self.weights}
        others = [p for p in self.module.parameters() if id(p) not in ids]
        groups = [{"params": self.weights, "weight_decay": 2 * self.l2}, {"params": others}]
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[net.train["optimizer"]]
        return kind(groups, lr=net.train["learning_rate"], fused=True)

    def penalty(self) -> torch.Tensor:
        """See `Network`."""
        with torch.no_grad():
            return self.l2 * sum((w * w).sum() for w in self.weights)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """See `Network`."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=self.half):
            loss = F.cross_entropy(self.module(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class Compiled(Network):
    """A step on plain tensors, gradient and update, as one compiled function."""

    def __init__(self, net: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        super().__init__(net, x, y)
        self.params = [torch.from_numpy(leaf).clone().to(DEVICE) for leaf in net.start]
        self.layers, self.slope = net.layers, net.slope
        self.rate, self.l2 = net.train["learning_rate"], net.train["l2"]
        self.weights = {where.start for where in net.layers}
        adam = net.train["optimizer"] == "adam"
        self.moments = [[torch.zeros_like(p) for p in self.params] for _ in range(2)] if adam else []
        self.count = torch.zeros((), device=DEVICE)
        biases = [self.params[where][1] for where in self.layers]
        self.running = [[torch.zeros_like(b), torch.ones_like(b)] for b in biases]
        self.gradient = torch.func.grad_and_value(self._loss, has_aux=True)
        self.compiled = torch.compile(self._whole, fullgraph=True)

    def penalty(self) -> torch.Tensor:
        """See `Network`."""
        return self.l2 * torch.stack([(self.params[i] ** 2).sum() for i in self.weights]).sum()

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """See `Network`."""
        loss: torch.Tensor = self.compiled(x, y)
        return loss

    def _loss(self, params: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> Any:
        statistics = []
        for where in self.layers[:-1]:
            w, b, *norm = params[where]
            x = F.leaky_relu(x @ w + b, self.slope) if self.slope else F.relu(x @ w + b)
            if norm:
                var, mean = torch.var_mean(x, dim=0, correction=0)
                x = (x - mean) * torch.rsqrt(var + EPS) * norm[0] + norm[1]
                statistics.append([mean.detach(), var.detach() * (len(x) / (len(x) - 1))])
        w, b = params[self.layers[-1]]
        return F.cross_entropy(x @ w + b, y), statistics

    def _whole(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        grads, (loss, statistics) = self.gradient(self.params, x, y)
        with torch.no_grad():
            for running, found in zip(self.running, statistics, strict=False):  # the output layer has none
                for old, new in zip(running, found, strict=True):
                    old.lerp_(new, MOMENTUM)
            self._update(grads)
        return loss.detach()

    def _update(self, grads: list[torch.Tensor]) -> None:
        if self.l2:
            grads = [g + 2 * self.l2 * self.params[i] if i in self.weights else g for i, g in enumerate(grads)]
        if not self.moments:
            for p, g in zip(self.params, grads, strict=True):
                p.sub_(self.rate * g)
            return
        self.count.add_(1)
        first, second = 1 - B1**self.count, 1 - B2**self.count
        for p, g, m, v in zip(self.params, grads, *self.moments, strict=True):
            m.lerp_(g, 1 - B1)
            v.mul_(B2).add_((1 - B2) * g * g)
            p.sub_(self.rate * (m / first) / ((v / second).sqrt() + ADAM_EPS))


def _minibatches(net: Net, examples: int) -> Iterator[torch.Tensor]:
    """`start.minibatches`, permuted on the device."""
    yield from torch.from_numpy(net.order).to(DEVICE)
    batch = net.train["batch_size"]
    while True:
        order = torch.randperm(examples, device=DEVICE)
        yield from order[: examples // batch * batch].view(-1, batch)


def _wait(_: Any = None) -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def peak_bytes() -> int | None:
    """The device's peak, where it is not the process's own."""
    return int(torch.cuda.max_memory_allocated()) if DEVICE.type == "cuda" else None


def rates() -> dict[str, float]:
    """`start.rates` of PyTorch."""
    gpu = DEVICE.type == "cuda"
    a, b, c = (torch.ones(2**28 if gpu else 2**25, device=DEVICE) for _ in range(3))

    def product(n: int, kind: str) -> Callable[[], Any]:
        square = torch.ones((n, n), dtype=getattr(torch, kind), device=DEVICE)
        return lambda: _wait(torch.mm(square, square))

    return shared.rates(product, lambda: _wait(torch.add(a, b, alpha=2, out=c)), a.numel(), gpu)
