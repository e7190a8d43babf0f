"""Log of the engine whose last commit reached the disk in part, as a power loss leaves it.

A commit is acknowledged once the log is synced, and only then the next one is written. So what
a power loss tears is behind the last acknowledged commit, and at most one commit long. The engine
drops such a commit if the log ends in it, but rejects the whole file if a page in its middle is
missing and a later one is not.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Final

import duckdb
from loguru import logger

from spawn.adapters.duckdb.connection import attach_encrypted
from spawn.adapters.duckdb.journal.high_water_mark import JournalPosition
from spawn.adapters.embedded.synced_folders import sync_folder
from spawn.adapters.encryption.encryption_key import EncryptionKey

_FIRST_ENTRY: Final = bytes.fromhex("64006265")
_END_OF_COMMIT: Final = bytes.fromhex("0500000000000000e7fe7d722fed3d5e640064ffff")
"""Entry that ends each commit: size, checksum, type; the same in every log of this engine."""
_LENGTH_OF_ENCRYPTED_END: Final = bytes.fromhex("0500000000000000")
"""Length of the entry that ends each commit, which is plain also in an encrypted log."""
_ENCRYPTION_BYTES: Final = 36
"""Bytes of an encrypted entry beside its length and itself: nonce, checksum and tag."""
_ENCRYPTED_END_BYTES: Final = 8 + 5 + _ENCRYPTION_BYTES
_END_OF_ENTRY: Final = bytes.fromhex("ffff")
_MAX_FIRST_ENTRY_BYTES: Final = 128
_POSITION: Final = re.compile(r"at byte position (\d+)")
_REPLAY_FAILED: Final = "replaying WAL"


def cut_torn_commit(
    database: Path,
    marked_position: JournalPosition | None,
    failure: BaseException | None,
    key: EncryptionKey | None = None,
) -> bool:
    """Cut a torn commit off the log that cannot be replayed; keep the whole log beside it.

    Args:
        database: the file; the log is beside it.
        marked_position: the last change that is known to be acknowledged.
        failure: why the engine rejects the log.
        key: that encrypts both.

    Returns:
        Whether the log was cut. It stays as it is if there is any sign of an acknowledged change
        behind the cut.
    """
    log = database.with_name(f"{database.name}.wal")
    if failure is None or _REPLAY_FAILED not in str(failure) or not log.exists():
        return False
    content = log.read_bytes()
    if key is None:
        begin = _find_torn_commit(content, str(failure))
        end_of_commit, end_bytes = _END_OF_COMMIT, len(_END_OF_COMMIT)
    else:
        begin = _find_encrypted_commit(content)
        end_of_commit, end_bytes = _LENGTH_OF_ENCRYPTED_END, _ENCRYPTED_END_BYTES
    if begin is None or not _is_one_commit(content[begin:], end_of_commit, end_bytes):
        return False
    copy = database.with_name(f"{database.name}.wal.torn")
    shutil.copyfile(log, copy)
    copy.chmod(0o600)
    _cut(log, begin)
    if not _has_row(database, marked_position, key):
        copy.replace(log)
        sync_folder(log.parent)
        return False
    logger.warning(
        "the log ended in a commit that a power loss had torn: {} bytes of it were cut off, none of"
        " them acknowledged; the whole log is in {}",
        len(content) - begin,
        copy.name,
    )
    return True


def _find_torn_commit(content: bytes, reason: str) -> int | None:
    """Return the position of the commit that the engine cannot read."""
    if not content.startswith(_FIRST_ENTRY):
        return 0
    position = _POSITION.search(reason)
    if position is None:
        return None
    end = content.rfind(_END_OF_COMMIT, 0, int(position[1]))
    return 0 if end < 0 else end + len(_END_OF_COMMIT)


def _find_encrypted_commit(content: bytes) -> int:
    """Return the position of the last commit, since the engine does not say which one is torn.

    Entries are encrypted one by one, and their lengths are plain. Where one is torn the lengths
    lead nowhere, and the commit began behind the last end.
    """
    position, ends = _find_first_encrypted_entry(content), [0]
    while position is not None and position < len(content):
        length = int.from_bytes(content[position : position + 8], "little")
        if not _is_entry(content, position):
            return ends[-1]
        position += 8 + length + _ENCRYPTION_BYTES
        if length == int.from_bytes(_LENGTH_OF_ENCRYPTED_END, "little"):
            ends.append(position)
    is_whole = position == len(content) == ends[-1]
    return ends[-2] if is_whole and len(ends) > 1 else ends[-1]


def _find_first_encrypted_entry(content: bytes) -> int | None:
    """Return the position behind the first entry, which is plain and of no fixed length."""
    position = 0
    while (position := content.find(_END_OF_ENTRY, position, _MAX_FIRST_ENTRY_BYTES)) >= 0:
        position += len(_END_OF_ENTRY)
        if _is_entry(content, position):
            return position
    return None


def _is_entry(content: bytes, position: int) -> bool:
    """Whether an encrypted entry at the position would end in the log."""
    length = int.from_bytes(content[position : position + 8], "little")
    return 0 < length <= len(content) - position - 8 - _ENCRYPTION_BYTES


def _is_one_commit(content: bytes, end_of_commit: bytes, end_bytes: int) -> bool:
    """Whether the rest of a log has the end of one commit at most, and nothing behind it.

    Were there more, the engine would have synced what is torn: then it is damaged.
    """
    end = content.find(end_of_commit)
    return end < 0 or not content[end + end_bytes :].strip(b"\0")


def _cut(log: Path, size: int) -> None:
    if size:
        with log.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())
    else:
        log.unlink()
    sync_folder(log.parent)


def _has_row(
    database: Path, marked_position: JournalPosition | None, key: EncryptionKey | None
) -> bool:
    """Whether the database still ends at or behind a position, with the same history."""
    if marked_position is None or not marked_position.position:
        return True
    statement = "select hash from journal where position = ?"
    try:
        with _open_for_reading(database, key) as connection:
            row = connection.execute(statement, [marked_position.position]).fetchone()
    except duckdb.Error:
        return False
    return row is not None and bytes(row[0]).hex() == marked_position.hash


def _open_for_reading(database: Path, key: EncryptionKey | None) -> duckdb.DuckDBPyConnection:
    if key is None:
        return duckdb.connect(str(database), read_only=True)
    connection = duckdb.connect(config={"temp_directory": ""})
    try:
        attach_encrypted(connection, database, key, is_read_only=True)
    except duckdb.Error:
        connection.close()
        raise
    return connection
