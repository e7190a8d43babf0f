"""Core attributes that a file has met: a new one never takes a governed column in silence.

A release may make a core attribute of a name that a stored schema already governs. Its values then
become the core attribute's, if column and values fit; otherwise the start stops (ADR 0021).
"""

from typing import Final

import msgspec
from loguru import logger

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.embedded.schema_histories import SchemaHistories
from spawn.adapters.embedded.schema_history import SchemaHistory
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.errors import InvalidInput, StorageDamaged, StorageIncompatible
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES
from spawn.domain.schemas.document_parser import read_schema
from spawn.ports.schemas import SchemaRecord, SchemaState

FIRST_CORE_NAMES: Final = frozenset(
    {
        *("project_id", "project_name", "total_amount", "currency_code", "status"),
        *("status_reason", "status_effective_on", "suspended_from", "description", "sector"),
        *("country_code", "maturity_years", "expected_irr", "dscr", "financial_close_date"),
        *("cod_date", "end_date", "spv", "sponsors", "milestones", "external_ref"),
    }
)
"""Core attributes of the releases that recorded none in the file; never edited."""

_TABLE: Final = "create table if not exists core_names (name varchar not null)"
_KIND_COLUMN: Final = (
    f"alter table core_names add column if not exists kind varchar default '{PROJECT_KIND}'"
)
_SCHEMA_FIELDS: Final = frozenset({"attributes", "extensions", "hidden_attributes"})
_ADOPTED: Final = frozenset({SchemaState.ACTIVE, SchemaState.RETIRED})
_DOCUMENT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_COLUMNS: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_NAME: Final = msgspec.json.Decoder(str)


def merge_core_names(cursor: Cursor, histories: SchemaHistories) -> None:
    """Merge governed columns into core attributes of their names, and record all core names.

    Raises:
        StorageIncompatible: a column or a value does not fit; the detail names column and remedy.
    """
    cursor.execute(_TABLE)
    cursor.execute(_KIND_COLUMN)
    rows = cursor.execute("select kind, name from core_names").fetchall()
    for history in histories:
        core_names = _list_core_names(history.kind)
        stored_names = {name for kind, name in rows if kind == history.kind}
        first_names = FIRST_CORE_NAMES if history.kind == PROJECT_KIND else frozenset[str]()
        met_names = stored_names or (first_names if history.records else set(core_names))
        for name in core_names:
            if name not in met_names:
                _merge(cursor, histories, history, name)
        if stored_names != set(core_names):
            _record_names(cursor, history.kind, core_names)


def _list_core_names(kind: str) -> list[str]:
    """Return the core attributes of a kind, those without a column included."""
    fields = AGGREGATE_TYPES[kind].state_type.__struct_fields__
    return [name for name in fields if name not in _SCHEMA_FIELDS]


def _record_names(cursor: Cursor, kind: str, names: list[str]) -> None:
    cursor.execute("begin")
    cursor.execute("delete from core_names where kind = ?", [kind])
    cursor.execute("insert into core_names (name, kind) select unnest(?), ?", [names, kind])
    cursor.execute("commit")


def _merge(cursor: Cursor, histories: SchemaHistories, history: SchemaHistory, name: str) -> None:
    records = [r for r in history.records if r.state in _ADOPTED and name in _declared_names(r)]
    if not records:
        return
    for record in records:
        if (reason := _find_conflict(record, name)) is not None:
            raise _taken_error(name, reason)
    if history.active_record not in records:
        raise _taken_error(name, "the active version no longer has the column")
    count = _check_values(cursor, histories, history.kind, name)
    logger.warning(
        "column {} of the schema is a core attribute of this release: {} stored values became its",
        name,
        count,
    )


def _declared_names(record: SchemaRecord) -> set[str]:
    """Return the names and aliases that a stored document declares."""
    columns = _COLUMNS.decode(_DOCUMENT.decode(record.document).get("columns", b"[]"))
    names = {_NAME.decode(column["name"]) for column in columns if "name" in column}
    aliases = (column["aliases"] for column in columns if "aliases" in column)
    return names.union(*(msgspec.json.decode(raw, type=list[str]) for raw in aliases))


def _find_conflict(record: SchemaRecord, name: str) -> str | None:
    """Return why a version's column cannot become the core attribute; None if it can."""
    version = record.schema.version
    try:
        schema = read_schema(
            record.document,
            default_version=version,
            schema_id=record.schema.id,
            kind=record.schema.kind,
        )
    except InvalidInput as error:
        return f"version {version}: {error.detail}"
    column = next((c for c in schema.columns if c.name == name), None)
    core = CORE_ATTRIBUTES[record.schema.kind].by_name.get(name)
    if column is None or core is None:
        return f"version {version} has no column of this name"
    for member in ("semantic", "unit"):
        if getattr(core, member) not in {None, getattr(column, member)}:
            return f"version {version}: its {member} is another"
    return None


def _check_values(cursor: Cursor, histories: SchemaHistories, kind: str, name: str) -> int:
    """Return the number of stored values, each of which the core attribute accepts."""
    cursor.execute(
        "select id, version, schema_version, document from journal"
        " where kind = ? and coalesce(json_type(document, ?), 'NULL') <> 'NULL'",
        [kind, f'$."{name}"'],
    )
    count = 0
    while rows := cursor.fetchmany(200):
        for aggregate_id, version, schema_version, document in rows:
            try:
                histories.decode_state(kind, document.encode(), schema_version)
            except (InvalidInput, StorageDamaged) as error:
                raise _taken_error(
                    name, f"version {version} of {kind} {aggregate_id}: {error.detail}"
                ) from error
            count += 1
    return count


def _taken_error(name: str, reason: str) -> StorageIncompatible:
    return StorageIncompatible(
        f"The schema governs a column {name}, which is a core attribute of this release and does"
        f" not fit ({reason}): export the data with the release that wrote the store, publish"
        " the schema with the column renamed, and import the file into a new store with a mapping"
        f" of {name} to the new name."
    )
