"""Documents of any schema are valid, and agree with what the service accepts and serves."""

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from tests.domain.schemas.json_schema_laws import read_exactly
from tests.http.conftest import WIND, Service
from tests.http.product.hostile_schema import COLUMNS, VALUES
from tests.http.registry_stub import serve_registry

VERSIONS = "/v1/governance/schemas/project_schema/versions"
PROJECTS = "/v1/ops/projects"
BODY = {**WIND, **VALUES}


@pytest.fixture(scope="module")
def client(discard_access_log: None) -> Iterator[httpx.Client]:  # noqa: ARG001  # set up first
    """A client of a service whose active schema is hostile, and succeeds a plain one."""
    with serve_registry({"name": "former", "type": "string", "deprecated": True}) as registry:
        service = Service(ontology_url=registry.url, schema_refresh_s=86_400.0).start()
        with service.client() as client:
            client.post(PROJECTS, json={**WIND, "former": "a"}).raise_for_status()
            registry.publish(3, *COLUMNS)
            client.post("/v1/governance/schemas/project_schema/refresh").raise_for_status()
            assert client.get("/v1/governance/schemas/project_schema").json()["version"] == 3
            yield client
        service.stop()


def published(client: httpx.Client, use: str, version: int = 3) -> jsonschema_rs.Validator:
    response = client.get(f"{VERSIONS}/{version}/json-schema", params={"use": use})
    schema = read_exactly(response.content)
    jsonschema_rs.meta.validate(schema)
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def compile_components(document: dict[str, Any]) -> None:
    """Compile all component schemas at once: one by one, each takes those that it refers to along.

    Raises:
        ValidationError: one is no valid schema, or refers to none.
    """
    components = document["components"]
    for schema in components["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    references = [{"$ref": f"#/components/schemas/{name}"} for name in components["schemas"]]
    jsonschema_rs.validator_for({"allOf": references, "components": components})


def test_openapi_is_valid_and_so_is_each_of_its_schemas(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(document)] == []
    compile_components(document)
    permit = document["components"]["schemas"]["Project"]["properties"]["permit_on"]
    assert permit["x-minimum"] == "2000-01-01"
    assert "minimum" not in permit
    tag = document["components"]["schemas"]["ProjectInput"]["properties"]["price_tag"]
    assert tag["pattern"] == r"^(?:[0-9]+\$)$"


def test_asyncapi_has_valid_schemas(client: httpx.Client) -> None:
    compile_components(client.get("/asyncapi.json").json())


def test_an_accepted_body_and_its_response_are_valid(client: httpx.Client) -> None:
    assert published(client, "input").is_valid(BODY)
    created = client.post(PROJECTS, json=BODY)
    assert created.status_code == 201, created.text
    served = published(client, "output")
    assert served.is_valid(read_exactly(created.content))
    for one in client.get(PROJECTS).json()["items"]:
        served.validate(one)
    patch = {"tranche": 10, "null": None, "where": None, "x_a": {"b": 1}}
    assert published(client, "patch").is_valid(patch)
    where = created.headers["location"]
    amended = client.patch(where, json=patch, headers={"if-match": "*"})
    assert amended.status_code == 200, amended.text
    assert served.is_valid(read_exactly(amended.content))


@pytest.mark.parametrize(
    "change",
    [
        {"price_tag": "15"},
        {"label": "a b"},
        {"choice": "a|b"},
        {"lookalike": "3"},
        {"tranche": 11},
        {"tranche_amount": "10"},
        {"fee_amount": "1.000"},
        {"serial": 9223372036854775807},
        {"share_of": 1.6},
        {"quoted": "say hi"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_rejected_body_is_invalid(client: httpx.Client, change: dict[str, Any]) -> None:
    body = {**BODY, **change}
    assert not published(client, "input").is_valid(body)
    assert client.post(PROJECTS, json=body).status_code == 422


def test_a_json_schema_has_its_address_and_a_tag(client: httpx.Client) -> None:
    response = client.get(f"{VERSIONS}/3/json-schema", params={"use": "input"})
    assert response.headers["content-type"] == "application/schema+json"
    assert response.headers["link"] == f'<{VERSIONS}/3>; rel="describes"'
    schema = response.json()
    assert schema["$id"] == f"{client.base_url}{VERSIONS}/3/json-schema?use=input"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "Project as created under project_schema version 3"
    known = {"if-none-match": response.headers["etag"], "accept-encoding": "identity"}
    again = client.get(f"{VERSIONS}/3/json-schema", params={"use": "input"}, headers=known)
    assert again.status_code == 304
    assert client.get(schema["$id"]).json() == schema


def test_each_version_has_a_json_schema_of_its_own(client: httpx.Client) -> None:
    old, new = (
        client.get(f"{VERSIONS}/{version}/json-schema", params={"use": "input"}).json()
        for version in (2, 3)
    )
    assert "price_tag" not in old["properties"]
    assert old["properties"]["former"]["type"] == ["string", "null"]
    # Removed by version 3, which still accepts and ignores it.
    assert "type" not in new["properties"]["former"]
    assert "Ignored" in new["properties"]["former"]["description"]


@pytest.mark.parametrize(
    ("path", "query", "status", "pointer"),
    [
        ("/9/json-schema", {}, 404, None),
        ("/x/json-schema", {}, 404, None),
        ("/3/json-schema", {"use": "both"}, 422, "/use"),
        ("/3/json-schema", {"for": "input"}, 422, "/for"),
    ],
)
def test_another_version_or_use_is_an_error(
    client: httpx.Client, path: str, query: dict[str, str], status: int, pointer: str | None
) -> None:
    problem = client.get(VERSIONS + path, params=query)
    assert problem.status_code == status
    if pointer:
        assert problem.json()["errors"][0]["pointer"] == pointer
