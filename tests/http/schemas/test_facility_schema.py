"""Facilities have a schema of their own, which is adopted beside that of projects."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND, Service
from tests.http.schemas.test_live_adoption import GRADE, UNITS, Ontology

from spawn.application.schemas.activation import SchemaPolicy
from spawn.entrypoints.http.facilities.routes import EXAMPLE

pytestmark = pytest.mark.real

SCHEMAS = "/v1/governance/schemas"
LABEL = {"name": "green_label", "type": "string(40)"}
SPREAD = {"name": "spread_bps", "type": "integer", "minimum": 0}


@pytest.fixture(scope="module")
def ontology() -> Iterator[Ontology]:
    server = Ontology()
    server.publish(2, UNITS, GRADE, {"name": "operator", "type": "string"})
    server.publish(1, LABEL, SPREAD, schema_id="loan_schema")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def service(ontology: Ontology, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that follows a schema of facilities and refreshes only on request."""
    path: Path = tmp_path_factory.mktemp("store") / "store.duckdb"
    one = Service(
        ontology_url=ontology.url,
        storage_url=f"duckdb:///{path}",
        schema_refresh_s=86_400.0,
        schemas=(SchemaPolicy(schema_id="loan_schema", kind="facility"),),
    ).start()
    yield one
    one.stop()


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as one:
        yield one


@pytest.fixture
def path(client: httpx.Client) -> str:
    """The path of the facilities of a new project."""
    return f"{client.post('/v1/ops/projects', json=WIND).headers['location']}/facilities"


def create(client: httpx.Client, path: str, **members: Any) -> httpx.Response:
    response = client.post(path, json={**EXAMPLE, **members})
    assert response.status_code == 201, response.text
    return response


def refresh(client: httpx.Client, schema_id: str) -> dict[str, Any]:
    response = client.post(f"{SCHEMAS}/{schema_id}/refresh")
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


def test_governed_attributes_are_written_read_filtered_and_exported(
    client: httpx.Client, path: str
) -> None:
    created = create(client, path, green_label="GBP-1", spread_bps=175, x_desk="Lisbon")
    body = created.json()
    assert (body["green_label"], body["spread_bps"], body["x_desk"]) == ("GBP-1", 175, "Lisbon")
    assert client.get(created.headers["location"]).json() == body
    assert client.get(path).json()["items"] == [body]
    plain = create(client, path).json()
    assert plain["green_label"] is None
    rows = client.get("/v1/data/facilities.json", params={"green_label": "GBP-1"}).text
    assert created.json()["facility_id"] in rows
    assert plain["facility_id"] not in rows
    patch = {"green_label": None, "x_desk": "Porto", "rank": 2}
    headers = {"if-match": created.headers["etag"]}
    amended = client.patch(created.headers["location"], json=patch, headers=headers).json()
    assert (amended["green_label"], amended["x_desk"], amended["rank"]) == (None, "Porto", 2)
    assert amended["spread_bps"] == 175


@pytest.mark.parametrize(
    ("members", "pointers"),
    [
        ({"spread_bps": -1}, {"/spread_bps"}),
        ({"green_labels": "A"}, {"/green_labels"}),
        ({"green_label": 7, "rank": "x"}, {"/green_label", "/rank"}),
    ],
)
def test_an_invalid_attribute_is_named_beside_the_invalid_terms(
    client: httpx.Client, path: str, members: dict[str, Any], pointers: set[str]
) -> None:
    response = client.post(path, json={**EXAMPLE, **members})
    assert response.status_code == 422
    assert {error["pointer"] for error in response.json()["errors"]} == pointers
    assert client.get(path).json()["items"] == []


def test_a_version_of_facilities_is_adopted_while_projects_keep_theirs(
    client: httpx.Client, ontology: Ontology, path: str
) -> None:
    request = {**EXAMPLE, "green_label": "GBP-2", "x_agent": "First Bank"}
    key = {"idempotency-key": "facility-1"}
    created = client.post(path, json=request, headers=key)
    label = {"name": "label", "type": "string(80)", "aliases": ["green_label"]}
    agent = {"name": "agent", "type": "string(80)"}
    ontology.publish(2, label, SPREAD, agent, schema_id="loan_schema")
    assert refresh(client, "loan_schema")["verdict"] == "adopted"
    body = client.get(created.headers["location"]).json()
    assert (body["label"], body["agent"]) == ("GBP-2", "First Bank")
    assert "green_label" not in body
    assert client.get(f"{SCHEMAS}/loan_schema").json()["version"] == 2
    assert client.get(f"{SCHEMAS}/project_schema").json()["version"] == 2
    # A repeated request gets the response of the first one, under its version.
    again = client.post(path, json=request, headers=key)
    assert again.content == created.content, again.text
    # A request in the words of the older version is read under the newer one.
    assert create(client, path, green_label="GBP-3").json()["label"] == "GBP-3"
    (migration,) = client.get(f"{SCHEMAS}/loan_schema/migrations").json()["items"]
    assert migration["new_version"] == 2
    assert client.get(f"{SCHEMAS}/project_schema/migrations").json()["items"] == []
    properties = client.get("/openapi.json").json()["components"]["schemas"]
    assert {"label", "agent"} <= properties["Facility"]["properties"].keys()
    assert "label" in properties["FacilityInput"]["properties"]
    messages = client.get("/asyncapi.json").json()["components"]["schemas"]
    assert "label" in messages["Facility"]["properties"]
    assert "attributes" not in messages["Facility"]["properties"]
    served = client.get(f"{SCHEMAS}/loan_schema/versions/2/json-schema").json()
    assert served["title"] == "Facility as served under loan_schema version 2"
    assert "label" in served["properties"]


def test_health_and_registry_name_each_schema(client: httpx.Client) -> None:
    listed = {
        one["schema_id"]: one for one in client.get("/v1/governance/registry").json()["items"]
    }
    assert listed["loan_schema"]["followed_by"] == "facility"
    assert listed["project_schema"]["followed_by"] == "project"
    check = client.get("/health").json()["checks"]["schema"]
    assert check["schema_id"] == "project_schema"
    assert [one["schema_id"] for one in check["others"]] == ["loan_schema"]


def test_an_event_of_a_facility_names_its_schema_version(client: httpx.Client, path: str) -> None:
    facility_id = create(client, path).json()["facility_id"]
    subject = {"subject": f"facilities/{facility_id}"}
    (event,) = client.get("/v1/events", params=subject).json()["events"]
    version = client.get(f"{SCHEMAS}/loan_schema").json()["version"]
    assert event["dataschema"].endswith(f"{SCHEMAS}/loan_schema/versions/{version}")


@pytest.mark.parametrize(
    ("number", "columns", "members", "words"),
    [
        (20, (UNITS,), {"$id": "https://x.example/FacilitySchema"}, "describes a facility"),
        (21, (GRADE,), {"kind": "facility"}, "describes a facility"),
        (22, ({"name": "commitment", "type": "decimal"},), {}, "columns of a facility"),
        (
            23,
            tuple({"name": name, "type": "date"} for name in ("born", "wed", "died")),
            {},
            "no column in common",
        ),
    ],
)
def test_a_schema_of_something_else_is_rejected_in_words(
    client: httpx.Client,
    ontology: Ontology,
    number: int,
    columns: tuple[dict[str, Any], ...],
    members: dict[str, Any],
    words: str,
) -> None:
    active = client.get(f"{SCHEMAS}/project_schema").json()["version"]
    ontology.publish(number, *columns, **members)
    refresh(client, "project_schema")
    waiting = client.get(f"{SCHEMAS}/project_schema/candidates").json()["items"]
    assert words in next(one["reason"] for one in waiting if one["version"] == number)
    assert client.get(f"{SCHEMAS}/project_schema").json()["version"] == active
