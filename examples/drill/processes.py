"""Processes of the drill: an ontology server and a service on a file."""

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

PROJECT_SCHEMA = "project_schema"
FACILITY_SCHEMA = "facility_schema"
SCHEMAS = "/v1/governance/schemas"
SCHEMA = f"{SCHEMAS}/{PROJECT_SCHEMA}"
REFRESH_S = 1.5
"""Seconds between two requests to the registry, plus or minus a quarter."""

TIMEOUT_S = 60.0
"""Seconds after which the drill fails a wait."""

_POLL_INTERVAL_S = 0.02
START_TIMEOUT_S = 300.0
"""Seconds that a start may take on a machine that other work fills."""


class Violation(Exception):
    """Violation of a rule that the drill checks."""


class DrillProcesses:
    """A service and its ontology server, each a process, with one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "service.log"
        ontology_port, self._port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._ontology_url = f"http://127.0.0.1:{ontology_port}"
        self._service: subprocess.Popen[bytes] | None = None
        self._ontology = _start_spawn(
            ["ontology-server", "--port", str(ontology_port)], {}, folder / "ontology.log"
        )
        self.http = httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False)
        self._registry = httpx.AsyncClient(base_url=self._ontology_url, timeout=30, trust_env=False)
        self.is_killed = False

    # -- processes ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the service and wait until it is ready."""
        settings = {
            "SPAWN_PORT": str(self._port),
            "SPAWN_STORAGE_URL": f"duckdb:///{self._folder}/drill.duckdb",
            "SPAWN_ONTOLOGY_URL": self._ontology_url,
            "SPAWN_SCHEMAS": f"facility={FACILITY_SCHEMA}",
            "SPAWN_SCHEMA_REFRESH_S": str(REFRESH_S),
            "SPAWN_RATE_LIMIT": "1000000",
            "SPAWN_AUTH": "off",
        }
        self._service = _start_spawn(["serve"], settings, self._log)
        await wait_until(self._is_ready, "the service is ready", within_s=START_TIMEOUT_S)
        self.is_killed = False

    async def _is_ready(self) -> bool:
        if self._service is not None and self._service.poll() is not None:
            raise Violation(f"the service ended by itself:\n{self._log.read_text()[-2000:]}")
        try:
            return (await self.http.get("/monitoring/ready")).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """Kill the service with SIGKILL."""
        if self._service is not None:
            self.is_killed = True
            self._service.kill()
            self._service.wait()

    async def close(self) -> int:
        """Stop both; return the exit code of the service."""
        await self.http.aclose()
        await self._registry.aclose()
        self._ontology.kill()
        self._ontology.wait()
        if self._service is None:
            return 0
        self._service.send_signal(signal.SIGTERM)
        return self._service.wait(60)

    # -- the registry ------------------------------------------------------------------------

    async def is_registry_ready(self) -> bool:
        """Whether the ontology server responds."""
        try:
            return (await self._registry.get("/health")).is_success
        except httpx.TransportError:
            return False

    async def publish(self, version: int, document: bytes, schema_id: str = PROJECT_SCHEMA) -> None:
        """Publish any document under a number, replacing an earlier one."""
        await self._registry.put("/drill", json={"accept_invalid": True})
        await self._registry.delete(f"/schemas/{schema_id}/versions/{version}")
        await self._put(schema_id, version, document)

    async def publish_at_once(
        self, documents: dict[int, bytes], facility_documents: dict[int, bytes] | None = None
    ) -> None:
        """Publish versions so that no refresh comes between them: responses wait meanwhile."""
        await self._registry.put("/drill", json={"accept_invalid": True, "hang": True})
        for version, document in documents.items():
            await self._put(PROJECT_SCHEMA, version, document)
        for version, document in (facility_documents or {}).items():
            await self._put(FACILITY_SCHEMA, version, document)
        await self._registry.put("/drill", json={"accept_invalid": True})

    async def _put(self, schema_id: str, version: int, document: bytes) -> None:
        response = await self._registry.put(
            f"/schemas/{schema_id}/versions/{version}",
            content=document,
            headers={"Content-Type": "application/json"},
        )
        response.raise_for_status()

    async def delete_version(self, version: int, schema_id: str = PROJECT_SCHEMA) -> None:
        """Delete a published version."""
        response = await self._registry.delete(f"/schemas/{schema_id}/versions/{version}")
        response.raise_for_status()

    # -- state of the service ----------------------------------------------------------------

    async def get_json(self, path: str, **parameters: Any) -> Any:
        """Return the JSON of a GET, which must succeed."""
        headers = {"Accept": "application/json"}
        response = await self.http.get(path, params=parameters, headers=headers)
        if not response.is_success:
            raise Violation(
                f"GET {path} responded with {response.status_code}: {response.text[:300]}"
            )
        return response.json()

    async def active_version(self, schema_id: str = PROJECT_SCHEMA) -> int:
        """Return the active version."""
        return int((await self.get_json(f"{SCHEMAS}/{schema_id}"))["version"])

    async def candidates(self, schema_id: str = PROJECT_SCHEMA) -> dict[int, dict[str, Any]]:
        """Return the versions that were not adopted, by number."""
        items = (await self.get_json(f"{SCHEMAS}/{schema_id}/candidates"))["items"]
        return {item["version"]: item for item in items}

    async def schema_health(self) -> dict[str, Any]:
        """Return the schema check of the health report."""
        check: dict[str, Any] = (await self.http.get("/monitoring/health")).json()["checks"][
            "schema"
        ]
        return check

    async def sum_metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        text = (await self.http.get("/monitoring/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def build_document(
    version: int, columns: list[dict[str, Any]], schema_id: str = PROJECT_SCHEMA
) -> bytes:
    """Return a schema document."""
    document = {"id": schema_id, "version": version, "name": schema_id, "columns": columns}
    return json.dumps(document).encode()


async def wait_until(
    condition: Callable[[], Awaitable[bool]], description: str, *, within_s: float = TIMEOUT_S
) -> float:
    """Wait until a condition holds and return the seconds that it took.

    Raises:
        Violation: it does not hold in time.
    """
    started_s = time.monotonic()
    while not await condition():
        if time.monotonic() - started_s > within_s:
            raise Violation(f"timeout after {within_s:g} s: {description}")
        await asyncio.sleep(_POLL_INTERVAL_S)
    return time.monotonic() - started_s


def free_port() -> int:
    """Return a loopback port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_spawn(
    arguments: list[str], settings: dict[str, str], log: Path
) -> "subprocess.Popen[bytes]":
    """Run `spawn` with these settings alone."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SPAWN_")
    }
    with log.open("ab") as log_file:
        return subprocess.Popen(
            [sys.executable, "-m", "spawn.entrypoints.cli", *arguments],
            env={**environment, **settings},
            stdout=log_file,
            stderr=log_file,
        )
