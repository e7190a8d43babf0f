"""Schema histories of all governed kinds of a store, as one immutable value."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from spawn.adapters.embedded import query_evaluation
from spawn.adapters.embedded.schema_history import SchemaHistory, resolve_names
from spawn.domain.aggregates import AGGREGATE_TYPES, decode_state, governed_kinds
from spawn.domain.change import Change, StoredAggregate, Write
from spawn.domain.errors import SchemaVersionChanged
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import Query
from spawn.domain.schema_version import Column, Schema
from spawn.ports.schemas import SchemaRecord


class SchemaHistories:
    """The schema history of each governed kind.

    Kinds without a schema of their own are encoded the same under every schema.
    """

    def __init__(self, histories: Iterable[SchemaHistory] = ()) -> None:
        by_kind = {history.kind: history for history in histories}
        self._by_kind = {
            kind: by_kind.get(kind) or SchemaHistory(kind) for kind in governed_kinds()
        }
        self._columns: dict[str, Mapping[str, Column]] = {}

    def __iter__(self) -> Any:
        """Iterate over the histories."""
        return iter(self._by_kind.values())

    @property
    def records(self) -> tuple[SchemaRecord, ...]:
        """The records of all kinds."""
        return tuple(record for history in self for record in history.records)

    def of(self, kind: str) -> SchemaHistory:
        """Return the history of a kind; for one without a schema, that of projects."""
        return self._by_kind.get(kind) or self._by_kind[PROJECT_KIND]

    def replace(self, history: SchemaHistory) -> "SchemaHistories":
        """Return the histories with another one of its kind."""
        others = (one for one in self if one.kind != history.kind)
        return SchemaHistories((*others, history))

    def columns(self, kind: str) -> Mapping[str, Column]:
        """Return the indexed columns of a kind, retired ones included."""
        columns = self._columns.get(kind)
        if columns is None:
            history = self.of(kind)
            columns = (
                history.columns
                if kind in self._by_kind
                else AGGREGATE_TYPES[kind].indexed_columns(history.active_schema)
            )
            self._columns[kind] = columns
        return columns

    def schema_for(self, kind: str, version: int) -> Schema:
        """Return the schema of a kind and version; the active one if it is unknown."""
        return self.of(kind).schema_for_version(version)

    def schema_of_write(self, change: Change, write: Write) -> Schema:
        """Return the schema that a write of a change is encoded under."""
        return self.schema_for(write.kind, change.schema_version_of(write))

    def check_change(self, change: Change) -> None:
        """Check that a change may still be recorded under its schema versions.

        Raises:
            SchemaVersionChanged: it needs another active version, or a version without data.
        """
        active, expected = (
            self.of(PROJECT_KIND).active_schema.version,
            change.expected_schema_version,
        )
        if expected is not None and expected != active:
            raise _changed_error(active)
        for write in change.writes:
            history = self._by_kind.get(write.kind)
            if history is None:
                continue
            version, active = change.schema_version_of(write), history.active_schema.version
            if version != active and (
                write.needs_active_schema or version not in history.schemas_by_version
            ):
                raise _changed_error(active)

    def upgrade_state(self, kind: str, state: Any, version: int) -> Any:
        """Convert a state of a past version of its kind's schema to the active version."""
        history = self._by_kind.get(kind)
        return (
            state
            if history is None
            else history.upgrade(state, history.schema_for_version(version))
        )

    def decode_state(self, kind: str, document: bytes, version: int) -> Any:
        """Decode a document of a schema version and convert it to the active version."""
        state = decode_state(kind, document, self.schema_for(kind, version))
        return self.upgrade_state(kind, state, version)

    def to_active_version(self, aggregate: StoredAggregate[Any]) -> StoredAggregate[Any]:
        """Convert an aggregate, read under a past history, to the active version."""
        served_version = self.served_version(aggregate.kind, aggregate.schema_version)
        if served_version == aggregate.schema_version:
            return aggregate
        state = self.upgrade_state(aggregate.kind, aggregate.state, aggregate.schema_version)
        return msgspec.structs.replace(aggregate, state=state, schema_version=served_version)

    def served_version(self, kind: str, version: int) -> int:
        """Return the schema version of a state that these histories decoded."""
        history = self._by_kind.get(kind)
        return version if history is None else history.active_schema.version


def _changed_error(active: int) -> SchemaVersionChanged:
    return SchemaVersionChanged(f"Version {active} of the schema is active now.")


def resolve_query(query: Query, histories: SchemaHistories) -> Query:
    """Return the query with the current field names.

    It may have been parsed under the previous version.

    Raises:
        InvalidInput: it names a field that never existed, or breaks another rule.
        CursorInvalid: `after` does not belong to it.
    """
    if AGGREGATE_TYPES[query.kind].is_governed:
        return resolve_names(query, histories.of(query.kind))
    query_evaluation.check_query(query, histories.columns(query.kind))
    return query
