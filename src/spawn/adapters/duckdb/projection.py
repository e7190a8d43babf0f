# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""State tables behind the journal: what is not projected yet, and how batches of it are."""

import time
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from spawn.adapters.duckdb.engine import Cursor
from spawn.adapters.duckdb.layout import quoted, sql_type
from spawn.adapters.duckdb.rows import Held, micros
from spawn.domain.project import Project
from spawn.domain.schema.value import Column, ColumnType, TypeName

_AGGREGATE = """[{"key":"VARCHAR","kind":"VARCHAR","version":"INTEGER","created":"BIGINT",
"position":"BIGINT","created_at":"BIGINT","fresh":"BOOLEAN"}]"""
_AGGREGATES = f"""(select r.* from (
    select unnest(from_json(payload, '{_AGGREGATE}')) r from stage_aggregates)) s"""
# One table for each use and no filter on any: a statement is prepared while they are empty, and
# the engine would fold a filter on nothing into a plan that never finds anything.
_STAGES = ("stage_journal", "stage_aggregates", "stage_projects")
_SYSTEM = ("version", "created_at", "updated_at")
_WIDE = Context(prec=80)
_MAX_NARROW = 18
_MAX_PRECISION = 38

_encode = msgspec.json.Encoder().encode


class Pending(NamedTuple):
    """An aggregate ahead of its projection; `fresh` if the projection has no row of it at all."""

    held: Held
    fresh: bool


class Projection:
    """The writer's hand on the state tables. Only the writer calls it, but for `get` and `len`."""

    def __init__(self, cursor: Cursor, fields: Mapping[str, Column]) -> None:
        self._cursor = cursor
        self._pending: dict[str, Pending] = {}
        self._since: float | None = None
        for stage in _STAGES:
            cursor.execute(f"create temp table {stage} (payload varchar)")
        self.prepare(fields)

    def prepare(self, fields: Mapping[str, Column]) -> None:
        """Compile the statements for the fields of a schema."""
        core = [name for name in fields if name in Project.__struct_fields__]
        self._governed = [name for name in fields if name not in {*core, *_SYSTEM}]
        self._take_core = attrgetter(*core)
        slots = {f"c{n}": fields[name] for n, name in enumerate((*core, *_SYSTEM, *self._governed))}
        self._slots = ("created", "position", *slots)
        self._conversions = [
            (place, convert)
            for place, column in enumerate(slots.values(), start=2)
            if column.name not in _SYSTEM and (convert := _conversion(column.type)) is not None
        ]
        shape = {"created": "BIGINT", "position": "BIGINT"}
        shape |= {slot: _json_type(column.type) for slot, column in slots.items()}
        names = ", ".join(quoted(column.name) for column in slots.values())
        values = ", ".join(_expression(slot, column.type) for slot, column in slots.items())
        structure = msgspec.json.encode([shape]).decode()
        self._prepare(
            "project_rows",
            f"insert into projects (_created, _position, {names})"
            f" select r.created, r.position, {values} from (select unnest(from_json(payload,"
            f" '{structure}')) r from stage_projects)",
        )
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

    def note(self, key: str, held: Held, *, fresh: bool) -> None:
        """An aggregate was committed; `fresh` if this created it."""
        before = self._pending.pop(key, None)
        self._pending[key] = Pending(held, fresh or (before is not None and before.fresh))
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
        aggregates = [
            {
                "key": key,
                "kind": held.stored.kind,
                "version": held.place.version,
                "created": held.place.created,
                "position": held.place.position,
                "created_at": held.place.created_at,
                "fresh": fresh,
            }
            for key, (held, fresh) in batch.items()
        ]
        projects = [p.held for p in batch.values() if p.held.stored.kind == "project"]
        run = self._cursor.execute
        self._stage("stage_aggregates", aggregates)
        run("execute aggregate_rows")
        if any(not pending.fresh for pending in batch.values()):
            run("execute aggregate_move")
            run("execute project_leave")
        if projects:
            self._stage("stage_projects", [self._row(held) for held in projects])
            run("execute project_rows")
            run("delete from stage_projects")
        run("delete from stage_aggregates")

    def _stage(self, stage: str, rows: list[dict[str, Any]]) -> None:
        self._cursor.execute(f"insert into {stage} values (?)", [_encode(rows).decode()])

    def _row(self, held: Held) -> dict[str, Any]:
        stored, place = held
        governed = stored.state.attributes.get
        row: list[Any] = [
            place.created,
            place.position,
            *self._take_core(stored.state),
            stored.version,
            place.created_at,
            micros(stored.updated_at),
            *[governed(name) for name in self._governed],
        ]
        for at, convert in self._conversions:
            if row[at] is not None:
                row[at] = convert(row[at])
        return dict(zip(self._slots, row, strict=True))


def _json_type(of: ColumnType) -> str:
    if of.name is TypeName.DECIMAL:
        return "VARCHAR"
    if of.name is TypeName.TIMESTAMP:
        return "BIGINT"
    return sql_type(of)


def _is_wide(of: ColumnType) -> bool:
    """Whether a decimal is sent as its scaled integer.

    The engine reads a decimal of more than 18 digits from text some twenty times slower than an
    integer that it then multiplies; the product must itself fit into 38 digits.
    """
    precision, scale = of.precision or _MAX_NARROW, of.scale or 0
    return precision > _MAX_NARROW and precision + scale + 1 <= _MAX_PRECISION


def _expression(slot: str, of: ColumnType) -> str:
    if of.name is TypeName.TIMESTAMP:
        return f"make_timestamp(r.{slot})"
    if of.name is TypeName.DECIMAL and _is_wide(of):
        precision, scale = of.precision, of.scale or 0
        unit = f"{Decimal(1).scaleb(-scale):f}::decimal({scale + 1},{scale})"
        whole = f"r.{slot}::hugeint::decimal({precision},0)"
        return f"({whole} * {unit})::{sql_type(of)}"
    return f"r.{slot}::{sql_type(of)}"


def _conversion(of: ColumnType) -> Callable[[Any], Any] | None:
    """How a value is sent to the engine, if not as JSON has it anyway."""
    if of.name is TypeName.TIMESTAMP:
        return micros
    if of.name is TypeName.DECIMAL and _is_wide(of):
        return partial(_scaled, scale=of.scale or 0)
    return None


def _scaled(value: Decimal, scale: int) -> str:
    return str(int(value.scaleb(scale, _WIDE)))
