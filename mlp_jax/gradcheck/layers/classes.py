"""Which classes are layers, and what their constructors take."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from mlp_jax.gradcheck.layers.cells import is_cell
from mlp_jax.gradcheck.layers.losses import forward_of, is_backward_alone
from mlp_jax.gradcheck.layers.shapes import ARRAYS, LABELS, RATES
from mlp_jax.gradcheck.layers.taped import is_taped
from mlp_jax.gradcheck.layers.windows import POOLS
from mlp_jax.gradcheck.reading.names import ALL_SIZES, DEPTHS, TRAINING, called, is_generator, is_output, size_of
from mlp_jax.gradcheck.reading.signatures import needed, positions_of, signature

WINDOWS = (*POOLS, "stride")
# beside what `names.size_of` knows, without underscores
INS = called(
    r"fanin|features|dim|dims|(in|input|num|n)?(channels?|chans?|ch|c)(in|input)?|inc|cin|dmodel|embed(ding)?(dim|size)?"
    r"|nembd|normali[sz]edshape|size|shape|numfeatures|in(dim|put)?size|nin|inf(eats)?|(num|n)?param(eter)?s"
)
OUTS = called(
    r"nneurons|nunits|units|neurons|fanout|out(put)?(channels?|chans?|ch|c)|(channels?|chans?|ch|c)out"
    r"|(num|n|nb)?(filters|kernels)|outc|nout|outf(eats)?|(d|dim)(k|v|q|qk|key|value|head|attn|inner|ff)"
    r"|(key|value|head|attn|attention|ff|ffn|inner)(dim|size)"
)
NUMBERS = called(
    r"alpha|beta|a|slope|negativeslope|leak|leakiness|temperature|temp|tau|scale|gain|factor|delta|margin|threshold"
    r"|(eps|epsilon)|momentum|keep|p|power|exponent|lamb?da?|value|const(ant)?"
)
GROUPS = called(r"(num|n)?groups?|g|numgroups")
HEADS = called(r"(num|n|nb|no)?(attn|attention)?heads?|nhead|h")
PADS = called(r"pad(ding)?s?")
KERNELS = called(r"kernel(size|width|length|shape)?|ksize|kw|window(size)?")
LOSSES = ("loss", "entropy", "error", "cost", "mse", "mae", "hinge", "nll")
OTHER_NAMES = (
    ("forward_propagation", "backward_propagation"), ("forward_pass", "backward_pass"),
    ("forward_prop", "backward_prop"), ("forward_propagate", "backward_propagate"), ("forward", "backprop"),
    ("forwardprop", "backprop"), ("forward", "backward_pass"), ("fprop", "bprop"), ("feedforward", "backprop"),
)  # fmt: skip
NETWORKS = ("net", "mlp", "model", "classifier", "perceptron", "regression")


def is_layer_class(target: type) -> bool:
    """Whether a class has forward(x) and backward(dout), or forward(predictions, labels), and is no network."""
    if of_torch(target) or takes_context(target):
        return True
    network = hasattr(target, "loss") or any(word in target.__name__.lower() for word in NETWORKS)
    methods = [forward_of(target), getattr(target, "backward", None)]
    if network or hasattr(target, "apply"):
        return False
    if is_cell(target):
        return True
    if constructor(target) is None:
        return False
    if is_backward_alone(target) or is_taped(target) or is_pair(target):
        return True
    if not all(callable(method) for method in methods):
        return False
    forward, backward = ([name.lower() for name in needed(positions_of(m))] for m in methods)
    if len(forward) == 2 and forward[1] in LABELS:
        return len(backward) <= 2
    if len(forward) in (2, 3) and forward[1] not in TRAINING and not is_given_inputs(target):
        return len(backward) == 1 and constructor(target) == []
    backward = backward[is_given_inputs(target) :]
    return (
        forward[1:] in ([], *([name] for name in TRAINING))
        and backward[1:] in ([], *([n] for n in RATES))
        and len(forward) > 0
        and len(positions_of(methods[1])) > 0
    )


def with_usual_names(target: type) -> type:
    """The class with forward(x) and backward(dout), where it calls them forward_propagation or the like.

    A backward pass that is given all, (inputs, outputs, dout), is given what the forward pass had and gave.
    """
    for names in (("forward", "backward"), *OTHER_NAMES):
        methods: list[Any] = [getattr(target, name, None) for name in names]
        if (hasattr(target, "backward") and "backward" not in names) or not all(map(inspect.isfunction, methods)):
            continue
        taken = [positions_of(method) for method in methods]
        if _is_given_all(*taken):
            return _with_kept(target, *methods)
        upstream = taken[1][:1]
        if "backward" not in names and len(taken[0]) == 1 and upstream and upstream[0].name.lower() not in LABELS:
            return type(target.__name__, (target,), {"forward": methods[0], "backward": methods[1]})
    return target


def _is_given_all(forward: Sequence[inspect.Parameter], backward: Sequence[inspect.Parameter]) -> bool:
    """Whether the passes are forward(inputs) and backward(inputs, outputs, dout)."""
    given, taken = needed(forward), needed(backward)
    return len(given) == 1 and len(taken) == 3 and taken[0] == given[0] and is_output(taken[1])


def _with_kept(target: type, forward: Callable[..., Any], backward: Callable[..., Any]) -> type:
    """The class with a forward pass that keeps inputs and output, which its backward pass is given."""
    of_parameters = getattr(target, "grads_wrt_params", None)

    def keeping(self: Any, x: Any) -> Any:
        self.inputs, self.output = x, forward(self, x)
        return self.output

    def given(self: Any, dout: Any) -> Any:
        dx = backward(self, self.inputs, self.output, dout)
        return dx if of_parameters is None else (dx, *of_parameters(self, self.inputs, dout))

    return type(target.__name__, (target,), {"forward": keeping, "backward": given})


def of_torch(target: type) -> bool:
    """Whether it is a torch.autograd.Function."""
    return any(base.__module__ == "torch.autograd.function" for base in target.__mro__)


def takes_context(target: type) -> bool:
    """Whether forward and backward are static, and are given an object to save arrays in: forward(ctx, a, b)."""
    methods = [inspect.getattr_static(target, name, None) for name in ("forward", "backward")]
    firsts = [next(iter(signature(m.__func__)), "") for m in methods if isinstance(m, (staticmethod, classmethod))]
    return len(firsts) == 2 and all(name.lower() in ("ctx", "context") for name in firsts)


def is_pair(target: type) -> bool:
    """Whether a class keeps nothing: forward(x, ...) -> (out, cache), backward(dout, cache)."""
    names = [name.lower() for name in needed(signature(getattr(target, "backward", None)).values())]
    return names[-1:] == ["cache"] and len(names) in (2, 3) and constructor(target) == []


def constructor(target: type) -> list[tuple[str, str]] | None:
    """What each argument of the constructor is, with its name; None if that cannot be told of one."""
    if untold(target):
        return None
    # bias=True says whether there is one, and a number by default is one that suits the layer
    return [(kind, p.name) for p, kind in _told(target) if kind and not isinstance(p.default, (bool, float))]


def untold(target: type) -> list[str]:
    """The arguments of the constructor of which it cannot be told what they are."""
    return [p.name for p, kind in _told(target) if not kind and p.default is p.empty]


def is_of_pictures(target: type) -> bool:
    """Whether a class is given pictures, as its name says."""
    words = ("conv", "pool", "2d", "group", "instance", "spatial", "upsampl")
    return any(word in target.__name__.lower() for word in words)


def _told(target: type) -> list[tuple[inspect.Parameter, str]]:
    """The constructor's arguments, each with what it is; "" if its name does not tell, or its default may stay."""
    parameters = positions_of(target.__init__)  # type: ignore[misc]
    names = [p.name for p in parameters]
    return [(p, _kind(p, names, windows=is_of_pictures(target))) for p in parameters]


def _kind(p: inspect.Parameter, names: Sequence[str], *, windows: bool) -> str:
    name, needed = p.name.lower(), p.default is p.empty
    if name in ARRAYS and (name != "beta" or "gamma" in names):
        return "array"
    of_window = {"window": name in WINDOWS or KERNELS(name), "pad": PADS(name)}
    if windows and (kind := next((each for each, fits in of_window.items() if fits), "")):
        return kind if needed else ""
    alone = [size_of(other) for other in names].count(None) == len(names) - 1
    width = size_of(p.name) if not (alone and size_of(p.name)) else "input"
    width = "classes" if OUTS(name) else "input" if INS(name) else width
    if {*names} <= {"m", "n"}:  # as in MIT's 6.036
        width = "input" if p.name == names[0] else "classes"
    if kind := {"input": "in", "classes": "out"}.get(str(width), ""):
        return kind
    if not needed:
        return ""
    if any(word in name for word in ("rate", "prob", "ratio", "drop")):
        return "rate"
    kinds = {
        **of_window,
        "rng": is_generator(name),
        "heads": HEADS(name),
        "groups": GROUPS(name),
        "rate": NUMBERS(name),
    }
    return next((each for each, fits in kinds.items() if fits), "")


def not_told(target: type) -> str:
    """Why a class that is plainly a layer cannot be asked as one; "" if it can, or may be a network."""
    methods = [forward_of(target), getattr(target, "backward", None)]
    names = [p.name.lower() for p, _ in _told(target)]
    network = any(hasattr(target, name) for name in ("loss", "fit", "train", "predict", "apply"))
    network |= any(word in target.__name__.lower() for word in NETWORKS)
    sizes = any(name in (*ALL_SIZES, *DEPTHS) or size_of(name) == "hidden" for name in names)
    if is_layer_class(target) or network or sizes or not all(map(inspect.isfunction, methods)):
        return ""
    taken = [needed(positions_of(method)) for method in methods]
    if not all(taken) or any(name.lower() in LABELS for names in taken for name in names):
        return ""
    both = "lambda dout, x: (made.forward(x), made.backward(dout))[1]"
    how = f"check an object of it with mlp_jax.gradcheck.check_vjp(made.forward, {both}, x)"
    if arguments := untold(target):
        return f"what its constructor's argument {arguments[0]} is cannot be told: give it a default, or {how}"
    forward, backward = (", ".join(names) for names in taken)
    return f"forward({forward}) and backward({backward}) are not called as forward(x) and backward(dout): {how}"


def is_given_inputs(target: type) -> bool:
    """Whether backward(inputs, dout) wants what forward(inputs) was given."""
    forward, backward = positions_of(forward_of(target)), positions_of(getattr(target, "backward", None))
    return len(backward) > 1 and [p.name for p in backward[:1]] == [p.name for p in forward[:1]]
