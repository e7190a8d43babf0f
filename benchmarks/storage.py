"""Benchmark a store without HTTP: bulk and single commits, projection, start, reads.

    python benchmarks/storage.py --projects 1000000 --directory /var/tmp/bench

Every figure is of one process on an otherwise idle machine. The store is created in the given
directory (its file is removed first) and left there for inspection.
"""

import argparse
import asyncio
import random
import resource
import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.adapters.local.ids import Uuid7Ids
from spawn.domain.change import Change, Write
from spawn.domain.events.event import DomainEvent
from spawn.domain.events.position import Position
from spawn.domain.projects.project import (
    ExternalRef,
    ExternalRefReservation,
    Project,
    ProjectStatus,
)
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.testing.storage_contract.harness import a_record

CHUNK = 1_000
SECTORS = ("Wind", "Solar", "Rail", "Water", "Ports")
COUNTRIES = ("ESP", "PRT", "FRA", "DEU", "KEN", "CHL", "VNM")
IDS = Uuid7Ids()
RANDOM = random.Random(1)


def build_project(number: int) -> Project:
    """Build a typical imported project."""
    return Project(
        project_id=IDS.new(),
        project_name=f"Project {number} {RANDOM.choice(SECTORS)}",
        total_amount=Decimal(RANDOM.randrange(10**6, 10**11)).scaleb(-2),
        currency_code="USD",
        status=RANDOM.choice(
            (ProjectStatus.PROPOSED, ProjectStatus.OPERATION, ProjectStatus.CONSTRUCTION)
        ),
        sector=RANDOM.choice(SECTORS),
        country_code=RANDOM.choice(COUNTRIES),
        maturity_years=Decimal(RANDOM.randrange(1, 40)),
        expected_irr=Decimal("0.095"),
        dscr=Decimal("1.35"),
        external_ref=ExternalRef(source="erp", id=str(number)),
        attributes={"capacity_mw": Decimal(RANDOM.randrange(10**6)).scaleb(-2)},
    )


def build_change(*states: tuple[Project, int], references: bool = False) -> Change:
    """Build a change that writes the states, and optionally reserves their references."""
    writes = [Write("project", p.project_id, version, p) for p, version in states]
    if references:
        writes += [
            Write(
                "external_ref",
                f"erp:{p.external_ref.id}",
                0,
                ExternalRefReservation(project_id=p.project_id),
            )
            for p, _ in states
            if p.external_ref is not None
        ]
    events = tuple(
        DomainEvent(
            type="project.amended" if version else "project.created",
            kind="project",
            id=p.project_id,
            changed=("project_name", "total_amount"),
        )
        for p, version in states
    )
    return Change(writes=tuple(writes), events=events, actor="bench", schema_version=1)


def report(label: str, figure: str) -> None:
    """Print one line of the table."""
    print(f"{label:<58} {figure}", flush=True)


async def measure_median_ms(action: Callable[[], Awaitable[Any]], runs: int = 5) -> float:
    """Return the median duration of several runs."""
    durations_ms = []
    for _ in range(runs):
        started_at_s = time.perf_counter()
        await action()
        durations_ms.append((time.perf_counter() - started_at_s) * 1000)
    return sorted(durations_ms)[runs // 2]


async def import_projects(store: DuckDbStore, count: int) -> list[Project]:
    """Import `count` projects with references, and amend a tenth of them."""
    projects = [build_project(number) for number in range(count)]
    changes = [
        build_change(*((p, 0) for p in projects[start : start + CHUNK // 2]), references=True)
        for start in range(0, count, CHUNK // 2)
    ]
    started_at_s = time.perf_counter()
    for change in changes:
        await store.commit(change)
    duration_s = time.perf_counter() - started_at_s
    rows_per_s = 2 * count / duration_s
    report("bulk: journal rows/s, one change of 1,000 after another", f"{rows_per_s:,.0f}")
    started_at_s, lag_rows = time.perf_counter(), store.status().lag_rows
    await store.page(Query())
    duration_ms = (time.perf_counter() - started_at_s) * 1000
    figure = f"{duration_ms:.0f} ms, {lag_rows} rows"
    report("first page after the import, projecting the rest", figure)
    amended = RANDOM.sample(projects, count // 10)
    started_at_s = time.perf_counter()
    for start in range(0, len(amended), CHUNK):
        await store.commit(build_change(*((p, 1) for p in amended[start : start + CHUNK])))
    await store.page(Query(limit=1))
    amendments_per_s = len(amended) / (time.perf_counter() - started_at_s)
    report("bulk: amendments/s, projected", f"{amendments_per_s:,.0f}")
    return projects


async def measure_commits(store: DuckDbStore) -> None:
    """Measure single creations by closed-loop writers."""
    for writers in (1, 16, 64, 256):
        durations_s: list[float] = []
        deadline_s = time.perf_counter() + 5

        async def write(
            deadline_s: float = deadline_s, durations_s: list[float] = durations_s
        ) -> None:
            while (started_at_s := time.perf_counter()) < deadline_s:
                await store.commit(build_change((build_project(0), 0)))
                durations_s.append(time.perf_counter() - started_at_s)

        cpu_start_s = time.process_time()
        await asyncio.gather(*(write() for _ in range(writers)))
        cpu_us = (time.process_time() - cpu_start_s) / len(durations_s) * 1e6
        durations_s.sort()
        p50_ms = durations_s[len(durations_s) // 2] * 1000
        p99_ms = durations_s[int(len(durations_s) * 0.99)] * 1000
        max_ms = durations_s[-1] * 1000
        report(
            f"commits/s, {writers} writers",
            f"{len(durations_s) / 5:,.0f}  p50 {p50_ms:.1f} p99 {p99_ms:.1f} max {max_ms:.0f} ms"
            f"  {cpu_us:.0f} µs CPU each",
        )


async def measure_reads(store: DuckDbStore, projects: list[Project]) -> None:
    """Measure reads of a store just opened, then of one with filled caches."""
    first_ms = await measure_median_ms(lambda: store.page(Query()), 1)
    report("first page, as the first read", f"{first_ms:.1f} ms")
    sample = RANDOM.sample(projects, 200)
    queries = {
        "creation order": Query(limit=49),
        "filtered, creation order": Query(filters=(_equals("sector", "Wind"),)),
        "filtered, largest first": Query(
            filters=(_equals("country_code", "ESP"),), sort=(Sort("total_amount", descending=True),)
        ),
        "largest first": Query(sort=(Sort("total_amount", descending=True),)),
        "by name": Query(sort=(Sort("project_name"),)),
        "name like": Query(filters=(Filter("project_name", Operator.LIKE, ("9999",)),)),
        "governed range": Query(
            filters=(Filter("capacity_mw", Operator.GTE, (Decimal(5000),)),),
            sort=(Sort("capacity_mw"),),
        ),
    }
    for name, query in queries.items():
        variants = iter([msgspec.structs.replace(query, limit=query.limit - n) for n in range(9)])
        cold_ms = await measure_median_ms(partial(_next_page, store, variants), 1)
        warm_ms = await measure_median_ms(partial(_next_page, store, variants), 5)
        cached_ms = await measure_median_ms(partial(store.page, query), 101)
        figure = f"cold {cold_ms:.1f} ms, warm {warm_ms:.1f} ms, cached {cached_ms * 1000:.0f} µs"
        report(f"page: {name}", figure)
    sampled_projects = iter(sample)
    cold_ms = await measure_median_ms(
        lambda: store.get("project", next(sampled_projects).project_id), 99
    )
    project_id = sample[0].project_id
    cached_ms = await measure_median_ms(lambda: store.get("project", project_id), 999)
    report("get by id", f"cold {cold_ms:.2f} ms, cached {cached_ms * 1000:.1f} µs")
    end = await store.position()
    beginning, middle = Position(end.epoch, 0), Position(end.epoch, end.number // 2)
    feed_ms = await measure_median_ms(lambda: store.feed(after=middle, limit=100))
    empty_ms = await measure_median_ms(
        lambda: store.feed(after=beginning, limit=100, types=frozenset({"project.x"}))
    )
    report(
        "feed: 100 from the middle; a window without hits", f"{feed_ms:.1f} ms; {empty_ms:.1f} ms"
    )
    history_ms = await measure_median_ms(
        lambda: store.history("project", project_id, after_version=0, limit=50)
    )
    report("history", f"{history_ms:.1f} ms")


async def _next_page(store: DuckDbStore, queries: Iterator[Query]) -> None:
    await store.page(next(queries))


def _equals(field: str, value: str) -> Filter:
    return Filter(field, Operator.EQ, (value,))


async def main(count: int, directory: Path) -> None:
    """Run every measurement and print the table."""
    path = directory / "bench.duckdb"
    options, clock = StoreOptions(), SystemClock()
    started_at_s = time.perf_counter()
    store = await open_duckdb(path, clock=clock, options=options)
    report("ready, empty", f"{(time.perf_counter() - started_at_s) * 1000:.0f} ms")
    await store.adopt(a_record())
    projects = await import_projects(store, count)
    started_at_s = time.perf_counter()
    await store.close()
    report(
        "close with the last checkpoint", f"{(time.perf_counter() - started_at_s) * 1000:.0f} ms"
    )
    started_at_s = time.perf_counter()
    store = await open_duckdb(path, clock=clock, options=options)
    report(f"ready, {count:,} projects", f"{(time.perf_counter() - started_at_s) * 1000:.0f} ms")
    await measure_reads(store, projects)
    report("probe", f"{await measure_median_ms(store.probe, 9):.1f} ms")
    await measure_commits(store)
    status = store.status()
    report("file, log", f"{status.file_bytes or 0:,} B, {status.wal_bytes or 0:,} B")
    await store.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report("peak RSS (the generated projects included)", f"{peak:,.0f} MiB")


def parse_arguments(description: str | None, file: str) -> tuple[int, Path]:
    """Return the number of projects, and a directory without the file of an earlier run."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--projects", type=int, default=100_000)
    parser.add_argument("--directory", type=Path, default=Path("/tmp/spawn-bench"))  # noqa: S108 -- a default to override
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    for old_file in arguments.directory.glob(f"{file}*"):
        old_file.unlink()
    return arguments.projects, arguments.directory


if __name__ == "__main__":
    asyncio.run(main(*parse_arguments(__doc__, "bench.duckdb")))
