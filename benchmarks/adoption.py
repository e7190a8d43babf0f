"""Benchmark of adoptions over HTTP: how long writes pause while a service adopts versions.

    python -m benchmarks.adoption --projects 100000 --directory /var/tmp/bench

A real service and a real ontology server. Clients create projects and read first pages, one
request after another, while ten versions are published and adopted in a row. The pause of an
adoption is the longest creation that overlaps it; before each, as much time passes without one,
whose longest creation says what the machine alone costs. Any response but 201 or 200 is a failure.
"""

import argparse
import asyncio
import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from benchmarks.evolution import SchemaChange, fill, generate_changes
from benchmarks.load import Server
from spawn.adapters.duckdb.store import open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.testing.storage_contract.harness import a_record
from spawn.testing.storage_contract.migrations import a_document

SCHEMA = "/v1/governance/schemas/project_schema"
PROJECT = json.dumps(
    {"project_name": "Sierra Wind II", "total_amount": "125000000.00", "currency_code": "EUR"}
)
TIGHTER = {"minimum", "pattern"}
"""Members that some of the changes add to columns."""

CLI = (sys.executable, "-m", "spawn.entrypoints.cli")


@dataclass
class Client:
    """A client on a thread of its own, which repeats one request."""

    port: int
    method: str
    path: str
    pause_s: float
    calls: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send requests until stopped; record the start and the end of each."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = PROJECT if self.method == "POST" else None
        headers = {"content-type": "application/json"} if body else {}
        while not self.stopped.wait(self.pause_s):
            started_s = time.perf_counter()
            try:
                connection.request(self.method, self.path, body, headers)
                response = connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            self.calls.append((started_s, time.perf_counter()))
            if response.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
                self.failures.append(f"{response.status} {text[:200]!r}")


def find_longest_ms(clients: Sequence[Client], method: str, since_s: float, until_s: float) -> str:
    """Return the longest call of a method that overlaps a time, in ms."""
    durations_s = [
        ended_s - started_s
        for client in clients
        if client.method == method
        for started_s, ended_s in client.calls[-20_000:]
        if started_s < until_s and ended_s > since_s
    ]
    return f"{max(durations_s, default=0) * 1000:.0f}"


def generate_compatible_changes() -> Iterator[SchemaChange]:
    """Yield the changes that the default mode adopts without a decision: no tighter rules."""
    for name, columns in generate_changes():
        if not name.startswith("tighten"):
            yield (
                name,
                [
                    {member: column[member] for member in column if member not in TIGHTER}
                    for column in columns
                ],
            )


def adopt(
    service: Server, ontology: Server, clients: Sequence[Client], version: int, change: SchemaChange
) -> str:
    """Publish a version, have it adopted, and return its line of the table."""
    name, columns = change
    path = f"/schemas/project_schema/versions/{version}"
    document = a_document(version, columns)
    ontology.request("PUT", path, document, content_type="application/json")
    quiet_s = time.perf_counter()
    time.sleep(1.5)
    started_s, cpu_s = time.perf_counter(), service.cpu_s()
    result = service.request("POST", f"{SCHEMA}/refresh", b"")[2]
    ended_s = time.perf_counter()
    # The service refreshes by itself too, and either may adopt.
    if service.request("GET", SCHEMA)[2]["version"] != version:
        raise SystemExit(f"{name}: {result}")
    before = find_longest_ms(clients, "POST", quiet_s, started_s)
    pause = find_longest_ms(clients, "POST", started_s, ended_s)
    read = find_longest_ms(clients, "GET", started_s, ended_s)
    used_s = service.cpu_s() - cpu_s
    load = os.getloadavg()[0]
    return (
        f"| {name} | {ended_s - started_s:.2f} | {used_s:.2f} | {before} → {pause} | {read}"
        f" | {load:.0f} |"
    )


async def create_store(path: Path, count: int) -> None:
    """Create a store with so many projects."""
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    await store.adopt(a_record())
    await fill(store, count)
    await store.close()


def serve(path: Path, ontology: Server) -> Server:
    """Return a service over a store."""
    settings: dict[str, Any] = {
        "SPAWN_PORT": "{port}",
        "SPAWN_STORAGE_URL": f"duckdb:///{path}",
        "SPAWN_ONTOLOGY_URL": ontology.url,
        "SPAWN_RATE_LIMIT": "1000000",
        "SPAWN_AUTH": "off",
        "SPAWN_LOG_LEVEL": "error",
    }
    return Server([*CLI, "serve"], "/monitoring/ready", **settings)


def measure(path: Path, writers: int) -> None:
    """Print the whole table, then the failures."""
    with ExitStack() as stack:
        ontology = Server([*CLI, "ontology-server", "--port", "{port}"], "/health")
        stack.enter_context(ontology)
        service = stack.enter_context(serve(path, ontology))
        post, page = "/v1/ops/projects", "/v1/ops/projects?limit=20&sort=-total_amount"
        clients = [Client(service.port, "POST", post, 0.002) for _ in range(writers)]
        clients.append(Client(service.port, "GET", page, 0.02))
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        print("| change | adoption, s | of which CPU | longest POST, ms | longest GET, ms | load |")
        print("|---" * 6 + "|", flush=True)
        try:
            for version, change in enumerate(generate_compatible_changes(), start=2):
                print(adopt(service, ontology, clients, version, change), flush=True)
        finally:
            for client in clients:
                client.stopped.set()
            for thread in threads:
                thread.join()
    failures = [failure for client in clients for failure in client.failures]
    calls = sum(len(client.calls) for client in clients)
    print(f"{calls:,} requests, {len(failures)} failed {failures[:3] or ''}")


def main() -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="adoption", description=__doc__)
    parser.add_argument("--projects", type=int, default=100_000)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    path = options.directory / "adoption.duckdb"
    for name in ("", ".wal", ".mark"):
        path.with_name(path.name + name).unlink(missing_ok=True)
    asyncio.run(create_store(path, options.projects))
    measure(path, options.writers)


if __name__ == "__main__":
    main()
