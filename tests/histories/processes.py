"""Service and ontology server of a run, each a process, and what befalls the service."""

import asyncio
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from tests.loopback import free_port

START_TIMEOUT_S = 600
_POLL_S = 0.03


def start_spawn(command: list[str], log: Path, **settings: str) -> "subprocess.Popen[bytes]":
    """Run `spawn` with these settings alone."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SPAWN_")}
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "spawn.entrypoints.cli", *command],
            env={**environment, **settings},
            stdout=file,
            stderr=file,
        )


class OntologyServer:
    """Registry that publishes ever wider versions of the schema."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        arguments = ["ontology-server", "--port", str(port)]
        self._process = start_spawn(arguments, folder / "ontology.log")
        self.version = 0

    async def publish_next(self) -> None:
        """Publish the next version, which adds a column with a default to all before."""
        self.version += 1
        columns = [
            {"name": f"level_{n}", "type": "integer", "required": True, "default": n}
            for n in range(2, self.version + 1)
        ]
        document = {"id": "project_schema", "name": "Projects", "columns": columns}
        content = json.dumps({**document, "version": self.version}).encode()
        path = f"/schemas/project_schema/versions/{self.version}"
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            await wait_until_ready(http, "/health")
            if self.version == 1:  # the bundled version has columns that this one lacks
                (await http.put("/drill", json={"accept_invalid": True})).raise_for_status()
                await http.delete(path)
            headers = {"Content-Type": "application/json"}
            response = await http.put(path, content=content, headers=headers)
            response.raise_for_status()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def _write_key(folder: Path) -> Path:
    """Write a key beside the folder of the store, which must not have it."""
    file = folder.with_name(f"{folder.name}.key")
    file.write_text(secrets.token_hex(32))
    return file


class FaultyService:
    """A service process on a file, and the faults that a round injects."""

    def __init__(self, folder: Path, ontology_url: str, *, is_encrypted: bool = False) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False)
        self.surprises: list[str] = []
        self.launched_s = 0.0
        self._log = folder / "service.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = {
            "SPAWN_PORT": str(port),
            "SPAWN_STORAGE_URL": f"duckdb:///{folder}/histories.duckdb",
            "SPAWN_ONTOLOGY_URL": ontology_url,
            "SPAWN_SCHEMA_REFRESH_S": "3600",  # a round asks for the refresh itself
            "SPAWN_RATE_LIMIT": "1000000",
            "SPAWN_LOG_LEVEL": "ERROR",
            "SPAWN_AUTH": "off",
        }
        if is_encrypted:
            self._settings["SPAWN_ENCRYPTION_KEY_FILE"] = str(_write_key(folder))

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "the service was not started"
        return self._process

    def _launch(self) -> None:
        self.launched_s = time.monotonic()
        self._process = start_spawn(["serve"], self._log, **self._settings)

    async def start(self) -> None:
        """Start the service and wait until it is ready."""
        self._launch()
        await wait_until_ready(self.http, "/monitoring/ready", self._running, self._log)

    async def close(self) -> None:
        await self.http.aclose()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    # -- faults ---------------------------------------------------------------------------------

    async def inject(self, fault: str, randomness: random.Random) -> None:
        """Inject a fault, and return once the service is ready again."""
        faults = {
            "kill": self._kill,
            "kill in recovery": self._kill_in_recovery,
            "term": self._terminate,
            "stop": self._pause,
        }
        await faults[fault](randomness)

    async def _kill(self, _: random.Random) -> None:
        self._running.send_signal(signal.SIGKILL)
        self._running.wait()
        await self.start()

    async def _kill_in_recovery(self, randomness: random.Random) -> None:
        """Kill the service, and once or twice more while it opens its file."""
        self._running.send_signal(signal.SIGKILL)
        self._running.wait()
        for _ in range(randomness.randint(1, 2)):
            wal = Path(self._settings["SPAWN_STORAGE_URL"].removeprefix("duckdb:///") + ".wal")
            before = _stamp(wal), _stamp(wal.with_suffix(".mark"))
            self._launch()
            # Recovery writes the log or the mark first of all; then any moment may be the last.
            while before == (_stamp(wal), _stamp(wal.with_suffix(".mark"))):
                if self._running.poll() is not None:
                    break
                await asyncio.sleep(0.002)
            await asyncio.sleep(randomness.uniform(0, 0.25))
            self._running.send_signal(signal.SIGKILL)
            self._running.wait()
        await self.start()

    async def _terminate(self, _: random.Random) -> None:
        self._running.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(self._running.wait, 300)
        if code != 0:
            self.surprises.append(f"the service ended with {code} after SIGTERM")
        await self.start()

    async def _pause(self, randomness: random.Random) -> None:
        """Stop the process for longer than the clients wait, and continue it."""
        self._running.send_signal(signal.SIGSTOP)
        await asyncio.sleep(randomness.uniform(0.2, 1.4))
        self._running.send_signal(signal.SIGCONT)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _read_end(log: Path | None) -> str:
    return log.read_text()[-3000:] if log else ""


async def wait_until_ready(
    http: httpx.AsyncClient,
    path: str,
    process: "subprocess.Popen[bytes] | None" = None,
    log: Path | None = None,
) -> None:
    """Wait until a GET succeeds."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            if process is not None and process.poll() is not None:
                raise AssertionError(f"the service ended: {_read_end(log)}")
            try:
                if (await http.get(path)).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(_POLL_S)
