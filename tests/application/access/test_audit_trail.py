"""Denials of the audit trail: the first is written, equal ones are counted."""

from datetime import UTC, datetime

from spawn.adapters.local.audit_log import MemoryAuditLog
from spawn.application.access.audit_trail import (
    MAX_DENIALS,
    MAX_SOURCE_DENIALS,
    RESERVED_DENIALS,
    AuditTrail,
)
from spawn.domain.principal import ANONYMOUS
from spawn.ports.audit import AuditEntry, AuditKind, AuditQuery
from spawn.testing.storage_contract.harness import ManualClock


def deny(trail: AuditTrail, actor: str, status: int = 403, address: str = "192.0.2.1") -> None:
    trail.record(
        AuditKind.DENIAL,
        actor=actor,
        operation="getProject",
        status=status,
        address=address,
        request_id="r",
        detail="GET /v1/ops/projects/x",
    )


async def read(trail: AuditTrail) -> list[AuditEntry]:
    return (await trail.log.read(AuditQuery(limit=10_000)))[::-1]


async def test_equal_denials_of_a_window_are_two_entries() -> None:
    trail = AuditTrail(MemoryAuditLog(), ManualClock())
    for _ in range(1_000):
        deny(trail, "key:a")
    deny(trail, "key:b")
    deny(trail, "key:a", status=401)
    deny(trail, "key:a", address="192.0.2.2")
    trail.end_window()
    entries = await read(trail)
    assert [(e.actor, e.status, e.count) for e in entries] == [
        ("key:a", 403, 1),
        ("key:b", 403, 1),
        ("key:a", 401, 1),
        ("key:a", 403, 1),
        ("key:a", 403, 999),
    ]
    assert entries[-1].request_id == ""
    assert [entry.number for entry in entries] == sorted({entry.number for entry in entries})
    deny(trail, "key:a")
    trail.end_window()
    assert len(await read(trail)) == len(entries) + 1


async def test_different_denials_are_bounded() -> None:
    trail = AuditTrail(MemoryAuditLog(), ManualClock())
    for number in range(10_000):
        deny(trail, f"token:{number}")
    trail.end_window()
    entries = await read(trail)
    assert len(entries) == MAX_DENIALS + 1
    assert (entries[-1].actor, entries[-1].count) == ("", 10_000 - MAX_DENIALS)


async def test_a_flood_of_some_hides_no_denial_of_another() -> None:
    trail = AuditTrail(MemoryAuditLog(), ManualClock())
    for number in range(1_000):
        deny(trail, "key:scanner", status=number)
        for address in range(20):
            deny(trail, ANONYMOUS.id, status=number, address=f"198.51.100.{address}")
    deny(trail, "key:desk", address="192.0.2.9")
    trail.end_window()
    entries = await read(trail)
    assert [e.actor for e in entries].count("key:scanner") == MAX_SOURCE_DENIALS + 1
    assert [(e.status, e.count) for e in entries if e.actor == "key:desk"] == [(403, 1)]
    assert [e.actor for e in entries].count(ANONYMOUS.id) <= 2 * MAX_DENIALS
    (scanner,) = [e for e in entries if e.actor == "key:scanner" and not e.operation]
    assert (scanner.status, scanner.count) == (0, 1_000 - MAX_SOURCE_DENIALS)
    assert sum(e.count for e in entries) == 21_001


async def test_many_keys_and_sites_hide_no_first_denial_of_another() -> None:
    trail = AuditTrail(MemoryAuditLog(), ManualClock())
    for status in range(MAX_SOURCE_DENIALS):
        for number in range(20):
            deny(trail, f"key:scanner-{number}", status=status)
            deny(trail, ANONYMOUS.id, status=status, address=f"198.51.100.{number}")
        for number in range(100):  # one network, of which a provider gives all to one customer
            deny(trail, ANONYMOUS.id, status=status, address=f"2001:db8:0:{number:x}::{status:x}")
    deny(trail, "key:desk")
    deny(trail, ANONYMOUS.id, address="192.0.2.9")
    entries = await read(trail)
    assert [(e.actor, e.address) for e in entries[-2:]] == [
        ("key:desk", "192.0.2.1"),
        (ANONYMOUS.id, "192.0.2.9"),
    ]
    of_site = [e for e in entries if e.address.startswith("2001:")]
    assert len(of_site) <= MAX_SOURCE_DENIALS
    assert len(entries) == 2 * (MAX_DENIALS - RESERVED_DENIALS + 1)


async def test_entries_that_could_not_be_written_are_reported_once() -> None:
    class FullLog(MemoryAuditLog):
        failed_count = 0

    log, reports = FullLog(), list[int]()
    trail = AuditTrail(log, ManualClock(), on_failure=reports.append)
    trail.end_window()
    log.failed_count = 3
    trail.end_window()
    trail.end_window()
    log.failed_count = 5
    trail.end_window()
    assert reports == [3, 2]


async def test_acts_are_not_counted_but_written() -> None:
    trail = AuditTrail(MemoryAuditLog(), ManualClock(datetime(2026, 3, 1, tzinfo=UTC)))
    for _ in range(3):
        trail.record(AuditKind.EXPORT, actor="key:a", operation="readDataset", status=200)
    assert [entry.count for entry in await read(trail)] == [1, 1, 1]
