"""What a column allows, as a condition that the engine judges as the core would."""

from collections.abc import Callable
from typing import Any

from spawn.adapters.duckdb.state.pages import engine_value
from spawn.adapters.duckdb.tables import sql_type
from spawn.domain.schemas.linear_regex import explicit_form
from spawn.domain.schemas.model import Column, TypeName, Value
from spawn.domain.schemas.value_readers import longest

Parameter = Callable[[Any], str]
"""Takes a parameter of the statement and gives what stands for it."""


def conforming(column: Column, value: str, parameter: Parameter) -> str:
    """Whether an expression, of the column's type and not null, is what the column allows."""

    def of(bound: Value) -> str:
        return f"{parameter(engine_value(bound))}::{sql_type(column.type)}"

    conditions = []
    if column.enum is not None:
        members = ", ".join(of(member) for member in column.enum)
        conditions.append(f"{value} in ({members})" if members else "false")
    elif column.type.name is TypeName.STRING:
        conditions.append(f"length({value}) <= {longest(column):d}")
    if column.minimum is not None:
        conditions.append(f"{value} >= {of(column.minimum)}")
    if column.maximum is not None:
        conditions.append(f"{value} <= {of(column.maximum)}")
    if column.pattern is not None:
        pattern = parameter(explicit_form(column.pattern))
        conditions.append(f"regexp_full_match({value}, {pattern})")
    return f"({' and '.join(conditions)})" if conditions else "true"
