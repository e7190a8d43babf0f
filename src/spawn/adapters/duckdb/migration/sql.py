# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""What the steps of a migration are to the table of projects, as statements.

A hidden column stays in the table under its name and keeps its values, so a step that serves it
again finds them there. The engine alters no table whose rows the same transaction has changed: all
statements come first, and values that have to be given by parameters come after them.
"""

from collections.abc import Callable, Iterator, Mapping

from spawn.adapters.duckdb.tables import literal, quoted, sql_type
from spawn.adapters.embedded.migration_checks import name_after, promotion
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    ChangeType,
    FillNulls,
    HideColumn,
    MigrationPlan,
    RenameColumn,
    Step,
)
from spawn.domain.schemas.model import Column, ColumnType, TypeName, Value

Constant = Callable[[Value, ColumnType], str | None]

_ALTER = "alter table projects"
_TEXT = ColumnType(TypeName.STRING)


def statements(
    plan: MigrationPlan, fields: Mapping[str, Column], constant: Constant = literal
) -> Iterator[tuple[Step, list[str]]]:
    """Each step with its statements, given the columns that the table has before them."""
    types = {name: column.type for name, column in fields.items()}
    for step in plan.steps:
        yield step, _of_step(step, types, constant)


def fills(plan: MigrationPlan) -> Iterator[tuple[str, Value]]:
    """Columns whose projects without a value get a default that cannot stand in a statement."""
    for step in plan.steps:
        default = step.default if isinstance(step, AddColumn | FillNulls) else None
        if isinstance(default, str) and literal(default, _TEXT) is None:
            yield name_after(step), default


def fill(name: str) -> str:
    """What gives the parameter to the projects that have no value of a column."""
    return f"update projects set {quoted(name)} = ? where {quoted(name)} is null"


def described(plan: MigrationPlan, fields: Mapping[str, Column]) -> tuple[str, ...]:
    """Each step as a person reads it; constants are shown and not escaped, so none is run."""
    found: list[str] = []
    given = dict(fills(plan))
    for step, lines in statements(plan, fields, _shown):
        found += lines or [_in_words(step)]
        if (name := name_after(step)) in given:
            found.append(fill(name).replace("?", repr(given[name])))
        if extension := promotion(step):
            found.append(f"{quoted(name_after(step))} takes what {extension} holds")
    return tuple(found)


def _shown(value: Value, of: ColumnType) -> str | None:
    return None if literal(value, of) is None else repr(str(value))


def _of_step(step: Step, types: dict[str, ColumnType], constant: Constant) -> list[str]:
    if isinstance(step, AddColumn):
        return _added(step, types, constant)
    if isinstance(step, RenameColumn):
        return [_renamed(step.before, step.after, types)]
    if isinstance(step, ChangeType):
        types[step.name] = step.after
        if sql_type(step.before) == sql_type(step.after):
            return []
        return [f"{_ALTER} alter {quoted(step.name)} type {sql_type(step.after)}"]
    if isinstance(step, FillNulls):
        return _filled(step.name, types[step.name], step.default, constant)
    return []


def _added(step: AddColumn, types: dict[str, ColumnType], constant: Constant) -> list[str]:
    name, of = step.column.name, step.column.type
    lines: list[str] = []
    if step.promotes in types:
        # A column that was hidden and is served again.
        before = types[step.promotes]
        if step.promotes != name:
            lines.append(_renamed(step.promotes, name, types))
        if sql_type(before) != sql_type(of):
            lines.append(f"{_ALTER} alter {quoted(name)} type {sql_type(of)}")
    else:
        lines.append(f"{_ALTER} add column {quoted(name)} {sql_type(of)}")
    if step.default is not None:
        # Not as the column's default: rows that are written later say what they hold.
        lines += _filled(name, of, step.default, constant)
    types[name] = of
    return lines


def _renamed(before: str, after: str, types: dict[str, ColumnType]) -> str:
    types[after] = types.pop(before)
    return f"{_ALTER} rename {quoted(before)} to {quoted(after)}"


def _filled(name: str, of: ColumnType, default: Value, constant: Constant) -> list[str]:
    value = constant(default, of)
    if value is None:
        return []
    # Faster than an update by far, and the log carries the statement instead of the rows.
    held = f"coalesce({quoted(name)}::{sql_type(of)}, {value})"
    return [f"{_ALTER} alter {quoted(name)} type {sql_type(of)} using {held}"]


def _in_words(step: Step) -> str:
    if isinstance(step, HideColumn):
        return f"{quoted(step.column.name)} is no longer served; its data stay"
    return f"{quoted(name_after(step))} stays as it is in the table"
