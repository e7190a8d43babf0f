"""Benchmark of data in and out: exports of every format, and imports through a mapping.

    python -m benchmarks.exports [--rows 1000000] [--folder F] [--only fill,csv,…]

Each export is measured between two bare fetches of the same rows by DuckDB alone, from a copy of
the file; its ratio is to their mean. Both are wall time, the client's reading included. Memory is
that of the service with its child processes, sampled five times a second.

A folder that is given keeps the store, so that later runs need no `fill`.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.http import create_spawn_server, generate_rows, list_project_ids
from benchmarks.load import Server

ROWS = 1_000_000
MAPPED_ROWS = 200_000
INTERVAL_S = 0.02
SAMPLE_S = 0.2
READ_BYTES = 1 << 20
GOALS = {
    "arrow": 0.5,
    "arrow without pyarrow": 0.5,
    "parquet": 0.25,
    "parquet without pyarrow": 0.25,
    "csv": 0.05,
}
FETCH_ROWS = 250_000
FETCH = """
import sys, time, duckdb
with duckdb.connect(sys.argv[1], read_only=True, config={"threads": 1}) as engine:
    engine.execute("set enable_progress_bar = false")
    started_s, cpu_s, rows = time.perf_counter(), time.process_time(), 0
    cursor = engine.execute(f"select * from projects limit {sys.argv[2]}")
    while batch := cursor.fetchmany(10_000):
        rows += len(batch)
    print(rows / (time.perf_counter() - started_s), rows / (time.process_time() - cpu_s))
"""
WITHOUT_PYARROW = """
import sys
sys.modules["pyarrow"] = None
from spawn.entrypoints.cli import main
sys.exit(main(["serve"]))
"""
MAPPING = {
    "thousands": ",",
    "on_existing": "update",
    "columns": [
        {"attribute": "project_name", "column": "Name", "whitespace": "collapse"},
        {"attribute": "total_amount", "column": "Cost (m)", "unit_factor": "1000000"},
        {"attribute": "currency_code", "constant": "EUR"},
        {"attribute": "country_code", "column": "Country"},
        {"attribute": "cod_date", "column": "Start", "date_formats": ["%d/%m/%Y", "year"]},
    ],
    "key": {"source": "bench", "column": "Id"},
}


@dataclass
class ResidentMemory:
    """Resident memory in MB of a service with its child processes, sampled."""

    server: Server
    samples_mb: list[float] = field(default_factory=list)

    def read_mb(self) -> float:
        """Return the memory now."""
        pages, pids = 0, [self.server.pid]
        while pids:
            folder = Path(f"/proc/{pids.pop()}")
            try:
                pages += int((folder / "statm").read_text().split()[1])
                for task in (folder / "task").iterdir():
                    pids += map(int, (task / "children").read_text().split())
            except (FileNotFoundError, ProcessLookupError):
                continue
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @contextmanager
    def sampled(self) -> Iterator[None]:
        """Sample while the block runs."""
        ended = threading.Event()

        def sample() -> None:
            while not ended.wait(SAMPLE_S):
                self.samples_mb.append(self.read_mb())

        thread = threading.Thread(target=sample)
        self.samples_mb.append(self.read_mb())
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def describe(self) -> str:
        """Return the memory at the start, and the most in each third of the time."""
        third = max(len(self.samples_mb) // 3, 1)
        thirds = (self.samples_mb[i * third : (i + 1) * third or None] for i in range(3))
        peaks = ", ".join(f"{max(part, default=0):.0f}" for part in thirds)
        return f"memory {self.samples_mb[0]:.0f} MB, then at most {peaks} MB in each third"


def report(name: str, figure: str, detail: str = "") -> None:
    """Print one line of the table, with the load of the machine."""
    print(f"| {name} | {figure} | {detail}; load {os.getloadavg()[0]:.1f} |", flush=True)


def fetch_bare(database: Path) -> tuple[float, float]:
    """Return rows per second, and per second of CPU, of a bare fetch in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", FETCH, str(database), str(FETCH_ROWS)],
        capture_output=True,
        check=True,
        text=True,
    )
    per_s, per_cpu_s = map(float, run.stdout.split())
    return per_s, per_cpu_s


def read_all(url: str) -> int:
    """Read a response to its end; return its size in bytes."""
    size = 0
    with urllib.request.urlopen(url, timeout=1800) as response:  # noqa: S310  # loopback
        while chunk := response.read(READ_BYTES):
            size += len(chunk)
    return size


def create_server_without_pyarrow(folder: Path) -> Server:
    """Return a service whose process finds no pyarrow."""
    server = create_spawn_server(folder)
    server.command = [sys.executable, "-c", WITHOUT_PYARROW]
    return server


def measure_export(folder: Path, rows: int, suffix: str, *, has_pyarrow: bool = True) -> None:
    """Measure one export between two bare fetches."""
    create = create_spawn_server if has_pyarrow else create_server_without_pyarrow
    before = fetch_bare(folder / "copy.duckdb")
    with create(folder) as server:
        memory = ResidentMemory(server)
        cpu_s, started_s = server.cpu_s(), time.perf_counter()
        with memory.sampled():
            size = read_all(f"{server.url}/v1/data/projects.{suffix}")
        elapsed_s, cpu_s = time.perf_counter() - started_s, server.cpu_s() - cpu_s
    after = fetch_bare(folder / "copy.duckdb")
    bare, bare_cpu = ((a + b) / 2 for a, b in zip(before, after, strict=True))
    name = suffix if has_pyarrow else f"{suffix} without pyarrow"
    detail = (
        f"target {GOALS.get(name, 'none')}; {rows / elapsed_s:,.0f} rows/s, bare fetch {bare:,.0f};"
        f" by CPU {rows / cpu_s / bare_cpu:.2f}, {cpu_s / rows * 1e6:.0f} µs a row;"
        f" {size / 1e6:.0f} MB; {memory.describe()}"
    )
    report(name, f"{rows / elapsed_s / bare:.2f}", detail)


def measure_others(folder: Path) -> None:
    """Measure reads, pages and commands at a fixed rate, alone and beside an export, twice."""
    with create_spawn_server(folder) as server:
        ids = list_project_ids(server, 500)
        for _ in range(2):
            alone = time_others(server, ids, lambda: time.sleep(10))
            for suffix in ("csv", "parquet"):
                url = f"{server.url}/v1/data/projects.{suffix}?total_amount[gte]=150000000"
                beside = time_others(server, ids, partial(read_all, url))
                for kind, times_ms in beside.items():
                    p99_ms, alone_ms = percentile(times_ms), percentile(alone[kind])
                    detail = f"p99 alone {alone_ms:.1f} ms, beside {p99_ms:.1f} ms"
                    detail += f"; p50 {alone[kind][len(alone[kind]) // 2]:.1f} and"
                    detail += f" {times_ms[len(times_ms) // 2]:.1f} ms; {len(times_ms)} requests"
                    report(f"{kind} beside {suffix}", f"{p99_ms / alone_ms:.1f}", detail)


def percentile(times_ms: list[float]) -> float:
    """Return the 99th percentile of sorted times."""
    return times_ms[len(times_ms) * 99 // 100]


def time_others(
    server: Server, ids: list[str], work: Callable[[], object]
) -> dict[str, list[float]]:
    """Return sorted times in ms of the requests of each kind while the work runs."""
    times_ms: dict[str, list[float]] = {"GET by id": [], "page": [], "POST": []}
    ended, source = threading.Event(), random.Random(1)
    project = next(iter(generate_rows(1))).strip()

    def run() -> None:
        try:
            work()
        finally:
            ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    while not ended.is_set():
        for kind, times in times_ms.items():
            started_s = time.perf_counter()
            if kind == "POST":
                server.request("POST", "/v1/ops/projects", project, Content_Type="application/json")
            elif kind == "page":
                bound = f"{source.randrange(10**6) / 100:.2f}"
                server.request("GET", f"/v1/ops/projects?limit=50&total_amount[gte]={bound}")
            else:
                server.request("GET", f"/v1/ops/projects/{source.choice(ids)}")
            elapsed_s = time.perf_counter() - started_s
            times.append(elapsed_s * 1e3)
            time.sleep(max(INTERVAL_S - elapsed_s, 0))
    thread.join()
    return {kind: sorted(ms) for kind, ms in times_ms.items()}


def import_file(server: Server, upload: Path, query: str, media_type: str) -> float:
    """Import a file that is streamed; return seconds up to the end of the job."""
    started_s = time.perf_counter()
    with upload.open("rb") as body:
        request = urllib.request.Request(  # noqa: S310  # loopback
            f"{server.url}/v1/ops/imports{query}",
            data=body,
            method="POST",
            headers={"Content-Type": media_type, "Content-Length": str(upload.stat().st_size)},
        )
        with urllib.request.urlopen(request, timeout=600) as response:  # noqa: S310  # loopback
            job = json.loads(response.read())
    while job["status"] in {"queued", "running"}:
        time.sleep(0.05)
        _, _, job = server.request("GET", f"/v1/jobs/{job['job_id']}")
    if job["status"] != "succeeded":
        raise SystemExit(f"the import ended as {job}")
    return time.perf_counter() - started_s


def fill(folder: Path, rows: int) -> None:
    """Import the projects, and keep a copy of the store for bare fetches."""
    upload = folder / "rows.ndjson"
    with upload.open("wb") as file:
        file.writelines(generate_rows(rows))
    with create_spawn_server(folder) as server:
        memory, cpu_s = ResidentMemory(server), server.cpu_s()
        with memory.sampled():
            elapsed_s = import_file(server, upload, "", "application/x-ndjson")
        cpu_us = (server.cpu_s() - cpu_s) / rows * 1e6
        detail = f"CPU of the service {cpu_us:.0f} µs a row; {memory.describe()}"
        report(f"import of {rows:,} NDJSON projects", f"{rows / elapsed_s:,.0f}/s", detail)
    shutil.copy(folder / "spawn.duckdb", folder / "copy.duckdb")


def write_register(upload: Path, rows: int, edition: int) -> None:
    """Write a register as CSV; every row of another edition has another cost."""
    with upload.open("w") as file:
        file.write("Register of plants,,,,\n\nId,Name,Cost (m),Country,Start\n")
        for n in range(rows):
            cost = f"{1_000 + n % 5_000 + edition:,}.25"
            file.write(
                f'P-{n},Plant  {n},"{cost}",ESP,{n % 28 + 1:02d}/{n % 12 + 1:02d}/{1980 + n % 40}\n'
            )


def measure_mapped_imports() -> None:
    """Measure a register through a mapping, and a second edition that changes every row."""
    with tempfile.TemporaryDirectory(prefix="spawn-bench-") as name:
        folder = Path(name)
        with create_spawn_server(folder) as server:
            server.request(
                "PUT",
                "/v1/ops/import-mappings/bench",
                json.dumps(MAPPING).encode(),
                Content_Type="application/json",
            )
            for edition, label in enumerate(("CSV with a mapping", "second edition of it")):
                upload = folder / "register.csv"
                write_register(upload, MAPPED_ROWS, edition)
                cpu_s = server.cpu_s()
                elapsed_s = import_file(server, upload, "?mapping=bench", "text/csv")
                cpu_us = (server.cpu_s() - cpu_s) / MAPPED_ROWS * 1e6
                detail = f"{MAPPED_ROWS:,} rows; CPU of the service {cpu_us:.0f} µs a row"
                report(label, f"{MAPPED_ROWS / elapsed_s:,.0f}/s", detail)


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--folder", type=Path)
    parts: dict[str, Callable[[Path, int], None]] = {
        "fill": fill,
        "mapping": lambda _folder, _rows: measure_mapped_imports(),
        **{
            suffix: partial(measure_export, suffix=suffix)
            for suffix in ("arrow", "parquet", "csv", "ndjson", "xlsx")
        },
        **{
            f"nanoarrow {suffix}": partial(measure_export, suffix=suffix, has_pyarrow=False)
            for suffix in ("arrow", "parquet")
        },
        "others": lambda folder, _rows: measure_others(folder),
    }
    parser.add_argument("--only", default=",".join(parts))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spawn-bench-") as name:
        for part in options.only.split(","):
            parts[part](options.folder or Path(name), options.rows)


if __name__ == "__main__":
    main()
