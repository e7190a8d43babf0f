"""A registry that lists, serves and withdraws what it should not, and a service that goes on."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND, Service
from tests.product.ontology import run_ontology_server, send_json

from spawn.domain.schema_version import MAX_VERSION

SCHEMA = "/v1/governance/schemas/project_schema"
UNITS = {"name": "units", "type": "integer"}


class HostileRegistry:
    """Documents by version; `versions` is the body of the list, None for no list."""

    def __init__(self) -> None:
        self.documents: dict[int, bytes] = {}
        self.versions: bytes | None = None
        self.url = ""

    def publish(self, number: int, *columns: dict[str, Any], **members: Any) -> None:
        document = {"id": "project_schema", "version": number, "columns": columns, **members}
        self.documents[number] = json.dumps(document).encode()
        self.list(*self.documents)

    def list(self, *numbers: object) -> None:
        self.versions = json.dumps({"versions": [{"version": n} for n in numbers]}).encode()

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        *_, last = handler.path.split("/")
        body: bytes | None = self.documents[max(self.documents)]
        if last == "versions":
            body = self.versions
        elif last.isdecimal():
            body = self.documents.get(int(last))
        send_json(handler, 404 if body is None else 200, body or b"{}")


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    registry = HostileRegistry()
    registry.publish(1, UNITS)
    with run_ontology_server(registry.respond) as registry.url:
        yield registry


def check_list_without_a_number(
    client: httpx.Client, registry: HostileRegistry, entry: object
) -> None:
    """Refresh from a list with an entry without a number, which health names."""
    registry.list(1, entry, 2)
    response = client.post(f"{SCHEMA}/refresh")
    assert response.json()["code"] == "registry_error"
    check = client.get("/monitoring/health").json()["checks"]["schema"]
    assert "/versions/1/version is " in check["detail"]


def reject_unread(client: httpx.Client, number: int, reason: str) -> None:
    """Reject a version that was not read for a reason, which health and candidates name."""
    check = client.get("/monitoring/health").json()["checks"]["schema"]
    assert f"version {number} is failed: it is listed, but was not read" in check["detail"]
    candidates = client.get(f"{SCHEMA}/candidates").json()["items"]
    (waiting,) = (one for one in candidates if one["version"] == number)
    assert waiting["state"] == "failed"
    assert reason in waiting["reason"]
    url = f"{SCHEMA}/candidates/{number}/reject"
    assert client.post(url, json={"reason": "misplaced"}).status_code == 200


def test_no_registry_ends_evolution_or_hides_what_it_did(registry: HostileRegistry) -> None:
    service = Service(ontology_url=registry.url, schema_refresh_s=86_400.0).start()
    try:
        with service.client() as client:

            def refresh() -> dict[str, Any]:
                response = client.post(f"{SCHEMA}/refresh")
                assert response.status_code == 200, response.text
                return dict(response.json())

            def health() -> tuple[str, str]:
                check = client.get("/monitoring/health").json()["checks"]["schema"]
                return check["status"], check["detail"]

            refresh()  # the one of the start might still be on its way
            assert client.post("/v1/ops/projects", json={**WIND, "units": 7}).status_code == 201
            # Numbers that are none, too large, or of another content.
            registry.publish(MAX_VERSION, UNITS, {"name": "far", "type": "date"})
            registry.publish(2, UNITS, {"name": "hub", "type": "integer"})
            for hostile in (None, -3, 1e30, True, "two"):
                check_list_without_a_number(client, registry, hostile)
            registry.list(1, "2", 10**18, MAX_VERSION, 2, 2)
            result = refresh()
            assert [(o["version"], o["verdict"]) for o in result["outcomes"]] == [
                (2, "adopted"),
                (MAX_VERSION, "quarantined"),
            ]
            assert client.get(SCHEMA).json()["version"] == 2
            assert health()[0] == "degraded"
            del registry.documents[MAX_VERSION]
            registry.list(1, 2)
            assert refresh()["verdict"] == "unchanged"
            assert health()[0] == "ok"
            # One without columns, a version of another schema, and one that says another number.
            registry.publish(3, name="none", columns=7)
            registry.publish(4, UNITS, id="another")
            registry.publish(5, UNITS, {"name": "hub", "type": "integer"}, version=6)
            registry.publish(7, UNITS, {"name": "hub", "type": "bigint"})
            verdicts = [(o["version"], o["verdict"]) for o in refresh()["outcomes"]]
            assert verdicts == [(3, "quarantined"), (4, "failed")]
            assert health()[0] == "degraded"
            reject_unread(client, 4, "is not the requested")
            del registry.documents[5]
            registry.list(*registry.documents)
            verdicts = [(o["version"], o["verdict"]) for o in refresh()["outcomes"]]
            assert verdicts == [(3, "unchanged"), (4, "unchanged"), (7, "adopted")]
            assert health()[0] == "ok"
            # The list becomes garbage, then is gone, then is back.
            for versions, detail in ((b"<!doctype html>", "JSON"), (None, "no longer lists")):
                registry.versions = versions
                response = client.post(f"{SCHEMA}/refresh")
                assert response.json()["code"] == "registry_error"
                status, text = health()
                assert (status, detail in text) == ("degraded", True), text
            registry.list(*registry.documents)
            assert refresh()["verdict"] == "unchanged"
            assert health()[0] == "ok"
            # An adopted number with another content is quarantined; the data stay readable.
            registry.publish(7, {"name": "units", "type": "string"})
            assert "another content" in refresh()["detail"]
            (project,) = client.get("/v1/ops/projects").json()["items"]
            assert project["units"] == 7
    finally:
        service.stop()
