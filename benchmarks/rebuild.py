"""Benchmark the opening of a large store: as closed, and with every derived table rebuilt.

    python -m benchmarks.rebuild --projects 1000000 --directory /var/tmp/bench

Each project is created with its reference and amended once: three journal rows.
"""

import asyncio
import time
from pathlib import Path

import duckdb
import msgspec

from benchmarks.storage import build_change, build_project, parse_arguments, report
from spawn.adapters.duckdb.store import open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.domain.aggregates import encode_state
from spawn.domain.change import EncodedState, Write
from spawn.testing.storage_contract.harness import a_record

CHUNK = 2_000


async def write_projects(path: Path, count: int) -> None:
    """Write projects as an import does, then amend each."""
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    record = a_record()
    await store.adopt(record)
    for start in range(0, count, CHUNK):
        projects = [build_project(number) for number in range(start, min(start + CHUNK, count))]
        change = build_change(*((project, 0) for project in projects), references=True)
        writes = tuple(
            Write(w.kind, w.id, 0, EncodedState(encode_state(w.kind, w.state, record.schema)))
            for w in change.writes
        )
        await store.commit(msgspec.structs.replace(change, writes=writes))
        later = [msgspec.structs.replace(project, sector="Solar") for project in projects]
        await store.commit(build_change(*((project, 1) for project in later)))
    await store.close()


async def measure_opening(path: Path, label: str) -> None:
    """Report how long the store takes to open."""
    started_at_s = time.perf_counter()
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    report(label, f"{time.perf_counter() - started_at_s:.2f} s")
    await store.close()


def drop_derived_tables(path: Path) -> None:
    """Drop the table that all others are derived from, so that each is rebuilt."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("drop table aggregates")


async def main(count: int, directory: Path) -> None:
    """Write the store, then measure both openings."""
    path = directory / "rebuild.duckdb"
    await write_projects(path, count)
    await measure_opening(path, f"open, {count:,} projects")
    await asyncio.to_thread(drop_derived_tables, path)
    await measure_opening(path, "open, with every derived table rebuilt")


if __name__ == "__main__":
    asyncio.run(main(*parse_arguments(__doc__, "rebuild.duckdb")))
