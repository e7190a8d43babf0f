# ruff: noqa: S608 -- statements are made of our own constants and quoted paths
"""Restore of a store from an archive, at any change, into a new file of a new epoch."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import duckdb
import msgspec

from spawn.adapters.duckdb import tables
from spawn.adapters.duckdb.archive.archive_check import HeadCheck, join_findings, verify_set
from spawn.adapters.duckdb.archive.backup_index import (
    BackupSet,
    IndexedPoint,
    list_set_numbers,
    read_set,
)
from spawn.adapters.duckdb.archive.epoch_claims import choose_epoch, claim_new_epoch, renumber
from spawn.adapters.duckdb.archive.pinned_set import PinnedSet, pin_set, report_removal
from spawn.adapters.duckdb.archive.point_schemas import snapshot_at
from spawn.adapters.duckdb.archive.segments import (
    ChainCheck,
    add_segment_key,
    insert_schema_snapshot,
    read_chained_rows,
    segment_source,
)
from spawn.adapters.duckdb.archive.store_check import open_examined_journal
from spawn.adapters.duckdb.connection import Cursor, Engine, FolderNotSynced, translate_error
from spawn.adapters.duckdb.journal.high_water_mark import HighWaterMark, JournalPosition
from spawn.adapters.duckdb.journal_rows import ROW_COLUMNS, from_microseconds, to_microseconds
from spawn.adapters.duckdb.state.state_proof import save_proofs
from spawn.adapters.duckdb.state.state_table import state_tables
from spawn.adapters.embedded.archive import Archive
from spawn.adapters.embedded.synced_folders import create_folder, sync_folder
from spawn.adapters.encryption.encryption_key import NO_KEYS, ArchiveKeys, EncryptionKey
from spawn.domain.errors import Conflict, NotFound, StorageDamaged, Unavailable
from spawn.ports.runtime import Clock

_MEMORY_LIMIT: Final = "1GiB"
_LOG_BYTES: Final = 1024**3
_COLUMNS: Final = ", ".join((*ROW_COLUMNS, "hash"))
_FILES: Final = (".mark", "")
"""Endings of the files of a store, in the order in which they appear."""

_PLACEHOLDER: Final = b"A restore is about to put a store here.\n"


class RestoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Source, moment and target of a restore.

    Without `number` the newest set is read, of the `epoch` if one is named; without `position` and
    `at` up to its end. Epochs number their own changes, so that a position of one is another
    change in the next. A change is restored whole: a position within it counts as its end.
    `is_copy` makes an independent store that neither shares the identity of the source nor
    supersedes it. `keys` are those of the archive, and `target_key` encrypts the new file.
    """

    archive: Archive
    target: Path
    number: int | None = None
    epoch: int | None = None
    position: int | None = None
    at: datetime | None = None
    is_copy: bool = False
    keys: ArchiveKeys = NO_KEYS
    target_key: EncryptionKey | None = None


class RestoredStore(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of a restore; `is_claimed` if the archive excludes the earlier epoch from now on."""

    target: Path
    store_id: str
    epoch: int
    position: int
    recorded_at: datetime | None
    is_claimed: bool


def restore(request: RestoreRequest, clock: Clock) -> RestoredStore:
    """Restore a store into a new file, prove its derived tables, and claim its epoch; blocks.

    Raises:
        Conflict: the target exists, or lies in the folder of the backups.
        NotFound: the archive has no such set, or no change at such a position or instant.
        StorageDamaged: a file of the set is damaged; nothing was written.
        Unavailable: the retention removed the set meanwhile; nothing was written.
        OSError: a file cannot be read or written.
    """
    _require_absent(request.target)
    if request.archive.contains(request.target):
        raise Conflict(
            f"{request.target} lies in the folder of the backups, which has nothing else:"
            " name a file elsewhere."
        )
    number = _choose_set(request)
    with ExitStack() as stack:
        with report_removal(request.archive, number):
            pinned = stack.enter_context(pin_set(request.archive, number, request.keys))
            _require_usable(request, pinned.backup_set)
            points = _Points(pinned)
            _require_good(request, points)
        return _restore(request, points, clock)


def _restore(request: RestoreRequest, points: "_Points", clock: Clock) -> RestoredStore:
    create_folder(request.target.parent)
    with tempfile.TemporaryDirectory(
        dir=request.target.parent, prefix=f".{request.target.name}.restore-"
    ) as folder:
        building = Path(folder) / request.target.name
        with report_removal(request.archive, points.pinned.backup_set.number):
            restored = _build(request, points, building, clock)
        is_claimed = False
        with _publishing(building, request.target):
            if not request.is_copy:
                # Not before the store is proved and its name is free: the claim stops the earlier
                # store.
                is_claimed = claim_new_epoch(
                    request.archive, restored.store_id, restored.epoch, clock
                )
    return msgspec.structs.replace(restored, is_claimed=is_claimed)


def _require_absent(target: Path) -> None:
    for suffix in ("", ".mark", ".wal"):
        path = target.with_name(target.name + suffix)
        if os.path.lexists(path):  # also a link that leads nowhere
            raise Conflict(f"{path} exists, and a restore never overwrites: name another file.")


def _choose_set(request: RestoreRequest) -> int:
    numbers = list_set_numbers(request.archive)
    if not numbers:
        raise NotFound(f"{request.archive} has no backup.")
    number = numbers[-1] if request.number is None else request.number
    if number not in numbers:
        raise NotFound(f"{request.archive} has the sets {numbers}, not {number}.")
    if request.epoch is None:
        return number
    return _choose_set_of_epoch(request, numbers if request.number is None else [number])


def _choose_set_of_epoch(request: RestoreRequest, numbers: Sequence[int]) -> int:
    """Return the newest of the sets that the epoch of the request wrote.

    Raises:
        NotFound: it wrote none of them.
        StorageDamaged: an index cannot be read.
    """
    epochs = {}
    for number in reversed(numbers):
        with report_removal(request.archive, number):
            epochs[number] = read_set(request.archive, number, request.keys).epoch
        if epochs[number] == request.epoch:
            return number
    listed = ", ".join(f"set {number} of epoch {epochs[number]}" for number in numbers)
    raise NotFound(
        f"No set of epoch {request.epoch} is there, only {listed}: its positions may be other"
        " changes."
    )


def _require_usable(request: RestoreRequest, backup_set: BackupSet) -> None:
    number = backup_set.number
    if backup_set.store_format > len(tables.FORMAT_MIGRATIONS):
        raise StorageDamaged(
            f"Set {number} was written by a newer release: restore it with that release."
        )
    if not backup_set.points:
        raise NotFound(f"Set {number} was not written to the end: choose another set.")
    last = backup_set.points[-1].position
    if request.position is not None and request.position > last:
        raise NotFound(f"Set {number} ends at position {last}, before {request.position}.")
    if request.position == 0:
        raise NotFound("The first position is 1: at 0 there is nothing to restore.")


def _require_good(request: RestoreRequest, points: "_Points") -> None:
    through = None
    if request.position is not None:
        through = points.after(request.position).observed_position
    findings = verify_set(points.pinned, HeadCheck(None, None), through)
    if findings:
        number = points.pinned.backup_set.number
        others = [n for n in list_set_numbers(request.archive) if n != number]
        advice = f"try --set {others[-1]}" if others else "there is no other set"
        raise StorageDamaged(f"Set {number} is damaged ({join_findings(findings)}): {advice}.")


def _build(request: RestoreRequest, points: "_Points", path: Path, clock: Clock) -> RestoredStore:
    """Build the file with its mark, open it as the service does, and close it."""
    engine = Engine(path, _MEMORY_LIMIT, _LOG_BYTES, request.target_key)
    with closing(engine):
        try:
            cursor = engine.cursor()
            add_segment_key(cursor, points.pinned.key)
            tables.migrate_format(cursor, clock.now().replace(tzinfo=None))
            position = _find_end(cursor, points, request)
            if request.at is not None and not position:
                # An empty store in place of the one that is served is a mistyped year.
                raise NotFound(f"No change was recorded by {request.at.isoformat()}.")
            _insert_journal(cursor, points, position)
            restored = _insert_rest(cursor, request, points, position)
            _prove(engine, cursor, restored, clock)
        except duckdb.Error as failure:
            raise translate_error(failure, path.name) from failure
        except FolderNotSynced as failure:
            raise Unavailable(
                f"The disk did not confirm {path.name}: check the disk, then restore again."
            ) from failure
    return restored


def _find_end(cursor: Cursor, points: "_Points", request: RestoreRequest) -> int:
    """Return the last row to restore: the end of a change."""
    segments = points.segments(request.position)
    if not segments:
        return 0
    source = points.source(segments)
    if request.at is not None:
        moment = "make_timestamp(?)"
        parameters: list[Any] = [to_microseconds(request.at)]
    elif request.position is not None:
        moment = f"(select max(recorded_at) from {source} where position <= ?)"
        parameters = [request.position]
    else:
        moment, parameters = "'infinity'::timestamp", []
    row = cursor.execute(
        f"select coalesce(max(position), 0) from {source} where recorded_at <= {moment}",
        parameters,
    ).fetchone()
    return int(row[0]) if row else 0


def _insert_journal(cursor: Cursor, points: "_Points", position: int) -> None:
    """Insert the rows segment by segment, and check the chain of what was inserted."""
    for segment in points.segments(position):
        cursor.execute(
            f"insert into journal ({_COLUMNS}) select {_COLUMNS} from {points.source([segment])}"
            f" where position <= {position:d} order by position"
        )
    chain = ChainCheck()
    for row, stored_hash in read_chained_rows(cursor, "journal"):
        if not chain.add(row, stored_hash):
            raise StorageDamaged(f"The restored journal is damaged: {chain.finding}.")
    if chain.position != position:
        raise StorageDamaged(f"The restored journal ends at {chain.position}, not {position}.")


class _Points:
    """Points of a set around a position."""

    def __init__(self, pinned: PinnedSet) -> None:
        self.pinned = pinned
        self._points = pinned.backup_set.points
        self._segments = pinned.backup_set.segments

    def segments(self, position: int | None) -> list[Path]:
        """Return the files with the rows up to a position; each ends with a change."""
        return [
            self.pinned.path(segment.name)
            for segment in self._segments
            if position is None or segment.first <= position
        ]

    def source(self, segments: Sequence[Path]) -> str:
        """Return the relation of the rows of files."""
        return segment_source(segments, self.pinned.key)

    def before(self, position: int) -> IndexedPoint | None:
        """Return the last point whose schemas were read at the position or before."""
        points = [point for point in self._points if point.observed_position <= position]
        return points[-1] if points else None

    def after(self, position: int) -> IndexedPoint:
        """Return the first point whose schemas were read at the position or later."""
        return next(p for p in self._points if p.observed_position >= position)


def _insert_rest(
    cursor: Cursor,
    request: RestoreRequest,
    points: _Points,
    position: int,
) -> RestoredStore:
    """Insert what the journal does not determine, and give the store its identity."""
    before, after = points.before(position), points.after(position)
    source = points.source(points.segments(after.observed_position))
    insert_schema_snapshot(
        cursor, snapshot_at(cursor, points.pinned, before, after, position, source)
    )
    store_id, epoch = _choose_identity(request, points.pinned.backup_set)
    bookmarks = before.bookmarks if before and after.position != position else after.bookmarks
    for name, text in bookmarks.items():
        cursor.execute(
            "insert into bookmarks values (?, ?)", [name, renumber(text, epoch, position)]
        )
    cursor.execute("update store set epoch = ?", [epoch])
    cursor.execute("update store_identity set store_id = ?", [store_id])
    row = cursor.execute(
        "select epoch_us(recorded_at) from journal where position = ?", [position]
    ).fetchone()
    return RestoredStore(
        target=request.target,
        store_id=store_id,
        epoch=epoch,
        position=position,
        recorded_at=None if row is None else from_microseconds(row[0]),
        is_claimed=False,
    )


def _choose_identity(request: RestoreRequest, backup_set: BackupSet) -> tuple[str, int]:
    """Return identity and epoch of the new store."""
    if request.is_copy:
        return uuid4().hex, backup_set.epoch + 1
    epoch = choose_epoch(request.archive, backup_set.store_id, backup_set.epoch)
    return backup_set.store_id, epoch


def _prove(engine: Engine, cursor: Cursor, restored: RestoredStore, clock: Clock) -> None:
    """Rebuild the derived tables, compare them with the journal, and write mark and proofs.

    Raises:
        StorageDamaged: a table cannot be rebuilt.
    """
    row = cursor.execute(
        "select lower(hex(hash)) from journal where position = ?", [restored.position]
    ).fetchone()
    # A result that is not read to its end would keep its transaction open.
    cursor.close()
    head = JournalPosition(restored.epoch, restored.position)
    mark = HighWaterMark(engine.path)
    try:
        mark.create(head if row is None else msgspec.structs.replace(head, hash=row[0]))
        journal = open_examined_journal(engine, mark, clock)
        if journal.damage is not None:
            raise journal.damage
        state = state_tables(journal.schema_table.history)
        finishing_cursor = engine.cursor()
        save_proofs(finishing_cursor, state.values(), restored.position)
        engine.checkpoint(finishing_cursor)
        mark.sync()
    finally:
        mark.release()


@contextmanager
def _publishing(building: Path, target: Path) -> Iterator[None]:
    """Give the mark of a closed store its name, and the file its own after the block.

    A file in the way stays; if the block fails, there is no file. During the block the name of the
    file is taken by one that no service opens as a store, so that no other file can be in the way
    of what the block has claimed.

    Raises:
        Conflict: there is a file by now.
    """
    mark, file = (target.with_name(target.name + suffix) for suffix in _FILES)
    _require_absent(target)
    _link(building.with_name(building.name + _FILES[0]), mark)
    names = [mark]
    try:
        placeholder = building.with_name(building.name + ".placeholder")
        placeholder.write_bytes(_PLACEHOLDER)
        _link(placeholder, file)
        names.append(file)
        yield
        _sync(building)
        building.replace(file)
    except BaseException:
        for name in names:
            name.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def _link(source: Path, name: Path) -> None:
    """Sync a file and give it one more name.

    Raises:
        Conflict: a file has the name.
    """
    _sync(source)
    try:
        name.hardlink_to(source)
    except FileExistsError as error:
        raise Conflict(f"{name} exists by now: name another file.") from error


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
