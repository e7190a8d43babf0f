"""The server process: signals, draining, logs, access log, spans."""

import contextlib
import json
import os
import queue
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import tenacity
from loguru import logger
from tests.http.conftest import WIND
from tests.http.listeners.conftest import Authority
from tests.loopback import free_port, wait_until_listening
from tests.product.ontology import run_ontology_server, send_json

from spawn.domain.text import REDACTED, redact
from spawn.entrypoints.logging import log_line

SERVE = (
    "import os; from spawn.entrypoints.service import run; "
    "from spawn.entrypoints.settings import read_settings; run(read_settings(os.environ))"
)

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("authority")


class Process:
    """The service as a process with captured output."""

    def __init__(self, *, descriptors: int | None = None, **settings: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SPAWN_")}
        options = {
            "SPAWN_PORT": str(port),
            "SPAWN_STORAGE_URL": "memory://",
            "SPAWN_AUTH": "off",
            **settings,
        }
        ulimit = "" if descriptors is None else f"ulimit -n {descriptors}; "
        self.process = subprocess.Popen(  # the interpreter that runs the tests
            ["/bin/sh", "-c", f'{ulimit}exec "$0" -c "$1"', sys.executable, SERVE],
            env={**environment, **options},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20)

    def wait_until_ready(self, context: ssl.SSLContext | None = None) -> None:
        if context is None:  # a connection without a handshake would be logged
            wait_until_listening(urlsplit(self.url).port or 0)
        self._request_readiness(context)

    @tenacity.retry(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(60))
    def _request_readiness(self, context: ssl.SSLContext | None) -> None:
        verify = True if context is None else context
        httpx.get(f"{self.url}/monitoring/ready", verify=verify).raise_for_status()

    def stop(self, signal_: signal.Signals = signal.SIGTERM) -> tuple[int, list[Any], list[Any]]:
        self.process.send_signal(signal_)
        out, err = self.process.communicate(timeout=30)
        return (
            self.process.returncode,
            [json.loads(line) for line in out.splitlines()],
            [json.loads(line) for line in err.splitlines()],
        )


def test_interrupt_ends_the_process_cleanly() -> None:
    service = Process()
    service.wait_until_ready()
    code, _, logs = service.stop(signal.SIGINT)
    assert code == 0
    assert logs[-1]["message"] == "stopped"


def test_each_request_writes_one_line_and_one_in_flight_is_completed_before_the_exit(
    subtests: pytest.Subtests,
) -> None:
    service = Process()
    service.wait_until_ready()
    with httpx.Client(base_url=service.url) as client:
        created = client.post("/ops/projects", json=WIND, headers={"x-request-id": "req-1"})
        client.get(created.headers["location"] + "?fields=dscr")
    body = json.dumps(WIND).encode()

    def slow_body() -> Iterator[bytes]:
        yield body[:10]
        service.process.send_signal(signal.SIGTERM)
        yield body[10:]

    headers = {"content-type": "application/json"}
    response = httpx.post(f"{service.url}/v1/ops/projects", content=slow_body(), headers=headers)
    out, err = service.process.communicate(timeout=30)
    lines = [json.loads(line) for line in out.splitlines()]
    logs = [json.loads(line) for line in err.splitlines()]
    post, get, last = (line for line in lines if line["route"].startswith("/v1/ops"))
    with subtests.test("a request in flight is completed before the exit"):
        assert response.status_code == last["status"] == 201
        assert service.process.returncode == 0
        assert logs[-1]["message"] == "stopped"
    with subtests.test("each request writes one access line with its route"):
        assert post["request_id"] == "req-1"
        assert (post["method"], post["path"], post["status"]) == ("POST", "/ops/projects", 201)
        assert get["route"] == "/v1/ops/projects/{project_id}"
        assert get["path"] == created.headers["location"]
        assert get["duration_ms"] > 0
    with subtests.test("every line of JSON has the same form of time"):
        for line in (*lines, *logs):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])


def test_hangup_loads_the_certificate_again_and_a_broken_one_ends_nothing(
    tmp_path: Path, authority: Authority
) -> None:
    certificate, key = authority.issue(tmp_path, "service")
    service = Process(SPAWN_TLS_CERTIFICATE_FILE=str(certificate), SPAWN_TLS_KEY_FILE=str(key))
    service.url = service.url.replace("http:", "https:")
    context = authority.client_context()
    service.wait_until_ready(context)
    assert service.process.stderr is not None
    lines = (json.loads(line) for line in service.process.stderr)
    certificate.write_text("nothing")
    service.process.send_signal(signal.SIGHUP)
    assert any("stays as it is" in line["message"] for line in lines)
    authority.issue(tmp_path, "service")
    service.process.send_signal(signal.SIGHUP)
    assert any("is loaded again" in line["message"] for line in lines)
    with httpx.Client(base_url=service.url, verify=context) as client:
        assert client.get("/monitoring/live").status_code == 200
        # The open connection is ended by the drain, without a long wait for its client.
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(15) == 0
    service.process.communicate()


def test_lines_are_text_for_a_person_and_hold_no_control_characters() -> None:
    service = Process(SPAWN_LOG_FORMAT="text")
    service.wait_until_ready()
    httpx.get(f"{service.url}/v1/ops/%1b[2J%0a2026-01-01T00:00:00.000000Z%20200%20GET%20/forged")
    service.process.send_signal(signal.SIGTERM)
    out, err = (stream.decode() for stream in service.process.communicate(timeout=30))
    stamp = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z "
    assert all(re.match(stamp + r"(INFO|WARNING) ", line) for line in err.splitlines())
    assert all(re.match(stamp + r"\d{3} GET /", line) for line in out.splitlines())
    assert r" GET /v1/ops/\x1b[2J\n2026" in out


def test_connections_reserve_file_descriptors_for_the_store(tmp_path: Path) -> None:
    service = Process(descriptors=200, SPAWN_STORAGE_URL=f"duckdb:///{tmp_path}/spawn.duckdb")
    service.wait_until_ready()
    with contextlib.ExitStack() as stack, service.client() as client:
        client.get("/monitoring/live")
        host, port = "127.0.0.1", int(service.url.rpartition(":")[2])
        for _ in range(400):
            stack.enter_context(socket.create_connection((host, port), timeout=20))
        surplus = stack.enter_context(socket.create_connection((host, port), timeout=20))
        # Surplus connections are closed, and earlier ones are still served.
        assert surplus.recv(1) == b""
        assert client.post("/v1/ops/projects", json=WIND).status_code == 201
        assert len(list(Path(f"/proc/{service.process.pid}/fd").iterdir())) < 180
    code, _, logs = service.stop()
    assert code == 0
    assert not [line for line in logs if line["level"] == "ERROR"]


def test_port_0_takes_a_free_port_and_one_in_use_ends_with_a_failure_not_a_hang() -> None:
    service = Process(SPAWN_PORT="0")
    assert service.process.stderr is not None
    messages = (json.loads(line)["message"] for line in service.process.stderr)
    service.url = next(line for line in messages if line.startswith("serving ")).split()[1]
    service.wait_until_ready()
    created = httpx.post(f"{service.url}/v1/ops/projects", json=WIND)
    feed = httpx.get(f"{service.url}/v1/events").json()
    assert created.status_code == 201
    assert feed["events"][0]["source"] == service.url
    second = Process(SPAWN_PORT=service.url.rpartition(":")[2])
    assert second.process.wait(60) != 0
    second.process.communicate()
    service.stop()


class Collector(HTTPServer):
    """An OTLP collector that stores the bodies it receives."""

    def __init__(self) -> None:
        self.bodies: queue.Queue[bytes] = queue.Queue()
        sink = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sink.put(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Log nothing."""

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def collector() -> Iterator[Collector]:
    sink = Collector()
    thread = threading.Thread(target=sink.serve_forever, daemon=True)
    thread.start()
    yield sink
    sink.shutdown()
    sink.server_close()
    thread.join()


def spans_of(collector: Collector, trace: str) -> dict[str, Any]:
    """Return the spans of one trace by name."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return {
        span.name: span
        for body in list(collector.bodies.queue)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if span.trace_id.hex() == trace
    }


def test_spans_connect_the_client_to_storage_and_ontology(
    collector: Collector, tmp_path: Path
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    create, refresh = f"{1:032x}", f"{2:032x}"
    parents = {
        trace: {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"} for trace in (create, refresh)
    }
    with run_ontology_server(lambda handler: send_json(handler, 503, b"{}")) as url:
        service = Process(
            SPAWN_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
            SPAWN_STORAGE_URL=f"duckdb:///{tmp_path}/spawn.duckdb",
            SPAWN_ONTOLOGY_URL=url,
            SPAWN_ONTOLOGY_TIMEOUT_S="1",
        )
        service.wait_until_ready()
        created = httpx.post(f"{service.url}/v1/ops/projects", json=WIND, headers=parents[create])
        assert created.status_code == 201
        where = f"{service.url}/v1/governance/schemas/project_schema/refresh"
        assert httpx.post(where, headers=parents[refresh]).status_code == 502
        code, _, _ = service.stop()
    assert code == 0
    spans = spans_of(collector, create)
    request, use_case = spans["POST /v1/ops/projects"], spans["create_project"]
    assert request.parent_span_id.hex() == "00f067aa0ba902b7"
    assert use_case.parent_span_id == request.span_id
    assert spans["storage.commit"].parent_span_id == use_case.span_id
    attributes = {a.key: a.value for a in request.attributes}
    assert attributes["http.route"].string_value == "/v1/ops/projects"
    assert attributes["http.response.status_code"].int_value == 201
    spans = spans_of(collector, refresh)
    registry_span, use_case_span = spans["registry.get"], spans["refresh_schema"]
    assert registry_span.parent_span_id == use_case_span.span_id
    assert registry_span.status.code == use_case_span.status.code == 2  # both are errors


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("https://user:pass@host/x", f"https://{REDACTED}@host/x"),
        ("Authorization: Bearer abcdef123456789", f"Authorization: Bearer {REDACTED}"),
        ("connect password=hunter2 now", f"connect password={REDACTED} now"),
        (f"key spn_live_desk_{'0a' * 32}_1234abcd!", f"key {REDACTED}!"),
        (f"cut spn_test_desk_{'0a' * 10}", f"cut {REDACTED}"),
        ("token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln.", f"token {REDACTED}"),
        (
            "nothing to hide: spn_live_desk, eyJ, spn_1",
            "nothing to hide: spn_live_desk, eyJ, spn_1",
        ),
    ],
)
def test_credentials_never_reach_the_log(text: str, redacted: str) -> None:
    assert redact(text) == redacted
    lines: list[dict[str, Any]] = []
    sink = logger.add(lambda message: lines.append(log_line(message.record)), catch=False)
    try:
        logger.bind(detail=text).opt(exception=RuntimeError(text)).error("{}", text)
        logger.bind(api_key="abc123").info("a key was used")
    finally:
        logger.remove(sink)
    (error_line, key_line) = lines
    assert error_line["message"] == error_line["detail"] == redacted
    assert error_line["exception"].endswith(f"RuntimeError: {redacted}\n")
    assert key_line["api_key"] == REDACTED
