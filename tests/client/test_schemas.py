"""Schemas, contracts and consumers by both clients, with a schema for each of two kinds."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.client.conftest import Build
from tests.http.conftest import WIND, Service
from tests.http.facilities.ledger_client import TERMS
from tests.http.schemas.test_live_adoption import UNITS, Ontology

from spawn.application.schemas.activation import SchemaPolicy
from spawn.client import InvalidInputProblem, NotFoundProblem
from spawn.client.financing.financing_records import ClientRecord
from spawn.client.schemas import schema_records

pytestmark = pytest.mark.real

LABEL = {"name": "green_label", "type": "string(40)"}
RENAMED = {"name": "label", "type": "string(40)", "aliases": ["green_label"]}
LOANS = "loan_schema"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service in whose store facilities have moved from version 1 of a schema to version 2."""
    ontology = Ontology()
    ontology.publish(3, UNITS)
    ontology.publish(1, LABEL, schema_id=LOANS)
    one = Service(
        ontology_url=ontology.url,
        schema_refresh_s=86_400.0,
        schemas=(SchemaPolicy(schema_id=LOANS, kind="facility"),),
    ).start()
    with one.client() as http:
        location = http.post("/v1/ops/projects", json=WIND).headers["location"]
        terms = {**TERMS, "green_label": "GBP 2021"}
        assert http.post(f"{location}/facilities", json=terms).status_code == 201
        ontology.publish(2, RENAMED, schema_id=LOANS)
        verdict = http.post(f"/v1/governance/schemas/{LOANS}/refresh").json()["verdict"]
    assert verdict == "adopted"
    yield one
    one.stop()
    ontology.stop()


@pytest.fixture
def client(build: Build, service: Service) -> Any:
    return build(service.url)


def test_each_kind_has_the_versions_of_its_schema(client: Any) -> None:
    active = {one.schema_id: one.version for one in client.iterate_schemas()}
    assert active == {"project_schema": 3, LOANS: 2}
    assert client.get_schema().version == 3
    loans = client.get_schema(LOANS)
    assert [(c.name, c.type, c.aliases) for c in loans.columns if c.governed] == [
        ("label", "string(40)", ("green_label",))
    ]
    assert loans.document["columns"][0]["name"] == "label"
    assert [c.name for c in client.get_schema(LOANS, 1).columns if c.governed] == ["green_label"]
    versions = {one.version: one.state for one in client.iterate_schema_versions(LOANS)}
    assert (versions[1], versions[2]) == ("retired", "active")
    with pytest.raises(NotFoundProblem):
        client.get_schema("other_schema")


def test_contract_and_json_schema_are_those_of_a_kind_and_a_version(client: Any) -> None:
    names = property_names(client.get_contract(LOANS))
    assert "label" in names
    assert "total_amount" not in names
    older = property_names(client.get_contract(LOANS, schema_version=f"{LOANS}@1"))
    assert "green_label" in older
    assert "total_amount" in property_names(client.get_contract())
    body = client.get_json_schema(LOANS, 1, use="input")
    assert body["properties"]["green_label"]["maxLength"] == 40
    with pytest.raises(InvalidInputProblem):
        client.get_json_schema(LOANS, 1, use="guess")


def property_names(contract: dict[str, Any]) -> set[str]:
    return {one["name"] for table in contract["schema"] for one in table["properties"]}


def test_rows_and_events_have_the_names_of_an_older_version_of_their_kind(client: Any) -> None:
    for options, member in (
        ({"schema_version": 1}, b'"green_label":"GBP 2021"'),
        ({}, b'"label":"GBP 2021"'),
    ):
        assert member in b"".join(client.download_dataset("facilities.ndjson", options=options))
    (page,) = client.iterate_event_pages(
        type="spawn.facility.created.v1", schema_version=f"{LOANS}@1"
    )
    assert page.events[0]["data"]["after"]["green_label"] == "GBP 2021"


def test_a_consumer_registers_for_a_version_of_either_schema(client: Any) -> None:
    contact = "mailto:loans@bank.example"
    loans = client.register_consumer("loans", contact, 1, schema_id=LOANS)
    assert (loans.schema_id, loans.schema_version, loans.sunset) == (LOANS, 1, None)
    projects = client.register_consumer("reporting", contact, 3)
    assert projects.schema_id == "project_schema"
    assert [one.name for one in client.iterate_consumers(schema_id=LOANS)] == ["loans"]
    assert [one.name for one in client.get_schema(LOANS, 1).consumers] == ["loans"]
    moved = client.register_consumer("loans", contact, 2, schema_id=LOANS)
    assert moved.schema_version == 2
    assert list(client.iterate_consumers(schema_id=LOANS, schema_version=1)) == []
    for name in ("loans", "reporting"):
        assert client.remove_consumer(name).name == name
    assert list(client.iterate_consumers()) == []
    with pytest.raises(NotFoundProblem):
        client.remove_consumer("loans")


def test_the_records_of_schemas_have_the_members_of_the_api(service: Service) -> None:
    schemas = httpx.get(f"{service.url}/openapi.json", timeout=60).json()["components"]["schemas"]
    names = {
        "SchemaDecisionRecord": "Decision",
        "SchemaSummaryRecord": "SchemaSummary",
        "SchemaColumnRecord": "Column",
        "SchemaSunsetRecord": "Sunset",
        "SchemaConsumerRecord": "RegisteredConsumer",
        "SchemaVersionRecord": "Schema",
    }
    for name, schema_name in names.items():
        record = vars(schema_records)[name]
        assert issubclass(record, ClientRecord)
        assert set(record.__struct_fields__) == set(schemas[schema_name]["properties"]), name
