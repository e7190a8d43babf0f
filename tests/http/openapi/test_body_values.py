"""Every body within the documented limits of its operation is within the bound of values."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any, Final

import httpx
import pytest
from tests.http.conftest import WIND, Service

from spawn.domain.covenants.case_comparison import MAX_COMPARED_CASES
from spawn.domain.covenants.cash_periods import MAX_CASE_LINES, MAX_CASE_PERIODS
from spawn.domain.covenants.covenant_set import MAX_TEST_DATES
from spawn.domain.portfolios.fx_rate_set import MAX_RATES
from spawn.domain.portfolios.portfolio import MAX_PORTFOLIO_LIMITS
from spawn.domain.principal import MAX_ROW_RULES, MAX_ROW_VALUES, Scope
from spawn.entrypoints.http.app import ROUTES
from spawn.entrypoints.http.facilities.routes import EXAMPLE
from spawn.entrypoints.http.protocol.operation import JSON, Operation
from spawn.entrypoints.http.protocol.request import MAX_BODY_VALUES

Json = dict[str, Any]

_CASE: Final = {"/periods": MAX_CASE_PERIODS, "/periods/-/lines": MAX_CASE_LINES}
_LIMITS: Final[Mapping[str, Mapping[str, int]]] = {
    "createApiClient": {
        "/scopes": len(Scope),
        "/row_scope": MAX_ROW_RULES,
        "/row_scope/*": MAX_ROW_VALUES,
    },
    "compareCases": {"/cases": MAX_COMPARED_CASES},
    "createCase": _CASE,
    "reviseCase": _CASE,
    "recordActuals": _CASE,
    "createCovenant": {"/test_dates": MAX_TEST_DATES},
    "amendCovenant": {"/test_dates": MAX_TEST_DATES},
    "publishFxRateSet": {"/rates": MAX_RATES},
    "createPortfolio": {"/limits": MAX_PORTFOLIO_LIMITS},
    "amendPortfolio": {"/limits": MAX_PORTFOLIO_LIMITS},
}
"""Limits of lists and maps that the document states in words, by their place in the body."""


def list_operations() -> Iterator[Operation]:
    """Yield the operations whose bodies are read on the event loop."""
    for route in ROUTES:
        body = route.operation.body
        if body is not None and JSON in body.media_types and body.max_bytes is None:
            yield route.operation


BOUNDED: Final = [
    one for one in list_operations() if one.body is not None and not one.body.has_many_values
]
MANY: Final = [one for one in list_operations() if one not in BOUNDED]


class Values:
    """Counts the values that a body may have at most."""

    def __init__(self, components: Json, limits: Mapping[str, int]) -> None:
        self._components = components
        self._limits = limits

    def count(self, schema: Any, place: str = "") -> int:
        if not isinstance(schema, dict):
            return 1
        if "$ref" in schema:
            return self.count(self._components[schema["$ref"].rpartition("/")[2]], place)
        alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        values = max((self.count(one, place) for one in alternatives), default=0)
        values += sum(self.count(one, place) for one in schema.get("allOf", ()))
        for name, member in schema.get("properties", {}).items():
            values += self.count(member, f"{place}/{name}")
        if "items" in schema:
            values += self._limit(schema, "maxItems", place) * self.count(
                schema["items"], f"{place}/-"
            )
        if isinstance(schema.get("additionalProperties"), dict):
            values += self._limit(schema, "maxProperties", place) * self.count(
                schema["additionalProperties"], f"{place}/*"
            )
        return max(values, 1)

    def _limit(self, schema: Json, name: str, place: str) -> int:
        limit: int | None = schema.get(name, self._limits.get(place))
        assert limit is not None, f"{place} has no limit"
        return limit


@pytest.fixture(scope="module")
def document(service: Service) -> Json:
    with service.client() as client:
        served: Json = client.get("/openapi.json").json()
    return served


@pytest.mark.parametrize("operation", BOUNDED, ids=lambda one: one.id)
def test_the_limits_of_an_operation_are_within_the_bound(
    document: Json, operation: Operation
) -> None:
    declared = document["paths"][operation.path][operation.method.lower()]
    schema = declared["requestBody"]["content"][JSON]["schema"]
    values = Values(document["components"]["schemas"], _LIMITS.get(operation.id, {}))
    assert values.count(schema) <= MAX_BODY_VALUES


def test_operations_of_many_values_have_no_bound_of_them(service: Service) -> None:
    body = '{"nothing":[' + "0," * (MAX_BODY_VALUES + 1) + "0]}"
    assert {one.id for one in MANY} >= {"createFacility", "amendFacility", "checkSchema"}
    with service.client() as client:
        for operation in MANY:
            names = dict.fromkeys(operation.path_parameters, "project_schema")
            response = client.request(
                operation.method,
                operation.path.format(**names),
                content=body,
                headers={"content-type": JSON, "if-match": "*"},
            )
            assert response.status_code != 413, operation.id


def test_a_facility_of_as_many_lenders_and_steps_as_it_may_have_is_created(
    service: Service,
) -> None:
    lenders = [{"lender": f"Bank {number}", "share": "1"} for number in range(100)]
    begin = date.fromisoformat(str(EXAMPLE["availability_start"]))
    steps = [
        {"from_date": str(begin + timedelta(days=day)), "lenders": lenders} for day in range(1, 201)
    ]
    with service.client() as client:
        path = client.post("/v1/ops/projects", json=WIND).headers["location"]
        facility = {**EXAMPLE, "lenders": lenders, "lender_steps": steps}
        created = client.post(f"{path}/facilities", json=facility, timeout=60)
        assert created.status_code == 201, created.text
        amended = amend(client, created, {"lender_steps": steps, "name": "Term Loan C"})
        assert amended.status_code == 200, amended.text
        assert len(amended.json()["lender_steps"]) == 200


def amend(client: httpx.Client, created: httpx.Response, patch: Json) -> httpx.Response:
    fields = {"if-match": created.headers["etag"]}
    return client.patch(created.headers["location"], json=patch, headers=fields, timeout=60)


def test_a_schema_of_many_texts_is_checked(service: Service) -> None:
    texts = [f"v{number}" for number in range(1_000)]
    columns = [{"name": f"c{n}", "type": "string(20)", "enum": texts} for n in range(33)]
    schema = {"id": "project_schema", "version": 1, "name": "P", "columns": columns}
    with service.client() as client:
        path = "/v1/governance/schemas/project_schema/check"
        checked = client.post(path, json=schema, timeout=60)
    assert checked.status_code == 200, checked.text
