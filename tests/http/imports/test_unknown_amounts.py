"""Projects whose cost a register does not say: null everywhere, and never a zero in its place."""

import csv
import io
import json
from typing import Any

import httpx
from tests.http.imports.case_player import IMPORTS, list_projects, put_mapping, run_import

MAPPING: dict[str, Any] = {
    "missing_amount": "unknown",
    "null": ["", "n/a"],
    "columns": [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "cost"},
    ],
    "key": {"source": "u", "column": "id"},
    "on_existing": "update",
}
FIRST = "id,name,cost\n1,A,\n2,B,12.5\n3,C,n/a\n4,D,much\n"


async def test_a_row_without_an_amount_is_a_project_with_a_warning(
    client: httpx.AsyncClient,
) -> None:
    await put_mapping(client, "u", MAPPING)
    result = await run_import(client, FIRST, mapping="u")
    assert (result["accepted"], result["warnings"]) == (3, 2)
    assert result["by_reason"] == {"not_a_number": 1}
    warnings_url = f"{IMPORTS}/{result['import_id']}/warnings"
    warnings = (await client.get(warnings_url)).text.splitlines()
    assert [reason["code"] for line in warnings for reason in json.loads(line)["reasons"]] == [
        "amount_unknown",
        "amount_unknown",
    ]
    projects = await list_projects(client)
    assert [project["total_amount"] for project in projects] == [None, "12.50", None]

    for query, names in (
        ({"total_amount[exists]": "false"}, ["A", "C"]),
        ({"total_amount[gte]": "0"}, ["B"]),
        ({"sort": "-total_amount,project_name", "limit": "1"}, ["B"]),
    ):
        items = (await client.get("/v1/ops/projects", params=query)).json()["items"]
        assert [item["project_name"] for item in items] == names
    pages, link = [], "/v1/ops/projects?sort=total_amount&limit=1"
    while link:
        page = (await client.get(link)).json()
        pages += [item["project_name"] for item in page["items"]]
        link = f"/v1/ops/projects?sort=total_amount&limit=1&after={page['next']}"
        link = link if page["next"] else ""
    assert pages == ["B", "A", "C"]


async def test_a_later_edition_may_say_the_amount_and_never_takes_it_away(
    client: httpx.AsyncClient,
) -> None:
    await put_mapping(client, "u", MAPPING)
    await run_import(client, FIRST, mapping="u")
    second = await run_import(client, "id,name,cost\n1,A,7\n2,B,\n3,C,\n", mapping="u")
    assert (second["accepted"], second["unchanged"]) == (1, 2)
    amounts = [project["total_amount"] for project in await list_projects(client)]
    assert amounts == ["7.00", "12.50", None]


async def test_a_request_must_say_the_amount(client: httpx.AsyncClient) -> None:
    for body in ({"project_name": "x"}, {"project_name": "x", "total_amount": None}):
        response = await client.post("/v1/ops/projects", json=body)
        assert response.status_code == 422
        assert response.json()["errors"][0]["pointer"] == "/total_amount"
    await put_mapping(client, "u", {**MAPPING, "missing_amount": "quarantine"})
    result = await run_import(client, FIRST, mapping="u")
    assert result["by_reason"] == {"missing": 2, "not_a_number": 1}
    document = {**MAPPING, "missing_amount": "zero"}
    refused = await client.put("/v1/ops/import-mappings/u2", json=document)
    assert refused.json()["errors"][0]["pointer"] == "/missing_amount"


async def test_a_register_without_costs_needs_no_column_for_them(
    client: httpx.AsyncClient,
) -> None:
    columns = MAPPING["columns"][:1]
    await put_mapping(client, "u", {**MAPPING, "columns": columns})
    result = await run_import(client, "id,name\n1,A\n", mapping="u")
    assert (result["accepted"], result["warnings"]) == (1, 1)


async def test_unknown_amounts_leave_and_come_back(
    client: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    await put_mapping(client, "u", MAPPING)
    await run_import(client, FIRST, mapping="u")
    for suffix, media_type in (("csv", "text/csv"), ("ndjson", "application/x-ndjson")):
        exported = (await client.get(f"/v1/data/projects.{suffix}")).content
        back = await run_import(client, exported, media_type, from_export="true")
        assert (back["unchanged"], back["by_reason"]) == (3, {}), suffix
        moved = await run_import(other, exported, media_type, from_export="true")
        assert moved["accepted"] + moved["unchanged"] == 3
    rows = list(csv.DictReader(io.StringIO((await other.get("/v1/data/projects.csv")).text)))
    assert [row["total_amount"] for row in rows] == ["", "12.50", ""]


async def test_the_contract_says_that_an_amount_may_be_null(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    served = schemas["Project"]["properties"]["total_amount"]
    assert "null" in served["type"]
    contract = (await client.get("/contract", headers={"Accept": "application/json"})).json()
    (table,) = [item for item in contract["schema"] if item["name"] == "projects"]
    amount = next(item for item in table["properties"] if item["name"] == "total_amount")
    assert not amount.get("required")
