"""Whatever a power cut leaves of a store opens, and has every acknowledged change."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.power_loss import replay
from tests.power_loss.disk import Disk
from tests.power_loss.replay import Replayer, record_workload
from tests.power_loss.system_calls import SystemCall, can_trace, read_calls

from spawn.testing.intensity import rounds

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.xdist_group("power loss"),
    pytest.mark.skipif(not can_trace(), reason="needs strace, and permission to trace"),
]

SHARE = rounds(10, 25) / 1_000
"""Share of the images that are opened; `make power-loss` opens all of them."""


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the record of one run of the workload."""
    folder = tmp_path_factory.mktemp("power-loss")
    assert "project_schema 2" in record_workload(folder, 1)
    return folder


def test_images_of_a_power_cut_open_with_every_acknowledged_change(record: Path) -> None:
    result = Replayer(record, seed=1, shuffles=1, share=SHARE).run()
    assert result.violations == []
    assert result.acknowledged > 50
    assert result.opened > 10


def test_images_of_an_encrypted_store_open_with_every_acknowledged_change(tmp_path: Path) -> None:
    """The log of the engine is sealed record by record, the database block by block."""
    assert "project_schema 2" in record_workload(tmp_path, 1, is_encrypted=True)
    files = [path.read_bytes() for path in (tmp_path / "store").iterdir()]
    assert not any(b"Second" in content for content in files)
    # To open one takes twice the time of a plain store.
    share = SHARE / 2
    result = Replayer(tmp_path, seed=1, shuffles=0, share=share, is_encrypted=True).run()
    assert result.violations == []
    assert result.acknowledged > 50


def test_a_log_that_is_never_synced_is_found(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prove the replay: the same record without the syncs of the log loses changes."""

    def read_calls_without_syncs(path: Path) -> Iterator[SystemCall]:
        logs: set[str] = set()
        for call in read_calls(path):
            if call.name == "openat" and call.texts[0].endswith(b".wal"):
                logs.add(str(call.result))
            if call.name != "fsync" or call.arguments[0] not in logs:
                yield call

    monkeypatch.setattr(replay, "read_calls", read_calls_without_syncs)
    result = Replayer(record, seed=1, shuffles=0, share=SHARE).run()
    assert any("acknowledged changes are lost" in sentence for sentence in result.violations)


@pytest.mark.parametrize("number", [19])
def test_a_failed_sync_ends_the_store_and_loses_nothing_later(tmp_path: Path, number: int) -> None:
    """The first process acknowledges nothing more; the next one does not trust the log."""
    inject = f"fsync,fdatasync:error=EIO:when={number}"
    *_, last_line = record_workload(tmp_path, 1, inject=inject).splitlines()
    assert last_line.startswith("failed The disk did not confirm a write")
    assert acknowledgements_after_a_failed_sync(tmp_path / "calls-0") == 0
    assert "project" in record_workload(tmp_path, 1)
    assert not (tmp_path / "store" / "s.duckdb.unsynced").exists()
    result = Replayer(tmp_path, seed=1, shuffles=1, share=SHARE).run()
    assert result.failed_syncs
    # A cut in the midst of the checkpoint may leave a log that is rejected, but loses nothing.
    assert not any("lost" in sentence for sentence in result.violations)


def acknowledgements_after_a_failed_sync(record: Path) -> int:
    has_failed, count = False, 0
    for call in read_calls(record):
        has_failed |= call.name in {"fsync", "fdatasync"} and call.result < 0
        is_line = call.name == "write" and call.arguments[0] == "1"
        count += has_failed and is_line and call.texts[0].startswith((b"project", b"schema"))
    assert has_failed
    return count


def test_a_failed_sync_of_a_new_file_does_not_blame_a_damage(tmp_path: Path) -> None:
    output = record_workload(tmp_path, 1, inject="fsync,fdatasync:error=EIO:when=1")
    assert output.startswith("rejected The disk did not confirm a write to")
    assert "project_schema 2" in record_workload(tmp_path, 1)


def test_the_disk_of_the_replay_ends_as_the_real_one(record: Path) -> None:
    disk = Disk(str(record / "store"))
    for call in read_calls(record / "calls-0"):
        disk.apply(call)
    files = {path.name: path.read_bytes() for path in (record / "store").iterdir()}
    assert disk.current_image() == files
