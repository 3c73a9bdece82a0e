"""The shapes of a layer's arguments, by their names and by what the layer's name says.

Arguments are recognised by the names that CS231n's layers.py and its many relatives give them; for an operation
that is not known, these names say all. `RANK_4` and the like are layouts: ways in which people arrange shapes.
"""

import re
from collections.abc import Sequence

import numpy as np

RANK_4, PLAIN, ROW_BIAS, COLUMNS, OUT_IN = range(5)  # of x, of biases (1, M), columns = examples, w (M, D)
ONE_HOT = 1  # the labels of a loss are one-hot in this layout
LAST, LAST_BIAS, LAST_FILTERS = range(5, 8)  # pictures (N, H, W, C); kernels (h, w, C, F), or (F, h, w, C)
# of a function of which nothing is known: arguments behind the first are single numbers, arrays of one number,
# vectors, of the first one's shape, or a matrix that it is multiplied by; or all of them are single numbers
GUESSED = NUMBERS, ONE_NUMBER, VECTORS, SAME, MATRIX, ALL_NUMBERS = (8, 9, 10, 11, 14, 15)
MORE_AXES = SEQUENCE, PICTURE = (12, 13)  # inputs (N, T, D); (N, C, H, W), with one scale for each channel
ONE_COLUMN, ONE_ROW = range(16, 18)  # of objects that take one example at a time
COLUMNS_ONE_HOT = 18  # scores and labels of a loss are (C, N)
# of layers whose outputs are as wide as their inputs, as residual blocks are: all widths are one, in these layouts
SQUARE, SQUARE_ROW_BIAS, SQUARE_COLUMNS = range(19, 22)
SQUARES = {SQUARE: PLAIN, SQUARE_ROW_BIAS: ROW_BIAS, SQUARE_COLUMNS: COLUMNS}
BY_STEP, BY_UNIT = range(22, 24)  # of layers with two inputs: (N, T, D) and (N, T), or (N, D)
IN_COLUMNS = (COLUMNS, ONE_COLUMN, COLUMNS_ONE_HOT, SQUARE_COLUMNS)
CHANNELS_LAST = (LAST, LAST_BIAS, LAST_FILTERS)
CHANNELS = ("spatial", "groupnorm", "instancenorm")  # operations whose scale is one number for each channel
PICTURES = ("conv", "depthwise", "pool", "pictures", *CHANNELS)  # operations of inputs (N, C, H, W)
LABELS = ("y", "t", "labels", "label", "targets", "target", "targ", "y_true", "y_truth", "truth", "y_labels", "ys",
          "true", "actual", "reference_answers", "answers", "expected")  # fmt: skip
INPUTS = ("x", "inputs", "input", "z", "a", "a_prev", "data", "logits", "scores", "x_in", "h", "features")
WEIGHTS = ("w", "weights", "weight", "theta", "kernel", "kernels", "filter", "filters")
BIASES = ("b", "bias", "biases")
SCALES = ("gamma", "beta", "scale", "shift")
# of an attention, by the shape that they have: queries, keys, values, and the matrices that make them of x
QUERIES = re.compile(r"q|query|queries|qs")
KEYS = re.compile(r"k|key|keys|ks")
VALUES = re.compile(r"v|value|values|vs")
OF_NORM = re.compile("gamma|beta|gain|scale|shift|weight|bias")
NORMS = ("batchnorm", "layernorm", "spatial", "groupnorm", "norm")  # of "norm" nothing is known but its shapes
# of a class's constructor
ARRAYS = {
    **dict.fromkeys(("w", "weights", "weight"), "w"),
    **dict.fromkeys(("b", "bias", "biases"), "b"),
    **dict.fromkeys(("gamma", "beta"), "n"),
}
RATES = ("learning_rate", "lr", "eta", "alpha", "step_size")


class Shapes:
    """The shapes of arguments by their names, in the order of a forward pass: a weight changes the width."""

    def __init__(self, operation: str, n: int, d: int, m: int, layout: int) -> None:
        m, layout = (d, SQUARES[layout]) if layout in SQUARES else (m, layout)
        self.operation, self.n, self.d, self.m, self.layout = operation, n, d, m, layout
        self.temporal, self.picture = operation.startswith("temporal"), operation in PICTURES or layout == PICTURE
        self.kernel = operation in ("conv", "conv1d", "depthwise", "pictures")
        self.width, self._first = (4 if operation in CHANNELS or layout == PICTURE else d), True
        self.last = layout in CHANNELS_LAST
        self.labels = (n, 3) if self.temporal else (n,)

    def of(self, name: str) -> tuple[int, ...] | None:
        """The shape of the next argument, or None if its name says none."""
        recurrent = self.operation.startswith(("rnn", "lstm", "gru"))
        attended = self._attended(name) if self.operation == "attention" else None
        shape = self._recurrent(name) if recurrent else self._plain(name.rstrip("0123456789_") or name)
        shape = shape if attended is None else attended
        if shape is None and name in ("h", "prev_h", "h_prev", "hidden"):
            shape = (self.n, self.m)
        self._first = self._first and shape is None
        return shape

    def _attended(self, name: str) -> tuple[int, ...] | None:
        """Of attention: with a batch, of one sequence, or of several heads; also where all lengths are equal."""
        before = {PLAIN: (), COLUMNS: (), OUT_IN: (2, 2)}.get(self.layout, (2,))
        equal = self.layout in (ROW_BIAS, COLUMNS)
        queries, keys, d, v = (3, 3, 4, 4) if equal else (self.n, self.m, self.d, self.d + 1)
        if name in INPUTS:
            return (*before, queries, d)
        for form, shape in ((QUERIES, (queries, d)), (KEYS, (keys, d)), (VALUES, (keys, v))):
            if form.fullmatch(name):
                return (*before, *shape)
        matrix = re.fullmatch(r"(weights?|w)_?(.+)|(.+)_(weights?|w)", name)
        of = (matrix[2] or matrix[3]) if matrix else ""
        return next(((d, d) for form in (QUERIES, KEYS, VALUES, re.compile("o|out")) if form.fullmatch(of)), None)

    def _plain(self, name: str) -> tuple[int, ...] | None:
        if self._first and name in INPUTS:
            return self.first()
        scale = OF_NORM.search(name) or (name == "g" and self.operation != "groupnorm")  # there it counts groups
        if self.operation in NORMS and (scale or name in (*WEIGHTS, *BIASES)):
            name = SCALES[0]
        if self.layout in GUESSED and name in (*WEIGHTS, *BIASES, *SCALES):
            return self.guessed()
        if name in WEIGHTS and self.operation == "depthwise":  # one kernel for each of the 2 channels
            self.width = 2
            return {OUT_IN: (2, 1, 3, 3), LAST: (3, 3, 2), LAST_BIAS: (3, 3, 2, 1)}.get(self.layout, (2, 3, 3))
        if name in WEIGHTS:
            self.width = 3 if self.kernel else self.m
            if self.operation == "conv1d":
                return {LAST_FILTERS: (3, 3, 2)}.get(self.layout, (3, 2, 3))
            if self.kernel:
                return {LAST_FILTERS: (3, 3, 3, 2)}.get(self.layout, (3, 3, 2, 3) if self.last else (3, 2, 3, 3))
            return (self.m, self.d) if self.layout in (COLUMNS, OUT_IN) else (self.d, self.m)
        if name in BIASES:
            width = self.width if self.width != self.d or self.kernel else self.m
            forms = {ROW_BIAS: (1, width), COLUMNS: (width, 1), LAST_BIAS: (1, 1, 1, width)}
            return forms.get(self.layout, (width,))
        if name in SCALES and self.operation in CHANNELS:
            return (1, 4, 1, 1) if self.layout in (ROW_BIAS, COLUMNS) else (4,)
        if name in SCALES:
            return {ROW_BIAS: (1, self.width), COLUMNS: (self.width, 1)}.get(self.layout, (self.width,))
        return None

    def guessed(self) -> tuple[int, ...]:
        """The shape of an argument behind the first, where it is tried what that may be."""
        forms = {VECTORS: (self.d,), ONE_NUMBER: (1,), SAME: (self.n, self.d), MATRIX: (self.d, self.m)}
        return forms.get(self.layout, ())

    def first(self) -> tuple[int, ...]:
        """The shape of the inputs."""
        if self.layout == ALL_NUMBERS:
            return ()
        if self.operation == "conv1d":
            return (self.n, 6, 2) if self.last else (self.n, 2, 6)
        if self.picture:
            channels = not self.kernel and self.operation != "pool"
            height = 3 if channels else 4
            width = height if self.layout == OUT_IN else 6  # some take only square pictures
            size = (width, height, 4 if channels else 2)
            return (min(self.n, 3), *(size if self.last else (size[2], *size[:2])))
        if self.operation.endswith("loss"):
            return (self.m, self.n) if self.layout in IN_COLUMNS and not self.temporal else (*self.labels, self.m)
        if self.temporal or self.layout == SEQUENCE:
            return (self.n, 3, self.d)
        if self.layout == RANK_4 and "affine" in self.operation:
            return (self.n, 2, self.d // 2)
        return (self.d, self.n) if self.layout == COLUMNS else (self.n, self.d)

    def _recurrent(self, name: str) -> tuple[int, ...] | None:
        """Of a recurrent layer: inputs, states, and the matrices of its gates, in one or each for itself.

        Where examples are columns, or biases rows, a gate has one matrix, of the state above the inputs.
        """
        name, columns = name.replace("_", ""), self.layout == COLUMNS
        if name in ("x", "xt", "xs", "inputs", "input"):
            steps = () if self.operation.endswith("step") else (3,)
            return (self.d, self.n, *steps) if columns else (self.n, *steps, self.d)
        if re.fullmatch(r"(prev)?[hca](t?1?|prev|0|init|next)|hidden|state|cell", name):
            return (self.m, self.n) if columns else (self.n, self.m)
        gates = next((k for word, k in (("lstm", 4), ("gru", 3)) if self.operation.startswith(word)), 1)
        together = self.layout in (COLUMNS, ROW_BIAS) and gates > 1
        forms = {
            r"w(x|xh|ih|i|ax)?" if not together else "wx": (self.d, gates * self.m),
            r"wh|whh|u|wr|waa": (self.m, gates * self.m),
            r"wy|why|wya": (self.m, 2),
            r"by": (2,),
            r"b(h|ih|hh|x|a|ias)?" if not together else "b": (gates * self.m,),
            r"wx?[rzngifoc]": (self.d + self.m * together, self.m),
            r"(u|wh)[rzngifohc]": (self.m, self.m),
            r"b[rzngifoc]": (self.m,),
        }
        for form, shape in forms.items():
            if re.fullmatch(form, name) and len(shape) == 1:
                return {ROW_BIAS: (1, *shape), COLUMNS: (*shape, 1)}.get(self.layout, shape)
            if re.fullmatch(form, name):
                return shape[::-1] if self.layout in (OUT_IN, COLUMNS) else shape
        return None


def drawn(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers of this shape; a single one is positive, as a slope, a power or a temperature is."""
    return rng.normal(size=shape) if shape else np.asarray(rng.uniform(0.3, 1.3))


def attends(names: Sequence[str]) -> bool:
    """Whether the first arguments are called as queries, keys and values are."""
    forms = (QUERIES, KEYS, VALUES)
    return len(names) > 2 and all(f.fullmatch(n.lower()) for f, n in zip(forms, names, strict=False))
