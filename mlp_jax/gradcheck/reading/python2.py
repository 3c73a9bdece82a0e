"""Texts of Python 2 as syntax trees of Python 3, so that files of older courses run as they are.

What only Python 2 compiles (`print x`, `except A, e`, `raise A, 'x'`, `<>`) is rewritten where Python 3's parser
stops. What both compile and run otherwise is changed in the tree: `range(n)` that is kept is a list, and the
quotient of two whole numbers, a float as Python 3 has it, may be an index too, as Python 2's was.
"""

import __future__

import ast
import operator
import re
import sys
from pathlib import Path
from types import CodeType
from typing import Any

DIVIDE = "__divide__"  # the name by which a tree calls `divide`
RENAMED = {"iteritems": "items", "iterkeys": "keys", "itervalues": "values"}
LISTS = ("map", "zip", "filter", "range")
VIEWS = ("items", "keys", "values")
OLD = (  # what Python 2 writes otherwise, and Python 3's words for it
    (r"\bexcept +([\w.]+|\([\w., ]+\)) *, *(\w+) *:", r"except \1 as \2:"),
    (r"^(\s*)raise +([\w.]+) *, *(.+)$", r"\1raise \2(\3)"),
    (r"<>", "!="),
    (r"`([^`\n]+)`", r"repr(\1)"),
    (r"\b(\d+)[lL]\b", r"\1"),
    (r"\bur(['\"])", r"r\1"),
)
floored: dict[str, None] = {}
"""Sentences on the quotients that were wanted as whole numbers, in their order."""


def tree(source: str, path: str) -> ast.Module:
    """A text's syntax tree, with what `Changed` changes. Raises SyntaxError, as Python 3's parser has it."""
    try:
        parsed = ast.parse(source, path)
    except SyntaxError as error:
        try:
            parsed = _parsed_old(source.expandtabs(8))
        except SyntaxError:
            raise error from None
    whole = not re.search(r"\bjax\b", source)  # whose arrays know no kinds of numbers but Python's
    changed: ast.Module = _Changed(quotients=whole).visit(parsed)
    return ast.fix_missing_locations(changed)


def compiled(source: ast.Module, path: str) -> CodeType:
    """A tree's code. Its annotations are not evaluated: a wrong one is no reason not to run."""
    flags = __future__.annotations.compiler_flag
    code: CodeType = compile(source, path, "exec", flags=flags, dont_inherit=True)
    return code


def _parsed_old(source: str) -> ast.Module:
    for pattern, words in OLD:
        source = re.sub(pattern, words, source, flags=re.MULTILINE)
    for _ in range(source.count("\n") + 1):
        try:
            return ast.parse(source)
        except SyntaxError as error:
            source = _called(source, error)
    return ast.parse(source)


def _called(source: str, error: SyntaxError) -> str:
    """The text with the statement print or exec at which the parser stopped as a call. Raises the error else."""
    if "Missing parentheses in call to" not in error.msg or error.end_lineno is None:
        raise error
    lines = source.split("\n")
    first, last = int(error.lineno or 1) - 1, error.end_lineno - 1
    start, end = int(error.offset or 1) - 1, int(error.end_offset or 1) - 1
    if last != first:  # where Python counts no further than the first line is long
        end = len(re.sub(r"\s*(#[^'\"]*)?$", "", lines[last]))
    lines[last] = f"{lines[last][:end]}){lines[last][end:]}"
    match = re.match(r"(print|exec)\s*", lines[first][start:])
    if match is None:
        raise error
    lines[first] = f"{lines[first][:start]}{match[1]}({lines[first][start + match.end() :]}"
    return "\n".join(lines)


class _Changed(ast.NodeTransformer):
    """Gives quotients of whole numbers, and what Python 2 has as lists, Python 2's uses too."""

    def __init__(self, *, quotients: bool) -> None:
        self._quotients = quotients

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """a / b, and sums of lists."""
        self.generic_visit(node)
        if isinstance(node.op, ast.Add):
            node.left, node.right = _listed(node.left), _listed(node.right)
        if isinstance(node.op, ast.Div) and self._quotients:
            return ast.copy_location(_call(DIVIDE, node.left, node.right), node)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """a /= b for a name."""
        self.generic_visit(node)
        if not (isinstance(node.op, ast.Div) and isinstance(node.target, ast.Name) and self._quotients):
            return node
        value = _call(DIVIDE, ast.Name(node.target.id, ast.Load()), node.value, ast.Constant(value=True))
        return ast.copy_location(ast.Assign([node.target], value), node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """a = range(n), and a, b = range(n), range(m)."""
        self.generic_visit(node)
        if isinstance(node.value, ast.Tuple):
            node.value.elts = [_listed(each, ("range",)) for each in node.value.elts]
        node.value = _listed(node.value, ("range",))
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """d.keys()[0], zip(a, b)[i]."""
        self.generic_visit(node)
        node.value = _listed(node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """d.iteritems(), d.has_key(k)."""
        self.generic_visit(node)
        if not isinstance(node.func, ast.Attribute):
            return node
        if node.func.attr in RENAMED and not node.args:
            node.func.attr = RENAMED[node.func.attr]
        if node.func.attr == "has_key" and len(node.args) == 1:
            return ast.copy_location(ast.Compare(node.args[0], [ast.In()], [node.func.value]), node)
        return node


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _listed(node: ast.expr, names: tuple[str, ...] = LISTS) -> ast.expr:
    """What Python 2 has as a list, as one; anything else as it is."""
    if not isinstance(node, ast.Call):
        return node
    function = node.func
    named = isinstance(function, ast.Name) and function.id in names
    view = isinstance(function, ast.Attribute) and function.attr in VIEWS and not node.args
    return ast.copy_location(_call("list", node), node) if named or (view and names == LISTS) else node


class Quotient(float):
    """The quotient of two whole numbers: Python 3's number, and an index where one is wanted, as in Python 2.

    whole: what Python 2 would have computed.
    """

    whole: int

    def __index__(self) -> int:
        frame = sys._getframe(1)
        place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        floored[f"{place} wants a whole number, for which Python 3 needs // in the place of /"] = None
        return self.whole

    def _with(self, other: Any, operation: Any, *, turned: bool = False) -> Any:
        mine, its = (float(self), self.whole), (other, getattr(other, "whole", other))
        if type(other) is not int and not isinstance(other, Quotient):
            method = f"__{'r' if turned else ''}{operation.__name__}__"
            return getattr(float, method)(self, other)
        pairs = zip(its, mine, strict=True) if turned else zip(mine, its, strict=True)
        return _quotient(*(operation(a, b) for a, b in pairs))

    def __add__(self, other: Any) -> Any:
        return self._with(other, operator.add)

    def __sub__(self, other: Any) -> Any:
        return self._with(other, operator.sub)

    def __rsub__(self, other: Any) -> Any:
        return self._with(other, operator.sub, turned=True)

    def __mul__(self, other: Any) -> Any:
        return self._with(other, operator.mul)

    __radd__, __rmul__ = __add__, __mul__


def _quotient(value: float, whole: int) -> Quotient:
    found = Quotient(value)
    found.whole = whole
    return found


def divide(a: Any, b: Any, in_place: bool = False) -> Any:
    """a / b, or a /= b; a `Quotient` of two whole numbers."""
    if type(a) is int and type(b) is int:
        return _quotient(a / b, a // b)
    if in_place:
        a /= b
        return a
    return a / b
