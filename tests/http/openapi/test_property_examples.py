"""Examples of every property in the OpenAPI document."""

from typing import Any

import jsonschema_rs
import pytest
from tests.http.conftest import Service

from spawn.application.schema_examples import PropertyExamples
from spawn.entrypoints.http.openapi.components import load_property_examples

Json = dict[str, Any]
ADVICE = "add a value to src/spawn/entrypoints/http/openapi/property_examples.json"


@pytest.fixture(scope="module")
def document(service: Service) -> Json:
    with service.client() as client:
        found: Json = client.get("/openapi.json").json()
    return found


def test_every_property_with_a_value_of_its_own_has_an_example(document: Json) -> None:
    examples = PropertyExamples(document, {})
    lacking = [
        f"{component}.{name}"
        for component, schema in document["components"]["schemas"].items()
        for name, part in schema.get("properties", {}).items()
        if examples.is_needed(part)
    ]
    assert lacking == [], ADVICE


def test_every_example_of_a_property_is_valid(document: Json) -> None:
    instance: Json = {}
    properties: Json = {}
    for component, schema in document["components"]["schemas"].items():
        for name, part in schema.get("properties", {}).items():
            for number, example in enumerate(part.get("examples", ())):
                key = f"{component}.{name} {number}"
                instance[key] = example
                target = f"#/components/schemas/{component}/properties/{name}"
                properties[key] = {"$ref": target}
    root = {"components": document["components"], "properties": properties}
    validator = jsonschema_rs.Draft202012Validator(root, validate_formats=True)
    errors = [(error.instance_path[0], error.message) for error in validator.iter_errors(instance)]
    assert errors == [], ADVICE
    assert len(instance) > 1300


def test_every_example_of_a_request_is_valid(document: Json) -> None:
    """Also without members that the schema lacks, which a service would reject."""
    errors: list[tuple[str, str]] = []
    count = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody", {})
            for media_type, content in body.get("content", {}).items():
                if "json" not in media_type:
                    continue
                examples = [one["value"] for one in content.get("examples", {}).values()]
                examples += [content["example"]] if "example" in content else []
                root = {"components": document["components"], **content["schema"]}
                validator = jsonschema_rs.Draft202012Validator(root, validate_formats=True)
                count += len(examples)
                errors += [
                    (f"{method} {path} {media_type}", error.message)
                    for example in examples
                    for error in validator.iter_errors(example)
                ]
    assert errors == []
    assert count > 40


def test_each_named_example_is_used(document: Json) -> None:
    names = {
        key
        for component, schema in document["components"]["schemas"].items()
        for name in schema.get("properties", {})
        for key in (name, f"{component}.{name}")
    }
    assert load_property_examples().keys() - names == set()


def test_a_project_has_the_examples_of_its_fields(document: Json) -> None:
    project = document["components"]["schemas"]["Project"]["properties"]
    assert project["total_amount"]["examples"] == ["125000000.00"]
    assert project["subdivision_code"]["examples"] == ["PT-13"]


def test_a_file_to_import_is_binary_and_its_examples_are_of_its_media_type(document: Json) -> None:
    content = document["paths"]["/v1/ops/imports"]["post"]["requestBody"]["content"]
    schemas = {name: media["schema"] for name, media in content.items()}
    workbook = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    lines = {"application/x-ndjson", "application/json"}
    assert set(schemas) == lines | {"text/csv", "application/xml", workbook}
    assert all(schema == {"type": "string", "format": "binary"} for schema in schemas.values())
    examples = {name: media.get("examples", {}) for name, media in content.items()}
    assert examples["text/csv"]["typical"]["value"].startswith("id,name,")
    assert examples["application/xml"]["typical"]["value"].startswith("<iati-activities>")
    assert examples["application/x-ndjson"] == {}


def test_the_pattern_of_a_schema_id_is_that_of_the_setting(document: Json) -> None:
    path = document["paths"]["/v1/governance/schemas/{schema_id}"]["get"]
    (pattern,) = (one["schema"]["pattern"] for one in path["parameters"] if one.get("in") == "path")
    assert pattern == "^[a-z][a-z0-9_]{0,62}$"
