# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Scan of stored states before a migration: violated proofs and promoted values.

Each scan covers a range of the journal, and the aggregates whose newest row is in it: so none takes
long or reads much of the data, and later rows can be scanned alone.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.state.constraint_sql import constraint_condition
from spawn.adapters.duckdb.state.page_query import engine_value
from spawn.adapters.duckdb.state.state_table import StateTable
from spawn.adapters.duckdb.tables import quote_name, sql_type
from spawn.adapters.embedded.migration_checks import ViolationCollector, promoted_field
from spawn.adapters.embedded.schema_histories import SchemaHistories
from spawn.domain.errors import InvalidInput
from spawn.domain.schema_version import Column, Value
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import AddColumn, MigrationPlan
from spawn.domain.schemas.evolution.type_widening import cast_value
from spawn.domain.schemas.evolution.version_conversion import (
    GovernedState,
    find_violation,
    upgrade_state,
)
from spawn.domain.schemas.value_readers import check_value
from spawn.ports.schemas import MAX_SAMPLE_IDS

ROWS_PER_SCAN = 5_000
"""Journal rows per scan."""

_FETCH_ROWS = 1_000
_FETCH_DOCUMENTS = 200
"""Documents fetched from the engine at once; each may be as large as a request."""

_MAX_MENTIONS = 10
"""Names that are searched for in each document; of more, only their prefix is."""

ScanRange = tuple[int, int]
"""Journal range (after, through]."""

_IN_RANGE = "_position > ? and _position <= ?"


class Promotion(NamedTuple):
    """Value of a document's field for the column of the plan's step of this number."""

    step: int
    position: int
    value: Value


class _Extensions(msgspec.Struct, frozen=True):
    """Extensions of a governed state, without its other fields."""

    extensions: Mapping[str, msgspec.Raw]
    attributes: Mapping[str, Value] = {}
    hidden_attributes: Mapping[str, Value] = {}


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def scan_ranges(after: int, through: int) -> Iterator[ScanRange]:
    """Yield the scan ranges between two positions, in order."""
    for start in range(after, through, ROWS_PER_SCAN):
        yield start, min(start + ROWS_PER_SCAN, through)


def scan(
    cursor: Cursor,
    violations: ViolationCollector,
    table: StateTable,
    plan: MigrationPlan | None,
    schema_history: SchemaHistories,
    scan_range: ScanRange,
) -> list[Promotion]:
    """Check the proofs against the states of a table in a range; return what a plan promotes."""
    columns = table.columns
    for number, proof in enumerate(violations.proofs):
        if proof.stored_name in columns:
            _scan_column(cursor, violations, number, table, scan_range)
    return _scan_documents(cursor, violations, table, plan, schema_history, scan_range)


def _scan_column(
    cursor: Cursor,
    violations: ViolationCollector,
    number: int,
    table: StateTable,
    scan_range: ScanRange,
) -> None:
    """Check a proof of one column.

    The engine selects suspect values; each is then checked as a single project's would be.
    """
    proof = violations.proofs[number]
    name = quote_name(proof.stored_name)
    parameters: list[Any] = [*scan_range]

    def add_parameter(value: Any) -> str:
        parameters.append(value)
        return f"${len(parameters)}"

    condition = constraint_condition(
        proof.column, f"{name}::{sql_type(proof.column.type)}", add_parameter
    )
    cursor.execute(
        f"select {name}, count(*) from {table.name} where _position > $1 and _position <= $2"
        f" and ({name} is null or not {condition}) group by 1",
        parameters,
    )
    violating_values: list[Value | None] = []
    aggregates, detail = 0, ""
    while rows := cursor.fetchmany(_FETCH_ROWS):
        for stored_value, count in rows:
            # The engine stores UTC and returns naive values.
            value = (
                stored_value.replace(tzinfo=UTC)
                if isinstance(stored_value, datetime)
                else stored_value
            )
            violation = _violation(proof, value)
            if violation:
                aggregates, detail = aggregates + count, detail or violation
                violating_values = [*violating_values, value][:MAX_SAMPLE_IDS]
    if aggregates:
        column = table.columns[proof.stored_name]
        sample_ids = _sample_ids(cursor, table, column, violating_values, scan_range)
        violations.add(number, aggregates, sample_ids, detail)


def _violation(proof: Proof, value: Any) -> str:
    """Return the description of a value that violates a proof, or an empty text."""
    if value is None:
        return "" if proof.allows_null else "has no value"
    try:
        check_value(proof.column, cast_value(value, proof.column.type), "")
    except InvalidInput as error:
        return error.errors[0].detail
    return ""


def _sample_ids(
    cursor: Cursor,
    table: StateTable,
    column: Column,
    values: Sequence[Value | None],
    scan_range: ScanRange,
) -> list[str]:
    """Return ids of some aggregates that have one of the values."""
    name, column_type = quote_name(column.name), sql_type(column.type)
    same = " or ".join(f"{name} is not distinct from ?::{column_type}" for _ in values)
    rows = cursor.execute(
        f"select {quote_name(table.type.id_column)} from {table.name}"
        f" where {_IN_RANGE} and ({same})"
        f" order by _created limit {MAX_SAMPLE_IDS}",
        [*scan_range, *(None if v is None else engine_value(v) for v in values)],
    ).fetchall()
    return [aggregate_id for (aggregate_id,) in rows]


def _scan_documents(
    cursor: Cursor,
    violations: ViolationCollector,
    table: StateTable,
    plan: MigrationPlan | None,
    schema_history: SchemaHistories,
    scan_range: ScanRange,
) -> list[Promotion]:
    """Check the proofs of values that are in documents alone; return the promoted ones."""
    columns = table.columns
    proofs: dict[str, list[int]] = {}
    for number, proof in enumerate(violations.proofs):
        if proof.stored_name not in columns:
            proofs.setdefault(proof.stored_name, []).append(number)
    steps: dict[str, int] = {}
    for number, step in enumerate(plan.steps if plan else ()):
        if name := promoted_field(step, columns):
            steps[name] = number
    promotions: list[Promotion] = []
    for position, aggregate_id, state in _read_states(
        cursor, table, proofs.keys() | steps.keys(), schema_history, scan_range
    ):
        names = state.extensions.keys() | state.hidden_attributes.keys()
        for number in (n for name in names & proofs.keys() for n in proofs[name]):
            violation = find_violation(state, violations.proofs[number])
            if violation is not None:
                violations.add(number, 1, [aggregate_id], violation.detail)
        if plan is not None and (present := names & steps.keys()):
            numbers = [steps[name] for name in present]
            promotions += _promoted_values(state, plan, numbers, position)
    return promotions


def _read_states(
    cursor: Cursor,
    table: StateTable,
    names: Collection[str],
    schema_history: SchemaHistories,
    scan_range: ScanRange,
) -> Iterator[tuple[int, str, GovernedState]]:
    """Yield position, id and state of the range whose documents may have one of the fields.

    If all are extensions, states have only their extensions: to decode the whole of each took
    five times as long, during which requests waited for the interpreter.
    """
    if not names:
        return
    are_extensions = all(name.startswith(EXTENSION_PREFIX) for name in names)
    mentions = _list_mentions(names) if are_extensions else [""]
    condition = " or ".join("contains(document, ?)" for _ in mentions)
    cursor.execute(
        "select position, id, schema_version, document from journal where position > ?"
        f" and position <= ? and kind = '{table.kind}' and ({condition})"
        f" and position in (select _position from {table.name} where {_IN_RANGE})",
        [*scan_range, *mentions, *scan_range],
    )
    while rows := cursor.fetchmany(_FETCH_DOCUMENTS):
        for position, aggregate_id, version, document in rows:
            state: GovernedState
            if are_extensions:
                state = _decode_extensions(document, names)
                state = schema_history.upgrade_state(table.kind, state, version)
            else:
                # A retired column may have another name in a document of an older version.
                state = schema_history.decode_state(table.kind, document.encode(), version)
            yield position, aggregate_id, state


def _decode_extensions(document: str, names: Collection[str]) -> _Extensions:
    """Decode the extensions of these names, and nothing else, from a document."""
    fields = _FIELDS.decode(document)
    return _Extensions({name: fields[name] for name in names if name in fields})


def _list_mentions(names: Collection[str]) -> list[str]:
    """Return texts of which a document with one of the extensions has one."""
    if len(names) > _MAX_MENTIONS:
        return [f'"{EXTENSION_PREFIX}']
    return [f'"{name}":' for name in sorted(names)]


def _promoted_values(
    state: GovernedState, plan: MigrationPlan, steps: Sequence[int], position: int
) -> list[Promotion]:
    """Return the column values that the plan makes of fields in a state's document."""
    after = upgrade_state(state, (plan,)).attributes
    promotions: list[Promotion] = []
    for number in steps:
        step = plan.steps[number]
        value = after.get(step.column.name) if isinstance(step, AddColumn) else None
        if value is not None:
            promotions.append(Promotion(number, position, value))
    return promotions
