"""Migration benchmark: the cost of a schema change for concurrent writes and reads.

    python -m benchmarks.evolution --projects 1000000 --directory /var/tmp/bench

One store without HTTP. A writer commits one project after another and readers read single
projects and pages, before and during each migration. Writes wait for its transaction, whose wall
and CPU time are printed; a client observes it as the longest commit. All figures are of one
process and suffer from other load on the machine.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.storage import CHUNK, RANDOM, build_change, build_project, parse_arguments
from spawn.adapters.duckdb.migration.transaction import MigrationTransaction
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.domain.projects.project import Project
from spawn.domain.query import Query, Sort
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.schemas import MigrationRecord, MigrationRejected, SchemaRecord, SchemaState
from spawn.testing.storage_contract.harness import a_record
from spawn.testing.storage_contract.migrations import FIRST_COLUMNS, a_document

Columns = list[dict[str, Any]]
SchemaChange = tuple[str, Columns]


def generate_changes() -> Iterator[SchemaChange]:
    """Yield a name and the columns of each successive version."""
    columns = {column["name"]: dict(column) for column in FIRST_COLUMNS}

    def snapshot(name: str) -> SchemaChange:
        return name, [dict(column) for column in columns.values()]

    columns["hub"] = {"name": "hub", "type": "integer"}
    yield snapshot("add column")
    columns["grid"] = {"name": "grid", "type": "string", "default": "mainland", "required": True}
    yield snapshot("add column with a default")
    columns["tower"] = {"name": "tower", "type": "decimal(12,3)"}
    yield snapshot("add column, taking up an extension of one in ten")
    columns["label"] = {"name": "label", "type": "string", "default": "n/a (¤)"}
    yield snapshot("add column with a default in any script")
    columns["units"]["type"] = "bigint"
    yield snapshot("widen integer to bigint")
    columns["capacity_mw"]["type"] = "decimal(22,4)"
    yield snapshot("widen decimal(18,4) to decimal(22,4)")
    columns["turbines"] = {**columns.pop("units"), "name": "turbines", "aliases": ["units"]}
    yield snapshot("rename")
    columns["turbines"] |= {"required": True, "default": 1}
    yield snapshot("fill missing values with a default")
    del columns["load"]
    yield snapshot("hide")
    columns["capacity_mw"]["minimum"] = 0
    yield snapshot("tighten a bound, proven")
    columns["technology"]["pattern"] = "[a-z ]+"
    yield snapshot("tighten to a pattern, proven")
    columns["technology"]["description"] = "What the plant runs on."
    yield snapshot("change a text")


class Traffic:
    """A writer and readers, with the duration of each call in ms."""

    def __init__(self, store: DuckDbStore, project_ids: Sequence[str]) -> None:
        self._store = store
        self._project_ids = project_ids
        self._sort = 0
        self.commits: list[float] = []
        self.reads: list[float] = []
        self.pages: list[float] = []

    @contextmanager
    def _record_time(self, durations_ms: list[float]) -> Iterator[None]:
        started_s = time.perf_counter()
        yield
        durations_ms.append((time.perf_counter() - started_s) * 1000)

    async def write(self) -> None:
        """Commit one project after another."""
        while True:
            with self._record_time(self.commits):
                await self._store.commit(build_change((build_project(0), 0)))
            await asyncio.sleep(0.002)

    async def read(self) -> None:
        """Read single projects."""
        while True:
            with self._record_time(self.reads):
                await self._store.get("project", RANDOM.choice(self._project_ids))
            await asyncio.sleep(0.001)

    async def page(self) -> None:
        """Read first pages in one order and another."""
        while True:
            sort = (Sort(("total_amount", "project_name")[self._sort % 2]),)
            self._sort += 1
            with self._record_time(self.pages):
                await self._store.page(Query(sort=sort, limit=20 + self._sort % 31))
            await asyncio.sleep(0.02)

    def take_figures(self) -> str:
        """Return and reset the figures: longest commit, p99 of gets and pages."""
        figures = (
            f"{max(self.commits, default=0):.0f} | {_p99(self.reads):.1f} | {_p99(self.pages):.0f}"
        )
        self.commits, self.reads, self.pages = [], [], []
        return figures


def _p99(durations_ms: list[float]) -> float:
    return sorted(durations_ms)[int(len(durations_ms) * 0.99)] if durations_ms else 0.0


def add_extension(project: Project, number: int) -> Project:
    """Add to one project in ten an extension that a column will replace."""
    if number % 10:
        return project
    extensions = {"x_tower": msgspec.Raw(b"%d.5" % (number % 200))}
    return msgspec.structs.replace(project, extensions=extensions)


async def fill(store: DuckDbStore, count: int) -> list[str]:
    """Commit so many projects and return some of their ids."""
    ids: list[str] = []
    for at in range(0, count, CHUNK):
        projects = [add_extension(build_project(n), n) for n in range(at, min(at + CHUNK, count))]
        await store.commit(build_change(*((project, 0) for project in projects)))
        ids += [project.project_id for project in projects[:20]]
    await store.page(Query(limit=1))
    return ids


class TransactionTimer:
    """Wall and CPU time of the last migration transaction, in ms."""

    wall_ms = 0.0
    cpu_ms = 0.0

    def install(self) -> None:
        """Measure every later transaction."""
        run = MigrationTransaction.run

        def run_timed(
            transaction: MigrationTransaction, record: SchemaRecord, scanned_through: int
        ) -> MigrationRecord:
            started_s, cpu_s = time.perf_counter(), time.thread_time()
            try:
                return run(transaction, record, scanned_through)
            finally:
                self.wall_ms = (time.perf_counter() - started_s) * 1000
                self.cpu_ms = (time.thread_time() - cpu_s) * 1000

        MigrationTransaction.run = run_timed  # type: ignore[method-assign,assignment]  # there is no public hook


async def measure(
    store: DuckDbStore,
    traffic: Traffic,
    timer: TransactionTimer,
    version: int,
    change: SchemaChange,
) -> str:
    """Migrate to a version and return its line of the table."""
    name, columns = change
    record = a_record(a_document(version, columns), SchemaState.CANDIDATE)
    plan = plan_migration((await store.version_history())[0], record.schema)
    await asyncio.sleep(1.5)
    before = traffic.take_figures()
    started_s = time.perf_counter()
    try:
        rows = f"{(await store.migrate(record, plan, actor='bench')).rows:,}"
    except MigrationRejected as error:
        rows = f"rejected: {error.detail[:60]}"
    elapsed_s = time.perf_counter() - started_s
    during = traffic.take_figures()
    pause = f"{timer.wall_ms:.0f} / {timer.cpu_ms:.0f}"
    return f"| {name} | {rows} | {elapsed_s:.2f} | {pause} | {before} | {during} |"


async def main(count: int, directory: Path) -> None:
    """Print the whole table, as in docs/performance.md."""
    path = directory / "evolution.duckdb"
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    await store.adopt(a_record())
    started_s = time.perf_counter()
    project_ids = await fill(store, count)
    print(f"{count:,} projects in {time.perf_counter() - started_s:.0f} s\n")
    traffic_ms = ("longest commit", "get p99", "page p99")
    print(
        "| change | rows with a new value | total, s | transaction, wall / CPU ms |",
        " | ".join(f"{name} {phase}" for phase in ("before", "during") for name in traffic_ms),
        "|",
    )
    print("|---" * 10 + "|")
    timer = TransactionTimer()
    timer.install()
    traffic = Traffic(store, project_ids)
    tasks = [asyncio.ensure_future(work()) for work in (traffic.write, traffic.read, traffic.page)]
    for version, change in enumerate(generate_changes(), start=2):
        print(await measure(store, traffic, timer, version, change), flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*parse_arguments(__doc__, "evolution.duckdb")))
