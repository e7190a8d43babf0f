"""Migration in the DuckDB store, whose tables change before the schema history in memory."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from spawn.adapters.duckdb.state import queries
from spawn.adapters.duckdb.state.projection import STATE_ROW_LAYOUT
from spawn.adapters.duckdb.state.state_table import state_tables
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.duckdb.tables import sql_literal
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.embedded.schema_histories import SchemaHistories
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import InternalError, Unavailable
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schema_version import ColumnType, TypeName
from spawn.ports.schemas import MigrationOutcome, MigrationRejected, SchemaState
from spawn.testing.expected_errors import expect_invalid
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record
from spawn.testing.storage_contract.migrations import (
    find_names,
    migrate_to,
    propose_version,
    revise_columns,
)

TURBINES = {"name": "turbines", "type": "integer", "aliases": ["units"]}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DuckDbStore]:
    path = tmp_path / "store.duckdb"
    duckdb_store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    await duckdb_store.adopt(a_record())
    yield duckdb_store
    await duckdb_store.close()


@pytest.fixture
def harness(store: DuckDbStore) -> StorageHarness:
    return StorageHarness(store, ManualClock())


async def test_a_query_of_renamed_columns_waits_for_the_new_history(
    store: DuckDbStore, harness: StorageHarness
) -> None:
    project = await harness.create(attributes={"units": 7})
    old_history = store._schema_history
    await migrate_to(harness, revise_columns(TURBINES, without=["units"]))
    outdated_histories: Iterator[SchemaHistories] = iter([old_history] * 5)

    def read_history() -> SchemaHistories:
        return next(outdated_histories, store._schema_history)

    query = Query(filters=(Filter("units", Operator.EQ, (7,)),), sort=(Sort("units"),))
    aggregates, has_more = await store._read(
        lambda c: queries.read_page(c, query, 0, read_history, lambda _: None)
    )
    assert not has_more
    (aggregate,) = aggregates
    assert (aggregate.stored.id, dict(aggregate.stored.state.attributes)) == (
        project.project_id,
        {"turbines": 7},
    )


async def test_a_query_does_not_wait_forever_for_the_new_history(
    store: DuckDbStore, harness: StorageHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_history = store._schema_history
    await migrate_to(harness, revise_columns(TURBINES, without=["units"]))
    monkeypatch.setattr(queries, "_HISTORY_PAUSE_S", 0.0)
    query = Query(filters=(Filter("units", Operator.EQ, (7,)),))
    with pytest.raises(Unavailable):
        await store._read(
            lambda c: queries.read_page(c, query, 0, lambda: old_history, lambda _: None)
        )


async def test_a_failed_migration_changes_nothing_and_is_logged_once_possible(
    store: DuckDbStore, harness: StorageHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await harness.create(attributes={"units": 7})
    record, plan = await propose_version(harness, revise_columns(TURBINES, without=["units"]))
    with monkeypatch.context() as full:
        full.setattr(store._engine, "free_bytes", lambda: 0)
        with pytest.raises(Unavailable):
            await store.migrate(record, plan, actor="steward")
    assert (await harness.get(project)).state == project
    assert await store.migration_log() == []
    failing = iter([True])
    run = store._appender._statements.append_in_transaction

    def fail_once(payload: str) -> None:
        if next(failing, False):
            store._appender._cursor.execute("select * from no_such_table")
        run(payload)

    monkeypatch.setattr(store._appender._statements, "append_in_transaction", fail_once)
    with pytest.raises(InternalError):
        await store.migrate(record, plan, actor="steward")
    assert (await harness.get(project)).state == project
    assert [m.outcome for m in await store.migration_log()] == [MigrationOutcome.FAILED]
    await store.migrate(record, plan, actor="steward")
    assert dict((await harness.get(project)).state.attributes) == {"turbines": 7}
    states = [(r.schema.version, r.state) for r in await store.records()]
    assert states == [(1, SchemaState.RETIRED), (2, SchemaState.ACTIVE)]
    await harness.create(attributes={"units": 8})


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("plain", "E'plain'"),
        ("", "E''"),
        ("it's", r"E'it\x27s'"),
        ("'; drop table projects; --", r"E'\x27\x3b drop table projects\x3b --'"),
        ("ü\\x00", r"E'ü\x5cx00'"),
        ("a\nb", r"E'a\x0ab'"),
        ("n/a (¤)", r"E'n\x2fa \x28¤\x29'"),
        ("é\x01風力😀", r"E'é\x01風力😀'"),
        ("$$ %s {x} ?1", r"E'\x24\x24 \x25s \x7bx\x7d \x3f1'"),
        ("x" * 2_000, "E'" + "x" * 2_000 + "'"),
        ("x" * 2_001, None),
        ("no\u00a0break", None),
        ("right\u202eto left", None),
    ],
)
async def test_a_text_of_a_schema_stands_in_a_statement_without_its_punctuation(
    harness: StorageHarness, store: DuckDbStore, text: str, literal: str | None
) -> None:
    assert sql_literal(text, ColumnType(TypeName.STRING)) == literal
    await harness.create(project_name="one")
    label = {"name": "label", "type": "string", "required": True, "default": text}
    await migrate_to(harness, revise_columns(label))
    assert await find_names(harness, "label", text) == ["one"]
    # The log of the statement is read when the file opens again after a crash.
    await store._writer.run(store._appender.try_reopen, "reopen")
    assert await find_names(harness, "label", text) == ["one"]


async def table_columns(store: DuckDbStore) -> set[str]:
    tables = {table.name: table for table in await store.tables()}
    return {column.name for column in tables["projects"].columns}


async def test_a_column_that_left_the_table_does_not_return_when_a_later_one_does(
    store: DuckDbStore, harness: StorageHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restored column makes room among the retired ones that the table has."""
    monkeypatch.setattr("spawn.domain.schema_version.MAX_INDEXED_RETIRED", 1)
    aa, bb = ({"name": name, "type": "integer"} for name in ("aa", "bb"))
    await migrate_to(harness, revise_columns(aa, bb), 2)
    project = harness.project(attributes={"aa": 1, "bb": 2})
    await store.commit(harness.change((project, 0), schema_version=2))
    await migrate_to(harness, revise_columns(bb), 3)
    await migrate_to(harness, revise_columns(), 4)
    assert {"aa", "bb"} & await table_columns(store) == {"bb"}
    await migrate_to(harness, revise_columns(bb), 5)
    assert {"aa", "bb"} & await table_columns(store) == {"bb"}
    with expect_invalid(("/aa", "column_removed")):
        await store.page(Query(sort=(Sort("aa"),)))
    await migrate_to(harness, revise_columns(), 6)
    await migrate_to(harness, revise_columns(aa, bb), 7)
    for name, value in (("aa", 1), ("bb", 2)):
        query = Query(filters=(Filter(name, Operator.EQ, (value,)),))
        assert len((await store.page(query)).items) == 1, name
    assert store._appender.schema_table.history.columns("project").keys() <= (
        await table_columns(store)
    )


async def test_retired_columns_leave_the_table_and_return_with_their_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their values are in the documents, also under the name before a rename."""
    monkeypatch.setattr("spawn.domain.schema_version.MAX_INDEXED_RETIRED", 1)
    path = tmp_path / "store.duckdb"
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    added = [{"name": name, "type": "integer"} for name in ("aa", "bb", "cc")]
    await migrate_to(harness, revise_columns(*added), 2)
    values = {"aa": 1, "bb": 2, "cc": 3}
    project = harness.project(attributes=values)
    await store.commit(harness.change((project, 0), schema_version=2))
    renamed = {"name": "zz", "type": "integer", "aliases": ["aa"]}
    await migrate_to(harness, revise_columns(renamed, *added[1:]), 3)
    await migrate_to(harness, revise_columns(), 4)
    assert {"zz", "aa", "bb", "cc"} & await table_columns(store) == {"cc"}
    for query in (
        Query(filters=(Filter("zz", Operator.EQ, (1,)),)),
        Query(sort=(Sort("zz", descending=True),)),
    ):
        with expect_invalid(("/zz", "column_removed")):
            await store.page(query)
    assert len((await store.page(Query(sort=(Sort("cc"),)))).items) == 1
    aggregate = await store.get("project", project.project_id)
    assert dict(aggregate.state.hidden_attributes) == {"zz": 1, "bb": 2, "cc": 3}
    await store.close()
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    harness = StorageHarness(store, ManualClock())
    migration = await migrate_to(harness, revise_columns(renamed, *added[1:]), 5)
    assert migration.rows == 1
    for name, value in (("zz", 1), ("bb", 2), ("cc", 3)):
        query = Query(filters=(Filter(name, Operator.EQ, (value,)),))
        assert len((await store.page(query)).items) == 1, name
    # Values that no longer fit are found in the documents too.
    await migrate_to(harness, revise_columns(), 6)
    narrow = {"name": "bb", "type": "integer", "maximum": 1}
    with pytest.raises(MigrationRejected, match="bb of 1 row"):
        await migrate_to(harness, revise_columns(narrow), 7)
    await store.close()


async def test_records_keep_their_order_and_are_written_once(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    await harness.create()
    for version in (2, 3, 4):
        columns = revise_columns(units={"description": f"Text {version}."})
        record, plan = await propose_version(harness, columns, version)
        await store.record(record)
        if version == 3:
            state = SchemaState.QUARANTINED
            await store.record(msgspec.structs.replace(record, state=state, reason="bad"))
            continue
        await store.migrate(record, plan, actor="test")
    records, history = await store.records(), await store.version_history()
    await store.close()
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    assert await store.records() == records
    assert await store.version_history() == history
    assert [r.schema.version for r in records] == [1, 2, 3, 4]
    rows = await store._read(lambda c: c.execute("select count(*) from schemas").fetchone())
    assert rows == (4,)
    await store.close()


async def read_column(store: DuckDbStore, name: str) -> dict[str, object]:
    """Return the values of a column of the table by project."""
    await store._project_all()
    rows = await store._read(
        lambda c: c.execute(f'select project_id, "{name}" from projects').fetchall()  # noqa: S608 -- a constant
    )
    return dict(rows)


async def test_states_with_and_without_values_of_retired_columns_are_projected_alike(
    store: DuckDbStore, harness: StorageHarness
) -> None:
    """A change keeps the retired value, in a batch with a project that never had one."""
    old = await harness.create(attributes={"units": 7})
    await migrate_to(harness, revise_columns(without=["units"]))
    new = await harness.create(attributes={})
    assert await read_column(store, "units") == {old.project_id: 7, new.project_id: None}
    kept = (await harness.get(old)).state
    await harness.rename(kept, 1, "Renamed")
    other = await harness.create(attributes={})
    assert await read_column(store, "units") == {
        old.project_id: 7,
        new.project_id: None,
        other.project_id: None,
    }


async def test_an_insert_without_retired_values_names_no_retired_column(
    store: DuckDbStore, harness: StorageHarness
) -> None:
    """Fifty of them doubled the time of each list beside a write."""
    await migrate_to(harness, revise_columns(without=["units", "load"]))
    table = state_tables(store._schema_history)["project"]
    narrow = table.insert_staged_sql(STATE_ROW_LAYOUT, has_retired=False)
    whole = table.insert_staged_sql(STATE_ROW_LAYOUT, has_retired=True)
    assert {name for name in table.columns if f'"{name}"' in whole} - {
        name for name in table.columns if f'"{name}"' in narrow
    } == {"units", "load"}
    statements: list[str] = []
    projection, cursor = store._appender.projection, store._appender.projection._cursor

    class RecordingCursor:
        def execute(self, statement: str, *parameters: object) -> object:
            statements.append(statement)
            return cursor.execute(statement, *parameters)

    projection._cursor = RecordingCursor()  # type: ignore[assignment]
    await harness.create(attributes={})
    await store._project_all()
    assert not any('"units"' in statement for statement in statements)
    assert "execute insert_projects" in statements


async def test_an_adoption_plans_no_insert_that_it_does_not_use(
    store: DuckDbStore, harness: StorageHarness
) -> None:
    """Changes wait for the transaction and for what follows it at once."""
    await harness.create()
    inserts, statements = store._appender._statements, list[str]()
    cursor = inserts._cursor

    class RecordingCursor:
        def execute(self, statement: str, *parameters: object) -> object:
            statements.append(statement)
            return cursor.execute(statement, *parameters)

    inserts._cursor = RecordingCursor()  # type: ignore[assignment]
    await migrate_to(harness, revise_columns(TURBINES, without=["units"]))
    assert not any(
        statement.startswith(("prepare append_now", "describe")) for statement in statements
    )
    statements.clear()
    await harness.create(attributes={})
    await harness.create(attributes={})
    planned = [statement for statement in statements if statement.startswith("prepare")]
    assert len(planned) == 1
    assert planned[0].startswith("prepare append_now")
