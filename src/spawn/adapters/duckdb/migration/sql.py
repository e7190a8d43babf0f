# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""SQL statements of migration steps on the table of a governed kind.

A hidden column stays in the table under its name and keeps its values, so a step that serves it
again finds them there, unless many were hidden since and it has left. The engine alters no table
whose rows the same transaction has changed: all statements come first, and values passed as
parameters come after them.
"""

from collections.abc import Callable, Container, Iterator, Mapping

from spawn.adapters.duckdb.tables import quote_name, sql_literal, sql_type
from spawn.adapters.embedded.migration_checks import promoted_field, resulting_name
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.schema_version import Column, ColumnType, TypeName, Value
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    ChangeType,
    FillNulls,
    HideColumn,
    MigrationPlan,
    MigrationStep,
    RenameColumn,
)

Constant = Callable[[Value, ColumnType], str | None]

_TEXT = ColumnType(TypeName.STRING)


def step_statements(
    plan: MigrationPlan, fields: Mapping[str, Column], constant: Constant = sql_literal
) -> Iterator[tuple[MigrationStep, list[str]]]:
    """Yield each step with its statements, given the columns before the migration."""
    types = {name: column.type for name, column in fields.items()}
    table = table_name(plan.kind)
    for step in plan.steps:
        yield step, _step_statements(table, step, types, constant)


def parameter_fills(plan: MigrationPlan) -> Iterator[tuple[str, Value]]:
    """Yield columns and defaults that cannot stand in a statement as constants."""
    for step in plan.steps:
        default = step.default if isinstance(step, AddColumn | FillNulls) else None
        if isinstance(default, str) and sql_literal(default, _TEXT) is None:
            yield resulting_name(step), default


def drop_statements(
    plan: MigrationPlan, fields: Mapping[str, Column], columns: Container[str]
) -> list[str]:
    """Return the statements that drop the columns which a new table lacks.

    Args:
        plan: whose steps were taken before.
        fields: the columns before them.
        columns: the columns of the new table.
    """
    names = dict.fromkeys(fields)
    for step in plan.steps:
        if isinstance(step, RenameColumn):
            del names[step.before]
            names[step.after] = None
        elif isinstance(step, AddColumn):
            names.pop(step.source_name or "", None)
            names[step.column.name] = None
    alter = f"alter table {table_name(plan.kind)}"
    return [f"{alter} drop column {quote_name(name)}" for name in names if name not in columns]


def table_name(kind: str) -> str:
    """Return the table of a governed kind."""
    return AGGREGATE_TYPES[kind].table or ""


def fill_sql(kind: str, name: str) -> str:
    """Return the update that fills missing values of a column with a parameter."""
    column = quote_name(name)
    return f"update {table_name(kind)} set {column} = ? where {column} is null"


def describe_plan(plan: MigrationPlan, fields: Mapping[str, Column]) -> tuple[str, ...]:
    """Describe each step for a reader; constants are not escaped, so none is run."""
    descriptions: list[str] = []
    fill_values = dict(parameter_fills(plan))
    for step, lines in step_statements(plan, fields, _display_literal):
        descriptions += lines or [_describe_unchanged(step)]
        if (name := resulting_name(step)) in fill_values:
            descriptions.append(fill_sql(plan.kind, name).replace("?", repr(fill_values[name])))
        if extension := promoted_field(step, fields):
            descriptions.append(
                f"{quote_name(resulting_name(step))} takes the values of {extension}"
            )
    return tuple(descriptions)


def _display_literal(value: Value, column_type: ColumnType) -> str | None:
    return None if sql_literal(value, column_type) is None else repr(str(value))


def _step_statements(
    table: str, step: MigrationStep, types: dict[str, ColumnType], constant: Constant
) -> list[str]:
    if isinstance(step, AddColumn):
        return _add_column_sql(table, step, types, constant)
    if isinstance(step, RenameColumn):
        return [_rename_sql(table, step.before, step.after, types)]
    if isinstance(step, ChangeType):
        types[step.name] = step.after
        if sql_type(step.before) == sql_type(step.after):
            return []
        return [f"alter table {table} alter {quote_name(step.name)} type {sql_type(step.after)}"]
    if isinstance(step, FillNulls):
        return _coalesce_sql(table, step.name, types[step.name], step.default, constant)
    return []


def _add_column_sql(
    table: str, step: AddColumn, types: dict[str, ColumnType], constant: Constant
) -> list[str]:
    name, column_type = step.column.name, step.column.type
    alter = f"alter table {table}"
    lines: list[str] = []
    if step.source_name in types:
        # A hidden column is served again.
        before = types[step.source_name]
        if step.source_name != name:
            lines.append(_rename_sql(table, step.source_name, name, types))
        if sql_type(before) != sql_type(column_type):
            lines.append(f"{alter} alter {quote_name(name)} type {sql_type(column_type)}")
    else:
        lines.append(f"{alter} add column {quote_name(name)} {sql_type(column_type)}")
    if step.default is not None:
        # Not as the default of the column: later rows state their own values.
        lines += _coalesce_sql(table, name, column_type, step.default, constant)
    types[name] = column_type
    return lines


def _rename_sql(table: str, before: str, after: str, types: dict[str, ColumnType]) -> str:
    types[after] = types.pop(before)
    return f"alter table {table} rename {quote_name(before)} to {quote_name(after)}"


def _coalesce_sql(
    table: str, name: str, column_type: ColumnType, default: Value, constant: Constant
) -> list[str]:
    value = constant(default, column_type)
    if value is None:
        return []
    # Much faster than an update, and the log carries the statement instead of the rows.
    expression = f"coalesce({quote_name(name)}::{sql_type(column_type)}, {value})"
    column = quote_name(name)
    return [f"alter table {table} alter {column} type {sql_type(column_type)} using {expression}"]


def _describe_unchanged(step: MigrationStep) -> str:
    if isinstance(step, HideColumn):
        return f"{quote_name(step.column.name)} is no longer served; its data are kept"
    return f"{quote_name(resulting_name(step))} is unchanged in the table"
