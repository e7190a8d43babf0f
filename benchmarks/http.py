"""The HTTP table: ratios, in one run, to Litestar's bare hello on the same machine.

    python -m benchmarks.http [--seconds 8] [--only get,post,…] [--million]

Each subject is measured between two runs of hello with the same method and number of connections;
its ratio is to their mean. Hosts, rate limiter, metrics and access log are on, as shipped; the
limiter's rate is set high enough never to refuse. The load generator is wrk, one thread.

A line is printed as soon as it is known, and the whole table in Markdown at the end. Everything
takes about four minutes; `--million` adds a million projects with their history, three more.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.load import Sample, Server, hello_server, wrk
from spawn.adapters.duckdb.store import open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.runtime import SystemClock
from spawn.domain.change import Change, Stored, Write
from spawn.domain.events.event import DomainEvent
from spawn.domain.query import MAX_LIMIT, Query

ROWS = 100_000
MILLION = 1_000_000
AMENDED_AT_ONCE = 10_000
COUNTRIES = ("ESP", "PRT", "FRA", "DEU", "ITA", "GBR", "USA", "BRA", "IND", "ZAF")
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
"""What is measured → what is to be reached, and what would be better still."""


@dataclass
class Figures:
    """What was measured so far, as lines of the table."""

    lines: list[str] = field(default_factory=list)

    def add(self, what: str, measured: str, detail: str = "") -> None:
        """Print a figure and keep it for the table."""
        target, stretch = GOALS.get(what, ("", ""))
        self.lines.append(f"| {what} | {measured} | {target} | {stretch} | {detail} |")
        print(f"{what:<58} {measured:>10}   {detail}", flush=True)

    def table(self) -> str:
        """Everything in Markdown."""
        head = ("| what | measured | target | stretch | detail |", "|---|---|---|---|---|")
        return "\n".join((*head, *self.lines))


@dataclass(frozen=True)
class Context:
    """What every measurement needs: both servers, the run's length and a scratch folder."""

    hello: Server
    spawn: Server
    seconds: float
    folder: Path
    figures: Figures


def spawn_server(folder: Path) -> Server:
    """The service as shipped, on a fresh or existing file in `folder`."""
    return Server(
        [sys.executable, "-m", "spawn.entrypoints.cli", "serve"],
        "/monitoring/ready",
        SPAWN_PORT="{port}",
        SPAWN_STORAGE_URL=f"duckdb:///{folder}/spawn.duckdb",
        SPAWN_ONTOLOGY_URL="bundled://",
        SPAWN_RATE_LIMIT="1000000",
        SPAWN_LOG_LEVEL="INFO",
    )


def ndjson(rows: int, seed: int = 7) -> Iterator[bytes]:
    """`rows` projects, one JSON object a line."""
    draw = random.Random(seed)
    for number in range(rows):
        yield (
            json.dumps(
                {
                    "project_name": f"Project {number:07d}",
                    "total_amount": f"{draw.lognormvariate(18.5, 1.57):.2f}",
                    "currency_code": "EUR",
                    "country_code": draw.choice(COUNTRIES),
                    "sector": draw.choice(SECTORS),
                    "maturity_years": draw.randint(10, 18),
                    "dscr": 1.35,
                    "description": "A synthetic project for measurement",
                }
            ).encode()
            + b"\n"
        )


def show(name: str, sample: Sample, ratio: float | None = None) -> None:
    """One line about a sample."""
    shown = f"{ratio:6.2f}" if ratio is not None else "     -"
    print(f"{name:<34} ratio {shown}  {told(sample)}", flush=True)


def told(sample: Sample) -> str:
    """A sample in words."""
    wrong = f", {sample.errors} errors" if sample.errors else ""
    return (
        f"{sample.per_s:,.0f}/s, p50 {sample.p50_ms:.1f}, p99 {sample.p99_ms:.0f},"
        f" max {sample.max_ms:.0f} ms, CPU {sample.cpu_us:.0f} µs{wrong}"
    )


def against_hello(
    context: Context, name: str, connections: int, script: str, *arguments: str, post: bool = False
) -> Sample:
    """Measure hello, the subject, hello; note the subject's ratio."""
    hello_file = context.folder / "hello.txt"
    hello_file.write_text("/hello\n")
    yardstick = ("post.lua", "/hello") if post else ("paths.lua", str(hello_file))

    def hello() -> Sample:
        return wrk(context.hello, *yardstick, connections=connections, seconds=context.seconds / 2)

    before = hello()
    subject = wrk(
        context.spawn, script, *arguments, connections=connections, seconds=context.seconds
    )
    after = hello()
    ratio = subject.per_s / ((before.per_s + after.per_s) / 2)
    cost = (before.cpu_us + after.cpu_us) / 2
    beside = f"hello {before.per_s:,.0f} and {after.per_s:,.0f}/s, CPU {cost:.0f} µs"
    context.figures.add(name, f"{ratio:.2f}", f"{told(subject)}; {beside}")
    return subject


def project_ids(server: Server, wanted: int) -> list[str]:
    """The first ids of the list."""
    ids: list[str] = []
    path = "/v1/ops/projects?limit=500&fields=project_id"
    while len(ids) < wanted:
        _, _, page = server.request("GET", path)
        ids += [item["project_id"] for item in page["items"]]
        if page["next"] is None:
            break
        path = f"/v1/ops/projects?limit=500&fields=project_id&after={page['next']}"
    return ids[:wanted]


def import_rows(server: Server, rows: int, folder: Path, seed: int = 7) -> float:
    """Import `rows` projects over HTTP; rows per second from the request to the finished job."""
    upload = folder / "rows.ndjson"
    with upload.open("wb") as file:
        file.writelines(ndjson(rows, seed))
    body = upload.read_bytes()
    started = time.perf_counter()
    request = urllib.request.Request(  # noqa: S310  # loopback
        server.url + "/v1/ops/imports",
        data=body,
        method="POST",
        headers={"Content-Type": "application/x-ndjson"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310  # loopback
        job = json.loads(answer.read())
    while job["status"] in {"queued", "running"}:
        time.sleep(0.02)
        _, _, job = server.request("GET", f"/v1/jobs/{job['job_id']}")
    took = time.perf_counter() - started
    if job["status"] != "succeeded":
        raise SystemExit(f"the import ended as {job}")
    return rows / took


def measure_get(context: Context) -> None:
    """GET by id and conditional GET, 64 connections."""
    paths = context.folder / "get.txt"
    ids = project_ids(context.spawn, 1000)
    # Each is read once before, so that what is measured is a project that is in use.
    context.spawn.timed_ms(f"/v1/ops/projects/{i}" for i in ids)
    paths.write_text("".join(f"/v1/ops/projects/{i}\n" for i in ids))
    against_hello(context, "GET by id, 64 connections", 64, "paths.lua", str(paths))
    conditional = context.folder / "conditional.txt"
    with conditional.open("w") as file:
        for i in ids[:200]:
            _, headers, _ = context.spawn.request("GET", f"/v1/ops/projects/{i}")
            file.write(f"/v1/ops/projects/{i}\t{headers['etag']}\n")
    against_hello(context, "304, 64", 64, "paths.lua", str(conditional))


def measure_pages(context: Context) -> None:
    """Filtered, sorted pages of 50 with one write in a hundred requests."""
    paths = context.folder / "pages.txt"
    paths.write_text(
        "".join(
            f"/v1/ops/projects?limit=50&country_code={country}&sector={sector}&sort=-total_amount\n"
            for country in COUNTRIES[:4]
            for sector in SECTORS
        )
    )
    name = "page of 50 of 100k, filtered and sorted, 1 % writes, 64"
    against_hello(context, name, 64, "mixed.lua", str(paths))


def first_pages(server: Server, figures: Figures, size: str) -> None:
    """First pages that no cache holds, idle: medians, in the table that of the plain list."""
    kinds = {
        "in order of creation": "total_amount[gte]={}",
        "filtered and sorted": "country_code=ESP&sector=wind&sort=-total_amount&dscr[gte]=0.{:06d}",
        "sorted alone": "sort=-total_amount&total_amount[gte]={}",
    }
    spent = {
        kind: server.timed_ms(f"/v1/ops/projects?limit=50&{query.format(n)}" for n in range(21))
        for kind, query in kinds.items()
    }
    plain, *others = ((kind, times[len(times) // 2]) for kind, times in spent.items())
    detail = "; ".join(f"{kind} {median:.1f} ms" for kind, median in others)
    figures.add(f"first page, idle, {size} projects", f"{plain[1]:.1f} ms", detail)


def measure_first_page(context: Context) -> None:
    """Uncached first pages at 100k projects, idle."""
    first_pages(context.spawn, context.figures, "100k")


def measure_post(context: Context) -> None:
    """Durable POST at 16, 64 and 256 connections."""
    for connections in (16, 64, 256):
        name = f"POST durable, {connections}"
        sample = against_hello(context, name, connections, "post.lua", post=True)
        if connections == 64:
            context.figures.add("p99 of POST at 64", f"{sample.p99_ms:.0f} ms")


def measure_endurance(context: Context) -> None:
    """The worst commit in a minute of load."""
    sample = wrk(context.spawn, "post.lua", connections=64, seconds=60)
    context.figures.add(
        "worst commit in 60 s of load at 64", f"{sample.max_ms:.0f} ms", told(sample)
    )


def measure_live(context: Context) -> None:
    """`/monitoring/live` while four clients list, each page under a filter of its own."""
    with ThreadPoolExecutor(1) as beside:
        listing = beside.submit(wrk, context.spawn, "lists.lua", connections=4, seconds=6)
        time.sleep(0.5)
        times = context.spawn.timed_ms("/monitoring/live" for _ in range(1000))
        lists = listing.result()
    context.figures.add(
        "`/monitoring/live` p99 beside four listing clients",
        f"{times[990]:.1f} ms",
        f"p50 {times[500]:.1f} ms; pages of 500: {told(lists)}",
    )


def measure_import(context: Context) -> None:
    """100k NDJSON projects over HTTP into the running service."""
    cpu = context.spawn.cpu_s()
    rate = import_rows(context.spawn, ROWS, context.folder)
    cost = (context.spawn.cpu_s() - cpu) / ROWS * 1e6
    name = "import of 100k NDJSON projects over HTTP"
    context.figures.add(name, f"{rate:,.0f}/s", f"CPU of the service {cost:.0f} µs a row")


def measure_bare_import(folder: Path, figures: Figures) -> None:
    """DuckDB alone: `read_json` of the same rows into a keyed table."""
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
    took = time.perf_counter() - started
    database.close()
    figures.add("DuckDB's `read_json` of the same rows into a keyed table", f"{ROWS / took:,.0f}/s")


def measure_start(folder: Path, figures: Figures) -> None:
    """Time from start to ready with an empty store, the median of three, and memory then."""
    times, memory = [], 0.0
    for number in range(3):
        (folder / f"empty-{number}").mkdir()
        with spawn_server(folder / f"empty-{number}") as server:
            times.append(server.ready_s)
            time.sleep(1)
            memory = server.rss_mb()
    figures.add("ready with an empty store", f"{sorted(times)[1]:.2f} s")
    figures.add("resident memory then", f"{memory:.0f} MB")


async def amend_some(path: Path, share: int) -> int:
    """Give every so many-th project a second version; how many."""
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    active = await store.active()
    generation = active.schema.version if active else 0
    amended, after = 0, None
    while True:
        # Ten thousand at a time: what reads a page waits for the state tables to catch up.
        chosen: list[Stored[Any]] = []
        while len(chosen) < AMENDED_AT_ONCE:
            page = await store.page(Query(limit=MAX_LIMIT, after=after))
            chosen += page.items[::share]
            after = page.next
            if after is None:
                break
        for at in range(0, len(chosen), 1000):
            await store.commit(amendment(chosen[at : at + 1000], generation))
        amended += len(chosen)
        if after is None:
            break
    await store.close()
    return amended


def amendment(projects: Sequence[Stored[Any]], generation: int) -> Change:
    """A change that gives each of these projects a second version."""
    return Change(
        writes=tuple(
            Write("project", s.id, 1, msgspec.structs.replace(s.state, maturity_years=20))
            for s in projects
        ),
        events=tuple(
            DomainEvent(
                type="project.amended", kind="project", id=s.id, changed=("maturity_years",)
            )
            for s in projects
        ),
        actor="bench",
        schema_version=generation,
    )


def measure_million(folder: Path, figures: Figures) -> None:
    """Start, memory and first pages with a million projects, a tenth of them amended once."""
    with spawn_server(folder) as server:
        for seed in range(MILLION // ROWS):
            import_rows(server, ROWS, folder, seed)
    amended = asyncio.run(amend_some(folder / "spawn.duckdb", 10))
    name = "ready with 1M projects and their history"
    with spawn_server(folder) as server:
        ready_s, memory = server.ready_s, server.rss_mb()
        size = (folder / "spawn.duckdb").stat().st_size / 1e9
        detail = f"{MILLION + amended:,} changes, {size:.1f} GB, {memory:.0f} MB resident"
        figures.add(name, f"{ready_s:.2f} s", detail)
        first_pages(server, figures, "1M")


MEASUREMENTS: dict[str, Callable[[Context], None]] = {
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
    wanted = options.only.split(",")
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="spawn-bench-") as name:
        folder = Path(name)
        if "start" in wanted:
            measure_start(folder, figures)
        if {"import", *MEASUREMENTS}.intersection(wanted):
            (folder / "store").mkdir()
            with hello_server() as hello, spawn_server(folder / "store") as spawn:
                context = Context(hello, spawn, options.seconds, folder, figures)
                measure_import(context)
                if "import" in wanted:
                    measure_bare_import(folder, figures)
                for key, measure in MEASUREMENTS.items():
                    if key in wanted:
                        measure(context)
        if options.million:
            (folder / "million").mkdir()
            measure_million(folder / "million", figures)
    print(f"\n{figures.table()}")


if __name__ == "__main__":
    main()
