"""Real faults of a real service fire their alerts at a real Alertmanager, and resolve."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import tenacity
from tests.adapters.storage.tmpfs import small_disk
from tests.http.conftest import WIND, discard_access_log
from tests.http.conftest import Service as ServiceThread
from tests.infra.monitoring.servers import (
    Notifications,
    query,
    receive_notifications,
    running_alertmanager,
    running_prometheus,
)
from tests.loopback import free_port, wait_until_listening
from tests.product.service import Service
from tests.product.test_full_disk import fill_up

from spawn.adapters.duckdb.journal.appender import JournalAppender

__all__ = ["discard_access_log"]

PROJECTS = "/v1/ops/projects"
FAULTS = {"SpawnDiskFull", "SpawnRegistryBreakerOpen", "SpawnWriterStalled"}
DISK_BYTES = 160 * 1024 * 1024

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk"),
]


class OntologyServer:
    """`spawn ontology-server` on a fixed port, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "ontology.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "spawn.entrypoints.cli", "ontology-server"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)], stdout=log, stderr=log
            )
        wait_until_listening(self.port)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None


@contextmanager
def stalled_writer(service: ServiceThread) -> Iterator[threading.Event]:
    """Stop the writer of a service in this process at its next group; the event lets it go on."""
    release, write_group = threading.Event(), JournalAppender._write_group

    def wait_and_write(appender: JournalAppender, *args: object) -> object:
        release.wait(60)
        return write_group(appender, *args)  # type: ignore[arg-type]  # passed on as they came

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JournalAppender, "_write_group", wait_and_write)
        waiting = threading.Thread(
            target=lambda: httpx.post(service.url + PROJECTS, json=WIND, timeout=60)
        )
        waiting.start()
        try:
            yield release
        finally:
            release.set()
            waiting.join(60)


@tenacity.retry(wait=tenacity.wait_fixed(0.1), stop=tenacity.stop_after_delay(30), reraise=True)
def await_targets(prometheus: str, count: int) -> None:
    assert len(query(prometheus, 'up{job="spawn"} == 1')) == count


def stop_the_process(service: Service, notifications: Notifications) -> None:
    process = service._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        notifications.wait_for("page", "SpawnDown", "firing")
    finally:
        process.send_signal(signal.SIGCONT)
    notifications.wait_for("page", "SpawnDown", "resolved")


def fill_the_disk(disk: Path, notifications: Notifications) -> None:
    fill_up(disk / "ballast")
    notifications.wait_for("page", "SpawnDiskFull", "firing")
    (disk / "ballast").unlink()
    notifications.wait_for("page", "SpawnDiskFull", "resolved")


def test_faults_fire_their_alerts_and_resolve(tmp_path: Path) -> None:
    with ExitStack() as stack:
        webhooks, notifications = stack.enter_context(receive_notifications())
        alertmanager = stack.enter_context(running_alertmanager(tmp_path, webhooks))
        disk = stack.enter_context(small_disk(tmp_path / "disk", DISK_BYTES))
        ontology = OntologyServer(tmp_path)
        stack.callback(ontology.kill)
        ontology.start()
        service = Service(
            tmp_path,
            SPAWN_STORAGE_URL=f"duckdb:///{disk}/s.duckdb",
            SPAWN_ONTOLOGY_URL=ontology.url,
            SPAWN_ONTOLOGY_TIMEOUT_S="0.5",
            SPAWN_SCHEMA_REFRESH_S="0.1",
        )
        stack.callback(service.stop)
        service.start()
        other = ServiceThread(storage_url=f"duckdb:///{tmp_path}/other.duckdb").start()
        stack.callback(other.stop)
        targets = [f"127.0.0.1:{service.port}", f"127.0.0.1:{other.port}"]
        prometheus = stack.enter_context(running_prometheus(tmp_path, targets, alertmanager))
        await_targets(prometheus, len(targets))
        notifications.wait_for("heartbeat", "SpawnWatchdog", "firing")
        assert {*notifications.names("page"), *notifications.names("ticket")}.isdisjoint(FAULTS)

        # The breaker stays open for 15 s, and so long must a writer stand still to be reported.
        ontology.kill()
        with stalled_writer(other) as release:
            notifications.wait_for("ticket", "SpawnRegistryBreakerOpen", "firing")
            ontology.start()
            fill_the_disk(disk, notifications)
            stop_the_process(service, notifications)
            notifications.wait_for("page", "SpawnWriterStalled", "firing")
            release.set()
        notifications.wait_for("page", "SpawnWriterStalled", "resolved")
        notifications.wait_for("ticket", "SpawnRegistryBreakerOpen", "resolved")
        assert httpx.post(service.url + PROJECTS, json=WIND, timeout=20).status_code == 201
