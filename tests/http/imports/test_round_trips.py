"""Exports of the service are read back as they were."""

import json
from typing import Any

import httpx
import pytest
from tests.http.imports.case_player import (
    IMPORTS,
    list_projects,
    load_case,
    put_mapping,
    run_import,
)

CSV, NDJSON = "text/csv", "application/x-ndjson"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
DATA = "/v1/data/projects"
FULL: dict[str, Any] = {
    "project_name": '=Sum, of "all"',
    "total_amount": "12.50",
    "currency_code": "EUR",
    "description": "'@note\nof two lines",
    "sector": "-5",
    "sponsors": [{"name": "A, Co", "share": "60"}, {"name": "B"}, {"name": "C"}],
    "milestones": [{"milestone_id": "m1", "title": "Permit", "kind": "CONDITION_PRECEDENT"}],
    "capacity_mw": 12.5,
    "green_bond_eligible": True,
    "carbon_intensity_gco2_kwh": 0.123,
    "cod_date": "1850-02-03",
    "concession_end_date": "2040-01-31",
    "expected_irr": 0.095,
    "x_list": [1, {"a": "=b"}],
    "x_text": "+1",
}


async def create(client: httpx.AsyncClient, **members: Any) -> dict[str, Any]:
    response = await client.post("/v1/ops/projects", json=members)
    assert response.status_code == 201, response.text
    project: dict[str, Any] = response.json()
    return project


async def fill(client: httpx.AsyncClient) -> None:
    """Create projects with all that an export must keep."""
    await create(client, **FULL)
    await create(client, project_name="Empty", total_amount="123456789012345678.12", description="")
    kept = await create(
        client,
        project_name="Held",
        total_amount="2",
        status="CONSTRUCTION",
        external_ref={"source": "desk", "id": "1"},
    )
    path = f"/v1/ops/projects/{kept['project_id']}"
    tag = (await client.get(path)).headers["ETag"]
    body = {"to": "SUSPENDED", "reason": "flood", "effective_on": "2026-01-31"}
    moved = await client.post(f"{path}/transitions", json=body, headers={"If-Match": tag})
    assert moved.status_code == 200, moved.text


def without_system(project: dict[str, Any]) -> dict[str, Any]:
    assigned = {"version", "created_at", "updated_at"}
    return {name: value for name, value in project.items() if name not in assigned}


@pytest.mark.parametrize("media_type", [CSV, NDJSON, XLSX])
async def test_an_export_changes_nothing_in_its_own_store(
    client: httpx.AsyncClient, media_type: str
) -> None:
    await fill(client)
    exported = (await client.get(DATA, headers={"Accept": media_type})).content
    before = await list_projects(client)
    await put_mapping(client, "export", {"from_export": True, "on_existing": "update"})
    for query in ({"from_export": "true"}, {"mapping": "export"}):
        result = await run_import(client, exported, media_type, **query)
        assert (result["rows"], result["unchanged"], result["by_reason"]) == (3, 3, {})
    assert await list_projects(client) == before
    again = await client.get(DATA, headers={"Accept": media_type})
    assert again.content == exported or media_type == XLSX


@pytest.mark.parametrize("media_type", [CSV, NDJSON, XLSX])
async def test_an_export_fills_another_store_with_the_same_projects(
    client: httpx.AsyncClient, other: httpx.AsyncClient, media_type: str
) -> None:
    await fill(client)
    exported = (await client.get(DATA, headers={"Accept": media_type})).content
    result = await run_import(other, exported, media_type, from_export="true")
    assert (result["accepted"], result["by_reason"]) == (3, {})
    before, after = [
        [without_system(project) for project in await list_projects(c)] for c in (client, other)
    ]
    for old, new in zip(before, after, strict=True):
        if media_type == XLSX:
            # A cell of a workbook does not tell an empty text from null.
            old["description"] = old["description"] or None
        if old["external_ref"] is not None:
            # The reference identifies the project, and its id is a new one.
            assert old.pop("project_id") != new.pop("project_id")
        assert new == old
    repeated = await run_import(other, exported, media_type, from_export="true")
    assert (repeated["accepted"], repeated["unchanged"]) == (0, 3)


async def test_an_empty_text_differs_from_an_absent_value_in_csv(
    client: httpx.AsyncClient,
) -> None:
    await create(client, project_name="Empty", total_amount="1", description="")
    await create(client, project_name="Absent", total_amount="1")
    header, empty, absent = (
        await client.get(DATA, headers={"Accept": "text/csv"})
    ).text.splitlines()
    index = header.split(",").index("description")
    assert (empty.split(",")[index], absent.split(",")[index]) == ('""', "")


async def test_a_line_of_an_export_is_imported_under_another_reference(
    client: httpx.AsyncClient,
) -> None:
    case = load_case("data", "06")
    first, second, *_ = case["steps"]
    await create(client, **first["body"])
    result = await run_import(
        client, second["body"], second["headers"]["Content-Type"], from_export="true"
    )
    assert result == {**result, **case["expected"]}
    assert len(await list_projects(client)) == 2


async def test_what_is_no_export_is_quarantined_or_rejected(client: httpx.AsyncClient) -> None:
    lacking = await run_import(client, "name,cost\nA,1\n", from_export="true")
    assert "lacks project_name, total_amount" in lacking["error"]
    rows = [
        {"project_name": "A", "total_amount": "1", "suspended_from": "NOWHERE"},
        {"project_name": "B", "total_amount": "1", "suspended_from": "OPERATION"},
        {"project_name": "C", "total_amount": "1", "colour": "red"},
        {"project_name": "D", "total_amount": "1", "project_id": "../x"},
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    result = await run_import(client, lines, "application/x-ndjson", from_export="true")
    assert result["by_reason"] == {"invalid_value": 1, "out_of_range": 1, "unknown_field": 1}
    (project,) = await list_projects(client)
    assert (project["project_name"], len(project["project_id"])) == ("D", 36)
    text = 'project_name,total_amount,sponsors,extensions\nA,1,[{,\nB,1,,"{""x_a"": 1}"\n'
    malformed = await run_import(client, text, from_export="true")
    assert (malformed["accepted"], malformed["by_reason"]) == (1, {"malformed": 1})


async def test_quarantined_rows_of_ndjson_need_no_mapping_to_come_back(
    client: httpx.AsyncClient,
) -> None:
    first = await run_import(client, '{"project_name": "A"}\n', "application/x-ndjson")
    line = json.loads((await client.get(first["quarantine_url"])).text)
    line["fields"]["total_amount"] = "5"
    second = await run_import(client, json.dumps(line), "application/x-ndjson")
    assert (second["accepted"], second["quarantined"]) == (1, 0)


@pytest.mark.parametrize("media_type", [CSV, NDJSON, XLSX])
async def test_a_mapping_of_exports_updates_what_was_edited(
    client: httpx.AsyncClient, media_type: str
) -> None:
    await fill(client)
    exported = (await client.get(DATA, headers={"Accept": media_type})).content
    project = (await list_projects(client))[0]
    path = f"/v1/ops/projects/{project['project_id']}"
    tag = (await client.get(path)).headers["ETag"]
    body = {"total_amount": "13", "spv": {"name": "New Co"}, "description": "other"}
    amended = await client.patch(path, json=body, headers={"If-Match": tag})
    assert amended.status_code == 200, amended.text
    await put_mapping(client, "export", {"from_export": True, "on_existing": "update"})
    assert (await run_import(client, exported, media_type, mapping="export"))["accepted"] == 1
    (after, *_) = await list_projects(client)
    assert (after["total_amount"], after["description"]) == ("12.50", FULL["description"])
    # An empty cell of a workbook says nothing; null in the others removes the value.
    assert (after["spv"] is None) is (media_type != XLSX)


@pytest.mark.parametrize("media_type", [CSV, NDJSON])
async def test_quarantined_rows_of_an_export_are_corrected_and_posted_back(
    client: httpx.AsyncClient, other: httpx.AsyncClient, media_type: str
) -> None:
    await create(client, **FULL)
    await create(client, project_name="Empty", total_amount="12.5", description="")
    exported = (await client.get(DATA, headers={"Accept": CSV})).text
    before = [without_system(project) for project in await list_projects(client)]
    broken = exported.replace(",12.50,", ",unclear,")
    first = await run_import(other, broken, from_export="true")
    assert first["by_reason"] == {"pattern_mismatch": 2}
    rows = (await other.get(first["quarantine_url"], headers={"Accept": media_type})).text
    corrected = rows.replace(",unclear,", ",12.50,").replace('"unclear"', '"12.50"')
    result = await run_import(other, corrected, media_type, from_export="true")
    assert (result["accepted"], result["by_reason"]) == (2, {})
    assert [without_system(project) for project in await list_projects(other)] == before


async def test_selected_fields_are_read_back_with_their_types(client: httpx.AsyncClient) -> None:
    await create(client, **FULL)
    fields = "project_name,total_amount,currency_code,capacity_mw,green_bond_eligible"
    for query in ({"format": "csv"}, {"format": "ndjson", "decimals": "string"}):
        response = await client.get(DATA, params={"fields": fields, **query})
        media_type = response.headers["Content-Type"].partition(";")[0]
        result = await run_import(client, response.content, media_type, from_export="true")
        assert (result["unchanged"], result["by_reason"]) == (1, {})


async def test_a_mapping_of_exports_has_only_a_layout(client: httpx.AsyncClient) -> None:
    document = {"from_export": True, "sheet": "projects", "encoding": "utf-8"}
    await put_mapping(client, "export", document)
    stored = (await client.get("/v1/ops/import-mappings/export")).json()
    assert "columns" not in stored
    await put_mapping(client, "export", stored)
    columns = [{"attribute": "project_name", "column": "n"}]
    bad = {**document, "columns": columns, "null": ["-"], "key": {"source": "a", "column": "b"}}
    response = await client.put("/v1/ops/import-mappings/bad", json=bad)
    pointers = [error["pointer"] for error in response.json()["errors"]]
    assert pointers == ["/columns", "/null", "/key"]
    for query in ({"from_export": "true"}, {"mapping": "export"}):
        headers = {"Content-Type": "application/xml"}
        response = await client.post(IMPORTS, params=query, content=b"<a/>", headers=headers)
        assert (response.status_code, "no XML" in response.text) == (422, True)


async def test_a_file_without_quoted_cells_has_marks_as_text(client: httpx.AsyncClient) -> None:
    """Also in its quarantine, which comes back in the same form."""
    text = 'id;name;cost\n1;"Big" Dam;5\n2;8" Pipe, "north;unclear\n3;"Ridge;unclear\n\x1a\x1a'
    columns = [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "cost"},
    ]
    key = {"source": "desk", "column": "id"}
    mapping = {"delimiter": ";", "quote": "", "columns": columns, "key": key}
    await put_mapping(client, "plain", mapping)
    first = await run_import(client, text, mapping="plain")
    assert (first["rows"], first["accepted"], first["quarantined"]) == (3, 1, 2)
    rows = (await client.get(first["quarantine_url"], headers={"Accept": CSV})).text
    corrected = rows.replace(";unclear", ";7")
    second = await run_import(client, corrected, mapping="plain")
    assert (second["accepted"], second["by_reason"]) == (2, {})
    names = {project["project_name"] for project in await list_projects(client)}
    assert names == {'"Big" Dam', '8" Pipe, "north', '"Ridge'}
    await put_mapping(client, "quoted", {**mapping, "quote": '"'})
    failed = await run_import(client, text, mapping="quoted")
    reasons = await client.get(f"/v1/ops/imports/{failed['import_id']}/reasons")
    assert "the mapping's quote is empty" in reasons.text
