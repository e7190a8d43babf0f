"""Dead letters over HTTP: an undeliverable event is stored, read, replayed or discarded."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND, Service, Start
from tests.product.webhooks import Event, WebhookSink

from spawn.application.events.delivery import RetryPolicy
from spawn.entrypoints.settings import read_settings

LETTERS = "/v1/events/dead-letters"
QUICK = RetryPolicy(max_attempts=3, initial_delay_s=0.01, max_delay_s=0.02, max_pause_s=0.02)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[WebhookSink]:
    sink = WebhookSink(tmp_path).open()
    yield sink
    sink.close()


@pytest.fixture
def service(start: Start, sink: WebhookSink, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service whose consumer rejects every event of a project named Poison."""
    monkeypatch.setattr("spawn.entrypoints.composition.RETRY_POLICY", QUICK)
    sink.respond = _reject_poison
    settings = read_settings(sink.settings())
    return start(
        events_url=settings.events_url,
        webhook_secrets_file=settings.webhook_secrets_file,
        webhook_allowed_networks=settings.webhook_allowed_networks,
    )


def _reject_poison(event: Event) -> int:
    return 422 if event["data"]["after"]["project_name"] == "Poison" else 204


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def _has_subject(subject: str) -> Callable[[list[Event]], bool]:
    return lambda events: any(event["subject"] == subject for event in events)


def create(client: httpx.Client, name: str) -> str:
    response = client.post("/v1/ops/projects", json=WIND | {"project_name": name})
    return f"projects/{response.json()['project_id']}"


@pytest.fixture
def letter(client: httpx.Client, sink: WebhookSink) -> dict[str, Any]:
    """The dead letter of a poison event; events of other projects were delivered."""
    poison = create(client, "Poison")
    other = create(client, "Wind")
    sink.wait(_has_subject(other))
    position = client.get("/v1/events").json()["next"]
    while not (items := client.get(LETTERS).json()["items"]):
        client.get("/v1/events", params={"after": position})
    letter: dict[str, Any]
    (letter,) = items
    assert letter["subject"] == poison
    return letter


def test_a_poison_event_becomes_a_dead_letter_with_every_detail(
    client: httpx.Client, letter: dict[str, Any]
) -> None:
    assert letter["publisher"] == "sink"
    assert letter["state"] == "waiting"
    assert letter["event_type"] == "spawn.project.created.v1"
    assert (letter["sequence"], letter["tries"]) == ("0000000001", 3)
    assert letter["reason"].startswith("The receiver responded with 422")
    assert client.get(f"{LETTERS}/{letter['dead_letter_id']}").json() == letter
    event = client.get("/v1/events", params={"subject": letter["subject"]}).json()["events"][0]
    assert (event["id"], event["time"]) == (letter["event_id"], letter["event_time"])


def test_health_and_metrics_report_open_dead_letters(
    client: httpx.Client, letter: dict[str, Any]
) -> None:
    del letter
    feed = client.get("/monitoring/health").json()["checks"]["feed"]
    assert feed["status"] == "degraded"
    assert feed["detail"] == "1 dead letters are open: replay or discard them."
    sink = next(one for one in feed["publishers"] if one["name"] == "sink")
    assert (sink["dead_letters"], sink["waiting"], sink["error"]) == (1, 0, None)
    metrics = client.get("/monitoring/metrics").text
    assert 'spawn_dead_letters{publisher="sink"} 1.0' in metrics
    for outcome, count in (("dead_lettered", 1), ("failed", 3)):
        labels = f'{{outcome="{outcome}",publisher="sink"}}'
        assert f"spawn_events_published_total{labels} {count}.0" in metrics


def test_a_dead_letter_is_replayed_once_the_consumer_accepts_it(
    client: httpx.Client, sink: WebhookSink, letter: dict[str, Any]
) -> None:
    where = f"{LETTERS}/{letter['dead_letter_id']}"
    rejected = client.post(f"{where}/replay")
    assert (rejected.status_code, rejected.json()["code"]) == (502, "delivery_failed")
    assert "422" in rejected.json()["detail"]
    sink.respond = lambda _event: 204
    replayed = client.post(f"{where}/replay")
    assert (replayed.status_code, replayed.json()["state"]) == (200, "replayed")
    assert sink.events[-1]["id"] == letter["event_id"]
    assert client.get("/monitoring/health").json()["checks"]["feed"]["status"] == "ok"
    for verb in ("replay", "discard"):
        again = client.post(f"{where}/{verb}")
        assert (again.status_code, again.json()["code"]) == (409, "conflict")


def test_a_dead_letter_is_discarded_and_can_still_be_read(
    client: httpx.Client, sink: WebhookSink, letter: dict[str, Any]
) -> None:
    event_count = len(sink.events)
    response = client.post(f"{LETTERS}/{letter['dead_letter_id']}/discard")
    assert (response.status_code, response.json()["state"]) == (200, "discarded")
    assert len(sink.events) == event_count
    for state, number in (("waiting", 0), ("discarded", 1), ("replayed", 0)):
        page = client.get(LETTERS, params={"state": state}).json()
        assert (len(page["items"]), page["next"]) == (number, None)


def test_dead_letters_are_paged(
    client: httpx.Client, sink: WebhookSink, letter: dict[str, Any]
) -> None:
    poisons = [letter["subject"]]
    for _ in range(4):
        poisons.append(create(client, "Poison"))
        other = create(client, "Wind")
        sink.wait(_has_subject(other))
    while len(client.get(LETTERS).json()["items"]) < 5:
        create(client, "Wind")
    subjects: list[str] = []
    page = client.get(LETTERS, params={"limit": 2, "state": "waiting"})
    while True:
        subjects += [item["subject"] for item in page.json()["items"]]
        if page.json()["next"] is None:
            break
        page = client.get(page.links["next"]["url"])
    assert sorted(subjects) == sorted(poisons)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nonsense", 404),
        ("GET", "/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b", 404),
        ("POST", "/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b/replay", 404),
        ("POST", "/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b/discard", 404),
        ("GET", "?state=lost", 422),
        ("GET", "?after=x", 400),
        ("GET", "?colour=red", 422),
        ("DELETE", "/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b", 405),
    ],
)
def test_requests_for_no_dead_letter_are_rejected(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    assert client.request(method, LETTERS + path).status_code == status
