"""OpenAPI document and contract under random schemas, and the checks of the law itself."""

import random

from tests.domain.schemas.json_schema_laws import ENCODER, read_exactly
from tests.http.openapi.document_laws import (
    build_openapi,
    find_openapi_violation,
    find_violation,
    write_adopted_schema,
)

from spawn.testing.builders import a_schema


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
