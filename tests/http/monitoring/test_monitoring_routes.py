"""Health with real checks, and metrics that a Prometheus client can parse."""

import httpx
import msgspec
import pytest
import tenacity
from prometheus_client.parser import text_string_to_metric_families
from tests.http.conftest import WIND, Start

from spawn.adapters.local.clock import SystemClock
from spawn.adapters.memory.store import MemoryStore
from spawn.application import background_tasks
from spawn.application.events.journal_watch import JournalWatch
from spawn.domain.errors import StorageFull, Unavailable
from spawn.ports.storage import StoreStatus

CHECKS = {
    *("storage", "disk", "clock", "feed", "projection", "schema", "breaker", "quality"),
    *("background", "traffic", "approvals"),
}


@tenacity.retry(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(20), reraise=True)
def await_health(client: httpx.Client) -> httpx.Response:
    """Return the health once it is good: a service that starts beside delays the event loop."""
    response = client.get("/monitoring/health")
    assert response.json()["status"] == "ok", response.json()
    return response


def test_health_lists_each_check_and_has_the_worst_status(client: httpx.Client) -> None:
    response = await_health(client)
    assert response.status_code == 200
    assert set(response.json()["checks"]) == CHECKS
    assert response.json()["checks"]["storage"]["probe_ms"] >= 0
    assert client.get("/health").json()["status"] == "ok"


def test_store_that_cannot_write_makes_the_service_unready_but_alive(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail_probe(_store: MemoryStore) -> float:
        raise Unavailable("The file is gone.")

    monkeypatch.setattr(MemoryStore, "probe", fail_probe)
    with start().client() as client:
        ready = client.get("/monitoring/ready")
        assert ready.status_code == 503
        assert ready.json()["checks"]["storage"]["status"] == "unavailable"
        assert "retry-after" in ready.headers
        assert client.get("/monitoring/live").status_code == 200


@pytest.mark.parametrize(
    ("free_bytes", "status", "health"),
    [(201, 200, "ok"), (200, 200, "degraded"), (100, 200, "degraded")],
)
def test_a_full_disk_degrades_the_health_and_reads_go_on(
    start: Start, monkeypatch: pytest.MonkeyPatch, free_bytes: int, status: int, health: str
) -> None:
    get_status = MemoryStore.status

    def get_shrunk_status(store: MemoryStore) -> StoreStatus:
        return msgspec.structs.replace(get_status(store), free_bytes=free_bytes, reserve_bytes=100)

    async def probe(_store: MemoryStore) -> float:
        if free_bytes <= 100:
            raise StorageFull("The disk is full.")
        return 0.0

    monkeypatch.setattr(MemoryStore, "probe", probe)
    monkeypatch.setattr(MemoryStore, "status", get_shrunk_status)
    with start().client() as client:
        response = client.get("/monitoring/ready")
        assert (response.status_code, response.json()["status"]) == (status, health)
        assert response.json()["checks"]["disk"]["status"] == health
        assert ("retry-after" in response.headers) is (status == 503)
        assert client.get("/monitoring/live").status_code == 200


@pytest.mark.parametrize(
    ("jump_s", "recorded_ahead_s", "detail"),
    [
        (301.0, 0.0, "The clock jumped ahead"),
        (-301.0, 0.0, "The clock is behind"),
        (0.0, 301.0, "The clock is behind"),
        (300.0, 300.0, "The clock keeps its course"),
    ],
)
def test_a_clock_off_its_course_degrades_the_health(
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    jump_s: float,
    recorded_ahead_s: float,
    detail: str,
) -> None:
    get_status = MemoryStore.status

    def get_status_ahead(store: MemoryStore) -> StoreStatus:
        return msgspec.structs.replace(get_status(store), recorded_ahead_s=recorded_ahead_s)

    monkeypatch.setattr(MemoryStore, "status", get_status_ahead)
    with start().client() as client:
        monkeypatch.setattr(SystemClock, "jump_s", lambda _: jump_s)
        response = client.get("/monitoring/ready")
        check = response.json()["checks"]["clock"]
        assert response.status_code == 200
        assert check["detail"].startswith(detail)
        assert check["status"] == ("ok" if "keeps" in detail else "degraded")
        command = client.post("/v1/ops/projects", json=WIND)
        assert command.status_code == (503 if jump_s > 300 else 201)
        assert client.get("/v1/ops/projects").status_code == 200


def test_a_failure_of_unsupervised_work_is_in_the_health(start: Start) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    service = start()
    with service.client() as client:
        assert service.loop is not None
        service.loop.call_soon_threadsafe(fail)
        check = client.get("/monitoring/health").json()["checks"]["background"]
        assert check["failing"] == [
            {"name": "unsupervised work", "failures": 1, "error": "ZeroDivisionError"}
        ]


def test_rows_to_compare_after_an_unclean_stop_degrade_the_health(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_status = MemoryStore.status

    def get_unclean_status(store: MemoryStore) -> StoreStatus:
        return msgspec.structs.replace(get_status(store), uncompared_rows=7)

    monkeypatch.setattr(MemoryStore, "status", get_unclean_status)
    with start().client() as client:
        response = client.get("/monitoring/ready")
        assert (response.status_code, response.json()["status"]) == (200, "degraded")
        projection = response.json()["checks"]["projection"]
        assert (projection["status"], projection["uncompared_rows"]) == ("degraded", 7)
        text = client.get("/monitoring/metrics").text
        assert "spawn_projection_uncompared_rows 7.0" in text


@pytest.mark.parametrize(("stalled_s", "status"), [(119.0, 200), (121.0, 503)])
def test_a_writer_without_progress_ends_the_liveness(
    start: Start, monkeypatch: pytest.MonkeyPatch, stalled_s: float, status: int
) -> None:
    service = start()
    monkeypatch.setattr(MemoryStore, "stalled_s", lambda _: stalled_s)
    with service.client() as client:
        assert client.get("/monitoring/live").status_code == status


def test_a_dead_background_task_degrades_the_health_and_is_started_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background_tasks, "FIRST_PAUSE_S", 0.01)
    run, starts = JournalWatch.run, iter(range(100))

    async def fail_first(watch: JournalWatch) -> None:
        if next(starts) == 0:
            raise KeyError("cause")
        await run(watch)

    monkeypatch.setattr(JournalWatch, "run", fail_first)
    with start().client() as client:
        client.post("/v1/ops/projects", json=WIND)
        client.post("/v1/ops/projects", json={**WIND, "status": "OPERATION"})
        text = scrape_published(client)
        assert 'spawn_background_task_failures_total{task="journal watch"} 1.0' in text
        response = client.get("/monitoring/health")
        assert (response.status_code, response.json()["status"]) == (200, "degraded")
        check = response.json()["checks"]["background"]
        assert check["failing"] == [{"name": "journal watch", "failures": 1, "error": "KeyError"}]
        assert "journal watch" in check["detail"]


def test_unreachable_ontology_server_degrades_the_health(start: Start) -> None:
    service = start(ontology_url="http://127.0.0.1:9", ontology_timeout_s=0.2)
    with service.client() as client:
        client.post("/v1/governance/schemas/project_schema/refresh")
        response = client.get("/monitoring/health")
        assert response.status_code == 200
        assert response.json()["status"] == "degraded"
        schema = response.json()["checks"]["schema"]
        assert schema["status"] == "degraded"
        assert schema["provenance"] == "bundled"
        assert client.post("/v1/ops/projects", json=WIND).status_code == 201


def test_metrics_count_requests_by_route_template(client: httpx.Client) -> None:
    created = client.post("/v1/ops/projects", json=WIND)
    client.get(created.headers["location"])
    client.get("/v1/ops/projects/nonsense/nowhere")
    text = client.get("/monitoring/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = families["http_server_request_duration_seconds"].samples
    routes = {sample.labels["http_route"] for sample in samples}
    assert "/v1/ops/projects/{project_id}" in routes
    assert "unrouted" in routes
    assert not any(created.json()["project_id"] in route for route in routes)
    bounds = {sample.labels.get("le") for sample in samples if sample.name.endswith("_bucket")}
    assert {"0.005", "1.0", "+Inf"} <= bounds


def test_metrics_cover_schema_registry_store_and_feed(client: httpx.Client) -> None:
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
        "spawn_build_info",
        "spawn_http_places_in_use",
        "spawn_http_places_limit",
        "spawn_http_places_rejected",
        "spawn_http_rate_limited_requests",
        "spawn_http_expired_requests",
        "spawn_http_cached_responses",
        "spawn_event_loop_lag_seconds",
        "spawn_jobs_waiting",
        "spawn_jobs_running",
        "process_resident_memory_bytes",
        "process_open_fds",
    ):
        assert name in families


@tenacity.retry(wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_delay(20))
def scrape_published(client: httpx.Client) -> str:
    """Return the metrics once the relay has published every event."""
    text = client.get("/monitoring/metrics").text
    assert 'spawn_domain_events_total{type="project.created"} 2.0' in text
    return text


def test_domain_metrics_are_derived_from_domain_events(start: Start) -> None:
    service = start()
    with service.client() as client:
        client.post("/v1/ops/projects", json=WIND)
        client.post("/v1/ops/projects", json={**WIND, "status": "OPERATION"})
        text = scrape_published(client)
        families = {family.name: family for family in text_string_to_metric_families(text)}
    created_count = sum(
        s.value
        for s in families["spawn_domain_events"].samples
        if s.labels.get("type") == "project.created" and s.name.endswith("_total")
    )
    assert created_count == 2
    counts = {s.labels["status"]: s.value for s in families["spawn_project_status_reached"].samples}
    assert {s: n for s, n in counts.items() if n} == {"PROPOSED": 1, "OPERATION": 1}
