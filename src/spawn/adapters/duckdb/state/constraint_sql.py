"""Column constraints as SQL conditions that agree with the validation of the core."""

from collections.abc import Callable
from typing import Any

import msgspec

from spawn.adapters.duckdb.state.page_query import engine_value
from spawn.adapters.duckdb.tables import sql_type
from spawn.domain.schema_version import Column, TypeName, Value
from spawn.domain.schemas.linear_regex import expand_pattern
from spawn.domain.schemas.value_readers import max_characters

Parameter = Callable[[Any], str]
"""Function that adds a statement parameter and returns its placeholder."""


def constraint_condition(column: Column, expression: str, add_parameter: Parameter) -> str:
    """Return the SQL condition that a typed, non-null expression satisfies the column."""

    def cast_parameter(limit: Value) -> str:
        return f"{add_parameter(engine_value(limit))}::{sql_type(column.type)}"

    conditions = []
    if column.enum is not None and column.type.name is TypeName.STRING:
        # One parameter, because each costs the engine 0.1 ms and a code list has thousands.
        members = add_parameter(msgspec.json.encode(column.enum).decode())
        conditions.append(f"list_contains(from_json({members}, '[\"VARCHAR\"]'), {expression})")
    elif column.enum is not None:
        members = ", ".join(cast_parameter(member) for member in column.enum)
        conditions.append(f"{expression} in ({members})" if members else "false")
    elif column.type.name is TypeName.STRING:
        conditions.append(f"length({expression}) <= {max_characters(column):d}")
    if column.minimum is not None:
        conditions.append(f"{expression} >= {cast_parameter(column.minimum)}")
    if column.maximum is not None:
        conditions.append(f"{expression} <= {cast_parameter(column.maximum)}")
    if column.pattern is not None:
        pattern = add_parameter(expand_pattern(column.pattern))
        conditions.append(f"regexp_full_match({expression}, {pattern})")
    return f"({' and '.join(conditions)})" if conditions else "true"
