"""The OpenAPI document as generators of clients read it."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
from tests.http.conftest import Start

from spawn.domain.schema_version import Column, ColumnType, TypeName
from spawn.domain.schemas.json_schema import SchemaUse
from spawn.domain.schemas.validator import compile_schema
from spawn.entrypoints.http.app import ROUTES
from spawn.entrypoints.http.openapi.document import OpenApiBuilder
from spawn.entrypoints.http.openapi.struct_schemas import lift_definitions
from spawn.testing.builders import a_schema

Json = dict[str, Any]


@pytest.fixture(scope="module")
def document(service: Any) -> Json:
    with service.client() as client:
        found: Json = client.get("/openapi.json").json()
    return found


def inline_objects(node: Any) -> Iterator[Json]:
    """Yield the object schemas within a node that are not references."""
    if isinstance(node, list):
        for item in node:
            yield from inline_objects(item)
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            yield node
        for value in node.values():
            yield from inline_objects(value)


def test_every_tag_is_declared_and_used(document: Json) -> None:
    operations = [
        operation
        for item in document["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict) and "operationId" in operation
    ]
    used_tags = {tag for operation in operations for tag in operation["tags"]}
    assert {tag["name"] for tag in document["tags"]} == used_tags


def test_a_code_is_one_of_a_list_or_follows_the_pattern_of_a_long_one(document: Json) -> None:
    schemas = document["components"]["schemas"]
    for name, code, other in (
        ("CurrencyCode", "EUR", "EURO"),
        ("CountryCode", "ESP", "ES"),
        ("SubdivisionCode", "ES-GA", "ES_GA"),
    ):
        schema = schemas[name]
        assert schema["type"] == "string"
        assert ("enum" in schema) is (name != "SubdivisionCode")
        if "enum" in schema:
            assert (code in schema["enum"], other in schema["enum"]) == (True, False)
        else:
            pattern = re.compile(schema["pattern"])
            assert (bool(pattern.search(code)), bool(pattern.search(other))) == (True, False)


@pytest.mark.parametrize(
    ("public_url", "address"),
    [
        ("https://spawn.example", "https://spawn.example"),
        ("https://spawn.example/desk/spawn/", "https://spawn.example/desk/spawn"),
    ],
)
def test_the_server_is_the_public_address_with_its_path(
    start: Start, public_url: str, address: str
) -> None:
    with start(public_url=public_url).client() as client:
        servers = client.get("/openapi.json", headers={"host": "spawn.example"}).json()["servers"]
    assert [server["url"] for server in servers] == [address]


def test_without_a_public_address_the_server_is_the_service_itself(
    document: Json, client: httpx.Client
) -> None:
    assert document["servers"][0]["url"] == str(client.base_url).rstrip("/")


def test_operations_refer_to_components_for_their_objects(document: Json) -> None:
    for path, item in document["paths"].items():
        for operation in item.values():
            contents = [operation.get("requestBody", {}), *operation["responses"].values()]
            assert list(inline_objects(contents)) == [], path


def test_no_object_is_described_twice(document: Json) -> None:
    counts = Counter(
        json.dumps(one, sort_keys=True)
        for schema in document["components"]["schemas"].values()
        for one in inline_objects(list(schema.get("properties", {}).values()))
    )
    assert [text for text, count in counts.items() if count > 1] == []


def test_a_calculator_names_its_cases_and_results(document: Json) -> None:
    operation = document["paths"]["/v1/analysis/debt-sizing"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    result = operation["responses"]["200"]["content"]["application/json"]["schema"]
    prefix = "#/components/schemas/"
    assert [one["$ref"] for one in body["anyOf"]] == [
        f"{prefix}SizingRequest",
        f"{prefix}SizingBatch",
    ]
    assert len(result["anyOf"]) == 2
    for one in result["anyOf"]:
        assert one["$ref"].removeprefix(prefix) in document["components"]["schemas"]


def test_nested_objects_of_a_project_are_components(document: Json) -> None:
    schemas = document["components"]["schemas"]
    assert "name" in schemas["ProjectSponsor"]["properties"]
    assert "draw_stop" in schemas["ProjectMilestone"]["properties"]
    assert "source" in schemas["ProjectExternalRef"]["properties"]


def test_two_schemas_of_one_name_are_an_error() -> None:
    components: Json = {"Amount": {"type": "string"}}
    schema = {"$defs": {"Amount": {"type": "number"}}, "$ref": "#/$defs/Amount"}
    with pytest.raises(TypeError, match="Amount"):
        lift_definitions(schema, components)
    same = {"$defs": {"Amount": {"type": "string"}}, "$ref": "#/$defs/Amount"}
    assert lift_definitions(same, components) == {"$ref": "#/components/schemas/Amount"}


def test_an_enumeration_of_fractions_is_in_words_since_generators_have_no_type_of_it() -> None:
    column = Column(
        name="ratio",
        type=ColumnType(TypeName.DECIMAL, precision=9, scale=2),
        enum=(Decimal("0.1"), Decimal("2.5")),
        description="Gearing.",
    )
    amount = msgspec.structs.replace(column, name="fee_amount")
    schema = msgspec.structs.replace(a_schema(), governed=(column, amount), fingerprint="f" * 64)
    built = OpenApiBuilder(ROUTES).build(compile_schema(schema))["components"]["schemas"]
    for name in ("Project", "ProjectInput", "ProjectPatch"):
        ratio = built[name]["properties"]["ratio"]
        assert list(map(str, ratio["x-enum"])) == ["0.1", "2.5"]
        assert ratio["description"] == "Gearing. One of: 0.1, 2.5."
        assert "enum" not in ratio
        forms = built[name]["properties"]["fee_amount"].get("anyOf", [])
        assert all("enum" not in form for form in forms if "number" in form["type"])
    # Only the document of the API differs; the JSON Schema of a version lists the values.
    published = compile_schema(schema).json_schema(SchemaUse.OUTPUT)["properties"]["ratio"]
    assert list(map(str, published["enum"])) == ["0.1", "2.5", "None"]
