"""Backups: what counts, what is rejected, and what a verification finds."""

import os
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from tests.adapters.storage.tmpfs import small_disk

from spawn.adapters.archives import durable_files
from spawn.adapters.archives.folder_archive import FolderArchive
from spawn.adapters.duckdb.archive.archive_check import (
    HeadCheck,
    Verification,
    verify_archive,
    verify_set,
)
from spawn.adapters.duckdb.archive.backup_index import (
    INDEX_NAME,
    EpochClaim,
    claim_epoch,
    is_set_signed,
    list_set_numbers,
    name_in_set,
    read_set,
)
from spawn.adapters.duckdb.archive.backup_writer import BackupWriter
from spawn.adapters.duckdb.archive.pinned_set import pin_set
from spawn.adapters.duckdb.archive.store_check import verify_store
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import BackupOptions, StoreOptions
from spawn.adapters.encryption.encryption_key import ArchiveKeys
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import (
    Conflict,
    StorageBusy,
    StorageDamaged,
    StorageFull,
    StorageIncompatible,
    Unavailable,
)
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record

KEY = b"k" * 32


def set_folder(archive: Path, number: int) -> Path:
    """Return the folder of a set in a folder of backups."""
    return archive / name_in_set(number, "")


SMALL_SEGMENT_ROWS = "spawn.adapters.duckdb.archive.backup_writer._SMALL_SEGMENT_ROWS"


class BackedUpStore:
    """A store with its folder of backups; `clock` dates both."""

    def __init__(self, folder: Path, store: DuckDbStore, clock: ManualClock) -> None:
        self.path = folder / "s.duckdb"
        self.archive = folder / "backups"
        self.store = store
        self.clock = clock
        self.harness = StorageHarness(store, clock)

    async def backups(self, **options: object) -> BackupWriter:
        """Open the backups with other options."""
        archive = FolderArchive(Path(str(options.pop("folder", self.archive))))
        defaults: dict[str, Any] = {"archive": archive, "reserve_bytes": 0}
        return await self.store.open_backups(BackupOptions(**defaults | options))

    async def create(self, count: int = 1) -> None:
        """Create projects."""
        for _ in range(count):
            await self.harness.create()

    def newest_file(self, pattern: str) -> Path:
        """Return the last file of the newest set."""
        return max(set_folder(self.archive, self.set_numbers()[-1]).glob(pattern))

    def set_numbers(self) -> list[int]:
        """Return the numbers of the sets."""
        return list_set_numbers(FolderArchive(self.archive))

    def verify(self) -> Verification:
        """Verify the folder of backups."""
        return verify_archive(FolderArchive(self.archive))


@pytest.fixture
async def backed_up(tmp_path: Path, new_store: Path) -> AsyncIterator[BackedUpStore]:
    for name in ("store.duckdb", "store.duckdb.mark"):
        shutil.copy(new_store / name, tmp_path / name.replace("store", "s"))
    clock = ManualClock()
    store = await open_duckdb(tmp_path / "s.duckdb", clock=clock, options=StoreOptions())
    await store.adopt(a_record())
    yield BackedUpStore(tmp_path, store, clock)
    await store.close()


def flip_byte(path: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


async def test_a_backup_adds_only_the_new_rows(backed_up: BackedUpStore) -> None:
    backups = await backed_up.backups()
    await backed_up.create(3)
    first = await backups.take()
    await backed_up.create(2)
    second = await backups.take()
    third = await backups.take()
    assert [point.rows for point in (first, second, third)] == [3, 2, 0]
    assert third.position == await backed_up.store.position()
    assert backed_up.verify() == Verification(
        target=str(backed_up.archive), rows=5, findings=(), head=third.head
    )


async def test_an_empty_store_has_a_backup(backed_up: BackedUpStore) -> None:
    point = await (await backed_up.backups()).take()
    assert (point.position.number, point.recorded_at) == (0, None)
    assert backed_up.verify().findings == ()


async def test_a_long_journal_is_written_in_segments_that_end_with_a_change(
    backed_up: BackedUpStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spawn.adapters.duckdb.archive.backup_writer.SEGMENT_ROWS", 4)
    monkeypatch.setattr(SMALL_SEGMENT_ROWS, 0)
    projects = [backed_up.harness.project() for _ in range(3)]
    for _ in range(3):
        change = backed_up.harness.change(*((p, 0) for p in projects))
        await backed_up.store.commit(change)
        projects = [backed_up.harness.project() for _ in range(3)]
    point = await (await backed_up.backups()).take()
    assert [(s.first, s.last) for s in read_set(FolderArchive(backed_up.archive), 1).segments] == [
        (1, 6),
        (7, 9),
    ]
    assert (point.rows, backed_up.verify().findings) == (9, ())


async def test_a_small_segment_is_written_again_with_the_new_rows(
    backed_up: BackedUpStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SMALL_SEGMENT_ROWS, 2)
    backups = await backed_up.backups()
    for _ in range(5):
        await backed_up.create()
        await backups.take()
    segments = read_set(FolderArchive(backed_up.archive), 1).segments
    assert [(s.first, s.last) for s in segments] == [(1, 2), (3, 4), (5, 5)]
    files = set_folder(backed_up.archive, 1).glob("journal-*")
    assert {path.name for path in files} == {s.name for s in segments}
    assert backed_up.verify().findings == ()


async def test_a_reader_is_not_disturbed_by_the_next_backup(backed_up: BackedUpStore) -> None:
    backups = await backed_up.backups()
    await backed_up.create()
    await backups.take()
    with pin_set(FolderArchive(backed_up.archive), 1, ArchiveKeys()) as pinned:
        await backed_up.create()
        await backups.take()
        folder = set_folder(backed_up.archive, 1)
        assert not (folder / pinned.backup_set.segments[-1].name).exists()
        assert verify_set(pinned, HeadCheck(None, None)) == []


async def test_a_set_of_a_wrong_date_puts_no_later_one_off(backed_up: BackedUpStore) -> None:
    backups = await backed_up.backups(full_interval_s=3600.0)
    backed_up.clock.advance(timedelta(days=730))
    await backups.take()
    backed_up.clock.advance(timedelta(days=-730))
    assert (await backups.take()).backup_set == 2


async def test_points_of_the_same_schemas_are_thinned(backed_up: BackedUpStore) -> None:
    backups = await backed_up.backups()
    for _ in range(30):
        backed_up.clock.advance(timedelta(minutes=1))
        await backed_up.create()
        await backups.take()
    assert [p.position for p in read_set(FolderArchive(backed_up.archive), 1).points] == [
        1,
        11,
        21,
        30,
    ]


async def test_what_an_interrupted_backup_left_does_not_count(backed_up: BackedUpStore) -> None:
    backups = await backed_up.backups()
    await backed_up.create()
    await backups.take()
    folder = set_folder(backed_up.archive, 1)
    (folder / f"journal-x{durable_files.PARTIAL_SUFFIX}").write_bytes(b"half")
    unlisted = folder / "journal-000000000001-000000000002.parquet"
    unlisted.write_bytes(b"half")
    assert backed_up.verify().findings == ()
    await backed_up.create()
    await backups.take()
    assert backed_up.verify().findings == ()
    assert unlisted.read_bytes() != b"half"
    assert not list(folder.glob(f"*{durable_files.PARTIAL_SUFFIX}"))


async def test_a_set_without_an_index_does_not_count(backed_up: BackedUpStore) -> None:
    folder = set_folder(backed_up.archive, 1)
    folder.mkdir(parents=True)
    (folder / "journal-x.parquet").write_bytes(b"half")
    await (await backed_up.backups()).take()
    assert backed_up.set_numbers() == [1]
    assert backed_up.verify().findings == ()


@pytest.mark.parametrize("pattern", ["journal-*", "schemas-*", "index.json"])
async def test_a_flipped_byte_is_found(backed_up: BackedUpStore, pattern: str) -> None:
    await backed_up.create(2)
    await (await backed_up.backups()).take()
    flip_byte(backed_up.newest_file(pattern))
    (finding,) = backed_up.verify().findings
    assert pattern.rstrip("*") in finding


async def test_a_missing_and_a_cut_segment_are_found(
    backed_up: BackedUpStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SMALL_SEGMENT_ROWS, 0)
    backups = await backed_up.backups()
    for _ in range(2):
        await backed_up.create()
        await backups.take()
    first, second = sorted(set_folder(backed_up.archive, 1).glob("journal-*"))
    second.write_bytes(second.read_bytes()[:-1])
    first.unlink()
    missing, cut = backed_up.verify().findings
    assert "is missing" in missing
    assert "bytes instead of" in cut


async def test_a_damaged_set_is_left_alone_and_a_new_one_begins(backed_up: BackedUpStore) -> None:
    backups = await backed_up.backups()
    await backed_up.create()
    await backups.take()
    backed_up.newest_file("index.json").write_bytes(b"{}")
    point = await backups.take()
    assert (point.backup_set, point.rows) == (2, 1)


async def test_the_folder_of_another_store_is_rejected(
    backed_up: BackedUpStore, tmp_path: Path
) -> None:
    await (await backed_up.backups()).take()
    other = await open_duckdb(tmp_path / "o.duckdb", clock=SystemClock(), options=StoreOptions())
    with pytest.raises(Conflict, match="give this store a place of its own"):
        await other.open_backups(
            BackupOptions(archive=FolderArchive(backed_up.archive), reserve_bytes=0)
        )
    await other.close()


async def test_a_folder_that_another_store_takes_meanwhile_is_rejected(
    backed_up: BackedUpStore, tmp_path: Path
) -> None:
    """Both stores found the folder empty when they opened."""
    other = await open_duckdb(tmp_path / "o.duckdb", clock=SystemClock(), options=StoreOptions())
    backups = await other.open_backups(
        BackupOptions(archive=FolderArchive(backed_up.archive), reserve_bytes=0)
    )
    await (await backed_up.backups()).take()
    with pytest.raises(Conflict, match="give this store a place of its own"):
        await backups.take()
    assert backups.status().failures == 1
    await other.close()


async def test_two_writers_of_one_folder_never_mix(backed_up: BackedUpStore) -> None:
    backups = await backed_up.backups()
    backed_up.archive.mkdir()
    with durable_files.lock_folder(backed_up.archive), pytest.raises(StorageBusy):
        await backups.take()


async def test_an_older_copy_of_the_file_is_noticed(
    backed_up: BackedUpStore, tmp_path: Path
) -> None:
    await backed_up.create()
    await backed_up.store.close()
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("s.duckdb", "s.duckdb.mark"):
        shutil.copy(tmp_path / name, copy)
    again = await open_duckdb(backed_up.path, clock=SystemClock(), options=StoreOptions())
    newer = BackedUpStore(tmp_path, again, backed_up.clock)
    await newer.create()
    await (await newer.backups()).take()
    await again.close()
    older = await open_duckdb(copy / "s.duckdb", clock=SystemClock(), options=StoreOptions())
    backups = await older.open_backups(
        BackupOptions(archive=FolderArchive(newer.archive), reserve_bytes=0)
    )
    with pytest.raises(Conflict, match="older copy"):
        await backups.take()
    await older.close()


async def test_retention_removes_the_oldest_sets_by_number(backed_up: BackedUpStore) -> None:
    backups = await backed_up.backups(retained_sets=2, full_interval_s=3600.0)
    for days in (0, 1, 1, -900, 901):  # also a clock that was set back, and right again
        backed_up.clock.advance(timedelta(days=days))
        await backed_up.create()
        point = await backups.take()
    assert (point.backup_set, point.rows) == (5, 5)
    assert backed_up.set_numbers() == [4, 5]
    assert backed_up.verify().findings == ()


async def test_retention_keeps_the_only_good_set(backed_up: BackedUpStore) -> None:
    backups = await backed_up.backups(retained_sets=1, full_interval_s=60.0)
    await backed_up.create()
    await backups.take()
    real = durable_files.hash_file
    backed_up.clock.advance(timedelta(hours=1))

    def damage(path: Path) -> str:
        sha256 = real(path)
        if "set-000002" in str(path):
            flip_byte(path)
        return sha256

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spawn.adapters.duckdb.archive.segments.hash_file", damage)
        await backups.take()
    assert backed_up.set_numbers() == [1, 2]
    assert read_set(FolderArchive(backed_up.archive), 1).last_position == 1
    assert "Set 2 is damaged" in backups.status().error
    await backups.take()
    assert backed_up.set_numbers() == [1, 2]


async def test_a_journal_that_was_changed_replaces_no_good_backup(
    backed_up: BackedUpStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backed_up.create(4)
    await (await backed_up.backups()).take()
    await backed_up.store.close()
    run_sql(backed_up.path, "update journal set actor = 'nobody' where position = 2")
    # The opening checks the last thousand rows only.
    monkeypatch.setattr("spawn.adapters.duckdb.journal.tail._TAIL_ROWS", 1)
    store = await open_duckdb(backed_up.path, clock=SystemClock(), options=StoreOptions())
    changed = BackedUpStore(tmp_path, store, backed_up.clock)
    await changed.create()
    backups = await changed.backups(full_interval_s=60.0, retained_sets=1)
    with pytest.raises(StorageDamaged, match="row 2 was changed"):
        await backups.take()
    assert changed.set_numbers() == [1]
    assert changed.verify().findings == ()
    await store.close()


async def test_a_full_disk_is_reported_and_leaves_the_backups(backed_up: BackedUpStore) -> None:
    backups = await backed_up.backups()
    await backed_up.create()
    await backups.take()
    full = await backed_up.backups(reserve_bytes=10**15)
    await backed_up.create()
    with pytest.raises(StorageFull, match="No backup was added"):
        await full.take()
    status = full.status()
    assert (status.failures, status.latest and status.latest.position.number) == (1, 1)
    assert backed_up.verify().findings == ()


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
async def test_a_disk_that_fills_up_in_a_backup_leaves_the_earlier_one(
    backed_up: BackedUpStore, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=256 * 1024) as disk:
        backups = await backed_up.backups(folder=disk)
        await backed_up.create()
        await backups.take()
        for _ in range(100):
            await backed_up.harness.create(description=os.urandom(4_000).hex())
        with pytest.raises(StorageFull):
            await backups.take()
        verification = verify_archive(FolderArchive(disk))
        assert (verification.rows, verification.findings) == (1, ())
        assert not list(disk.rglob(f"*{durable_files.PARTIAL_SUFFIX}"))


async def test_a_target_that_cannot_be_written_is_reported(
    backed_up: BackedUpStore, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    backups = await backed_up.backups(folder=tmp_path / "file" / "backups")
    with pytest.raises(Unavailable, match="cannot be written"):
        await backups.take()


async def test_a_superseded_store_stops(backed_up: BackedUpStore) -> None:
    backups = await backed_up.backups()
    await backups.take()
    claim = EpochClaim(
        store_id=backed_up.store.status().store_id, epoch=2, claimed_at=backed_up.clock.now()
    )
    claim_epoch(FolderArchive(backed_up.archive), claim)
    with pytest.raises(StorageIncompatible, match="superseded by epoch 2"):
        await backups.take()
    assert "superseded" in await backed_up.store.wait_until_failed()
    with pytest.raises(Unavailable):
        await backed_up.create()


async def test_a_superseded_store_does_not_start(backed_up: BackedUpStore) -> None:
    await (await backed_up.backups()).take()
    store_id = backed_up.store.status().store_id
    for epoch in (2, 3):
        claim = EpochClaim(store_id=store_id, epoch=epoch, claimed_at=backed_up.clock.now())
        claim_epoch(FolderArchive(backed_up.archive), claim)
    with pytest.raises(FileExistsError):
        claim_epoch(FolderArchive(backed_up.archive), claim)
    with pytest.raises(StorageIncompatible, match="epoch 3"):
        await backed_up.backups()


async def test_the_age_survives_a_restart(backed_up: BackedUpStore) -> None:
    await (await backed_up.backups()).take()
    backed_up.clock.advance(timedelta(minutes=10))
    age_s = (await backed_up.backups()).status().age_s
    assert age_s is not None
    assert 600 <= age_s < 700


# -- signatures and heads ---------------------------------------------------------------------


async def test_a_head_from_elsewhere_proves_the_backup(backed_up: BackedUpStore) -> None:
    backups = await backed_up.backups(signing_key=KEY)
    await backed_up.create(2)
    head = (await backups.take()).head
    await backed_up.create()
    await backups.take()
    assert (
        verify_archive(FolderArchive(backed_up.archive), head=head, keys=ArchiveKeys(KEY)).findings
        == ()
    )
    others = {
        "not signed": msgspec.structs.replace(head, position=1),
        "of the store": msgspec.structs.replace(head, store_id="0" * 32),
        "below the head": msgspec.structs.replace(head, position=9),
        "the history was changed": msgspec.structs.replace(head, hash="0" * 64),
    }
    for text, other in others.items():
        key = KEY if text == "not signed" else None
        (finding,) = verify_archive(
            FolderArchive(backed_up.archive), head=other, keys=ArchiveKeys(key)
        ).findings
        assert text in finding


async def test_an_index_that_somebody_wrote_without_the_key_is_found(
    backed_up: BackedUpStore,
) -> None:
    await (await backed_up.backups()).take()
    (finding,) = verify_archive(FolderArchive(backed_up.archive), keys=ArchiveKeys(KEY)).findings
    assert "not signed with the key" in finding
    with pytest.raises(StorageDamaged, match="not signed"):
        await (await backed_up.backups(signing_key=KEY)).take()


async def test_an_index_states_whether_it_is_signed(
    backed_up: BackedUpStore, tmp_path: Path
) -> None:
    await (await backed_up.backups()).take()
    await (await backed_up.backups(signing_key=KEY, folder=tmp_path / "signed")).take()
    archive = FolderArchive(backed_up.archive)
    assert not is_set_signed(archive, 1)
    assert is_set_signed(FolderArchive(tmp_path / "signed"), 1)
    (set_folder(backed_up.archive, 1) / INDEX_NAME).write_bytes(b'{"signature": ""')
    with pytest.raises(StorageDamaged, match=r"index .* is damaged"):
        is_set_signed(archive, 1)


# -- the file of a store ----------------------------------------------------------------------


def run_sql(path: Path, *statements: str) -> None:
    """Change the file behind the service's back."""
    with duckdb.connect(str(path)) as database:
        for statement in statements:
            database.execute(statement)


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("update journal set actor = 'nobody' where position = 2", "row 2 was changed"),
        ("delete from journal where position = 2", "row 2 is missing"),
        ("delete from journal where position = 3", "below its high-water mark 3"),
        ("update projects set project_name = 'x'", "it has other values than the journal"),
        ("delete from projects where _position = 2", "the table projects differed"),
        ("drop table aggregates", "the table aggregates differed"),
        ("delete from store_identity", "is damaged"),
    ],
)
async def test_a_change_behind_the_service_is_found(
    backed_up: BackedUpStore, damage: str, finding: str
) -> None:
    await backed_up.create(3)
    await backed_up.store.close()
    before = verify_store(backed_up.path, SystemClock())
    assert (before.rows, before.findings) == (3, ())
    run_sql(backed_up.path, damage)
    content = backed_up.path.read_bytes()
    assert finding in " ".join(verify_store(backed_up.path, SystemClock()).findings)
    assert backed_up.path.read_bytes() == content
    assert not list(backed_up.path.parent.glob(".s.duckdb.verify*"))


def _lose_mark(path: Path) -> None:
    path.with_name("s.duckdb.mark").unlink()


def _empty_mark(path: Path) -> None:
    path.with_name("s.duckdb.mark").write_bytes(b"")


def _break_mark(path: Path) -> None:
    path.with_name("s.duckdb.mark").write_bytes(b"x" * 512)


def _break_file(path: Path) -> None:
    path.write_bytes(b"x" * 4096)


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (_lose_mark, "missing or empty"),
        (_empty_mark, "missing or empty"),
        (_break_mark, "is unreadable"),
        (_break_file, "is damaged"),
    ],
)
async def test_damage_of_the_files_is_found(
    backed_up: BackedUpStore, damage: Callable[[Path], None], finding: str
) -> None:
    await backed_up.create()
    await backed_up.store.close()
    damage(backed_up.path)
    verification = verify_store(backed_up.path, SystemClock())
    assert finding in " ".join(verification.findings)
    assert verification.rows == (0 if damage is _break_file else 1)


async def test_a_store_in_use_is_not_examined(backed_up: BackedUpStore) -> None:
    with pytest.raises(StorageBusy):
        verify_store(backed_up.path, SystemClock())
