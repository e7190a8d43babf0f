"""HTTP benchmark: ratios, in one run, to Litestar's bare hello on the same machine.

    python -m benchmarks.http [--seconds 8] [--only get,post,…] [--million]

Each subject is measured between two runs of hello with the same method and number of connections;
its ratio is to their mean. Hosts, rate limiter, metrics and access log are on, as shipped; the
limiter's rate is set high enough never to reject. The load generator is wrk, one thread.

Each figure is printed at once, and the whole table in Markdown at the end. The run takes about
four minutes; `--million` adds a million projects with their history, three minutes more.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.load import Sample, Server, create_hello_server, run_wrk
from spawn.adapters.duckdb.store import open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.domain.change import Change, StoredAggregate, Write
from spawn.domain.events.event import DomainEvent
from spawn.domain.query import MAX_LIMIT, Query

ROWS = 100_000
MILLION = 1_000_000
AMENDMENT_BATCH = 10_000
COUNTRIES = ("ESP", "PRT", "FRA", "DEU", "ITA", "GBR", "USA", "BRA", "IND", "ZAF")
NO_HEADERS: Mapping[str, str] = {}
SECTORS = ("wind", "solar", "hydro", "road", "rail")

GOALS: dict[str, tuple[str, str]] = {
    "GET by id, 64 connections": ("0.60", "0.80"),
    "304, 64": ("0.85", "0.95"),
    "page of 50 of 100k, filtered and sorted, 1 % writes, 64": ("0.50", "0.70"),
    "POST durable, 16": ("0.17", "0.25"),
    "POST durable, 64": ("0.30", "0.50"),
    "POST durable, 256": ("0.45", "0.60"),
    "p99 of POST at 64": ("60 ms", "25 ms"),
    "worst commit in 60 s of load at 64": ("300 ms", "50 ms"),
    "first page, idle, 100k projects": ("6 ms", "3 ms"),
    "first page, idle, 1M projects": ("15 ms", "6 ms"),
    "import of 100k NDJSON projects over HTTP": ("25,000/s", "40,000/s"),
    "`/monitoring/live` p99 beside four listing clients": ("20 ms", "5 ms"),
    "ready with an empty store": ("1.0 s", "0.5 s"),
    "resident memory then": ("130 MB", "100 MB"),
    "ready with 1M projects and their history": ("1.5 s", "0.6 s"),
}
"""Target and stretch goal of each figure."""


@dataclass
class Figures:
    """Measured figures, as lines of the table."""

    lines: list[str] = field(default_factory=list)

    def add(self, name: str, value: str, detail: str = "") -> None:
        """Print a figure and add it to the table."""
        target, stretch = GOALS.get(name, ("", ""))
        self.lines.append(f"| {name} | {value} | {target} | {stretch} | {detail} |")
        print(f"{name:<58} {value:>10}   {detail}", flush=True)

    def table(self) -> str:
        """Return the table in Markdown."""
        head = ("| what | measured | target | stretch | detail |", "|---|---|---|---|---|")
        return "\n".join((*head, *self.lines))


@dataclass(frozen=True)
class BenchmarkContext:
    """Both servers, the length of a run and a scratch folder."""

    hello: Server
    spawn: Server
    seconds: float
    folder: Path
    figures: Figures


def create_spawn_server(folder: Path) -> Server:
    """Return the service with default settings, on a new or existing file in `folder`."""
    return Server(
        [sys.executable, "-m", "spawn.entrypoints.cli", "serve"],
        "/monitoring/ready",
        SPAWN_PORT="{port}",
        SPAWN_STORAGE_URL=f"duckdb:///{folder}/spawn.duckdb",
        SPAWN_ONTOLOGY_URL="bundled://",
        SPAWN_RATE_LIMIT="1000000",
        SPAWN_AUTH="off",
        SPAWN_LOG_LEVEL="INFO",
    )


def generate_rows(count: int, seed: int = 7) -> Iterator[bytes]:
    """Yield synthetic projects, one JSON object per line."""
    random_source = random.Random(seed)
    for number in range(count):
        yield (
            json.dumps(
                {
                    "project_name": f"Project {number:07d}",
                    "total_amount": f"{random_source.lognormvariate(18.5, 1.57):.2f}",
                    "currency_code": "EUR",
                    "country_code": random_source.choice(COUNTRIES),
                    "sector": random_source.choice(SECTORS),
                    "maturity_years": random_source.randint(10, 18),
                    "dscr": 1.35,
                    "description": "A synthetic project for measurement",
                }
            ).encode()
            + b"\n"
        )


def print_sample(name: str, sample: Sample, ratio: float | None = None) -> None:
    """Print one line about a sample."""
    ratio_text = f"{ratio:6.2f}" if ratio is not None else "     -"
    print(f"{name:<34} ratio {ratio_text}  {format_sample(sample)}", flush=True)


def format_sample(sample: Sample) -> str:
    """Return a sample as text."""
    errors = f", {sample.errors} errors" if sample.errors else ""
    return (
        f"{sample.per_s:,.0f}/s, p50 {sample.p50_ms:.1f}, p99 {sample.p99_ms:.0f},"
        f" max {sample.max_ms:.0f} ms, CPU {sample.cpu_us:.0f} µs{errors}"
    )


def compare_with_hello(
    context: BenchmarkContext,
    name: str,
    connections: int,
    script: str,
    *arguments: str,
    post: bool = False,
) -> Sample:
    """Measure hello, the subject, hello; record the ratio of the subject."""
    hello_file = context.folder / "hello.txt"
    hello_file.write_text("/hello\n")
    baseline = ("post.lua", "/hello") if post else ("paths.lua", str(hello_file))

    def measure_hello() -> Sample:
        return run_wrk(
            context.hello, *baseline, connections=connections, seconds=context.seconds / 2
        )

    before = measure_hello()
    subject = run_wrk(
        context.spawn, script, *arguments, connections=connections, seconds=context.seconds
    )
    after = measure_hello()
    ratio = subject.per_s / ((before.per_s + after.per_s) / 2)
    cost = (before.cpu_us + after.cpu_us) / 2
    hello_detail = f"hello {before.per_s:,.0f} and {after.per_s:,.0f}/s, CPU {cost:.0f} µs"
    context.figures.add(name, f"{ratio:.2f}", f"{format_sample(subject)}; {hello_detail}")
    return subject


def list_project_ids(server: Server, count: int) -> list[str]:
    """Return the first ids of the list."""
    ids: list[str] = []
    path = "/v1/ops/projects?limit=500&fields=project_id"
    while len(ids) < count:
        _, _, page = server.request("GET", path)
        ids += [item["project_id"] for item in page["items"]]
        if page["next"] is None:
            break
        path = f"/v1/ops/projects?limit=500&fields=project_id&after={page['next']}"
    return ids[:count]


def import_rows(
    server: Server, rows: int, folder: Path, seed: int = 7, headers: Mapping[str, str] = NO_HEADERS
) -> float:
    """Import so many projects over HTTP; return rows per second up to the end of the job."""
    upload = folder / "rows.ndjson"
    with upload.open("wb") as file:
        file.writelines(generate_rows(rows, seed))
    body = upload.read_bytes()
    started = time.perf_counter()
    _, _, job = server.request(
        "POST", "/v1/ops/imports", body, Content_Type="application/x-ndjson", **headers
    )
    while job["status"] in {"queued", "running"}:
        time.sleep(0.02)
        _, _, job = server.request("GET", f"/v1/jobs/{job['job_id']}", None, **headers)
    elapsed_s = time.perf_counter() - started
    if job["status"] != "succeeded":
        raise SystemExit(f"the import ended as {job}")
    return rows / elapsed_s


def measure_get(context: BenchmarkContext) -> None:
    """Measure GET by id and conditional GET at 64 connections."""
    paths = context.folder / "get.txt"
    ids = list_project_ids(context.spawn, 1000)
    # Each is read once before, so that cached projects are measured.
    context.spawn.time_requests_ms(f"/v1/ops/projects/{i}" for i in ids)
    paths.write_text("".join(f"/v1/ops/projects/{i}\n" for i in ids))
    compare_with_hello(context, "GET by id, 64 connections", 64, "paths.lua", str(paths))
    conditional = context.folder / "conditional.txt"
    with conditional.open("w") as file:
        for i in ids[:200]:
            _, headers, _ = context.spawn.request("GET", f"/v1/ops/projects/{i}")
            file.write(f"/v1/ops/projects/{i}\t{headers['etag']}\n")
    compare_with_hello(context, "304, 64", 64, "paths.lua", str(conditional))


def write_page_paths(file: Path) -> Path:
    """Write the paths of filtered and sorted pages, one a line; return the file."""
    file.write_text(
        "".join(
            f"/v1/ops/projects?limit=50&country_code={country}&sector={sector}&sort=-total_amount\n"
            for country in COUNTRIES[:4]
            for sector in SECTORS
        )
    )
    return file


def measure_pages(context: BenchmarkContext) -> None:
    """Measure filtered, sorted pages of 50 with one write in a hundred requests."""
    paths = write_page_paths(context.folder / "pages.txt")
    name = "page of 50 of 100k, filtered and sorted, 1 % writes, 64"
    compare_with_hello(context, name, 64, "mixed.lua", str(paths))


def measure_first_pages(server: Server, figures: Figures, size: str) -> None:
    """Measure uncached first pages of an idle server.

    The table has the median of the plain list, and the others as its detail.
    """
    kinds = {
        "in order of creation": "total_amount[gte]={}",
        "filtered and sorted": "country_code=ESP&sector=wind&sort=-total_amount&dscr[gte]=0.{:06d}",
        "sorted alone": "sort=-total_amount&total_amount[gte]={}",
    }
    times_by_kind = {
        kind: server.time_requests_ms(
            f"/v1/ops/projects?limit=50&{query.format(n)}" for n in range(21)
        )
        for kind, query in kinds.items()
    }
    plain, *others = ((kind, times[len(times) // 2]) for kind, times in times_by_kind.items())
    detail = "; ".join(f"{kind} {median:.1f} ms" for kind, median in others)
    figures.add(f"first page, idle, {size} projects", f"{plain[1]:.1f} ms", detail)


def measure_first_page(context: BenchmarkContext) -> None:
    """Measure uncached first pages of an idle server with 100k projects."""
    measure_first_pages(context.spawn, context.figures, "100k")


def measure_post(context: BenchmarkContext) -> None:
    """Measure durable POST at 16, 64 and 256 connections."""
    for connections in (16, 64, 256):
        name = f"POST durable, {connections}"
        sample = compare_with_hello(context, name, connections, "post.lua", post=True)
        if connections == 64:
            context.figures.add("p99 of POST at 64", f"{sample.p99_ms:.0f} ms")


def measure_endurance(context: BenchmarkContext) -> None:
    """Measure the slowest commit in a minute of load."""
    sample = run_wrk(context.spawn, "post.lua", connections=64, seconds=60)
    context.figures.add(
        "worst commit in 60 s of load at 64", f"{sample.max_ms:.0f} ms", format_sample(sample)
    )


def measure_live(context: BenchmarkContext) -> None:
    """Measure `/monitoring/live` while four clients list pages with distinct filters."""
    with ThreadPoolExecutor(1) as executor:
        listing = executor.submit(run_wrk, context.spawn, "lists.lua", connections=4, seconds=6)
        time.sleep(0.5)
        times = context.spawn.time_requests_ms("/monitoring/live" for _ in range(1000))
        lists = listing.result()
    context.figures.add(
        "`/monitoring/live` p99 beside four listing clients",
        f"{times[990]:.1f} ms",
        f"p50 {times[500]:.1f} ms; pages of 500: {format_sample(lists)}",
    )


def measure_import(context: BenchmarkContext) -> None:
    """Measure the import of 100k NDJSON projects over HTTP."""
    cpu = context.spawn.cpu_s()
    rate = import_rows(context.spawn, ROWS, context.folder)
    cost = (context.spawn.cpu_s() - cpu) / ROWS * 1e6
    name = "import of 100k NDJSON projects over HTTP"
    context.figures.add(name, f"{rate:,.0f}/s", f"CPU of the service {cost:.0f} µs a row")


def measure_bare_import(folder: Path, figures: Figures) -> None:
    """Measure DuckDB alone: `read_json` of the same rows into a keyed table."""
    import duckdb

    upload = folder / "rows.ndjson"
    database = duckdb.connect(str(folder / "bare.duckdb"))
    started = time.perf_counter()
    database.execute(
        "create table bare (number bigint primary key, project_name varchar, total_amount "
        "decimal(22,4), currency_code varchar, country_code varchar, sector varchar, "
        "maturity_years integer, dscr decimal(18,8), description varchar)"
    )
    database.execute(
        "insert into bare select row_number() over (), * from read_json(?, format="
        "'newline_delimited', columns={project_name:'varchar', total_amount:'decimal(22,4)', "
        "currency_code:'varchar', country_code:'varchar', sector:'varchar', maturity_years:"
        "'integer', dscr:'decimal(18,8)', description:'varchar'})",
        [str(upload)],
    )
    elapsed_s = time.perf_counter() - started
    database.close()
    figures.add(
        "DuckDB's `read_json` of the same rows into a keyed table", f"{ROWS / elapsed_s:,.0f}/s"
    )


def measure_start(folder: Path, figures: Figures) -> None:
    """Measure start to ready with an empty store, the median of three, and memory then."""
    times, memory = [], 0.0
    for number in range(3):
        (folder / f"empty-{number}").mkdir()
        with create_spawn_server(folder / f"empty-{number}") as server:
            times.append(server.ready_s)
            time.sleep(1)
            memory = server.rss_mb()
    figures.add("ready with an empty store", f"{sorted(times)[1]:.2f} s")
    figures.add("resident memory then", f"{memory:.0f} MB")


async def amend_projects(path: Path, interval: int) -> int:
    """Give every `interval`-th project a second version; return their number."""
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    active = await store.active()
    schema_version = active.schema.version if active else 0
    count, after = 0, None
    while True:
        # Ten thousand at a time: a page read waits for the state tables to catch up.
        projects: list[StoredAggregate[Any]] = []
        while len(projects) < AMENDMENT_BATCH:
            page = await store.page(Query(limit=MAX_LIMIT, after=after))
            projects += page.items[::interval]
            after = page.next
            if after is None:
                break
        for at in range(0, len(projects), 1000):
            await store.commit(build_amendment(projects[at : at + 1000], schema_version))
        count += len(projects)
        if after is None:
            break
    await store.close()
    return count


def build_amendment(projects: Sequence[StoredAggregate[Any]], schema_version: int) -> Change:
    """Return a change that gives each of these projects a second version."""
    return Change(
        writes=tuple(
            Write("project", s.id, 1, msgspec.structs.replace(s.state, maturity_years=Decimal(20)))
            for s in projects
        ),
        events=tuple(
            DomainEvent(
                type="project.amended", kind="project", id=s.id, changed=("maturity_years",)
            )
            for s in projects
        ),
        actor="bench",
        schema_version=schema_version,
    )


def measure_million(folder: Path, figures: Figures) -> None:
    """Measure start, memory and first pages with a million projects, a tenth amended."""
    with create_spawn_server(folder) as server:
        for seed in range(MILLION // ROWS):
            import_rows(server, ROWS, folder, seed)
    amendments = asyncio.run(amend_projects(folder / "spawn.duckdb", 10))
    name = "ready with 1M projects and their history"
    with create_spawn_server(folder) as server:
        ready_s, memory = server.ready_s, server.rss_mb()
        size = (folder / "spawn.duckdb").stat().st_size / 1e9
        detail = f"{MILLION + amendments:,} changes, {size:.1f} GB, {memory:.0f} MB resident"
        figures.add(name, f"{ready_s:.2f} s", detail)
        measure_first_pages(server, figures, "1M")


MEASUREMENTS: dict[str, Callable[[BenchmarkContext], None]] = {
    "get": measure_get,
    "pages": measure_pages,
    "first": measure_first_page,
    "live": measure_live,
    "post": measure_post,
    "endurance": measure_endurance,
}


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--only", default=",".join(("start", "import", *MEASUREMENTS)))
    parser.add_argument("--million", action="store_true")
    options = parser.parse_args()
    selection = options.only.split(",")
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="spawn-bench-") as name:
        folder = Path(name)
        if "start" in selection:
            measure_start(folder, figures)
        if {"import", *MEASUREMENTS}.intersection(selection):
            (folder / "store").mkdir()
            with create_hello_server() as hello, create_spawn_server(folder / "store") as spawn:
                context = BenchmarkContext(hello, spawn, options.seconds, folder, figures)
                measure_import(context)
                if "import" in selection:
                    measure_bare_import(folder, figures)
                for key, measure in MEASUREMENTS.items():
                    if key in selection:
                        measure(context)
        if options.million:
            (folder / "million").mkdir()
            measure_million(folder / "million", figures)
    print(f"\n{figures.table()}")


if __name__ == "__main__":
    main()
