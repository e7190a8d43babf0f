"""Faults of the order in which things are written, to prove that the simulation finds each."""

import os
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from tests.simulation.world import Node, World

from spawn.adapters.archives import durable_files, folder_archive
from spawn.adapters.archives.durable_files import lock_folder
from spawn.adapters.archives.folder_archive import FolderArchive
from spawn.adapters.duckdb.archive import epoch_claims
from spawn.adapters.duckdb.archive.backup_index import (
    BackupSet,
    name_in_set,
    read_epoch_claims,
    write_set,
)
from spawn.adapters.duckdb.archive.backup_writer import BackupWriter
from spawn.adapters.duckdb.journal import high_water_mark
from spawn.adapters.duckdb.journal.high_water_mark import JournalPosition
from spawn.adapters.embedded import synced_folders
from spawn.adapters.embedded.archive import Archive
from spawn.adapters.embedded.synced_folders import create_folder

Patch = pytest.MonkeyPatch


class MarkBeforeCommit(World):
    """The mark is written before the engine has confirmed the change."""

    def commit(self, node: Node, record: dict[str, Any]) -> None:
        rows = record["rows"]
        position = len(node.engine.rows) + len(rows)
        node.mark.write(JournalPosition(node.engine.epoch, position, rows[-1][1]))
        super().commit(node, record)


class NoSyncOfTheLog(World):
    """A change is acknowledged before the log is synced."""

    def commit(self, node: Node, record: dict[str, Any]) -> None:
        disk = self.disk
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(disk, "fsync", lambda _: None)
            super().commit(node, record)


class NoCheckOfTheMark(World):
    """A start does not compare the journal with its mark."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.check_mark = lambda *_: None


class ReceiptsOfMemory(World):
    """Receipts are those of the process: a start forgets them."""

    def load_receipts(self, node: Node) -> dict[str, int]:
        return node.receipts if not node.is_dead else {}


class ReceiptBeforeCommit(World):
    """A receipt is cached before its change is committed."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.early: dict[str, int] = {}

    def commit(self, node: Node, record: dict[str, Any]) -> None:
        first = len(node.engine.rows) + 1
        self.early = {row[0]: first + n for n, row in enumerate(record["rows"])}
        super().commit(node, record)
        self.early = {}

    def load_receipts(self, node: Node) -> dict[str, int]:
        return super().load_receipts(node) | self.early


class BookmarkBeforeDelivery(World):
    """The bookmark is saved before the consumer has the events."""

    def deliver(self, node: Node, count: int) -> None:
        rows = node.engine.rows[node.place : node.place + count]
        node.save_bookmark(node.place + len(rows))
        node.send(rows)


class DeliveryBeforeCommit(World):
    """Events are sent of changes that the disk has not confirmed."""

    def commit(self, node: Node, record: dict[str, Any]) -> None:
        node.send([*node.engine.rows[node.place :], *record["rows"]])
        super().commit(node, record)


class InstantOfMemory(World):
    """The instant of a reader is held by the process alone."""

    def hold_instant(self, node: Node, instant: datetime) -> None:
        node.mark.held_instant = instant


def no_order_of_instants(patch: Patch) -> None:
    """Take either slot of the mark for the newer one, if both have the same position."""
    patch.setattr(high_water_mark, "_age", lambda slot: (slot.epoch, slot.position))


def no_sync_of_folders(patch: Patch) -> None:
    """Publish files without a sync of their folder."""
    patch.setattr(durable_files, "sync_folder", lambda _: None)


def no_sync_of_files(patch: Patch) -> None:
    """Rename files that are not synced."""

    def publish_file(partial: Path, path: Path) -> None:
        partial.replace(path)
        synced_folders.sync_folder(path.parent)

    for module in (durable_files, folder_archive):
        patch.setattr(module, "publish_file", publish_file)


def no_sync_of_new_folders(patch: Patch) -> None:
    """Take a folder that is there for one that is durable."""

    def lock(self: FolderArchive) -> AbstractContextManager[None]:
        create_folder(self.folder)
        return lock_folder(self.folder)

    patch.setattr(FolderArchive, "lock", lock)


def no_sync_of_claims(patch: Patch) -> None:
    """Claim an epoch by a file that is not synced."""

    def create_file(path: Path, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        module: Any = vars(durable_files)["os"]
        descriptor = module.open(path, flags, 0o600)
        module.write(descriptor, content)
        module.close(descriptor)

    patch.setattr(folder_archive, "create_file", create_file)


def no_check_of_claims(patch: Patch) -> None:
    """Take backups without a look at the claims of others."""
    patch.setattr(BackupWriter, "_check_epoch", lambda _: None)


def index_before_files(patch: Patch) -> None:
    """Write an index before the files that it lists."""
    real = BackupWriter._publish

    def publish(writer: BackupWriter, backup_set: BackupSet, part: Any) -> Any:
        progress = real(writer, backup_set, part._replace(partial=None))
        write_set(writer._archive, progress.backup_set, writer._keys)
        if part.partial is not None:
            segment = part.segments[-1]
            name = name_in_set(backup_set.number, segment.name)
            writer._archive.publish(part.partial, name, segment.sha256)
        return progress

    patch.setattr(BackupWriter, "_publish", publish)


def no_count_of_cut_claims(patch: Patch) -> None:
    """Choose an epoch of which there is a claim that was cut short."""

    def find(archive: Archive, store_id: str) -> int:
        return max((claim.epoch for claim in read_epoch_claims(archive, store_id)), default=0)

    patch.setattr(epoch_claims, "find_claimed_epoch", find)


WORLDS: Final = (
    MarkBeforeCommit,
    NoSyncOfTheLog,
    NoCheckOfTheMark,
    ReceiptsOfMemory,
    ReceiptBeforeCommit,
    BookmarkBeforeDelivery,
    DeliveryBeforeCommit,
    InstantOfMemory,
)
PATCHES: Final = (
    no_sync_of_folders,
    no_sync_of_files,
    no_sync_of_new_folders,
    no_sync_of_claims,
    no_check_of_claims,
    index_before_files,
    no_count_of_cut_claims,
    no_order_of_instants,
)
