"""Benchmark of the service with everything on, and of the cost of each switch.

    python -m benchmarks.switches [--seconds 6] [--only on,switches,half,soak] [--soak-minutes 10]

Everything on: API keys, limits, metrics, spans of a tenth of the requests to a collector, a line
of the access log for each request. Each ratio is to Litestar's bare hello in the same run. The cost
of a switch is the processor time of a request with everything on, less that without the switch;
encryption is added instead. Half load is half the rate that saturates the service, with random
pauses. The soak sends pages and 1 % writes at a third of that rate and prints the resident memory
each minute.
"""

import argparse
import secrets
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from benchmarks.http import import_rows, write_page_paths
from benchmarks.load import Sample, Server, create_hello_server, run_wrk

ROWS: Final = 20_000
CONNECTIONS: Final = 64
READ_IDS: Final = 1000
MAX_PAGE: Final = 500
SOAK_SHARE: Final = 1 / 3
MINUTE_S: Final = 60

ON: Final[Mapping[str, str]] = {
    "SPAWN_AUTH": "keys",
    "SPAWN_RATE_LIMIT": "1000000",
    "SPAWN_RATE_LIMIT_WRITES": "1000000",
    "SPAWN_RATE_LIMIT_ANALYSIS": "1000000",
    "SPAWN_RATE_LIMIT_EXPORTS": "1000000",
    "SPAWN_LOG_LEVEL": "INFO",
}
SWITCHES: Final[Mapping[str, Mapping[str, str]]] = {
    "keys": {"SPAWN_AUTH": "off"},
    "limits": dict.fromkeys((name for name in ON if "RATE_LIMIT" in name), "0"),
    "traces": {"SPAWN_OTLP_ENDPOINT": ""},
    "access log": {"SPAWN_LOG_LEVEL": "WARNING"},
}
"""Settings that switch one thing off."""


class Collector(BaseHTTPRequestHandler):
    """Collector that accepts every span."""

    def do_POST(self) -> None:
        """Accept a batch."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def run_collector() -> Iterator[str]:
    """Run a collector on a free port; yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@dataclass(frozen=True)
class Subject:
    """A running service, the header of its caller and files of paths."""

    server: Server
    header: str
    reads: Path
    pages: Path

    def load(self, script: str, *arguments: str, seconds: float) -> Sample:
        """Load the service with a script of wrk."""
        return run_wrk(
            self.server,
            script,
            *arguments,
            connections=CONNECTIONS,
            seconds=seconds,
            headers=(self.header,) if self.header else (),
        )


def create_service(folder: Path, settings: Mapping[str, str]) -> Server:
    """Return the service on a file of `folder`."""
    return Server(
        [sys.executable, "-m", "spawn.entrypoints.cli", "serve"],
        "/monitoring/ready",
        SPAWN_PORT="{port}",
        SPAWN_STORAGE_URL=f"duckdb:///{folder}/spawn.duckdb",
        SPAWN_ONTOLOGY_URL="bundled://",
        **{name: value for name, value in settings.items() if value},
    )


@contextmanager
def run_service(settings: Mapping[str, str]) -> Iterator[Subject]:
    """Run the service with projects in a new folder."""
    with tempfile.TemporaryDirectory(prefix="spawn-bench-") as name:
        folder = Path(name)
        (folder / "store").mkdir()
        if "SPAWN_ENCRYPTION_KEY_FILE" in settings:
            key_file = folder / "encryption.key"
            key_file.write_text(secrets.token_hex(32))
            settings = {**settings, "SPAWN_ENCRYPTION_KEY_FILE": str(key_file)}
        with create_service(folder / "store", settings) as server:
            key_file = folder / "store" / "first-key.txt"
            authorization = f"Bearer {key_file.read_text().strip()}" if key_file.exists() else ""
            headers = {"Authorization": authorization} if authorization else {}
            import_rows(server, ROWS, folder, headers=headers)
            yield Subject(
                server,
                f"Authorization: {authorization}" if authorization else "",
                write_reads(server, headers, folder / "reads.txt"),
                write_page_paths(folder / "pages.txt"),
            )


def write_reads(server: Server, headers: Mapping[str, str], file: Path) -> Path:
    """Write the paths of the first projects, each of them read once before."""
    paths: list[str] = []
    after = ""
    while len(paths) < READ_IDS:
        path = f"/v1/ops/projects?limit={MAX_PAGE}&fields=project_id{after}"
        _, _, page = server.request("GET", path, None, **headers)
        paths += [f"/v1/ops/projects/{item['project_id']}" for item in page["items"]]
        after = f"&after={page['next']}"
    for path in paths:
        server.request("GET", path, None, **headers)
    file.write_text("".join(f"{path}\n" for path in paths))
    return file


def measure_ratios(hello: Server, subject: Subject, seconds: float, folder: Path) -> None:
    """Print the ratios of reads, repeated pages and durable commands to hello."""
    hello_file = folder / "hello.txt"
    hello_file.write_text("/hello\n")
    for name, hello_arguments, arguments in (
        ("GET by id", ("paths.lua", str(hello_file)), ("paths.lua", str(subject.reads))),
        ("repeated page", ("paths.lua", str(hello_file)), ("paths.lua", str(subject.pages))),
        ("POST durable", ("post.lua", "/hello"), ("post.lua",)),
    ):
        before = run_wrk(hello, *hello_arguments, connections=CONNECTIONS, seconds=seconds / 2)
        sample = subject.load(*arguments, seconds=seconds)
        after = run_wrk(hello, *hello_arguments, connections=CONNECTIONS, seconds=seconds / 2)
        ratio = sample.per_s / ((before.per_s + after.per_s) / 2)
        print(f"| {name} | {ratio:.2f} | {describe(sample)} |", flush=True)


def describe(sample: Sample) -> str:
    """Return a sample as text."""
    return (
        f"{sample.per_s:,.0f}/s, p50 {sample.p50_ms:.1f}, p99 {sample.p99_ms:.1f} ms,"
        f" CPU {sample.cpu_us:.0f} µs, {sample.errors} errors"
    )


def measure_costs(subject: Subject, seconds: float) -> dict[str, float]:
    """Return the processor time of a read, a page and a command in µs."""
    return {
        "GET by id": subject.load("paths.lua", str(subject.reads), seconds=seconds).cpu_us,
        "repeated page": subject.load("paths.lua", str(subject.pages), seconds=seconds).cpu_us,
        "POST durable": subject.load("post.lua", seconds=seconds).cpu_us,
    }


def measure_switches(settings: Mapping[str, str], seconds: float) -> None:
    """Print the costs with everything on, and what each switch adds to them."""
    with run_service(settings) as subject:
        on = measure_costs(subject, seconds)
    print_costs("everything on, µs", on)
    for name, off in SWITCHES.items():
        with run_service({**settings, **off}) as subject:
            without = measure_costs(subject, seconds)
        print_costs(f"cost of {name}", {key: on[key] - without[key] for key in on})
    with run_service({**settings, "SPAWN_ENCRYPTION_KEY_FILE": ""}) as subject:
        encrypted = measure_costs(subject, seconds)
    print_costs("cost of encryption", {key: encrypted[key] - on[key] for key in on})


def print_costs(name: str, costs: Mapping[str, float]) -> None:
    """Print a line of the table of costs."""
    print(f"| {name} | " + " | ".join(f"{cost:.1f}" for cost in costs.values()) + " |", flush=True)


def measure_half_load(subject: Subject, seconds: float) -> float:
    """Print the latency of reads at half the rate that saturates; return that rate."""
    full = subject.load("paths.lua", str(subject.reads), seconds=seconds)
    pause_ms = CONNECTIONS / (full.per_s / 2) * 1000
    half = subject.load("paths.lua", str(subject.reads), f"{pause_ms:.3f}", seconds=seconds * 2)
    print(f"| reads at half load | {half.per_s / full.per_s:.2f} of the rate | {describe(half)} |")
    return full.per_s


def soak(subject: Subject, per_s: float, minutes: int) -> None:
    """Print the resident memory in each minute of a mixed load."""
    pause_ms = CONNECTIONS / (per_s * SOAK_SHARE) * 1000
    arguments = ("mixed.lua", str(subject.pages), f"{pause_ms:.3f}")
    with ThreadPoolExecutor(1) as executor:
        load = executor.submit(subject.load, *arguments, seconds=minutes * MINUTE_S)
        for minute in range(minutes):
            print(f"| minute {minute} | {subject.server.rss_mb():.0f} MB |", flush=True)
            threading.Event().wait(MINUTE_S)
        print(
            f"| minute {minutes} | {subject.server.rss_mb():.0f} MB | {describe(load.result())} |"
        )


def main() -> None:
    """Run the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--only", default="on,encrypted,switches,half,soak")
    parser.add_argument("--soak-minutes", type=int, default=10)
    options = parser.parse_args()
    selection = set(options.only.split(","))
    with (
        tempfile.TemporaryDirectory(prefix="spawn-bench-") as name,
        run_collector() as collector,
        create_hello_server() as hello,
    ):
        settings = {**ON, "SPAWN_OTLP_ENDPOINT": collector}
        if selection & {"on", "half", "soak"}:
            with run_service(settings) as subject:
                if "on" in selection:
                    measure_ratios(hello, subject, options.seconds, Path(name))
                if selection & {"half", "soak"}:
                    per_s = measure_half_load(subject, options.seconds)
                if "soak" in selection:
                    soak(subject, per_s, options.soak_minutes)
        if "encrypted" in selection:
            with run_service({**settings, "SPAWN_ENCRYPTION_KEY_FILE": ""}) as subject:
                measure_ratios(hello, subject, options.seconds, Path(name))
        if "switches" in selection:
            measure_switches(settings, options.seconds)


if __name__ == "__main__":
    main()
