"""Schema versions of one governed kind known to a store, as an immutable value."""

from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import msgspec

from spawn.adapters.embedded import query_evaluation
from spawn.adapters.embedded.schema_restorer import share_columns
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.change import Change, Write
from spawn.domain.errors import Conflict, FieldError, InvalidInput, StaleVersion
from spawn.domain.events.event import DomainEvent
from spawn.domain.query import Filter, Query, Sort
from spawn.domain.schema_version import MAX_INDEXED_RETIRED, Column, Schema
from spawn.domain.schemas.evolution.column_mapping import carry_retired_columns
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    MigrationPlan,
    may_migrate,
    plan_steps,
)
from spawn.domain.schemas.evolution.version_conversion import VersionSteps
from spawn.domain.schemas.schema_status import SCHEMA_KIND, SchemaStatus
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.schemas import MAX_REPLACED, SchemaRecord, SchemaState

FilterOrSort = TypeVar("FilterOrSort", Filter, Sort)

_REMOVED = (
    f"The column was removed, and more than {MAX_INDEXED_RETIRED} others since: lists no longer"
    " filter or sort by it. Read the list without it and select the items, which have its values."
)
_ADOPTED = frozenset({SchemaState.ACTIVE, SchemaState.RETIRED})
_PUBLISHED_STATES = frozenset({SchemaState.ACTIVE, SchemaState.QUARANTINED, SchemaState.REJECTED})
_PAST_TENSE = {SchemaState.ACTIVE: "adopted"}


class SchemaHistory:
    """Schema records of one kind in the order they were first met; at most one is active.

    Every change returns a new history. Its schemas know the columns of earlier versions
    (`Schema.retired`), which no document states: only the history can tell how to read a stored
    state.
    """

    def __init__(self, kind: str, records: tuple[SchemaRecord, ...] = ()) -> None:
        self.kind = kind
        self.records = records

    @classmethod
    def from_records(cls, kind: str, records: tuple[SchemaRecord, ...]) -> "SchemaHistory":
        """Build the history of stored records, whose schemas lack retired columns."""
        restored_records = list(records)
        indexes = {_identify(record.schema): n for n, record in enumerate(records)}
        predecessor: Schema | None = None
        for schema in reversed(cls(kind, records).version_history):
            if predecessor is not None:
                schema = carry_retired_columns(predecessor, schema)  # noqa: PLW2901  # the same one
            index = indexes[_identify(schema)]
            restored_records[index] = msgspec.structs.replace(records[index], schema=schema)
            predecessor = schema
        return cls(kind, tuple(restored_records))

    @cached_property
    def active_record(self) -> SchemaRecord | None:
        """Record of the active schema."""
        return next((r for r in self.records if r.state is SchemaState.ACTIVE), None)

    @cached_property
    def active_schema(self) -> Schema:
        """Active schema; without one, a version 0 of core attributes alone."""
        if self.active_record is not None:
            return self.active_record.schema
        return Schema(id="none", version=0, name="No schema adopted", kind=self.kind)

    @cached_property
    def version_history(self) -> tuple[Schema, ...]:
        """Versions whose data are in the store, newest first."""
        record, chain = self.active_record, list[Schema]()
        while record is not None:
            chain.append(record.schema)
            predecessor = record.predecessor
            record = None if predecessor is None else self._adopted.get(predecessor)
        return tuple(chain)

    @cached_property
    def _adopted(self) -> dict[int, SchemaRecord]:
        """The records that are or were active, by version."""
        return {r.schema.version: r for r in self.records if r.state in _ADOPTED}

    @cached_property
    def _places(self) -> dict[tuple[int, str], int]:
        """Place of each record, by its version and fingerprint."""
        return {_identify(record.schema): n for n, record in enumerate(self.records)}

    def find_place(self, schema: Schema) -> int | None:
        """Return the place of a schema's record among the records; None without one."""
        return self._places.get(_identify(schema))

    def find_record(self, schema: Schema) -> SchemaRecord | None:
        """Return the record of a schema; None without one."""
        place = self.find_place(schema)
        return None if place is None else self.records[place]

    @cached_property
    def schemas_by_version(self) -> dict[int, Schema]:
        """Every schema that states were written under, by version."""
        return {schema.version: schema for schema in self.version_history}

    def schema_for_version(self, version: int) -> Schema:
        """Return the schema of this version; the active one if it is unknown."""
        return self.schemas_by_version.get(version, self.active_schema)

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Indexed columns of the kind, the last retired ones included."""
        return AGGREGATE_TYPES[self.kind].indexed_columns(self.active_schema)

    def plans_since(self, version: int) -> tuple[MigrationPlan, ...]:
        """Return the plans that lead from a past version to the active one, in order.

        Plans without steps are left out: most versions change texts and rules alone.
        """
        if not self.version_history:
            return ()  # no schema was adopted: all states have core attributes alone
        return tuple(plan for _, plan in self._plans[self._find_plan(version) :])

    def _find_plan(self, version: int) -> int:
        """Return the number of the first plan after a version."""
        return bisect_right(self._plans, self._ages[version], key=_get_number)

    @cached_property
    def _ages(self) -> dict[int, int]:
        """Place of each version in the history, from 0 for the oldest."""
        return {s.version: n for n, s in enumerate(reversed(self.version_history))}

    @cached_property
    def _plans(self) -> tuple[tuple[int, MigrationPlan], ...]:
        """Plans with steps, each with the place of the version that it leads to."""
        oldest_first = self.version_history[::-1]
        pairs = enumerate(pairwise(oldest_first), start=1)
        plans = [(n, plan_steps(old, new)) for n, (old, new) in pairs if may_migrate(old, new)]
        return tuple((number, plan) for number, plan in plans if plan.steps)

    @cached_property
    def _version_steps(self) -> VersionSteps:
        """The steps of all plans."""
        return VersionSteps([plan for _, plan in self._plans])

    def find_promoted(self, extension: str) -> tuple[int, ...]:
        """Return the versions whose extension of a name is the value of a column now."""
        promotions = [
            number
            for number, plan in self._plans
            if any(isinstance(s, AddColumn) and s.source_name == extension for s in plan.steps)
        ]
        newest = max(promotions, default=0)
        return tuple(version for version, number in self._ages.items() if number < newest)

    def upgrade(self, state: Any, schema: Schema) -> Any:
        """Convert a state of a past version to the active version."""
        if schema is self.active_schema or not self.version_history:
            return state
        return self._version_steps.upgrade(state, self._find_plan(schema.version))

    def with_adoption(self, record: SchemaRecord) -> "SchemaHistory":
        """Return the history with `record` active over no data, and its predecessor retired.

        Raises:
            Conflict: the version was adopted before with another content, or was rejected.
        """
        return self._with_active(msgspec.structs.replace(record, predecessor=None))

    def with_migration(self, record: SchemaRecord, plan: MigrationPlan) -> "SchemaHistory":
        """Return the history with `record` active over the data of its predecessor.

        Raises:
            StaleVersion: the plan starts from another version than the active one.
            Conflict: the version was adopted before with another content, or was rejected and
                no decision comes with it.
        """
        active = self.active_record
        if active is None or active.schema.version != plan.old_version:
            current = None if active is None else active.schema.version
            raise StaleVersion(
                f"Version {current} of the schema is active, not {plan.old_version}."
            )
        if record.schema.version in self.schemas_by_version:
            # A version that preceded itself would leave no way to the first one.
            raise Conflict(f"Version {record.schema.version} of the schema was adopted before.")
        schema = carry_retired_columns(active.schema, share_columns(record.schema, active.schema))
        history = self._with_active(
            msgspec.structs.replace(record, schema=schema, predecessor=active.schema.version)
        )
        # The plans up to the active version stay the same: planned anew, each of two thousand
        # versions would cost all the time that its adoption may take.
        number = len(self.version_history)
        history.__dict__["_plans"] = (*self._plans, *([(number, plan)] if plan.steps else []))
        steps = self._version_steps
        history.__dict__["_version_steps"] = steps.extended(plan) if plan.steps else steps
        return history

    def _with_active(self, record: SchemaRecord) -> "SchemaHistory":
        version = record.schema.version
        adopted = self._adopted.get(version)
        if adopted is not None and adopted.schema.fingerprint != record.schema.fingerprint:
            raise Conflict(f"Version {version} of the schema is known with another content.")
        records = list(self.records)
        if self.active_record is not None:
            retired = msgspec.structs.replace(self.active_record, state=SchemaState.RETIRED)
            records[self._places[_identify(retired.schema)]] = retired
        place = self.find_place(record.schema)
        if place is not None:
            _check_rejection(self.records[place], record)
            del records[place]
        records.append(msgspec.structs.replace(record, state=SchemaState.ACTIVE))
        return SchemaHistory(self.kind, tuple(records))

    def with_record(self, record: SchemaRecord) -> "SchemaHistory":
        """Return the history with a version that is not active.

        Raises:
            Conflict: it claims to be active or retired, was adopted, or was rejected before and
                no decision comes with it.
        """
        if record.state in _ADOPTED:
            raise Conflict("A schema version becomes active by adoption or migration only.")
        place = self.find_place(record.schema)
        if place is None:
            return self._with_records((*self._drop_replaced(record.schema.version), record))
        existing = self.records[place]
        if existing.state in _ADOPTED:
            raise Conflict(f"Version {record.schema.version} of the schema was adopted before.")
        _check_rejection(existing, record)
        return self._with_records((*self.records[:place], record, *self.records[place + 1 :]))

    def _drop_replaced(self, number: int) -> tuple[SchemaRecord, ...]:
        """Return the records without the oldest replaced ones of a number, on which none depends.

        A document that changes all the time would fill the store with them.
        """
        replaced_records = [
            record
            for record in self.records
            if record.schema.version == number
            and record.state is SchemaState.REPLACED
            and record.decision is None
        ]
        dropped_ids = {id(record) for record in replaced_records[:-MAX_REPLACED]}
        return tuple(record for record in self.records if id(record) not in dropped_ids)

    def _with_records(self, records: tuple[SchemaRecord, ...]) -> "SchemaHistory":
        """Return a history of the same data, with all that follows from these."""
        history = SchemaHistory(self.kind, records)
        same = self.__dict__.keys() - {"records", "_places"}
        history.__dict__.update((name, self.__dict__[name]) for name in same)
        return history


def _get_number(entry: tuple[int, MigrationPlan]) -> int:
    return entry[0]


def _identify(schema: Schema) -> tuple[int, str]:
    return schema.version, schema.fingerprint


def _check_rejection(existing: SchemaRecord, record: SchemaRecord) -> None:
    """Raise Conflict if a rejected version returns without a decision."""
    if existing.state is SchemaState.REJECTED and record.decision is None:
        raise Conflict(f"Version {record.schema.version} of the schema was rejected before.")


def holds_data_error(kind: str) -> Conflict:
    """Return the error of an adoption over data, which only a migration may change."""
    return Conflict(f"The store holds {kind}s; its schema changes by migration only.")


def is_first_of_core(before: SchemaHistory, after: SchemaHistory) -> bool:
    """Whether a version 0 of core attributes alone follows no version: it describes all data."""
    schema = after.active_schema
    return before.active_record is None and not schema.version and not schema.governed


def reportable_record(
    before: SchemaHistory, after: SchemaHistory, record: SchemaRecord
) -> SchemaRecord | None:
    """Return the record as it is in `after`, if its new state is worth an event."""
    current, previous = after.find_record(record.schema), before.find_record(record.schema)
    if (
        current is None
        or current.state not in _PUBLISHED_STATES
        or (previous is not None and previous.state is current.state)
    ):
        return None
    return current if before.active_record is not None else None


def status_change(
    record: SchemaRecord,
    schema_history: SchemaHistory,
    *,
    version: int,
    actor: str,
    changed: tuple[str, ...],
    schema_version: int,
) -> Change:
    """Build the change that records a schema's status over version `version`.

    `schema_version` is the version of the schema of projects, afterwards.
    """
    schema = record.schema
    state = SchemaStatus(
        schema_id=schema.id,
        version=schema.version,
        fingerprint=schema.fingerprint,
        state=record.state,
        active_version=schema_history.active_schema.version,
        previous_version=record.predecessor,
        changed=changed,
        reason=(record.decision.reason if record.decision else record.reason) or None,
    )
    event = DomainEvent(
        type=f"{SCHEMA_KIND}.{_PAST_TENSE.get(record.state, record.state)}",
        kind=SCHEMA_KIND,
        id=schema.id,
        changed=tuple(n for n, v in msgspec.structs.asdict(state).items() if v),
        reason=state.reason,
    )
    return Change(
        writes=(Write(SCHEMA_KIND, schema.id, version, state),),
        events=(event,),
        actor=actor,
        schema_version=schema_version,
    )


def rename_fields(query: Query, schema: Schema) -> Query:
    """Return the query with field names of a schema that may have renamed them."""
    alias = compile_schema(schema).canonical_name
    return msgspec.structs.replace(
        query,
        filters=tuple(_with_field(clause, alias(clause.field)) for clause in query.filters),
        sort=tuple(_with_field(clause, alias(clause.field)) for clause in query.sort),
    )


def resolve_names(query: Query, schema_history: SchemaHistory) -> Query:
    """Return the query with the current field names of its kind.

    It may have been parsed under the previous version.

    Raises:
        InvalidInput: it names a field that never existed, or breaks another rule.
        CursorInvalid: `after` does not belong to it.
    """
    columns = schema_history.columns
    names = {condition.field for condition in query.filters} | {order.field for order in query.sort}
    if not names <= columns.keys():
        query = rename_fields(query, schema_history.active_schema)
        _check_removed(query, schema_history.active_schema, columns)
    query_evaluation.check_query(query, columns)
    return query


def _check_removed(query: Query, schema: Schema, columns: Mapping[str, Column]) -> None:
    """Raise InvalidInput for fields whose columns were removed before the last that the table has.

    A client of an older version may name them rightly, so the error says what to do instead.
    """
    removed = {retired.name for retired in schema.retired} - columns.keys()
    clauses: tuple[Filter | Sort, ...] = (*query.filters, *query.sort)
    names = dict.fromkeys(clause.field for clause in clauses if clause.field in removed)
    if names:
        raise InvalidInput([FieldError(f"/{n}", "column_removed", _REMOVED) for n in names])


def _with_field(clause: FilterOrSort, name: str | None) -> FilterOrSort:
    return clause if name is None else msgspec.structs.replace(clause, field=name)
