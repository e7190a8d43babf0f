"""Commands of backups: `spawn backup`, `verify`, `restore`, `follow` and `promote`."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from loguru import logger

from spawn.adapters.archives.archive_urls import open_archive
from spawn.adapters.archives.durable_files import write_file
from spawn.adapters.archives.folder_archive import FolderArchive
from spawn.adapters.duckdb.archive.archive_check import Verification, verify_archive
from spawn.adapters.duckdb.archive.backup_index import is_set_signed, list_set_numbers
from spawn.adapters.duckdb.archive.follower import FollowedPosition, Follower, PromotedStore
from spawn.adapters.duckdb.archive.restoration import RestoredStore, RestoreRequest, restore
from spawn.adapters.duckdb.archive.store_check import verify_store
from spawn.adapters.embedded.archive import Archive
from spawn.adapters.encryption.encryption_key import ArchiveKeys
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import SpawnError, StorageDamaged, StorageIncompatible
from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.cli.errors import CommandError
from spawn.entrypoints.http.backup_routes import BackupView
from spawn.entrypoints.settings import (
    Settings,
    find_encryption_key,
    read_encryption_key,
    read_signing_key,
)
from spawn.entrypoints.store_access import find_store_file
from spawn.ports.backups import JournalHead

_NOT_CLAIMED: Final = (
    "the place of the backups cannot be written: make sure that the earlier store is stopped\n"
)
_UNCHECKED: Final = (
    "the signatures of {archive} are not checked: name the key in SPAWN_BACKUP_SIGNING_KEY_FILE\n"
)
_encode = msgspec.json.Encoder(enc_hook=str).encode  # paths are texts


def read_archive_keys(settings: Settings, source_key_file: Path | None = None) -> ArchiveKeys:
    """Return the keys of the backups; a file that is named has the one that encrypts them.

    Raises:
        SettingsError: the file of one cannot be read, or is too short to be a key.
    """
    signing_key = read_signing_key(settings.backup_signing_key_file)
    if source_key_file is None:
        return ArchiveKeys(signing_key, find_encryption_key(settings))
    return ArchiveKeys(signing_key, read_encryption_key(str(source_key_file), "--source-key"))


async def take_backup(settings: Settings, head_file: Path | None, *, as_json: bool) -> None:
    """Take a backup, of a running service or of the file, and print its newest position."""
    async with open_backend(settings) as backend:
        document = await backend.take_backup()
    view = msgspec.json.decode(document, type=BackupView)
    if head_file is not None:
        await asyncio.to_thread(write_file, head_file, _encode(view.head) + b"\n")
    if as_json:
        sys.stdout.write(document.decode() + "\n")
        return
    sys.stdout.write(
        f"backup set {view.backup_set} is level with {view.position}:"
        f" {view.rows} rows, {view.size_bytes} bytes added\n"
    )


@contextmanager
def _without_log() -> Iterator[None]:
    """Log nothing: what a store logs when it repairs itself is about the copy, and is a finding."""
    logger.disable("spawn")
    try:
        yield
    finally:
        logger.enable("spawn")


@_without_log()
def verify(
    settings: Settings, target: str | None, head_file: Path | None, *, as_json: bool
) -> bool:
    """Verify a store's file or its backups, print the findings, return whether all is well.

    Without a target it is the store of the settings.
    """
    keys = read_archive_keys(settings)
    head = None if head_file is None else _read_head(head_file)
    place = find_store_file(settings) if target is None else _find_store_or_archive(target)
    if place is None:
        raise CommandError("memory:// has no file to verify: name a file or its backups")
    if isinstance(place, Path):
        verification = verify_store(place, SystemClock(), head=head, keys=keys)
    else:
        _report_unchecked_signature(place, keys.signing)
        verification = verify_archive(place, head=head, keys=keys)
    if as_json:
        _print_json(verification)
    else:
        sys.stdout.write(_describe(verification))
    return not verification.findings


def _find_store_or_archive(text: str) -> Path | Archive:
    archive = open_archive(text)
    is_file = isinstance(archive, FolderArchive) and not archive.exists()
    return archive.folder if isinstance(archive, FolderArchive) and is_file else archive


@_without_log()
def restore_store(request: RestoreRequest, *, as_json: bool) -> None:
    """Restore a store and print its position and epoch."""
    _report_unchecked_signature(request.archive, request.keys.signing)
    restored = restore(request, SystemClock())
    if as_json:
        _print_json(restored)
    else:
        _print_restored(request, restored)


def _print_restored(request: RestoreRequest, restored: RestoredStore) -> None:
    moment = "" if restored.recorded_at is None else f", {restored.recorded_at.isoformat()}"
    sys.stdout.write(
        f"restored to position {restored.epoch}.{restored.position}{moment}: {restored.target}\n"
    )
    if request.is_copy:
        sys.stdout.write("it is an independent copy: the source may go on\n")
    elif restored.is_claimed:
        sys.stdout.write(f"epochs before {restored.epoch} stop where these backups are used\n")
    else:
        sys.stdout.write(_NOT_CLAIMED)


@_without_log()
def follow(
    settings: Settings, archive: Archive, file: Path, interval_s: float | None, *, as_json: bool
) -> None:
    """Follow a store until the process is stopped; without an interval take what there is."""
    keys = read_archive_keys(settings)
    problem = ""
    _report_unchecked_signature(archive, keys.signing)
    with Follower(archive, file, SystemClock(), keys) as follower:
        while True:
            try:
                followed = follower.follow()
                follower.warm()
            except StorageIncompatible:
                raise
            except (SpawnError, OSError) as failure:
                if interval_s is None:
                    raise
                if str(failure) != problem:
                    sys.stderr.write(f"spawn: {failure}; trying again\n")
                problem = str(failure)
            else:
                problem = ""
                _report_followed(followed, is_last=interval_s is None, as_json=as_json)
            if interval_s is None:
                return
            time.sleep(interval_s)


def _report_followed(followed: FollowedPosition, *, is_last: bool, as_json: bool) -> None:
    if as_json and (is_last or followed.rows):
        _print_json(followed)
    elif is_last:
        sys.stdout.write(f"follows up to {followed.epoch}.{followed.position}\n")


@_without_log()
def promote(settings: Settings, archive: Archive, file: Path, *, as_json: bool) -> None:
    """Promote a follower and print its position and epoch."""
    keys = read_archive_keys(settings)
    if not file.exists():
        raise CommandError(f"{file} does not exist: name the file of a follower")
    _report_unchecked_signature(archive, keys.signing)
    with Follower(archive, file, SystemClock(), keys) as follower:
        store = follower.promote()
    if as_json:
        _print_json(store)
        return
    sys.stdout.write(
        f"promoted at position {store.epoch}.{store.position} in {store.duration_s:.2f} s: {file}\n"
    )
    if not store.is_claimed:
        sys.stdout.write(_NOT_CLAIMED)


def _print_json(result: Verification | RestoredStore | FollowedPosition | PromotedStore) -> None:
    sys.stdout.buffer.write(_encode(result) + b"\n")
    sys.stdout.flush()


def _read_head(path: Path) -> JournalHead:
    try:
        return msgspec.json.decode(path.read_bytes(), type=JournalHead)
    except msgspec.DecodeError as failure:
        raise CommandError(f"{path} has no head of a journal: {failure}") from failure


def _report_unchecked_signature(archive: Archive, signing_key: bytes | None) -> None:
    """Say on stderr that backups are signed and that there is no key to check it with."""
    if signing_key is not None:
        return
    with suppress(StorageDamaged, OSError):  # what reads the backups next reports it
        if any(is_set_signed(archive, number) for number in list_set_numbers(archive)):
            sys.stderr.write(_UNCHECKED.format(archive=archive))


def _describe(verification: Verification) -> str:
    if verification.findings:
        lines = [f"FAIL  {verification.target}", *verification.findings]
        return "\n      ".join(lines) + "\n"
    head = verification.head
    position = "" if head is None else f", to position {head.epoch}.{head.position}"
    return f"ok    {verification.target}: {verification.rows} rows{position}\n"
