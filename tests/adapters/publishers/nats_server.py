"""A real NATS server with JetStream in its own folder that can be killed and restarted."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.client import JetStreamContext
from tests.loopback import free_port

from spawn.testing.publisher_contract import SECRET

USERS = f"""users: [
    {{user: spawn, password: {SECRET}}}
    {{user: "desk@risk", password: "p@ss/w:rd#1%"}}
    {{user: reader, password: {SECRET}, permissions: {{
        publish: ["$JS.API.>", "desk.allowed.>"], subscribe: [">"]}}}}
    {{user: writer, password: {SECRET}, permissions: {{
        publish: ["desk.>"], subscribe: ["_INBOX.>"]}}}}
]"""


class NatsServer:
    """The server; `config` is added to its configuration, such as the part for TLS."""

    def __init__(self, program: str, folder: Path, config: str = "") -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"nats://spawn:{SECRET}@{self.address}"
        file = folder / "nats.conf"
        file.write_text(
            f'listen: {self.address}\njetstream {{store_dir: "{folder}/jetstream"}}\n'
            f"authorization {{{USERS}}}\n{config}\n"
        )
        self._command = [program, "-c", str(file)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    async def wait_until_listening(self) -> None:
        """Wait until the server accepts connections."""
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)  # there is no other signal
                    continue
                writer.close()
                return

    async def context(self, **options: Any) -> tuple[Any, JetStreamContext]:
        """Connect for the test, once the server is ready."""

        async def drop_error(_failure: Exception) -> None:
            return

        async with asyncio.timeout(20):
            while True:
                try:
                    client = await nats.connect(
                        self.url,
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0,
                        error_cb=drop_error,
                        **options,
                    )
                except (OSError, nats.errors.Error):
                    await asyncio.sleep(0.02)  # until the server listens; there is no other signal
                    continue
                return client, client.jetstream()


@contextmanager
def running_nats_server(folder: Path, config: str = "") -> Iterator[NatsServer]:
    """Run a server; skip the test where none is installed, except in CI."""
    program = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("nats-server is not installed, and CI must run these tests")
        pytest.skip("NOT TESTED: nats-server is not installed (Debian: nats-server)")
    server = NatsServer(program, folder, config)
    server.start()
    try:
        yield server
    finally:
        server.stop()
