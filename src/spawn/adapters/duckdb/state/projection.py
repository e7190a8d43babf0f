# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""State tables behind the journal: pending aggregates, and their projection in batches."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import duckdb
import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import AggregateLocation, CachedAggregate, from_microseconds
from spawn.adapters.duckdb.state.bulk_projection import insert_aggregates_sql, new_rows_sql
from spawn.adapters.duckdb.state.state_table import STAGE, StateTable
from spawn.domain.change import StoredAggregate

_AGGREGATE = """[{"key":"VARCHAR","kind":"VARCHAR","version":"INTEGER","created":"BIGINT",
"position":"BIGINT","created_at":"BIGINT","is_new":"BOOLEAN"}]"""
_AGGREGATES = f"""(select r.* from (
    select unnest(from_json(payload, '{_AGGREGATE}')) r from stage_aggregates)) s"""
# One table per use and no filter on any: statements are prepared while the tables are empty, and
# the engine would fold a filter on an empty table into a plan that never finds a row.
_STAGES = ("stage_journal", "stage_aggregates", STAGE)

_WRITE_STEP = 1_000
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


class _StateRow(msgspec.Struct, gc=False):
    """Row of a state table as sent to the engine, which parses its state from JSON."""

    id: str
    version: int
    created: int
    position: int
    created_at: int
    updated_at: int
    state: Any


STATE_ROW_LAYOUT = dict.fromkeys(_StateRow.__struct_fields__[:-1], "BIGINT") | {"id": "VARCHAR"}
"""Types of the members of a staged row, beside its state."""


def encode_state_rows(table: StateTable, aggregates: Sequence[PendingAggregate]) -> str:
    """Return the rows of a state table as one JSON array."""
    rows = [
        _StateRow(
            p.aggregate_id,
            p.location.version,
            *p.location[1:],
            p.updated_at,
            table.row_of_state(p.state),
        )
        for p in aggregates
    ]
    return _encode(rows).decode()


class Projection:
    """Writer of the state tables. Only the writer thread calls it, but for `get` and `len`."""

    def __init__(self, cursor: Cursor, tables: Mapping[str, StateTable]) -> None:
        self._cursor = cursor
        self._pending: dict[str, PendingAggregate] = {}
        self._waiting_since: float | None = None
        self._prepared_deletes: set[str] = set()
        self._prepared_inserts: set[str] = set()
        self._is_prepared = False
        for stage in _STAGES:
            cursor.execute(f"create temp table {stage} (payload varchar)")
        self.prepare(tables)

    def prepare(self, tables: Mapping[str, StateTable]) -> None:
        """Note the tables, whose statements are planned anew at their first use.

        They take as long as a fifth of an opening, and a new store gets other tables at once when
        it adopts a schema.
        """
        self._tables = tables
        self._prepared_deletes.clear()
        self._prepared_inserts.clear()
        self._is_prepared = False

    def _prepare_aggregates(self) -> None:
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
        self._is_prepared = True

    def _prepare_delete(self, table: StateTable) -> None:
        if table.kind in self._prepared_deletes:
            return
        self._prepare(
            f"delete_{table.name}",
            f"delete from {table.name} using {_AGGREGATES} where not s.is_new"
            f" and s.kind = '{table.kind}' and {table.name}._created = s.created",
        )
        self._prepared_deletes.add(table.kind)

    def _prepare_insert(self, table: StateTable, *, has_retired: bool) -> str:
        """Return the name of the prepared insert of states with or without retired values."""
        name = f"insert_{table.name}" + ("_with_retired" if has_retired else "")
        if name not in self._prepared_inserts:
            statement = table.insert_staged_sql(STATE_ROW_LAYOUT, has_retired=has_retired)
            self._prepare(name, statement)
            self._prepared_inserts.add(name)
        return name

    def project_encoded(self, first: int, last: int, kinds: frozenset[str]) -> None:
        """Project new aggregates from their journal rows, in the caller's transaction."""
        # Planned at every call: a plan made on an empty journal would never find a row.
        rows = new_rows_sql(first, last)
        self._cursor.execute(insert_aggregates_sql(rows))
        for kind in sorted(kinds & self._tables.keys()):
            source = f"(select * from {rows} where kind = '{kind}')"
            self._cursor.execute(self._tables[kind].insert_documents_sql(source))

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
        """Project the `limit` aggregates that are pending longest, in one transaction.

        They are fewer if the engine has no memory for so many.
        """
        batch = dict(islice(self._pending.items(), limit))
        if not batch:
            return
        self._cursor.execute("begin")
        try:
            self._write(batch)
        except duckdb.OutOfMemoryException:
            if len(batch) == 1:
                raise
            self._cursor.execute("rollback")
            self.project_batch(len(batch) // 2)
            return
        self._cursor.execute("commit")
        for key, pending in batch.items():
            if self._pending[key] is pending:
                del self._pending[key]
        self._waiting_since = time.monotonic() if self._pending else None

    def write_pending(self) -> None:
        """Write every pending aggregate in the caller's transaction; they stay pending."""
        keys = list(self._pending)
        for start in range(0, len(keys), _WRITE_STEP):
            self._write({key: self._pending[key] for key in keys[start : start + _WRITE_STEP]})

    def _write(self, batch: dict[str, PendingAggregate]) -> None:
        execute = self._cursor.execute
        if not self._is_prepared:
            self._prepare_aggregates()
        self._stage(
            "stage_aggregates",
            _encode(
                [_AggregateRow(key, p.kind, *p.location, p.is_new) for key, p in batch.items()]
            ).decode(),
        )
        execute("execute insert_aggregates")
        updated_kinds = {p.kind for p in batch.values() if not p.is_new}
        if updated_kinds:
            execute("execute update_aggregates")
        for kind in updated_kinds & self._tables.keys():
            self._prepare_delete(self._tables[kind])
            execute(f"execute delete_{self._tables[kind].name}")
        by_kind: dict[str, list[PendingAggregate]] = defaultdict(list)
        for pending in batch.values():
            by_kind[pending.kind].append(pending)
        for kind in by_kind.keys() & self._tables.keys():
            self.insert_states(self._tables[kind], by_kind[kind])
        execute("delete from stage_aggregates")

    def insert_states(self, table: StateTable, aggregates: Sequence[PendingAggregate]) -> None:
        """Insert rows into one table, in the caller's transaction."""
        has_retired = any(table.has_retired_values(pending.state) for pending in aggregates)
        insert = self._prepare_insert(table, has_retired=has_retired)
        self._stage(STAGE, encode_state_rows(table, aggregates))
        self._cursor.execute(f"execute {insert}")
        self._cursor.execute(f"delete from {STAGE}")

    def _stage(self, stage: str, payload: str) -> None:
        self._cursor.execute(f"insert into {stage} values (?)", [payload])
