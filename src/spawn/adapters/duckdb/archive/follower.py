# ruff: noqa: S608 -- statements are made of our own constants and quoted paths
"""Follower of a store: a second file that takes each new segment of the archive, ready to promote.

A file beside it, with the ending `.following`, keeps it from being served: two stores of one
identity and epoch would both issue the next position. Promotion removes it last.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import duckdb
import msgspec

from spawn.adapters.archives.durable_files import create_file, hash_file
from spawn.adapters.duckdb import tables
from spawn.adapters.duckdb.archive.backup_index import (
    BackupSet,
    IndexedPoint,
    Segment,
    list_set_numbers,
    read_set,
)
from spawn.adapters.duckdb.archive.epoch_claims import (
    FOLLOWING_SUFFIX,
    choose_epoch,
    claim_new_epoch,
    renumber_bookmarks,
)
from spawn.adapters.duckdb.archive.pinned_set import PinnedSet, pin_set, report_removal
from spawn.adapters.duckdb.archive.point_schemas import read_point_schemas
from spawn.adapters.duckdb.archive.segments import (
    ChainCheck,
    add_segment_key,
    delete_schema_snapshot,
    insert_schema_snapshot,
    read_chained_rows,
    segment_source,
)
from spawn.adapters.duckdb.archive.store_check import open_proved_journal
from spawn.adapters.duckdb.connection import Engine, FolderNotSynced, translate_error
from spawn.adapters.duckdb.journal.high_water_mark import HighWaterMark, JournalPosition
from spawn.adapters.duckdb.journal.tail import find_store_id, find_tail
from spawn.adapters.duckdb.journal_rows import ROW_COLUMNS
from spawn.adapters.embedded.archive import Archive
from spawn.adapters.embedded.synced_folders import create_folder, sync_folder
from spawn.adapters.encryption.encryption_key import NO_KEYS, ArchiveKeys
from spawn.domain.errors import Conflict, NotFound, StorageDamaged, StorageIncompatible
from spawn.ports.runtime import Clock

_MEMORY_LIMIT: Final = "1GiB"
_LOG_BYTES: Final = 256 * 1024 * 1024
_COLUMNS: Final = ", ".join((*ROW_COLUMNS, "hash"))
_WARM_AFTER_S: Final = 60.0
_ZERO_HASH: Final = "0" * 64


class FollowedPosition(msgspec.Struct, frozen=True, kw_only=True):
    """End of a follower's journal, and the rows that the last step added."""

    epoch: int
    position: int
    rows: int


class PromotedStore(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of a promotion; see `RestoredStore`."""

    epoch: int
    position: int
    is_claimed: bool
    duration_s: float


class Follower:
    """Open file of a follower. Use it as a context manager; everything blocks.

    Args:
        archive: place of the leader's backups.
        path: of the follower's file, created if it is absent.
        clock: of the derived tables.
        keys: that the indexes must be signed with, and that opens the archive and the file.
    """

    def __init__(
        self, archive: Archive, path: Path, clock: Clock, keys: ArchiveKeys = NO_KEYS
    ) -> None:
        self._archive = archive
        self._path = path
        self._clock = clock
        self._keys = keys
        self._schemas = ""
        self._point: IndexedPoint | None = None
        self._warm_at_s = 0.0
        _require_follower(path)
        create_folder(path.parent)
        marker = path.with_name(path.name + FOLLOWING_SUFFIX)
        with suppress(FileExistsError):
            create_file(marker, b"")
        self._mark = HighWaterMark(path)
        try:
            self._engine = Engine(path, _MEMORY_LIMIT, _LOG_BYTES, keys.encryption)
            try:
                self._cursor = self._engine.cursor()
                add_segment_key(self._cursor, keys.encryption)
                tables.migrate_format(self._cursor, clock.now().replace(tzinfo=None))
                self._tail = find_tail(self._cursor, path.name)
            except BaseException:
                self._engine.close()
                raise
        except BaseException:
            self._mark.release()
            raise

    def __enter__(self) -> Self:
        """Return the follower."""
        return self

    def __exit__(self, *_: object) -> None:
        """Checkpoint and close the file; the next start makes up for a failed checkpoint."""
        with suppress(duckdb.Error, FolderNotSynced):
            self._engine.checkpoint(self._cursor)
        self._engine.close()
        self._mark.close()

    # -- following --------------------------------------------------------------------------

    def follow(self) -> FollowedPosition:
        """Take what the archive has beyond the follower's journal.

        Raises:
            NotFound: the archive has no backup.
            StorageDamaged: a file of the archive is damaged, or of another history.
            StorageIncompatible: the archive belongs to another store or a later epoch.
            Unavailable: the retention removed the set meanwhile; the next attempt reads another.
            OSError: the archive cannot be read.
        """
        number, before = self._newest_number(), self._tail.position
        backup_set = read_set(self._archive, number, self._keys)
        self._require_same_store(backup_set)
        if self._point is not None and backup_set.points[-1] == self._point:
            return self._describe(before)  # nothing new, so that no file is read
        with (
            report_removal(self._archive, number),
            pin_set(self._archive, number, self._keys) as pinned,
        ):
            self._require_same_store(pinned.backup_set)
            for segment in pinned.backup_set.segments:
                if segment.last > self._tail.position:
                    self._take_segment(pinned, segment)
            point = pinned.backup_set.points[-1]
            if self._tail.position == point.position:
                self._take_point(pinned, point)
                self._point = point
        return self._describe(before)

    def _describe(self, before: int) -> FollowedPosition:
        return FollowedPosition(
            epoch=self._tail.epoch,
            position=self._tail.position,
            rows=self._tail.position - before,
        )

    def _newest_number(self) -> int:
        numbers = list_set_numbers(self._archive)
        if not numbers:
            raise NotFound(f"{self._archive} has no backup: set SPAWN_BACKUP_URL of the leader.")
        return numbers[-1]

    def _require_same_store(self, backup_set: BackupSet) -> None:
        if (self._keys.encryption is None) != (not backup_set.key_id):
            raise StorageIncompatible(
                f"{self._archive} is not encrypted, and SPAWN_ENCRYPTION_KEY_FILE is set: give the"
                " leader the same key, or unset it."
            )
        if backup_set.store_format != len(tables.FORMAT_MIGRATIONS):
            raise StorageIncompatible(
                "Leader and follower have different formats: run the same release."
            )
        if not self._tail.position:
            self._adopt_identity(backup_set)
        store_id = find_store_id(self._cursor, self._path.name)
        if (store_id, self._tail.epoch) != (backup_set.store_id, backup_set.epoch):
            raise StorageIncompatible(
                f"The follower {self._path.name} follows epoch {self._tail.epoch} of the store"
                f" {store_id}, and {self._archive} has epoch {backup_set.epoch} of"
                f" {backup_set.store_id}: delete the follower's files and begin anew."
            )

    def _adopt_identity(self, backup_set: BackupSet) -> None:
        self._cursor.execute("update store_identity set store_id = ?", [backup_set.store_id])
        self._cursor.execute("update store set epoch = ?", [backup_set.epoch])
        self._tail = self._tail._replace(epoch=backup_set.epoch)

    def _take_segment(self, pinned: PinnedSet, segment: Segment) -> None:
        """Append the rows of a segment that the journal lacks, after a check of all of them."""
        path = pinned.path(segment.name)
        if hash_file(path) != segment.sha256:
            raise StorageDamaged(f"{path} was changed: its checksum differs.")
        after = self._tail.position
        chain = ChainCheck(after, self._tail.hash)
        source = segment_source([path], pinned.key)
        try:
            rows = read_chained_rows(
                self._cursor, f"(select * from {source} where position > {after:d})"
            )
            if not all(chain.add(row, stored_hash) for row, stored_hash in rows):
                raise StorageDamaged(f"{path} does not continue the journal: {chain.finding}.")
            self._cursor.execute(
                f"insert into journal ({_COLUMNS}) select {_COLUMNS} from {source}"
                f" where position > {after:d} order by position"
            )
        except duckdb.Error as failure:
            raise translate_error(failure, self._path.name) from failure
        self._tail = self._tail._replace(position=chain.position, hash=chain.hash)
        self._mark.write(self._tail.journal_position())

    def _take_point(self, pinned: PinnedSet, point: IndexedPoint) -> None:
        """Replace schemas and bookmarks by those of a point at the end of the journal."""
        self._cursor.execute("begin")
        try:
            if point.schemas != self._schemas:
                snapshot = read_point_schemas(pinned, point)
                delete_schema_snapshot(self._cursor)
                insert_schema_snapshot(self._cursor, snapshot)
            self._cursor.execute("delete from bookmarks")
            for name, text in point.bookmarks.items():
                self._cursor.execute("insert into bookmarks values (?, ?)", [name, text])
            self._cursor.execute("commit")
        except BaseException:
            with suppress(duckdb.Error):
                self._cursor.execute("rollback")
            raise
        self._schemas = point.schemas

    def warm(self) -> None:
        """Bring the derived tables level with the journal, at most once a minute.

        Raises:
            StorageDamaged: they cannot be.
        """
        if not self._schemas or time.monotonic() < self._warm_at_s:
            return
        self._open_journal()
        self._warm_at_s = time.monotonic() + _WARM_AFTER_S

    def _open_journal(self) -> None:
        # A result that is not read to its end would keep its transaction open.
        self._cursor.close()
        try:
            open_proved_journal(self._engine, self._mark, self._clock)
        finally:
            self._cursor = self._engine.cursor()

    # -- promotion --------------------------------------------------------------------------

    def promote(self) -> PromotedStore:
        """Make the follower the store: take the rest, claim the next epoch, prove the tables.

        Raises:
            Unavailable: another store has claimed the epoch meanwhile.
            NotFound, StorageDamaged, StorageIncompatible, OSError: as `follow`.
        """
        started_at_s = time.monotonic()
        is_claimed = True
        if not self._has_own_epoch():
            self.follow()
            if not self._schemas:
                raise NotFound(f"{self._archive} has no complete backup to promote.")
            self._open_journal()
            is_claimed = self._begin_epoch()
        marker = self._path.with_name(self._path.name + FOLLOWING_SUFFIX)
        marker.unlink()
        sync_folder(marker.parent)
        return PromotedStore(
            epoch=self._tail.epoch,
            position=self._tail.position,
            is_claimed=is_claimed,
            duration_s=time.monotonic() - started_at_s,
        )

    def _has_own_epoch(self) -> bool:
        """Whether an earlier promotion was interrupted after its epoch had begun."""
        backup_set = read_set(self._archive, self._newest_number(), self._keys)
        store_id = find_store_id(self._cursor, self._path.name)
        return store_id == backup_set.store_id and self._tail.epoch > backup_set.epoch

    def _begin_epoch(self) -> bool:
        """Begin the next epoch; return whether the archive excludes the one before."""
        store_id = find_store_id(self._cursor, self._path.name)
        epoch = choose_epoch(self._archive, store_id, self._tail.epoch)
        is_claimed = claim_new_epoch(self._archive, store_id, epoch, self._clock)
        position = self._tail.position
        self._cursor.execute("begin")
        self._cursor.execute("update store set epoch = ?", [epoch])
        renumber_bookmarks(self._cursor, epoch, position)
        self._cursor.execute("commit")
        hash_hex = self._tail.hash.hex() if position else _ZERO_HASH
        self._mark.write(JournalPosition(epoch, position, hash_hex))
        self._mark.sync()
        self._tail = self._tail._replace(epoch=epoch)
        return is_claimed


def _require_follower(path: Path) -> None:
    """Check that a file is absent or a follower's, and no store in use is taken over.

    Raises:
        Conflict: it is a store.
    """
    if path.exists() and not path.with_name(path.name + FOLLOWING_SUFFIX).exists():
        raise Conflict(f"{path} is a store, not a follower: name another file.")
