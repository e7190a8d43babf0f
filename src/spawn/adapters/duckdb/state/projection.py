# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""State tables behind the journal: what is not projected yet, and how batches of it are."""

import time
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import Held, Place, instant
from spawn.adapters.duckdb.state.bulk_projection import (
    insert_aggregates,
    insert_projects,
    json_type,
    projects_of_journal,
)
from spawn.adapters.duckdb.tables import quoted
from spawn.domain.change import Stored
from spawn.domain.projects.project import Project
from spawn.domain.schemas.model import Column

_AGGREGATE = """[{"key":"VARCHAR","kind":"VARCHAR","version":"INTEGER","created":"BIGINT",
"position":"BIGINT","created_at":"BIGINT","fresh":"BOOLEAN"}]"""
_AGGREGATES = f"""(select r.* from (
    select unnest(from_json(payload, '{_AGGREGATE}')) r from stage_aggregates)) s"""
# One table for each use and no filter on any: a statement is prepared while they are empty, and
# the engine would fold a filter on nothing into a plan that never finds anything.
_STAGES = ("stage_journal", "stage_aggregates", "stage_projects")
_SYSTEM = {
    "_created": "r.created",
    "_position": "r.position",
    "version": "r.version",
    "created_at": "make_timestamp(r.created_at)",
    "updated_at": "make_timestamp(r.updated_at)",
}

_encode = msgspec.json.Encoder().encode


class Pending(NamedTuple):
    """An aggregate ahead of its projection; `fresh` if the projection has no row of it at all."""

    kind: str
    name: str
    state: msgspec.Struct
    place: Place
    updated_at: int
    schema_version: int
    fresh: bool

    def held(self) -> Held:
        """The aggregate as readers are given it."""
        stored = Stored(
            kind=self.kind,
            id=self.name,
            version=self.place.version,
            state=self.state,
            created_at=instant(self.place.created_at),
            updated_at=instant(self.updated_at),
            schema_version=self.schema_version,
        )
        return Held(stored, self.place)


class _AggregateRow(msgspec.Struct, gc=False):
    """What is sent of an aggregate."""

    key: str
    kind: str
    version: int
    created: int
    position: int
    created_at: int
    fresh: bool


class _ProjectRow(msgspec.Struct, gc=False):
    """What is sent of a project: its state as plain JSON, which the engine takes apart."""

    version: int
    created: int
    position: int
    created_at: int
    updated_at: int
    state: msgspec.Struct


class Projection:
    """The writer's hand on the state tables. Only the writer calls it, but for `get` and `len`."""

    def __init__(
        self, cursor: Cursor, fields: Mapping[str, Column], retired: Collection[str]
    ) -> None:
        self._cursor = cursor
        self._pending: dict[str, Pending] = {}
        self._since: float | None = None
        for stage in _STAGES:
            cursor.execute(f"create temp table {stage} (payload varchar)")
        self.prepare(fields, retired)

    def prepare(self, fields: Mapping[str, Column], retired: Collection[str]) -> None:
        """Compile the statements for the table's fields, some of which have retired."""
        core = {n: c for n, c in fields.items() if n in Project.__struct_fields__}
        others = {n: c for n, c in fields.items() if n not in core and n not in _SYSTEM}
        state: dict[str, Any] = {quoted(n)[1:-1]: json_type(c.type) for n, c in core.items()}
        raw = {name: f"r.state.{quoted(name)}" for name in core}
        hidden = {n: c for n, c in others.items() if n in retired}
        governed = {n: c for n, c in others.items() if n not in retired}
        for part, columns in (("attributes", governed), ("hidden_attributes", hidden)):
            if columns:
                state[part] = {quoted(n)[1:-1]: json_type(c.type) for n, c in columns.items()}
                raw |= {name: f"r.state.{part}.{quoted(name)}" for name in columns}
        shape = dict.fromkeys(_ProjectRow.__struct_fields__, "BIGINT") | {"state": state}
        structure = msgspec.json.encode([shape]).decode()
        source = f"(select unnest(from_json(payload, '{structure}')) r from stage_projects)"
        self._prepare("project_rows", insert_projects(fields, raw, _SYSTEM, source))
        self._prepare(
            "project_leave",
            f"delete from projects using {_AGGREGATES} where not s.fresh"
            " and s.kind = 'project' and projects._created = s.created",
        )
        self._prepare(
            "aggregate_rows",
            "insert into aggregates select s.key, s.kind, s.version, s.created, s.position,"
            f" make_timestamp(s.created_at) from {_AGGREGATES} where s.fresh",
        )
        self._prepare(
            "aggregate_move",
            f"update aggregates set version = s.version, position = s.position from {_AGGREGATES}"
            " where not s.fresh and aggregates.created = s.created",
        )

        self._fields = fields

    def take_in(self, first: int, last: int) -> None:
        """Project new aggregates straight from their journal rows; the caller's transaction."""
        # Planned anew each time: a plan made of an empty journal would never find anything.
        span = f"position between {first:d} and {last:d}"
        self._cursor.execute(insert_aggregates(span))
        self._cursor.execute(projects_of_journal(self._fields, span))

    def _prepare(self, name: str, statement: str) -> None:
        self._cursor.execute(f"prepare {name} as {statement}")

    def __len__(self) -> int:
        return len(self._pending)

    def get(self, key: str) -> Pending | None:
        """The aggregate, if it is ahead of its projection."""
        return self._pending.get(key)

    def age_s(self) -> float:
        """How long the oldest acknowledged change has been waiting."""
        since = self._since
        return 0.0 if since is None else max(time.monotonic() - since, 0.0)

    def note(self, key: str, pending: Pending) -> None:
        """An aggregate was committed; if it was waiting already, this is its newest state."""
        before = self._pending.pop(key, None)
        if before is not None and before.fresh and not pending.fresh:
            pending = pending._replace(fresh=True)
        self._pending[key] = pending
        if self._since is None:
            self._since = time.monotonic()

    def forget(self) -> None:
        """Start over: the file was opened anew."""
        self._pending.clear()
        self._since = None

    def step(self, limit: int) -> None:
        """Project the `limit` aggregates that have waited longest, in one transaction."""
        batch = dict(islice(self._pending.items(), limit))
        if not batch:
            return
        self._cursor.execute("begin")
        self._write(batch)
        self._cursor.execute("commit")
        for key, done in batch.items():
            if self._pending[key] is done:
                del self._pending[key]
        self._since = time.monotonic() if self._pending else None

    def _write(self, batch: dict[str, Pending]) -> None:
        run = self._cursor.execute
        projects = [
            _ProjectRow(p.place.version, *p.place[1:], p.updated_at, p.state)
            for p in batch.values()
            if p.kind == "project"
        ]
        self._stage(
            "stage_aggregates",
            [_AggregateRow(key, p.kind, *p.place, p.fresh) for key, p in batch.items()],
        )
        run("execute aggregate_rows")
        if not all(pending.fresh for pending in batch.values()):
            run("execute aggregate_move")
            run("execute project_leave")
        if projects:
            self._stage("stage_projects", projects)
            run("execute project_rows")
            run("delete from stage_projects")
        run("delete from stage_aggregates")

    def _stage(self, stage: str, rows: Sequence[msgspec.Struct]) -> None:
        self._cursor.execute(f"insert into {stage} values (?)", [_encode(rows).decode()])
