"""The processes of the drill: an ontology server, a service on a file, and ways to ask them."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

SCHEMA = "/v1/governance/schemas/project_schema"
REFRESH_S = 1.5
"""Seconds between two looks at the registry, give or take a quarter."""

PATIENCE_S = 60.0
"""Seconds after which the drill gives up waiting for anything."""

_POLL_S = 0.02
_START_S = 120.0


class Violation(Exception):
    """Something that must not happen did."""


class Stage:
    """A service and its ontology server, each a process of its own over one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "service.log"
        ontology_port, self._port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._ontology_url = f"http://127.0.0.1:{ontology_port}"
        self._service: subprocess.Popen[bytes] | None = None
        self._ontology = _command(
            ["ontology-server", "--port", str(ontology_port)], {}, folder / "ontology.log"
        )
        self.http = httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False)
        self._registry = httpx.AsyncClient(base_url=self._ontology_url, timeout=30, trust_env=False)
        self.killed = False

    # -- processes ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the service, and wait until it says that it is ready."""
        settings = {
            "SPAWN_PORT": str(self._port),
            "SPAWN_STORAGE_URL": f"duckdb:///{self._folder}/drill.duckdb",
            "SPAWN_ONTOLOGY_URL": self._ontology_url,
            "SPAWN_SCHEMA_REFRESH_S": str(REFRESH_S),
            "SPAWN_RATE_LIMIT": "1000000",
        }
        self._service = _command(["serve"], settings, self._log)
        await until(self._ready, "the service is ready", within_s=_START_S)
        self.killed = False

    async def _ready(self) -> bool:
        if self._service is not None and self._service.poll() is not None:
            raise Violation(f"the service ended by itself:\n{self._log.read_text()[-2000:]}")
        try:
            return (await self.http.get("/monitoring/ready")).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """Kill -9: no farewell of any kind."""
        if self._service is not None:
            self.killed = True
            self._service.kill()
            self._service.wait()

    async def close(self) -> int:
        """End both; the exit code of the service."""
        await self.http.aclose()
        await self._registry.aclose()
        self._ontology.kill()
        self._ontology.wait()
        if self._service is None:
            return 0
        self._service.send_signal(signal.SIGTERM)
        return self._service.wait(60)

    # -- the registry ------------------------------------------------------------------------

    async def registry_answers(self) -> bool:
        """Whether the ontology server is there."""
        try:
            return (await self._registry.get("/health")).is_success
        except httpx.TransportError:
            return False

    async def publish(self, version: int, document: bytes) -> None:
        """Publish anything, sensible or not, under a number; what had it is withdrawn."""
        await self._registry.put("/drill", json={"accept_invalid": True})
        await self._registry.delete(f"/schemas/project_schema/versions/{version}")
        answer = await self._registry.put(
            f"/schemas/project_schema/versions/{version}",
            content=document,
            headers={"Content-Type": "application/json"},
        )
        answer.raise_for_status()

    async def withdraw(self, version: int) -> None:
        """Take a version back."""
        (
            await self._registry.delete(f"/schemas/project_schema/versions/{version}")
        ).raise_for_status()

    # -- what the service says ---------------------------------------------------------------

    async def json(self, path: str, **parameters: Any) -> Any:
        """The answer to a GET, which must succeed."""
        wanted = {"Accept": "application/json"}
        answer = await self.http.get(path, params=parameters, headers=wanted)
        if not answer.is_success:
            raise Violation(f"GET {path} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json()

    async def active(self) -> int:
        """The version that rules."""
        return int((await self.json(SCHEMA))["version"])

    async def waiting(self) -> dict[int, dict[str, Any]]:
        """The versions that were not adopted, by number."""
        items = (await self.json(f"{SCHEMA}/candidates"))["items"]
        return {item["version"]: item for item in items}

    async def health(self) -> dict[str, Any]:
        """The check of the schema."""
        check: dict[str, Any] = (await self.http.get("/monitoring/health")).json()["checks"][
            "schema"
        ]
        return check

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        text = (await self.http.get("/monitoring/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def a_document(version: int, columns: list[dict[str, Any]]) -> bytes:
    """A schema document."""
    document = {"id": "project_schema", "version": version, "name": "Projects", "columns": columns}
    return json.dumps(document).encode()


async def until(
    holds: Callable[[], Awaitable[bool]], what: str, *, within_s: float = PATIENCE_S
) -> float:
    """Wait until something holds; how many seconds that took.

    Raises:
        Violation: it does not in time.
    """
    began = time.monotonic()
    while not await holds():
        if time.monotonic() - began > within_s:
            raise Violation(f"after {within_s:g} s it is not so that {what}")
        await asyncio.sleep(_POLL_S)
    return time.monotonic() - began


def free_port() -> int:
    """A loopback port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(
    arguments: list[str], settings: dict[str, str], log: Path
) -> "subprocess.Popen[bytes]":
    """Run `spawn` with nothing but these settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SPAWN_")}
    with log.open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "spawn.entrypoints.cli", *arguments],
            env={**clean, **settings},
            stdout=sink,
            stderr=sink,
        )
