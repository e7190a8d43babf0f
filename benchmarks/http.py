"""The HTTP table: ratios, in one run, to Litestar's bare hello on the same machine.

    python -m benchmarks.http [--seconds 8] [--only get,post,…] [--million]

Each subject is measured between two runs of hello with the same method and number of connections;
its ratio is to their mean. Hosts, rate limiter, metrics and access log are on, as shipped; the
limiter's rate is set high enough never to refuse. The load generator is wrk, one thread.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Sample, Server, hello_server, wrk

ROWS = 100_000
COUNTRIES = ("ESP", "PRT", "FRA", "DEU", "ITA", "GBR", "USA", "BRA", "IND", "ZAF")
SECTORS = ("wind", "solar", "hydro", "road", "rail")


@dataclass(frozen=True)
class Context:
    """What every measurement needs: both servers, the run's length and a scratch folder."""

    hello: Server
    spawn: Server
    seconds: float
    folder: Path


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
    """One line of the table."""
    shown = f"{ratio:6.2f}" if ratio is not None else "     -"
    print(
        f"{name:<34} ratio {shown}  {sample.per_s:9.0f}/s  p50 {sample.p50_ms:7.2f}  "
        f"p99 {sample.p99_ms:7.2f}  max {sample.max_ms:8.2f} ms  {sample.cpu_us:6.0f} µs CPU"
        f"  errors {sample.errors}",
        flush=True,
    )


def against_hello(
    context: Context, name: str, connections: int, script: str, *arguments: str, post: bool = False
) -> Sample:
    """Measure hello, the subject, hello; print the subject's ratio."""
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
    show(name, subject, ratio)
    cost = (before.cpu_us + after.cpu_us) / 2
    print(f"{'':34} hello {before.per_s:.0f}, {after.per_s:.0f}/s, {cost:.0f} µs CPU")
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


def import_rows(server: Server, rows: int, folder: Path) -> float:
    """Import `rows` projects over HTTP; rows per second from the request to the finished job."""
    upload = folder / "rows.ndjson"
    with upload.open("wb") as file:
        file.writelines(ndjson(rows))
    started = time.perf_counter()
    request = urllib.request.Request(  # noqa: S310  # loopback
        server.url + "/v1/ops/imports",
        data=upload.read_bytes(),
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
    paths.write_text("".join(f"/v1/ops/projects/{i}\n" for i in ids))
    against_hello(context, "GET by id, 64", 64, "paths.lua", str(paths))
    conditional = context.folder / "conditional.txt"
    with conditional.open("w") as file:
        for i in ids[:200]:
            _, headers, _ = context.spawn.request("GET", f"/v1/ops/projects/{i}")
            file.write(f"/v1/ops/projects/{i}\t{headers['etag']}\n")
    against_hello(context, "304, 64", 64, "paths.lua", str(conditional))


def measure_pages(context: Context) -> None:
    """Filtered, sorted pages of 50 with one write in a hundred requests, and idle first pages."""
    paths = context.folder / "pages.txt"
    paths.write_text(
        "".join(
            f"/v1/ops/projects?limit=50&country_code={country}&sector={sector}&sort=-total_amount\n"
            for country in COUNTRIES[:4]
            for sector in SECTORS
        )
    )
    against_hello(context, "page of 50, 1 % writes, 64", 64, "mixed.lua", str(paths))


def first_page_ms(server: Server) -> float:
    """The median time of a first page that no cache holds, idle, in ms."""
    times = []
    for number in range(15):
        path = f"/v1/ops/projects?limit=50&total_amount[gte]={number}"
        started = time.perf_counter()
        server.request("GET", path)
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2] * 1e3


def measure_first_page(context: Context) -> None:
    """An uncached first page at 100k projects, idle."""
    print(f"{'first page, idle':<34} {first_page_ms(context.spawn):.1f} ms", flush=True)


def measure_post(context: Context) -> None:
    """Durable POST at 16, 64 and 256 connections."""
    for connections in (16, 64, 256):
        against_hello(context, f"POST durable, {connections}", connections, "post.lua", post=True)


def measure_endurance(context: Context) -> None:
    """The worst commit in a minute of load."""
    show(
        "POST durable, 64, 60 s",
        wrk(context.spawn, "post.lua", connections=64, seconds=60),
    )


def measure_live(context: Context) -> None:
    """`/monitoring/live` while four clients list."""
    stop = threading.Event()
    failures: list[int] = []

    def list_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            path = f"/v1/ops/projects?limit=500&sort=-total_amount&total_amount[gte]={number}"
            status, _, _ = context.spawn.request("GET", path)
            if status != 200:
                failures.append(status)

    clients = [threading.Thread(target=list_on) for _ in range(4)]
    for client in clients:
        client.start()
    live = context.folder / "live.txt"
    live.write_text("/monitoring/live\n")
    times = []
    for _ in range(500):
        started = time.perf_counter()
        context.spawn.request("GET", "/monitoring/live")
        times.append(time.perf_counter() - started)
    stop.set()
    for client in clients:
        client.join()
    times.sort()
    print(
        f"{'live beside four listing clients':<34} p50 {times[250] * 1e3:.1f}  "
        f"p99 {times[495] * 1e3:.1f} ms  failures {len(failures)}",
        flush=True,
    )


def measure_import(context: Context) -> None:
    """100k NDJSON projects over HTTP into the running service."""
    rate = import_rows(context.spawn, ROWS, context.folder)
    print(f"{'import of 100k NDJSON':<34} {rate:9.0f} rows/s", flush=True)


def measure_bare_import(folder: Path) -> None:
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
    print(f"{'  DuckDB read_json, keyed table':<34} {ROWS / took:9.0f} rows/s", flush=True)


def measure_start(folder: Path, *, name: str) -> None:
    """Time from start to ready, and idle memory."""
    with spawn_server(folder) as server:
        print(
            f"{'ready, ' + name:<34} {server.ready_s:9.2f} s   RSS {server.rss_mb():.0f} MB",
            flush=True,
        )


def measure_million(folder: Path) -> None:
    """Start, memory and first page with a million projects and their history."""
    with spawn_server(folder) as server:
        for _ in range(10):
            import_rows(server, ROWS, folder)
    measure_start(folder, name="1M projects")
    with spawn_server(folder) as server:
        print(f"{'first page, idle, 1M':<34} {first_page_ms(server):.1f} ms", flush=True)


MEASUREMENTS: dict[str, Callable[[Context], None]] = {
    "get": measure_get,
    "first": measure_first_page,
    "pages": measure_pages,
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
    with tempfile.TemporaryDirectory(prefix="spawn-bench-") as name:
        folder = Path(name)
        if "start" in wanted:
            (folder / "empty").mkdir()
            measure_start(folder / "empty", name="empty store")
        (folder / "store").mkdir()
        with hello_server() as hello, spawn_server(folder / "store") as spawn:
            context = Context(hello, spawn, options.seconds, folder)
            measure_import(context)
            if "import" in wanted:
                measure_bare_import(folder)
            for key, measure in MEASUREMENTS.items():
                if key in wanted:
                    measure(context)
        if options.million:
            (folder / "million").mkdir()
            measure_million(folder / "million")


if __name__ == "__main__":
    main()
