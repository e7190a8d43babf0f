"""Verification of a store's file: chain, mark, derived tables, and a head from elsewhere.

A copy is examined, so that nothing is repaired or migrated before it is reported.
"""

import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import duckdb

from spawn.adapters.duckdb import tables
from spawn.adapters.duckdb.archive.archive_check import HeadCheck, Verification
from spawn.adapters.duckdb.archive.backup_index import sign_head
from spawn.adapters.duckdb.archive.segments import ChainCheck, read_chained_rows
from spawn.adapters.duckdb.caches import GenerationalCache, LocationCache, RecentRows
from spawn.adapters.duckdb.connection import Cursor, Engine
from spawn.adapters.duckdb.journal.cache_update import Caches
from spawn.adapters.duckdb.journal.high_water_mark import HighWaterMark, JournalPosition
from spawn.adapters.duckdb.journal.recovery import RecoverableJournal
from spawn.adapters.duckdb.journal.tail import find_store_id, find_tail
from spawn.adapters.duckdb.journal_rows import CachedAggregate
from spawn.adapters.duckdb.receipts import ReceiptCache
from spawn.adapters.duckdb.state.page_cache import PageCache
from spawn.adapters.encryption.encryption_key import NO_KEYS, ArchiveKeys
from spawn.domain.errors import SpawnError, StorageDamaged, StorageIncompatible
from spawn.ports.backups import JournalHead
from spawn.ports.runtime import Clock

_MEMORY_LIMIT = "1GiB"
_LOG_BYTES = 1024**3
_CACHED = 1_000


def verify_store(
    path: Path,
    clock: Clock,
    *,
    head: JournalHead | None = None,
    keys: ArchiveKeys = NO_KEYS,
) -> Verification:
    """Verify the file of a store that no process has open; blocks.

    Raises:
        StorageBusy: a process has it open.
        OSError: there is no file, or no space for a copy beside it.
    """
    if not path.is_file():
        raise FileNotFoundError(2, "No such store", str(path))
    findings: list[str] = []
    mark = HighWaterMark(path) if mark_path(path).exists() else None
    try:
        marked_position = None if mark is None else _read_mark(mark, findings)
        if mark is None or (marked_position is None and not findings):
            findings.append(f"the high-water mark {mark_path(path).name} is missing or empty")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.verify-") as folder:
            copy = Path(folder) / path.name
            shutil.copyfile(path, copy)
            log = path.with_name(path.name + ".wal")
            if log.exists():
                shutil.copyfile(log, copy.with_name(log.name))
            engine = _open_copy(copy, keys, findings)
            if engine is None:
                return _report(path, 0, findings, None)
            head_check = HeadCheck(head, keys.signing)
            return _verify_copy(path, engine, clock, marked_position, head_check, findings)
    finally:
        if mark is not None:
            mark.release()


def mark_path(path: Path) -> Path:
    """Return the path of a store's high-water mark."""
    return path.with_name(path.name + ".mark")


def _read_mark(mark: HighWaterMark, findings: list[str]) -> JournalPosition | None:
    try:
        return mark.read()
    except StorageDamaged as error:
        findings.append(error.detail)
        return None


def _open_copy(copy: Path, keys: ArchiveKeys, findings: list[str]) -> Engine | None:
    """Open the copy; None if it is damaged, which is a finding.

    Raises:
        StorageIncompatible: the key is another one than that of the store.
    """
    try:
        return Engine(copy, _MEMORY_LIMIT, _LOG_BYTES, keys.encryption)
    except StorageIncompatible:
        raise
    except SpawnError as error:
        findings.append(error.detail)
        return None


def _verify_copy(
    original: Path,
    engine: Engine,
    clock: Clock,
    marked_position: JournalPosition | None,
    head_check: HeadCheck,
    findings: list[str],
) -> Verification:
    rows, head = 0, None
    with closing(engine):
        try:
            cursor = engine.cursor()
            tables.migrate_format(cursor, clock.now().replace(tzinfo=None))
            store_id = find_store_id(cursor, original.name)
            chain = _check_chain(cursor, marked_position, head_check, findings)
            rows = chain.position
            head = _describe_head(cursor, store_id, chain)
            findings += head_check.findings(store_id, chain.position)
            if not chain.finding:
                _compare_tables(engine, cursor, clock, findings)
        except SpawnError as error:
            findings.append(error.detail)
        except duckdb.Error as failure:
            findings.append(f"the file is damaged: {str(failure).splitlines()[0]}")
    return _report(original, rows, findings, head)


def _report(path: Path, rows: int, findings: list[str], head: JournalHead | None) -> Verification:
    return Verification(target=str(path), rows=rows, findings=tuple(findings), head=head)


def _check_chain(
    cursor: Cursor,
    marked_position: JournalPosition | None,
    head_check: HeadCheck,
    findings: list[str],
) -> ChainCheck:
    """Check every row of the journal, and that it has the row of the mark."""
    chain, hash_at_mark = ChainCheck(), ""
    for row, stored_hash in read_chained_rows(cursor, "journal"):
        if not chain.add(row, stored_hash):
            findings.append(f"journal: {chain.finding}")
            break
        head_check.add(row.position, stored_hash)
        if marked_position is not None and row.position == marked_position.position:
            hash_at_mark = stored_hash.hex()
    if marked_position is None or not marked_position.position or chain.finding:
        return chain
    if marked_position.position > chain.position:
        findings.append(
            f"the journal ends at {chain.position}, below its high-water mark"
            f" {marked_position.position}: acknowledged changes are missing"
        )
    elif hash_at_mark != marked_position.hash:
        findings.append("the journal and its high-water mark belong to different histories")
    return chain


def _describe_head(cursor: Cursor, store_id: str, chain: ChainCheck) -> JournalHead:
    row = cursor.execute("select epoch from store").fetchone()
    return sign_head(
        JournalHead(
            store_id=store_id,
            epoch=int(row[0]) if row else 0,
            position=chain.position,
            hash=chain.hash.hex(),
        ),
        None,
    )


def _compare_tables(engine: Engine, cursor: Cursor, clock: Clock, findings: list[str]) -> None:
    """Compare every value of the derived tables with the journal."""
    # Without the checksums of the last close every value is compared, not only the checksums.
    cursor.execute("drop table if exists state_proofs")
    mark = HighWaterMark(engine.path)
    try:
        mark.create(find_tail(cursor, engine.path.name).journal_position())
        journal = open_examined_journal(engine, mark, clock)
        findings += (
            f"the table {name} differed from the journal: {reason}"
            for name, reason in journal.differences.items()
        )
        if journal.repaired_rows():
            findings.append(
                f"{journal.repaired_rows()} rows of the derived tables differ from the journal"
            )
        if journal.damage is not None:
            findings.append(journal.damage.detail)
    finally:
        mark.release()


def open_examined_journal(engine: Engine, mark: HighWaterMark, clock: Clock) -> RecoverableJournal:
    """Open a journal as the service does, and compare every value of its derived tables.

    Raises:
        StorageDamaged: see `RecoverableJournal`.
    """
    journal = open_proved_journal(engine, mark, clock)
    while journal.uncompared_rows():
        journal.compare_rows()
    return journal


def open_proved_journal(engine: Engine, mark: HighWaterMark, clock: Clock) -> RecoverableJournal:
    """Open a journal as the service does, with derived tables that are level with it.

    Raises:
        StorageDamaged: see `RecoverableJournal`.
    """
    return RecoverableJournal(engine, mark, clock, _small_caches(), None)


def _small_caches() -> Caches:
    return Caches(
        LocationCache(_CACHED),
        GenerationalCache[CachedAggregate](_CACHED),
        GenerationalCache[CachedAggregate](_CACHED),
        PageCache(_CACHED),
        ReceiptCache(_CACHED),
        RecentRows(_CACHED),
    )
