"""Files in the shapes of registers, with rows written for them, and their next editions."""

import json
from typing import Any

import httpx
import pytest
from tests.http.imports.case_player import (
    MAPPINGS,
    list_projects,
    list_quarantine,
    put_mapping,
    run_import,
)

NAME = {"attribute": "project_name", "column": "name"}
COST = {"attribute": "total_amount", "column": "cost"}
MAPPING: dict[str, Any] = {
    "columns": [NAME, COST],
    "key": {"source": "register", "column": "id"},
}


async def read_names(client: httpx.AsyncClient) -> list[tuple[str, str]]:
    projects = await list_projects(client)
    return [(one["project_name"], one["total_amount"]) for one in projects]


async def test_joined_files_with_other_line_ends_go_in_whole(client: httpx.AsyncClient) -> None:
    await put_mapping(client, "joined", {**MAPPING, "encoding": ["utf-8", "cp1252"]})
    content = (
        b"\xef\xbb\xbfid,name,cost\r\n1,A,5\r\n"
        b'\xef\xbb\xbfid,name,cost\n2,B,6\r3,"C\rD",7\n4,Caf\xe9,8\r\n'
        b'\xef\xbb\xbf5,E,9\nid,name,cost\n6,"F\n\xef\xbb\xbf",1\n'
    )
    result = await run_import(client, content, mapping="joined")
    assert result["skipped_by"] == {"repeated_header": 2}
    # Inside quotes a return is a part of the name, and a mark after a break begins no file.
    assert result["by_reason"] == {"control_character": 2}
    names = [name for name, _ in await read_names(client)]
    assert names == ["A", "B", "Caf\u00e9", "E"]


async def test_utf_16_is_recognized_without_a_mark(client: httpx.AsyncClient) -> None:
    await put_mapping(client, "wide", {**MAPPING, "delimiter": "|", "on_existing": "update"})
    for encoding, cost in (("utf-16-le", 5), ("utf-16-be", 6)):
        content = f"id|name|cost\r\n1|Caf\u00e9 \u4e0a|{cost}\r\n".encode(encoding)
        assert (await run_import(client, content, mapping="wide"))["accepted"] == 1
        assert await read_names(client) == [("Caf\u00e9 \u4e0a", f"{cost}.00")]


async def test_a_next_edition_with_units_changes_what_changed(client: httpx.AsyncClient) -> None:
    mapping = {
        **MAPPING,
        "columns": [
            NAME,
            {**COST, "units": {"\u20b9": 1, "crore": 10_000_000}},
            {"attribute": "cod_date", "column": "year", "date_formats": ["fiscal_year_04"]},
            {
                "attribute": "status",
                "column": "status",
                "enum": {"Under bid": "PROPOSED", "Awarded": "MANDATED"},
            },
        ],
        "thousands": ",",
        "where": {"column": "id", "is_null": False},
        "ragged_rows": "pad",
        "on_existing": "update",
        "vanished": "report",
    }
    await put_mapping(client, "budget", mapping)
    first = (
        "id,name,cost,year,status\n"
        '1,Ring Road,"\u20b9 1,23,456.5 crore",2020-21,Under bid\n'
        "2,Metro,\u20b9 12,2021-22,Under bid\n"
        ",Sub-total,,,\n"
        "* provisional\n"
    )
    result = await run_import(client, first, mapping="budget")
    skipped = {"filtered_row": 1, "note_row": 1}
    assert (result["accepted"], result["skipped_by"], result["quarantined"]) == (2, skipped, 0)
    second = first.replace("Under bid", "Awarded", 1)
    second = second.replace("2,Metro,\u20b9 12,2021-22,Under bid\n", "")
    result = await run_import(client, second, mapping="budget")
    assert (result["accepted"], result["vanished"]) == (1, 1)
    road, metro = await list_projects(client)
    assert (road["total_amount"], road["cod_date"]) == ("1234565000000.00", "2020-04-01")
    assert (road["status"], metro["status"]) == ("MANDATED", "PROPOSED")


async def test_sponsors_without_shares_are_described_as_they_were_put(
    client: httpx.AsyncClient,
) -> None:
    columns = [NAME, COST, {"attribute": "sponsors", "columns": [{"name": "owner"}]}]
    await put_mapping(client, "owners", {**MAPPING, "columns": columns})
    stored = (await client.get(f"{MAPPINGS}/owners")).json()
    assert stored["columns"][2]["columns"] == [{"name": "owner"}]


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"PK\x03\x04\x14\x00", "a ZIP archive"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an .xls workbook"),
    ],
)
async def test_a_file_of_another_kind_is_rejected_by_its_name(
    client: httpx.AsyncClient, content: bytes, detail: str
) -> None:
    await put_mapping(client, "text", MAPPING)
    for media_type in ("text/csv", "application/x-ndjson"):
        result = await run_import(client, content, media_type, mapping="text")
        assert f"The file is no text: it is {detail}" in result["error"]
        assert result["rows"] == 0


async def test_rows_that_nest_too_deeply_can_be_downloaded_with_their_reason(
    client: httpx.AsyncClient,
) -> None:
    depth = 20_000
    content = '{"id": "1", "name": ' + "[" * depth + "]" * depth + "}\n"
    result = await run_import(client, content, "application/x-ndjson")
    assert result["by_reason"] == {"malformed_line": 1}
    (row,) = await list_quarantine(client, result)
    assert (row["fields"], row["reasons"][0]["code"]) == (None, "malformed_line")


async def test_hostile_values_are_reasons_by_field_and_the_other_rows_go_in(
    client: httpx.AsyncClient,
) -> None:
    columns = [NAME, COST, {"attribute": "cod_date", "column": "day", "date_formats": ["iso"]}]
    await put_mapping(client, "hostile", {**MAPPING, "columns": columns})
    content = (
        "id,name,cost,day\n"
        "1,A,1e400,\n"
        "2,B,NaN,\n"
        f"3,C,{'9' * 5000},\n"
        "4,D,5,0000-01-01\n"
        "5,E,5,10000-01-01\n"
        "6\u202e7,F,5,\n"
        "8,G\u2066,5,\n"
        "9,=cmd|' /C calc'!A0,5,\n"
        '10,"H,5,\n'
        "11,I,5,\n"
    )
    result = await run_import(client, content, mapping="hostile")
    assert (result["accepted"], result["quarantined"]) == (2, 8)
    found = [
        (row["line"], row["reasons"][0]["field"], row["reasons"][0]["code"])
        for row in await list_quarantine(client, result)
    ]
    assert found == [
        (2, "cost", "not_a_number"),
        (3, "cost", "not_a_number"),
        (4, "cost", "not_a_number"),
        (5, "day", "not_a_date"),
        (6, "day", "not_a_date"),
        (7, "id", "invisible_character"),
        (8, "name", "invisible_character"),
        (10, "", "malformed_line"),
    ]
    assert [name for name, _ in await read_names(client)] == ["=cmd|' /C calc'!A0", "I"]


async def test_an_array_of_projects_needs_no_mapping_and_its_quarantine_comes_back(
    client: httpx.AsyncClient,
) -> None:
    rows = [{"project_name": "A", "total_amount": "1"}, {"project_name": "B"}, 5]
    content = json.dumps(rows, indent=1)
    result = await run_import(client, content, "application/json")
    assert (result["format"], result["accepted"]) == ("json", 1)
    assert result["by_reason"] == {"malformed_line": 1, "missing": 1}
    first, second = await list_quarantine(client, result)
    assert (first["line"], second["line"], second["fields"]) == (6, 9, None)
    first["fields"]["total_amount"] = "2"
    result = await run_import(client, json.dumps(first), "application/x-ndjson")
    assert (result["accepted"], await read_names(client)) == (1, [("A", "1.00"), ("B", "2.00")])


async def test_features_of_geojson_change_in_a_next_edition(client: httpx.AsyncClient) -> None:
    columns = [
        {"attribute": "project_name", "column": "properties.name"},
        {"attribute": "total_amount", "column": "properties.cost"},
    ]
    key = {"source": "geo", "column": "properties.id"}
    mapping = {"columns": columns, "key": key, "on_existing": "update", "vanished": "report"}
    await put_mapping(client, "geo", mapping)
    for costs, counts in (((1, 2), (2, 0, 0)), ((1, 3), (1, 1, 0)), ((1,), (0, 1, 1))):
        features = [
            {"type": "Feature", "properties": {"id": number, "name": "Site", "cost": cost}}
            for number, cost in enumerate(costs)
        ]
        document = json.dumps({"type": "FeatureCollection", "features": features})
        result = await run_import(client, document, "application/geo+json", mapping="geo")
        assert (result["accepted"], result["unchanged"], result["vanished"]) == counts
