"""Groups of changes that one transaction commits: none sees or overtakes another of its keys."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spawn.adapters.duckdb.journal.prepared_change import BULK_WRITES
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.domain.aggregates import encode_state
from spawn.domain.change import Change, CommitResult, EncodedState, Guard, Write
from spawn.domain.errors import StaleVersion
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import Query
from spawn.testing.storage_contract.harness import (
    ManualClock,
    StorageHarness,
    a_record,
    gather_outcomes,
)


async def open_with_schema(tmp_path: Path) -> tuple[Any, StorageHarness]:
    store: DuckDbStore = await open_duckdb(
        tmp_path / "s.duckdb", clock=ManualClock(), options=StoreOptions()
    )
    await store.adopt(a_record())
    return store, StorageHarness(store, ManualClock())


async def commit_together(store: Any, changes: list[Change]) -> list[Any]:
    """Commit changes that are all queued, in order, before the writer takes the first."""
    is_held, is_released = threading.Event(), threading.Event()

    def hold_writer() -> None:
        is_held.set()
        is_released.wait(20)

    held = asyncio.create_task(store._writer.run(hold_writer, "hold the writer"))
    assert await asyncio.to_thread(is_held.wait, 10)
    commits = []
    for change in changes:
        commits.append(asyncio.create_task(store.commit(change)))
        async with asyncio.timeout(10):
            while store._writer.queue_length() < len(commits):  # noqa: ASYNC110 -- a queue has no event
                await asyncio.sleep(0)
    is_released.set()
    await held
    return await gather_outcomes(commits)


async def test_a_small_change_overtakes_a_large_one_that_waits(tmp_path: Path) -> None:
    store, harness = await open_with_schema(tmp_path)
    large = harness.change(*((harness.project(), 0) for _ in range(BULK_WRITES + 1)))
    small = harness.change(*((harness.project(), 0) for _ in range(BULK_WRITES)))
    assert await commit_together(store, [large, small])
    entries = (await store.feed(after=None, limit=100)).entries
    ids = [entry.id for entry in entries]
    assert ids == [write.id for change in (small, large) for write in change.writes]
    await store.close()


async def test_a_guard_that_waits_is_not_overtaken_by_a_write_of_its_aggregate(
    tmp_path: Path,
) -> None:
    store, harness = await open_with_schema(tmp_path)
    one, other = await harness.create(), await harness.create()
    guards = (Guard(PROJECT_KIND, one.project_id, 1),)
    outcomes = await commit_together(
        store,
        [
            harness.change((other, 1)),
            harness.change((other, 2), guards=guards),
            harness.change((one, 1)),
        ],
    )
    assert [type(outcome) for outcome in outcomes] == [CommitResult] * 3
    await store.close()


async def test_a_write_that_waits_is_not_overtaken_by_a_guard_of_its_aggregate(
    tmp_path: Path,
) -> None:
    store, harness = await open_with_schema(tmp_path)
    one, other = await harness.create(), await harness.create()
    guards = (Guard(PROJECT_KIND, one.project_id, 1),)
    outcomes = await commit_together(
        store,
        [
            harness.change((other, 1)),
            harness.change((other, 2), (one, 1)),
            harness.change((harness.project(), 0), guards=guards),
        ],
    )
    assert [type(outcome) for outcome in outcomes] == [CommitResult, CommitResult, StaleVersion]
    await store.close()


async def test_a_guard_in_the_group_of_an_earlier_write_sees_it(tmp_path: Path) -> None:
    store, harness = await open_with_schema(tmp_path)
    one = await harness.create()
    guards = (Guard(PROJECT_KIND, one.project_id, 1),)
    changes = [harness.change((one, 1)), harness.change((harness.project(), 0), guards=guards)]
    outcomes = await commit_together(store, changes)
    assert [type(outcome) for outcome in outcomes] == [CommitResult, StaleVersion]
    await store.close()


async def test_changes_of_one_aggregate_in_one_queue_follow_each_other(tmp_path: Path) -> None:
    store, harness = await open_with_schema(tmp_path)
    one = await harness.create()
    outcomes = await commit_together(
        store, [harness.change((one, version)) for version in (1, 2, 3, 3)]
    )
    assert [type(outcome) for outcome in outcomes] == [*[CommitResult] * 3, StaleVersion]
    await store.close()


def create_one(harness: StorageHarness) -> Change:
    return harness.change((harness.project(), 0))


def create_many(harness: StorageHarness) -> Change:
    return harness.change(*((harness.project(), 0) for _ in range(60)))


def create_encoded(harness: StorageHarness) -> Change:
    project = harness.project()
    state = EncodedState(encode_state(PROJECT_KIND, project, a_record().schema))
    write = Write(PROJECT_KIND, project.project_id, 0, state)
    return harness.change(writes=(write,), events=())


@pytest.mark.parametrize("build_change", [create_one, create_many, create_encoded])
async def test_a_list_shares_no_read_that_began_before_a_change(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build_change: Callable[[StorageHarness], Change],
) -> None:
    store, harness = await open_with_schema(tmp_path)
    await harness.create()
    has_read, is_released = threading.Event(), threading.Event()
    read_items = store._read_items

    def read_and_wait(cursor: Any, query: Query, through: int) -> Any:
        items = read_items(cursor, query, through)
        has_read.set()
        is_released.wait(20)
        return items

    query = Query(kind=PROJECT_KIND, limit=100)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_read_items", read_and_wait)
        early = asyncio.create_task(store.page(query))
        assert await asyncio.to_thread(has_read.wait, 10)
    change = build_change(harness)
    await store.commit(change)
    late = asyncio.create_task(store.page(query))
    await asyncio.sleep(0)
    is_released.set()
    assert len((await early).items) == 1
    assert len((await late).items) == 1 + len(change.writes)
    await store.close()
