"""OpenAPI document and contract under random schemas, and the checks of the law itself."""

import random
from typing import Any

import pytest
from tests.domain.schemas.json_schema_laws import ENCODER, read_exactly
from tests.http.openapi.document_laws import (
    build_openapi,
    find_openapi_violation,
    find_violation,
    write_adopted_schema,
)

from spawn.testing.builders import a_schema

FEES = "#/components/schemas/FacilityFeesInput"


def test_documents_are_valid_under_random_schemas() -> None:
    for seed in range(12):
        assert find_violation(write_adopted_schema(random.Random(seed))) is None, seed


def test_the_law_notices_what_no_validator_accepts() -> None:
    document = read_exactly(ENCODER.encode(build_openapi(a_schema())))
    assert find_openapi_violation(document) is None
    schemas = document["components"]["schemas"]
    schemas["Broken"] = {"type": "string", "minimum": "2000-01-01"}
    assert "Broken" in (find_openapi_violation(document) or "")
    schemas["Broken"] = {"$ref": "#/components/schemas/Missing"}
    assert find_openapi_violation(document) == "#/components/schemas/Missing leads nowhere"
    del schemas["Broken"]
    schemas["no name"] = {}
    assert "no name" in (find_openapi_violation(document) or "")


@pytest.mark.parametrize(
    ("schema", "violation"),
    [
        (
            {"default": {"a": "0"}, "anyOf": [{"$ref": FEES}, {"type": "null"}]},
            "Broken.terms may be null, and has an object as its default",
        ),
        (
            {"anyOf": [{"type": "object"}, {"type": "null"}]},
            "generators call Broken.terms BrokenTerms, as another component",
        ),
    ],
)
def test_the_law_notices_members_that_generators_of_clients_lose(
    schema: dict[str, Any], violation: str
) -> None:
    document = read_exactly(ENCODER.encode(build_openapi(a_schema())))
    schemas = document["components"]["schemas"]
    schemas["Broken"] = {"type": "object", "properties": {"terms": schema}}
    schemas["BrokenTerms"] = {"type": "string"}
    assert find_openapi_violation(document) == violation


@pytest.mark.parametrize("schema", [{"type": "object"}, {"anyOf": [{"type": ["object", "null"]}]}])
def test_the_law_notices_a_body_that_is_no_component(schema: dict[str, Any]) -> None:
    document = read_exactly(ENCODER.encode(build_openapi(a_schema())))
    operation = document["paths"]["/v1/ops/cases/{case_id}"]["patch"]
    operation["requestBody"]["content"]["application/json"]["schema"] = schema
    assert find_openapi_violation(document) == (
        "the body of patch /v1/ops/cases/{case_id} is an object that is no component"
    )
