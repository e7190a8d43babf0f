"""Backups in a bucket: what holds for a folder holds there, with any failure of the server."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.archives.fixtures import certificates, prefix, proxy, s3_port
from tests.adapters.archives.s3_server import SECRET, FailingProxy, open_bucket
from tests.adapters.storage.encryption_keys import KEY
from tests.adapters.storage.test_backups import SMALL_SEGMENT_ROWS, BackedUpStore, backed_up
from tests.adapters.storage.test_encrypted_store import open_with
from tests.adapters.storage.test_restoration import (
    RemovingArchive,
    dump,
    open_restored,
    renumber,
)

from spawn.adapters.archives import bucket_archive
from spawn.adapters.duckdb.archive.archive_check import verify_archive
from spawn.adapters.duckdb.archive.backup_index import list_set_numbers, name_in_set, read_set
from spawn.adapters.duckdb.archive.backup_writer import BackupWriter
from spawn.adapters.duckdb.archive.follower import Follower
from spawn.adapters.duckdb.archive.restoration import RestoreRequest, restore
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.archive import Archive
from spawn.adapters.embedded.options import BackupOptions, StoreOptions
from spawn.adapters.encryption.encryption_key import ArchiveKeys
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import StorageBusy, StorageDamaged, StorageIncompatible, Unavailable
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record
from spawn.testing.storage_contract.migrations import migrate_to, revise_columns

__all__ = ["backed_up", "certificates", "prefix", "proxy", "s3_port"]

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def no_long_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_archive, "_RETRIES", 2)


@pytest.fixture
def bucket(s3_port: int, prefix: str) -> Archive:
    return open_bucket(s3_port, prefix)


async def open_writer(store: DuckDbStore, archive: Archive, **options: object) -> BackupWriter:
    return await store.open_backups(BackupOptions(archive=archive, **options))  # type: ignore[arg-type]


async def test_a_store_is_restored_from_a_bucket_and_the_earlier_one_stops(
    backed_up: BackedUpStore, bucket: Archive, tmp_path: Path
) -> None:
    backups = await open_writer(backed_up.store, bucket)
    await backed_up.create(3)
    await backups.take()
    await backed_up.create(2)
    point = await backups.take()
    assert (point.rows, backups.status().target) == (2, bucket.url)
    verification = verify_archive(bucket)
    assert (verification.rows, verification.findings, verification.head) == (5, (), point.head)
    expected = await dump(backed_up.store)
    request = RestoreRequest(archive=bucket, target=tmp_path / "r" / "r.duckdb")
    restored = restore(request, SystemClock())
    assert (restored.position, restored.epoch, restored.is_claimed) == (5, 2, True)
    store = await open_restored(restored)
    assert await dump(store) == renumber(expected, 2)
    await store.close()
    with pytest.raises(StorageIncompatible, match="superseded by epoch 2"):
        await backups.take()
    assert "superseded" in await backed_up.store.wait_until_failed()


async def test_a_follower_of_a_bucket_is_promoted_once(
    backed_up: BackedUpStore, bucket: Archive, tmp_path: Path
) -> None:
    backups = await open_writer(backed_up.store, bucket)
    await backed_up.create(2)
    await backups.take()
    with Follower(bucket, tmp_path / "f" / "f.duckdb", SystemClock()) as follower:
        assert [follower.follow().rows, follower.follow().rows] == [2, 0]
        await backed_up.create()
        await backups.take()
        promoted = follower.promote()
    assert (promoted.epoch, promoted.position, promoted.is_claimed) == (2, 3, True)
    with pytest.raises(StorageIncompatible, match="superseded by epoch 2"):
        await backups.take()


async def test_a_follower_reads_no_file_again_without_news(
    backed_up: BackedUpStore, proxy: FailingProxy, prefix: str, tmp_path: Path
) -> None:
    archive = open_bucket(proxy.port, prefix)
    await backed_up.create()
    await (await open_writer(backed_up.store, archive)).take()
    with Follower(archive, tmp_path / "f" / "f.duckdb", SystemClock()) as follower:
        follower.follow()
        proxy.requests.clear()
        follower.follow()
    assert [path for _, path in proxy.requests if ".parquet" in path or "schemas-" in path] == []


async def test_retention_removes_the_objects_of_the_oldest_set(
    backed_up: BackedUpStore, bucket: Archive
) -> None:
    backups = await open_writer(backed_up.store, bucket, retained_sets=2, full_interval_s=3600.0)
    for _ in range(4):
        backed_up.clock.advance(timedelta(days=1))
        await backed_up.create()
        await backups.take()
    assert list_set_numbers(bucket) == [3, 4]
    assert {name[:10] for name in bucket.list_names("set-")} == {"set-000003", "set-000004"}
    assert verify_archive(bucket).findings == ()


async def test_a_set_that_is_removed_while_it_is_restored_is_named_or_was_read(
    backed_up: BackedUpStore, bucket: Archive, s3_port: int, prefix: str, tmp_path: Path
) -> None:
    backups = await open_writer(backed_up.store, bucket, full_interval_s=60.0)
    for _ in range(2):
        await backed_up.create()
        await backups.take()
        backed_up.clock.advance(timedelta(hours=1))
    target = tmp_path / "r" / "r.duckdb"
    reader: Any = RemovingArchive(open_bucket(s3_port, prefix), 1, 2)  # index and last segment
    with pytest.raises(Unavailable, match=r"Set 1 .* was removed .* one of the sets \[2\]"):
        restore(RestoreRequest(archive=reader, target=target, number=1), SystemClock())
    assert list(target.parent.glob("*")) == []
    reader = RemovingArchive(open_bucket(s3_port, prefix), 2, 5)  # everything was downloaded
    request = RestoreRequest(archive=reader, target=target, number=2, is_copy=True)
    assert restore(request, SystemClock()).position == 2


async def test_an_encrypted_store_sends_nothing_that_can_be_read(
    proxy: FailingProxy, prefix: str, tmp_path: Path
) -> None:
    store = await open_with(tmp_path / "s.duckdb", KEY)
    await store.adopt(a_record())
    archive, keys = open_bucket(proxy.port, prefix), ArchiveKeys(None, KEY)
    backups = await open_writer(store, archive)
    await StorageHarness(store, ManualClock()).create(description="canary-in-a-description")
    await backups.take()
    assert len(proxy.received) > 1_000
    assert b"canary-in-a" not in proxy.received
    assert store.status().store_id.encode() not in proxy.received
    assert verify_archive(archive, keys=keys).findings == ()
    (finding,) = verify_archive(archive).findings
    assert KEY.id in finding
    expected = await dump(store)
    await store.close()
    request = RestoreRequest(
        archive=archive, target=tmp_path / "r.duckdb", keys=keys, target_key=KEY
    )
    restored = restore(request, SystemClock())
    again = await open_with(restored.target, KEY)
    assert await dump(again) == renumber(expected, 2)
    await again.close()


@pytest.mark.parametrize("lost", ["journal-", "schemas-", "index.json"])
async def test_a_backup_that_is_interrupted_leaves_the_earlier_one(
    backed_up: BackedUpStore, proxy: FailingProxy, prefix: str, lost: str
) -> None:
    archive = open_bucket(proxy.port, prefix)
    backups = await open_writer(backed_up.store, archive)
    await backed_up.create()
    await backups.take()
    await backed_up.create(2)
    await migrate_to(backed_up.harness, revise_columns({"name": "zone", "type": "string(9)"}))
    proxy.fault = lambda method, path: 503 if method == "PUT" and lost in path else None
    with pytest.raises(Unavailable, match=r"The backup cannot be written: s3://.*SlowDown"):
        await backups.take()
    verification = verify_archive(archive)
    assert (verification.rows, verification.findings) == (1, ())
    proxy.fault = lambda _method, _path: None
    assert (await backups.take()).rows == 3
    assert verify_archive(archive).findings == ()
    assert list(backed_up.path.parent.glob("*.outgoing/*")) == []


async def test_an_index_whose_response_is_lost_counts(
    backed_up: BackedUpStore, proxy: FailingProxy, prefix: str
) -> None:
    archive = open_bucket(proxy.port, prefix)
    backups = await open_writer(backed_up.store, archive)
    await backed_up.create()
    await backups.take()
    paths: list[str] = []

    def lose_once(method: str, path: str) -> bool:
        if method == "PUT" and "index.json" in path and not paths:
            paths.append(path)
            return True
        return False

    proxy.lose = lose_once
    await backed_up.create()
    assert (await backups.take()).rows == 1
    assert paths
    assert verify_archive(archive).rows == 2


async def test_two_writers_of_one_store_never_mix_their_objects(
    backed_up: BackedUpStore, s3_port: int, prefix: str
) -> None:
    """The other one begins between the read and the write of the index."""
    one = await open_writer(backed_up.store, slow := open_bucket(s3_port, prefix))
    other = await open_writer(backed_up.store, open_bucket(s3_port, prefix))
    await backed_up.create()
    await one.take()
    real = slow.publish
    calls: list[bool] = []

    def publish(source: Path, name: str, sha256: str) -> None:
        real(source, name, sha256)
        if not calls:
            calls.append(True)
            other._write_step(backed_up.store._engine.cursor())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slow, "publish", publish)
        await backed_up.create()
        with pytest.raises(StorageBusy, match="a prefix of its own"):
            await one.take()
    assert verify_archive(slow).findings == ()
    assert (await one.take()).rows == 0


async def test_another_store_that_begins_at_the_same_time_is_rejected(
    backed_up: BackedUpStore, s3_port: int, prefix: str, tmp_path: Path
) -> None:
    stranger = await open_duckdb(tmp_path / "o.duckdb", clock=SystemClock(), options=StoreOptions())
    other = await open_writer(stranger, slow := open_bucket(s3_port, prefix))
    ours = await open_writer(backed_up.store, open_bucket(s3_port, prefix))
    real = slow.replace

    def replace(name: str, content: bytes) -> None:
        if name.endswith("index.json"):
            ours._write_step(backed_up.store._engine.cursor())
        real(name, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slow, "replace", replace)
        with pytest.raises(StorageBusy):
            await other.take()
    assert read_set(slow, 1).store_id == backed_up.store.status().store_id
    await stranger.close()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda content: content[:-1], "bytes instead of"),
        (lambda content: content[:9] + b"?" + content[10:], "its checksum differs"),
        (lambda _: None, "is missing"),
    ],
)
async def test_a_damaged_object_is_found(
    backed_up: BackedUpStore,
    bucket: Archive,
    damage: Callable[[bytes], bytes | None],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(SMALL_SEGMENT_ROWS, 0)
    backups = await open_writer(backed_up.store, bucket)
    await backed_up.create()
    await backups.take()
    name = name_in_set(1, read_set(bucket, 1).segments[0].name)
    content = damage(bucket.read(name))
    bucket.remove([name])
    if content is not None:
        bucket.create(name, content)
    (finding,) = verify_archive(bucket).findings
    assert expected in finding
    with pytest.raises(StorageDamaged, match="Set 1 is damaged"):
        restore(RestoreRequest(archive=bucket, target=tmp_path / "r.duckdb"), SystemClock())
    assert not (tmp_path / "r.duckdb").exists()


async def test_credentials_that_may_only_read_restore_without_a_claim(
    backed_up: BackedUpStore, proxy: FailingProxy, prefix: str, tmp_path: Path
) -> None:
    archive = open_bucket(proxy.port, prefix)
    await backed_up.create()
    await (await open_writer(backed_up.store, archive)).take()
    proxy.code = "AccessDenied"
    proxy.fault = lambda method, _: 403 if method == "PUT" else None
    reader = open_bucket(proxy.port, prefix)
    restored = restore(RestoreRequest(archive=reader, target=tmp_path / "r.duckdb"), SystemClock())
    assert (restored.position, restored.is_claimed) == (1, False)


async def test_a_server_that_is_down_is_in_the_status_and_holds_nothing_up(
    backed_up: BackedUpStore,
) -> None:
    backups = await open_writer(backed_up.store, open_bucket(1, "p"))
    assert "no connection to the server at http://127.0.0.1:1" in backups.status().error
    with pytest.raises(Unavailable, match="no connection"):
        await backups.take()
    await backed_up.create()
    status = backups.status()
    assert (status.failures, status.latest) == (1, None)
    assert SECRET not in repr(status)
