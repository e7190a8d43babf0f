"""Files of earlier formats, their migration, and the purpose of the current format."""

import shutil
from pathlib import Path

import duckdb
import pytest

from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.domain.change import Write
from spawn.domain.errors import StorageDamaged
from spawn.domain.events.event import DomainEvent
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.projects.project import ExternalRefReservation
from spawn.domain.query import Filter, Operator, Query
from spawn.testing.expected_errors import expect_invalid
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record
from spawn.testing.storage_contract.migrations import migrate_to, read_attributes, revise_columns

NAMES_IN_LISTS = """
drop table store_identity;
alter table journal drop column receipt_recipe;
alter table journal alter column changed set data type varchar[]
    using case when changed = '' then [] else string_split(changed, ',') end;
alter table schemas drop column kind;
delete from formats where version > 3
"""
"""Statements that return a file to format 3, which stored changed fields as lists."""

NAMES = ("project_name", "total_amount", "x_note")


async def open_at(path: Path) -> DuckDbStore:
    options = StoreOptions(recent_bytes=0)
    return await open_duckdb(path, clock=ManualClock(), options=options)


def copy_as_killed(path: Path) -> Path:
    """Copy the file with its log and mark, as a kill at this moment would leave them."""
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, path.parent / f"killed-{file.name}")
    return path.with_name(f"killed-{path.name}")


async def read_all_entries(store: DuckDbStore) -> tuple[JournalEntry, ...]:
    return (await store.feed(after=None, limit=1000)).entries


async def test_lists_of_changed_fields_become_texts_of_the_same_names(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    store = await open_at(path)
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    project = harness.project()
    created = DomainEvent(
        type="project.created", kind="project", id=project.project_id, changed=NAMES
    )
    await harness.store.commit(harness.change((project, 0), events=(created,)))
    await harness.rename(project, 1, "Second")
    write_without_event = Write(
        "external_ref", "erp:1", 0, ExternalRefReservation(project_id=project.project_id)
    )
    await harness.store.commit(harness.change(writes=(write_without_event,), events=()))
    entries = await read_all_entries(store)
    await store.close()
    with duckdb.connect(str(path)) as connection:
        connection.execute(NAMES_IN_LISTS)
    # The hash chain, verified on opening, covers the names and not their representation.
    reopened = await open_at(path)
    assert await read_all_entries(reopened) == entries
    # As a kill would leave it: the engine must be able to read its own log of the migration.
    copied_store = await open_at(copy_as_killed(path))
    assert await read_all_entries(copied_store) == entries
    await copied_store.close()
    assert [entry.changed for entry in entries] == [NAMES, ("project_name",)]
    await reopened.close()


async def test_a_kill_after_columns_got_defaults_leaves_a_file_that_opens(tmp_path: Path) -> None:
    store = await open_at(tmp_path / "store.duckdb")
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    old = await harness.create()
    grid = {"name": "grid", "type": "string", "required": True, "default": "it's ü; -- \\"}
    since = {"name": "since", "type": "timestamp", "default": "1969-02-28T18:29:00.5+05:30"}
    await migrate_to(harness, revise_columns(grid, since, load={"required": True, "default": 0.5}))
    values = await read_attributes(harness, old)
    copied_store = await open_at(copy_as_killed(tmp_path / "store.duckdb"))
    assert await read_attributes(StorageHarness(copied_store, ManualClock()), old) == values
    for name, value in values.items():
        condition = Filter(name, Operator.EQ, (value,))
        assert len((await copied_store.page(Query(filters=(condition,)))).items) == 1
    await copied_store.close()
    await store.close()


async def test_a_commit_logs_its_own_rows_and_none_of_those_before_it(tmp_path: Path) -> None:
    store = await open_at(tmp_path / "store.duckdb")
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())

    async def logged_bytes() -> int:
        before = store.status().wal_bytes or 0
        await store.commit(harness.change((harness.project(), 0)))
        return (store.status().wal_bytes or 0) - before

    first = await logged_bytes()
    await store.commit(harness.change(*((harness.project(), 0) for _ in range(500))))
    assert abs(await logged_bytes() - first) < first / 2
    await store.close()


async def test_bookmarks_are_stored_as_the_texts_of_earlier_releases(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    await (await open_at(path)).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("insert into bookmarks values ('nats', '1.7'), ('log', '')")
    store = await open_at(path)
    assert await store.load_bookmarks() == {"nats": Position(1, 7), "log": None}
    await store.save_bookmarks({"nats": None, "log": Position(2, 10**17)})
    await store.close()
    with duckdb.connect(str(path)) as connection:
        rows = connection.execute("select * from bookmarks order by name").fetchall()
        connection.execute("update bookmarks set position = 'somewhere'")
    assert rows == [("log", "2.100000000000000000"), ("nats", "")]
    damaged_store = await open_at(path)
    with pytest.raises(StorageDamaged, match="feed position"):
        await damaged_store.load_bookmarks()
    await damaged_store.close()


async def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with expect_invalid(("", "url_malformed")):
        await open_at(tmp_path)


async def test_a_closed_store_has_each_change_in_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    store = await open_at(path)
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    for name in ("First", "Second"):
        await harness.create(project_name=name)
    await store.close()
    with duckdb.connect(str(path), read_only=True) as connection:
        names = connection.execute("select project_name from projects order by all").fetchall()
    assert names == [("First",), ("Second",)]
