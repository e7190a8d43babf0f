"""Real Prometheus and Alertmanager on loopback, with the rules of the repository."""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import httpx
import msgspec
import pytest
import tenacity
from tests.loopback import free_port

MONITORING = Path(__file__).parents[3] / "infra" / "monitoring"
RULES = (MONITORING / "rules" / "objectives.yml", MONITORING / "rules" / "service.yml")
FOR = "2s"
"""Time for which the condition of an alert must hold here, instead of minutes, but not hours."""


def find_program(*names: str) -> str:
    """Return the first installed program; skip the test without one, but fail in CI."""
    path = next(filter(None, map(shutil.which, names)), None)
    if path is not None:
        return path
    return skip_or_fail(
        f"{names[0]} is not installed (Debian: prometheus, prometheus-alertmanager)"
    )


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test loudly on a person's machine, and fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI must run these tests")
    pytest.skip(f"NOT TESTED: {reason}")


def list_rules() -> list[dict[str, Any]]:
    """Return every rule of every group."""
    groups = [g for file in RULES for g in msgspec.yaml.decode(file.read_bytes())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def list_alerts() -> list[dict[str, Any]]:
    """Return the rules that are alerts."""
    return [rule for rule in list_rules() if "alert" in rule]


class Notifications:
    """Receiver of Alertmanager's webhooks: the newest status of each alert, by receiver."""

    def __init__(self) -> None:
        self._statuses: dict[tuple[str, str], str] = {}
        self._changed = threading.Condition()

    def record(self, receiver: str, alerts: list[dict[str, Any]]) -> None:
        with self._changed:
            for alert in alerts:
                self._statuses[receiver, alert["labels"]["alertname"]] = alert["status"]
            self._changed.notify_all()

    def wait_for(self, receiver: str, alert: str, status: str, timeout_s: float = 30) -> None:
        key = (receiver, alert)
        with self._changed:
            arrived = self._changed.wait_for(lambda: self._statuses.get(key) == status, timeout_s)
        assert arrived, f"{alert} is not {status} at {receiver}: {self._statuses}"

    def names(self, receiver: str) -> set[str]:
        """Return the alerts that the receiver has ever got."""
        with self._changed:
            return {alert for name, alert in self._statuses if name == receiver}


@contextmanager
def receive_notifications() -> Iterator[tuple[str, Notifications]]:
    """Run a webhook receiver; yield its address, to which a receiver's name is added."""
    notifications = Notifications()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            notifications.record(self.path.strip("/"), body["alerts"])
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Suppress the log line of a request."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", notifications
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def running(command: list[str], folder: Path, ready_url: str) -> Iterator[None]:
    """Run a server in a folder until the end of the block; it is ready when the block begins."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=folder, stdout=stream, stderr=stream)
    try:
        for attempt in tenacity.Retrying(
            wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(30), reraise=True
        ):
            with attempt:
                httpx.get(ready_url, timeout=5).raise_for_status()
        yield
    except httpx.HTTPError as error:
        raise AssertionError(log.read_text()) from error
    finally:
        process.kill()
        process.wait(20)


def write_alertmanager_file(folder: Path, webhooks: str) -> Path:
    """Write the configuration of the repository with quick groups, and a webhook each receiver."""
    config = msgspec.yaml.decode((MONITORING / "alertmanager.yml").read_bytes())
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "200ms"}
    for receiver in config["receivers"]:
        url = f"{webhooks}/{receiver['name']}"
        receiver["webhook_configs"] = [{"url": url, "send_resolved": True}]
    file = folder / "alertmanager.yml"
    file.write_text(json.dumps(config))
    return file


def write_prometheus_file(folder: Path, targets: list[str], alertmanager: str) -> Path:
    """Write a configuration with the rules of the repository, evaluated several times a second."""
    for rules in RULES:
        quick = re.sub(r"\bfor: \d+m", f"for: {FOR}", rules.read_text())
        (folder / rules.name).write_text(quick)
    scrape = {
        "job_name": "spawn",
        "metrics_path": "/monitoring/metrics",
        "static_configs": [{"targets": targets}],
    }
    managers = {"static_configs": [{"targets": [alertmanager]}], "api_version": "v2"}
    config = {
        "global": {
            "scrape_interval": "500ms",
            "scrape_timeout": "500ms",
            "evaluation_interval": "200ms",
        },
        "rule_files": [rules.name for rules in RULES],
        "alerting": {"alertmanagers": [managers]},
        "scrape_configs": [scrape],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(config))
    return file


@contextmanager
def running_alertmanager(folder: Path, webhooks: str) -> Iterator[str]:
    """Run Alertmanager; yield its host and port."""
    program = find_program("prometheus-alertmanager", "alertmanager")
    address = f"127.0.0.1:{free_port()}"
    file = write_alertmanager_file(folder, webhooks)
    command = [
        program,
        f"--config.file={file}",
        f"--storage.path={folder}/alertmanager",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with running(command, folder, f"http://{address}/-/ready"):
        yield address


@contextmanager
def running_prometheus(folder: Path, targets: list[str], alertmanager: str) -> Iterator[str]:
    """Run Prometheus over the targets; yield its URL."""
    program = find_program("prometheus")
    address = f"127.0.0.1:{free_port()}"
    file = write_prometheus_file(folder, targets, alertmanager)
    command = [
        program,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
        # Alerts of the first seconds are lost: Alertmanager is discovered after some.
        "--rules.alert.resend-delay=1s",
    ]
    with running(command, folder, f"http://{address}/-/ready"):
        yield f"http://{address}"


def query(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """Return the samples of an expression now."""
    response = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=10)
    result: list[dict[str, Any]] = response.raise_for_status().json()["data"]["result"]
    return result
