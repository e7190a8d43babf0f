"""Schema versions are adopted while clients use the service."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import tenacity
import uvicorn
from tests.http.conftest import WIND, Service, Start

from spawn.adapters.ontology.published_documents import PublishedDocuments
from spawn.entrypoints.ontology_server.routes import create_app

pytestmark = pytest.mark.real

PROJECTS = "/v1/ops/projects"
SCHEMA = "/v1/governance/schemas/project_schema"
UNITS = {"name": "units", "type": "integer"}
GRADE = {"name": "grade", "type": "string(20)", "enum": ["A", "B"]}
CLIENTS = 4

Publish = Callable[..., None]


class Ontology:
    """A real ontology server in a thread of its own."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        config = uvicorn.Config(
            create_app(PublishedDocuments()), log_level="error", proxy_headers=False
        )
        self._server = uvicorn.Server(config)
        sockets = {"sockets": [self._listener]}
        self._thread = threading.Thread(target=self._server.run, kwargs=sockets, daemon=True)
        self._thread.start()

    def publish(
        self,
        version: int,
        *columns: dict[str, Any],
        schema_id: str = "project_schema",
        **members: Any,
    ) -> None:
        """Publish a version with these columns."""
        document = {"id": schema_id, "version": version, "columns": columns, **members}
        path = f"{self.url}/schemas/{schema_id}/versions/{version}"
        httpx.put(path, json=document, trust_env=False).raise_for_status()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


@pytest.fixture
def ontology() -> Iterator[Ontology]:
    server = Ontology()
    yield server
    server.stop()


@pytest.fixture
def service(ontology: Ontology, start: Start, tmp_path: Path) -> Service:
    """A service that has adopted version 2 and refreshes only on request."""
    ontology.publish(2, UNITS, GRADE)
    return start(
        ontology_url=ontology.url,
        storage_url=f"duckdb:///{tmp_path}/store.duckdb",
        schema_refresh_s=86_400.0,
    )


def refresh(client: httpx.Client) -> None:
    assert client.post(f"{SCHEMA}/refresh").status_code == 200


def active(client: httpx.Client) -> int:
    return int(client.get(SCHEMA).json()["version"])


def create(client: httpx.Client, **fields: Any) -> httpx.Response:
    made = client.post(PROJECTS, json={**WIND, **fields})
    assert made.status_code == 201, made.text
    return made


def test_reads_and_writes_follow_an_adopted_version_without_a_restart(
    ontology: Ontology, service: Service
) -> None:
    with service.client() as client:
        first = create(client, units=7, grade="A", x_hub=120)
        where = first.headers["location"]
        listed = client.get(PROJECTS).headers["etag"]
        turbines = {"name": "turbines", "type": "bigint", "aliases": ["units"]}
        hub = {"name": "hub", "type": "integer", "default": 9}
        ontology.publish(3, turbines, {**GRADE, "enum": ["A", "B", "C"]}, hub)
        refresh(client)
        assert active(client) == 3
        project = client.get(where)
        body = project.json()
        assert (body["turbines"], body["grade"], body["hub"]) == (7, "A", 120)
        assert not {"units", "x_hub"} & set(body)
        assert "versions/3" in project.headers["link"]
        assert project.headers["etag"] != first.headers["etag"]
        assert client.get(PROJECTS, headers={"if-none-match": listed}).status_code == 200
        assert len(client.get(PROJECTS, params={"turbines[gte]": 7}).json()["items"]) == 1
        assert len(client.get(PROJECTS, params={"units": 7}).json()["items"]) == 1
        # The tag that was decided on before still names the version of the project.
        patched = client.patch(
            where, json={"grade": "C"}, headers={"if-match": first.headers["etag"]}
        )
        assert (patched.status_code, patched.json()["grade"]) == (200, "C")
        second = create(client, units=3)
        assert (second.json()["turbines"], second.json()["hub"]) == (3, 9)
        described = client.get("/openapi.json").json()["components"]["schemas"]
        assert "turbines" in json.dumps(described)
        history = client.get(f"{where}/history").json()["items"]
        assert [item["schema_version"] for item in history] == [2, 3]
        assert history[0]["document"]["units"] == 7
        past = client.get(where, params={"as_of": body["created_at"]}).json()
        assert (past["turbines"], past["grade"]) == (7, "A")


def test_paging_continues_under_the_next_version(ontology: Ontology, service: Service) -> None:
    with service.client() as client:
        for number in range(5):
            create(client, units=number)
        asked: dict[str, Any] = {"sort": "-units", "units[gte]": 1, "limit": 2}
        first = client.get(PROJECTS, params=asked).json()
        turbines = {"name": "turbines", "type": "bigint", "aliases": ["units"]}
        ontology.publish(3, turbines, GRADE)
        refresh(client)
        second = client.get(PROJECTS, params={**asked, "after": first["next"]})
        assert second.status_code == 200, second.text
        units = [item["units"] for item in first["items"]]
        assert units + [item["turbines"] for item in second.json()["items"]] == [4, 3, 2, 1]


def test_adoption_and_quarantine_are_events(ontology: Ontology, service: Service) -> None:
    with service.client() as client:
        create(client)
        ontology.publish(3, UNITS, GRADE, {"name": "hub", "type": "integer"})
        refresh(client)
        ontology.publish(4, UNITS, GRADE, {"name": "hub", "type": "date"})
        refresh(client)
        events = client.get("/v1/events", params={"subject": "schemas/project_schema"}).json()
        adopted, quarantined = events["events"]
    assert (adopted["type"], adopted["sequence"]) == ("spawn.schema.adopted.v1", "0000000001")
    assert adopted["subject"] == "schemas/project_schema"
    after = adopted["data"]["after"]
    assert (after["version"], after["previous_version"], after["changed"]) == (3, 2, ["hub"])
    assert quarantined["type"] == "spawn.schema.quarantined.v1"
    assert "/columns/hub/type" in quarantined["data"]["after"]["reason"]
    assert quarantined["data"]["after"]["active_version"] == 3


def test_quarantined_version_is_in_health_and_metrics_and_the_active_one_serves(
    ontology: Ontology, service: Service
) -> None:
    with service.client() as client:
        made = create(client, grade="A")
        ontology.publish(3, UNITS, {**GRADE, "type": "integer", "enum": [1]})
        refresh(client)
        assert active(client) == 2
        assert client.get(made.headers["location"]).json()["grade"] == "A"
        ready = client.get("/monitoring/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        check = client.get("/monitoring/health").json()["checks"]["schema"]
        assert check["status"] == "degraded"
        assert check["detail"].startswith("version 3 is quarantined: /columns/grade/type")
        assert check["waiting"][0]["version"] == 3
        metrics = client.get("/monitoring/metrics").text
        assert "spawn_schema_quarantined_total 1.0" in metrics
        waiting = client.get(f"{SCHEMA}/candidates").json()["items"]
        assert [(item["version"], item["state"]) for item in waiting] == [(3, "quarantined")]
        ontology.publish(4, UNITS, {**GRADE, "enum": ["A", "B", "C"]})
        refresh(client)
        assert active(client) == 4
        metrics = client.get("/monitoring/metrics").text
        assert "spawn_schema_active_info{" in metrics
        assert 'spawn_schema_migrations_total{outcome="adopted"} 1.0' in metrics
        assert client.get("/monitoring/health").json()["checks"]["schema"]["status"] == "ok"


def test_versions_are_adopted_by_the_periodic_refresh(
    ontology: Ontology, start: Start, tmp_path: Path
) -> None:
    ontology.publish(2, UNITS)
    service = start(
        ontology_url=ontology.url,
        storage_url=f"duckdb:///{tmp_path}/store.duckdb",
        schema_refresh_s=0.1,
    )
    with service.client() as client:
        create(client, units=7)
        ontology.publish(3, {**UNITS, "type": "bigint"}, GRADE)
        for attempt in tenacity.Retrying(
            wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_delay(20), reraise=True
        ):
            with attempt:
                assert active(client) == 3
        assert create(client, units=2**40).json()["units"] == 2**40


STAGES: list[list[dict[str, Any]]] = [
    [UNITS, GRADE, {"name": "hub", "type": "integer"}],
    [UNITS, GRADE, {"name": "hub", "type": "bigint"}, {"name": "tier", "type": "string"}],
    [
        {"name": "turbines", "type": "integer", "aliases": ["units"]},
        GRADE,
        {"name": "hub", "type": "bigint"},
        {"name": "tier", "type": "string", "required": True, "default": "none"},
    ],
    [
        {"name": "turbines", "type": "bigint", "aliases": ["units"]},
        {**GRADE, "enum": ["A", "B", "C"]},
        {"name": "tier", "type": "string", "required": True, "default": "none"},
    ],
]
NAMES = {2: {"units", "grade"}} | {
    version: {str(column["name"]) for column in columns}
    for version, columns in enumerate(STAGES, start=3)
}
GOVERNED = set().union(*NAMES.values())


class Desk(threading.Thread):
    """A client that reads and writes all the while, and keeps account of what is wrong."""

    def __init__(self, service: Service, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._service = service
        self._number = number
        self._ended = stop
        self.rounds = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        with self._service.client() as client:
            while not self._ended.is_set():
                try:
                    self._round(client)
                except (AssertionError, httpx.HTTPError, KeyError) as fault:
                    self.wrong.append(repr(fault))
                    return
                self.rounds += 1

    def _round(self, client: httpx.Client) -> None:
        number = self._number * 10_000 + self.rounds
        made = self._good(client.post(PROJECTS, json={**WIND, "units": number, "grade": "A"}), 201)
        where = made.headers["location"]
        read = self._good(client.get(where))
        assert self._units(read.json()) == number
        changed = {"units": number + 1, "sector": f"s{number}"}
        headers = {"if-match": read.headers["etag"], "idempotency-key": f"k{number}"}
        amended = self._good(client.patch(where, json=changed, headers=headers))
        assert self._units(amended.json()) == number + 1
        again = client.patch(where, json=changed, headers=headers)
        assert again.content == amended.content
        step = {"to": "MANDATED", "reason": "signed"}
        moved = client.post(f"{where}/transitions", json=step, headers={"if-match": "*"})
        assert self._units(self._good(moved).json()) == number + 1
        listed = client.get(PROJECTS, params={"sector": f"s{number}", "sort": "-units"})
        assert listed.status_code == 200, listed.text
        (item,) = listed.json()["items"]
        assert self._units(item) == number + 1

    @staticmethod
    def _good(response: httpx.Response, status: int = 200) -> httpx.Response:
        """Return the response, whose columns must be those of its schema version."""
        assert response.status_code == status, response.text
        version = int(response.headers["link"].partition("/versions/")[2].partition(">")[0])
        columns = GOVERNED & set(response.json())
        assert columns == NAMES[version], (version, columns)
        return response

    @staticmethod
    def _units(project: dict[str, Any]) -> int:
        return int(project["units"] if "units" in project else project["turbines"])


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["duckdb", "memory"])
def test_clients_see_no_errors_during_adoptions(
    ontology: Ontology, start: Start, tmp_path: Path, storage: str
) -> None:
    ontology.publish(2, UNITS, GRADE)
    url = "memory://" if storage == "memory" else f"duckdb:///{tmp_path}/store.duckdb"
    service = start(ontology_url=ontology.url, storage_url=url, schema_refresh_s=86_400.0)
    stop = threading.Event()
    desks = [Desk(service, number, stop) for number in range(1, CLIENTS + 1)]
    with service.client() as client:
        for desk in desks:
            desk.start()
        for version, columns in enumerate(STAGES, start=3):
            _after_rounds(desks, 2)
            ontology.publish(version, *columns)
            with ThreadPoolExecutor(3) as several:
                list(several.map(lambda _: refresh(client), range(3)))
            assert active(client) == version
        _after_rounds(desks, 2)
        stop.set()
        for desk in desks:
            desk.join()
        assert [desk.wrong for desk in desks] == [[]] * CLIENTS
        made = client.get("/monitoring/metrics").text
        assert 'spawn_schema_migrations_total{outcome="adopted"} 4.0' in made


def _after_rounds(desks: list[Desk], rounds: int) -> None:
    """Wait until each client has gone around so many times more."""
    wanted = [desk.rounds + rounds for desk in desks]
    for attempt in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_delay(60), reraise=True
    ):
        with attempt:
            assert not [desk.wrong for desk in desks if desk.wrong]
            assert all(d.rounds >= n for d, n in zip(desks, wanted, strict=True))
