# ruff: noqa: S608 -- statements are made of our own constants and quoted paths
"""Schema versions of a store at a position between two snapshots of them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from spawn.adapters.duckdb.archive.backup_index import IndexedPoint
from spawn.adapters.duckdb.archive.pinned_set import PinnedSet
from spawn.adapters.duckdb.archive.segments import SchemaSnapshot, open_schema_file
from spawn.adapters.duckdb.connection import Cursor
from spawn.domain.errors import NotFound
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schemas.schema_status import ADOPTED_EVENT, SCHEMA_KIND
from spawn.ports.schemas import MigrationOutcome, SchemaState

_ADOPTED = frozenset({SchemaState.ACTIVE.value, SchemaState.RETIRED.value})


def snapshot_at(
    cursor: Cursor,
    pinned: PinnedSet,
    before: IndexedPoint | None,
    after: IndexedPoint,
    position: int,
    source: str,
) -> SchemaSnapshot:
    """Return the schema versions and migrations at a position.

    A snapshot of that very position, or of one from which no decision about a schema separates it,
    has them. Between two decisions the later snapshot is taken back by those that the journal has
    after the position.

    Raises:
        NotFound: no schema was active yet.
    """
    if before is not None and before.observed_position == position:
        return read_point_schemas(pinned, before)
    if before is not None and before.schemas == after.schemas:
        return read_point_schemas(pinned, before)
    snapshot = read_point_schemas(pinned, after)
    if after.observed_position == position:
        return snapshot
    later = _adopted_versions(cursor, source, position, after.observed_position)
    earlier = SchemaSnapshot((), ()) if before is None else read_point_schemas(pinned, before)
    return _take_back(cursor, snapshot, earlier, later, position)


def read_point_schemas(pinned: PinnedSet, point: IndexedPoint) -> SchemaSnapshot:
    """Return the schema versions and migrations of a point.

    Raises:
        StorageDamaged: the file has another checksum.
        OSError: it cannot be read.
    """
    content = open_schema_file(pinned.read(point.schemas), point, pinned.key)
    return msgspec.json.decode(content, type=SchemaSnapshot)


_Version = tuple[str, int]
"""Schema id and version."""


def _adopted_versions(cursor: Cursor, source: str, after: int, through: int) -> set[_Version]:
    """Return the versions that were adopted in a range of rows."""
    rows = cursor.execute(
        f"select document from {source} where kind = ? and type = ? and position > ?"
        " and position <= ?",
        [SCHEMA_KIND, ADOPTED_EVENT, after, through],
    ).fetchall()
    statuses = [msgspec.json.decode(document) for (document,) in rows]
    return {(status["schema_id"], int(status["version"])) for status in statuses}


def _identify(row: Mapping[str, Any]) -> _Version:
    return row["schema_id"], row["version"]


def _take_back(
    cursor: Cursor,
    snapshot: SchemaSnapshot,
    earlier: SchemaSnapshot,
    later_versions: set[_Version],
    position: int,
) -> SchemaSnapshot:
    """Return a snapshot without the versions that were adopted later."""
    adopted = [
        row
        for row in snapshot.schemas
        if row["state"] in _ADOPTED and _identify(row) not in later_versions
    ]
    if not adopted:
        raise NotFound(f"No schema was active at position {position}: choose a later one.")
    # The last adopted version of each kind was its active one.
    active = {row.get("kind", PROJECT_KIND): _identify(row) for row in adopted}
    adopted = [{**row, "state": _state_of(row, active)} for row in adopted]
    versions = {_identify(row) for row in adopted}
    others = [row for row in earlier.schemas if _identify(row) not in versions]
    rows = sorted([*others, *adopted], key=lambda row: (row["state"] in _ADOPTED, row["ordinal"]))
    schemas = tuple({**row, "ordinal": ordinal} for ordinal, row in enumerate(rows))
    row = cursor.execute(
        "select recorded_at from journal where position = ?", [position]
    ).fetchone()
    migrations = tuple(
        m
        for m in snapshot.schema_migrations
        if row is not None
        and _started_at(m) <= row[0]
        and (
            m["outcome"] != MigrationOutcome.ADOPTED
            or (m["schema_id"], m["new_version"]) not in later_versions
        )
    )
    return SchemaSnapshot(schemas, migrations)


def _state_of(row: Mapping[str, Any], active: Mapping[str, _Version]) -> str:
    is_active = active[row.get("kind", PROJECT_KIND)] == _identify(row)
    return (SchemaState.ACTIVE if is_active else SchemaState.RETIRED).value


def _started_at(migration: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(migration["started_at"]).replace(tzinfo=None)
