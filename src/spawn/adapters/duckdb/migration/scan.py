# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Looking at stored projects before a migration: which break a proof, and what is promoted.

Each look is at a window of the journal, at the projects whose newest row lies in it: so none takes
long or holds much of the data, and what was written since can be looked at alone.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.state.constraint_sql import conforming
from spawn.adapters.duckdb.state.pages import engine_value
from spawn.adapters.duckdb.tables import quoted, sql_type
from spawn.adapters.embedded.migration_checks import Breaches, promotion
from spawn.adapters.embedded.schema_history import SchemaBook
from spawn.domain.errors import InvalidInput
from spawn.domain.projects.project import Project
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import AddColumn, MigrationPlan
from spawn.domain.schemas.evolution.type_widening import cast
from spawn.domain.schemas.evolution.version_conversion import broken_by, upgrade
from spawn.domain.schemas.model import Column, Value
from spawn.domain.schemas.value_readers import check_value
from spawn.ports.schemas import SAMPLE

WINDOW = 5_000
"""Journal rows that one look is at."""

_FETCHED = 1_000
_DOCUMENTS = 200
"""Documents that are taken from the engine at once; each may be as large as a request."""

Window = tuple[int, int]
"""Behind a position, up to and with another."""

_IN_WINDOW = "_position > ? and _position <= ?"


class Promotion(NamedTuple):
    """A value that an extension holds, for the column of the plan's step of this number."""

    step: int
    position: int
    value: Value


def windows(after: int, through: int) -> Iterator[Window]:
    """What lies behind a position and not behind another, in order."""
    for start in range(after, through, WINDOW):
        yield start, min(start + WINDOW, through)


def look_at(
    cursor: Cursor, breaches: Breaches, plan: MigrationPlan | None, book: SchemaBook, window: Window
) -> list[Promotion]:
    """Hold the proofs against the projects of a window; what a plan would promote of theirs."""
    for number, proof in enumerate(breaches.proofs):
        if not proof.stored.startswith(EXTENSION_PREFIX):
            _look_at_column(cursor, breaches, number, book.stored_fields[proof.stored], window)
    return _look_at_extensions(cursor, breaches, plan, book, window)


def _look_at_column(
    cursor: Cursor, breaches: Breaches, number: int, column: Column, window: Window
) -> None:
    """The engine picks values that may not do; each is judged as a single project's would be."""
    proof, name = breaches.proofs[number], quoted(column.name)
    parameters: list[Any] = [*window]

    def parameter(value: Any) -> str:
        parameters.append(value)
        return f"${len(parameters)}"

    kept = conforming(proof.column, f"{name}::{sql_type(proof.column.type)}", parameter)
    cursor.execute(
        f"select {name}, count(*) from projects where _position > $1 and _position <= $2"
        f" and ({name} is null or not {kept}) group by 1",
        parameters,
    )
    broken: list[Value | None] = []
    projects, detail = 0, ""
    while rows := cursor.fetchmany(_FETCHED):
        for found, count in rows:
            # The engine keeps instants in UTC and gives them without saying so.
            value = found.replace(tzinfo=UTC) if isinstance(found, datetime) else found
            offence = _offence(proof, value)
            if offence:
                projects, detail = projects + count, detail or offence
                broken = [*broken, value][:SAMPLE]
    if projects:
        breaches.add(number, projects, _having(cursor, column, broken, window), detail)


def _offence(proof: Proof, value: Any) -> str:
    """What is wrong with a value under a proof, or an empty text."""
    if value is None:
        return "" if proof.nulls else "has no value"
    try:
        check_value(proof.column, cast(value, proof.column.type), "")
    except InvalidInput as refusal:
        return refusal.errors[0].detail
    return ""


def _having(
    cursor: Cursor, column: Column, values: Sequence[Value | None], window: Window
) -> list[str]:
    """Some of the projects that have one of the values."""
    name, of = quoted(column.name), sql_type(column.type)
    same = " or ".join(f"{name} is not distinct from ?::{of}" for _ in values)
    rows = cursor.execute(
        f"select project_id from projects where {_IN_WINDOW} and ({same})"
        f" order by _created limit {SAMPLE}",
        [*window, *(None if v is None else engine_value(v) for v in values)],
    ).fetchall()
    return [project_id for (project_id,) in rows]


def _look_at_extensions(
    cursor: Cursor, breaches: Breaches, plan: MigrationPlan | None, book: SchemaBook, window: Window
) -> list[Promotion]:
    proofs = [n for n, p in enumerate(breaches.proofs) if p.stored.startswith(EXTENSION_PREFIX)]
    steps = [n for n, s in enumerate(plan.steps) if promotion(s)] if plan else []
    names = {breaches.proofs[n].stored for n in proofs}
    if plan is not None:
        names |= {name for n in steps if (name := promotion(plan.steps[n])) is not None}
    found: list[Promotion] = []
    for position, project in _extended(cursor, sorted(names), book, window):
        for number in proofs:
            broken = broken_by(project, breaches.proofs[number])
            if broken is not None:
                breaches.add(number, 1, [project.project_id], broken.detail)
        if plan is not None:
            found += _promotions(project, plan, steps, position)
    return found


def _extended(
    cursor: Cursor, names: Sequence[str], book: SchemaBook, window: Window
) -> Iterator[tuple[int, Project]]:
    """The projects whose newest row is in the window and names one of the extensions."""
    if not names:
        return
    newest = cursor.execute(f"select _position from projects where {_IN_WINDOW}", window).fetchall()
    standing = {position for (position,) in newest}
    mentions = " or ".join("contains(document, ?)" for _ in names)
    cursor.execute(
        "select position, schema_version, document from journal where position > ?"
        f" and position <= ? and kind = 'project' and ({mentions})",
        [*window, *(f'"{name}":' for name in names)],
    )
    while rows := cursor.fetchmany(_DOCUMENTS):
        for position, version, document in rows:
            if position not in standing:
                continue
            state = book.read("project", document.encode(), version)
            if isinstance(state, Project):
                yield position, state


def _promotions(
    project: Project, plan: MigrationPlan, steps: Sequence[int], position: int
) -> list[Promotion]:
    """What the project's extensions become by the plan."""
    after = upgrade(project, (plan,)).attributes
    found: list[Promotion] = []
    for number in steps:
        step = plan.steps[number]
        if isinstance(step, AddColumn) and step.promotes in project.extensions:
            value = after.get(step.column.name)
            if value is not None:
                found.append(Promotion(number, position, value))
    return found
