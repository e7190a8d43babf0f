"""A repeated request gets its first response, whatever happened to service and project since."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.http.conftest import WIND, Service, Start
from tests.http.registry_stub import RegistryStub, serve_registry

from spawn.adapters.memory.store import MemoryStore
from spawn.domain.aggregates import decode_state, encode_state
from spawn.domain.change import IdempotencyKey, StoredAggregate, StoredResponse
from spawn.domain.projects.project import PROJECT_KIND, Project
from spawn.entrypoints.http.projects.representation import (
    build_representation,
    build_representation_of_document,
)
from spawn.testing.strategies import projects, schemas

PROJECTS = "/v1/ops/projects"
SCHEMA = "/v1/governance/schemas/project_schema"
EARLIER_RELEASE = Path(__file__).parent / "earlier_release"
OWN_HEADERS = {"date", "x-request-id", "cross-origin-resource-policy"}
"""Headers of the transport, which differ with every response or came in a later release."""

UNITS = {"name": "units", "type": "integer", "deprecated": True}
LOAD = {"name": "load", "type": "double"}
TURBINES = {"name": "turbines", "type": "bigint", "aliases": ["units"], "default": 4}


class Exchange:
    """A request with an idempotency key, and its first response."""

    def __init__(self, client: httpx.Client, method: str, path: str, **request: Any) -> None:
        headers = {"idempotency-key": uuid4().hex, **request.pop("headers", {})}
        self._request = {"method": method, "url": path, "headers": headers, **request}
        self.first = client.request(**self._request)
        assert self.first.status_code < 300, self.first.text

    def check(self, client: httpx.Client) -> None:
        """Repeat the request; its response must be the first one, byte for byte."""
        assert comparable(client.request(**self._request)) == comparable(self.first)


def comparable(response: httpx.Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    headers = [pair for pair in response.headers.raw if pair[0].decode() not in OWN_HEADERS]
    return response.status_code, headers, response.content


@pytest.mark.parametrize("command", ["create", "create with a reference", "transition"])
def test_an_attempt_that_meets_the_effect_of_its_first_one_gets_its_response(
    start: Start, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The first attempt commits between the second one's look for a receipt and its decision."""
    find_receipt, missed_keys = MemoryStore.find_receipt, set[str]()

    async def miss_once(store: MemoryStore, key: IdempotencyKey) -> StoredResponse | None:
        if key.key in missed_keys:
            return await find_receipt(store, key)
        missed_keys.add(key.key)
        return None

    with start().client() as client:
        body: dict[str, Any] = dict(WIND)
        if command != "create":
            body["external_ref"] = {"source": "desk", "id": "P1"}
        if command.startswith("create"):
            exchange = Exchange(client, "POST", PROJECTS, json=body)
        else:
            path = f"{client.post(PROJECTS, json=body).headers['location']}/transitions"
            transition = {"to": "MANDATED", "reason": "signed"}
            headers = {"if-match": "*"}
            exchange = Exchange(client, "POST", path, json=transition, headers=headers)
        monkeypatch.setattr(MemoryStore, "find_receipt", miss_once)
        exchange.check(client)


@pytest.fixture
def registry() -> Iterator[RegistryStub]:
    with serve_registry(UNITS, LOAD) as stub:
        yield stub


def run_commands(client: httpx.Client) -> list[Exchange]:
    """Create, amend, amend without effect, and transition, each with a key of its own."""
    body = {**WIND, "units": 7, "load": 0.5, "x_hub": {"a": 1.50}, "x_turbines": 9}
    created = Exchange(client, "POST", PROJECTS, json=body)
    where = created.first.headers["location"]
    patch = {"sector": "sea", "units": 8}
    amended = Exchange(client, "PATCH", where, json=patch, headers={"if-match": "*"})
    tag = {"if-match": amended.first.headers["etag"]}
    unchanged = Exchange(client, "PATCH", where, json={"load": 0.5}, headers=tag)
    step = {"to": "MANDATED", "reason": "signed"}
    moved = Exchange(client, "POST", f"{where}/transitions", json=step, headers=tag)
    assert "spawn-warnings" in created.first.headers
    assert unchanged.first.json()["version"] == amended.first.json()["version"] == 2
    return [created, amended, unchanged, moved]


def refresh(client: httpx.Client, version: int) -> None:
    assert client.post(f"{SCHEMA}/refresh").status_code == 200
    assert client.get(SCHEMA).json()["version"] == version


@pytest.mark.parametrize("storage", ["duckdb", "memory"])
def test_replays_survive_later_versions_migrations_and_a_restart(
    registry: RegistryStub, start: Start, tmp_path: Path, storage: str
) -> None:
    url = "memory://" if storage == "memory" else f"duckdb:///{tmp_path}/store.duckdb"
    options = {"ontology_url": registry.url, "storage_url": url, "schema_refresh_s": 86_400.0}
    service = start(**options)
    with service.client() as client:
        exchanges = run_commands(client)
        where = exchanges[0].first.headers["location"]
        registry.publish(3, TURBINES)
        refresh(client, 3)
        for exchange in exchanges:
            exchange.check(client)
        # It shows version 3 of the project, which was written under schema version 2.
        same = Exchange(client, "PATCH", where, json={"turbines": 8}, headers={"if-match": "*"})
        assert (same.first.json()["version"], same.first.json()["turbines"]) == (3, 8)
        exchanges.append(same)
        patch = {"turbines": 10, "x_hub": None}
        client.patch(where, json=patch, headers={"if-match": "*"}).raise_for_status()
        registry.publish(4, {**TURBINES, "name": "machines", "aliases": ["units", "turbines"]})
        refresh(client, 4)
        for exchange in exchanges:
            exchange.check(client)
    if storage == "duckdb":
        service.stop()
        with start(**options).client() as client:
            for exchange in exchanges:
                exchange.check(client)


def test_a_submitted_job_is_acknowledged_again_as_it_was(start: Start, tmp_path: Path) -> None:
    options = {"storage_url": f"duckdb:///{tmp_path}/store.duckdb"}
    service = start(**options)
    upload: dict[str, Any] = {
        "content": json.dumps(WIND) + "\n",
        "headers": {"content-type": "application/x-ndjson"},
    }
    with service.client() as client:
        submitted = Exchange(client, "POST", "/v1/ops/imports", **upload)
        client.delete(submitted.first.headers["location"])
        submitted.check(client)
    service.stop()
    with start(**options).client() as client:
        assert client.get(submitted.first.headers["location"]).json()["status"] != "queued"
        submitted.check(client)


@pytest.fixture
def earlier_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that an earlier release wrote, an hour ago, with whole responses as receipts."""
    recorded_at = json.loads((EARLIER_RELEASE / "exchanges.json").read_text())["recorded_at"]
    now = datetime.fromisoformat(recorded_at).astimezone(UTC) + timedelta(hours=1)

    class ClockOfThen:
        def now(self) -> datetime:
            return now

        def jump_s(self) -> float:
            return 0.0

    monkeypatch.setattr("spawn.entrypoints.composition.SystemClock", ClockOfThen)
    path = tmp_path / "store.duckdb"
    path.write_bytes(gzip.decompress((EARLIER_RELEASE / "store.duckdb.gz").read_bytes()))
    mark = (EARLIER_RELEASE / "store.duckdb.mark").read_bytes()
    (tmp_path / "store.duckdb.mark").write_bytes(mark)
    return path


def test_receipts_of_an_earlier_release_are_replayed(earlier_store: Path, start: Start) -> None:
    exchanges = json.loads((EARLIER_RELEASE / "exchanges.json").read_text())["exchanges"]
    service: Service = start(storage_url=f"duckdb:///{earlier_store}")
    with service.client() as client:
        before = client.get("/v1/events").json()
        for exchange in exchanges:
            response = client.request(
                exchange["method"],
                exchange["path"],
                headers=exchange["headers"],
                content=exchange["content"].encode(),
            )
            status, headers, content = comparable(response)
            assert (status, content.decode()) == (exchange["status"], exchange["response"])
            assert [[name.decode(), value.decode()] for name, value in headers] == exchange[
                "response_headers"
            ]
        assert client.get("/v1/events").json() == before
        # Its document has the address of the result, which later ones do not.
        submitted = json.loads(exchanges[-1]["response"])
        job = client.get(f"/v1/jobs/{submitted['job_id']}").json()
        assert (job["status"], job["result_url"]) == ("succeeded", submitted["result_url"])
        assert client.get(job["result_url"]).json()["accepted"] == 1
        other = {**exchanges[0]["headers"], "content-type": "application/json"}
        reused = client.post(PROJECTS, json=WIND, headers=other)
        assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


@given(data=st.data())
def test_a_document_of_the_journal_renders_the_bytes_of_the_state(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    state = data.draw(projects(schema))
    document = encode_state(PROJECT_KIND, state, schema)
    decoded = decode_state(PROJECT_KIND, document, schema)
    at = datetime(2026, 3, 1, tzinfo=UTC)

    def stored(project: Any) -> StoredAggregate[Project]:
        return StoredAggregate(
            kind=PROJECT_KIND,
            id=state.project_id,
            version=1,
            state=project,
            created_at=at,
            updated_at=at,
            schema_version=schema.version,
        )

    def render(project: Any) -> bytes:
        return build_representation(stored(project), schema, '"1"', ()).body

    assert render(decoded) == render(state)
    if not state.hidden_attributes:
        spliced = build_representation_of_document(stored(state), document, '"1"', ())
        assert spliced.body == render(state)
