"""Measures a store without HTTP: bulk and single commits, projection, start, reads.

    python benchmarks/storage.py --projects 1000000 --directory /var/tmp/bench

Every figure is of one process on an otherwise idle machine. The store is made in the directory
given (its file is removed first) and left there to be looked at.
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
from spawn.adapters.local.runtime import SystemClock, Uuid7Ids
from spawn.domain.change import Change, Write
from spawn.domain.events.event import DomainEvent
from spawn.domain.projects.project import ExternalRef, Project, Reservation, Status
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.testing.storage_contract.commands import a_record

CHUNK = 1_000
SECTORS = ("Wind", "Solar", "Rail", "Water", "Ports")
COUNTRIES = ("ESP", "PRT", "FRA", "DEU", "KEN", "CHL", "VNM")
IDS = Uuid7Ids()
DICE = random.Random(1)


def a_project(number: int) -> Project:
    """A typical imported project."""
    return Project(
        project_id=IDS.new(),
        project_name=f"Project {number} {DICE.choice(SECTORS)}",
        total_amount=Decimal(DICE.randrange(10**6, 10**11)).scaleb(-2),
        currency_code="USD",
        status=DICE.choice((Status.PROPOSED, Status.OPERATION, Status.CONSTRUCTION)),
        sector=DICE.choice(SECTORS),
        country_code=DICE.choice(COUNTRIES),
        maturity_years=DICE.randrange(1, 40),
        expected_irr=Decimal("0.095"),
        dscr=Decimal("1.35"),
        external_ref=ExternalRef(source="erp", id=str(number)),
        attributes={"capacity_mw": Decimal(DICE.randrange(10**6)).scaleb(-2)},
    )


def change_of(*states: tuple[Project, int], references: bool = False) -> Change:
    """One change that writes the states, and reserves their references if asked."""
    writes = [Write("project", p.project_id, version, p) for p, version in states]
    if references:
        writes += [
            Write(
                "external_ref", f"erp:{p.external_ref.id}", 0, Reservation(project_id=p.project_id)
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


def show(what: str, figure: str) -> None:
    """One line of the table."""
    print(f"{what:<58} {figure}", flush=True)


async def timed(call: Callable[[], Awaitable[Any]], times: int = 5) -> float:
    """The median of several runs, milliseconds."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        spent.append((time.perf_counter() - began) * 1000)
    return sorted(spent)[times // 2]


async def fill(store: DuckDbStore, count: int) -> list[Project]:
    """Import `count` projects with references, and amend a tenth of them: a history."""
    projects = [a_project(number) for number in range(count)]
    changes = [
        change_of(*((p, 0) for p in projects[at : at + CHUNK // 2]), references=True)
        for at in range(0, count, CHUNK // 2)
    ]
    began = time.perf_counter()
    for change in changes:
        await store.commit(change)
    spent = time.perf_counter() - began
    show("bulk: journal rows/s, one change of 1,000 after another", f"{2 * count / spent:,.0f}")
    began, lag = time.perf_counter(), store.status().lag_rows
    await store.page(Query())
    spent = time.perf_counter() - began
    show("first page behind the import, projecting the rest", f"{spent * 1000:.0f} ms, {lag} rows")
    again = DICE.sample(projects, count // 10)
    began = time.perf_counter()
    for at in range(0, len(again), CHUNK):
        await store.commit(change_of(*((p, 1) for p in again[at : at + CHUNK])))
    await store.page(Query(limit=1))
    show("bulk: amendments/s, projected", f"{len(again) / (time.perf_counter() - began):,.0f}")
    return projects


async def measure_commits(store: DuckDbStore) -> None:
    """Single creations by closed-loop writers."""
    for writers in (1, 16, 64, 256):
        spent: list[float] = []
        until = time.perf_counter() + 5

        async def write(until: float = until, spent: list[float] = spent) -> None:
            while (began := time.perf_counter()) < until:
                await store.commit(change_of((a_project(0), 0)))
                spent.append(time.perf_counter() - began)

        cpu = time.process_time()
        await asyncio.gather(*(write() for _ in range(writers)))
        cpu = (time.process_time() - cpu) / len(spent) * 1e6
        spent.sort()
        p50, p99 = spent[len(spent) // 2] * 1000, spent[int(len(spent) * 0.99)] * 1000
        show(
            f"commits/s, {writers} writers",
            f"{len(spent) / 5:,.0f}  p50 {p50:.1f} p99 {p99:.1f} max {spent[-1] * 1000:.0f} ms"
            f"  {cpu:.0f} µs CPU each",
        )


async def measure_reads(store: DuckDbStore, projects: list[Project]) -> None:
    """Reads of a store that was just opened, then of one that knows them."""
    show("first page, as the first read", f"{await timed(lambda: store.page(Query()), 1):.1f} ms")
    some = DICE.sample(projects, 200)
    queries = {
        "creation order": Query(limit=49),
        "filtered, creation order": Query(filters=(_is("sector", "Wind"),)),
        "filtered, largest first": Query(
            filters=(_is("country_code", "ESP"),), sort=(Sort("total_amount", descending=True),)
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
        cold = await timed(partial(_next_page, store, variants), 1)
        warm = await timed(partial(_next_page, store, variants), 5)
        kept = await timed(partial(store.page, query), 101)
        show(f"page: {name}", f"cold {cold:.1f} ms, warm {warm:.1f} ms, kept {kept * 1000:.0f} µs")
    unknown = iter(some)
    cold = await timed(lambda: store.get("project", next(unknown).project_id), 99)
    known = some[0].project_id
    hot = await timed(lambda: store.get("project", known), 999)
    show("get by id", f"cold {cold:.2f} ms, known {hot * 1000:.1f} µs")
    end = (await store.position()).split(".")
    middle = f"{end[0]}.{int(end[1]) // 2}"
    feed = await timed(lambda: store.feed(after=middle, limit=100))
    rare = await timed(
        lambda: store.feed(after=f"{end[0]}.0", limit=100, types=frozenset({"project.x"}))
    )
    show("feed: 100 from the middle; a window without hits", f"{feed:.1f} ms; {rare:.1f} ms")
    past = await timed(lambda: store.history("project", known, after_version=0, limit=50))
    show("history", f"{past:.1f} ms")


async def _next_page(store: DuckDbStore, queries: Iterator[Query]) -> None:
    await store.page(next(queries))


def _is(field: str, value: str) -> Filter:
    return Filter(field, Operator.EQ, (value,))


async def main(count: int, directory: Path) -> None:
    """The whole table."""
    path = directory / "bench.duckdb"
    options, clock = StoreOptions(), SystemClock()
    began = time.perf_counter()
    store = await open_duckdb(path, clock=clock, options=options)
    show("ready, empty", f"{(time.perf_counter() - began) * 1000:.0f} ms")
    await store.adopt(a_record())
    projects = await fill(store, count)
    began = time.perf_counter()
    await store.close()
    show("close with the last checkpoint", f"{(time.perf_counter() - began) * 1000:.0f} ms")
    began = time.perf_counter()
    store = await open_duckdb(path, clock=clock, options=options)
    show(f"ready, {count:,} projects", f"{(time.perf_counter() - began) * 1000:.0f} ms")
    await measure_reads(store, projects)
    show("probe", f"{await timed(store.probe, 9):.1f} ms")
    await measure_commits(store)
    status = store.status()
    show("file, log", f"{status.file_bytes or 0:,} B, {status.wal_bytes or 0:,} B")
    await store.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    show("peak RSS (the generated projects included)", f"{peak:,.0f} MiB")


def arguments(said: str | None, file: str) -> tuple[int, Path]:
    """How many projects, and a directory without the file of an earlier run."""
    parser = argparse.ArgumentParser(description=said)
    parser.add_argument("--projects", type=int, default=100_000)
    parser.add_argument("--directory", type=Path, default=Path("/tmp/spawn-bench"))  # noqa: S108 -- a default to override
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    for left in given.directory.glob(f"{file}*"):
        left.unlink()
    return given.projects, given.directory


if __name__ == "__main__":
    asyncio.run(main(*arguments(__doc__, "bench.duckdb")))
