"""Encrypted stores: no plain byte on the disk, and no other key opens them or their backups."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.adapters.storage.encryption_keys import KEY, OTHER_KEY, needs_encryption
from tests.adapters.storage.test_backups import BackedUpStore, flip_byte
from tests.adapters.storage.test_restoration import dump, renumber
from tests.adapters.storage.test_torn_log import tear

from spawn.adapters.archives.folder_archive import FolderArchive
from spawn.adapters.duckdb.archive.archive_check import verify_archive
from spawn.adapters.duckdb.archive.follower import Follower
from spawn.adapters.duckdb.archive.restoration import RestoreRequest, restore
from spawn.adapters.duckdb.archive.store_check import verify_store
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import BackupOptions, StoreOptions
from spawn.adapters.encryption.encryption_key import NO_KEYS, ArchiveKeys, EncryptionKey
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import Conflict, StorageDamaged, StorageIncompatible
from spawn.domain.query import Query
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record

pytestmark = needs_encryption

CANARY = "CANARYofAWindFarm"
KEYS = ArchiveKeys(None, KEY)


async def open_with(path: Path, key: EncryptionKey | None) -> DuckDbStore:
    options = StoreOptions(encryption_key=key, reserve_bytes=0)
    return await open_duckdb(path, clock=SystemClock(), options=options)


@pytest.fixture
async def encrypted(tmp_path: Path) -> AsyncIterator[BackedUpStore]:
    folder, clock = tmp_path / "data", ManualClock()
    options = StoreOptions(encryption_key=KEY)
    store = await open_duckdb(folder / "s.duckdb", clock=clock, options=options)
    await store.adopt(a_record())
    yield BackedUpStore(folder, store, clock)
    await store.close()


def find_canary(folder: Path) -> list[str]:
    """Return the names of the files that have the canary, in any of its usual encodings."""
    texts = [CANARY.encode(), CANARY.encode("utf-16-le"), KEY.engine_key(b"engine").encode()]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path.name for path in files if any(text in path.read_bytes() for text in texts)]


async def test_no_file_of_store_log_and_backups_has_a_plain_name(
    encrypted: BackedUpStore, tmp_path: Path
) -> None:
    await encrypted.harness.create(project_name=CANARY, description=CANARY * 20)
    await (await encrypted.backups()).take()
    await encrypted.store.save_bookmarks({CANARY: None})
    assert (encrypted.path.with_name("s.duckdb.wal")).stat().st_size > 1_000
    assert find_canary(tmp_path) == []
    page = await encrypted.store.page(Query())
    assert [item.state.project_name for item in page.items] == [CANARY]
    await encrypted.store.close()
    assert find_canary(tmp_path) == []


async def test_temporary_files_of_the_engine_are_encrypted(tmp_path: Path) -> None:
    options = StoreOptions(encryption_key=KEY, memory_limit="64MiB")
    store = await open_duckdb(tmp_path / "s.duckdb", clock=SystemClock(), options=options)
    cursor = store._engine.cursor()
    folder = tmp_path / "s.duckdb.tmp"
    cursor.execute(
        "create temp table sorted as select ? || i || repeat('x', 300) as text"
        " from range(300_000) r(i)",
        [CANARY],
    )
    assert sum(path.stat().st_size for path in folder.iterdir()) > 5_000_000
    assert find_canary(folder) == []
    await store.close()


@pytest.mark.parametrize(
    ("made_with", "opened_with", "sentence"),
    [
        (KEY, None, "is encrypted and no key is given"),
        (KEY, OTHER_KEY, "is encrypted with another key"),
        (None, KEY, "SPAWN_ENCRYPTION_KEY_FILE is set and s.duckdb is not encrypted"),
    ],
)
async def test_a_store_opens_with_its_own_key_only(
    tmp_path: Path,
    made_with: EncryptionKey | None,
    opened_with: EncryptionKey | None,
    sentence: str,
) -> None:
    path = tmp_path / "s.duckdb"
    await (await open_with(path, made_with)).close()
    before = path.read_bytes()
    with pytest.raises(StorageIncompatible, match=sentence) as failure:
        await open_with(path, opened_with)
    assert "SPAWN_ENCRYPTION_KEY_FILE" in failure.value.detail
    assert KEY.engine_key(b"engine") not in f"{failure.value.detail}{failure.value.__cause__}"
    with pytest.raises(StorageIncompatible, match=sentence):
        verify_store(path, SystemClock(), keys=ArchiveKeys(None, opened_with))
    assert path.read_bytes() == before
    await (await open_with(path, made_with)).close()
    assert verify_store(path, SystemClock(), keys=ArchiveKeys(None, made_with)).findings == ()


async def test_a_changed_block_is_never_served(encrypted: BackedUpStore) -> None:
    for _ in range(40):
        await encrypted.harness.create(description=CANARY * 100)
    await encrypted.store.close()
    content = encrypted.path.read_bytes()
    damaged = 0
    for position in range(0, len(content), len(content) // 11):
        changed = bytearray(content)
        changed[position] ^= 1
        encrypted.path.write_bytes(changed)
        try:
            store = await open_with(encrypted.path, KEY)
        except StorageDamaged:
            damaged += 1
            continue
        names = {item.state.project_name for item in (await store.page(Query(limit=50))).items}
        assert names == {"Cala Blanca Solar"}
        await store.close()
        content = encrypted.path.read_bytes()
    assert damaged > 3


async def test_a_torn_commit_of_an_encrypted_log_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "data" / "s.duckdb"
    store = await open_with(path, KEY)
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    await harness.create(project_name="First")
    mark = path.with_name("s.duckdb.mark").read_bytes()
    await harness.create(project_name="Second", description="whole " * 1_500)
    second_end = path.with_name("s.duckdb.wal").stat().st_size
    await harness.create(project_name="Third", description="torn " * 1_900)
    image = tmp_path / "image"
    image.mkdir()
    for suffix in ("", ".wal", ".mark"):
        shutil.copy(f"{path}{suffix}", image / f"s.duckdb{suffix}")
    await store.close()
    tear(image / "s.duckdb.wal", second_end + 4_096)
    with pytest.raises(StorageDamaged):  # the mark has the third change, which was acknowledged
        await open_with(image / "s.duckdb", KEY)
    (image / "s.duckdb.mark").write_bytes(mark)
    store = await open_with(image / "s.duckdb", KEY)
    names = [item.state.project_name for item in (await store.page(Query())).items]
    await store.close()
    assert names == ["First", "Second"]


# -- backups --------------------------------------------------------------------------------


async def test_backups_are_verified_and_restored_with_the_key(
    encrypted: BackedUpStore, tmp_path: Path
) -> None:
    await encrypted.create(3)
    backups = await encrypted.backups(signing_key=b"k" * 32)
    point = await backups.take()
    await encrypted.create(2)
    await backups.take()
    keys = ArchiveKeys(b"k" * 32, KEY)
    assert verify_archive(FolderArchive(encrypted.archive), keys=keys).findings == ()
    expected = await dump(encrypted.store)
    target = tmp_path / "restored" / "r.duckdb"
    request = RestoreRequest(
        archive=FolderArchive(encrypted.archive), target=target, keys=keys, target_key=KEY
    )
    assert restore(request, SystemClock()).position == point.position.number + 2
    assert find_canary(target.parent) == []
    restored = await open_with(target, KEY)
    assert await dump(restored) == renumber(expected, 2)
    await restored.close()


async def test_backups_open_with_no_other_key(encrypted: BackedUpStore, tmp_path: Path) -> None:
    await encrypted.create()
    await (await encrypted.backups()).take()
    for keys, said in ((NO_KEYS, "no key is given"), (ArchiveKeys(None, OTHER_KEY), OTHER_KEY.id)):
        (finding,) = verify_archive(FolderArchive(encrypted.archive), keys=keys).findings
        assert f"is encrypted with the key {KEY.id}" in finding
        assert said in finding
        request = RestoreRequest(
            archive=FolderArchive(encrypted.archive), target=tmp_path / "r", keys=keys
        )
        with pytest.raises(StorageIncompatible, match=KEY.id):
            restore(request, SystemClock())
        with (
            Follower(
                FolderArchive(encrypted.archive), tmp_path / said[:2], SystemClock(), keys
            ) as follower,
            pytest.raises(StorageIncompatible, match=KEY.id),
        ):
            follower.follow()


@pytest.mark.parametrize("pattern", ["journal-*", "schemas-*", "index.json"])
async def test_a_changed_file_of_an_encrypted_backup_is_found(
    encrypted: BackedUpStore, tmp_path: Path, pattern: str
) -> None:
    await encrypted.create()
    await (await encrypted.backups()).take()
    flip_byte(encrypted.newest_file(pattern))
    assert verify_archive(FolderArchive(encrypted.archive), keys=KEYS).findings
    target = tmp_path / "r.duckdb"
    request = RestoreRequest(archive=FolderArchive(encrypted.archive), target=target, keys=KEYS)
    with pytest.raises(StorageDamaged):
        restore(request, SystemClock())
    assert not target.exists()


@pytest.mark.parametrize(
    ("old", "new"), [(KEY, OTHER_KEY), (None, KEY), (KEY, None)], ids=["rotate", "encrypt", "plain"]
)
async def test_a_restore_changes_the_key(
    tmp_path: Path, old: EncryptionKey | None, new: EncryptionKey | None
) -> None:
    path, archive = tmp_path / "old" / "s.duckdb", tmp_path / "backups"
    store = await open_with(path, old)
    await store.adopt(a_record())
    await StorageHarness(store, ManualClock()).create(project_name=CANARY)
    options = BackupOptions(archive=FolderArchive(archive), reserve_bytes=0)
    await (await store.open_backups(options)).take()
    await store.close()
    target = tmp_path / "new" / "s.duckdb"
    keys = ArchiveKeys(None, old)
    restore(
        RestoreRequest(archive=FolderArchive(archive), target=target, keys=keys, target_key=new),
        SystemClock(),
    )
    store = await open_with(target, new)
    page = await store.page(Query())
    assert [item.state.project_name for item in page.items] == [CANARY]
    if new is not None:
        assert find_canary(target.parent) == []
        error = StorageIncompatible if old is not None else Conflict
        with pytest.raises(error, match=r"is encrypted with the key|are not encrypted"):
            await store.open_backups(options)
    await store.close()
    with pytest.raises(StorageIncompatible, match="superseded"):
        await (await open_with(path, old)).open_backups(options)


async def test_a_follower_of_an_encrypted_store_is_encrypted_and_promoted(
    encrypted: BackedUpStore, tmp_path: Path
) -> None:
    await encrypted.harness.create(project_name=CANARY)
    backups = await encrypted.backups()
    await backups.take()
    path = tmp_path / "follower" / "f.duckdb"
    with Follower(FolderArchive(encrypted.archive), path, SystemClock(), KEYS) as follower:
        assert follower.follow().rows == 1
        follower.warm()
        await encrypted.create(2)
        await backups.take()
        assert follower.promote().position == 3
    assert find_canary(tmp_path) == []
    store = await open_with(path, KEY)
    assert await dump(store) == renumber(await dump(encrypted.store), 2)
    await store.close()


async def test_a_follower_with_a_key_takes_no_plain_backups(
    tmp_path: Path, encrypted: BackedUpStore
) -> None:
    plain = await open_with(tmp_path / "plain" / "p.duckdb", None)
    archive = tmp_path / "plain-backups"
    await (
        await plain.open_backups(BackupOptions(archive=FolderArchive(archive), reserve_bytes=0))
    ).take()
    await plain.close()
    with (
        Follower(FolderArchive(archive), tmp_path / "f.duckdb", SystemClock(), KEYS) as follower,
        pytest.raises(StorageIncompatible, match="is not encrypted"),
    ):
        follower.follow()
    with pytest.raises(Conflict):
        await encrypted.backups(folder=archive)
