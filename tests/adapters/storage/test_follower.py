"""A follower has what its leader backed up, is not served, and takes the leader's place once."""

from datetime import timedelta
from pathlib import Path

import pytest
from tests.adapters.storage.test_backups import BackedUpStore, backed_up, flip_byte
from tests.adapters.storage.test_restoration import dump, renumber

from spawn.adapters.archives.folder_archive import FolderArchive
from spawn.adapters.duckdb.archive.follower import Follower
from spawn.adapters.duckdb.archive.store_check import verify_store
from spawn.adapters.duckdb.store import open_duckdb
from spawn.adapters.embedded.options import BackupOptions, StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import (
    Conflict,
    CursorExpired,
    NotFound,
    StorageDamaged,
    StorageIncompatible,
)
from spawn.domain.events.position import Position
from spawn.testing.storage_contract.migrations import migrate_to, revise_columns

__all__ = ["backed_up"]


@pytest.fixture
def follower_file(tmp_path: Path) -> Path:
    return tmp_path / "follower" / "f.duckdb"


def open_follower(leader: BackedUpStore, path: Path) -> Follower:
    return Follower(FolderArchive(leader.archive), path, SystemClock())


async def test_a_promoted_follower_has_every_row_and_the_leader_stops(
    backed_up: BackedUpStore, follower_file: Path
) -> None:
    backups = await backed_up.backups()
    await backed_up.create(3)
    cursor = (await backups.take()).position
    with open_follower(backed_up, follower_file) as follower:
        assert follower.follow().rows == 3
        follower.warm()
        await migrate_to(backed_up.harness, revise_columns({"name": "zone", "type": "string(9)"}))
        await backed_up.create(2)
        await backed_up.store.save_bookmarks({"webhook": Position(1, 4), "log": None})
        await backups.take()
        assert follower.follow().rows == 3
        assert follower.follow().rows == 0
    with open_follower(backed_up, follower_file) as follower:  # as after a restart
        await backed_up.create()
        await backups.take()
        promoted = follower.promote()
    assert (promoted.epoch, promoted.position, promoted.is_claimed) == (2, 7, True)
    expected = renumber(await dump(backed_up.store), 2)
    with pytest.raises(StorageIncompatible, match="superseded by epoch 2"):
        await backups.take()
    store = await open_duckdb(follower_file, clock=SystemClock(), options=StoreOptions())
    assert await dump(store) == expected
    with pytest.raises(CursorExpired):
        await store.feed(after=cursor, limit=10)
    new_backups = await store.open_backups(
        BackupOptions(archive=FolderArchive(backed_up.archive), reserve_bytes=0)
    )
    assert (await new_backups.take()).rows == 7
    await store.close()
    assert verify_store(follower_file, SystemClock()).findings == ()
    assert backed_up.verify().findings == ()


async def test_an_interrupted_promotion_is_finished(
    backed_up: BackedUpStore, follower_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backed_up.create()
    await (await backed_up.backups()).take()

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, open_follower(backed_up, follower_file) as follower:
        patch.setattr("pathlib.Path.unlink", fail)
        with pytest.raises(OSError, match="Input"):
            follower.promote()
    with open_follower(backed_up, follower_file) as follower:
        assert follower.promote().epoch == 2
    store = await open_duckdb(follower_file, clock=SystemClock(), options=StoreOptions())
    assert str(await store.position()) == "2.1"
    await store.close()


async def test_a_follower_is_not_served_and_takes_over_no_store(
    backed_up: BackedUpStore, follower_file: Path
) -> None:
    await (await backed_up.backups()).take()
    with open_follower(backed_up, follower_file) as follower:
        follower.follow()
    with pytest.raises(StorageIncompatible, match="spawn promote"):
        await open_duckdb(follower_file, clock=SystemClock(), options=StoreOptions())
    with pytest.raises(Conflict, match="not a follower"):
        open_follower(backed_up, backed_up.path)


async def test_a_follower_needs_a_backup(backed_up: BackedUpStore, follower_file: Path) -> None:
    with (
        open_follower(backed_up, follower_file) as follower,
        pytest.raises(NotFound, match="has no backup"),
    ):
        follower.promote()


async def test_a_follower_goes_on_in_a_new_set(
    backed_up: BackedUpStore, follower_file: Path
) -> None:
    backups = await backed_up.backups(full_interval_s=60.0, retained_sets=1)
    await backed_up.create(2)
    await backups.take()
    with open_follower(backed_up, follower_file) as follower:
        follower.follow()
        backed_up.clock.advance(timedelta(hours=1))
        await backed_up.create(2)
        await backups.take()
        assert backed_up.set_numbers() == [2]
        assert follower.follow().rows == 2


async def test_a_damaged_segment_is_not_taken(
    backed_up: BackedUpStore, follower_file: Path
) -> None:
    backups = await backed_up.backups()
    await backed_up.create(2)
    await backups.take()
    segment = backed_up.newest_file("journal-*")
    content = segment.read_bytes()
    flip_byte(segment)
    with open_follower(backed_up, follower_file) as follower:
        with pytest.raises(StorageDamaged, match="checksum"):
            follower.promote()
        segment.write_bytes(content)
        assert follower.follow().rows == 2


async def test_a_follower_of_an_earlier_epoch_is_named(
    backed_up: BackedUpStore, follower_file: Path
) -> None:
    await backed_up.create()
    await (await backed_up.backups()).take()
    with open_follower(backed_up, follower_file) as follower:
        follower.follow()
    other_file = follower_file.with_name("other.duckdb")
    with open_follower(backed_up, other_file) as other:
        other.promote()
    store = await open_duckdb(other_file, clock=SystemClock(), options=StoreOptions())
    options = BackupOptions(archive=FolderArchive(backed_up.archive), reserve_bytes=0)
    await (await store.open_backups(options)).take()
    await store.close()
    with (
        open_follower(backed_up, follower_file) as follower,
        pytest.raises(StorageIncompatible, match="begin anew"),
    ):
        follower.promote()
