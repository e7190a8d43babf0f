"""Online backup of a store: journal rows, schemas and bookmarks, set by set, to an archive."""

import asyncio
import errno
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
import msgspec

from spawn.adapters.duckdb.archive.backup_index import (
    INDEX_FORMAT,
    BackupSet,
    IndexedPoint,
    Segment,
    head_of_set,
    list_set_numbers,
    name_in_set,
    read_epoch_claims,
    read_set,
    remove_set,
    write_set,
)
from spawn.adapters.duckdb.archive.segments import (
    SEGMENT_ROWS,
    name_segment,
    read_schema_snapshot,
    stage_segment,
    write_schema_snapshot,
)
from spawn.adapters.duckdb.connection import Cursor, Engine, ReaderThreads
from spawn.adapters.duckdb.journal_rows import from_microseconds
from spawn.adapters.duckdb.tables import FORMAT_MIGRATIONS
from spawn.adapters.embedded.archive import Archive
from spawn.adapters.embedded.options import BackupOptions
from spawn.adapters.encryption.encryption_key import ArchiveKeys
from spawn.domain.errors import (
    Conflict,
    SpawnError,
    StorageDamaged,
    StorageFull,
    StorageIncompatible,
    Unavailable,
)
from spawn.domain.events.position import Position
from spawn.ports.backups import BackupPoint, BackupStatus
from spawn.ports.runtime import Clock

_STEP_TIMEOUT_S = 300.0
_ZERO_HASH = "0" * 64
_SMALL_SEGMENT_ROWS = 5_000
_POINT_INTERVAL = timedelta(minutes=10)
_STAGING_SUFFIX = ".outgoing"
_FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class _Progress(NamedTuple):
    """Set after one step, with the rows and bytes of the step."""

    backup_set: BackupSet
    rows: int
    size_bytes: int


class _SetPart(NamedTuple):
    """Next part of a set, read in one transaction, of which the archive has nothing yet.

    `segments` are those of the extended set. The last one is in the file `partial`, if that is one.
    """

    segments: tuple[Segment, ...]
    partial: Path | None
    rows: int
    schemas: bytes
    point: IndexedPoint


class BackupWriter:
    """Backups of one open store, to one archive; see `ports.backups`.

    Args:
        engine: of the store.
        store_id: of the store.
        epoch: of the store.
        clock: dates the backups; no decision but the start of a new set depends on it.
        options: archive, schedule, retention and signing key.
        on_superseded: stops the store, because another has taken its place.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        store_id: str,
        epoch: int,
        clock: Clock,
        options: BackupOptions,
        on_superseded: Callable[[str], None],
        on_fatal: Callable[[], None],
    ) -> None:
        self._archive = options.archive
        self._staging = engine.path.with_name(engine.path.name + _STAGING_SUFFIX)
        self._options = options
        self._keys = ArchiveKeys(options.signing_key, engine.key)
        self._store_id = store_id
        self._epoch = epoch
        self._clock = clock
        self._on_superseded = on_superseded
        self._threads = ReaderThreads(
            engine, 1, _STEP_TIMEOUT_S, operation="back up", on_fatal=on_fatal
        )
        self._task: asyncio.Task[BackupPoint] | None = None
        self._latest: BackupPoint | None = None
        self._level_at_s: float | None = None
        self._failures = 0
        self._error = ""
        self._warning = ""
        self._numbers_with_damage: list[int] = []

    def load(self) -> None:
        """Read what the archive has already; blocks.

        Raises:
            StorageIncompatible: a later epoch of this store is claimed: it must not be served.
            Conflict: the archive belongs to another store, so that no backup could be taken.
        """
        try:
            self._check_epoch()
            backup_set = self._read_newest_set()
            if backup_set is not None:
                self._check_owner(backup_set)
        except OSError as failure:
            self._error = f"The backups cannot be read: {_describe_failure(failure)}."
            return
        except StorageIncompatible:
            raise
        except StorageDamaged as error:
            self._error = error.detail
            return
        if backup_set is not None and backup_set.points:
            self._latest = self._describe(_Progress(backup_set, 0, 0))
            age_s = (self._clock.now() - self._latest.taken_at).total_seconds()
            self._level_at_s = time.monotonic() - max(0.0, age_s)

    # -- the port ---------------------------------------------------------------------------

    async def take(self) -> BackupPoint:
        """Bring the backup level with the journal; see `Backups.take`."""
        if self._task is None:
            self._task = asyncio.create_task(self._take())
            self._task.add_done_callback(self._forget_task)
        return await asyncio.shield(self._task)

    def _forget_task(self, task: asyncio.Task[BackupPoint]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # its callers have it; without one it is in the status

    async def _take(self) -> BackupPoint:
        try:
            point = await self._write()
        except SpawnError as error:
            self._failures += 1
            self._error = error.detail
            raise
        self._latest, self._error = point, ""
        self._level_at_s = time.monotonic()
        return point

    def status(self) -> BackupStatus:
        """Return a snapshot; see `Backups.status`."""
        return BackupStatus(
            target=self._archive.url,
            interval_s=self._options.interval_s,
            latest=self._latest,
            age_s=None if self._level_at_s is None else time.monotonic() - self._level_at_s,
            failures=self._failures,
            error=self._error or self._warning,
        )

    def close(self) -> None:
        """Wait for the step that runs, and end; blocks."""
        self._threads.close()

    # -- one backup -------------------------------------------------------------------------

    async def _write(self) -> BackupPoint:
        """Write steps until one ends level with the journal.

        Raises:
            StorageFull, StorageBusy, StorageDamaged, Conflict, Unavailable: see `Backups.take`.
        """
        rows = size_bytes = 0
        is_level = False
        while not is_level:
            try:
                progress = await self._threads.run(self._write_step)
            except OSError as failure:
                raise self._translate(failure) from failure
            rows, size_bytes = rows + progress.rows, size_bytes + progress.size_bytes
            point = progress.backup_set.points[-1]
            is_level = point.observed_position == point.position
        return self._describe(_Progress(progress.backup_set, rows, size_bytes))

    def _translate(self, failure: OSError) -> SpawnError:
        if failure.errno in _FULL_ERRORS:
            return StorageFull(
                f"The disk of {failure.filename or self._archive} is full and no backup was added:"
                " free disk space."
            )
        return Unavailable(f"The backup cannot be written: {_describe_failure(failure)}.")

    def _write_step(self, cursor: Cursor) -> _Progress:
        """Write one segment at most, and the index; runs on the thread of the backups."""
        with self._archive.lock():
            self._check_epoch()
            self._archive.require_space(self._options.reserve_bytes)
            cursor.execute("begin")
            try:
                backup_set = self._open_set(cursor)
                part = self._stage(cursor, backup_set)
            finally:
                # Before an upload: an open transaction keeps the log from being truncated.
                with suppress(duckdb.Error):
                    cursor.execute("rollback")
            progress = self._publish(backup_set, part)
            write_set(self._archive, progress.backup_set, self._keys)
            _remove_replaced_segments(self._archive, backup_set, progress.backup_set)
            self._remove_old_sets(progress.backup_set)
        return progress

    def _check_epoch(self) -> None:
        """Check that no store has claimed a later epoch.

        Raises:
            StorageIncompatible: one has; this store is stopped.
        """
        claims = read_epoch_claims(self._archive, self._store_id)
        newest = max((claim.epoch for claim in claims), default=0)
        if newest > self._epoch:
            error = superseded_error(self._epoch, newest, self._archive)
            self._on_superseded(error.detail)
            raise error

    def _read_newest_set(self) -> BackupSet | None:
        numbers = list_set_numbers(self._archive)
        return read_set(self._archive, numbers[-1], self._keys) if numbers else None

    def _open_set(self, cursor: Cursor) -> BackupSet:
        """Return the set to extend: the newest one, or a new one.

        Raises:
            Conflict: the newest set is of another store, or of a history that this store does
                not have.
            StorageDamaged: it is not signed with the key.
        """
        try:
            newest = self._read_newest_set()
        except StorageIncompatible:
            raise
        except StorageDamaged as error:
            if self._keys.signing is not None and "signed" in error.detail:
                raise
            newest = None  # a set that cannot be extended is left for inspection
        if newest is not None:
            self._check_history(cursor, newest)
            if newest.epoch == self._epoch and not self._is_set_due(newest):
                return newest
        return BackupSet(
            format=INDEX_FORMAT,
            store_id=self._store_id,
            epoch=self._epoch,
            store_format=len(FORMAT_MIGRATIONS),
            number=max(list_set_numbers(self._archive), default=0) + 1,
            created_at=self._clock.now(),
            key_id="" if self._keys.encryption is None else self._keys.encryption.id,
        )

    def _is_set_due(self, newest: BackupSet) -> bool:
        age_s = (self._clock.now() - newest.created_at).total_seconds()
        return (
            # Also if it is dated ahead: a clock that was wrong once would put it off for years.
            abs(age_s) >= self._options.full_interval_s
            or newest.store_format != len(FORMAT_MIGRATIONS)
        )

    def _check_owner(self, newest: BackupSet) -> None:
        if newest.store_id != self._store_id:
            raise Conflict(
                f"{self._archive} has backups of the store {newest.store_id}: give this"
                " store a place of its own (SPAWN_BACKUP_URL)."
            )
        if self._keys.encryption is not None and not newest.key_id:
            raise Conflict(
                f"{self._archive} has backups that are not encrypted: give the encrypted"
                " store another place (SPAWN_BACKUP_URL)."
            )

    def _check_history(self, cursor: Cursor, newest: BackupSet) -> None:
        self._check_owner(newest)
        if newest.epoch > self._epoch:
            raise superseded_error(self._epoch, newest.epoch, self._archive)
        if newest.epoch < self._epoch or not newest.segments:
            return
        last = newest.segments[-1]
        row = cursor.execute(
            "select lower(hex(hash)) from journal where position = ?", [last.last]
        ).fetchone()
        if row is None or row[0] != last.hash:
            raise Conflict(
                f"The backups in {self._archive} have change {last.last} and the store has not: its"
                " file is an older copy or of another history. Restore the backup instead."
            )

    def _stage(self, cursor: Cursor, backup_set: BackupSet) -> _SetPart:
        """Read the next rows of a set into a local file, and the point at their end."""
        row = cursor.execute("select coalesce(max(position), 0) from journal").fetchone()
        observed_position = int(row[0]) if row else 0
        segments = list(backup_set.segments)
        position = backup_set.last_position
        if observed_position > position and segments and _is_small(segments[-1]):
            # Rewritten with the new rows, so that the number of files follows that of rows.
            segments.pop()
        first = segments[-1].last + 1 if segments else 1
        last = _find_end(cursor, position + 1, observed_position)
        partial = None
        if last > position:
            segment = Segment(
                name=name_segment(self._archive, first, last),
                first=first,
                last=last,
                size_bytes=0,
                sha256="",
                hash=segments[-1].hash if segments else _ZERO_HASH,
            )
            partial = self._archive.staging_path(
                name_in_set(backup_set.number, segment.name), self._staging
            )
            segments.append(stage_segment(cursor, partial, segment, self._keys.encryption))
        schemas = read_schema_snapshot(cursor)
        point = self._read_point(cursor, observed_position, last)
        return _SetPart(tuple(segments), partial, max(0, last - position), schemas, point)

    def _publish(self, backup_set: BackupSet, part: _SetPart) -> _Progress:
        """Write the files of the next part to the archive, and return the set with them."""
        size_bytes = 0
        if part.partial is not None:
            segment = part.segments[-1]
            name = name_in_set(backup_set.number, segment.name)
            self._archive.publish(part.partial, name, segment.sha256)
            size_bytes = segment.size_bytes
        schemas, sha256 = write_schema_snapshot(
            self._archive, backup_set, part.schemas, self._keys.encryption
        )
        point = msgspec.structs.replace(part.point, schemas=schemas, schemas_sha256=sha256)
        extended = msgspec.structs.replace(
            backup_set,
            segments=part.segments,
            points=(*_thin_points(backup_set.points, point), point),
        )
        return _Progress(extended, part.rows, size_bytes)

    def _read_point(self, cursor: Cursor, observed_position: int, position: int) -> IndexedPoint:
        row = cursor.execute(
            "select lower(hex(hash)), epoch_us(recorded_at) from journal where position = ?",
            [position],
        ).fetchone()
        bookmarks = cursor.execute("select name, position from bookmarks order by name").fetchall()
        return IndexedPoint(
            position=position,
            observed_position=observed_position,
            hash=_ZERO_HASH if row is None else row[0],
            recorded_at=None if row is None else from_microseconds(row[1]),
            taken_at=self._clock.now().astimezone(UTC),
            schemas="",
            schemas_sha256="",
            bookmarks=dict(bookmarks),
        )

    def _describe(self, progress: _Progress) -> BackupPoint:
        backup_set, rows, size_bytes = progress
        point = backup_set.points[-1]
        return BackupPoint(
            backup_set=backup_set.number,
            position=Position(backup_set.epoch, point.position),
            recorded_at=point.recorded_at,
            taken_at=point.taken_at,
            rows=rows,
            size_bytes=size_bytes,
            head=head_of_set(backup_set, self._options.signing_key),
        )

    # -- retention --------------------------------------------------------------------------

    def _remove_old_sets(self, newest: BackupSet) -> None:
        """Remove the oldest sets beyond the retention, if all that stay are good.

        Sets are ordered by number, so that no clock can make the newest look old.
        """
        numbers = list_set_numbers(self._archive)
        old_numbers = numbers[: -self._options.retained_sets]
        point = newest.points[-1]
        if not old_numbers or point.observed_position != point.position:
            return
        retained = numbers[-self._options.retained_sets :]
        if retained == self._numbers_with_damage:
            return  # reading all of them again at each backup would find the same
        damaged = [number for number in retained if not self._is_good(number)]
        self._numbers_with_damage = retained if damaged else []
        if damaged:
            self._warning = (
                f"Set {damaged[0]} is damaged, so that sets beyond the retention are kept: verify"
                f" {self._archive}, and remove its folder once a later set is good."
            )
            return
        self._warning = ""
        for number in old_numbers:
            remove_set(self._archive, number)

    def _is_good(self, number: int) -> bool:
        """Whether every file of a set has its checksum; of a new set that is soon found."""
        try:
            backup_set = read_set(self._archive, number, self._keys)
            files = {s.name: s.sha256 for s in backup_set.segments}
            files |= {p.schemas: p.schemas_sha256 for p in backup_set.points}
            return bool(files) and all(
                self._archive.hash(name_in_set(number, name)) == sha256
                for name, sha256 in files.items()
            )
        except (OSError, StorageDamaged):
            return False


def _is_small(segment: Segment) -> bool:
    return segment.last - segment.first + 1 < _SMALL_SEGMENT_ROWS


def _thin_points(points: Sequence[IndexedPoint], newest: IndexedPoint) -> Iterator[IndexedPoint]:
    """Yield the points to keep before a new one.

    Every position between two points of the same schemas can be restored. More points than one
    in `_POINT_INTERVAL` only say more exactly how far publishers were.
    """
    for number, point in enumerate(points):
        if point.position == newest.position:
            continue
        is_first = number == 0 or points[number - 1].schemas != point.schemas
        successor = points[number + 1] if number + 1 < len(points) else newest
        is_last = successor.schemas != point.schemas
        is_spaced = number == 0 or (point.taken_at - points[number - 1].taken_at >= _POINT_INTERVAL)
        if is_first or is_last or is_spaced:
            yield point


def _describe_failure(failure: OSError) -> str:
    name = f"{failure.filename}: " if failure.filename else ""
    return f"{name}{failure.strerror or failure}"


def _remove_replaced_segments(archive: Archive, before: BackupSet, after: BackupSet) -> None:
    """Remove the files that the index listed until now, and lists no more."""
    names = {segment.name for segment in before.segments}
    replaced = sorted(names - {segment.name for segment in after.segments})
    if replaced:
        archive.remove([name_in_set(after.number, name) for name in replaced])


def _find_end(cursor: Cursor, first: int, observed_position: int) -> int:
    """Return the last row of the next segment: the end of a change, never within one."""
    last = min(observed_position, first + SEGMENT_ROWS - 1)
    if last == observed_position:
        return last
    row = cursor.execute(
        "select max(position) from journal"
        " where recorded_at = (select recorded_at from journal where position = ?)",
        [last],
    ).fetchone()
    return last if row is None else max(last, int(row[0]))


def superseded_error(epoch: int, newer_epoch: int, archive: Archive) -> StorageIncompatible:
    """Build the error about a store that another one has replaced."""
    return StorageIncompatible(
        f"This store of epoch {epoch} is superseded by epoch {newer_epoch}, which was restored or"
        f" promoted and is claimed in {archive}: serve that one, and keep this file for inspection."
    )
