"""Event benchmark: throughput and lag of relay, stream and webhook.

    python -m benchmarks.events [--events 100000] [--clients 100] [--rate 500] [--seconds 10]

The relay is measured in a process of its own over a journal that an import filled. The stream and
the webhook are measured against the service as shipped; clients, receiver and writers share the
machine with it. Lag is from the recorded time of an event to its arrival, by the same clock.
"""

import argparse
import asyncio
import base64
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from loguru import logger

from benchmarks.http import create_spawn_server, import_rows
from benchmarks.load import Server, free_port
from spawn.adapters.publishers.log import BATCH_SIZE, LogPublisher
from spawn.application.events.journal_watch import JournalWatch
from spawn.application.events.relay import Relay
from spawn.entrypoints.composition import open_dependencies
from spawn.entrypoints.logging import log_line
from spawn.entrypoints.settings import Settings
from spawn.ports.publishers import DeliveryOptions

PROJECT = {"project_name": "Sierra Wind II", "total_amount": "125000000.00", "dscr": 1.35}
WRITERS = 16
WEBHOOK_SETTINGS = (
    "SPAWN_EVENTS_URL",
    "SPAWN_WEBHOOK_SECRETS_FILE",
    "SPAWN_WEBHOOK_ALLOWED_NETWORKS",
)
WARM_UP_CREATES = 5
MEASURED_CREATES = 50


def print_line(name: str, text: str) -> None:
    """Print one line of the table."""
    print(f"{name:<44} {text}", flush=True)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition on counters of this process by polling."""
    while not condition():  # noqa: ASYNC110 -- an asyncio.Event per message would be measured too
        await asyncio.sleep(0.005)


# -- the relay ------------------------------------------------------------------------------


async def measure_relay(folder: Path, level: str) -> None:
    """Measure the relay of all events of the file to the log publisher."""
    logger.remove()
    with open(os.devnull, "w") as null_file:  # noqa: ASYNC230, PTH123 -- before anything is measured
        encode = msgspec.json.Encoder(enc_hook=str).encode

        def sink(message: Any) -> None:
            null_file.write(encode(log_line(message.record)).decode())

        logger.add(sink, level=level, format="{message}")
        settings = Settings(storage_url=f"duckdb:///{folder}/spawn.duckdb")
        async with open_dependencies(settings) as dependencies:
            options = DeliveryOptions(name="log", batch=BATCH_SIZE, from_oldest=True)
            journal_watch = JournalWatch(dependencies.reads)
            relay = Relay(dependencies, [LogPublisher(options)], journal_watch)
            await relay.start()
            started_s, cpu = time.perf_counter(), time.process_time()
            task = asyncio.create_task(relay.run())
            await relay.drain()
            elapsed_s, cpu = time.perf_counter() - started_s, time.process_time() - cpu
            task.cancel()
            number = (await relay.delivery_statuses())[0].delivered
    each = cpu / number * 1e6
    print_line(
        f"relay to the log at {level}",
        f"{number / elapsed_s:9.0f} events/s  {each:6.1f} µs CPU each",
    )


# -- writers --------------------------------------------------------------------------------


class Connection:
    """A kept-alive HTTP connection that posts one project at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        body = json.dumps(PROJECT).encode()
        self._request = (
            b"POST /v1/ops/projects HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def post(self) -> None:
        """Create one project."""
        self._writer.write(self._request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 201"), head
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await self._reader.readexactly(length)


async def write_at(port: int, rate: float, seconds: float) -> float:
    """Create projects at a steady rate; return the achieved rate per second."""
    connections = [Connection(port) for _ in range(WRITERS)]
    for connection in connections:
        await connection.open()
    started_s = time.perf_counter()
    number = int(rate * seconds)

    async def work(connection: Connection, first: int) -> None:
        for turn in range(first, number, WRITERS):
            await asyncio.sleep(started_s + turn / rate - time.perf_counter())
            await connection.post()

    await asyncio.gather(*(work(one, first) for first, one in enumerate(connections)))
    return number / (time.perf_counter() - started_s)


# -- the stream -----------------------------------------------------------------------------


class Follower:
    """Client of the stream that counts messages and optionally records their lag."""

    def __init__(self, port: int, after: str | None, *, records_lag: bool) -> None:
        self._port = port
        self._path = "/v1/events/stream" + (f"?after={after}" if after else "")
        self._records_lag = records_lag
        self.messages = 0
        self.lags_ms: list[float] = []

    async def run(self, ready: asyncio.Event | None = None) -> None:
        """Follow until cancelled."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        request = f"GET {self._path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        writer.write(request.encode())
        await reader.readuntil(b"\n\n")
        if ready is not None:
            ready.set()
        tail = b""
        try:
            while chunk := await reader.read(1 << 20):
                self.messages += (tail + chunk).count(b"\ndata: ")
                tail = chunk[-6:]
                if self._records_lag:
                    self._record_lag(chunk)
        finally:
            writer.close()

    def _record_lag(self, chunk: bytes) -> None:
        now = time.time()
        for part in chunk.split(b'"time":"')[1:]:
            if len(part) < 27:
                continue  # the rest arrives with the next chunk
            recorded = datetime.fromisoformat(part[:27].decode()).timestamp()
            self.lags_ms.append((now - recorded) * 1000)


def compute_percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


async def measure_live(server: Server, clients: int, rate: float, seconds: float) -> None:
    """Measure the fan-out of a steady load, and the lag of one client."""
    followers = [Follower(server.port, None, records_lag=n == 0) for n in range(clients)]
    ready = [asyncio.Event() for _ in followers]
    tasks = [asyncio.create_task(f.run(r)) for f, r in zip(followers, ready, strict=True)]
    await asyncio.gather(*(one.wait() for one in ready))
    started_s, cpu = time.perf_counter(), server.cpu_s()
    commits_per_s = await write_at(server.port, rate, seconds)
    expected = int(rate * seconds)
    await wait_until(lambda: min(follower.messages for follower in followers) >= expected)
    elapsed_s, cpu = time.perf_counter() - started_s, server.cpu_s() - cpu
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    total, lags = expected * clients, followers[0].lags_ms
    print_line(
        f"stream to {clients} clients at {commits_per_s:.0f} commits/s",
        f"{total / elapsed_s:9.0f} messages/s  {cpu / total * 1e6:6.1f} µs CPU each",
    )
    print_lag("  lag of the stream", lags)


def print_lag(name: str, lags_ms: Sequence[float]) -> None:
    """Print the median and the 99th percentile of the lag."""
    p50, p99 = compute_percentile(lags_ms, 0.5), compute_percentile(lags_ms, 0.99)
    print_line(name, f"p50 {p50:7.1f}  p99 {p99:7.1f} ms")


async def measure_catch_up(server: Server, clients: int, after: str, events: int) -> None:
    """Measure many clients that read the same history at once."""
    followers = [Follower(server.port, after, records_lag=False) for _ in range(clients)]
    started_s, cpu = time.perf_counter(), server.cpu_s()
    tasks = [asyncio.create_task(follower.run()) for follower in followers]
    await wait_until(lambda: min(follower.messages for follower in followers) >= events)
    elapsed_s, cpu = time.perf_counter() - started_s, server.cpu_s() - cpu
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    total = clients * events
    print_line(
        f"stream of {events} old events to {clients} clients",
        f"{total / elapsed_s:9.0f} messages/s  {cpu / total * 1e6:6.1f} µs CPU each",
    )


# -- the webhook ----------------------------------------------------------------------------


@asynccontextmanager
async def run_receiver(lags_ms: list[float]) -> AsyncIterator[int]:
    """Run a webhook receiver on a free port that records the lag of each event."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                recorded = body.partition(b'"time":"')[2][:27].decode()
                lags_ms.append((time.time() - datetime.fromisoformat(recorded).timestamp()) * 1e3)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    port = free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield port


async def measure_webhook(folder: Path, rate: float, seconds: float) -> None:
    """Measure the lag of a webhook under a steady load."""
    secrets, lags = folder / "secrets", list[float]()
    secrets.write_text("whsec_" + base64.b64encode(b"a secret of this benchmark").decode())
    async with run_receiver(lags) as port:
        os.environ["SPAWN_EVENTS_URL"] = f"http://127.0.0.1:{port}/"
        os.environ["SPAWN_WEBHOOK_SECRETS_FILE"] = str(secrets)
        os.environ["SPAWN_WEBHOOK_ALLOWED_NETWORKS"] = "127.0.0.0/8"
        (folder / "webhook").mkdir()
        server = await asyncio.to_thread(create_spawn_server(folder / "webhook").__enter__)
        try:
            started_s, cpu = time.perf_counter(), server.cpu_s()
            commits_per_s = await write_at(server.port, rate, seconds)
            expected = int(rate * seconds)
            await wait_until(lambda: len(lags) >= expected)
            elapsed_s, cpu = time.perf_counter() - started_s, server.cpu_s() - cpu
        finally:
            await asyncio.to_thread(server.__exit__, None, None, None)
    each = cpu / expected * 1e6
    print_line(
        f"webhook at {commits_per_s:.0f} commits/s",
        f"{expected / elapsed_s:9.0f} events/s  {each:6.1f} µs CPU each, the POST included",
    )
    print_lag("  lag of the webhook", lags)


async def measure_writer_beside_webhooks(folder: Path, webhooks: int) -> None:
    """Measure single creates beside this many webhooks, with the secrets of `measure_webhook`."""
    lags, name = list[float](), f"beside-{webhooks}"
    async with run_receiver(lags) as port:
        urls = ",".join(f"http://127.0.0.1:{port}/{number}" for number in range(webhooks))
        if webhooks:
            os.environ["SPAWN_EVENTS_URL"] = urls
        else:  # a setting of webhooks without one ends the start
            for setting in WEBHOOK_SETTINGS:
                os.environ.pop(setting, None)
        (folder / name).mkdir()
        server = await asyncio.to_thread(create_spawn_server(folder / name).__enter__)
        try:
            connection, durations_ms = Connection(server.port), list[float]()
            await connection.open()
            for _ in range(WARM_UP_CREATES + MEASURED_CREATES):
                started_s = time.perf_counter()
                await connection.post()
                durations_ms.append((time.perf_counter() - started_s) * 1e3)
            # All deliveries would take minutes; this many show that every webhook is served.
            await wait_until(lambda: len(lags) >= webhooks)
        finally:
            await asyncio.to_thread(server.__exit__, None, None, None)
    print_lag(f"a create beside {webhooks} webhooks", durations_ms[WARM_UP_CREATES:])


# -- the table ------------------------------------------------------------------------------


def run_measurement(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run one measurement on the event loop that the service uses."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(coroutine)


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--webhooks", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spawn-bench-") as name:
        folder = Path(name)
        with create_spawn_server(folder) as server:
            import_rows(server, options.events, folder)
            _, _, page = server.request("GET", "/v1/events?limit=1")
            old = min(options.events - 1, 10_000)
            run_measurement(measure_catch_up(server, options.clients, page["next"], old))
            run_measurement(measure_live(server, options.clients, options.rate, options.seconds))
        for level in ("INFO", "DEBUG"):
            run_measurement(measure_relay(folder, level))
        run_measurement(measure_webhook(folder, options.rate, options.seconds))
        for webhooks in (options.webhooks, 0):
            run_measurement(measure_writer_beside_webhooks(folder, webhooks))


if __name__ == "__main__":
    main()
