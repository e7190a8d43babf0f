"""Restores: equal to the source row by row at any change, in a new epoch, and never over a file."""

import asyncio
import errno
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from tests.adapters.storage.test_backups import (
    SMALL_SEGMENT_ROWS,
    BackedUpStore,
    backed_up,
    flip_byte,
    set_folder,
)

from spawn.adapters.archives.folder_archive import FolderArchive
from spawn.adapters.duckdb.archive import restoration
from spawn.adapters.duckdb.archive.archive_check import verify_archive
from spawn.adapters.duckdb.archive.backup_index import (
    head_of_set,
    list_set_numbers,
    read_epoch_claims,
    read_set,
    remove_set,
)
from spawn.adapters.duckdb.archive.epoch_claims import claim_new_epoch
from spawn.adapters.duckdb.archive.pinned_set import report_removal
from spawn.adapters.duckdb.archive.restoration import RestoredStore, RestoreRequest, restore
from spawn.adapters.duckdb.archive.store_check import verify_store
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.archive import Archive
from spawn.adapters.embedded.options import BackupOptions, StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.errors import (
    Conflict,
    CursorExpired,
    NotFound,
    SpawnError,
    StorageDamaged,
    StorageFull,
    StorageIncompatible,
    Unavailable,
)
from spawn.domain.events.position import Position
from spawn.domain.projects.project import PROJECT_KIND
from spawn.testing.intensity import rounds
from spawn.testing.storage_contract.harness import StorageHarness, adopt_every_schema
from spawn.testing.storage_contract.kinds import write_samples
from spawn.testing.storage_contract.migrations import migrate_to, revise_columns

__all__ = ["backed_up"]

Rows = dict[str, list[tuple[Any, ...]]]
UNCOMPARED = {"store", "store_identity", "formats", "state_proofs", "stage_journal"}
"""Tables with an epoch, an identity, or counters of this file alone."""


def read_tables(cursor: duckdb.DuckDBPyConnection) -> Rows:
    """Return every row of every table, sorted, with names and types of the columns."""
    names = [
        name for (name,) in cursor.execute("select table_name from duckdb_tables()").fetchall()
    ]
    tables: Rows = {}
    for name in sorted(set(names) - UNCOMPARED):
        cursor.execute(f"select * from {name} order by all")  # noqa: S608 -- names of our own tables
        columns = tuple((column[0], str(column[1])) for column in cursor.description or ())
        tables[name] = [columns, *cursor.fetchall()]
    return tables


async def dump(store: DuckDbStore) -> Rows:
    """Return the tables of an open store, level with its journal."""
    await store._project_all()
    return await store._scan_readers.run(read_tables)


def list_names_beside(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.glob(f"{target.name}*"))


async def open_restored(restored: RestoredStore) -> DuckDbStore:
    return await open_duckdb(restored.target, clock=SystemClock(), options=StoreOptions())


def renumber(rows: Rows, epoch: int) -> Rows:
    """Return the rows with the positions of publishers in another epoch."""
    header, *bookmarks = rows["bookmarks"]
    renumbered = [(name, text and f"{epoch}.{text.split('.')[1]}") for name, text in bookmarks]
    return rows | {"bookmarks": [header, *renumbered]}


class History:
    """A store, and what its tables had at several positions."""

    def __init__(self, source: BackedUpStore, make_target: Callable[[], Path]) -> None:
        self.source = source
        self.tables: dict[int, Rows] = {}
        self._make_target = make_target

    async def note(self) -> int:
        """Note what the tables have now."""
        position = (await self.source.store.position()).number
        self.tables[position] = await dump(self.source.store)
        return position

    def restore(self, **options: Any) -> RestoredStore:
        """Restore from the backups, the newest position unless told otherwise."""
        defaults = {"archive": FolderArchive(self.source.archive), "target": self._make_target()}
        return restore(RestoreRequest(**{**defaults, **options}), self.source.clock)

    async def check(self, restored: RestoredStore, position: int) -> None:
        """Check that a restored store has what the source had at the position."""
        store = await open_restored(restored)
        expected, actual = renumber(self.tables[position], restored.epoch), await dump(store)
        await store.close()
        assert restored.position == position
        assert actual.keys() == expected.keys()
        for name, rows in expected.items():
            if name != "bookmarks":  # a later one is cut to the end, an earlier one delivers again
                assert actual[name] == rows, name
        assert verify_store(restored.target, SystemClock()).findings == ()


class RemovingArchive:
    """An archive whose set is removed just before a reader's next file but so many."""

    def __init__(self, archive: Archive, number: int, files: int) -> None:
        self._archive = archive
        self._number = number
        self.files = files

    def __str__(self) -> str:
        return str(self._archive)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archive, name)

    def read(self, name: str) -> bytes:
        self._count()
        return self._archive.read(name)

    def fetch(self, name: str, folder: Path) -> Path:
        self._count()
        return self._archive.fetch(name, folder)

    def copy(self, name: str, folder: Path) -> Path:
        self._count()
        return self._archive.copy(name, folder)

    def _count(self) -> None:
        self.files -= 1
        if self.files < 0 and self._number in list_set_numbers(self._archive):
            remove_set(self._archive, self._number)


class UnreachableArchive:
    """An archive that cannot be read any more."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archive, name)

    def list_names(self, prefix: str) -> list[str]:
        raise OSError(errno.EIO, f"{prefix}: input/output error")


@pytest.fixture
def history(backed_up: BackedUpStore, tmp_path: Path) -> History:
    targets = (tmp_path / f"restored{number}" / "r.duckdb" for number in range(1000))
    return History(backed_up, lambda: next(targets))


async def evolve(harness: StorageHarness, version: int) -> None:
    """Migrate to a version with one more column."""
    added = [{"name": f"added_{n}", "type": "string(20)"} for n in range(2, version + 1)]
    await migrate_to(harness, revise_columns(*added), version)


async def test_every_kind_and_schema_version_is_restored_at_any_position(history: History) -> None:
    source = history.source
    await adopt_every_schema(source.store)
    backups = await source.backups()
    positions = []
    for number, aggregate_type in enumerate(AGGREGATE_TYPES.values()):
        await write_samples(source.harness, aggregate_type)
        if aggregate_type.kind == PROJECT_KIND:
            await evolve(source.harness, 2)
            positions.append(await history.note())
            await source.create()
            await evolve(source.harness, 3)
        positions.append(await history.note())
        await source.store.save_bookmarks({"webhook": Position(1, positions[-1])})
        if number % 4 == 3:
            await backups.take()
    await source.store.save_bookmarks({"log": None})
    await backups.take()
    positions.append(await history.note())
    assert {row[1] for row in history.tables[positions[-1]]["journal"][1:]} >= set(AGGREGATE_TYPES)
    for position in [positions[len(positions) // 2], *positions[:2]][: rounds(1, 3)]:
        await history.check(history.restore(position=position, is_copy=True), position)
    restored = history.restore()
    await history.check(restored, positions[-1])
    store = await open_restored(restored)
    assert await store.load_bookmarks() == {
        "webhook": Position(restored.epoch, positions[-1]),
        "log": None,
    }
    await store.close()


async def test_a_position_between_two_backups_has_the_bookmarks_of_the_earlier_one(
    history: History,
) -> None:
    source = history.source
    backups = await source.backups()
    for delivered in (1, 4):
        for _ in range(2):
            await source.create()
        await source.store.save_bookmarks({"webhook": Position(1, delivered)})
        await backups.take()
    restored = history.restore(position=3, is_copy=True)
    store = await open_restored(restored)
    assert await store.load_bookmarks() == {"webhook": Position(restored.epoch, 1)}
    await store.close()


async def test_a_change_is_restored_whole_by_position_and_by_instant(history: History) -> None:
    source = history.source
    changes = []
    for _ in range(3):
        source.clock.advance(timedelta(minutes=1, microseconds=1))
        projects = [source.harness.project() for _ in range(2)]
        changes.append(
            await source.store.commit(source.harness.change(*((p, 0) for p in projects)))
        )
        await history.note()
    await (await source.backups()).take()
    await history.check(history.restore(position=3, is_copy=True), 4)
    await history.check(history.restore(at=changes[1].recorded_at, is_copy=True), 4)
    just_before = changes[1].recorded_at - timedelta(microseconds=1)
    assert history.restore(at=just_before, is_copy=True).position == 2


async def test_a_receipt_is_replayed_after_a_restore(history: History) -> None:
    source = history.source
    project, receipt = source.harness.project(), source.harness.receipt()
    await source.store.commit(source.harness.change((project, 0), receipt=receipt))
    key = receipt.key
    await (await source.backups()).take()
    store = await open_duckdb(history.restore().target, clock=source.clock, options=StoreOptions())
    expected = await source.store.find_receipt(key)
    assert expected is not None
    assert await store.find_receipt(key) == expected
    await store.close()


async def test_a_restored_store_supersedes_the_earlier_one(history: History) -> None:
    source = history.source
    backups = await source.backups()
    await source.create(2)
    cursor = await source.store.position()
    await backups.take()
    restored = history.restore()
    assert (restored.epoch, restored.is_claimed) == (2, True)
    assert restored.store_id == source.store.status().store_id
    store = await open_restored(restored)
    with pytest.raises(CursorExpired):
        await store.feed(after=cursor, limit=10)
    new_backups = await store.open_backups(
        BackupOptions(archive=FolderArchive(source.archive), reserve_bytes=0)
    )
    point = await new_backups.take()
    assert (point.backup_set, point.rows) == (2, 2)
    with pytest.raises(StorageIncompatible, match="superseded"):
        await backups.take()
    with pytest.raises(SpawnError):
        await source.create()
    await store.close()
    assert history.restore().epoch == 3


async def test_a_copy_is_a_store_of_its_own(history: History) -> None:
    source = history.source
    backups = await source.backups()
    await source.create()
    await backups.take()
    restored = history.restore(is_copy=True)
    assert restored.store_id != source.store.status().store_id
    await source.create()
    await backups.take()


@pytest.mark.parametrize("name", ["r.duckdb", "r.duckdb.mark", "r.duckdb.wal"])
async def test_no_file_is_overwritten(history: History, tmp_path: Path, name: str) -> None:
    await (await history.source.backups()).take()
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(Conflict, match="never overwrites"):
        history.restore(target=tmp_path / "r.duckdb")
    assert (tmp_path / name).read_bytes() == b"mine"


async def test_a_link_that_leads_nowhere_is_not_overwritten_and_stops_no_store(
    history: History, tmp_path: Path
) -> None:
    await history.source.create()
    await (await history.source.backups()).take()
    for name in ("r.duckdb", "r.duckdb.mark"):
        (link := tmp_path / name).symlink_to(tmp_path / "absent" / name)
        with pytest.raises(Conflict, match="never overwrites"):
            history.restore(target=tmp_path / "r.duckdb")
        link.unlink()
    assert history.restore().epoch == 2


@pytest.mark.parametrize("name", ["r.duckdb", "r.duckdb.mark"])
async def test_a_file_that_appears_during_a_restore_stays(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await history.source.create()
    await (await history.source.backups()).take()
    build = restoration._build

    def build_slowly(*arguments: Any) -> RestoredStore:
        restored = build(*arguments)
        (tmp_path / name).write_bytes(b"mine")
        return restored

    with monkeypatch.context() as patch:
        patch.setattr(restoration, "_build", build_slowly)
        with pytest.raises(Conflict, match="exists"):
            history.restore(target=tmp_path / "r.duckdb")
    assert [left for left in ("r.duckdb", "r.duckdb.mark") if (tmp_path / left).exists()] == [name]
    # Nothing is claimed, so that the source goes on.
    assert history.restore().epoch == 2


async def test_no_file_can_appear_once_the_epoch_is_claimed(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.source.create()
    await (await history.source.backups()).take()
    target = tmp_path / "r.duckdb"

    def claim_slowly(*arguments: Any) -> bool:
        is_claimed = claim_new_epoch(*arguments)
        with pytest.raises(FileExistsError), target.open("xb"):
            pass
        with ThreadPoolExecutor() as pool, pytest.raises(SpawnError):
            pool.submit(serve).result()
        return is_claimed

    def serve() -> None:
        asyncio.run(open_duckdb(target, clock=SystemClock(), options=StoreOptions()))

    monkeypatch.setattr(restoration, "claim_new_epoch", claim_slowly)
    restored = history.restore(target=target)
    assert (restored.epoch, restored.is_claimed) == (2, True)
    await (await open_restored(restored)).close()
    assert list_names_beside(target) == ["r.duckdb", "r.duckdb.mark"]


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        StorageFull("The disk is full."),
        StorageIncompatible("Another key."),
        Conflict("The target exists."),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_a_removal_hides_no_other_failure(history: History, failure: Exception) -> None:
    await history.source.create()
    await (await history.source.backups()).take()
    archive = FolderArchive(history.source.archive)

    @report_removal(archive, 1)
    def fail() -> None:
        remove_set(archive, 1)
        raise failure

    with pytest.raises(type(failure)) as caught:
        fail()
    assert caught.value is failure


async def test_a_failure_is_raised_although_the_archive_is_gone(history: History) -> None:
    await (await history.source.backups()).take()
    archive: Any = UnreachableArchive(FolderArchive(history.source.archive))
    with pytest.raises(FileNotFoundError, match="index"), report_removal(archive, 1):
        raise FileNotFoundError(errno.ENOENT, "index")


async def test_a_restore_into_the_folder_of_the_backups_is_rejected(history: History) -> None:
    await (await history.source.backups()).take()
    archive = history.source.archive
    files = sorted(archive.rglob("*"))
    for target in (archive / "r.duckdb", archive / "new" / ".." / "new" / "r.duckdb"):
        with pytest.raises(Conflict, match="name a file elsewhere"):
            history.restore(target=target)
    assert sorted(archive.rglob("*")) == files


async def test_a_damaged_set_is_rejected_and_an_earlier_one_is_named(history: History) -> None:
    source = history.source
    backups = await source.backups(full_interval_s=60.0)
    await source.create()
    await backups.take()
    source.clock.advance(timedelta(hours=1))
    await source.create()
    await backups.take()
    flip_byte(source.newest_file("journal-*"))
    with pytest.raises(StorageDamaged, match=r"is damaged .* try --set 1"):
        history.restore()
    restored = history.restore(number=1)
    assert (restored.position, restored.epoch) == (1, 2)


async def test_a_missing_segment_is_rejected_only_where_it_is_needed(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SMALL_SEGMENT_ROWS, 0)
    source = history.source
    backups = await source.backups()
    for _ in range(2):
        await source.create()
        await backups.take()
    source.newest_file("journal-*").unlink()
    with pytest.raises(StorageDamaged, match="is missing"):
        history.restore()
    assert history.restore(position=1).position == 1


async def test_a_set_that_is_removed_while_it_is_restored_is_named(
    history: History, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(SMALL_SEGMENT_ROWS, 0)
    source = history.source
    backups = await source.backups(full_interval_s=7200.0)
    for _ in range(3):  # the first set has two segments, the second one all rows
        await source.create()
        await backups.take()
        source.clock.advance(timedelta(hours=1))
    assert source.set_numbers() == [1, 2]
    target = tmp_path / "removed" / "r.duckdb"
    outcomes = []
    for files in range(100):
        shutil.copytree(source.archive, folder := tmp_path / f"archive{files}")
        archive: Any = RemovingArchive(FolderArchive(folder), 1, files)
        try:
            outcomes.append(history.restore(archive=archive, number=1, target=target).position)
            break
        except Unavailable as error:
            assert re.search(r"Set 1 .* was removed .* one of the sets \[2\]", error.detail)  # noqa: PT017
            outcomes.append(0)
        assert list(target.parent.glob("*")) == []
        assert read_epoch_claims(FolderArchive(folder), source.store.status().store_id) == []
    assert outcomes[-1] == 2
    assert len(outcomes) > 5


async def take_two_sets(history: History) -> BackedUpStore:
    """Back up a store into a set of one row and another of two."""
    source = history.source
    backups = await source.backups(full_interval_s=60.0)
    for _ in range(2):
        source.clock.advance(timedelta(hours=1))
        await source.create()
        await backups.take()
    return source


async def test_a_verification_does_not_miss_a_set_that_was_removed_meanwhile(
    history: History, tmp_path: Path
) -> None:
    source = await take_two_sets(history)
    for files in range(8):
        shutil.copytree(source.archive, folder := tmp_path / f"archive{files}")
        archive: Any = RemovingArchive(FolderArchive(folder), 1, files)
        assert verify_archive(archive).findings == (), files


async def test_a_verification_that_lost_the_newest_set_is_not_clean(
    history: History, tmp_path: Path
) -> None:
    source = await take_two_sets(history)
    head = head_of_set(read_set(FolderArchive(source.archive), 2), None)
    outcomes = []
    for files in range(8):
        shutil.copytree(source.archive, folder := tmp_path / f"archive{files}")
        archive: Any = RemovingArchive(FolderArchive(folder), 2, files)
        findings = verify_archive(archive, head=head).findings
        outcomes.append(findings)
        is_left = list_set_numbers(FolderArchive(folder)) == [1, 2]
        assert (findings == ()) == is_left, files
    assert ("the newest set was removed while it was read: verify again",) in outcomes
    assert outcomes[-1] == ()


async def test_what_an_archive_does_not_have_is_named(history: History, tmp_path: Path) -> None:
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="has no backup"):
        history.restore(archive=FolderArchive(empty))
    await (await history.source.backups()).take()
    with pytest.raises(NotFound, match="ends at position 0"):
        history.restore(position=1)
    with pytest.raises(NotFound, match="not 7"):
        history.restore(number=7)


@pytest.mark.parametrize("confirmed", [0, 1, 2])
async def test_a_restore_that_the_disk_does_not_confirm_leaves_no_store(
    history: History, monkeypatch: pytest.MonkeyPatch, confirmed: int
) -> None:
    await history.source.create()
    await (await history.source.backups()).take()
    synced: list[Path] = []

    def sync(folder: Path) -> None:
        if len(synced) == confirmed:
            raise OSError(5, "Input/output error")
        synced.append(folder)

    with monkeypatch.context() as patch:
        patch.setattr("spawn.adapters.duckdb.connection.sync_folder", sync)
        with pytest.raises(Unavailable, match="The disk did not confirm"):
            history.restore()
    assert history.restore().epoch == 2


async def test_a_moment_before_the_first_change_is_rejected_and_stops_no_store(
    history: History,
) -> None:
    source = history.source
    backups = await source.backups()
    before = source.clock.now() - timedelta(days=365)
    await source.create()
    await backups.take()
    with pytest.raises(NotFound, match=f"No change was recorded by {before.year}-"):
        history.restore(at=before)
    with pytest.raises(NotFound, match="The first position is 1"):
        history.restore(position=0)
    await source.create()
    await backups.take()  # nothing was claimed


async def test_a_position_is_that_of_its_epoch(history: History) -> None:
    source = history.source
    await source.create(2)
    await (await source.backups()).take()
    store = await open_restored(history.restore(position=1))
    new_backups = await store.open_backups(
        BackupOptions(archive=FolderArchive(source.archive), reserve_bytes=0)
    )
    project = source.harness.project()
    await store.commit(source.harness.change((project, 0)))
    await new_backups.take()
    await store.close()
    of_first = history.restore(epoch=1, position=2, is_copy=True)
    of_second = history.restore(epoch=2, position=2, is_copy=True)
    assert (await read_project_ids(of_first)).isdisjoint({project.project_id})
    assert project.project_id in await read_project_ids(of_second)
    with pytest.raises(NotFound, match=r"No set of epoch 3 .* set 1 of epoch 1, set 2 of epoch 2"):
        history.restore(epoch=3, position=2)
    with pytest.raises(NotFound, match=r"No set of epoch 1 .* only set 2 of epoch 2"):
        history.restore(epoch=1, position=2, number=2)


async def read_project_ids(restored: RestoredStore) -> set[str]:
    store = await open_restored(restored)
    page = await store.feed(after=None, limit=100)
    await store.close()
    return {entry.id for entry in page.entries}


async def test_an_interrupted_restore_leaves_no_store(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = history.source
    await source.create()
    await (await source.backups()).take()

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("spawn.adapters.duckdb.archive.restoration._prove", fail)
        with pytest.raises(OSError, match="Input"):
            history.restore()
    # Nothing is claimed, so that the source goes on.
    assert history.restore().epoch == 2
    assert list_set_numbers(FolderArchive(source.archive)) == [1]
    assert set_folder(source.archive, 1).is_dir()
    assert msgspec.json.encode(source.store.status().is_writable) == b"true"
