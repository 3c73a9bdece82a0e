"""Which classes are layers, and what their constructors take."""

from mlp_jax.gradcheck.layers.losses import forward_of, is_backward_alone, positions_of
from mlp_jax.gradcheck.layers.shapes import LABELS, attends
from mlp_jax.gradcheck.layers.taped import is_taped
from mlp_jax.gradcheck.layers.windows import POOLS
from mlp_jax.gradcheck.reading.names import is_generator, size_of
from mlp_jax.gradcheck.reading.signatures import signature

ARRAYS = {
    **dict.fromkeys(("w", "weights", "weight"), "w"),
    **dict.fromkeys(("b", "bias", "biases"), "b"),
    **dict.fromkeys(("gamma", "beta"), "n"),
}
TRAINING = ("training", "train", "train_flg", "is_training", "is_train")
WINDOWS = (*POOLS, "stride")
RATES = ("learning_rate", "lr", "eta", "alpha", "step_size")
# beside what `names.size_of` knows
INS = ("fan_in", "features", "dim", "in_channels", "input_channels", "d_model", "embed_dim")
OUTS = (
    "n_neurons",
    "units",
    "n_units",
    "neurons",
    "fan_out",
    "out_channels",
    "num_filters",
    "n_filters",
    "filters",
)
LOSSES = ("loss", "entropy", "error", "cost", "mse", "mae", "hinge")
NETWORKS = ("net", "mlp", "model", "classifier", "perceptron", "regression")


def is_layer_class(target: type) -> bool:
    """Whether a class has forward(x) and backward(dout), or forward(predictions, labels), and is no network."""
    if of_torch(target):
        return True
    network = hasattr(target, "loss") or any(word in target.__name__.lower() for word in NETWORKS)
    methods = [forward_of(target), getattr(target, "backward", None)]
    if network or hasattr(target, "apply") or constructor(target) is None:
        return False
    if is_backward_alone(target) or is_taped(target) or is_pair(target):
        return True
    if not all(callable(method) for method in methods):
        return False
    forward, backward = ([p.name.lower() for p in positions_of(m) if p.default is p.empty] for m in methods)
    if len(forward) == 2 and forward[1] in LABELS:
        return len(backward) <= 2
    if len(forward) == 3 and attends(forward):
        return len(backward) == 1 and constructor(target) == []
    backward = backward[is_given_inputs(target) :]
    return (
        forward[1:] in ([], *([name] for name in TRAINING))
        and backward[1:] in ([], *([n] for n in RATES))
        and len(forward) > 0
        and len(positions_of(methods[1])) > 0
    )


def of_torch(target: type) -> bool:
    """Whether it is a torch.autograd.Function."""
    return any(base.__module__ == "torch.autograd.function" for base in target.__mro__)


def is_pair(target: type) -> bool:
    """Whether a class keeps nothing: forward(x, ...) -> (out, cache), backward(dout, cache)."""
    names = [p.name.lower() for p in signature(getattr(target, "backward", None)).values() if p.default is p.empty]
    return names[-1:] == ["cache"] and len(names) in (2, 3) and constructor(target) == []


def constructor(target: type) -> list[tuple[str, str]] | None:
    """What each argument of the constructor is, with its name; None if that cannot be told of one."""
    if target.__init__ is object.__init__:  # type: ignore[misc]
        return []
    kinds = []
    for p in positions_of(target.__init__):  # type: ignore[misc]
        name = p.name.lower()
        width = "input" if name in INS else "classes" if name in OUTS else size_of(p.name)
        kind = "array" if name in ARRAYS else {"input": "in", "classes": "out"}.get(str(width), "")
        if not kind and p.default is p.empty:
            kind = "rate" if any(word in name for word in ("rate", "prob", "ratio", "drop")) else ""
            kind = "window" if name in WINDOWS else "rng" if is_generator(name) else kind
            if not kind:
                return None
        if kind and not isinstance(p.default, bool):  # bias=True says whether there is one
            kinds.append((kind, p.name))
    return kinds


def is_given_inputs(target: type) -> bool:
    """Whether backward(inputs, dout) wants what forward(inputs) was given."""
    forward, backward = positions_of(forward_of(target)), positions_of(getattr(target, "backward", None))
    return len(backward) > 1 and [p.name for p in backward[:1]] == [p.name for p in forward[:1]]
