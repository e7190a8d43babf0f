"""The service starts, serves and reports its state with any failure of the ontology server."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.conftest import Service as ServiceThread
from tests.http.conftest import discard_access_log
from tests.loopback import free_port
from tests.product.ontology import run_ontology_server, send_json
from tests.product.service import Service

__all__ = ["discard_access_log"]

pytestmark = pytest.mark.real

GOOD = {
    "id": "project_schema",
    "version": 4,
    "name": "Projects",
    "columns": [{"name": "turbine_count", "type": "integer", "minimum": 0}],
}
HOSTILE = {
    "id": "project_schema",
    "version": 4,
    "name": 'x"; drop table journal; --',
    "columns": [{"name": 'a" varchar); drop table journal; --', "type": "string"}],
}


@pytest.fixture
def thread_in(tmp_path: Path) -> Iterator[Callable[..., ServiceThread]]:
    """Yield a factory of services in threads: a failure is met alike, in a third of the time."""
    services: list[ServiceThread] = []

    def make(ontology_url: str, **settings: Any) -> ServiceThread:
        settings["storage_url"] = f"duckdb:///{tmp_path}/spawn.duckdb"
        services.append(ServiceThread(ontology_url=ontology_url, **settings))
        return services[-1]

    yield make
    for service in services:
        service.stop()


def serve_and_write(service: ServiceThread) -> dict[str, object]:
    """Start, create and read a project; return the schema check of the health report."""
    service.start()
    response = httpx.post(
        f"{service.url}/v1/ops/projects",
        json={"project_name": "Unmoved", "total_amount": "12.50"},
    )
    assert response.status_code == 201, response.text
    project = httpx.get(service.url + response.headers["Location"])
    assert project.json()["total_amount"] == "12.50"
    assert httpx.get(f"{service.url}/monitoring/ready").status_code == 200
    health = httpx.get(f"{service.url}/monitoring/health")
    assert health.json()["status"] == "degraded"
    schema: dict[str, object] = health.json()["checks"]["schema"]
    assert schema["status"] == "degraded"
    assert schema["detail"]
    return schema


def test_an_absent_server_leaves_the_bundled_schema(
    thread_in: Callable[..., ServiceThread],
) -> None:
    schema = serve_and_write(thread_in(f"http://127.0.0.1:{free_port()}"))
    assert schema["version"] == 0
    assert schema["provenance"] == "bundled"


def test_a_server_that_hangs_does_not_hang_the_service(
    thread_in: Callable[..., ServiceThread],
) -> None:
    release = threading.Event()

    def hang(_: BaseHTTPRequestHandler) -> None:
        release.wait(60)

    with run_ontology_server(hang) as url:
        schema = serve_and_write(thread_in(url, ontology_timeout_s=0.5))
        release.set()
    assert schema["provenance"] == "bundled"


@pytest.mark.parametrize(
    "body",
    [b"<html>welcome</html>", b"\xff\xfe\x00", b"[" * 100_000, b"{}", b'{"columns": 7}'],
    ids=["html", "binary", "deep", "empty", "wrong"],
)
def test_garbage_is_not_adopted(thread_in: Callable[..., ServiceThread], body: bytes) -> None:
    with run_ontology_server(lambda handler: send_json(handler, 200, body)) as url:
        schema = serve_and_write(thread_in(url))
    assert schema["provenance"] == "bundled"


def test_server_errors_are_not_adopted(thread_in: Callable[..., ServiceThread]) -> None:
    with run_ontology_server(lambda handler: send_json(handler, 500, b'{"detail": "boom"}')) as url:
        schema = serve_and_write(thread_in(url))
    assert schema["provenance"] == "bundled"


def test_a_hostile_schema_is_rejected_without_effect(
    thread_in: Callable[..., ServiceThread],
) -> None:
    hostile = json.dumps(HOSTILE).encode()
    with run_ontology_server(lambda handler: send_json(handler, 200, hostile)) as url:
        service = thread_in(url)
        schema = serve_and_write(service)
        tables = httpx.get(f"{service.url}/v1/admin/tables").json()
    assert schema["version"] == 0
    assert "journal" in {table["name"] for table in tables["items"]}


def test_a_good_server_is_adopted_and_its_columns_are_governed(
    service_in: Callable[..., Service],
) -> None:
    good = json.dumps(GOOD).encode()
    with run_ontology_server(lambda handler: send_json(handler, 200, good)) as url:
        service = service_in(SPAWN_ONTOLOGY_URL=url)
        service.start()
        response = httpx.post(
            f"{service.url}/v1/ops/projects",
            json={"project_name": "Windy", "total_amount": "1", "turbine_count": 12},
        )
        assert response.status_code == 201, response.text
        assert response.json()["turbine_count"] == 12
        problem_response = httpx.post(
            f"{service.url}/v1/ops/projects",
            json={"project_name": "Windy", "total_amount": "1", "turbine_count": -1},
        )
        assert problem_response.status_code == 422
        assert problem_response.json()["errors"][0]["pointer"] == "/turbine_count"
        page = httpx.get(f"{service.url}/v1/ops/projects?turbine_count[gte]=12").json()
        assert [item["project_name"] for item in page["items"]] == ["Windy"]
        health = httpx.get(f"{service.url}/monitoring/health").json()
        assert health["checks"]["schema"]["version"] == 4
        # The adopted schema stays active when the server is gone.
        service.stop()
    service.start()
    health = httpx.get(f"{service.url}/monitoring/health").json()
    assert health["checks"]["schema"]["version"] == 4
