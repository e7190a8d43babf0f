"""Limits of the DuckDB store, and the errors at each."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from spawn.adapters.duckdb.state import quality_sql
from spawn.adapters.duckdb.state.projection import Projection
from spawn.adapters.duckdb.state.queries import read_tables
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.factory import open_store, parse_duckdb_url
from spawn.adapters.local.clock import SystemClock
from spawn.domain.change import CommitResult, IdempotencyReceipt, ResponseRecipe
from spawn.domain.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    Overloaded,
    StorageFull,
    Unavailable,
)
from spawn.domain.quality.measures import CompletenessMeasure, MeasureTally, UniquenessMeasure
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.testing.storage_contract.harness import (
    ManualClock,
    StorageHarness,
    a_record,
    gather_outcomes,
)


@pytest.fixture
def options() -> StoreOptions:
    return StoreOptions(queue_limit=20, query_timeout_s=0.2, survey_timeout_s=0.2)


@pytest.fixture
async def store(tmp_path: Path, options: StoreOptions) -> AsyncIterator[DuckDbStore]:
    store = await open_duckdb(tmp_path / "s.duckdb", clock=SystemClock(), options=options)
    await store.adopt(a_record())
    yield store
    await store.close()


@pytest.fixture
def harness(store: DuckDbStore) -> StorageHarness:
    return StorageHarness(store, ManualClock())


async def test_a_query_past_its_deadline_is_stopped_and_its_reader_goes_on(
    store: DuckDbStore, harness: StorageHarness
) -> None:
    await harness.create()
    endless = "select count(*) from range(100000000) a, range(100000) b where a.range + b.range = 7"
    with pytest.raises(DeadlineExceeded):
        await store._readers.run(lambda cursor: cursor.execute(endless).fetchall())
    for _ in range(4):
        assert len((await store.page(Query())).items) == 1


async def test_a_measurement_past_its_deadline_is_stopped_and_leaves_no_transaction(
    store: DuckDbStore, harness: StorageHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.create()
    endless = (
        "(select a.range as ref from range(100000000) a, range(100000) b"
        " where a.range + b.range = 7)"
    )
    with monkeypatch.context() as patch:
        patch.setattr(quality_sql, "_build_document_source", lambda *_: endless)
        with pytest.raises(DeadlineExceeded):
            await store.measure([UniquenessMeasure("external_ref")])
    results = await store.measure(
        [CompletenessMeasure("country_code"), UniquenessMeasure("external_ref")]
    )
    assert results.tallies == (MeasureTally(1, 1), MeasureTally(0, 0))


async def test_a_scan_does_not_occupy_the_query_readers(
    store: DuckDbStore, harness: StorageHarness
) -> None:
    await harness.create()
    release = threading.Event()
    scan = asyncio.ensure_future(store._scan_readers.run(lambda _: release.wait(5)))
    assert len((await store.page(Query())).items) == 1
    await harness.create()
    assert not scan.done()
    release.set()
    assert await scan


async def test_a_query_that_waited_too_long_is_not_started(store: DuckDbStore) -> None:
    release = threading.Event()
    blocking_calls = [
        asyncio.ensure_future(store._readers.run(lambda _: release.wait(5))) for _ in range(2)
    ]
    executions: list[bool] = []
    waiting = asyncio.ensure_future(store._readers.run(lambda _: executions.append(True)))
    await asyncio.sleep(0.3)
    release.set()
    with pytest.raises(DeadlineExceeded):
        await waiting
    await asyncio.gather(*blocking_calls)
    assert executions == []


async def test_a_full_queue_rejects_and_queues_nothing(
    store: DuckDbStore, harness: StorageHarness
) -> None:
    release, started = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(10)

    blocking_call = asyncio.ensure_future(store._writer.run(work, "block"))
    await asyncio.to_thread(started.wait, 10)
    projects = [harness.project() for _ in range(30)]
    waiting = [asyncio.ensure_future(store.commit(harness.change((p, 0)))) for p in projects]
    await asyncio.sleep(0)
    assert store.status().queued == 20
    release.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    await blocking_call
    assert [type(outcome) for outcome in results] == [CommitResult] * 20 + [Overloaded] * 10
    aggregates = await store.get_many("project", [p.project_id for p in projects])
    assert len(aggregates) == 20


async def test_commands_stop_at_the_disks_reserve_and_reads_go_on(tmp_path: Path) -> None:
    path, clock = tmp_path / "s.duckdb", SystemClock()
    store = await open_duckdb(path, clock=clock, options=StoreOptions())
    await store.adopt(a_record())
    project = await StorageHarness(store, ManualClock()).create()
    await store.close()
    options = StoreOptions(reserve_bytes=2**60)
    store = await open_duckdb(path, clock=clock, options=options)
    harness = StorageHarness(store, ManualClock())
    with pytest.raises(StorageFull):
        await harness.create()
    with pytest.raises(StorageFull):
        await store.probe()
    assert not store.status().is_writable
    assert (await harness.get(project)).state == project
    assert [item.id for item in (await store.page(Query())).items] == [project.project_id]
    await store.close()


@pytest.mark.real
async def test_a_full_disk_is_survived_and_recovered_from(tmp_path: Path) -> None:
    script = Path(__file__).with_name("full_disk.py")
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(script), f"duckdb:///{tmp_path}/s.duckdb"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.stdout.startswith("recovered after"), process.stderr


async def test_a_recipe_that_cannot_be_encoded_fails_only_its_own_change(
    store: DuckDbStore, harness: StorageHarness
) -> None:
    failing_project, other_projects = harness.project(), [harness.project() for _ in range(4)]
    recipe = ResponseRecipe(codec="lone surrogate \ud800", status=201)
    receipt = IdempotencyReceipt(harness.receipt().key, recipe)
    results = await gather_outcomes(
        [
            store.commit(harness.change((failing_project, 0), receipt=receipt)),
            *(store.commit(harness.change((p, 0))) for p in other_projects),
        ]
    )
    assert isinstance(results[0], UnicodeEncodeError)
    assert all(isinstance(outcome, CommitResult) for outcome in results[1:])
    with pytest.raises(NotFound):
        await harness.get(failing_project)


async def test_the_writer_survives_an_unexpected_failure(
    store: DuckDbStore, harness: StorageHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await harness.create()

    def fail(payload: str) -> None:
        raise RuntimeError(payload[:1])

    with monkeypatch.context() as patch:
        patch.setattr(store._appender._statements, "append", fail)
        with pytest.raises(Unavailable):
            await harness.create()
    second = await harness.create()
    entries = (await store.feed(after=None, limit=10)).entries
    assert [entry.id for entry in entries] == [first.project_id, second.project_id]


async def test_small_changes_go_before_large_ones(
    store: DuckDbStore, harness: StorageHarness
) -> None:
    large = [harness.change(*((harness.project(), 0) for _ in range(500))) for _ in range(3)]
    finish_order: list[str] = []

    async def commit(name: str, change: object) -> None:
        await store.commit(change)  # type: ignore[arg-type]  # either size is a change
        finish_order.append(name)

    release = threading.Event()
    blocking_call = asyncio.ensure_future(store._writer.run(lambda: release.wait(200), "block"))
    running = [asyncio.ensure_future(commit("large", change)) for change in large]
    while store.status().queued < 3:  # noqa: ASYNC110 -- no event reports the queue length
        await asyncio.sleep(0.001)
    running.append(asyncio.ensure_future(commit("small", harness.change((harness.project(), 0)))))
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(blocking_call, *running)
    assert finish_order[0] == "small"
    assert len((await store.feed(after=None, limit=1000)).entries) == 1000


async def test_an_unchanged_page_is_the_same_object_and_a_changed_one_is_not(
    store: DuckDbStore, harness: StorageHarness
) -> None:
    wind = Query(filters=(Filter("sector", Operator.EQ, ("Wind",)),), limit=2)
    wind_projects = [await harness.create(sector="Wind") for _ in range(3)]
    page = await store.page(wind)
    await harness.create(sector="Solar")
    await harness.create(sector="Wind")  # it is on a later page
    assert await store.page(wind) is page
    await harness.rename(wind_projects[2], 1, "Beyond")
    assert await store.page(wind) is page
    await harness.rename(wind_projects[1], 1, "Within")
    changed = await store.page(wind)
    assert [item.state.project_name for item in changed.items][1] == "Within"


async def test_concurrent_readers_of_one_page_share_the_query(
    store: DuckDbStore, harness: StorageHarness
) -> None:
    await harness.create()
    pages = await asyncio.gather(*(store.page(Query(limit=7)) for _ in range(50)))
    assert all(page is pages[0] for page in pages)


async def test_a_cancelled_reader_leaves_the_others_their_page(
    store: DuckDbStore, harness: StorageHarness
) -> None:
    await harness.create()
    readers = [asyncio.ensure_future(store.page(Query(limit=9))) for _ in range(3)]
    await asyncio.sleep(0)
    readers[0].cancel()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [len(page.items) for page in results[1:] if not isinstance(page, BaseException)] == [
        1,
        1,
    ]


@pytest.mark.parametrize(
    "url",
    ["duckdb://", "duckdb://host/x", "duckdb:///", "duckdb:///x?y=1", "memory://x", "x", "y://"],
)
async def test_a_url_that_names_no_store_is_rejected(url: str) -> None:
    with pytest.raises(InvalidInput):
        await open_store(url, clock=SystemClock())


def test_three_slashes_are_relative_and_four_absolute() -> None:
    assert parse_duckdb_url("duckdb:///data/my%20store.duckdb") == Path("data/my store.duckdb")
    assert parse_duckdb_url("duckdb:////data/store.duckdb") == Path("/data/store.duckdb")


def test_the_contract_is_tested_in_tokyo() -> None:
    nine_hours = timedelta(hours=9)
    assert datetime.now().astimezone().utcoffset() == nine_hours
    with duckdb.connect() as connection:
        (offset,) = connection.execute("select timezone(now())").fetchone() or ()
    assert timedelta(seconds=offset) == nine_hours


async def test_the_state_tables_catch_up_in_smaller_steps_if_the_engine_lacks_memory(
    store: DuckDbStore, harness: StorageHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_states = Projection.insert_states
    counts: list[int] = []

    def insert_few(projection: Projection, table: Any, aggregates: Sequence[Any]) -> None:
        counts.append(len(aggregates))
        if len(aggregates) > 3:
            raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate data")
        insert_states(projection, table, aggregates)

    monkeypatch.setattr(Projection, "insert_states", insert_few)
    names = [f"N{number:02}" for number in range(20)]
    await store.commit(harness.change(*((harness.project(project_name=n), 0) for n in names)))
    items = (await store.page(Query(sort=(Sort("project_name"),)))).items
    assert [item.state.project_name for item in items] == names
    assert max(counts) > 3
    assert store.status().lag_rows == 0


def test_a_table_that_is_created_between_two_looks_at_the_tables_is_left_out() -> None:
    connection = duckdb.connect()
    connection.execute("create table a (x integer)")

    class CreatingCursor:
        def execute(self, statement: str) -> Any:
            if "duckdb_tables()" in statement:
                connection.execute("create table b (y integer)")
            return connection.execute(statement)

    cursor: Any = CreatingCursor()
    assert [table.name for table in read_tables(cursor)] == ["a"]
    assert [table.name for table in read_tables(connection)] == ["a", "b"]
    connection.close()
