"""Server processes under load of wrk, with rates, latencies and CPU cost."""

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
RESULT_LINE = re.compile(r"^RESULT (\d+) (\d+) ([\d.]+) ([\d.]+) ([\d.]+) (\d+)$", re.MULTILINE)


def free_port() -> int:
    """Return a loopback port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Sample:
    """One load run: requests/s, latencies in ms, errors, server CPU per request in µs."""

    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    cpu_us: float


class Server:
    """Server process on a free port, ready when its path responds 200."""

    def __init__(self, command: Sequence[str], ready_path: str, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [part.replace("{port}", str(self.port)) for part in command]
        self._ready_path = ready_path
        self._environment = {
            **os.environ,
            **{k: v.replace("{port}", str(self.port)) for k, v in environment.items()},
        }
        self.ready_s = 0.0

    def __enter__(self) -> Self:
        """Start and wait until ready; `ready_s` is the time in seconds."""
        started = time.perf_counter()
        self._process = subprocess.Popen(
            self.command, env=self._environment, stdout=subprocess.DEVNULL
        )
        while not self._is_ready():
            if self._process.poll() is not None or time.perf_counter() - started > 120:
                raise SystemExit(f"{self.command} did not become ready")
            time.sleep(0.005)
        self.ready_s = time.perf_counter() - started
        return self

    def __exit__(self, *_: object) -> None:
        """Stop with SIGTERM, and after a minute with SIGKILL."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + self._ready_path, timeout=5) as response:  # noqa: S310  # loopback
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def cpu_s(self) -> float:
        """Return user and system time of the process in seconds."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def rss_mb(self) -> float:
        """Return the resident memory in MB (10⁶ bytes)."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def time_requests_ms(self, paths: Iterable[str]) -> list[float]:
        """Return the sorted times of GETs over one connection, in ms."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        times_ms: list[float] = []
        for path in paths:
            started = time.perf_counter()
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            times_ms.append((time.perf_counter() - started) * 1e3)
            if response.status != http.HTTPStatus.OK:
                raise SystemExit(f"GET {path} responded with {response.status}")
        connection.close()
        return sorted(times_ms)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Send a request; return status, lower-case headers and decoded JSON."""
        request = urllib.request.Request(  # noqa: S310  # loopback
            self.url + path,
            data=body,
            method=method,
            headers={k.replace("_", "-"): v for k, v in headers.items()},
        )
        with urllib.request.urlopen(request, timeout=600) as response:  # noqa: S310  # loopback
            raw = response.read()
            return (
                response.status,
                {k.lower(): v for k, v in response.headers.items()},
                json.loads(raw) if raw else None,
            )


def create_hello_server() -> Server:
    """Return the baseline server."""
    return Server([sys.executable, "-m", "benchmarks.hello", "{port}"], "/hello")


def run_wrk(
    server: Server,
    script: str,
    *arguments: str,
    connections: int,
    seconds: float,
    headers: Sequence[str] = (),
) -> Sample:
    """Load the server with wrk and one of the scripts in `lua/`, from one thread."""
    binary = shutil.which("wrk")
    if binary is None:
        raise SystemExit("the load generator wrk is missing: install Debian's package `wrk`")
    duration_s = max(round(seconds), 1)
    cpu_s = server.cpu_s()
    run = subprocess.run(
        [
            *(
                binary,
                "-t1",
                f"-c{connections}",
                f"-d{duration_s}s",
                "--timeout",
                "20s",
            ),
            *(part for header in headers for part in ("-H", header)),
            *("-s", str(HERE / "lua" / script), server.url, "--", *arguments),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    cpu_s = server.cpu_s() - cpu_s
    match = RESULT_LINE.search(run.stdout)
    if match is None:
        raise SystemExit(f"wrk printed:\n{run.stdout}{run.stderr}")
    requests, micros = int(match[1]), int(match[2])
    return Sample(
        per_s=requests / micros * 1e6,
        p50_ms=float(match[3]) / 1e3,
        p99_ms=float(match[4]) / 1e3,
        max_ms=float(match[5]) / 1e3,
        errors=int(match[6]),
        cpu_us=cpu_s / max(requests, 1) * 1e6,
    )
