"""The cells of a notebook as Python: what IPython alone reads, its magics and shell lines, does nothing.

Colab writes such lines into a Python file, too.

Lines keep their numbers. A line is looked at only where a statement may begin, so that the operator % at the start
of a line within brackets, or text within a string, stays.
"""

import ast
import re
import tokenize
from collections.abc import Iterator

from mlp_jax.gradcheck.reading import python2

RUN = ("time", "timeit", "capture", "prun", "memit", "snakeviz", "debug")
"""Magics of a whole cell that run it; others write it to a file, say, or give it to another program."""
CELL = re.compile(r"\s*%%(\w+).*")
LINE = re.compile(r"(\s*)([%!?].*|[\w.*\[\]'\"]+\?\??\s*)")  # %cd x, !ls, ?f, f?
ASSIGNED = re.compile(r"(\s*)(\w[\w., ]*?(?:\[[^\]]*\])?) *= *[%!].*")  # files = !ls


def tree(text: str, path: str) -> ast.Module:
    """The syntax tree of a file's text. Raises SyntaxError for what neither Python nor IPython reads."""
    try:
        return python2.tree(text, path)
    except SyntaxError:
        if re.search(r"^\s*[!%]", text, re.MULTILINE) is None:
            raise
        return python2.tree(python(text), path)


def python(cell: str) -> str:
    """A cell's text as Python; "" if it is in another language."""
    while (magic := CELL.match(cell)) is not None:
        if magic[1] not in RUN:
            return ""
        cell = "\n" * magic[0].count("\n") + cell[magic.end() :]
    return cell if _compiles(cell) else "\n".join(_plain(cell.split("\n")))


def _compiles(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def _plain(lines: list[str]) -> Iterator[str]:
    """The lines, with `pass` for what IPython alone reads."""
    while lines:
        count = _continued(lines)
        text = " ".join(line.removesuffix("\\") for line in lines[:count])
        if (match := LINE.fullmatch(text)) is not None:
            yield from [f"{match[1]}pass", *[""] * (count - 1)]
        elif (match := ASSIGNED.fullmatch(text)) is not None:
            does = f"{match[2]} = None" if match[2].isidentifier() else "pass"
            yield from [f"{match[1]}{does}", *[""] * (count - 1)]
        else:
            count = _statement(lines)
            yield from lines[:count]
        lines = lines[count:]


def _continued(lines: list[str]) -> int:
    """How many lines a backslash at their ends makes one."""
    return next((n for n, line in enumerate(lines, 1) if not line.endswith("\\")), len(lines))


def _statement(lines: list[str]) -> int:
    """How many lines are in the brackets and strings that the first one opens; 1 if they are never closed."""
    for count in range(1, len(lines) + 1):
        try:
            list(tokenize.generate_tokens(iter([f"{line}\n" for line in lines[:count]]).__next__))
        except tokenize.TokenError:
            continue
        except SyntaxError:  # of its indentation
            return count
        return count
    return 1
