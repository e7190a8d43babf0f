"""Everything in the DuckDB store is bounded, and says so when a bound is reached."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from spawn.adapters.duckdb.state import quality_sql
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.factory import duckdb_path, open_store
from spawn.adapters.local.runtime import SystemClock
from spawn.domain.change import Answer, Committed, Receipt
from spawn.domain.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    Overloaded,
    StorageFull,
    Unavailable,
)
from spawn.domain.quality.rules import Complete, Tally, Unique
from spawn.domain.query import Filter, Operator, Query
from spawn.testing.storage_contract.commands import Desk, ManualClock, a_record, outcomes


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
def desk(store: DuckDbStore) -> Desk:
    return Desk(store, ManualClock())


async def test_a_query_past_its_deadline_is_stopped_and_its_reader_goes_on(
    store: DuckDbStore, desk: Desk
) -> None:
    await desk.create()
    endless = "select count(*) from range(100000000) a, range(100000) b where a.range + b.range = 7"
    with pytest.raises(DeadlineExceeded):
        await store._readers.run(lambda cursor: cursor.execute(endless).fetchall())
    for _ in range(4):
        assert len((await store.page(Query())).items) == 1


async def test_a_survey_past_its_deadline_is_stopped_and_leaves_no_transaction_behind(
    store: DuckDbStore, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.create()
    endless = (
        "(select a.range as ref, null as shares from range(100000000) a, range(100000) b"
        " where a.range + b.range = 7)"
    )
    with monkeypatch.context() as patch:
        patch.setattr(quality_sql, "_DOCUMENTS", endless)
        with pytest.raises(DeadlineExceeded):
            await store.measure([Unique("external_ref")])
    found = await store.measure([Complete("country_code"), Unique("external_ref")])
    assert found.tallies == (Tally(1, 1), Tally(0, 0))


async def test_a_survey_leaves_the_readers_to_those_who_wait(
    store: DuckDbStore, desk: Desk
) -> None:
    await desk.create()
    hold = threading.Event()
    surveying = asyncio.ensure_future(store._surveyors.run(lambda _: hold.wait(5)))
    assert len((await store.page(Query())).items) == 1
    await desk.create()
    assert not surveying.done()
    hold.set()
    assert await surveying


async def test_a_query_that_waited_too_long_is_not_begun(store: DuckDbStore) -> None:
    hold = threading.Event()
    holding = [asyncio.ensure_future(store._readers.run(lambda _: hold.wait(5))) for _ in range(2)]
    begun: list[bool] = []
    waiting = asyncio.ensure_future(store._readers.run(lambda _: begun.append(True)))
    await asyncio.sleep(0.3)
    hold.set()
    with pytest.raises(DeadlineExceeded):
        await waiting
    await asyncio.gather(*holding)
    assert begun == []


async def test_a_full_queue_refuses_and_queues_nothing(store: DuckDbStore, desk: Desk) -> None:
    hold, held = threading.Event(), threading.Event()

    def work() -> None:
        held.set()
        hold.wait(10)

    holding = asyncio.ensure_future(store._writer.run(work))
    await asyncio.to_thread(held.wait, 10)
    projects = [desk.project() for _ in range(30)]
    waiting = [asyncio.ensure_future(store.commit(desk.change((p, 0)))) for p in projects]
    await asyncio.sleep(0)
    assert store.status().queued == 20
    hold.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    await holding
    assert [type(outcome) for outcome in found] == [Committed] * 20 + [Overloaded] * 10
    stored = await store.get_many("project", [p.project_id for p in projects])
    assert len(stored) == 20


async def test_commands_stop_at_the_disks_reserve_and_reads_go_on(tmp_path: Path) -> None:
    path, clock = tmp_path / "s.duckdb", SystemClock()
    store = await open_duckdb(path, clock=clock, options=StoreOptions())
    await store.adopt(a_record())
    project = await Desk(store, ManualClock()).create()
    await store.close()
    options = StoreOptions(reserve_bytes=2**60)
    store = await open_duckdb(path, clock=clock, options=options)
    desk = Desk(store, ManualClock())
    with pytest.raises(StorageFull):
        await desk.create()
    with pytest.raises(StorageFull):
        await store.probe()
    assert not store.status().writable
    assert (await desk.get(project)).state == project
    assert [item.id for item in (await store.page(Query())).items] == [project.project_id]
    await store.close()


@pytest.mark.real
async def test_a_full_disk_is_survived_and_recovered_from(tmp_path: Path) -> None:
    script = Path(__file__).with_name("full_disk.py")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(script), f"duckdb:///{tmp_path}/s.duckdb"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("recovered after"), done.stderr


async def test_an_answer_that_cannot_be_made_takes_only_its_own_change_down(
    store: DuckDbStore, desk: Desk
) -> None:
    def fail(at: datetime) -> Answer:
        raise RuntimeError(str(at))

    bad, good = desk.project(), [desk.project() for _ in range(4)]
    receipt = Receipt("scope", "key", "f", fail)
    found = await outcomes(
        [
            store.commit(desk.change((bad, 0), receipt=receipt)),
            *(store.commit(desk.change((p, 0))) for p in good),
        ]
    )
    assert isinstance(found[0], Unavailable)
    assert all(isinstance(outcome, Committed) for outcome in found[1:])
    with pytest.raises(NotFound):
        await desk.get(bad)


async def test_the_writer_outlives_a_failure_that_should_not_be(
    store: DuckDbStore, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await desk.create()

    def fail(payload: str) -> None:
        raise RuntimeError(payload[:1])

    with monkeypatch.context() as patched:
        patched.setattr(store._ledger._appender, "append", fail)
        with pytest.raises(Unavailable):
            await desk.create()
    second = await desk.create()
    entries = (await store.feed(after=None, limit=10)).entries
    assert [entry.id for entry in entries] == [first.project_id, second.project_id]


async def test_small_changes_go_before_large_ones(store: DuckDbStore, desk: Desk) -> None:
    large = [desk.change(*((desk.project(), 0) for _ in range(500))) for _ in range(3)]
    finished: list[str] = []

    async def commit(name: str, change: object) -> None:
        await store.commit(change)  # type: ignore[arg-type]  # either size is a change
        finished.append(name)

    hold = threading.Event()
    holding = asyncio.ensure_future(store._writer.run(lambda: hold.wait(10)))
    running = [asyncio.ensure_future(commit("large", change)) for change in large]
    while store.status().queued < 3:  # noqa: ASYNC110 -- no event tells how many are queued
        await asyncio.sleep(0.001)
    running.append(asyncio.ensure_future(commit("small", desk.change((desk.project(), 0)))))
    await asyncio.sleep(0)
    hold.set()
    await asyncio.gather(holding, *running)
    assert finished[0] == "small"
    assert len((await store.feed(after=None, limit=1000)).entries) == 1000


async def test_an_unchanged_page_is_the_same_object_and_a_changed_one_is_not(
    store: DuckDbStore, desk: Desk
) -> None:
    wind = Query(filters=(Filter("sector", Operator.EQ, ("Wind",)),), limit=2)
    mills = [await desk.create(sector="Wind") for _ in range(3)]
    page = await store.page(wind)
    await desk.create(sector="Solar")
    await desk.create(sector="Wind")  # it stands on a later page
    assert await store.page(wind) is page
    await desk.rename(mills[2], 1, "Beyond")
    assert await store.page(wind) is page
    await desk.rename(mills[1], 1, "Within")
    changed = await store.page(wind)
    assert [item.state.project_name for item in changed.items][1] == "Within"


async def test_concurrent_readers_of_one_page_share_the_query(
    store: DuckDbStore, desk: Desk
) -> None:
    await desk.create()
    pages = await asyncio.gather(*(store.page(Query(limit=7)) for _ in range(50)))
    assert all(page is pages[0] for page in pages)


async def test_a_cancelled_reader_leaves_the_others_their_page(
    store: DuckDbStore, desk: Desk
) -> None:
    await desk.create()
    readers = [asyncio.ensure_future(store.page(Query(limit=9))) for _ in range(3)]
    await asyncio.sleep(0)
    readers[0].cancel()
    found = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert [len(page.items) for page in found[1:] if not isinstance(page, BaseException)] == [1, 1]


@pytest.mark.parametrize(
    "url",
    ["duckdb://", "duckdb://host/x", "duckdb:///", "duckdb:///x?y=1", "memory://x", "x", "y://"],
)
async def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        await open_store(url, clock=SystemClock())


def test_three_slashes_are_relative_and_four_absolute() -> None:
    assert duckdb_path("duckdb:///data/my%20store.duckdb") == Path("data/my store.duckdb")
    assert duckdb_path("duckdb:////data/store.duckdb") == Path("/data/store.duckdb")


@pytest.mark.real
@pytest.mark.slow
def test_the_contract_holds_in_tokyo() -> None:
    folder = Path(__file__).parent
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(str(folder / name) for name in ("test_memory.py", "test_duckdb.py")),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TZ": "Asia/Tokyo"},
        cwd=folder.parents[2],
    )
    assert done.returncode == 0, done.stdout[-2000:]
