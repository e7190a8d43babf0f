"""Files of earlier formats are brought forward, and what the present one is for holds."""

import shutil
from pathlib import Path

import duckdb

from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.domain.change import Entry, Write
from spawn.domain.events.event import DomainEvent
from spawn.domain.projects.project import Reservation
from spawn.domain.query import Filter, Operator, Query
from spawn.testing.storage_contract.commands import Desk, ManualClock, a_record
from spawn.testing.storage_contract.migrations import attributes, evolve, revised

NAMES_IN_LISTS = """
alter table journal alter column changed set data type varchar[]
    using case when changed = '' then [] else string_split(changed, ',') end;
delete from formats where version > 3
"""
"""Takes a file back to format 3, which listed the names of changed fields."""

NAMES = ("project_name", "total_amount", "x_note")


async def opened(path: Path) -> DuckDbStore:
    options = StoreOptions(recent_bytes=0)
    return await open_duckdb(path, clock=ManualClock(), options=options)


def as_killed(path: Path) -> Path:
    """A copy of the file with its log and mark, as a kill at this moment would leave them."""
    for left in path.parent.glob(f"{path.name}*"):
        shutil.copy(left, path.parent / f"killed-{left.name}")
    return path.with_name(f"killed-{path.name}")


async def every_entry(store: DuckDbStore) -> tuple[Entry, ...]:
    return (await store.feed(after=None, limit=1000)).entries


async def test_lists_of_changed_fields_become_texts_of_the_same_names(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    store = await opened(path)
    await store.adopt(a_record())
    desk = Desk(store, ManualClock())
    project = desk.project()
    created = DomainEvent(
        type="project.created", kind="project", id=project.project_id, changed=NAMES
    )
    await desk.store.commit(desk.change((project, 0), events=(created,)))
    await desk.rename(project, 1, "Second")
    silent = Write("external_ref", "erp:1", 0, Reservation(project_id=project.project_id))
    await desk.store.commit(desk.change(writes=(silent,), events=()))
    written = await every_entry(store)
    await store.close()
    with duckdb.connect(str(path)) as connection:
        connection.execute(NAMES_IN_LISTS)
    # The hash chain, checked at the start, is over the names and not over how a table holds them.
    again = await opened(path)
    assert await every_entry(again) == written
    # As a kill would leave it: the engine must be able to read what it logged of all that.
    copied = await opened(as_killed(path))
    assert await every_entry(copied) == written
    await copied.close()
    assert [entry.changed for entry in written] == [NAMES, ("project_name",)]
    await again.close()


async def test_a_kill_after_columns_got_defaults_leaves_a_file_that_opens(tmp_path: Path) -> None:
    store = await opened(tmp_path / "store.duckdb")
    await store.adopt(a_record())
    desk = Desk(store, ManualClock())
    old = await desk.create()
    grid = {"name": "grid", "type": "string", "required": True, "default": "it's ü; -- \\"}
    since = {"name": "since", "type": "timestamp", "default": "1969-02-28T18:29:00.5+05:30"}
    await evolve(desk, revised(grid, since, load={"required": True, "default": 0.5}))
    held = await attributes(desk, old)
    copied = await opened(as_killed(tmp_path / "store.duckdb"))
    assert await attributes(Desk(copied, ManualClock()), old) == held
    for name, value in held.items():
        found = Filter(name, Operator.EQ, (value,))
        assert len((await copied.page(Query(filters=(found,)))).items) == 1
    await copied.close()
    await store.close()


async def test_a_commit_logs_its_own_rows_and_none_of_those_before_it(tmp_path: Path) -> None:
    store = await opened(tmp_path / "store.duckdb")
    await store.adopt(a_record())
    desk = Desk(store, ManualClock())

    async def logged() -> int:
        before = store.status().wal_bytes or 0
        await store.commit(desk.change((desk.project(), 0)))
        return (store.status().wal_bytes or 0) - before

    first = await logged()
    await store.commit(desk.change(*((desk.project(), 0) for _ in range(500))))
    assert abs(await logged() - first) < first / 2
    await store.close()
