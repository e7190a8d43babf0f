"""Health that tells the truth, and metrics that a real scrape can read."""

import httpx
import msgspec
import pytest
import tenacity
from prometheus_client.parser import text_string_to_metric_families
from tests.http.conftest import WIND, Start

from spawn.adapters.memory.store import MemoryStore
from spawn.domain.errors import StorageFull
from spawn.ports.storage import StoreStatus

CHECKS = {"storage", "disk", "feed", "projection", "schema", "breaker", "quality"}


def test_health_lists_each_check_and_the_worst_rules(client: httpx.Client) -> None:
    answer = client.get("/monitoring/health")
    assert answer.status_code == 200
    assert set(answer.json()["checks"]) == CHECKS
    assert answer.json()["status"] == "ok"
    assert answer.json()["checks"]["storage"]["probe_ms"] >= 0
    assert client.get("/health").json()["status"] == "ok"


def test_store_that_cannot_write_makes_the_service_unready_but_alive(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_store: MemoryStore) -> float:
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(MemoryStore, "probe", full)
    with start().client() as client:
        ready = client.get("/monitoring/ready")
        assert ready.status_code == 503
        assert ready.json()["checks"]["storage"]["status"] == "unavailable"
        assert "retry-after" in ready.headers
        assert client.get("/monitoring/live").status_code == 200


@pytest.mark.parametrize(
    ("free_bytes", "status", "grade"),
    [(201, 200, "ok"), (200, 200, "degraded"), (100, 503, "unavailable")],
)
def test_disk_is_ready_down_to_its_reserve(
    start: Start, monkeypatch: pytest.MonkeyPatch, free_bytes: int, status: int, grade: str
) -> None:
    true_status = MemoryStore.status

    def shrunk(store: MemoryStore) -> StoreStatus:
        return msgspec.structs.replace(true_status(store), free_bytes=free_bytes, reserve_bytes=100)

    monkeypatch.setattr(MemoryStore, "status", shrunk)
    with start().client() as client:
        answer = client.get("/monitoring/ready")
        assert (answer.status_code, answer.json()["status"]) == (status, grade)
        assert answer.json()["checks"]["disk"]["status"] == grade
        assert ("retry-after" in answer.headers) is (status == 503)
        assert client.get("/monitoring/live").status_code == 200


def test_absent_ontology_server_degrades_and_is_named(start: Start) -> None:
    service = start(ontology_url="http://127.0.0.1:9", ontology_timeout_s=0.2)
    with service.client() as client:
        client.post("/v1/governance/schemas/project_schema/refresh")
        answer = client.get("/monitoring/health")
        assert answer.status_code == 200
        assert answer.json()["status"] == "degraded"
        schema = answer.json()["checks"]["schema"]
        assert schema["status"] == "degraded"
        assert schema["provenance"] == "bundled"
        assert client.post("/v1/ops/projects", json=WIND).status_code == 201


def test_metrics_count_requests_by_route_template(client: httpx.Client) -> None:
    made = client.post("/v1/ops/projects", json=WIND)
    client.get(made.headers["location"])
    client.get("/v1/ops/projects/nonsense/nowhere")
    text = client.get("/monitoring/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = families["http_server_request_duration_seconds"].samples
    routes = {sample.labels["http_route"] for sample in samples}
    assert "/v1/ops/projects/{project_id}" in routes
    assert "unrouted" in routes
    assert not any(made.json()["project_id"] in route for route in routes)
    bounds = {sample.labels.get("le") for sample in samples if sample.name.endswith("_bucket")}
    assert {"0.005", "1.0", "+Inf"} <= bounds


def test_metrics_tell_of_schema_registry_store_and_feed(client: httpx.Client) -> None:
    text = client.get("/monitoring/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    info = families["spawn_schema_active_info"].samples[0]
    assert (info.labels["schema_id"], info.value) == ("project_schema", 1)
    states = {s.labels["state"]: s.value for s in families["spawn_registry_breaker_state"].samples}
    assert sum(states.values()) == 1
    for name in (
        "spawn_schema_quarantined",
        "spawn_feed_lag_seconds",
        "spawn_storage_writable",
        "spawn_storage_queue_changes",
        "spawn_projection_lag_seconds",
        "http_server_active_requests",
    ):
        assert name in families


@tenacity.retry(wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_delay(20))
def scrape_when_level(client: httpx.Client) -> str:
    """The metrics once the relay has published what was written."""
    text = client.get("/monitoring/metrics").text
    assert 'spawn_domain_events_total{type="project.created"} 2.0' in text
    return text


def test_business_metrics_come_from_domain_events(start: Start) -> None:
    service = start()
    with service.client() as client:
        client.post("/v1/ops/projects", json=WIND)
        client.post("/v1/ops/projects", json={**WIND, "status": "OPERATION"})
        text = scrape_when_level(client)
        families = {family.name: family for family in text_string_to_metric_families(text)}
    counted = sum(
        s.value
        for s in families["spawn_domain_events"].samples
        if s.labels.get("type") == "project.created" and s.name.endswith("_total")
    )
    assert counted == 2
    reached = {
        s.labels["status"]: s.value for s in families["spawn_project_status_reached"].samples
    }
    assert reached == {"PROPOSED": 1, "OPERATION": 1}
