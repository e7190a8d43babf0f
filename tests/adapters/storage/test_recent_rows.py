"""The journal's newest rows come from memory: as the file would give them, and not without end."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from spawn.adapters.duckdb.caches import RecentRows
from spawn.adapters.duckdb.journal_rows import JournalRow
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.domain.change import Entry, Write
from spawn.domain.projects.project import Reservation
from spawn.testing.storage_contract.commands import Desk, ManualClock, a_record

FILTERS: list[dict[str, Any]] = [
    {},
    {"types": frozenset({"project.amended"})},
    {"types": frozenset({"project.created", "x.y"})},
    {"types": frozenset[str]()},
]


async def opened(path: Path, recent_bytes: int = 0) -> DuckDbStore:
    options = StoreOptions(recent_bytes=recent_bytes)
    return await open_duckdb(path, clock=ManualClock(), options=options)


async def every_entry(store: DuckDbStore, limit: int, **filters: Any) -> list[Entry]:
    entries, at, end = list[Entry](), None, await store.position()
    while at != end:
        page = await store.feed(after=at, limit=limit, **filters)
        assert len(page.entries) <= limit
        entries += page.entries
        at = page.next
    return entries


async def fill(desk: Desk) -> None:
    """Created, amended with a reason, silent writes, receipts, and a bulk of sixty."""
    projects = [await desk.create(project_name=f"Î{n}") for n in range(4)]
    await desk.rename(projects[1], 1, "Second")
    reserve = Write("external_ref", "erp:1", 0, Reservation(project_id=projects[0].project_id))
    await desk.store.commit(desk.change(writes=(reserve,), events=()))
    await desk.store.commit(desk.change(writes=(), events=(), receipt=desk.receipt()))
    change = desk.change(*((desk.project(), 0) for _ in range(60)), traceparent="00-ab-cd-01")
    await desk.store.commit(change)


@pytest.mark.parametrize("recent_bytes", [0, 20_000, 1_000_000])
async def test_memory_and_file_give_the_same_feed(tmp_path: Path, recent_bytes: int) -> None:
    store = await opened(tmp_path / "s.duckdb", recent_bytes=recent_bytes)
    await store.adopt(a_record())
    await fill(Desk(store, ManualClock()))
    found = [await every_entry(store, n, **f) for f in FILTERS for n in (1, 7, 1000)]
    subject = found[0][1].id
    mine = await every_entry(store, 3, subject=("project", subject))
    await store.close()
    again = await opened(tmp_path / "s.duckdb")
    assert found == [await every_entry(again, n, **f) for f in FILTERS for n in (1, 7, 1000)]
    assert mine == await every_entry(again, 3, subject=("project", subject))
    assert [entry.version for entry in mine] == [1, 2]
    await again.close()


def row(position: int, document: str = "{}") -> JournalRow:
    return JournalRow(
        position=position,
        kind="project",
        id=f"p{position}",
        version=1,
        type="project.created",
        actor="anna",
        recorded_at=position,
        schema_version=1,
        document=document,
    )


def test_only_the_newest_rows_are_kept() -> None:
    recent = RecentRows(capacity_bytes=20 * 600)
    for position in range(1, 1001):
        recent.put([row(position, "x" * 100)])
    known = [p for p in range(1001) if recent.after(p, 1)]
    assert 10 <= len(known) <= 21
    assert known == list(range(1000 - len(known), 1000))
    assert [r.position for r in recent.after(998, 10)] == [999, 1000]
    assert not recent.after(1000, 10)


def test_rows_after_a_gap_begin_anew() -> None:
    recent = RecentRows(capacity_bytes=1_000_000)
    recent.put([row(1), row(2)])
    recent.put([row(5)])
    assert not recent.after(0, 10)
    assert [r.position for r in recent.after(4, 10)] == [5]
    recent.clear()
    assert not recent.after(4, 10)
    assert not recent.after(-1, 10)


def test_a_document_is_counted() -> None:
    recent = RecentRows(capacity_bytes=1_000_000)
    for position in (1, 2, 3):
        recent.put([msgspec.structs.replace(row(position), document="x" * 600_000)])
    assert not recent.after(0, 10)
    assert recent.after(2, 10)
