"""What is particular to DuckDB while the schema changes: its tables run ahead of what is known."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from spawn.adapters.duckdb.state import queries
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.duckdb.tables import literal
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.embedded.schema_history import SchemaBook
from spawn.adapters.local.runtime import SystemClock
from spawn.domain.errors import Unavailable
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schemas.model import ColumnType, TypeName
from spawn.ports.schemas import MigrationOutcome, SchemaState
from spawn.testing.storage_contract.commands import Desk, ManualClock, a_record
from spawn.testing.storage_contract.migrations import evolve, found, proposed, revised

TURBINES = {"name": "turbines", "type": "integer", "aliases": ["units"]}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DuckDbStore]:
    path = tmp_path / "store.duckdb"
    opened = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    await opened.adopt(a_record())
    yield opened
    await opened.close()


@pytest.fixture
def desk(store: DuckDbStore) -> Desk:
    return Desk(store, ManualClock())


async def test_a_statement_for_columns_that_have_gone_waits_for_the_word(
    store: DuckDbStore, desk: Desk
) -> None:
    project = await desk.create(attributes={"units": 7})
    old = store._book
    await evolve(desk, revised(TURBINES, without=["units"]))
    late: Iterator[SchemaBook] = iter([old] * 5)

    def newest() -> SchemaBook:
        return next(late, store._book)

    query = Query(filters=(Filter("units", Operator.EQ, (7,)),), sort=(Sort("units"),))
    found, more = await store._read(lambda c: queries.page(c, query, newest, lambda _: None))
    assert not more
    (held,) = found
    assert (held.stored.id, dict(held.stored.state.attributes)) == (
        project.project_id,
        {"turbines": 7},
    )


async def test_tables_that_nobody_tells_of_are_not_waited_for_without_end(
    store: DuckDbStore, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = store._book
    await evolve(desk, revised(TURBINES, without=["units"]))
    monkeypatch.setattr(queries, "_BOOK_PAUSE_S", 0.0)
    query = Query(filters=(Filter("units", Operator.EQ, (7,)),))
    with pytest.raises(Unavailable):
        await store._read(lambda c: queries.page(c, query, lambda: old, lambda _: None))


async def test_a_full_disk_changes_nothing_and_is_in_the_log_once_it_can_be(
    store: DuckDbStore, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await desk.create(attributes={"units": 7})
    record, plan = await proposed(desk, revised(TURBINES, without=["units"]))
    with monkeypatch.context() as full:
        full.setattr(store._engine, "free_bytes", lambda: 0)
        with pytest.raises(Unavailable):
            await store.migrate(record, plan, actor="steward")
    assert (await desk.get(project)).state == project
    assert await store.migrations() == []
    failing = iter([True])
    run = store._ledger._appender.append_within

    def fail_once(payload: str) -> None:
        if next(failing, False):
            store._ledger._cursor.execute("select * from no_such_table")
        run(payload)

    monkeypatch.setattr(store._ledger._appender, "append_within", fail_once)
    with pytest.raises(Unavailable):
        await store.migrate(record, plan, actor="steward")
    assert (await desk.get(project)).state == project
    assert [m.outcome for m in await store.migrations()] == [MigrationOutcome.FAILED]
    await store.migrate(record, plan, actor="steward")
    assert dict((await desk.get(project)).state.attributes) == {"turbines": 7}
    states = [(r.schema.version, r.state) for r in await store.records()]
    assert states == [(1, SchemaState.RETIRED), (2, SchemaState.ACTIVE)]
    await desk.create(attributes={"units": 8})


@pytest.mark.parametrize(
    "text", ["plain", "it's", "'; drop table projects; --", "ü\\x00", "a\nb", "x" * 300]
)
async def test_no_text_of_a_schema_reaches_a_statement_but_a_plain_one(
    desk: Desk, text: str
) -> None:
    assert literal(text, ColumnType(TypeName.STRING)) == ("'plain'" if text == "plain" else None)
    await desk.create(project_name="one")
    label = {"name": "label", "type": "string", "required": True, "default": text}
    await evolve(desk, revised(label))
    assert await found(desk, "label", text) == ["one"]
