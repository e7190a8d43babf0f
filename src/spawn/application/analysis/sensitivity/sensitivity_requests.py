"""Requests for a goal seek or a data table over one case of a calculator."""

from typing import Any, Final

from spawn.application.analysis.sensitivity.data_tables import TableCase
from spawn.application.analysis.sensitivity.goal_seek import GoalCase
from spawn.domain.json_tokens import Token
from spawn.domain.struct_reader import compile_reader, wrong_type_error

_CASE_OPTIONS: Final = ("name", "explain")
"""Members of a request to a calculator that are no fields of its case."""


def _read_case(token: Token, pointer: str) -> dict[str, Any]:
    """Read a case as its tokens, without the options of a request to the calculator."""
    if not isinstance(token, dict):
        raise wrong_type_error(pointer, "an object", token)
    return {name: value for name, value in token.items() if name not in _CASE_OPTIONS}


_read_goal: Final = compile_reader(GoalCase, {"case": _read_case})
_read_table: Final = compile_reader(TableCase, {"case": _read_case})


def read_goal(tokens: dict[str, Token]) -> GoalCase:
    """Read the request for a goal seek.

    Raises:
        InvalidInput: names each invalid field outside the case.
    """
    request: GoalCase = _read_goal(tokens, "")
    return request


def read_table(tokens: dict[str, Token]) -> TableCase:
    """Read the request for a data table.

    Raises:
        InvalidInput: names each invalid field outside the case.
    """
    request: TableCase = _read_table(tokens, "")
    return request
