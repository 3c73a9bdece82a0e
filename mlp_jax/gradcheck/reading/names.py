"""What people call the arguments of a network, a loss or a gradient: what each is told by its name and default.

A name is compared without its underscores and capitals, where these tell nothing.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping

from mlp_jax.nn.config import MLPConfig


def plainly(name: str) -> str:
    """A name without underscores and capitals."""
    return name.lower().replace("_", "")


def called(pattern: str) -> Callable[[str], bool]:
    """A test for names of this form."""
    form = re.compile(pattern)
    return lambda name: form.fullmatch(plainly(name)) is not None


COUNT = r"(n|nb|no|num|number(of)?)?"
SIZE = r"(layer)?(s|sizes?|dims?|dimensions?|features|feats|nodes|units|neurons|width|shape|layer|num)?"
is_penalty = called(
    r"(l2)?(reg|regul|regulari[sz]ation|regulari[sz]er|lam|lamb|lambda|lambd|lmbda|lamda|lmd|lbd|lmbd|weightdecay|wd)"
    r"(l2|l2norm)?(strength|str|param|parameter|coef|coeff|coefficient|factor|const|constant|rate|weight|penalty|term"
    r"|val|value|lambda|lambd|lam|reg)?|l2(reg)?(strength|coef|coeff|coefficient|factor|penalty|weight|lambda|rate|param)?"
    r"|ridge"
)
"""Whether an argument is called as people call lambda. Not alpha, which is a learning rate or a slope as often."""
INPUT = re.compile(
    rf"{COUNT}(input|inputs|in|inp|feature|features|visible)(layer)?{SIZE}|{COUNT}x(size|dim|dims)?|nin|d|(d|dim)in"
)
CLASSES = re.compile(
    rf"{COUNT}(output|outputs|out|class|classes|label|labels|target|targets|y)(layer)?{SIZE}|nout|[ck]|(d|dim)out"
)
HIDDEN = re.compile(rf"{COUNT}(hidden|hiddens|hid|h)(layer)?{SIZE}|(d|dim)h(id|idden)?")
NO_SIZE = re.compile(r"[xydckh]|labels?|targets?|input|features?|output|class|.*layers")
"""What is data, or a number of layers, although it has a size's form."""
PARAMETER_DATA = ("data", "value")  # the array in an object that is one parameter
SCALES = re.compile(r"(gamma|beta)_?\d*")
"""The scale and shift of a normalisation."""
NORMALISED = "say what is normalised by --batch_norm or --layer_norm, before or after"

NORMALISATIONS = {
    "batch": ("normalization", "use_batchnorm", "use_batch_norm", "batch_norm", "batchnorm"),
    "layer": ("normalization", "use_layernorm", "use_layer_norm", "layer_norm", "layernorm"),
}
"""The arguments of a constructor that switch a normalisation on."""
EXAMPLES = ("m", "N", "num_examples", "n_examples", "num_samples", "n_samples", "batch_size")
"""What people call the number of examples where it is no argument."""

DEPTHS = (
    "hidden_dims", "hidden_sizes", "hidden_layers", "hidden_size_list", "hidden_layer_sizes", "hidden_layer_dims",
    "hidden_widths", "hidden_units_list", "hiddens", "hid_layers", "hid_sizes", "hid_dims",
)  # fmt: skip
ALL_SIZES = (
    "layer_dims", "sizes", "layer_sizes", "layers", "layers_dims", "dims", "dimensions", "layers_sizes",
    "layer_dimensions", "layers_size", "architecture", "units", "widths", "size_list", "topology", "structure",
    "nn_architecture", "net_arch", "shape", "layer_units", "layers_dim", "layer_list", "n_units",
    "layer_size", "size", "units_per_layer", "units_per_layer_list", "nodes_per_layer", "neurons_per_layer",
    "neurons_count_per_layer",
)  # fmt: skip
KEEP = ("dropout_keep_ratio", "keep_prob", "keep_ratio", "dropout_keep_prob", "keep_probability", "p_keep", "keep")
DROP = (
    "dropout", "dropout_ratio", "dropout_ration", "dropout_rate", "drop_prob", "dropout_prob", "p_dropout",
    "p_drop", "dropout_p", "drop_rate", "drop_ratio", "dropout_probability", "drop", "p",
)  # fmt: skip
SPREAD = ("std", "weight_scale", "init_std", "weight_init_std", "init_scale")
TRAINING = ("training", "train", "train_flg", "train_flag", "is_training", "is_train")
DATA, LABELS = ("X", "x", "X_train", "x_train"), ("y", "Y", "y_train", "labels")
is_input = called(
    r"(train(ing)?|test|batch)?(x|xs|xb|tx|input|inputs|data|features|samples|images|examples)"
    r"(train|batch|data|input|in)?"
)
"""Whether it is called as the examples are."""
is_label = called(
    r"(train(ing)?|test|batch)?(y|ys|yb|t|ts|label|labels|target|targets|truth|groundtruth|onehot)(train|batch|true|data|in)?"
    r"(onehot|oh|enc|encoded|hot)?(labels?|y)?"
)
"""Whether it is called as the labels are."""
is_params = called(
    r"(nn|flat|net|network|model|all|init|initial)?(params|parameters|param|theta|weightsdict|thetas)(flat|vec|vector|dict|values)?|model|p|network|weightsandbiases"
)
"""Whether it is called as all the parameters together are."""
is_output = called(
    r"(y|out|output|t)?(hat|pred|preds|prediction|predictions|predicted|predict|prob|probs|probabilities|probas?|out)"
    r"|outputs?|out|o|al|a2|a3|scores?|logits?|finaloutputs?|softmaxout(put)?"
)
"""Whether it is called as what a network gives, scores or probabilities."""
WEIGHT_LISTS, BIAS_LISTS = ("weights", "Ws", "ws", "W", "w"), ("biases", "bs", "b", "Bs", "B")
is_step = called(r"lr|learningrate|eta|learnrate|stepsize")
"""Whether it is called as a learning rate is."""
is_generator = called(r"(prng|rng|random)?key|rng|generator")
"""Whether it is called as what draws random numbers is."""


def size_of(name: str) -> str | None:
    """Which width of a network an argument is: "input", "hidden" or "classes"; None for anything else."""
    form = plainly(name)
    if NO_SIZE.fullmatch(form) and name not in ("D", "C", "K", "H"):
        return None
    kinds = {"input": INPUT, "classes": CLASSES, "hidden": HIDDEN}
    return next((kind for kind, pattern in kinds.items() if pattern.fullmatch(form)), None)


def width(name: str, config: MLPConfig) -> int | None:
    """The width that an argument of this name is in a network; None if it is called as none."""
    widths = {"input": config.inputs, "hidden": config.sizes[1], "classes": config.classes}
    return widths.get(size_of(name) or "")


def numbers(parameters: Mapping[str, inspect.Parameter], names: Iterable[str]) -> list[str]:
    """Those of the names whose default, if there is one, may stand for a number: no word, switch or function."""
    defaults = {name: parameters[name].default for name in names}
    empty = inspect.Parameter.empty
    return [n for n, d in defaults.items() if d is empty or not (isinstance(d, (str, bool)) or callable(d))]
