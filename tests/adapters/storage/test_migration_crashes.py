"""A process that dies in the middle of a migration leaves one version or the other, never both."""

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
from spawn.adapters.local.runtime import SystemClock
from spawn.domain.change import Stored
from spawn.domain.projects.project import Project
from spawn.domain.query import Filter, Operator, Query
from spawn.ports.schemas import SchemaState

SCRIPT = Path(__file__).with_name("migrating_writer.py")
ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.real


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.duckdb"


def url_of(path: Path) -> str:
    return f"duckdb:///{path}"


def killed(path: Path, where: str, lines: int | None = None) -> dict[str, int]:
    """What was acknowledged by a process that died, by itself or after so many lines."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), url_of(path), where],
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


async def every(store: Store) -> list[tuple[Stored[Project], int]]:
    """Every project with its place in the order of creation."""
    found: list[Stored[Project]] = []
    query: Query | None = Query(limit=500)
    while query:
        page = await store.page(query)
        found += page.items
        query = Query(limit=500, after=page.next) if page.next else None
    return [(stored, number) for number, stored in enumerate(found)]


async def check_whole(store: Store, acknowledged: dict[str, int]) -> int:
    """Nothing acknowledged is missing, and each column finds what projects hold; the version."""
    projects = {k: v for k, v in acknowledged.items() if k != "schema"}
    lineage = await store.lineage()
    active = lineage[0]
    assert active.version >= acknowledged.get("schema", 1)
    assert [s.version for s in lineage] == list(range(active.version, 0, -1))
    states = [record.state for record in await store.records()]
    assert states.count(SchemaState.ACTIVE) == 1
    told = await store.feed(after=None, limit=1_000, types=frozenset({"schema.adopted"}))
    assert len(told.entries) == len(await store.migrations()) == active.version - 1
    found = await every(store)
    assert projects.keys() <= {stored.id for stored, _ in found}
    for stored, _ in found:
        assert stored.schema_version == active.version
        assert await store.get("project", stored.id) == stored
    for column in active.governed:
        chosen = random.Random(1).choice(found)[0]
        value = query_evaluation.value_of(chosen, column.name)
        wanted = Filter(column.name, Operator.EXISTS, (False,))
        if value is not None:
            wanted = Filter(column.name, Operator.EQ, (value,))
        query = Query(filters=(wanted,), limit=500)
        page = await store.page(query)
        assert page.items == query_evaluation.page_of(found, query).items
    return active.version


@pytest.mark.parametrize(
    ("where", "version"), [("altered", 1), ("appended", 1), ("committed", 2), ("marked", 2)]
)
async def test_a_kill_at_any_moment_leaves_one_version_whole(
    path: Path, where: str, version: int
) -> None:
    acknowledged = await asyncio.to_thread(killed, path, where)
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
    for round_ in range(4):  # later kills hit a store that was recovered before
        lines = random.Random(round_).randrange(50, 600)
        acknowledged |= await asyncio.to_thread(killed, path, "nowhere", lines)
        store = await open_store(url_of(path), clock=SystemClock())
        await check_whole(store, acknowledged)
        await store.close()
        tables = await asyncio.to_thread(rows_of, path)
        await asyncio.to_thread(forget_tables, path)
        rebuilt = await open_store(url_of(path), clock=SystemClock())
        await check_whole(rebuilt, acknowledged)
        await rebuilt.close()
        assert await asyncio.to_thread(rows_of, path) == tables
    assert acknowledged["schema"] > 2


def rows_of(path: Path) -> dict[str, list[Any]]:
    """The state tables by column, in the order of creation."""
    with duckdb.connect(str(path)) as connection:
        found: dict[str, list[Any]] = {}
        for table, order in (("projects", "_created"), ("aggregates", "key")):
            cursor = connection.execute(f"select * from {table} order by {order}")  # noqa: S608 -- two names of our own
            columns = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchall()
            for at, column in enumerate(columns):
                found[f"{table}.{column}"] = [row[at] for row in rows]
        return found


def forget_tables(path: Path) -> None:
    """Take the state tables away: opening the store rebuilds them from the journal."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("drop table projects")
        connection.execute("delete from aggregates")
