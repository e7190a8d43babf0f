# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""State tables behind the journal: pending aggregates, and their projection in batches."""

import time
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import AggregateLocation, CachedAggregate, from_microseconds
from spawn.adapters.duckdb.state.bulk_projection import (
    insert_aggregates_sql,
    insert_journal_projects_sql,
    insert_projects_sql,
    json_type,
)
from spawn.adapters.duckdb.tables import quote_name
from spawn.domain.change import StoredAggregate
from spawn.domain.projects.project import Project
from spawn.domain.schema_version import Column

_AGGREGATE = """[{"key":"VARCHAR","kind":"VARCHAR","version":"INTEGER","created":"BIGINT",
"position":"BIGINT","created_at":"BIGINT","is_new":"BOOLEAN"}]"""
_AGGREGATES = f"""(select r.* from (
    select unnest(from_json(payload, '{_AGGREGATE}')) r from stage_aggregates)) s"""
# One table per use and no filter on any: statements are prepared while the tables are empty, and
# the engine would fold a filter on an empty table into a plan that never finds a row.
_STAGES = ("stage_journal", "stage_aggregates", "stage_projects")
_SYSTEM = {
    "_created": "r.created",
    "_position": "r.position",
    "version": "r.version",
    "created_at": "make_timestamp(r.created_at)",
    "updated_at": "make_timestamp(r.updated_at)",
}

_encode = msgspec.json.Encoder().encode


class PendingAggregate(NamedTuple):
    """Aggregate ahead of its projection; `is_new` if the state tables have no row of it."""

    kind: str
    aggregate_id: str
    state: msgspec.Struct
    location: AggregateLocation
    updated_at: int
    schema_version: int
    is_new: bool

    def to_cached(self) -> CachedAggregate:
        """Return the aggregate as readers get it."""
        stored_aggregate = StoredAggregate(
            kind=self.kind,
            id=self.aggregate_id,
            version=self.location.version,
            state=self.state,
            created_at=from_microseconds(self.location.created_at),
            updated_at=from_microseconds(self.updated_at),
            schema_version=self.schema_version,
        )
        return CachedAggregate(stored_aggregate, self.location)


class _AggregateRow(msgspec.Struct, gc=False):
    """Row of an aggregate as sent to the engine."""

    key: str
    kind: str
    version: int
    created: int
    position: int
    created_at: int
    is_new: bool


class _ProjectRow(msgspec.Struct, gc=False):
    """Row of a project as sent to the engine, which parses its state from JSON."""

    version: int
    created: int
    position: int
    created_at: int
    updated_at: int
    state: msgspec.Struct


class Projection:
    """Writer of the state tables. Only the writer thread calls it, but for `get` and `len`."""

    def __init__(
        self, cursor: Cursor, fields: Mapping[str, Column], retired_columns: Collection[str]
    ) -> None:
        self._cursor = cursor
        self._pending: dict[str, PendingAggregate] = {}
        self._waiting_since: float | None = None
        for stage in _STAGES:
            cursor.execute(f"create temp table {stage} (payload varchar)")
        self.prepare(fields, retired_columns)

    def prepare(self, fields: Mapping[str, Column], retired_columns: Collection[str]) -> None:
        """Prepare the statements for the table's fields, some of which are retired."""
        core = {n: c for n, c in fields.items() if n in Project.__struct_fields__}
        extension_columns = {n: c for n, c in fields.items() if n not in core and n not in _SYSTEM}
        state_layout: dict[str, Any] = {
            quote_name(n)[1:-1]: json_type(c.type) for n, c in core.items()
        }
        raw_values = {name: f"r.state.{quote_name(name)}" for name in core}
        retired_fields = {n: c for n, c in extension_columns.items() if n in retired_columns}
        active_fields = {n: c for n, c in extension_columns.items() if n not in retired_columns}
        for member, columns in (
            ("attributes", active_fields),
            ("hidden_attributes", retired_fields),
        ):
            if columns:
                state_layout[member] = {
                    quote_name(n)[1:-1]: json_type(c.type) for n, c in columns.items()
                }
                raw_values |= {name: f"r.state.{member}.{quote_name(name)}" for name in columns}
        layout = dict.fromkeys(_ProjectRow.__struct_fields__, "BIGINT") | {"state": state_layout}
        layout_json = msgspec.json.encode([layout]).decode()
        source = f"(select unnest(from_json(payload, '{layout_json}')) r from stage_projects)"
        self._prepare("insert_projects", insert_projects_sql(fields, raw_values, _SYSTEM, source))
        self._prepare(
            "delete_projects",
            f"delete from projects using {_AGGREGATES} where not s.is_new"
            " and s.kind = 'project' and projects._created = s.created",
        )
        self._prepare(
            "insert_aggregates",
            "insert into aggregates select s.key, s.kind, s.version, s.created, s.position,"
            f" make_timestamp(s.created_at) from {_AGGREGATES} where s.is_new",
        )
        self._prepare(
            "update_aggregates",
            f"update aggregates set version = s.version, position = s.position from {_AGGREGATES}"
            " where not s.is_new and aggregates.created = s.created",
        )

        self._fields = fields

    def project_encoded(self, first: int, last: int) -> None:
        """Project new aggregates from their journal rows, in the caller's transaction."""
        # Planned at every call: a plan made on an empty journal would never find a row.
        position_range = f"position between {first:d} and {last:d}"
        self._cursor.execute(insert_aggregates_sql(position_range))
        self._cursor.execute(insert_journal_projects_sql(self._fields, position_range))

    def _prepare(self, name: str, statement: str) -> None:
        self._cursor.execute(f"prepare {name} as {statement}")

    def __len__(self) -> int:
        return len(self._pending)

    def get(self, key: str) -> PendingAggregate | None:
        """Return the aggregate, if it is ahead of its projection."""
        return self._pending.get(key)

    def age_s(self) -> float:
        """Return the age of the oldest pending change."""
        waiting_since = self._waiting_since
        return 0.0 if waiting_since is None else max(time.monotonic() - waiting_since, 0.0)

    def add(self, key: str, pending: PendingAggregate) -> None:
        """Add a committed aggregate; its newest state replaces a pending one."""
        previous = self._pending.pop(key, None)
        if previous is not None and previous.is_new and not pending.is_new:
            pending = pending._replace(is_new=True)
        self._pending[key] = pending
        if self._waiting_since is None:
            self._waiting_since = time.monotonic()

    def clear(self) -> None:
        """Remove all pending aggregates, after the file was reopened."""
        self._pending.clear()
        self._waiting_since = None

    def project_batch(self, limit: int) -> None:
        """Project the `limit` aggregates that are pending longest, in one transaction."""
        batch = dict(islice(self._pending.items(), limit))
        if not batch:
            return
        self._cursor.execute("begin")
        self._write(batch)
        self._cursor.execute("commit")
        for key, pending in batch.items():
            if self._pending[key] is pending:
                del self._pending[key]
        self._waiting_since = time.monotonic() if self._pending else None

    def _write(self, batch: dict[str, PendingAggregate]) -> None:
        execute = self._cursor.execute
        projects = [
            _ProjectRow(p.location.version, *p.location[1:], p.updated_at, p.state)
            for p in batch.values()
            if p.kind == "project"
        ]
        self._stage(
            "stage_aggregates",
            [_AggregateRow(key, p.kind, *p.location, p.is_new) for key, p in batch.items()],
        )
        execute("execute insert_aggregates")
        if not all(pending.is_new for pending in batch.values()):
            execute("execute update_aggregates")
            execute("execute delete_projects")
        if projects:
            self._stage("stage_projects", projects)
            execute("execute insert_projects")
            execute("delete from stage_projects")
        execute("delete from stage_aggregates")

    def _stage(self, stage: str, rows: Sequence[msgspec.Struct]) -> None:
        self._cursor.execute(f"insert into {stage} values (?)", [_encode(rows).decode()])
