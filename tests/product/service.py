"""Process of `spawn serve` on a real file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import tenacity
from tests.loopback import free_port, wait_until_listening


class Service:
    """One `spawn serve` (or `demo`) process on a loopback port; `startup_s` limits its start."""

    startup_s = 60.0

    def __init__(self, folder: Path, *, command: str = "serve", **settings: str) -> None:
        self.folder = folder
        self._command = command
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"service-{self.port}.log"
        base_environment = {k: v for k, v in os.environ.items() if not k.startswith("SPAWN_")}
        self.environment = {
            **base_environment,
            "SPAWN_PORT": str(self.port),
            "SPAWN_STORAGE_URL": f"duckdb:///{folder}/spawn.duckdb",
            "SPAWN_ONTOLOGY_URL": "bundled://",
            "SPAWN_RATE_LIMIT": "1000000",
            "SPAWN_AUTH": "off",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until the service is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "spawn.entrypoints.cli", self._command],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        try:
            self._await_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        def raise_if_over() -> None:
            if process.poll() is not None:
                raise AssertionError(f"the service ended:\n{self.log.read_text()}")

        wait_until_listening(self.port, raise_if_over, self.startup_s)
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(httpx.TransportError),
            wait=tenacity.wait_fixed(0.05),
            stop=tenacity.stop_after_delay(self.startup_s),
            reraise=True,
        ):
            with attempt:
                raise_if_over()
                httpx.get(f"{self.url}/monitoring/ready", timeout=10).raise_for_status()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Send SIGTERM, wait, and return the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, signal_number: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(signal_number)
        code = self._process.wait(60)
        self._process = None
        return code
