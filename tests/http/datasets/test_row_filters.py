"""Filters of the datasets other than projects: by column, with the errors of lists."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import tenacity
from tests.http.conftest import WIND, Service

NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def reader(discard_access_log: None) -> Iterator[httpx.Client]:  # noqa: ARG001  # set up first
    """Client of a service with a project in two versions, a quality run and two imports."""
    service = Service().start()
    with service.client() as client:
        location = client.post("/v1/ops/projects", json=WIND).headers["location"]
        client.patch(location, json={"sector": "solar"}, headers={"if-match": "*"})
        client.post("/v1/governance/quality/runs").raise_for_status()
        for lines in (b'{"project_name":"A","total_amount":"1"}\n', b'{"project_name":""}\n'):
            _import(client, lines)
        yield client
    service.stop()


def _import(client: httpx.Client, lines: bytes) -> None:
    job = client.post("/v1/ops/imports", content=lines, headers=NDJSON).json()["job_id"]
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.02),
        stop=tenacity.stop_after_delay(20),
    ):
        with attempt:
            assert client.get(f"/v1/jobs/{job}").json()["status"] == "succeeded"


def read(reader: httpx.Client, path: str) -> list[dict[str, Any]]:
    response = reader.get(f"/v1/data/{path}")
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json()
    return rows


@pytest.mark.parametrize(
    ("query", "is_selected"),
    [
        ("dimension=completeness", lambda row: row["dimension"] == "completeness"),
        ("rule_id[like]=TOTAL", lambda row: "total" in row["rule_id"]),
        ("severity[ne]=error&passed=true", lambda r: r["severity"] != "error" and r["passed"]),
        ("threshold[gte]=0.95", lambda row: (row["threshold"] or 0) >= 0.95),
        ("threshold[exists]=false", lambda row: row["threshold"] is None),
        ("value[lt]=1", lambda row: row["value"] is not None and row["value"] < 1),
        ("checked[in]=0,1", lambda row: row["checked"] in {0, 1}),
        ("measured_at[gte]=2000-01-01", lambda row: row is not None),
        ("measured_at[lte]=2000-01-01", lambda row: row is None),
    ],
)
def test_quality_results_are_filtered_by_column(
    reader: httpx.Client, query: str, is_selected: Any
) -> None:
    rows = read(reader, "quality.json")
    expected = [row for row in rows if is_selected(row)]
    assert read(reader, f"quality.json?{query}") == expected
    assert len(expected) < len(rows) or "2000" in query


def test_imports_and_versions_are_filtered_by_column(reader: httpx.Client) -> None:
    first, second = read(reader, "imports.json")
    assert read(reader, "imports.json?quarantined[gt]=0") == [second]
    assert read(reader, f"imports.json?created_at[lt]={second['created_at']}") == [first]
    assert read(reader, "imports.json?format[eq]=csv") == []
    (row,) = read(reader, f"imports.json?sha256={first['sha256']}&fields=accepted")
    assert row == {"accepted": 1}
    assert reader.get("/v1/data/imports.csv?accepted=1&fields=rows").text == "rows\r\n1\r\n"
    versions = read(reader, "history.json?version[gte]=2&fields=version,changed")
    assert versions == [{"version": 2, "changed": ["sector"]}]
    (event,) = read(reader, "events.json?sequence=0000000002&type=spawn.project.amended.v1")
    assert event["data"]["changed"] == ["sector"]


@pytest.mark.parametrize(
    ("path", "errors"),
    [
        ("quality?dimenson=x", [("/dimenson", "unknown_parameter", "'dimension'")]),
        ("quality?frmat=csv", [("/frmat", "unknown_parameter", "'format'")]),
        ("imports?acepted[gte]=1", [("/acepted[gte]", "unknown_parameter", "'accepted'")]),
        ("imports?status=OPERATION", [("/status", "unknown_parameter", "column.")]),
        ("imports?fields=rws", [("/fields", "unknown_field", "'rows'")]),
        ("imports?by_reason[like]=empty", [("/by_reason[like]", "operator_unsuitable", "JSON")]),
        ("history?type[ne]=x", [("/type[ne]", "unknown_parameter", "'type'")]),
        (
            "quality?run[above]=1&passed[gt]=true&value[like]=1&checked=many",
            [
                ("/run[above]", "unknown_operator", "Operators"),
                ("/passed[gt]", "operator_unsuitable", "not ordered"),
                ("/value[like]", "operator_unsuitable", "texts only"),
                ("/checked", "wrong_type", ""),
            ],
        ),
        ("imports?created_at=2026-01-01", [("/created_at", "not_an_instant", "")]),
        ("facilities?currency_code=eur", [("/currency_code", "unknown_currency", "eur")]),
        ("fx_rates?base_currency[in]=EUR,usd", [("/base_currency[in]", "unknown_currency", "")]),
        ("schedules?kind=SENIOR", [("/kind", "not_in_enum", "senior")]),
        ("entries?kind=DRAW", [("/kind", "not_in_enum", "draw")]),
        (
            "cases?kind=base&status=x",
            [("/kind", "not_in_enum", "BASE"), ("/status", "not_in_enum", "")],
        ),
        ("covenant_tests?outcome[ne]=pass", [("/outcome[ne]", "not_in_enum", "")]),
        ("approvals?state=PENDING", [("/state", "not_in_enum", "pending")]),
        ("quality?dimension[in]=completeness,colour", [("/dimension[in]", "not_in_enum", "")]),
    ],
)
def test_each_invalid_filter_is_named_with_a_similar_column(
    reader: httpx.Client, path: str, errors: list[tuple[str, str, str]]
) -> None:
    response = reader.get(f"/v1/data/{path}")
    assert response.status_code == 422, response.text
    found = [(error["pointer"], error["code"]) for error in response.json()["errors"]]
    assert found == [error[:2] for error in errors]
    for error, (_, _, part) in zip(response.json()["errors"], errors, strict=True):
        assert part in error["detail"]


def test_the_document_lists_the_filters_of_every_dataset(reader: httpx.Client) -> None:
    document = reader.get("/openapi.json").json()
    operation = document["paths"]["/v1/data/{dataset}"]["get"]
    (parameter,) = [p for p in operation["parameters"] if p.get("name") == "row_filters"]
    names = parameter["schema"]["properties"].keys()
    assert {"passed", "measured_at[gte]", "quarantined[gt]", "format[eq]"} <= names
    assert names.isdisjoint({"format", "schema_version", "type", "subject", "changed[like]"})


@pytest.mark.parametrize(
    "path",
    [
        "facilities?currency_code=EUR&kind=senior",
        "facilities?kind[in]=senior,mezzanine&kind[like]=SEN",
        "entries?kind[ne]=draw",
        "cases?status=DRAFT",
    ],
)
def test_values_that_a_row_can_have_are_filters(reader: httpx.Client, path: str) -> None:
    assert reader.get(f"/v1/data/{path}").status_code == 200
