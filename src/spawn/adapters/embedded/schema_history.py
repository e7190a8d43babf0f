"""The book of schema versions a store has met, as a value: every change of it is a new book."""

from functools import cached_property
from typing import Any, TypeVar

import msgspec

from spawn.adapters.embedded import query_evaluation
from spawn.domain import serialization
from spawn.domain.change import Change, Stored, Write
from spawn.domain.errors import Conflict, Stale
from spawn.domain.events.event import DomainEvent
from spawn.domain.projects.project import Project
from spawn.domain.query import Filter, Query, Sort
from spawn.domain.schemas.evolution.column_mapping import succeed
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration
from spawn.domain.schemas.evolution.version_conversion import upgrade
from spawn.domain.schemas.model import Column, Schema
from spawn.domain.schemas.schema_status import SchemaStanding
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.schemas import SchemaRecord, SchemaState

Named = TypeVar("Named", Filter, Sort)
KIND = "schema"
"""The kind of aggregate that tells of schemas in the journal."""

NO_SCHEMA = Schema(id="none", version=0, name="No schema adopted")
"""What a store without an active schema encodes and reads under: core fields alone."""

_ADOPTED = frozenset({SchemaState.ACTIVE, SchemaState.RETIRED})
_TOLD = frozenset({SchemaState.ACTIVE, SchemaState.QUARANTINED, SchemaState.REJECTED})
_PAST_TENSE = {SchemaState.ACTIVE: "adopted"}


class SchemaBook:
    """Records in the order they were first met; at most one is active.

    The schemas of the lineage know the columns that earlier ones had (`Schema.retired`), which no
    document states: the book alone can say how a stored project is to be read.
    """

    def __init__(self, records: tuple[SchemaRecord, ...] = ()) -> None:
        self.records = records

    @classmethod
    def recalled(cls, records: tuple[SchemaRecord, ...]) -> "SchemaBook":
        """The book of stored records, whose schemas are only what their documents state."""
        known = list(records)
        older: Schema | None = None
        for schema in reversed(cls(records).lineage):
            at = next(n for n, r in enumerate(known) if _is(r, schema))
            older = schema if older is None else succeed(older, schema)
            known[at] = msgspec.structs.replace(known[at], schema=older)
        return cls(tuple(known))

    @cached_property
    def active(self) -> SchemaRecord | None:
        """The record in force."""
        return next((r for r in self.records if r.state is SchemaState.ACTIVE), None)

    @cached_property
    def ruling(self) -> Schema:
        """The schema in force, or the one without columns of its own."""
        return self.active.schema if self.active else NO_SCHEMA

    @cached_property
    def lineage(self) -> tuple[Schema, ...]:
        """The versions whose data are in the store, newest first."""
        adopted = {r.schema.version: r for r in self.records if r.state in _ADOPTED}
        record, found = self.active, list[Schema]()
        while record is not None:
            found.append(record.schema)
            older = record.predecessor
            record = None if older is None else adopted.get(older)
        return tuple(found)

    @cached_property
    def by_version(self) -> dict[int, Schema]:
        """Every schema that projects were ever written under."""
        return {schema.version: schema for schema in self.lineage}

    def written_under(self, version: int) -> Schema:
        """The schema of a document of this schema version; the ruling one if it is not known."""
        return self.by_version.get(version, self.ruling)

    @cached_property
    def stored_fields(self) -> dict[str, Column]:
        """What a store keeps a typed value of: every field of a project, and retired columns."""
        fields = dict(compile_schema(self.ruling).fields)
        return fields | {retired.name: retired.column for retired in self.ruling.retired}

    def plans_since(self, version: int) -> tuple[MigrationPlan, ...]:
        """The plans that lead from a version of the lineage to the ruling one, in order."""
        plans = self._plans.get(version)
        if plans is None:
            versions = [schema.version for schema in self.lineage]
            newer = self.lineage[: versions.index(version) + 1]
            steps = zip(reversed(newer), reversed(newer[:-1]), strict=False)
            plans = self._plans[version] = tuple(plan_migration(old, new) for old, new in steps)
        return plans

    @cached_property
    def _plans(self) -> dict[int, tuple[MigrationPlan, ...]]:
        return {}

    def current(self, state: msgspec.Struct, schema: Schema) -> msgspec.Struct:
        """A state in the shape of a schema of the lineage as it is under the ruling one."""
        if schema is self.ruling or not isinstance(state, Project):
            return state
        return upgrade(state, self.plans_since(schema.version))

    def read(self, kind: str, document: bytes, version: int) -> msgspec.Struct:
        """The state of a document of a schema version, as it is under the ruling one."""
        schema = self.written_under(version)
        return self.current(serialization.decode(kind, document, schema), schema)

    def levelled(self, stored: Stored[Any]) -> Stored[Any]:
        """What was read a moment ago, perhaps by the book before, in the shape of this one."""
        shape = self.shape(stored.kind, stored.schema_version)
        if shape == stored.schema_version:
            return stored
        state = self.current(stored.state, self.written_under(stored.schema_version))
        return msgspec.structs.replace(stored, state=state, schema_version=shape)

    def shape(self, kind: str, version: int) -> int:
        """The schema version whose shape a state read from this book has."""
        return self.ruling.version if kind == "project" else version

    def adopting(self, record: SchemaRecord) -> "SchemaBook":
        """The book with `record` in force over no data, and the one before it retired.

        Raises:
            Conflict: the version was adopted before with another content, or was rejected.
        """
        return self._in_force(msgspec.structs.replace(record, predecessor=None))

    def migrating(self, record: SchemaRecord, plan: MigrationPlan) -> "SchemaBook":
        """The book with `record` in force over the data of the one before it.

        Raises:
            Stale: the plan starts from another version than the one in force.
            Conflict: the version was adopted before with another content, or was rejected and no
                decision comes with it.
        """
        active = self.active
        if active is None or active.schema.version != plan.old_version:
            now = None if active is None else active.schema.version
            raise Stale(f"Version {now} of the schema is active, not {plan.old_version}.")
        schema = succeed(active.schema, record.schema)
        return self._in_force(
            msgspec.structs.replace(record, schema=schema, predecessor=active.schema.version)
        )

    def _in_force(self, record: SchemaRecord) -> "SchemaBook":
        for known in self.records:
            same_number = known.schema.version == record.schema.version
            adopted = known.state in _ADOPTED
            if same_number and adopted and known.schema.fingerprint != record.schema.fingerprint:
                raise Conflict(
                    f"Version {record.schema.version} of the schema is known with another content."
                )
            if _is(known, record.schema):
                _respect(known, record)
        others = [_retired(known) for known in self.records if not _is(known, record.schema)]
        active = msgspec.structs.replace(record, state=SchemaState.ACTIVE)
        return SchemaBook((*others, active))

    def recording(self, record: SchemaRecord) -> "SchemaBook":
        """The book that also remembers a version which does not rule.

        Raises:
            Conflict: it claims to be active or retired, was adopted, or was rejected before and no
                decision comes with it.
        """
        if record.state in _ADOPTED:
            raise Conflict("A schema version becomes active by adoption or migration only.")
        for at, known in enumerate(self.records):
            if not _is(known, record.schema):
                continue
            if known.state in _ADOPTED:
                raise Conflict(f"Version {record.schema.version} of the schema was adopted before.")
            _respect(known, record)
            return SchemaBook((*self.records[:at], record, *self.records[at + 1 :]))
        return SchemaBook((*self.records, record))


def _is(record: SchemaRecord, schema: Schema) -> bool:
    known = record.schema
    return (known.version, known.fingerprint) == (schema.version, schema.fingerprint)


def _respect(known: SchemaRecord, record: SchemaRecord) -> None:
    """Let nothing but another decision go over a rejection, however the two met."""
    if known.state is SchemaState.REJECTED and record.decision is None:
        raise Conflict(f"Version {record.schema.version} of the schema was rejected before.")


def _retired(record: SchemaRecord) -> SchemaRecord:
    if record.state is SchemaState.ACTIVE:
        return msgspec.structs.replace(record, state=SchemaState.RETIRED)
    return record


def told(before: SchemaBook, after: SchemaBook, record: SchemaRecord) -> SchemaRecord | None:
    """The record as it stands in `after`, if its coming to stand there is worth an event."""
    now = next(r for r in after.records if _is(r, record.schema))
    was = next((r for r in before.records if _is(r, record.schema)), None)
    if now.state not in _TOLD or (was is not None and was.state is now.state):
        return None
    return now if before.active is not None else None


def standing(
    record: SchemaRecord, book: SchemaBook, *, version: int, actor: str, changed: tuple[str, ...]
) -> Change:
    """The change that tells of a record, over version `version` of its schema's aggregate."""
    schema = record.schema
    state = SchemaStanding(
        schema_id=schema.id,
        version=schema.version,
        fingerprint=schema.fingerprint,
        state=record.state,
        active_version=book.ruling.version,
        previous_version=record.predecessor,
        changed=changed,
        reason=(record.decision.reason if record.decision else record.reason) or None,
    )
    event = DomainEvent(
        type=f"{KIND}.{_PAST_TENSE.get(record.state, record.state)}",
        kind=KIND,
        id=schema.id,
        changed=tuple(n for n, v in msgspec.structs.asdict(state).items() if v),
        reason=state.reason,
    )
    return Change(
        writes=(Write(KIND, schema.id, version, state),),
        events=(event,),
        actor=actor,
        schema_version=book.ruling.version,
    )


def renamed(query: Query, schema: Schema) -> Query:
    """The query by the names of a schema that its fields may have had other names before."""
    alias = compile_schema(schema).alias
    return msgspec.structs.replace(
        query,
        filters=tuple(_called(one, alias(one.field)) for one in query.filters),
        sort=tuple(_called(one, alias(one.field)) for one in query.sort),
    )


def understood(query: Query, book: SchemaBook) -> Query:
    """The query by the names that fields have now: it may have been read under the version before.

    Raises:
        InvalidInput: it names a field that there never was, or breaks another rule.
        CursorInvalid: `after` does not belong to it.
    """
    fields = book.stored_fields if query.kind == "project" else {}
    names = {wanted.field for wanted in query.filters} | {by.field for by in query.sort}
    if query.kind == "project" and not names <= fields.keys():
        query = renamed(query, book.ruling)
    query_evaluation.check_query(query, fields)
    return query


def _called(one: Named, name: str | None) -> Named:
    return one if name is None else msgspec.structs.replace(one, field=name)
