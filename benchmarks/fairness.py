"""Fairness benchmark: a good client alone, then beside each kind of hostile client.

    python -m benchmarks.fairness [--seconds 6] [--only idle_sockets,…]

The good client has an address of its own and sends a read by id, a filtered page and a command in
turn, 50 a second. Its p99, of all and of the reads, beside a hostile client is compared with that
alone, measured before and after. The hostile client is a process of its own with another address;
the statuses that it got are printed. Settings are the defaults. The floods of reads and of commands
run against Litestar's bare "hello JSON" too, which has neither limits nor turns. The last flood is
wrk with commands on ten times the connections that saturate the service; what it is rejected does
not count.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import quantiles

import httpx

from benchmarks.http import create_spawn_server, generate_rows
from benchmarks.load import Server, create_hello_server, run_wrk

ROWS = 20_000
GOOD_ADDRESS, HOSTILE_ADDRESS = "127.0.0.2", "127.0.0.3"
INTERVAL_S = 0.02
WARM_UP_S = 3.0
IDLE_RETURN_S = 15.0
READS = slice(0, 2)
"""Places of the reads among the requests of the good client."""

PROJECT = next(iter(generate_rows(1, seed=1))).strip()


def encode(method: str, path: str, body: bytes = b"", *fields: str) -> bytes:
    """Return one request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *fields]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def connect(port: int, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection from an address."""
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> int:
    """Send a request, read its response and return the status."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length or 0))
    return int(head[9:12])


# -- the good client ----------------------------------------------------------------------------


@dataclass
class Latencies:
    """Latencies in milliseconds, and failed requests."""

    milliseconds: list[float] = field(default_factory=list)
    of_reads: list[float] = field(default_factory=list)
    errors: int = 0

    @property
    def p99_ms(self) -> float:
        """The 99th percentile."""
        return quantiles(self.milliseconds, n=100)[98]

    @property
    def reads_p99_ms(self) -> float:
        """The 99th percentile of the reads, which wait for no disk."""
        return quantiles(self.of_reads, n=100)[98]

    @property
    def p50_ms(self) -> float:
        """The median."""
        return quantiles(self.milliseconds, n=2)[0]


def encode_good_requests(project_id: str) -> tuple[bytes, ...]:
    """Return the requests of the good client, reads first."""
    return (
        encode("GET", f"/v1/ops/projects/{project_id}"),
        encode("GET", "/v1/ops/projects?country_code=ESP&limit=20"),
        encode("POST", "/v1/ops/projects", PROJECT),
    )


async def run_good(port: int, requests: Sequence[bytes], seconds: float) -> Latencies:
    """Send requests at intervals and measure them; connect again after a failure."""
    reads = range(*READS.indices(len(requests)))
    latencies, end, number = Latencies(), time.monotonic() + seconds, 0
    connection = await connect(port, GOOD_ADDRESS)
    while time.monotonic() < end:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(10):
                status = await exchange(*connection, requests[number % len(requests)])
            latencies.errors += status >= 400
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError):
            latencies.errors += 1
            connection = await connect(port, GOOD_ADDRESS)
        latencies.milliseconds.append((time.perf_counter() - began) * 1000)
        if number % len(requests) in reads:
            latencies.of_reads.append(latencies.milliseconds[-1])
        number += 1
        await asyncio.sleep(max(0.0, INTERVAL_S - (time.perf_counter() - began)))
    return latencies


# -- hostile clients ----------------------------------------------------------------------------


async def repeat(work: Callable[[], Awaitable[None]], count: int) -> None:
    """Run as many tasks that repeat the work for ever, whatever becomes of it."""

    async def run() -> None:
        while True:
            with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
                await work()
            await asyncio.sleep(0.05)

    await asyncio.gather(*(run() for _ in range(count)))


async def stay_connected(port: int) -> None:
    """Hold a connection that sends nothing, until the service ends it."""
    reader, writer = await connect(port, HOSTILE_ADDRESS)
    try:
        await reader.read()
    finally:
        writer.close()
    # A socket that the service closed comes back much later: this shape is idle, it does not flood.
    await asyncio.sleep(IDLE_RETURN_S)


async def send_and_wait(port: int, request: bytes, then: bytes = b"", pause_s: float = 5.0) -> None:
    """Send bytes, then more of them a byte at a time, until the connection ends."""
    reader, writer = await connect(port, HOSTILE_ADDRESS)
    try:
        writer.write(request)
        while not reader.at_eof():
            if then:
                writer.write(then)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    if not await reader.read(1024):
                        return
    finally:
        writer.close()


STATUSES: Counter[int] = Counter()
"""Statuses that this hostile process got."""


async def send_for_ever(port: int, get_request: Callable[[], bytes]) -> None:
    """Send one request after another on one connection."""
    reader, writer = await connect(port, HOSTILE_ADDRESS)
    try:
        while True:
            STATUSES[await exchange(reader, writer, get_request())] += 1
    finally:
        writer.close()


async def never_read(port: int) -> None:
    """Request all projects and read none."""
    _, writer = await connect(port, HOSTILE_ADDRESS)
    writer.write(encode("GET", "/v1/data/projects.ndjson"))
    await asyncio.sleep(3600)


SLOW_HEAD = (
    b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: %b\r\nContent-Length: 9999\r\n\r\n{"
)
NDJSON = b"application/x-ndjson"
UPLOAD = encode("POST", "/v1/ops/imports", b"").replace(
    b"\r\n\r\n", b"\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n"
)

AMOUNTS = count(1_000)


def flood(connections: int, get_request: Callable[[], bytes]) -> Callable[[int], Awaitable[None]]:
    """Return a shape that sends requests on connections one after another."""
    return lambda port: repeat(lambda: send_for_ever(port, get_request), connections)


def encode_costly_filter() -> bytes:
    """Return a request for a page that no earlier request had."""
    query = f"sort=-total_amount&total_amount[gte]={next(AMOUNTS)}"
    return encode("GET", f"/v1/ops/projects?{query}")


SHAPES: dict[str, Callable[[int], Awaitable[None]]] = {
    "idle_sockets": lambda port: repeat(lambda: stay_connected(port), 10_000),
    "half_heads": lambda port: repeat(
        lambda: send_and_wait(port, b"GET / HTTP/1.1\r\nHost: loc", b"a"), 2_000
    ),
    "slow_bodies": lambda port: repeat(
        lambda: send_and_wait(port, SLOW_HEAD % (b"/v1/ops/projects", b"application/json"), b" "),
        600,
    ),
    "slow_uploads": lambda port: repeat(
        lambda: send_and_wait(port, SLOW_HEAD % (b"/v1/ops/imports", NDJSON), b" "), 600
    ),
    "unread_responses": lambda port: repeat(lambda: never_read(port), 200),
    "streams": lambda port: repeat(
        lambda: send_and_wait(port, encode("GET", "/v1/events/stream")), 400
    ),
    "job_bursts": flood(64, lambda: UPLOAD % len(PROJECT) + PROJECT),
    "costly_filters": flood(64, encode_costly_filter),
    "read_flood": flood(256, lambda: encode("GET", "/v1/ops/projects?limit=1")),
    "command_flood": flood(256, lambda: encode("POST", "/v1/ops/projects", PROJECT)),
}
HELLO_SHAPES = {
    "read_flood": flood(256, lambda: encode("GET", "/hello")),
    "command_flood": flood(256, lambda: encode("POST", "/hello", PROJECT)),
}
HELLO_REQUESTS = (
    encode("GET", "/hello"),
    encode("GET", "/hello"),
    encode("POST", "/hello", PROJECT),
)


def run_hostile(name: str, port: int, *, is_of_hello: bool) -> None:
    """Be hostile until SIGTERM, and print the statuses."""
    signal.signal(signal.SIGTERM, lambda *_: print_statuses_and_exit())
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    shape = (HELLO_SHAPES if is_of_hello else SHAPES)[name]
    asyncio.run(shape(port))  # type: ignore[arg-type]  # coroutine functions


def print_statuses_and_exit() -> None:
    """Print how often each status came; the process ends at once, with all its connections."""
    print(
        ", ".join(f"{times} of {status}" for status, times in sorted(STATUSES.items())), flush=True
    )
    os._exit(0)


def create_default_server(folder: Path) -> Server:
    """Return the service with the default budgets, on a new file."""
    return Server(
        [sys.executable, "-m", "spawn.entrypoints.cli", "serve"],
        "/monitoring/ready",
        SPAWN_PORT="{port}",
        SPAWN_STORAGE_URL=f"duckdb:///{folder}/spawn.duckdb",
        SPAWN_AUTH="off",
    )


# -- measurements -------------------------------------------------------------------------------


def create_project(server: Server) -> str:
    """Import the portfolio, and return the id of one more project."""
    types = {"content-type": NDJSON.decode()}
    with httpx.Client(base_url=server.url, timeout=120) as client:
        job = client.post(
            "/v1/ops/imports", content=b"".join(generate_rows(ROWS)), headers=types
        ).headers["location"]
        while client.get(job).json()["status"] in {"queued", "running"}:
            time.sleep(0.2)
        created = client.post("/v1/ops/projects", json=json.loads(PROJECT))
        return str(created.json()["project_id"])


def measure_beside(
    port: int, name: str, requests: Sequence[bytes], seconds: float, *flags: str
) -> tuple[Latencies, str]:
    """Measure the good client beside a hostile one, and return the statuses of that too."""
    command = [sys.executable, "-m", "benchmarks.fairness", "--hostile", name, *flags]
    hostile = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(WARM_UP_S)
        latencies = asyncio.run(run_good(port, requests, seconds))
    finally:
        hostile.terminate()
        statuses = hostile.communicate()[0].decode().strip()
    return latencies, statuses


def measure_shape(
    port: int, name: str, requests: Sequence[bytes], seconds: float, *flags: str
) -> None:
    """Measure the good client alone, beside a hostile one and alone, and print a line."""
    asyncio.run(run_good(port, requests, WARM_UP_S))
    before = asyncio.run(run_good(port, requests, seconds))
    beside, statuses = measure_beside(port, name, requests, seconds, *flags)
    time.sleep(WARM_UP_S)
    after = asyncio.run(run_good(port, requests, seconds))
    alone_ms = (before.p99_ms + after.p99_ms) / 2
    reads_alone_ms = (before.reads_p99_ms + after.reads_p99_ms) / 2
    print(
        f"| {name}{' of bare hello' if flags else ''} | {beside.p50_ms:.1f} ms"
        f" | {beside.p99_ms:.1f} ms | {beside.p99_ms / alone_ms:.2f} of {alone_ms:.1f} ms"
        f" | {beside.reads_p99_ms:.1f} of {reads_alone_ms:.1f} ms"
        f" | {beside.errors} | {statuses} |",
        flush=True,
    )


def measure_shapes(names: list[str], seconds: float) -> None:
    """Print the table of hostile clients."""
    columns = ("beside", "p50", "p99", "of alone", "p99 of reads", "errors", "hostile statuses")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            with create_default_server(Path(folder) / name) as server:
                requests = encode_good_requests(create_project(server))
                measure_shape(server.port, name, requests, seconds)
            if name in HELLO_SHAPES:
                with create_hello_server() as server:
                    measure_shape(server.port, name, HELLO_REQUESTS, seconds, "--hello")


def measure_flood(seconds: float) -> None:
    """Print the rate of commands at saturation, and with ten times the connections."""
    with tempfile.TemporaryDirectory() as folder, create_spawn_server(Path(folder)) as server:
        run_wrk(server, "post.lua", connections=64, seconds=2)
        capacity = run_wrk(server, "post.lua", connections=64, seconds=seconds)
        flood = run_wrk(server, "post.lua", connections=640, seconds=seconds)
        goodput = flood.per_s - flood.errors / seconds
        print(
            f"capacity {capacity.per_s:,.0f}/s at 64 connections;"
            f" {goodput:,.0f}/s at 640 ({goodput / capacity.per_s:.0%}), p99 {flood.p99_ms:.0f} ms"
        )


def main() -> None:
    """Measure, or be a hostile client."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--only", default=",".join(SHAPES))
    parser.add_argument("--hostile", default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--hello", action="store_true")
    arguments = parser.parse_args()
    if arguments.hostile:
        run_hostile(arguments.hostile, arguments.port, is_of_hello=arguments.hello)
        return
    measure_shapes(
        [name for name in arguments.only.split(",") if name in SHAPES], arguments.seconds
    )
    measure_flood(arguments.seconds)


if __name__ == "__main__":
    main()
