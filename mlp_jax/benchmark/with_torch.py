"""The benchmark's peers on PyTorch: eager with fused optimisers, torch.compile, torch.func.vmap, CUDA graphs."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from mlp_jax.benchmark import start as files
from mlp_jax.benchmark.start import Net, Start

VERSION = f"torch {torch.__version__}"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EPS, MOMENTUM = 1e-5, 0.1  # of batch normalisation
B1, B2, ADAM_EPS = 0.9, 0.999, 1e-8
torch.backends.cuda.matmul.allow_tf32 = False  # float32 products, as everyone else's


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


def _activation(net: Net) -> torch.nn.Module:
    return torch.nn.ReLU() if net.model["activation"] == "relu" else torch.nn.LeakyReLU(0.1)


class Eager:
    """A module with autograd, the L2 penalty as the optimiser's weight decay of the weights."""

    def __init__(self, net: Net, graphed: bool = False) -> None:
        layers: list[torch.nn.Module] = []
        for where in net.layers:
            w, b, *norm = (torch.from_numpy(leaf) for leaf in net.start[where])
            linear = torch.nn.Linear(*w.shape)
            linear.weight.data, linear.bias.data = w.T.contiguous(), b.clone()
            layers.append(linear)
            if where != net.layers[-1]:
                layers.append(_activation(net))
            if norm:
                layers.append(torch.nn.BatchNorm1d(len(b), eps=EPS, momentum=MOMENTUM))
        self.module = torch.nn.Sequential(*layers).to(DEVICE)
        self.weights = [layer.weight for layer in self.module if isinstance(layer, torch.nn.Linear)]
        ids = {id(w) for w in self.weights}
        others = [p for p in self.module.parameters() if id(p) not in ids]
        groups = [{"params": self.weights, "weight_decay": 2 * net.train["l2"]}, {"params": others}]
        options: dict[str, Any] = {"lr": net.train["learning_rate"], "fused": True}
        if net.train["optimizer"] == "adam":
            options["capturable"] = graphed
            self.optimizer: Any = torch.optim.Adam(groups, **options)
        else:
            self.optimizer = torch.optim.SGD(groups, **options)
        self.half = net.model["precision"] == "bf16"
        self.l2 = net.train["l2"]

    def penalty(self) -> torch.Tensor:
        """Of J~; not needed to train."""
        with torch.no_grad():
            return self.l2 * sum((w * w).sum() for w in self.weights)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """One update; the loss before it, without the penalty."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=self.half):
            loss = F.cross_entropy(self.module(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class Graphed:
    """The eager step as one CUDA graph, gather included, which is replayed for each minibatch's indices."""

    def __init__(self, net: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        self.eager = Eager(net, graphed=True)
        self.penalty = self.eager.penalty
        self.index = torch.from_numpy(net.order[0]).to(DEVICE)
        self.x, self.y = x, y
        saved = [p.detach().clone() for p in self.eager.module.state_dict().values()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # as PyTorch's manual wants it: warm up on a stream of its own
            for _ in range(3):
                self.eager.step(self.x[self.index], self.y[self.index])
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = self.eager.step(self.x[self.index], self.y[self.index])
        with torch.no_grad():  # forget the steps of the warm-up, in place
            for p, old in zip(self.eager.module.state_dict().values(), saved, strict=True):
                p.copy_(old)
            for state in self.eager.optimizer.state.values():
                for value in state.values():
                    if value is not None:
                        value.zero_()

    def step(self, index: torch.Tensor) -> torch.Tensor:
        """One update; the loss before it, without the penalty, in an array that the next step overwrites."""
        self.index.copy_(index)
        self.graph.replay()
        return self.loss


class Functional:
    """A step on plain tensors: a whole one can be compiled, and mapped over networks of one shape.

    With `stacked`, parameters have the networks as leading axis, x and y too unless they share minibatches.
    """

    def __init__(self, nets: list[Net], shared: bool = True) -> None:
        net = nets[0]
        self.stacked = len(nets) > 1
        leaves = [
            np.stack(leaf) if self.stacked else leaf[0] for leaf in zip(*(n.start for n in nets), strict=True)
        ]
        self.params = [torch.from_numpy(leaf).clone().to(DEVICE) for leaf in leaves]
        self.layers, self.adam = net.layers, net.train["optimizer"] == "adam"
        self.slope = 0.0 if net.model["activation"] == "relu" else 0.1
        hyper = [[n.train["learning_rate"], 2 * n.train["l2"]] for n in nets]
        rate, decay = torch.tensor(hyper, dtype=torch.float32).to(DEVICE).T
        shapes = [[-1] + [1] * (p.ndim - 1) for p in self.params] if self.stacked else [[] for _ in self.params]
        self.rates = [rate.view(shape) for shape in shapes]
        weights = {where.start for where in net.layers}
        self.decays = [decay.view(s) if i in weights else None for i, s in enumerate(shapes)]
        self.moments = [[torch.zeros_like(p) for p in self.params] for _ in range(2)] if self.adam else []
        self.count = torch.zeros((), device=DEVICE)
        self.running = [[torch.zeros_like(b), torch.ones_like(b)] for b in (self.params[w][1] for w in net.layers)]
        gradient = torch.func.grad_and_value(self._loss, has_aux=True)
        axis = None if shared else 0
        self.gradient = torch.func.vmap(gradient, in_dims=(0, axis, axis)) if self.stacked else gradient
        self.l2 = [n.train["l2"] for n in nets]

    def penalty(self) -> torch.Tensor:
        """Of J~; not needed to train."""
        weights = [self.params[where.start] for where in self.layers]
        if not self.stacked:
            return self.l2[0] * torch.stack([(w * w).sum() for w in weights]).sum()
        return torch.tensor(self.l2, device=DEVICE) * sum((w * w).sum(dim=(1, 2)) for w in weights)

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

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """One update; the loss before it, without the penalty."""
        grads, (loss, statistics) = self.gradient(self.params, x, y)
        with torch.no_grad():
            for running, found in zip(self.running, statistics, strict=False):
                for old, new in zip(running, found, strict=True):
                    old.lerp_(new, MOMENTUM)
            grads = [
                g if d is None else g + d * p for g, d, p in zip(grads, self.decays, self.params, strict=True)
            ]
            if not self.adam:
                for p, g, rate in zip(self.params, grads, self.rates, strict=True):
                    p.sub_(rate * g)
                return loss.detach()
            self.count.add_(1)
            first, second = 1 - B1**self.count, 1 - B2**self.count
            for p, g, rate, m, v in zip(self.params, grads, self.rates, *self.moments, strict=True):
                m.lerp_(g, 1 - B1)
                v.mul_(B2).add_((1 - B2) * g * g)
                p.sub_(rate * (m / first) / ((v / second).sqrt() + ADAM_EPS))
        return loss.detach()


class Contender:
    """Networks one after the other: one of each shape is timed, and stands for all of its shape."""

    def __init__(self, contender: str, start: Start) -> None:
        self.kind = contender
        self.x, self.y = (torch.from_numpy(part).to(DEVICE) for part in (start.x, start.y))
        self.units: list[tuple[list[int], int, Any, Any]] = []  # numbers, networks stood for, step, minibatches
        for numbers in start.shapes:
            nets = [start.nets[number] for number in numbers]
            if contender == "torch-vmap":
                self.units.append((numbers, 1, *self._together(nets)))
            else:
                self.units.append((numbers[:1], len(numbers), *self._alone(nets[0])))
        _wait()

    def _alone(self, net: Net) -> tuple[Any, Any]:
        batches = _minibatches(net, len(self.y))
        if self.kind == "torch-graphs":
            return Graphed(net, self.x, self.y), batches
        if self.kind == "torch":
            return Eager(net), batches
        unit = Functional([net])
        unit.step = torch.compile(unit.step, fullgraph=True)  # type: ignore[method-assign]
        return unit, batches

    def _together(self, nets: list[Net]) -> tuple[Any, Any]:
        seeds = {net.seed: net for net in nets}
        streams = [_minibatches(net, len(self.y)) for net in (seeds.values() if len(seeds) == 1 else nets)]
        batches = streams[0] if len(seeds) == 1 else map(torch.stack, zip(*streams, strict=True))
        return Functional(nets, shared=len(seeds) == 1), batches

    def _step(self, unit: Any, index: torch.Tensor) -> torch.Tensor:
        if isinstance(unit, Graphed):
            return unit.step(index)
        if index.ndim == 1:
            return unit.step(self.x.index_select(0, index), self.y.index_select(0, index))
        return unit.step(self.x[index], self.y[index])

    def train(self, steps: int) -> float:
        """Seconds for so many steps of every network, from one network of each shape unless all are trained."""
        total = 0.0
        for _, times, unit, batches in self.units:
            begun = time.perf_counter()
            for _ in range(steps):
                self._step(unit, next(batches))
            _wait()
            total += times * (time.perf_counter() - begun)
        return total

    def first_losses(self, steps: int) -> dict[int, list[float]]:
        """J~ of the first steps, in nats, of the networks that are trained."""
        found: dict[int, list[float]] = {}
        for numbers, _, unit, batches in self.units:
            rows = []
            for _ in range(steps):
                penalty = unit.penalty()
                rows.append((penalty + self._step(unit, next(batches))).float().reshape(-1).cpu().numpy())
            found |= {n: [float(row[i]) for row in rows] for i, n in enumerate(numbers)}
        return found


def cannot(contender: str, start: Start) -> str | None:
    """Why a workload is beyond this contender, or is not tried."""
    half = start.nets[0].model["precision"] != "float32"
    if DEVICE.type != "cuda" and (half or contender == "torch-graphs"):
        return "needs a GPU"
    if contender == "torch-vmap" and len(start.nets) == 1:
        return "is for populations"
    if half and contender in ("torch-vmap", "torch-compile"):
        return "is written for float32"
    return None


def peak_bytes() -> int | None:
    """The device's peak, where it is not the process's own."""
    return int(torch.cuda.max_memory_allocated()) if DEVICE.type == "cuda" else None


def rates() -> dict[str, float]:
    """`start.rates` of PyTorch."""
    gpu = DEVICE.type == "cuda"
    a, b, c = (torch.ones(2**28 if gpu else 2**25, device=DEVICE) for _ in range(3))

    def one(n: int, kind: str) -> Callable[[], Any]:
        square = torch.ones((n, n), dtype=getattr(torch, kind), device=DEVICE)
        return lambda: _wait(torch.mm(square, square))

    return files.rates(one, lambda: _wait(torch.add(a, b, alpha=2, out=c)), a.numel(), gpu)


CONTENDERS = dict.fromkeys(("torch", "torch-compile", "torch-vmap", "torch-graphs"), Contender)
