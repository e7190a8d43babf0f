"""Columns of projects: the same values as those of formatted rows, all of one state."""

import asyncio
import importlib
import importlib.util
import io
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import pyarrow as pa
import pytest
import tenacity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.application.conftest import build_dependencies

from spawn.adapters.duckdb import store as store_module
from spawn.adapters.duckdb.columns import column_chunks
from spawn.adapters.duckdb.columns.table_files import MAX_TABLE_FILES
from spawn.adapters.duckdb.journal.appender import JournalAppender
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.factory import Store, open_store
from spawn.adapters.file_encoder import FileEncoder
from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.application.access.row_access import limit_to_rows
from spawn.application.datasets.dataset_columns import DatasetName
from spawn.application.datasets.dataset_query import DatasetQuery, read_dataset_query
from spawn.application.datasets.dataset_rows import read_projects
from spawn.application.datasets.dataset_tables import count_tables, read_tables
from spawn.application.datasets.file_formats import DataFormat, format_file
from spawn.application.dependencies import Dependencies
from spawn.application.lineage.recorder import RunProgress
from spawn.domain.errors import DeadlineExceeded, Unavailable
from spawn.domain.events.position import Position
from spawn.domain.principal import Principal, RowScope
from spawn.domain.projects.project import ExternalRef, Milestone, Sponsor, Spv
from spawn.domain.query import Page, Query, Sort
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.analytics import ColumnChunk
from spawn.ports.schemas import SchemaState
from spawn.testing.intensity import rounds
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record
from spawn.testing.storage_contract.migration_properties import run_history
from spawn.testing.storage_contract.migrations import a_document, revise_columns

nanoarrow: Any = importlib.import_module("nanoarrow")
parquet: Any = importlib.import_module("pyarrow.parquet")  # its stubs do not export the names
ItemT = TypeVar("ItemT")
ANNA = Principal(id="anna")
NESTED = {
    "spv": Spv(name='Ebro "SPV", \\ S.L.', country_code="ESP"),
    "sponsors": (Sponsor(name=',"spv":', share=None), Sponsor(name="Ünder\u2028}]")),
    "milestones": (Milestone(milestone_id="cp-1", title="Permit ]},{", draw_stop=True),),
    "external_ref": ExternalRef(source="gem", id='}"x_'),
}


SWAPPED = revise_columns(
    {"name": "technology", "type": "string(50)"},
    without=("technology",),
    capacity_mw={"name": "capacity", "aliases": ["capacity_mw"]},
)
"""A version whose `technology` is another column than before."""


async def swap_columns(harness: StorageHarness) -> None:
    """Make the version active that has other columns of the same names."""
    for version, columns in ((2, revise_columns(without=("technology",))), (3, SWAPPED)):
        record = a_record(a_document(version, columns), SchemaState.CANDIDATE)
        (active, *_) = await harness.store.version_history()
        await harness.store.migrate(record, plan_migration(active, record.schema), actor="steward")


def over_columns(store: Store, folder: Path) -> Dependencies:
    dependencies = build_dependencies(store, BundledRegistry(), folder)
    return msgspec.structs.replace(dependencies, columns=store)


@asynccontextmanager
async def open_harness(folder: Path) -> AsyncIterator[StorageHarness]:
    """Open a new store of the engine with projects of nested values, extensions and neither."""
    clock = ManualClock()
    store = await open_store(f"duckdb:///{folder}/store.duckdb", clock=clock)
    await store.adopt(a_record())
    harness = StorageHarness(store, clock)
    try:
        await harness.create(project_name="plain", country_code="PRT")
        await harness.create(project_name="nested", country_code="ESP", **NESTED)
        await harness.create(
            project_name="extended",
            country_code="ESP",
            extensions={"x_a": msgspec.Raw(b'{"spv": 1.10}'), "x_b": msgspec.Raw(b"1E2")},
        )
        await harness.create(project_name="both", extensions={"x_b": msgspec.Raw(b"2")}, **NESTED)
        yield harness
    finally:
        await store.close()


async def read_columns(
    dependencies: Dependencies, dataset: DatasetQuery, end: Position | None = None
) -> Any:
    """Return the table of the columns, of all its chunks."""
    chunks = await read_tables(
        dependencies, ANNA, dataset, end or await dependencies.reads.position()
    )
    assert chunks is not None
    progress = RunProgress()
    tables: Any = [table async for table in count_tables(chunks, progress)]
    table = pa.concat_tables(tables)
    assert progress.rows == len(table)
    return table.combine_chunks()


async def read_formatted(dependencies: Dependencies, dataset: DatasetQuery) -> Any:
    """Return the table of the rows."""
    rows = read_projects(dependencies, ANNA, dataset)
    chunks = format_file(rows, dataset, DataFormat.ARROW, FileEncoder().encode)
    stream = b"".join([chunk async for chunk in chunks])
    return pa.ipc.open_stream(stream).read_all().combine_chunks()


async def check_equal(dependencies: Dependencies, parameters: dict[str, str]) -> Any:
    """Check that both ways give the same table, and return it."""
    dataset = await read_dataset_query(dependencies, DatasetName.PROJECTS, parameters)
    table = await read_columns(dependencies, dataset)
    expected_table = await read_formatted(dependencies, dataset)
    assert list(table.schema) == list(expected_table.schema)
    assert table.to_pylist() == expected_table.to_pylist()
    return table


@given(data=st.data())
@settings(
    max_examples=rounds(2, 4),
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.differing_executors,
    ],
)
def test_columns_of_any_store_are_those_of_its_rows(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("columns")
    url = f"duckdb:///{folder}/store.duckdb"

    async def compare() -> None:
        await run_history(url, data)
        store = await open_store(url, clock=ManualClock())
        dependencies = over_columns(store, folder)
        try:
            governed = [c.name for c in (await dependencies.active_schema()).schema.governed]
            for parameters in (
                {},
                {"sort": "-total_amount,project_name", "total_amount[exists]": "true"},
                {"fields": ",".join(["sponsors", "x_g_a", "updated_at", *governed])},
                {"currency_code[ne]": "EUR", "fields": "external_ref,milestones"},
            ):
                await check_equal(dependencies, parameters)
        finally:
            await store.close()

    asyncio.run(compare())


async def test_chunks_have_every_value_in_order_of_the_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(column_chunks, "CHUNK_ROWS", 3)
    monkeypatch.setattr(column_chunks, "SORTED_CHUNK_ROWS", 2)
    async with open_harness(tmp_path) as harness:
        dependencies = over_columns(harness.store, tmp_path)
        table = await check_equal(dependencies, {})
        assert table["project_name"].to_pylist() == ["plain", "nested", "extended", "both"]
        assert table["extensions"].to_pylist() == [
            None,
            None,
            '{"x_a":{"spv": 1.10},"x_b":1E2}',
            '{"x_b":2}',
        ]
        assert table["sponsors"][1].as_py() == msgspec.json.encode(NESTED["sponsors"]).decode()
        sorted_table = await check_equal(dependencies, {"sort": "-project_name", "fields": "x_b"})
        assert sorted_table["extensions"].to_pylist() == [None, None, '{"x_b":1E2}', '{"x_b":2}']
        empty = await check_equal(dependencies, {"project_name": "none"})
        assert len(empty) == 0
        assert len(await check_equal(dependencies, {"x_b": "2"})) == 1
        assert len(await check_equal(dependencies, {"sponsors.name[like]": "SPV"})) == 2


async def test_columns_are_of_the_state_at_the_position_while_others_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(column_chunks, "CHUNK_ROWS", 1)
    async with open_harness(tmp_path) as harness:
        dependencies = over_columns(harness.store, tmp_path)
        dataset = await read_dataset_query(dependencies, DatasetName.PROJECTS, {})
        before = await read_formatted(dependencies, dataset)
        end = await dependencies.reads.position()
        (first, second, third, _) = (await harness.store.page(dataset.query)).items
        await harness.rename(first.state, 1, "renamed before the rows were found")
        chunks = await read_tables(dependencies, ANNA, dataset, end)
        assert chunks is not None
        tables: Any = [(await anext(chunks)).table]
        await harness.rename(second.state, 1, "renamed meanwhile")
        await harness.create(project_name="new meanwhile")
        tables += [(await anext(chunks)).table]
        await harness.rename(third.state, 1, "renamed")
        await harness.rename(third.state, 2, "renamed again")
        tables += [chunk.table async for chunk in chunks]
        assert pa.concat_tables(tables).to_pylist() == before.to_pylist()
        assert (await check_equal(dependencies, {}))["project_name"].to_pylist()[0] == (
            "renamed before the rows were found"
        )


async def test_columns_survive_a_migration_between_two_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(column_chunks, "CHUNK_ROWS", 2)
    async with open_harness(tmp_path) as harness:
        dependencies = over_columns(harness.store, tmp_path)
        dataset = await read_dataset_query(dependencies, DatasetName.PROJECTS, {})
        before = await read_formatted(dependencies, dataset)
        chunks = await read_tables(dependencies, ANNA, dataset, await dependencies.reads.position())
        assert chunks is not None
        tables: Any = [(await anext(chunks)).table]
        await swap_columns(harness)
        tables += [chunk.table async for chunk in chunks]
        assert pa.concat_tables(tables).to_pylist() == before.to_pylist()
        # A request that began under the version before has rows, which are converted.
        end = await dependencies.reads.position()
        assert await read_tables(dependencies, ANNA, dataset, end) is None
        await check_equal(dependencies, {})


async def test_a_row_scope_has_its_rows_only(tmp_path: Path) -> None:
    async with open_harness(tmp_path) as harness:
        scope = RowScope.of({"country_code": ["ESP"]})
        caller = Principal(id="bela", row_scope=scope)
        dependencies = limit_to_rows(over_columns(harness.store, tmp_path), caller)
        for parameters in ({}, {"sort": "-project_name"}):
            table = await check_equal(dependencies, parameters)
            assert set(table["project_name"].to_pylist()) == {"nested", "extended", "both"}
        assert len(await check_equal(dependencies, {"country_code": "PRT"})) == 0


async def test_past_states_are_columns_too(tmp_path: Path) -> None:
    async with open_harness(tmp_path) as harness:
        dependencies = over_columns(harness.store, tmp_path)
        instant = harness.clock.now().isoformat()
        harness.clock.advance(timedelta(hours=1))
        (first, *_) = (await harness.store.page(Query())).items
        await harness.rename(first.state, 1, "renamed")
        table = await check_equal(dependencies, {"as_of": instant.replace("+00:00", "Z")})
        assert table["project_name"].to_pylist()[0] == "plain"
        table = await check_equal(dependencies, {})
        assert table["project_name"].to_pylist()[0] == "renamed"


@pytest.mark.parametrize(
    "parameters", [{"decimals": "string"}, {"schema_version": "1"}], ids=lambda p: next(iter(p))
)
async def test_values_that_the_tables_lack_come_from_rows(
    tmp_path: Path, parameters: dict[str, str]
) -> None:
    async with open_harness(tmp_path) as harness:
        await swap_columns(harness)
        dependencies = over_columns(harness.store, tmp_path)
        dataset = await read_dataset_query(dependencies, DatasetName.PROJECTS, parameters)
        end = await dependencies.reads.position()
        assert await read_tables(dependencies, ANNA, dataset, end) is None


async def test_documents_bound_the_rows_of_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(column_chunks, "MAX_DOCUMENT_BYTES", 1_500)
    async with open_harness(tmp_path) as harness:
        dependencies = over_columns(harness.store, tmp_path)
        await harness.create(project_name="long", description="é" * 4_000)
        dataset = await read_dataset_query(dependencies, DatasetName.PROJECTS, {})
        chunks = await read_tables(dependencies, ANNA, dataset, await dependencies.reads.position())
        assert chunks is not None
        sizes = [chunk.rows async for chunk in chunks]
        assert sum(sizes) == 5
        assert len(sizes) > 2
        await check_equal(dependencies, {})


def hide_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "pyarrow" else find_spec(name)
    )


@pytest.mark.parametrize("has_pyarrow", [True, False], ids=["pyarrow", "nanoarrow"])
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
async def test_a_file_of_tables_has_the_rows_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, *, has_pyarrow: bool
) -> None:
    monkeypatch.setattr(column_chunks, "CHUNK_ROWS", 3)
    async with open_harness(tmp_path) as harness:
        dependencies = over_columns(harness.store, tmp_path)
        dataset = await read_dataset_query(dependencies, DatasetName.PROJECTS, {})
        expected_table = await read_formatted(dependencies, dataset)
        if not has_pyarrow:
            hide_pyarrow(monkeypatch)
        encoder = FileEncoder()
        assert encoder.takes_tables(suffix)
        assert not encoder.takes_tables("xlsx")
        end = await dependencies.reads.position()
        chunks = await read_tables(dependencies, ANNA, dataset, end)
        assert chunks is not None
        tables = count_tables(chunks, RunProgress())
        file = io.BytesIO(b"".join([part async for part in encoder.encode_tables(tables, suffix)]))
        table = (
            parquet.read_table(file) if suffix == "parquet" else pa.ipc.open_stream(file).read_all()
        )
        assert table.schema == expected_table.schema
        assert table.to_pylist() == expected_table.to_pylist()
    if suffix == "parquet":
        # An engine of its own costs a file more than the package that has the tables already.
        writer = parquet.read_metadata(file).created_by
        assert writer.startswith("parquet-cpp-arrow" if has_pyarrow else "DuckDB")


async def test_a_parquet_file_without_pyarrow_ends_with_its_tables_or_its_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No thread or pipe is left, and the error of the tables is that of the file."""

    def list_files() -> list[Path]:
        return list(Path("/proc/self/fd").iterdir())

    hide_pyarrow(monkeypatch)
    table = nanoarrow.c_array_stream(pa.table({"id": list(range(20_000)), "x": ["y"] * 20_000}))
    tables = [nanoarrow.Array(table)] * 40
    opened: list[bool] = []
    closed: list[bool] = []

    async def read_some(count: int) -> AsyncGenerator[Any]:
        opened.append(True)
        try:
            for one in tables[:count]:
                yield one
            if count < len(tables):
                raise DeadlineExceeded("The query exceeded its time limit.")
        finally:
            closed.append(True)

    encoder, before = FileEncoder(), set(threading.enumerate())
    files = list_files()
    for count in (0, 3):
        with pytest.raises(DeadlineExceeded):
            async for _ in encoder.encode_tables(read_some(count), "parquet"):
                pass
    for _ in range(MAX_TABLE_FILES + 1):
        async with aclosing(encoder.encode_tables(read_some(40), "parquet")) as chunks:
            assert (await anext(chunks)).startswith(b"PAR1")
        assert len(closed) == len(opened)
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, 20)
        assert not thread.is_alive() or thread.name.startswith("asyncio")
    assert len(list_files()) <= len(files)
    # The header of a file may be there before its first table is asked for.
    assert len(closed) == len(opened) >= 2


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("has_pyarrow", [True, False])
async def test_the_tables_of_a_file_are_closed_when_its_reader_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, suffix: str, *, has_pyarrow: bool
) -> None:
    if not has_pyarrow:
        hide_pyarrow(monkeypatch)
    table = pa.table({"id": list(range(20_000))})
    one = table if has_pyarrow else nanoarrow.Array(nanoarrow.c_array_stream(table))

    async def read_without_end() -> AsyncGenerator[ColumnChunk]:
        for _ in range(1_000_000):
            yield ColumnChunk(20_000, one)

    tables = CancelledSource(read_without_end())
    counted_tables = count_tables(tables.items(), RunProgress())
    await tables.cancel_reader(FileEncoder().encode_tables(counted_tables, suffix))


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "xlsx"])
async def test_the_lines_of_a_file_are_closed_when_its_reader_is_cancelled(suffix: str) -> None:
    async def read_without_end() -> AsyncGenerator[bytes]:
        for _ in range(1_000_000):
            yield b'{"a": "%s"}\n' % (b"x" * 50_000)

    lines = CancelledSource(read_without_end())
    encoder = FileEncoder()
    await lines.cancel_reader(encoder.encode(lines.items(), [("a", None)], name="t", suffix=suffix))


class CancelledSource(Generic[ItemT]):
    """Items of a file whose reader is cancelled once some of them were asked for."""

    def __init__(self, source: AsyncGenerator[ItemT]) -> None:
        self._source = source
        self._has_begun = asyncio.Event()
        self._is_closed = False

    async def items(self) -> AsyncGenerator[ItemT]:
        try:
            async for one in self._source:
                yield one
                self._has_begun.set()
        finally:
            self._is_closed = True

    async def cancel_reader(self, file: AsyncGenerator[bytes]) -> None:
        """Cancel a reader of the file; check that nothing reads the items afterwards."""

        async def read() -> None:
            async with aclosing(file) as chunks:
                async for _ in chunks:
                    pass

        reading = asyncio.create_task(read())
        await self._has_begun.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert self._is_closed


async def test_a_chunk_that_takes_too_long_is_read_in_smaller_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MIN_CHUNK_ROWS", 1)
    read = column_chunks.ColumnReader.read

    def read_slowly(
        reader: column_chunks.ColumnReader, cursor: Any, *, rows: int, **more: Any
    ) -> ColumnChunk:
        if rows > limit:
            raise DeadlineExceeded("The query exceeded its time limit.")
        return read(reader, cursor, rows=rows, **more)

    monkeypatch.setattr(column_chunks.ColumnReader, "read", read_slowly)
    async with open_harness(tmp_path) as harness:
        dependencies = over_columns(harness.store, tmp_path)
        limit = 2
        assert len(await check_equal(dependencies, {})) == 4
        limit = 0
        with pytest.raises(DeadlineExceeded):
            await check_equal(dependencies, {})


async def test_an_engine_without_memory_for_a_chunk_reads_smaller_ones(tmp_path: Path) -> None:
    """A request that needs more memory all the same is rejected, and the next one is served."""
    options = StoreOptions(memory_limit="40MiB")
    store = await open_store(f"duckdb:///{tmp_path}/s.duckdb", clock=ManualClock(), options=options)
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    for _ in range(8):
        states = [harness.project(description=os.urandom(1_500).hex()) for _ in range(1_000)]
        await store.commit(harness.change(*((state, 0) for state in states)))
    dependencies = over_columns(store, tmp_path)
    dataset = await read_dataset_query(dependencies, DatasetName.PROJECTS, {})
    # A checkpoint beside the read may find no memory; the engine is opened again then.
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type((Unavailable, AssertionError)),
        wait=tenacity.wait_fixed(0.05),
        stop=tenacity.stop_after_delay(20),
        reraise=True,
    ):
        with attempt:
            position = await dependencies.reads.position()
            chunks = await read_tables(dependencies, ANNA, dataset, position)
            assert chunks is not None
            sizes = [chunk.rows async for chunk in chunks]
            assert (sum(sizes), len(sizes) > 1) == (8_000, True)
    sorts = (Sort("description", descending=True), Sort("project_name"))
    query = Query(sort=sorts, limit=500)
    outcomes = await asyncio.gather(*(store.page(query) for _ in range(4)), return_exceptions=True)
    assert {type(one) for one in outcomes} <= {Page, Unavailable}
    await harness.create(project_name="after")
    page = await store.page(Query(limit=1))
    assert len(page.items) == 1
    await store.close()


async def test_values_come_from_documents_until_the_table_is_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_harness(tmp_path) as harness:
        dependencies = over_columns(harness.store, tmp_path)
        before = await check_equal(dependencies, {})
        cursor = harness.store._engine.cursor()  # type: ignore[attr-defined]
        cursor.execute("update projects set sector = 'wrong'")
        dataset = await read_dataset_query(dependencies, DatasetName.PROJECTS, {})
        table = await read_columns(dependencies, dataset)
        assert "wrong" in table["sector"].to_pylist()
        monkeypatch.setattr(JournalAppender, "uncompared_rows", lambda _: 1)
        assert (await read_columns(dependencies, dataset)).to_pylist() == before.to_pylist()
