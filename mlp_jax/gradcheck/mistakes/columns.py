"""The words of the table for code whose columns are the examples, where they speak of rows and of axes."""

import re

WORDS = {
    ".sum(axis=0)": ".sum(axis=1, keepdims=True)",
    ".mean(axis=0)": ".mean(axis=1, keepdims=True)",
    "axis=1, keepdims=True": "axis=0",
    "X.shape[0]": "X.shape[1]",
    "probs[np.arange(N), y]": "probs[y, np.arange(N)]",
    "the number of rows of X": "the number of columns of X",
    "each row": "each column",
    "in all columns": "in all rows",
}
_ANY = re.compile("|".join(map(re.escape, WORDS)))


def in_columns(sentence: str) -> str:
    """A sentence on a mistake, for examples that are columns."""
    return _ANY.sub(lambda match: WORDS[match[0]], sentence)
