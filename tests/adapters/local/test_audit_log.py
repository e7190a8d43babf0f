"""The audit log in files: order, bounds, restarts, damage."""

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from spawn.adapters.local import audit_log
from spawn.adapters.local.audit_log import FileAuditLog, MemoryAuditLog
from spawn.ports.audit import AuditEntry, AuditKind, AuditLog, AuditQuery

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(number: int, kind: AuditKind = AuditKind.ADMINISTRATION, detail: str = "") -> AuditEntry:
    return AuditEntry(
        time=START + timedelta(seconds=number),
        kind=kind,
        actor=f"key:{number % 3}",
        operation="setLogLevel",
        status=200,
        detail=detail or str(number),
    )


def list_sizes(folder: Path) -> list[int]:
    return [file.stat().st_size for file in folder.iterdir()]


async def details(log: AuditLog, **query: object) -> list[str]:
    selection = msgspec.structs.replace(AuditQuery(limit=10_000), **query)
    return [one.detail for one in await log.read(selection)]


@pytest.fixture(params=["memory", "file"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> AuditLog:
    return MemoryAuditLog() if request.param == "memory" else FileAuditLog(tmp_path / "audit")


async def test_entries_of_both_series_are_read_newest_first(log: AuditLog) -> None:
    for number in range(6):
        log.append(entry(number, AuditKind.DENIAL if number % 2 else AuditKind.EXPORT))
    assert await details(log) == ["5", "4", "3", "2", "1", "0"]
    assert await details(log, kind=AuditKind.DENIAL) == ["5", "3", "1"]
    assert await details(log, actor="key:1", limit=1) == ["4"]
    assert await details(log, since=START + timedelta(seconds=4)) == ["5", "4"]
    first_page = await log.read(AuditQuery(limit=2))
    assert await details(log, before=first_page[-1].number) == ["3", "2", "1", "0"]
    await log.close()
    log.append(entry(6))
    assert (await details(log))[0] == "6"


async def test_numbers_grow_although_the_clock_is_set_back(tmp_path: Path) -> None:
    first = FileAuditLog(tmp_path)
    first.append(entry(100))
    await first.close()
    restarted = FileAuditLog(tmp_path)
    restarted.append(entry(1))
    assert await details(restarted) == ["1", "100"]


async def test_denials_drop_no_acts(tmp_path: Path) -> None:
    log = FileAuditLog(tmp_path, file_bytes=2_000)
    log.append(entry(0, detail="the act"))
    for number in range(1, 2_000):
        log.append(entry(number, AuditKind.DENIAL))
    found = await details(log)
    assert found[0] == "1999"
    assert found[-1] == "the act"
    assert len(found) < 100
    sizes = list_sizes(tmp_path)
    assert len(sizes) == 1 + audit_log.DENIAL_FILES
    assert max(sizes) <= 2_000
    assert log.failed_count == 0


async def test_files_are_private_and_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    log = FileAuditLog(tmp_path / "audit")
    log.append(entry(1))
    await log.close()
    file = tmp_path / "audit" / "acts.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.write_bytes(file.read_bytes() + b'{"number": 3, "ti\xff')
    restarted = FileAuditLog(tmp_path / "audit")
    restarted.append(entry(2))
    assert await details(restarted) == ["2", "1"]


async def test_entries_that_cannot_be_written_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = FileAuditLog(tmp_path)

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    log.append(entry(1))
    await log.close()
    monkeypatch.undo()
    assert log.failed_count == 1
    log.append(entry(2))
    assert await details(log) == ["2"]
