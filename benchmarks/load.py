"""Start a server, load it with wrk, and tell what it did and what it cost."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
RESULT = re.compile(r"^RESULT (\d+) (\d+) ([\d.]+) ([\d.]+) ([\d.]+) (\d+)$", re.MULTILINE)


def free_port() -> int:
    """A loopback port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Sample:
    """One load run: requests per second, latencies in ms, errors, server CPU per request in µs."""

    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    cpu_us: float


class Server:
    """A server process on a free port, ready when its path answers 200."""

    def __init__(self, command: Sequence[str], ready_path: str, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [part.replace("{port}", str(self.port)) for part in command]
        self._ready_path = ready_path
        self._environment = {
            **os.environ,
            **{k: v.replace("{port}", str(self.port)) for k, v in environment.items()},
        }
        self.ready_s = 0.0

    def __enter__(self) -> Self:
        """Start and wait until ready; `ready_s` says how long that took."""
        started = time.perf_counter()
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.DEVNULL
        )
        while not self._answers():
            if self._process.poll() is not None or time.perf_counter() - started > 120:
                raise SystemExit(f"{self._command} did not become ready")
            time.sleep(0.005)
        self.ready_s = time.perf_counter() - started
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it politely, then by force."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + self._ready_path, timeout=5) as answer:  # noqa: S310  # loopback
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def cpu_s(self) -> float:
        """User and system time of the process so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def rss_mb(self) -> float:
        """Resident memory in MB (10⁶ bytes)."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def timed_ms(self, paths: Iterable[str]) -> list[float]:
        """How long each GET took over one connection, ms, sorted."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        spent: list[float] = []
        for path in paths:
            started = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            spent.append((time.perf_counter() - started) * 1e3)
            if answer.status != http.HTTPStatus.OK:
                raise SystemExit(f"GET {path} answered {answer.status}")
        connection.close()
        return sorted(spent)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """One plain request: status, headers in lower case, decoded JSON."""
        request = urllib.request.Request(  # noqa: S310  # loopback
            self.url + path,
            data=body,
            method=method,
            headers={k.replace("_", "-"): v for k, v in headers.items()},
        )
        with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310  # loopback
            raw = answer.read()
            return (
                answer.status,
                {k.lower(): v for k, v in answer.headers.items()},
                json.loads(raw) if raw else None,
            )


def hello_server() -> Server:
    """The yardstick server."""
    return Server([sys.executable, "-m", "benchmarks.hello", "{port}"], "/hello")


def wrk(server: Server, script: str, *arguments: str, connections: int, seconds: float) -> Sample:
    """Load the server with wrk and one of the scripts in `lua/`, from one thread."""
    binary = shutil.which("wrk")
    if binary is None:
        raise SystemExit("the load generator wrk is missing: install Debian's package `wrk`")
    whole = max(round(seconds), 1)
    cpu = server.cpu_s()
    run = subprocess.run(
        [
            *(
                binary,
                "-t1",
                f"-c{connections}",
                f"-d{whole}s",
                "--timeout",
                "20s",
            ),
            *("-s", str(HERE / "lua" / script), server.url, "--", *arguments),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    cpu = server.cpu_s() - cpu
    found = RESULT.search(run.stdout)
    if found is None:
        raise SystemExit(f"wrk said:\n{run.stdout}{run.stderr}")
    requests, micros = int(found[1]), int(found[2])
    return Sample(
        per_s=requests / micros * 1e6,
        p50_ms=float(found[3]) / 1e3,
        p99_ms=float(found[4]) / 1e3,
        max_ms=float(found[5]) / 1e3,
        errors=int(found[6]),
        cpu_us=cpu / max(requests, 1) * 1e6,
    )
