"""Health checks of the image, the Docker target and the compose file: direct connections only."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import msgspec
import pytest
from tests.infra.recording import deploy
from tests.loopback import free_port

ROOT = Path(__file__).parents[2]
CHECKS = ("image", "compose", "service", "ontology")


def read_check(name: str) -> list[str]:
    """Return the command of a health check."""
    command: list[str]
    if name == "image":
        text = (ROOT / "Containerfile").read_text()
        match = re.search(r"^HEALTHCHECK .*\\\n *CMD (\[.*\])$", text, re.MULTILINE)
        assert match is not None
        command = msgspec.json.decode(match[1])
        return command
    if name == "compose":
        document = msgspec.yaml.decode((ROOT / "compose.yaml").read_bytes())
        command = document["services"]["ontology"]["healthcheck"]["test"]
    else:
        container = deploy("dev", "docker").resources[f"spawn-{name}"]
        command = container.inputs["healthcheck"]["tests"]
    assert command[0] == "CMD"
    return command[1:]


@contextmanager
def listening(status: int) -> Iterator[tuple[int, list[str]]]:
    """Run a server that has one status for every path; yield its port and the paths."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port, paths
        finally:
            server.shutdown()
            thread.join()


def run_check(command: list[str], port: int, proxy: int) -> int:
    """Run a health check against a port of here, with a proxy for everything."""
    program, *arguments = command
    assert program == "python3"
    local = [re.sub(r"\b(8000|8100)\b", str(port), argument) for argument in arguments]
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), f"http://127.0.0.1:{proxy}")
    environment = os.environ | proxies | {"SPAWN_PORT": str(port)}
    environment.pop("NO_PROXY", None)
    environment.pop("no_proxy", None)
    return subprocess.run(
        [sys.executable, *local], env=environment, capture_output=True, timeout=60, check=False
    ).returncode


@pytest.mark.parametrize("name", CHECKS)
def test_a_health_check_connects_directly_and_fails_without_the_service(name: str) -> None:
    command = read_check(name)
    with listening(200) as (proxy, through_proxy):
        assert run_check(command, free_port(), proxy) == 1
        with listening(200) as (port, paths):
            assert run_check(command, port, proxy) == 0
        with listening(503) as (port, _):
            assert run_check(command, port, proxy) == 1
    assert paths == ["/health" if name in {"compose", "ontology"} else "/monitoring/ready"]
    assert through_proxy == []
