"""The benchmark's peers on PyTorch train eagerly, and with torch.compile; both have fused optimisers."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F

from mlp_jax.benchmark import start as shared
from mlp_jax.benchmark.start import NORM, Cannot, Net, Sequential, Start

VERSION = f"torch {torch.__version__}"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPES = 100  # that a workload may have; torch.compile takes more than 8 for a mistake
torch.backends.cuda.matmul.allow_tf32 = False  # float32 products, as everyone else's


def make(contender: str, start: Start) -> Sequential:
    """Makes the networks of a workload. Raises Cannot for bfloat16 on a CPU."""
    if start.half and DEVICE.type != "cuda":
        raise Cannot("needs a GPU")
    x, y = (torch.from_numpy(part).to(DEVICE) for part in (start.x, start.y))
    made = Sequential(start, lambda net: Network(net, x, y, compiled=contender == "torch-compile"))
    _wait()
    return made


class Network:
    """A network is a module with autograd; its L2 penalty is the optimiser's weight decay of the weights."""

    def __init__(self, net: Net, x: torch.Tensor, y: torch.Tensor, compiled: bool) -> None:
        self.x, self.y, self.batches = x, y, _minibatches(net, len(y))
        self.half, self.l2 = net.model["precision"] == "bf16", net.train["l2"]
        self.module = torch.nn.Sequential(*_layers(net)).to(DEVICE)
        self.weights = [layer.weight for layer in self.module if isinstance(layer, torch.nn.Linear)]
        self.optimizer = self._optimizer(net)
        self.loss = self._loss
        if compiled:  # forward and backward as one program each, for every shape of a workload
            self.loss = torch.compile(self._loss, fullgraph=True, dynamic=False, recompile_limit=SHAPES)

    def _optimizer(self, net: Net) -> torch.optim.Optimizer:
        ids = {id(w) for w in self.weights}
        others = [p for p in self.module.parameters() if id(p) not in ids]
        groups = [{"params": self.weights, "weight_decay": 2 * self.l2}, {"params": others}]
        kind: Any = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[net.train["optimizer"]]
        made: torch.optim.Optimizer = kind(groups, lr=net.train["learning_rate"], fused=True)
        return made

    def _loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=self.half):
            return F.cross_entropy(self.module(x), y)

    def losses(self, steps: int) -> list[float]:
        """Gives J~ before each of so many steps."""
        return [self._penalty() + float(self._step()) for _ in range(steps)]

    def train(self, steps: int) -> None:
        """Takes so many steps, and waits for their end."""
        for _ in range(steps):
            self._step()
        _wait()

    def _penalty(self) -> float:
        with torch.no_grad():
            return float(self.l2 * sum((w * w).sum() for w in self.weights))

    def _step(self) -> torch.Tensor:
        """Makes one update; gives the loss before it, without the penalty."""
        index = next(self.batches)
        self.optimizer.zero_grad(set_to_none=True)
        loss: torch.Tensor = self.loss(self.x.index_select(0, index), self.y.index_select(0, index))
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def _layers(net: Net) -> Iterator[torch.nn.Module]:
    for where in net.layers:
        w, b, *norm = (torch.from_numpy(leaf) for leaf in net.start[where])
        linear = torch.nn.Linear(*w.shape)
        linear.weight.data, linear.bias.data = w.T.contiguous(), b.clone()
        yield linear
        if where != net.layers[-1]:
            yield torch.nn.LeakyReLU(net.slope) if net.slope else torch.nn.ReLU()
        if norm:
            eps, momentum = NORM
            yield torch.nn.BatchNorm1d(len(b), eps=eps, momentum=momentum)


def _minibatches(net: Net, examples: int) -> Iterator[torch.Tensor]:
    """Gives what `start.minibatches` does, permuted on the device."""
    yield from torch.from_numpy(net.order).to(DEVICE)
    batch = net.train["batch_size"]
    while True:
        order = torch.randperm(examples, device=DEVICE)
        yield from order[: examples // batch * batch].view(-1, batch)


def _wait(_: Any = None) -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def peak_bytes() -> int | None:
    """Gives the device's peak, where it is not the process's own."""
    return int(torch.cuda.max_memory_allocated()) if DEVICE.type == "cuda" else None


def rates() -> dict[str, float]:
    """Gives `start.rates` of PyTorch."""

    def product(n: int, kind: str) -> Callable[[], Any]:
        square = torch.ones((n, n), dtype=getattr(torch, kind), device=DEVICE)
        return lambda: _wait(torch.mm(square, square))

    return shared.rates(product, DEVICE.type == "cuda")
