"""Crashes in a migration: they leave one schema version or the other, never both."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.adapters.storage.migrating_writer import migrate

from spawn.adapters.embedded import query_evaluation
from spawn.adapters.factory import Store, open_store
from spawn.adapters.local.clock import SystemClock
from spawn.domain.change import StoredAggregate
from spawn.domain.projects.project import Project
from spawn.domain.query import Filter, Operator, Query
from spawn.ports.schemas import SchemaState
from spawn.testing.intensity import rounds

SCRIPT = Path(__file__).with_name("migrating_writer.py")
ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.real


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.duckdb"


def url_of(path: Path) -> str:
    return f"duckdb:///{path}"


def run_until_killed(path: Path, moment: str, lines: int | None = None) -> dict[str, int]:
    """Return the changes acknowledged by a process that died, by itself or after `lines`."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), url_of(path), moment],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)},
    )
    acknowledged: dict[str, int] = {}
    with process:
        assert process.stdout is not None
        for number, line in enumerate(process.stdout):
            name, version = line.split()
            acknowledged[name] = int(version)
            if number == lines:
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    return acknowledged


async def read_all_projects(store: Store) -> list[tuple[StoredAggregate[Project], int]]:
    """Return every project with its position in the order of creation."""
    projects: list[StoredAggregate[Project]] = []
    query: Query | None = Query(limit=500)
    while query:
        page = await store.page(query)
        projects += page.items
        query = Query(limit=500, after=page.next) if page.next else None
    return [(aggregate, number) for number, aggregate in enumerate(projects)]


async def check_whole(store: Store, acknowledged: dict[str, int]) -> int:
    """Check that acknowledged changes are present and columns match; return the version."""
    projects = {k: v for k, v in acknowledged.items() if k != "schema"}
    versions = await store.version_history()
    active = versions[0]
    assert active.version >= acknowledged.get("schema", 1)
    assert [s.version for s in versions] == list(range(active.version, 0, -1))
    states = [record.state for record in await store.records()]
    assert states.count(SchemaState.ACTIVE) == 1
    adoption_events = await store.feed(after=None, limit=1_000, types=frozenset({"schema.adopted"}))
    assert len(adoption_events.entries) == len(await store.migration_log()) == active.version - 1
    projects_with_positions = await read_all_projects(store)
    assert projects.keys() <= {aggregate.id for aggregate, _ in projects_with_positions}
    for aggregate, _ in projects_with_positions:
        assert aggregate.schema_version == active.version
        assert await store.get("project", aggregate.id) == aggregate
    for column in active.governed:
        example = random.Random(1).choice(projects_with_positions)[0]
        value = query_evaluation.field_value(example, column.name)
        condition = Filter(column.name, Operator.EXISTS, (False,))
        if value is not None:
            condition = Filter(column.name, Operator.EQ, (value,))
        query = Query(filters=(condition,), limit=500)
        page = await store.page(query)
        assert page.items == query_evaluation.evaluate_page(projects_with_positions, query).items
    return active.version


@pytest.mark.parametrize(
    ("moment", "version"), [("altered", 1), ("appended", 1), ("committed", 2), ("marked", 2)]
)
async def test_a_kill_at_any_moment_leaves_one_version_whole(
    path: Path, moment: str, version: int
) -> None:
    acknowledged = await asyncio.to_thread(run_until_killed, path, moment)
    store = await open_store(url_of(path), clock=SystemClock())
    try:
        assert await check_whole(store, acknowledged) == version
        await migrate(store, version + 1)
        assert await check_whole(store, acknowledged) == version + 1
    finally:
        await store.close()
    again = await open_store(url_of(path), clock=SystemClock())
    try:
        assert await check_whole(again, acknowledged) == version + 1
    finally:
        await again.close()


@pytest.mark.slow
async def test_kills_among_migrations_and_writes_lose_nothing(path: Path) -> None:
    acknowledged: dict[str, int] = {}
    for round_ in range(rounds(2, 4)):  # later kills hit a store that was recovered before
        lines = random.Random(round_).randrange(50, 600)
        acknowledged |= await asyncio.to_thread(run_until_killed, path, "nowhere", lines)
        store = await open_store(url_of(path), clock=SystemClock())
        await check_whole(store, acknowledged)
        await store.close()
        tables = await asyncio.to_thread(read_state_tables, path)
        await asyncio.to_thread(drop_state_tables, path)
        rebuilt = await open_store(url_of(path), clock=SystemClock())
        await check_whole(rebuilt, acknowledged)
        await rebuilt.close()
        assert await asyncio.to_thread(read_state_tables, path) == tables
    assert acknowledged["schema"] > 2


def read_state_tables(path: Path) -> dict[str, list[Any]]:
    """Return the state tables by column, in the order of creation."""
    with duckdb.connect(str(path)) as connection:
        values_by_column: dict[str, list[Any]] = {}
        for table, order in (("projects", "_created"), ("aggregates", "key")):
            cursor = connection.execute(f"select * from {table} order by {order}")  # noqa: S608 -- two names of our own
            columns = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchall()
            for index, column in enumerate(columns):
                values_by_column[f"{table}.{column}"] = [row[index] for row in rows]
        return values_by_column


def drop_state_tables(path: Path) -> None:
    """Drop the state tables, which opening the store rebuilds from the journal."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("drop table projects")
        connection.execute("delete from aggregates")
