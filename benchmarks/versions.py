"""Benchmark of many schema versions: cost of an adoption, memory, start, and retired columns.

    python -m benchmarks.versions --versions 2000 --projects 20000 --directory /var/tmp/bench

One store without HTTP and a registry in memory. First each version changes one description and is
adopted by a refresh. Then rounds of wide versions add 490 columns and remove them again, and
first pages are timed before and after. Times are processor time of the whole process, which other
load on the machine changes less than the time of a clock.
"""

import argparse
import asyncio
import json
import resource
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.storage import CHUNK, build_change, build_project
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.adapters.local.ids import Uuid7Ids
from spawn.adapters.local.spool import DirectorySpool
from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.adapters.workers.subprocess_workers import SubprocessWorkers
from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import RefreshVerdict, SchemaPolicy
from spawn.application.schemas.refresh import refresh_schema
from spawn.domain.errors import NotFound
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schemas.document_parser import read_schema
from spawn.ports.schemas import FetchedSchema, Provenance
from spawn.testing.storage_contract.harness import a_record
from spawn.testing.storage_contract.migrations import FIRST_COLUMNS

SCHEMA_ID = "project_schema"
WIDTH = 490
ROUNDS = 5
PAGES = 300


class MemoryRegistry(BundledRegistry):
    """A registry of documents in memory."""

    def __init__(self) -> None:
        self.documents: dict[int, bytes] = {}

    def publish(self, version: int, columns: list[dict[str, Any]]) -> None:
        """Publish a version with these columns."""
        document = {"id": SCHEMA_ID, "version": version, "name": "Projects", "columns": columns}
        self.documents[version] = json.dumps(document).encode()

    async def refresh(
        self,
        schema_id: str,
        version: int | None = None,
        *,
        kind: str = PROJECT_KIND,
        is_secondary: bool = False,
    ) -> FetchedSchema:
        """Return the latest or one version."""
        del is_secondary
        number = max(self.documents) if version is None else version
        if number not in self.documents:
            raise NotFound("none")
        document = self.documents[number]
        return FetchedSchema(
            schema=read_schema(document, schema_id=schema_id, kind=kind),
            document=document,
            provenance=Provenance.LIVE,
            verified_at=None,
        )

    async def list_versions(self, schema_id: str) -> tuple[int, ...] | None:
        """Return the numbers, ascending."""
        del schema_id
        return tuple(sorted(self.documents))


def build_dependencies(store: DuckDbStore, registry: MemoryRegistry, folder: Path) -> Dependencies:
    """Return the dependencies over a store."""
    return Dependencies(
        commands=store,
        reads=store,
        bookmarks=store,
        derived_documents=store,
        control=store,
        schemas=store,
        quality=store,
        registry=registry,
        spool=DirectorySpool(folder / "spool", reserve_bytes=0),
        workers=SubprocessWorkers(),
        clock=SystemClock(),
        ids=Uuid7Ids(),
    )


def read_rss_mb() -> float:
    """Return the resident memory of the process in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


async def adopt(dependencies: Dependencies) -> float:
    """Refresh once, and return the processor seconds that it took."""
    started_s = time.process_time()
    result = await refresh_schema(dependencies, SchemaPolicy(schema_id=SCHEMA_ID))
    if result.verdict is not RefreshVerdict.ADOPTED:
        raise SystemExit(f"{result.verdict}: {result.detail}")
    return time.process_time() - started_s


async def adopt_texts(dependencies: Dependencies, registry: MemoryRegistry, versions: int) -> int:
    """Adopt versions that differ in one description; return the last number."""
    rss_mb, durations_s, version = read_rss_mb(), list[float](), 1
    for version in range(2, versions + 2):
        columns = [dict(column) for column in FIRST_COLUMNS]
        columns[0]["description"] = f"Text {version}."
        registry.documents.clear()
        registry.publish(version, columns)
        durations_s.append(await adopt(dependencies))
        if (version - 1) % max(versions // 10, 1) == 0:
            print(
                f"{version:6d} versions: last adoption {durations_s[-1] * 1000:.0f} ms, "
                f"slowest {max(durations_s) * 1000:.0f} ms, "
                f"memory {read_rss_mb() - rss_mb:+.0f} MB"
            )
    return version


async def time_pages(store: DuckDbStore, at: str) -> None:
    """Print the median and the 99th percentile of first pages that no cache has."""
    durations_ms: list[float] = []
    for number in range(PAGES):
        # Another query each time, which no cache has.
        query = Query(
            filters=(Filter("total_amount", Operator.GTE, (Decimal(number),)),),
            sort=(Sort(("total_amount", "project_name")[number % 2]),),
            limit=20,
        )
        started_s = time.process_time()
        await store.page(query)
        durations_ms.append((time.process_time() - started_s) * 1000)
    durations_ms.sort()
    print(
        f"first pages {at}: median {durations_ms[PAGES // 2]:.1f} ms, "
        f"p99 {durations_ms[int(PAGES * 0.99)]:.1f} ms, memory {read_rss_mb():.0f} MB"
    )


async def adopt_wide(
    dependencies: Dependencies, registry: MemoryRegistry, version: int, *, is_repeated: bool
) -> None:
    """Add and remove many columns, in rounds."""
    for number in range(ROUNDS):
        prefix = "w" if is_repeated else f"w{number}"
        wide = [{"name": f"{prefix}_{n}", "type": "integer"} for n in range(WIDTH)]
        for columns in ([*FIRST_COLUMNS, *wide], list(FIRST_COLUMNS)):
            version += 1
            registry.publish(version, columns)
            duration_s = await adopt(dependencies)
            print(f"{len(columns):6d} columns adopted in {duration_s:.2f} s")


async def run(options: argparse.Namespace) -> None:
    """Run the whole benchmark."""
    path = options.directory / "versions.duckdb"
    registry = MemoryRegistry()
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    await store.adopt(a_record())
    for at in range(0, options.projects, CHUNK):
        projects = [build_project(n) for n in range(at, min(at + CHUNK, options.projects))]
        await store.commit(build_change(*((project, 0) for project in projects)))
    dependencies = build_dependencies(store, registry, options.directory)
    await time_pages(store, "before")
    version = await adopt_texts(dependencies, registry, options.versions)
    await store.close()
    started_s = time.process_time()
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    print(f"opened in {time.process_time() - started_s:.2f} s")
    dependencies = build_dependencies(store, registry, options.directory)
    await adopt_wide(dependencies, registry, version, is_repeated=options.repeated)
    await time_pages(store, "after")
    await store.close()
    print(f"file {path.stat().st_size / 1e6:.0f} MB")


def main() -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="versions", description=__doc__)
    parser.add_argument("--versions", type=int, default=2_000)
    parser.add_argument("--projects", type=int, default=20_000)
    parser.add_argument("--repeated", action="store_true", help="rounds of the same columns")
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
