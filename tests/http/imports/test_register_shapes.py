"""Files in the shapes of registers, with rows written for them, and their next editions."""

from typing import Any

import httpx
from tests.http.imports.case_player import MAPPINGS, list_projects, put_mapping, run_import

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
    assert (result["accepted"], result["skipped_by"]) == (2, {"filtered_row": 1})
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
