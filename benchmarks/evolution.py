"""Measures what a change of schema costs those who write and read meanwhile.

    python -m benchmarks.evolution --projects 1000000 --directory /var/tmp/bench

One store without HTTP. A writer commits one project after another and readers ask for single
projects and pages, before and during each migration. Writes wait for its transaction, whose time
and processor time are shown; the longest commit is what a client sees of that. Every figure is of
one process; on a machine with other work they are no better than that.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.storage import CHUNK, DICE, a_project, arguments, change_of
from spawn.adapters.duckdb.migration.transaction import Attempt
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.runtime import SystemClock
from spawn.domain.projects.project import Project
from spawn.domain.query import Query, Sort
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.schemas import Disproved, Migration, SchemaRecord, SchemaState
from spawn.testing.storage_contract.commands import a_record
from spawn.testing.storage_contract.migrations import FIRST_COLUMNS, a_document

Columns = list[dict[str, Any]]
Change = tuple[str, Columns]


def changes() -> Iterator[Change]:
    """What is changed, one after the other: each version's columns, and how that is called."""
    columns = {column["name"]: dict(column) for column in FIRST_COLUMNS}

    def now(what: str) -> Change:
        return what, [dict(column) for column in columns.values()]

    columns["hub"] = {"name": "hub", "type": "integer"}
    yield now("add column")
    columns["grid"] = {"name": "grid", "type": "string", "default": "mainland", "required": True}
    yield now("add column with a default")
    columns["tower"] = {"name": "tower", "type": "decimal(12,3)"}
    yield now("add column, taking up an extension of one in ten")
    columns["label"] = {"name": "label", "type": "string", "default": "n/a (¤)"}
    yield now("add column with a default in any script")
    columns["units"]["type"] = "bigint"
    yield now("widen integer to bigint")
    columns["capacity_mw"]["type"] = "decimal(22,4)"
    yield now("widen decimal(18,4) to decimal(22,4)")
    columns["turbines"] = {**columns.pop("units"), "name": "turbines", "aliases": ["units"]}
    yield now("rename")
    columns["turbines"] |= {"required": True, "default": 1}
    yield now("fill absent values with a default")
    del columns["load"]
    yield now("hide")
    columns["capacity_mw"]["minimum"] = 0
    yield now("tighten a bound, proven")
    columns["technology"]["pattern"] = "[a-z ]+"
    yield now("tighten to a pattern, proven")
    columns["technology"]["description"] = "What the plant runs on."
    yield now("change a text")


class Traffic:
    """A writer and readers; how long each of their calls took."""

    def __init__(self, store: DuckDbStore, known: Sequence[str]) -> None:
        self._store = store
        self._known = known
        self._sort = 0
        self.commits: list[float] = []
        self.reads: list[float] = []
        self.pages: list[float] = []

    @contextmanager
    def _timed(self, into: list[float]) -> Iterator[None]:
        began = time.perf_counter()
        yield
        into.append((time.perf_counter() - began) * 1000)

    async def write(self) -> None:
        """Commit one project after another."""
        while True:
            with self._timed(self.commits):
                await self._store.commit(change_of((a_project(0), 0)))
            await asyncio.sleep(0.002)

    async def read(self) -> None:
        """Read single projects."""
        while True:
            with self._timed(self.reads):
                await self._store.get("project", DICE.choice(self._known))
            await asyncio.sleep(0.001)

    async def page(self) -> None:
        """Read first pages in one order and another."""
        while True:
            sort = (Sort(("total_amount", "project_name")[self._sort % 2]),)
            self._sort += 1
            with self._timed(self.pages):
                await self._store.page(Query(sort=sort, limit=20 + self._sort % 31))
            await asyncio.sleep(0.02)

    def taken(self) -> str:
        """The figures since the last time, as a part of a line: longest commit, p99 of reads."""
        shown = (
            f"{max(self.commits, default=0):.0f} | {_p99(self.reads):.1f} | {_p99(self.pages):.0f}"
        )
        self.commits, self.reads, self.pages = [], [], []
        return shown


def _p99(spent: list[float]) -> float:
    return sorted(spent)[int(len(spent) * 0.99)] if spent else 0.0


def extended(project: Project, number: int) -> Project:
    """One project in ten holds an extension that a column will take up."""
    if number % 10:
        return project
    held = {"x_tower": msgspec.Raw(b"%d.5" % (number % 200))}
    return msgspec.structs.replace(project, extensions=held)


async def fill(store: DuckDbStore, count: int) -> list[str]:
    """Commit so many projects; some of their ids."""
    ids: list[str] = []
    for at in range(0, count, CHUNK):
        projects = [extended(a_project(n), n) for n in range(at, min(at + CHUNK, count))]
        await store.commit(change_of(*((project, 0) for project in projects)))
        ids += [project.project_id for project in projects[:20]]
    await store.page(Query(limit=1))
    return ids


class Transaction:
    """How long the transaction of a migration took, and how much of that it was computing."""

    wall_ms = 0.0
    cpu_ms = 0.0

    def watch(self) -> None:
        """Time every transaction from now on."""
        carry_out = Attempt.carry_out

        def timed(attempt: Attempt, record: SchemaRecord, seen: int) -> Migration:
            began, cpu = time.perf_counter(), time.thread_time()
            try:
                return carry_out(attempt, record, seen)
            finally:
                self.wall_ms = (time.perf_counter() - began) * 1000
                self.cpu_ms = (time.thread_time() - cpu) * 1000

        Attempt.carry_out = timed  # type: ignore[method-assign,assignment]  # to see what no one else need see


async def measure(
    store: DuckDbStore, traffic: Traffic, paused: Transaction, version: int, change: Change
) -> str:
    """One line of the table: what, how long, and the traffic before and during."""
    what, columns = change
    record = a_record(a_document(version, columns), SchemaState.CANDIDATE)
    plan = plan_migration((await store.lineage())[0], record.schema)
    await asyncio.sleep(1.5)
    before = traffic.taken()
    began = time.perf_counter()
    try:
        rows = f"{(await store.migrate(record, plan, actor='bench')).rows:,}"
    except Disproved as refusal:
        rows = f"refused: {refusal.detail[:60]}"
    spent = time.perf_counter() - began
    during = traffic.taken()
    pause = f"{paused.wall_ms:.0f} / {paused.cpu_ms:.0f}"
    return f"| {what} | {rows} | {spent:.2f} | {pause} | {before} | {during} |"


async def main(count: int, directory: Path) -> None:
    """The whole table, as docs/performance.md shows it."""
    path = directory / "evolution.duckdb"
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    await store.adopt(a_record())
    began = time.perf_counter()
    known = await fill(store, count)
    print(f"{count:,} projects in {time.perf_counter() - began:.0f} s\n")
    traffic_ms = ("longest commit", "get p99", "page p99")
    print(
        "| change | rows given a value | s in all | transaction, wall / CPU ms |",
        " | ".join(f"{what} {when}" for when in ("before", "during") for what in traffic_ms),
        "|",
    )
    print("|---" * 10 + "|")
    paused = Transaction()
    paused.watch()
    traffic = Traffic(store, known)
    going = [asyncio.ensure_future(work()) for work in (traffic.write, traffic.read, traffic.page)]
    for version, change in enumerate(changes(), start=2):
        print(await measure(store, traffic, paused, version, change), flush=True)
    for task in going:
        task.cancel()
    await asyncio.gather(*going, return_exceptions=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*arguments(__doc__, "evolution.duckdb")))
