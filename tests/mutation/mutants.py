"""Mutants of Python source: small changes that a test should notice."""

import ast
import copy
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

Change = Callable[[Any], ast.AST]
"""Function that turns a copy of a node into its replacement."""

_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_FUNCTIONS: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SILENT: Final = frozenset({"logger", "_logger", "_log", "warnings"})
"""Objects whose calls only inform a person."""

_CALL_FORMS: Final = frozenset({"kw_only"})
"""Keywords that decide how a class is called by its own code, which mypy checks."""

_ANNOTATIONS: Final = frozenset({"annotation", "returns", "type_params"})


class Mutant(NamedTuple):
    """One change of one module; `number` counts the changes of the module.

    `line` is the line of the changed node and `statement_line` that of its statement.
    """

    path: str
    number: int
    line: int
    statement_line: int
    scope: str
    before: str
    after: str

    def key(self) -> str:
        """Return the name that survives edits elsewhere in the module."""
        return f"{self.path}: {self.scope}: {self.before} -> {self.after}"


class _Site(NamedTuple):
    """A node that can change, its place in its parent, and what encloses it."""

    parent: ast.AST
    field: str
    position: int | None
    node: ast.AST
    scope: str
    statement_line: int


def list_mutants(path: str, source: str) -> list[Mutant]:
    """Return all mutants of a module, in the order of the source."""
    mutants = []
    for number, (site, change) in enumerate(_list_changes(ast.parse(source))):
        before = ast.unparse(site.node)
        after = ast.unparse(change(copy.deepcopy(site.node)))
        line = getattr(site.node, "lineno", site.statement_line)
        mutants.append(
            Mutant(
                path, number, line, site.statement_line, site.scope, _brief(before), _brief(after)
            )
        )
    return mutants


def build_mutant(source: str, number: int) -> ast.Module:
    """Return the syntax tree of a module with one change."""
    tree = ast.parse(source)
    site, change = list(_list_changes(tree))[number]
    changed = ast.copy_location(change(copy.deepcopy(site.node)), site.node)
    if site.position is None:
        setattr(site.parent, site.field, changed)
    else:
        getattr(site.parent, site.field)[site.position] = changed
    return ast.fix_missing_locations(tree)


def _list_changes(tree: ast.Module) -> Iterator[tuple[_Site, Change]]:
    for site in _walk(tree, "", 0):
        for change in _changes_of(site):
            yield site, change


def _walk(node: ast.AST, scope: str, statement_line: int) -> Iterator[_Site]:
    """Yield every node that runs, in the order of the source."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        scope = f"{scope}.{node.name}" if scope else node.name
    for field, value in ast.iter_fields(node):
        if field in _ANNOTATIONS or _is_for_type_checkers(node, field):
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if not isinstance(child, ast.AST) or _is_docstring(child) or _is_silent(child):
                continue
            if isinstance(child, ast.keyword) and child.arg in _CALL_FORMS:
                continue
            line = child.lineno if isinstance(child, ast.stmt) else statement_line
            yield _Site(node, field, index, child, scope, line)
            yield from _walk(child, scope, line)


def _is_for_type_checkers(node: ast.AST, field: str) -> bool:
    return isinstance(node, ast.If) and field != "orelse" and "TYPE_CHECKING" in ast.dump(node.test)


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_silent(node: ast.AST) -> bool:
    """Whether a statement only logs."""
    call = node.value if isinstance(node, ast.Expr) else None
    target = call.func if isinstance(call, ast.Call) else None
    while isinstance(target, ast.Attribute | ast.Call):
        target = target.value if isinstance(target, ast.Attribute) else target.func
    return isinstance(target, ast.Name) and target.id in _SILENT


def _changes_of(site: _Site) -> Iterator[Change]:
    """Yield the changes of one node."""
    node = site.node
    if isinstance(node, ast.Constant):
        yield from _constant_changes(site, node)
    elif isinstance(node, ast.Call):
        yield from _call_changes(node)
    elif isinstance(node, ast.expr):
        yield from _operator_changes(node)
    elif isinstance(node, ast.stmt):
        yield from _statement_changes(node)
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield _negate_test


def _operator_changes(node: ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            yield _replace_in_list("ops", index, _COMPARISONS[type(operator)]())
    elif isinstance(node, ast.BoolOp):
        yield _replace("op", ast.And() if isinstance(node.op, ast.Or) else ast.Or())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield lambda changed: changed.operand
    elif isinstance(node, ast.BinOp) and not _is_text(node) and type(node.op) in _OPERATORS:
        yield _replace("op", _OPERATORS[type(node.op)]())


def _is_text(node: ast.BinOp) -> bool:
    """Whether an operation joins or formats text."""
    return any(
        isinstance(operand, ast.JoinedStr)
        or (isinstance(operand, ast.Constant) and isinstance(operand.value, str | bytes))
        for operand in (node.left, node.right)
    )


def _constant_changes(site: _Site, node: ast.Constant) -> Iterator[Change]:
    """Change numbers, booleans and words that look like codes; texts are for people."""
    value = node.value
    if isinstance(value, bool):
        yield _replace("value", not value)
    elif isinstance(value, int | float):
        yield _replace("value", value + 1)
    elif isinstance(value, str) and value.isidentifier() and not _is_in_text(site):
        yield _replace("value", f"{value}_")


def _is_in_text(site: _Site) -> bool:
    return isinstance(site.parent, ast.JoinedStr)


def _call_changes(node: ast.Call) -> Iterator[Change]:
    if isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        yield _replace("func", ast.Name(_FUNCTIONS[node.func.id], ast.Load()))
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is not None and isinstance(keyword.value, ast.Constant):
            yield _remove_keyword(index)


def _statement_changes(node: ast.stmt) -> Iterator[Change]:
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Delete():
            yield _delete
        case ast.AugAssign(op=operator):
            yield _delete
            if type(operator) in _OPERATORS:
                yield _replace("op", _OPERATORS[type(operator)]())
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield _delete
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield _replace("value", ast.Constant(None))
        case ast.Break():
            yield lambda _: ast.Continue()
        case ast.Continue():
            yield lambda _: ast.Break()
        case _:
            return


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _replace(field: str, value: object) -> Change:
    def change(node: ast.AST) -> ast.AST:
        setattr(node, field, value)
        return node

    return change


def _replace_in_list(field: str, index: int, value: ast.AST) -> Change:
    def change(node: ast.AST) -> ast.AST:
        getattr(node, field)[index] = value
        return node

    return change


def _remove_keyword(index: int) -> Change:
    def change(node: ast.Call) -> ast.AST:
        del node.keywords[index]
        return node

    return change


def _negate_test(node: ast.If | ast.While | ast.IfExp) -> ast.AST:
    node.test = ast.UnaryOp(ast.Not(), node.test)
    return node


def _delete(_node: ast.AST) -> ast.AST:
    return ast.Pass()


def _brief(code: str) -> str:
    """Return the first line of some code, or what tells it from its neighbours."""
    lines = code.splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0]} ..."
