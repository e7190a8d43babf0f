"""After an unclean stop every value of the state tables is compared with the journal."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import tenacity
from tests.adapters.storage.test_duckdb_rebuild import (
    Sample,
    check_single_reads,
    copy_as_killed,
    copy_store,
    damage,
    open_at,
    read_lists,
    read_tables,
    sample,
)

from spawn.adapters.duckdb.journal import group_commit, recovery
from spawn.adapters.duckdb.state import row_comparison, state_proof
from spawn.adapters.duckdb.store import DuckDbStore
from spawn.domain.errors import StorageDamaged, Unavailable
from spawn.domain.query import Filter, Operator, Query
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record

__all__ = ["sample"]

pytestmark = pytest.mark.xdist_group("row comparison")

COUNT = 120
"""Projects, of which the sample at the opening reads fifty."""

DOCTORED = {
    "a text": "project_name = 'Nobody'",
    "an amount": "total_amount = total_amount + 1",
    "a null": "country_code = null",
    "a governed value": "units = 77",
    "a time": "updated_at = updated_at + interval 1 second",
}
NAMED = Query(filters=(Filter("project_name", Operator.EQ, ("Nobody",)),))


async def eventually(condition: Callable[[], bool]) -> None:
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.02),
        stop=tenacity.stop_after_delay(60),
        reraise=True,
    ):
        with attempt:
            assert condition()


@pytest.fixture(scope="module")
def killed_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a store of many projects that was killed, with its log and mark."""
    path = tmp_path_factory.mktemp("killed") / "store.duckdb"

    async def write() -> Path:
        store = await open_at(path)
        await store.adopt(a_record())
        harness = StorageHarness(store, ManualClock())
        writes = [harness.create(project_name=f"Project {n}") for n in range(COUNT)]
        await asyncio.gather(*writes)
        await store.page(Query(limit=1))
        killed = copy_as_killed(path)
        await store.close()
        return killed

    return asyncio.run(write())


@pytest.fixture
def killed(killed_source: Path, tmp_path: Path) -> Path:
    return copy_store(killed_source, tmp_path)


@pytest.fixture
def compared_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open every store as a large one: its rows are compared after it opened, in small steps."""
    monkeypatch.setattr(recovery, "_COMPARED_AT_START_ROWS", 0)
    monkeypatch.setattr(row_comparison, "ROWS_PER_STEP", 10)
    monkeypatch.setattr(state_proof, "_SAMPLE_ROWS", 0)


def doctor_one(path: Path, assignment: str) -> None:
    """Change one row that the sample does not read."""
    with duckdb.connect(str(path)) as connection:
        (size, position) = connection.execute(
            "select (select max(rowid) + 1 from projects), (select count(*) from journal)"
        ).fetchall()[0]
        sampled = {(position + n * state_proof._SAMPLE_STRIDE) % size for n in range(50)}
        row = next(n for n in range(size) if n not in sampled)
        connection.execute(f"update projects set {assignment} where rowid = {row}")  # noqa: S608


async def read_names(store: DuckDbStore) -> list[str]:
    return sorted(item.state.project_name for item in (await store.page(Query(limit=500))).items)


@pytest.mark.parametrize("assignment", DOCTORED.values(), ids=DOCTORED)
async def test_one_doctored_value_is_repaired_before_the_store_opens(
    killed: Path, killed_source: Path, tmp_path: Path, assignment: str
) -> None:
    doctor_one(killed, assignment)
    (tmp_path / "intact").mkdir()
    intact = copy_store(killed_source, tmp_path / "intact")
    for path in (killed, intact):
        store = await open_at(path)
        assert store.status().uncompared_rows == 0
        await store.close()
    assert read_tables(killed) == read_tables(intact)


@pytest.mark.usefixtures("compared_later")
async def test_a_large_store_is_served_while_it_is_compared(killed: Path) -> None:
    doctor_one(killed, "project_name = 'Nobody'")
    store = await open_at(killed)
    assert len((await store.page(Query(limit=500))).items) == COUNT
    await eventually(lambda: store.status().uncompared_rows == 0)
    assert (await store.page(NAMED)).items == ()
    await store.close()


@pytest.mark.usefixtures("compared_later")
async def test_a_writer_that_is_never_idle_compares_after_its_groups(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "_IDLE_S", 3600.0)
    monkeypatch.setattr(group_commit, "_COMPARE_AFTER_S", 0.0)
    store = await open_at(killed)
    harness, groups = StorageHarness(store, ManualClock()), 0
    while store.status().uncompared_rows:
        await harness.create()
        groups += 1
        assert groups < COUNT
    assert groups > 1
    await store.close()


@pytest.mark.usefixtures("compared_later")
async def test_rows_that_change_during_the_comparison_stay(killed: Path) -> None:
    doctor_one(killed, "project_name = 'Nobody'")
    store = await open_at(killed)
    harness = StorageHarness(store, ManualClock())
    items = (await store.page(Query(limit=500))).items
    for number, item in enumerate(items):
        await harness.rename(item.state, 1, f"Renamed {number:03}")
    await eventually(lambda: store.status().uncompared_rows == 0)
    assert await read_names(store) == sorted(f"Renamed {n:03}" for n in range(COUNT))
    await store.close()
    reopened = await open_at(killed)
    assert await read_names(reopened) == sorted(f"Renamed {n:03}" for n in range(COUNT))
    await reopened.close()


@pytest.mark.usefixtures("compared_later")
async def test_a_store_that_is_closed_during_the_comparison_is_compared_again(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor_one(killed, "project_name = 'Nobody'")
    with monkeypatch.context() as patch:
        patch.setattr(recovery.RecoverableJournal, "compare_rows", lambda _: None)
        store = await open_at(killed)
        assert store.status().uncompared_rows > 0
        await store.close()
    reopened = await open_at(killed)
    await eventually(lambda: reopened.status().uncompared_rows == 0)
    assert (await reopened.page(NAMED)).items == ()
    await reopened.close()


@pytest.mark.usefixtures("compared_later")
async def test_a_rebuild_of_one_table_does_not_vouch_for_the_others(killed: Path) -> None:
    doctor_one(killed, "project_name = 'Nobody'")
    damage(killed, "drop table jobs")
    store = await open_at(killed)
    await eventually(lambda: store.status().uncompared_rows == 0)
    assert (await store.page(NAMED)).items == ()
    await store.close()


@pytest.mark.usefixtures("compared_later")
async def test_rows_that_cannot_be_repaired_make_the_store_unreadable(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_comparison, "insert_documents", lambda *_: None)
    monkeypatch.setattr(row_comparison, "_find_differing", lambda *_: [3])
    store = await open_at(killed)
    await eventually(lambda: not store.status().is_readable)
    assert "restore a backup" in store.status().detail
    await store.close()


@pytest.mark.usefixtures("compared_later")
async def test_every_kind_is_compared(sample: Sample, tmp_path: Path) -> None:
    path = copy_store(sample.killed, tmp_path)
    damage(path, "update jobs set status = 'x'; update quarantines set import_id = 'x'")
    store = await open_at(path)
    await eventually(lambda: store.status().uncompared_rows == 0)
    assert await read_lists(store) == sample.lists
    await check_single_reads(store, sample.lists)
    await store.close()
    assert read_tables(path) == sample.tables


async def test_a_document_that_cannot_be_read_is_reported_as_damage(killed: Path) -> None:
    damage(killed, "update journal set document = '{\"project_id\":12345678901234567}'")
    with pytest.raises((StorageDamaged, Unavailable)):
        await open_at(killed)
