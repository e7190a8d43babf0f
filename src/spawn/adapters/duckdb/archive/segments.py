# ruff: noqa: S608 -- statements are made of our own constants and quoted paths
"""Segments of a journal and snapshots of its schemas, as files of an archive."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from spawn.adapters.archives.durable_files import hash_file
from spawn.adapters.duckdb.archive.backup_index import (
    BackupSet,
    IndexedPoint,
    Segment,
    name_in_set,
)
from spawn.adapters.duckdb.connection import Cursor, quote_path
from spawn.adapters.duckdb.journal_rows import (
    ROW_COLUMNS,
    SELECT_ROW,
    JournalRow,
    hash_row,
    read_row,
)
from spawn.adapters.embedded.archive import Archive
from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.domain.errors import StorageDamaged

SEGMENT_ROWS: Final = 50_000
"""Journal rows in a segment at most, unless one change has more."""

_GROUP_ROWS: Final = 5_000
_FETCH_ROWS: Final = 2_000
_COLUMNS: Final = ", ".join((*ROW_COLUMNS, "hash"))
_BLOB_COLUMN: Final = "document"
_KEY_NAME: Final = "segments"
_SNAPSHOT: Final = b"schema snapshot"
_SCHEMA_TABLES: Final = ("schemas", "schema_migrations")


def add_segment_key(cursor: Cursor, key: EncryptionKey | None) -> None:
    """Let every cursor of a database read and write the segments of a key."""
    if key is not None:
        cursor.execute(f"pragma add_parquet_key('{_KEY_NAME}', '{key.engine_key(b'segments')}')")


def segment_source(paths: Sequence[Path], key: EncryptionKey | None) -> str:
    """Return the relation of the rows of segments, encrypted if there is a key."""
    files = ", ".join(map(quote_path, paths))
    return f"read_parquet([{files}]{_encryption_option(key, ' = ')})"


def _encryption_option(key: EncryptionKey | None, sign: str) -> str:
    return f", encryption_config{sign}{{footer_key: '{_KEY_NAME}'}}" if key else ""


def name_segment(archive: Archive, first: int, last: int) -> str:
    """Return the name of a new segment, without the folder of its set."""
    return archive.name_file(f"journal-{first:012d}-{last:012d}", ".parquet")


def stage_segment(
    cursor: Cursor, partial: Path, segment: Segment, key: EncryptionKey | None
) -> Segment:
    """Write the journal rows of a segment to a local file, and return it with its checksums.

    Its `hash` is at first that of the row before. With a key the file is encrypted.

    Raises:
        duckdb.Error, OSError: it could not be written; nothing of it counts.
        StorageDamaged: a row is missing, or was changed since it was committed.
    """
    try:
        return _stage_segment(cursor, partial, segment, key)
    except (duckdb.Error, OSError, StorageDamaged):
        # At once, because a full disk needs the space.
        with suppress(OSError):
            partial.unlink()
        raise


def _stage_segment(
    cursor: Cursor, partial: Path, segment: Segment, key: EncryptionKey | None
) -> Segment:
    first, last = segment.first, segment.last
    add_segment_key(cursor, key)
    in_range = f"position >= {first:d} and position <= {last:d}"
    cursor.execute(
        f"copy (select {_COLUMNS} from journal where {in_range} order by position)"
        f" to {quote_path(partial)}"
        f" (format parquet, compression zstd, row_group_size {_GROUP_ROWS}"
        f"{_encryption_option(key, ' ')})"
    )
    # Read back: neither a failing disk nor a journal that was changed may count as a backup,
    # because good sets are removed once later ones are good.
    chain = ChainCheck(first - 1, bytes.fromhex(segment.hash))
    for row, stored_hash in read_chained_rows(cursor, segment_source([partial], key)):
        if not chain.add(row, stored_hash):
            break
    if chain.finding or chain.position != last:
        raise StorageDamaged(
            f"The journal cannot be backed up ({chain.finding or f'it ends at {chain.position}'}):"
            " earlier backups are kept; run `spawn verify` on the stopped store."
        )
    return msgspec.structs.replace(
        segment,
        size_bytes=partial.stat().st_size,
        sha256=hash_file(partial),
        hash=chain.hash.hex(),
    )


def read_chained_rows(cursor: Cursor, source: str) -> Iterator[tuple[JournalRow, bytes]]:
    """Yield the rows of a relation with their stored hashes, in order."""
    cursor.execute(f"select hash, {SELECT_ROW} from {source} order by position")
    while rows := cursor.fetchmany(_FETCH_ROWS):
        for stored_hash, *values in rows:
            yield read_row(values), bytes(stored_hash)


class ChainCheck:
    """Check of consecutive rows: each is the next one, and has the hash that follows from it."""

    def __init__(self, position: int = 0, row_hash: bytes = bytes(32)) -> None:
        self.position = position
        self.hash = row_hash
        self.recorded_at = 0
        self.finding = ""

    def add(self, row: JournalRow, stored_hash: bytes) -> bool:
        """Check the next row; return whether it is right, else note the finding."""
        if row.position != self.position + 1:
            self.finding = f"row {self.position + 1} is missing: row {row.position} follows"
        elif hash_row(row, self.hash) != stored_hash:
            self.finding = f"row {row.position} was changed: it does not have the hash of the chain"
        elif row.recorded_at < self.recorded_at:
            self.finding = f"row {row.position} is dated before the row in front of it"
        else:
            self.position, self.hash = row.position, stored_hash
            self.recorded_at = row.recorded_at
        return not self.finding


class SchemaSnapshot(msgspec.Struct, frozen=True):
    """Rows of the tables beside the journal that it does not determine, by column."""

    schemas: tuple[dict[str, Any], ...]
    schema_migrations: tuple[dict[str, Any], ...]


def read_schema_snapshot(cursor: Cursor) -> bytes:
    """Return the schema versions and the log of migrations as JSON."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for table in _SCHEMA_TABLES:
        blob = f"to_base64({_BLOB_COLUMN}) as {_BLOB_COLUMN}"
        columns = f"* replace ({blob})" if table == "schemas" else "*"
        cursor.execute(f"select {columns} from {table} order by ordinal")
        names = [column[0] for column in cursor.description or ()]
        tables[table] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return msgspec.json.encode(tables)


def delete_schema_snapshot(cursor: Cursor) -> None:
    """Empty the tables of a snapshot, in the caller's transaction."""
    for table in _SCHEMA_TABLES:
        cursor.execute(f"delete from {table}")


def insert_schema_snapshot(cursor: Cursor, snapshot: SchemaSnapshot) -> None:
    """Insert the rows of a snapshot into empty tables, in the caller's transaction."""
    for table in _SCHEMA_TABLES:
        for row in getattr(snapshot, table):
            values = ", ".join(
                "from_base64(?)" if name == _BLOB_COLUMN and table == "schemas" else "?"
                for name in row
            )
            cursor.execute(
                f"insert into {table} ({', '.join(row)}) values ({values})", list(row.values())
            )


def write_schema_snapshot(
    archive: Archive, backup_set: BackupSet, content: bytes, key: EncryptionKey | None
) -> tuple[str, str]:
    """Write a snapshot unless the set has it; return the name of its file and its SHA-256.

    Raises:
        OSError: it could not be written.
    """
    stem = f"schemas-{hashlib.sha256(content).hexdigest()[:16]}"
    known = {point.schemas for point in backup_set.points if point.schemas.startswith(stem)}
    new_name = archive.name_file(stem, ".json")
    for name in (*sorted(known), new_name):
        with suppress(OSError, StorageDamaged):
            file_content = archive.read(name_in_set(backup_set.number, name))
            if _open_snapshot(file_content, name, key) == content:
                return name, hashlib.sha256(file_content).hexdigest()
    file_content = content if key is None else key.seal(content, _SNAPSHOT)
    archive.replace(name_in_set(backup_set.number, new_name), file_content)
    return new_name, hashlib.sha256(file_content).hexdigest()


def open_schema_file(file_content: bytes, point: IndexedPoint, key: EncryptionKey | None) -> bytes:
    """Return the content of the file of a point's snapshot.

    Raises:
        StorageDamaged: its checksum differs.
    """
    name, sha256 = point.schemas, point.schemas_sha256
    if hashlib.sha256(file_content).hexdigest() != sha256:
        raise StorageDamaged(f"The file {name} was changed: use another set of the archive.")
    return _open_snapshot(file_content, name, key)


def _open_snapshot(file_content: bytes, name: str, key: EncryptionKey | None) -> bytes:
    return file_content if key is None else key.unseal(file_content, _SNAPSHOT, name)
