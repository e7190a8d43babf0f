"""Evaluation of the formula of an explanation over its inputs, by a machine that knows no finance.

The language is that of `spawn.application.analysis.explanation`: expressions over numbers and
series, element by element, and a handful of functions.
"""

import ast
import operator
from collections.abc import Callable
from itertools import accumulate
from typing import Any

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def evaluate(formula: str, inputs: dict[str, Any]) -> Any:
    """Return the value of an expression."""
    return _Evaluator(inputs).visit(ast.parse(formula, mode="eval").body)


class _Evaluator(ast.NodeVisitor):
    def __init__(self, inputs: dict[str, Any]) -> None:
        self._inputs = inputs

    def generic_visit(self, node: ast.AST) -> Any:
        raise AssertionError(f"not in the language: {ast.dump(node)}")

    def visit_Constant(self, node: ast.Constant) -> Any:
        return node.value

    def visit_Name(self, node: ast.Name) -> Any:
        return self._inputs[node.id]

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        assert isinstance(node.op, ast.USub)
        return _broadcast(operator.mul, -1.0, self.visit(node.operand))

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        return _broadcast(_OPERATORS[type(node.op)], self.visit(node.left), self.visit(node.right))

    def visit_Call(self, node: ast.Call) -> Any:
        assert isinstance(node.func, ast.Name)
        return _FUNCTIONS[node.func.id](*map(self.visit, node.args))


def _broadcast(function: Callable[[float, float], float], left: Any, right: Any) -> Any:
    if isinstance(left, list | tuple):
        others = right if isinstance(right, list | tuple) else [right] * len(left)
        return [function(one, other) for one, other in zip(left, others, strict=True)]
    if isinstance(right, list | tuple):
        return [function(left, other) for other in right]
    return function(left, right)


def _discount_factors(rates: list[float]) -> list[float]:
    return list(accumulate((1.0 / (1.0 + rate) for rate in rates), operator.mul))


def _present_value(cash: list[float], rates: list[float]) -> float:
    return float(sum(_broadcast(operator.mul, cash, _discount_factors(rates))))


def _first(series: list[Any], value: Any) -> int | None:
    return next((index for index, item in enumerate(series, start=1) if item == value), None)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sum": sum,
    "min": min,
    "max": max,
    "mean": lambda series: sum(series) / len(series),
    "first": _first,
    "last": lambda series: series[-1],
    "pos": lambda series: [max(value, 0.0) for value in series],
    "neg": lambda series: [min(value, 0.0) for value in series],
    "df": _discount_factors,
    "pv": _present_value,
}
