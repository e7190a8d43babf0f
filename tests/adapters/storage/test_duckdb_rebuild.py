"""State tables that disagree with the journal are noticed at the opening and rebuilt from it."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawn.adapters.duckdb.state import rebuild, state_proof
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import RebuildProgress, ReportRebuild, StoreOptions
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.errors import StorageDamaged
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import Query
from spawn.testing.intensity import is_thorough, rounds
from spawn.testing.sample_states import SAMPLE_COUNT
from spawn.testing.storage_contract.harness import (
    ManualClock,
    StorageHarness,
    a_record,
    adopt_every_schema,
)
from spawn.testing.storage_contract.kinds import build_write
from spawn.testing.storage_contract.migration_properties import run_history
from spawn.testing.storage_contract.properties import url_suffix

SCRIPT = Path(__file__).with_name("rebuilding_process.py")

DAMAGES = {
    "a dropped table": "drop table projects",
    "an emptied table": "delete from projects",
    "a lost row": "delete from projects where version = 1 and _created = 3",
    "a doubled row": "insert into projects select * from projects limit 1",
    "a row for another": (
        "delete from projects where _created = 3; insert into projects select * from projects"
        " limit 1"
    ),
    "a changed value": "update projects set project_name = 'Nobody' where _created = 3",
    "an emptied column": "update projects set total_amount = null",
    "a changed governed value": "update projects set units = units + 1",
    "a changed version": "update projects set version = version + 1 where _created = 3",
    "another position": "update projects set _position = _position + 1 where _created = 3",
    "a changed time": "update projects set updated_at = updated_at + interval 1 second",
    "a dropped column": "alter table projects drop column sector",
    "a renamed column": "alter table projects rename sector to industry",
    "another type": "alter table projects alter maturity_years type varchar",
    "an added column": "alter table projects add column colour varchar",
    "a dropped index of aggregates": "drop table aggregates",
    "emptied aggregates": "delete from aggregates",
    "dropped projects and emptied aggregates": "drop table projects; delete from aggregates",
    "other jobs and emptied aggregates": (
        "alter table jobs add column colour varchar; delete from aggregates"
    ),
    "a lost aggregate": "delete from aggregates where created = 3",
    "a later version": "update aggregates set version = version + 1 where created = 3",
    "a later position": "update aggregates set position = position + 1 where created = 3",
    "an earlier creation": "update aggregates set created_at = created_at - interval 1 day",
    "aggregates without a key": (
        "create table other as select * from aggregates; drop table aggregates;"
        " alter table other rename to aggregates"
    ),
    "two positions exchanged": (
        "update aggregates set position = case position when 3 then 4 else 3 end"
        " where position in (3, 4) and kind = 'project'"
    ),
    "dropped jobs": "drop table jobs",
    "emptied dead letters": "delete from dead_letters",
    "a job with another status": "update jobs set status = 'cancelled'",
    "a letter of another publisher": "update dead_letters set publisher = 'x' where version = 1",
    "an index of another program": "create index theirs on projects (units)",
    "a constraint of another program": "alter table jobs add primary key (id)",
    "a view in place of a table": (
        "create table theirs as select * from projects; drop table projects;"
        " create view projects as select * from theirs"
    ),
    "a view in place of aggregates": (
        "create table theirs as select * from aggregates; drop table aggregates;"
        " create view aggregates as select * from theirs"
    ),
    "a table of the same name elsewhere": (
        "create schema theirs; create table theirs.projects (name varchar primary key)"
    ),
    "no proofs": "drop table state_proofs",
    "proofs without a column": "alter table state_proofs drop column engine",
    "a view in place of proofs": (
        "drop table state_proofs; create view state_proofs as select 1 as name"
    ),
}
"""Statements that make derived tables disagree with the journal."""

HARMLESS = {
    *("a table of the same name elsewhere", "no proofs"),
    *("proofs without a column", "a view in place of proofs"),
}

ENDINGS = {"closed": True, "killed": False}
"""Whether the store was closed before the damage. A killed one has no proof of its tables."""


def list_endings(names: Iterable[str]) -> list[Any]:
    """Pair each name with one ending, in turn; in a thorough run, with both."""
    return [
        pytest.param(name, is_closed, id=f"{name}-{ending}")
        for number, name in enumerate(names)
        for index, (ending, is_closed) in enumerate(ENDINGS.items())
        if is_thorough() or number % 2 == index
    ]


CONTRADICTIONS = {
    "no schemas": "delete from schemas",
    "no active schema": "update schemas set state = 'retired'",
    "another version": "update schemas set version = version + 1",
    "an emptied document": "update schemas set document = '{}'::blob",
    "no document": "update schemas set document = 'x'::blob",
    "an edited document": (
        """update schemas set document = replace(decode(document), '"units"', '"units2"')::blob"""
    ),
    "another fingerprint": "update schemas set fingerprint = 'x'",
    "a dropped table of schemas": "drop table schemas",
    "a dropped journal": "drop table journal",
    "no epoch": "delete from store",
    "a dropped epoch": "drop table store",
}
"""Statements after which nothing in the file says how to read the journal."""


async def open_at(path: Path, report: ReportRebuild | None = None) -> DuckDbStore:
    options = StoreOptions(report_rebuild=report)
    return await open_duckdb(path, clock=ManualClock(), options=options)


async def write_every_kind(path: Path) -> DuckDbStore:
    """Write samples of every kind, projects first, and each first sample once more."""
    store = await open_at(path)
    await adopt_every_schema(store)
    harness = StorageHarness(store, ManualClock())
    kinds = sorted(AGGREGATE_TYPES.values(), key=lambda t: not t.is_governed)
    for aggregate_type in kinds:
        writes = [build_write(aggregate_type, number) for number in range(SAMPLE_COUNT)]
        await store.commit(harness.change(writes=tuple(writes), events=()))
        again = build_write(aggregate_type, 0, 1)
        await store.commit(harness.change(writes=(again,), events=()))
    return store


async def read_lists(store: DuckDbStore) -> dict[str, Any]:
    """Return every aggregate as lists have it."""
    lists: dict[str, Any] = {}
    for kind in AGGREGATE_TYPES:
        page = await store.page(Query(kind=kind, limit=500))
        assert page.next is None
        lists[kind] = page.items
    return lists


async def check_single_reads(store: DuckDbStore, lists: dict[str, Any]) -> None:
    for kind, items in lists.items():
        for item in items:
            assert await store.get(kind, item.id) == item
            assert (await store.head(kind, item.id)).version == item.version


def read_tables(path: Path) -> dict[str, list[Any]]:
    """Return the rows of the derived tables, with columns in the order of their names."""
    names = ["aggregates", *(t.table for t in AGGREGATE_TYPES.values() if t.table)]
    rows: dict[str, list[Any]] = {}
    with duckdb.connect(str(path), read_only=True) as connection:
        for name in names:
            table = connection.table(name)
            columns = sorted(table.columns)
            rows[f"columns of {name}"] = columns
            ordered = ", ".join(f'"{column}"' for column in columns)
            rows[name] = table.project(ordered).order(ordered).fetchall()
    return rows


def damage(path: Path, statements: str) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(statements)


def copy_as_killed(path: Path) -> Path:
    """Copy the file with its log and mark, as a kill at this moment would leave them."""
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, path.parent / f"killed-{file.name}")
    return path.with_name(f"killed-{path.name}")


class Sample(NamedTuple):
    """Files of one store, cleanly closed and killed, with its lists and its tables."""

    closed: Path
    killed: Path
    lists: dict[str, Any]
    tables: dict[str, list[Any]]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    path = tmp_path_factory.mktemp("sample") / "store.duckdb"

    async def write() -> Sample:
        store = await write_every_kind(path)
        lists = await read_lists(store)
        killed = copy_as_killed(path)
        await store.close()
        return Sample(path, killed, lists, read_tables(path))

    return asyncio.run(write())


def copy_store(source: Path, folder: Path) -> Path:
    """Copy the file of a store with its log and mark into a folder."""
    for file in source.parent.glob(f"{source.name}*"):
        shutil.copy(file, folder / file.name)
    return folder / source.name


def test_an_opening_keeps_the_proofs_of_a_closed_store(sample: Sample, tmp_path: Path) -> None:
    """Without them every row would be compared with the journal."""
    with duckdb.connect(str(copy_store(sample.closed, tmp_path))) as cursor:
        proofs = cursor.execute("select * from state_proofs order by all").fetchall()
        assert "projects" in {name for name, *_ in proofs}
        state_proof.find_layout_differences(cursor, ())
        assert cursor.execute("select * from state_proofs order by all").fetchall() == proofs


@pytest.mark.parametrize(("name", "is_closed"), list_endings(DAMAGES))
async def test_a_damaged_table_is_rebuilt(
    sample: Sample, tmp_path: Path, name: str, *, is_closed: bool
) -> None:
    path = copy_store(sample.closed if is_closed else sample.killed, tmp_path)
    damage(path, DAMAGES[name])
    progress: list[RebuildProgress] = []
    reopened = await open_at(path, progress.append)
    assert bool(progress) is (name not in HARMLESS)
    # The tables below prove the lists of other kinds, which a killed rebuild reads too.
    assert (await reopened.page(Query(limit=500))).items == sample.lists[PROJECT_KIND]
    await reopened.close()
    assert read_tables(path) == sample.tables
    if is_closed:  # Rebuilt once for all: the next opening finds nothing to do.
        progress.clear()
        await (await open_at(path, progress.append)).close()
        assert not progress


@pytest.mark.parametrize(("name", "is_closed"), list_endings(CONTRADICTIONS))
async def test_a_file_that_does_not_say_how_to_read_its_journal_is_not_served(
    sample: Sample, tmp_path: Path, name: str, *, is_closed: bool
) -> None:
    path = copy_store(sample.closed if is_closed else sample.killed, tmp_path)
    damage(path, CONTRADICTIONS[name])
    progress: list[RebuildProgress] = []
    with pytest.raises(StorageDamaged, match="backup"):
        await open_at(path, progress.append)
    assert not progress


async def test_an_undamaged_store_is_not_rebuilt(sample: Sample, tmp_path: Path) -> None:
    progress: list[RebuildProgress] = []
    for source in (sample.closed, sample.killed):
        store = await open_at(copy_store(source, tmp_path), progress.append)
        await check_single_reads(store, sample.lists)
        await store.close()
    assert not progress


async def test_a_store_that_is_killed_at_its_first_opening_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    store = await open_at(path)
    killed = copy_as_killed(path)
    store_id = store.status().store_id
    await store.close()
    progress: list[RebuildProgress] = []
    reopened = await open_at(killed, progress.append)
    assert reopened.status().store_id == store_id
    await reopened.adopt(a_record())
    project = await StorageHarness(reopened, ManualClock()).create()
    assert [item.state for item in (await reopened.page(Query())).items] == [project]
    await reopened.close()
    assert not progress


async def test_a_store_that_was_only_read_is_closed_without_a_write(
    sample: Sample, tmp_path: Path
) -> None:
    path = copy_store(sample.closed, tmp_path)
    await (await open_at(path)).close()
    before = path.read_bytes()
    store = await open_at(path)
    await read_lists(store)
    await store.close()
    assert path.read_bytes() == before


async def test_progress_is_reported_up_to_the_last_row(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "ROWS_PER_STEP", 10)
    path = copy_store(sample.closed, tmp_path)
    damage(path, "drop table aggregates")
    progress: list[RebuildProgress] = []
    await (await open_at(path, progress.append)).close()
    rows = [one.rows for one in progress]
    assert rows[0] == 0
    assert rows == sorted(rows)
    assert len(rows) > 5
    assert all(one.total_rows == rows[-1] for one in progress)
    assert "rows/s" in str(progress[-1])


async def test_tables_that_differ_even_when_rebuilt_stop_the_start(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy_store(sample.closed, tmp_path)
    damage(path, "drop table projects")
    monkeypatch.setattr(
        state_proof, "_compare_samples", lambda *_: {"projects": "it has other values"}
    )
    with pytest.raises(StorageDamaged, match="projects"):
        await open_at(path)
    monkeypatch.undo()
    reopened = await open_at(path)
    assert len((await reopened.page(Query())).items) == SAMPLE_COUNT
    await reopened.close()


async def test_a_project_written_again_before_its_first_projection_keeps_its_creation(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.duckdb"
    store = await open_at(path)
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    early = await harness.create(project_name="early")
    for _ in range(5):
        await harness.create()
    await harness.rename(early, 1, "late")
    expected = await store.get("project", early.project_id)

    def project_some() -> None:
        store._appender.projection.project_batch(3)

    await store._writer.run(project_some, "project some")
    killed = copy_as_killed(path)
    await store.close()
    reopened = await open_at(killed)
    assert await reopened.get("project", early.project_id) == expected
    first = await reopened.get("project", early.project_id, version=1)
    assert first.state.project_name == "early"
    assert (await reopened.page(Query(limit=1))).items == (expected,)
    await reopened.close()


@pytest.mark.real
@pytest.mark.parametrize("rows", [0, 10, 40])
async def test_a_rebuild_that_is_killed_starts_again_and_ends_right(
    sample: Sample, tmp_path: Path, rows: int
) -> None:
    path = copy_store(sample.closed, tmp_path)
    damage(path, "delete from aggregates where created > 5; delete from projects")
    for _ in range(rounds(1, 2)):
        process = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, str(SCRIPT), str(path), str(rows)],
            env=os.environ,
            check=False,
        )
        assert process.returncode == -signal.SIGKILL
    progress: list[RebuildProgress] = []
    reopened = await open_at(path, progress.append)
    assert progress
    assert await read_lists(reopened) == sample.lists
    await check_single_reads(reopened, sample.lists)
    await reopened.close()
    assert read_tables(path) == sample.tables


@given(data=st.data())
@settings(
    max_examples=rounds(3, 10),
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.differing_executors,
    ],
)
def test_a_rebuild_equals_the_migrations_that_it_replaces(
    tmp_path: Path, data: st.DataObject
) -> None:
    url = f"duckdb:///{tmp_path}/store.duckdb"
    url += url_suffix(url)
    path = Path(url.removeprefix("duckdb:///"))
    tables: dict[str, list[Any]] = {}

    def drop_projects() -> None:
        tables.update(read_tables(path))
        damage(path, "drop table projects")

    asyncio.run(run_history(url, data, drop_projects))
    assert read_tables(path) == tables
