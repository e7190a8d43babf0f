"""A commit that a power loss tore is dropped; whatever else the log lacks is damage."""

import shutil
from pathlib import Path

import pytest

from spawn.adapters.duckdb.journal.high_water_mark import JournalPosition
from spawn.adapters.duckdb.journal.torn_log import cut_torn_commit
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import StorageDamaged
from spawn.domain.query import Query
from spawn.testing.intensity import rounds
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record

SUFFIXES = ("", ".wal", ".mark")
TEXT = "torn " * 1_900


async def open_at(path: Path) -> DuckDbStore:
    return await open_duckdb(path, clock=SystemClock(), options=StoreOptions(reserve_bytes=0))


class Images:
    """Files of a store after its first commit and after two more, as a crash leaves them."""

    def __init__(self, folder: Path) -> None:
        self.one, self.three = folder / "one", folder / "three"

    async def build(self, path: Path) -> None:
        store = await open_at(path)
        await store.adopt(a_record())
        harness = StorageHarness(store, ManualClock())
        await harness.create(project_name="First")
        self._copy(path, self.one)
        for name in ("Second", "Third"):
            await harness.create(project_name=name, description=TEXT)
        self._copy(path, self.three)
        await store.close()

    @staticmethod
    def _copy(path: Path, folder: Path) -> None:
        folder.mkdir()
        for suffix in SUFFIXES:
            shutil.copy(f"{path}{suffix}", folder / f"s.duckdb{suffix}")


@pytest.fixture
async def images(tmp_path: Path) -> Images:
    images = Images(tmp_path)
    await images.build(tmp_path / "original" / "s.duckdb")
    return images


def tear(log: Path, position: int) -> bytes:
    """Write zeros over the page at a position; return the log as it is then."""
    content = log.read_bytes()
    begin = position // 4096 * 4096
    log.write_bytes(content[:begin] + bytes(4096) + content[begin + 4096 :])
    return log.read_bytes()


async def read_names(path: Path) -> list[str]:
    store = await open_at(path)
    try:
        return [item.state.project_name for item in (await store.page(Query())).items]
    finally:
        await store.close()


async def test_a_torn_commit_is_dropped_and_the_log_is_kept(images: Images) -> None:
    path = images.three / "s.duckdb"
    shutil.copy(images.one / "s.duckdb.mark", images.three)  # the mark was not synced since
    log = path.with_name("s.duckdb.wal")
    torn = tear(log, log.stat().st_size - 6_000)
    assert await read_names(path) == ["First", "Second"]
    assert path.with_name("s.duckdb.wal.torn").read_bytes() == torn
    assert await read_names(path) == ["First", "Second"]


async def test_an_acknowledged_commit_is_never_dropped(images: Images) -> None:
    path = images.three / "s.duckdb"
    log = path.with_name("s.duckdb.wal")
    torn = tear(log, log.stat().st_size - 6_000)
    with pytest.raises(StorageDamaged):
        await open_at(path)
    assert log.read_bytes() == torn


async def test_a_hole_before_a_whole_commit_is_damage(images: Images) -> None:
    path = images.three / "s.duckdb"
    shutil.copy(images.one / "s.duckdb.mark", images.three)
    log = path.with_name("s.duckdb.wal")
    torn = tear(log, (images.one / "s.duckdb.wal").stat().st_size + 5_000)
    with pytest.raises(StorageDamaged):
        await open_at(path)
    assert log.read_bytes() == torn


async def test_a_log_whose_first_commit_is_torn_is_removed(images: Images) -> None:
    store = await open_at(images.one / "s.duckdb")
    await store.close()  # everything is in the file, and the log is gone
    log = images.one / "s.duckdb.wal"
    assert not log.exists()
    log.write_bytes(bytes(4096) + b"part of a commit")
    assert await read_names(images.one / "s.duckdb") == ["First"]


async def test_changes_follow_a_log_that_was_cut_anywhere_in_its_last_commit(
    images: Images, tmp_path: Path
) -> None:
    """The engine cuts the torn end off at its first write, which makes the log smaller."""
    begin = (images.one / "s.duckdb.wal").stat().st_size
    whole = (images.three / "s.duckdb.wal").read_bytes()
    for number, size in enumerate(
        range(begin + 1, len(whole), (len(whole) - begin) // rounds(6, 12))
    ):
        shutil.copytree(images.one, folder := tmp_path / f"cut{number}")
        (folder / "s.duckdb.wal").write_bytes(whole[:size])
        store = await open_at(folder / "s.duckdb")
        await StorageHarness(store, ManualClock()).create(project_name="Next")
        count = (await store.position()).number
        await store.close()
        names = await read_names(folder / "s.duckdb")
        assert names[-1] == "Next"
        assert len(names) == count


async def test_a_database_that_was_half_created_is_created_again(tmp_path: Path) -> None:
    (tmp_path / "s.duckdb.new").write_bytes(b"half of the headers")
    store = await open_at(tmp_path / "s.duckdb")
    await store.close()
    assert not (tmp_path / "s.duckdb.new").exists()


def entry(length: int, fill: bytes = b"x") -> bytes:
    """Return an entry of an encrypted log: its length, and 36 bytes more than that."""
    return length.to_bytes(8, "little") + fill * (length + 36)


FIRST, COMMIT = b"first entry\xff\xff", entry(40) + entry(5)


@pytest.mark.parametrize(
    ("log", "kept", "marked"),
    [
        (FIRST + COMMIT + COMMIT, FIRST + COMMIT, None),
        (FIRST + COMMIT + COMMIT[:-1], FIRST + COMMIT, None),
        (FIRST + COMMIT + COMMIT[:60], FIRST + COMMIT, None),
        (FIRST + COMMIT + entry(40), FIRST + COMMIT, None),
        (FIRST + COMMIT + bytes(50) + entry(5), FIRST + COMMIT, None),
        (FIRST + COMMIT + COMMIT + bytes(50), FIRST + COMMIT + COMMIT, None),
        (FIRST + COMMIT, b"", None),
        (FIRST + COMMIT[:60], b"", None),
        (b"first entry" + COMMIT, b"", None),
        # No change was acknowledged, or one that the file does not have.
        (FIRST + COMMIT, b"", JournalPosition(1, 0)),
        (FIRST + COMMIT, None, JournalPosition(1, 1)),
        # The torn part ends in more than one commit.
        (FIRST + COMMIT + bytes(50) + COMMIT + COMMIT, None, None),
    ],
)
def test_the_last_commit_of_an_encrypted_log_is_cut(
    log: bytes, kept: bytes | None, marked: JournalPosition | None, tmp_path: Path
) -> None:
    path = tmp_path / "s.duckdb.wal"
    path.write_bytes(log)
    failure, key = RuntimeError("Failure while replaying WAL"), EncryptionKey(b"k" * 32)
    is_cut = cut_torn_commit(tmp_path / "s.duckdb", marked, failure, key)
    assert is_cut is (kept is not None)
    assert (path.read_bytes() if path.exists() else b"") == (log if kept is None else kept)
