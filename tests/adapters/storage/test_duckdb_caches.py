"""Cache of the newest journal rows: same feed as the file, and bounded."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from spawn.adapters.duckdb.caches import RecentRows
from spawn.adapters.duckdb.journal_rows import JournalRow
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.domain.change import Write
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.projects.project import ExternalRefReservation
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record

FILTERS: list[dict[str, Any]] = [
    {},
    {"types": frozenset({"project.amended"})},
    {"types": frozenset({"project.created", "x.y"})},
    {"types": frozenset[str]()},
]


async def open_at(path: Path, recent_bytes: int = 0) -> DuckDbStore:
    options = StoreOptions(recent_bytes=recent_bytes)
    return await open_duckdb(path, clock=ManualClock(), options=options)


async def read_all_entries(store: DuckDbStore, limit: int, **filters: Any) -> list[JournalEntry]:
    entries, cursor, end = list[JournalEntry](), None, await store.position()
    while cursor != end:
        page = await store.feed(after=cursor, limit=limit, **filters)
        assert len(page.entries) <= limit
        entries += page.entries
        cursor = page.next
    return entries


async def write_examples(harness: StorageHarness) -> None:
    """Create, amend with a reason, write without events, record receipts, commit a bulk."""
    projects = [await harness.create(project_name=f"Î{n}") for n in range(4)]
    await harness.rename(projects[1], 1, "Second")
    reserve = Write(
        "external_ref", "erp:1", 0, ExternalRefReservation(project_id=projects[0].project_id)
    )
    await harness.store.commit(harness.change(writes=(reserve,), events=()))
    await harness.store.commit(harness.change(writes=(), events=(), receipt=harness.receipt()))
    change = harness.change(*((harness.project(), 0) for _ in range(60)), traceparent="00-ab-cd-01")
    await harness.store.commit(change)


@pytest.mark.parametrize("recent_bytes", [0, 20_000, 1_000_000])
async def test_cache_and_file_return_the_same_feed(tmp_path: Path, recent_bytes: int) -> None:
    store = await open_at(tmp_path / "s.duckdb", recent_bytes=recent_bytes)
    await store.adopt(a_record())
    await write_examples(StorageHarness(store, ManualClock()))
    feeds = [await read_all_entries(store, n, **f) for f in FILTERS for n in (1, 7, 1000)]
    subject = feeds[0][1].id
    own_entries = await read_all_entries(store, 3, subject=("project", subject))
    await store.close()
    reopened = await open_at(tmp_path / "s.duckdb")
    assert feeds == [
        await read_all_entries(reopened, n, **f) for f in FILTERS for n in (1, 7, 1000)
    ]
    assert own_entries == await read_all_entries(reopened, 3, subject=("project", subject))
    assert [entry.version for entry in own_entries] == [1, 2]
    await reopened.close()


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


def test_only_the_newest_rows_are_cached() -> None:
    recent = RecentRows(capacity_bytes=20 * 600)
    for position in range(1, 1001):
        recent.put([row(position, "x" * 100)])
    cached_positions = [p for p in range(1001) if recent.after(p, 1)]
    assert 10 <= len(cached_positions) <= 21
    assert cached_positions == list(range(1000 - len(cached_positions), 1000))
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
