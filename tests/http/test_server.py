"""The process: signals, draining, logs, access lines, spans."""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import tenacity
from loguru import logger
from tests.http.conftest import WIND, free_port
from tests.product.ontology import answer, ontology

from spawn.entrypoints.telemetry import HIDDEN, line_of, redacted

SERVE = (
    "import os; from spawn.entrypoints.http.server import serve; "
    "from spawn.entrypoints.settings import read_settings; serve(read_settings(os.environ))"
)

pytestmark = [pytest.mark.real, pytest.mark.slow]


class Process:
    """The service as a process, its two streams caught."""

    def __init__(self, *, descriptors: int | None = None, **settings: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SPAWN_")}
        given = {"SPAWN_PORT": str(port), "SPAWN_STORAGE_URL": "memory://", **settings}
        within = "" if descriptors is None else f"ulimit -n {descriptors}; "
        self.process = subprocess.Popen(  # the interpreter that runs the tests
            ["/bin/sh", "-c", f'{within}exec "$0" -c "$1"', sys.executable, SERVE],
            env={**clean, **given},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20)

    @tenacity.retry(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(20))
    def wait(self) -> None:
        httpx.get(f"{self.url}/monitoring/ready").raise_for_status()

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, list[Any], list[Any]]:
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=30)
        return (
            self.process.returncode,
            [json.loads(line) for line in out.splitlines()],
            [json.loads(line) for line in err.splitlines()],
        )


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_process_cleanly(how: signal.Signals) -> None:
    service = Process()
    service.wait()
    code, _, logs = service.end(how)
    assert code == 0
    assert logs[-1]["message"] == "stopped"


def test_request_in_flight_is_answered_before_the_end() -> None:
    service = Process()
    service.wait()
    body = json.dumps(WIND).encode()

    def slowly() -> Iterator[bytes]:
        yield body[:10]
        service.process.send_signal(signal.SIGTERM)
        yield body[10:]

    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{service.url}/v1/ops/projects", content=slowly(), headers=headers)
    assert answer.status_code == 201
    out, _ = service.process.communicate(timeout=30)
    assert service.process.returncode == 0
    assert any(json.loads(line)["status"] == 201 for line in out.splitlines())


def test_each_request_leaves_one_access_line_with_its_template() -> None:
    service = Process()
    service.wait()
    with httpx.Client(base_url=service.url) as client:
        made = client.post("/ops/projects", json=WIND, headers={"x-request-id": "req-1"})
        client.get(made.headers["location"] + "?fields=dscr")
    _, lines, _ = service.end()
    posted, got = (line for line in lines if line["route"].startswith("/v1/ops"))
    assert posted["request_id"] == "req-1"
    assert (posted["method"], posted["path"], posted["status"]) == ("POST", "/ops/projects", 201)
    assert got["route"] == "/v1/ops/projects/{project_id}"
    assert got["path"] == made.headers["location"]
    assert got["duration_ms"] > 0


def test_port_in_use_ends_with_a_failure_not_a_hang() -> None:
    first = Process()
    first.wait()
    port = first.url.rpartition(":")[2]
    second = Process(SPAWN_PORT=port)
    assert second.process.wait(20) != 0
    second.process.communicate()
    first.end()


def test_connections_leave_file_descriptors_to_the_store(tmp_path: Path) -> None:
    service = Process(descriptors=200, SPAWN_STORAGE_URL=f"duckdb:///{tmp_path}/spawn.duckdb")
    service.wait()
    with contextlib.ExitStack() as stack, service.client() as known:
        known.get("/monitoring/live")
        host, port = "127.0.0.1", int(service.url.rpartition(":")[2])
        for _ in range(400):
            stack.enter_context(socket.create_connection((host, port), timeout=20))
        late = stack.enter_context(socket.create_connection((host, port), timeout=20))
        # There are too many: the newest are hung up on, and those before them still served.
        assert late.recv(1) == b""
        assert known.post("/v1/ops/projects", json=WIND).status_code == 201
        assert len(list(Path(f"/proc/{service.process.pid}/fd").iterdir())) < 180
    code, _, logs = service.end()
    assert code == 0
    assert not [line for line in logs if line["level"] == "ERROR"]


def test_a_port_left_open_is_named_once_it_is_found() -> None:
    service = Process(SPAWN_PORT="0")
    assert service.process.stderr is not None
    said = (json.loads(line)["message"] for line in service.process.stderr)
    service.url = next(line for line in said if line.startswith("serving ")).split()[1]
    service.wait()
    made = httpx.post(f"{service.url}/v1/ops/projects", json=WIND)
    feed = httpx.get(f"{service.url}/v1/events").json()
    assert made.status_code == 201
    assert feed["events"][0]["source"] == service.url
    service.end()


class Collector(HTTPServer):
    """An OTLP sink: keeps the bodies posted to it."""

    def __init__(self) -> None:
        self.received: queue.Queue[bytes] = queue.Queue()
        sink = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sink.put(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Stay quiet."""

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
    """The spans of one trace by name."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return {
        span.name: span
        for body in list(collector.received.queue)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if span.trace_id.hex() == trace
    }


def test_spans_lead_from_the_caller_to_storage_and_ontology(
    collector: Collector, tmp_path: Path
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    create, refresh = f"{1:032x}", f"{2:032x}"
    parents = {
        trace: {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"} for trace in (create, refresh)
    }
    with ontology(lambda handler: answer(handler, 503, b"{}")) as url:
        service = Process(
            SPAWN_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
            SPAWN_STORAGE_URL=f"duckdb:///{tmp_path}/spawn.duckdb",
            SPAWN_ONTOLOGY_URL=url,
            SPAWN_ONTOLOGY_TIMEOUT_S="1",
        )
        service.wait()
        made = httpx.post(f"{service.url}/v1/ops/projects", json=WIND, headers=parents[create])
        assert made.status_code == 201
        where = f"{service.url}/v1/governance/schemas/project_schema/refresh"
        assert httpx.post(where, headers=parents[refresh]).status_code == 502
        code, _, _ = service.end()
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
    asked, answered = spans["registry.get"], spans["refresh_schema"]
    assert asked.parent_span_id == answered.span_id
    assert asked.status.code == answered.status.code == 2  # an error, and said so on the way out


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("https://user:pass@host/x", f"https://{HIDDEN}@host/x"),
        ("Authorization: Bearer abcdef123456789", f"Authorization: Bearer {HIDDEN}"),
        ("connect password=hunter2 now", f"connect password={HIDDEN} now"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_credentials_never_reach_the_log(text: str, hidden: str) -> None:
    assert redacted(text) == hidden
    lines: list[dict[str, Any]] = []
    sink = logger.add(lambda message: lines.append(line_of(message.record)), catch=False)
    try:
        logger.bind(detail=text).opt(exception=RuntimeError(text)).error("{}", text)
        logger.bind(api_key="abc123").info("a key was used")
    finally:
        logger.remove(sink)
    (failed, keyed) = lines
    assert failed["message"] == failed["detail"] == hidden
    assert failed["exception"].endswith(f"RuntimeError: {hidden}\n")
    assert keyed["api_key"] == HIDDEN
