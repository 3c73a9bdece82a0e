"""Deliberate mistakes: copies of a module in which one operation, or one function's result, is wrong."""

import ast
import copy
import inspect
import types

SWAP = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Gt: ast.GtE, ast.Lt: ast.LtE}
RENAME = {"T": "real", "sum": "mean", "mean": "sum", "max": "min"}


def _sites(tree, functions):
    """Index of every node that can be broken, inside the named functions, as (function, node number)."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name in functions:
            for number, node in enumerate(ast.walk(function)):
                binary = isinstance(node, ast.BinOp) and type(node.op) in SWAP
                compare = isinstance(node, ast.Compare) and type(node.ops[0]) in SWAP
                attribute = isinstance(node, ast.Attribute) and node.attr in RENAME
                if binary or compare or attribute or isinstance(node, ast.Return):
                    yield function.name, number


def _break(tree, name, number):
    """Breaks one node in place and says how."""
    function = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == name)
    node = list(ast.walk(function))[number]
    before = ast.unparse(node)
    if isinstance(node, ast.BinOp):
        node.op = SWAP[type(node.op)]()
    elif isinstance(node, ast.Compare):
        node.ops[0] = SWAP[type(node.ops[0])]()
    elif isinstance(node, ast.Attribute):
        node.attr = RENAME[node.attr]
    else:  # everything that is returned, 0.1 % too large
        scaled = ast.parse("__import__('jax').tree.map(lambda leaf: 1.001 * leaf, 0)", mode="eval").body
        scaled.args[1] = node.value
        node.value = scaled
    return f"{name}: {before} -> {ast.unparse(node)}"


def mutants(module, functions):
    """(what was broken, the broken module) for every operation and every result in the named functions."""
    source = ast.parse(inspect.getsource(module))
    for name, number in list(_sites(source, functions)):
        tree = copy.deepcopy(source)
        what = _break(tree, name, number)
        broken = types.ModuleType(module.__name__)
        code = compile(ast.fix_missing_locations(tree), f"<{what}>", "exec")
        exec(code, broken.__dict__)
        yield what, broken


def survives(check, broken):
    """Whether a check finds nothing wrong with the broken module; an exception is a finding."""
    try:
        return check(broken)
    except Exception:
        return False
