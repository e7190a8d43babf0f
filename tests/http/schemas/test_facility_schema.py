"""Facilities have a schema of their own, which is adopted beside that of projects."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from tests.http.conftest import WIND, Service
from tests.http.schemas.test_live_adoption import GRADE, UNITS, Ontology

from spawn.application.schemas.activation import SchemaPolicy
from spawn.entrypoints.http.facilities.routes import EXAMPLE

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("facility schema")]

SCHEMAS = "/v1/governance/schemas"
LABEL = {"name": "green_label", "type": "string(40)"}
RENAMED = {"name": "label", "type": "string(80)", "aliases": ["green_label"]}
AGENT = {"name": "agent", "type": "string(80)"}
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
    return create_project(client)


def create_project(client: httpx.Client) -> str:
    return f"{client.post('/v1/ops/projects', json=WIND).headers['location']}/facilities"


@pytest.fixture
def second_version(client: httpx.Client, ontology: Ontology) -> None:
    """Have version 2 adopted, with data of version 1 in a project of its own."""
    if client.get(f"{SCHEMAS}/loan_schema").json()["version"] == 1:
        create(client, create_project(client))
        ontology.publish(2, RENAMED, SPREAD, AGENT, schema_id="loan_schema")
        assert refresh(client, "loan_schema")["verdict"] == "adopted"


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
    ontology.publish(2, RENAMED, SPREAD, AGENT, schema_id="loan_schema")
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


@pytest.mark.usefixtures("second_version")
def test_documents_describe_each_schema_and_each_version_of_it(client: httpx.Client) -> None:
    of_loans = {"schema_id": "loan_schema", "format": "json"}
    contract = client.get("/contract", params=of_loans).json()
    assert contract["id"].endswith(".facilities")
    assert contract["version"] == "2.0.0", "a column has another name"
    (dataset,) = contract["schema"]
    properties = {one["name"]: one for one in dataset["properties"]}
    assert {"label", "agent", "commitment"} <= properties.keys()
    assert properties["commitment"]["logicalType"] == "string"
    assert properties["facility_id"]["primaryKey"]
    assert properties["label"]["physicalType"] == "VARCHAR"
    older = client.get("/contract", params={**of_loans, "schema_version": 1}).json()
    assert older["version"] == "1.0.0"
    assert "green_label" in {one["name"] for one in older["schema"][0]["properties"]}
    server = next(one for one in older["servers"] if one["server"] == "download")
    assert server["location"].endswith("/v1/data/facilities.ndjson?nested=json&schema_version=1")
    context = client.get("/context.jsonld", params={"schema_id": "loan_schema"}).json()["@context"]
    assert "label" in context
    assert "project_name" not in context
    selection = {"schema_version": "loan_schema@1"}
    older_api = client.get("/openapi.json", params=selection).json()["components"]["schemas"]
    assert "green_label" in older_api["Facility"]["properties"]
    assert "green_label" in older_api["FacilityPatch"]["properties"]
    messages = client.get("/asyncapi.json", params=selection).json()["components"]
    assert "green_label" in messages["schemas"]["Facility"]["properties"]
    assert messages["messages"]["facilityCreated"]["tags"] == [{"name": "loan_schema"}]
    product = client.get("/product", params={"format": "json"}).json()
    ports = {port["name"]: port for port in product["outputPorts"]}
    assert ports["facilities-dataset"]["contractId"] == contract["id"]
    assert ports["facilities-dataset"]["version"] == contract["version"]
    nodes = {node["@id"]: node for node in client.get("/catalog").json()["@graph"]}
    entry = next(node for name, node in nodes.items() if name.endswith("#facilities"))
    assert entry["dcat:version"] == contract["version"]


@pytest.mark.usefixtures("second_version")
@pytest.mark.parametrize(
    ("address", "query", "pointer", "code"),
    [
        ("/contract", {"schema_id": "other_schema"}, "/schema_id", "unknown_version"),
        ("/contract", {"schema_version": "loan_schema@1"}, "/schema_version", "contradiction"),
        ("/openapi.json", {"schema_version": "x"}, "/schema_version", "out_of_range"),
        ("/openapi.json", {"schema_version": "other@1"}, "/schema_version", "unknown_version"),
        (
            "/v1/events",
            {"schema_version": "loan_schema@1,loan_schema@2"},
            "/schema_version",
            "given_twice",
        ),
    ],
)
def test_a_schema_or_version_that_is_none_is_an_error(
    client: httpx.Client, address: str, query: dict[str, str], pointer: str, code: str
) -> None:
    response = client.get(address, params=query)
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)


@pytest.mark.usefixtures("second_version")
def test_reads_and_events_of_facilities_have_the_fields_of_one_version(
    client: httpx.Client, path: str
) -> None:
    older = {"schema_version": "1"}
    created = create(client, path, label="GBP-4", agent="Second Bank", spread_bps=7)
    place, facility_id = created.headers["location"], created.json()["facility_id"]
    served = client.get(place, params=older)
    body = served.json()
    assert (body["green_label"], body["spread_bps"]) == ("GBP-4", 7)
    assert not {"label", "agent"} & body.keys()
    assert 'versions/2>; rel="successor-version"' in served.headers["link"]
    assert served.headers["deprecation"].startswith("@")
    assert served.headers["etag"] != client.get(place).headers["etag"]
    page = client.get(path, params=older)
    assert page.json()["items"] == [body]
    assert page.headers["deprecation"] == served.headers["deprecation"]
    query = {**older, "green_label": "GBP-4", "fields": "facility_id,green_label,spread_bps"}
    rows = client.get("/v1/data/facilities.json", params=query)
    assert rows.json() == [{"facility_id": facility_id, "green_label": "GBP-4", "spread_bps": 7}]
    assert rows.headers["deprecation"] == served.headers["deprecation"]
    feed = {"subject": f"facilities/{facility_id}", "schema_version": "2,loan_schema@1"}
    (event,) = client.get("/v1/events", params=feed).json()["events"]
    assert event["data"]["after"]["green_label"] == "GBP-4"
    assert "green_label" in event["data"]["changed"]
    assert event["dataschema"].endswith(f"{SCHEMAS}/loan_schema/versions/1")
    assert client.get(place, params={"schema_version": "9"}).status_code == 404


@pytest.mark.usefixtures("second_version")
@pytest.mark.parametrize("version", [1, 2])
def test_the_json_schemas_of_a_facility_agree_with_what_is_accepted_and_served(
    client: httpx.Client, path: str, version: int
) -> None:
    def published(use: str) -> jsonschema_rs.Validator:
        address = f"{SCHEMAS}/loan_schema/versions/{version}/json-schema"
        schema = client.get(address, params={"use": use}).json()
        jsonschema_rs.meta.validate(schema)
        return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)

    label = "green_label" if version == 1 else "label"
    body = {**EXAMPLE, label: "A", "x_desk": 1}
    place = create(client, path, **body).headers["location"]
    served = client.get(place, params={"schema_version": version})
    published("output").validate(served.json())
    changes: list[dict[str, Any]] = [
        *({}, {"fees": None}, {"rank": None}, {"commitment": 5}, {label: None}),
        *({"rank": "1"}, {"kind": "x"}, {"name": None}, {"other": 1}, {"facility_id": "a"}),
        *({"rate": {"curve": "E", "other": 1}}, {label: 7}, {"spread_bps": -1}),
        {"rate": {"curve": "E", "floor": None, "margin": None}},
    ]
    if version == 2:
        changes += [{"green_label": "B", "label": None}, {"green_label": "B"}]
    validator = published("input")
    for change in changes:
        request = {**body, **change}
        status = client.post(path, json=request).status_code
        assert (status == 201) == validator.is_valid(request), change
    assert published("patch").is_valid({label: None, "rate": {"margin": "0.02"}, "x_a": None})
    assert not published("patch").is_valid({"other": 1})


@pytest.mark.usefixtures("second_version")
def test_a_deprecated_column_is_announced_and_warned_of(
    client: httpx.Client, ontology: Ontology, path: str
) -> None:
    agent = {**AGENT, "deprecated": True, "sunset": "2090-01-31"}
    reader = {"contact": "mailto:a@b.example", "schema_id": "loan_schema", "schema_version": 2}
    consumer = "/v1/governance/consumers/agency"
    client.put(consumer, json=reader).raise_for_status()
    ontology.publish(3, RENAMED, SPREAD, agent, schema_id="loan_schema")
    assert "agency" in refresh(client, "loan_schema")["detail"]
    key = {"idempotency-key": "facility-2"}
    request = {**EXAMPLE, "agent": "First Bank"}
    created = client.post(path, json=request, headers=key)
    assert created.headers["sunset"] == "Tue, 31 Jan 2090 00:00:00 GMT"
    assert created.headers["spawn-warnings"].startswith('"/agent";code=deprecated')
    again = client.post(path, json=request, headers=key)
    for name in ("sunset", "deprecation", "link", "spawn-warnings", "etag", "location"):
        assert again.headers[name] == created.headers[name]
    exported = client.get("/v1/data/facilities.csv")
    assert exported.headers["sunset"] == created.headers["sunset"]
    contract = client.get("/contract", params={"schema_id": "loan_schema", "format": "json"})
    levels = {one["element"]: one.get("value") for one in contract.json()["slaProperties"]}
    assert levels["facilities.agent"] == "2090-01-31"
    listed = client.get("/v1/governance/consumers", params={"schema_id": "loan_schema"})
    assert [one["sunset"]["column"] for one in listed.json()["items"]] == ["agent"]
    others = client.get("/v1/governance/consumers", params={"schema_id": "project_schema"})
    assert others.json()["items"] == []
    client.delete(consumer).raise_for_status()


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
