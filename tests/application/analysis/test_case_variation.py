"""Variation of a case: which errors are about its own fields."""

import jsonschema_rs
import pytest

from spawn.application.analysis.calculation_requests import request_schema
from spawn.application.analysis.calculators import CALCULATORS
from spawn.application.analysis.sensitivity.case_variation import CaseVariation
from spawn.domain.errors import FieldError

VARIATION = CaseVariation(
    paths=(("rate",), ("loans", "0", "margin")), change="value", is_integer=False
)


@pytest.mark.parametrize(
    ("pointer", "is_own"),
    [
        ("/rate", True),
        ("/rate/3", True),
        ("/loans/0/margin", True),
        ("/rates", False),
        ("/loans/0", False),
        ("/loans/1/margin", False),
    ],
)
def test_an_error_is_its_own_at_or_inside_any_of_its_fields(
    pointer: str,
    is_own: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert VARIATION.owns(FieldError(pointer, "too_large", "is too large")) is is_own


@pytest.mark.parametrize("name", CALCULATORS)
def test_the_schema_of_a_batch_allows_no_member_that_the_reader_rejects(name: str) -> None:
    schema = request_schema(CALCULATORS[name].case)
    (batch,) = (each for key, each in schema["$defs"].items() if key.endswith("Batch"))
    members = {**batch, "properties": {**batch["properties"], "cases": {"type": "array"}}}
    validator = jsonschema_rs.Draft202012Validator(members)
    assert validator.is_valid({"cases": [], "explain": True})
    assert not validator.is_valid({"cases": [], "colour": "red"})
