"""Excel workbooks: typed cells, errors of formulas, merged cells, and files that are refused."""

import csv
import io
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import httpx
import pytest
import xlsxwriter  # type: ignore[import-untyped]  # the package has no types
from tests.http.imports.case_player import IMPORTS, list_projects, put_mapping, run_import

from spawn.adapters.workers.subprocess_workers import SubprocessWorkers
from spawn.domain.imports.import_state import FileFormat

XLSX = FileFormat.XLSX.media_type
MAPPING: dict[str, Any] = {
    "decimal": ",",
    "null": ["", "-"],
    "columns": [
        {"attribute": "project_name", "column": "Plant", "whitespace": "collapse"},
        {"attribute": "total_amount", "column": "Cost", "unit_factor": "1000000"},
        {
            "attribute": "cod_date",
            "column": "Start",
            "date_formats": ["%d/%m/%Y", "year"],
        },
        {"attribute": "x_share", "column": "Share", "as": "number"},
        {"attribute": "x_owner", "column": "Owner"},
    ],
    "key": {"source": "sheet", "column": "Id"},
}
HEADER = ("Id", "Plant", "Cost", "Start", "Share", "Owner")


def build_workbook(*fill: Callable[[Any, Any], None], **names: str) -> bytes:
    """Return a workbook with one sheet for each function."""
    target = io.BytesIO()
    with xlsxwriter.Workbook(target, {"in_memory": True}) as book:
        for index, function in enumerate(fill):
            function(book, book.add_worksheet(names.get(f"s{index}")))
    return target.getvalue()


def fill_register(book: Any, sheet: Any) -> None:
    day = book.add_format({"num_format": "dd/mm/yyyy"})
    sheet.write(0, 1, "Register of plants, 2024")
    sheet.write_row(2, 1, HEADER)
    sheet.write_row(3, 1, (101, "Alpha", 0.1, 1990, 0.1 + 0.2, "A SA"))
    sheet.write_row(4, 1, ("0102", "Beta\nII", "1,5", "02/03/2011", 1e-7, ""))
    sheet.write_datetime(4, 4, datetime(2011, 3, 2), day)  # noqa: DTZ001 - a sheet has local times
    sheet.write_row(5, 1, (103, "Gamma", 3, "", 12345678901234, "G"))
    sheet.write_formula(5, 3, "=NA()", None, "#N/A")
    sheet.write_row(8, 1, (104, "Delta", "-", "later", "", "D"))
    sheet.write(8, 9, "a note beside the table")
    for row in range(9, 400):
        sheet.write_blank(row, 1, None, day)


async def test_typed_cells_become_what_the_mapping_reads(client: httpx.AsyncClient) -> None:
    await put_mapping(client, "book", MAPPING)
    content = build_workbook(fill_register)
    result = await run_import(client, content, XLSX, mapping="book")
    assert result["error"] is None
    assert (result["rows"], result["accepted"], result["skipped"]) == (4, 2, 0)
    assert result["by_reason"] == {"cell_error": 1, "missing": 1, "not_a_date": 1}
    alpha, beta = await list_projects(client)
    assert (alpha["total_amount"], alpha["cod_date"]) == ("100000.00", "1990-01-01")
    assert (alpha["x_share"], alpha["external_ref"]["id"]) == (0.3, "101")
    assert (beta["total_amount"], beta["cod_date"]) == ("1500000.00", "2011-03-02")
    assert (beta["x_share"], beta["external_ref"]["id"]) == (1e-7, "0102")

    reasons = (await client.get(result["reasons_url"])).json()["reasons"]
    samples = {one["code"]: one["samples"][0] for one in reasons}
    assert samples["cell_error"]["line"] == 6
    assert samples["cell_error"]["detail"] == "the cell has the error #N/A of a spreadsheet"
    assert samples["not_a_date"]["line"] == 9

    again = await run_import(client, content, XLSX, mapping="book")
    assert (again["accepted"], again["unchanged"]) == (0, 2)


async def test_quarantined_rows_of_a_sheet_come_back_as_csv(client: httpx.AsyncClient) -> None:
    await put_mapping(client, "book", MAPPING)
    result = await run_import(client, build_workbook(fill_register), XLSX, mapping="book")
    rows = await client.get(result["quarantine_url"], headers={"Accept": "text/csv"})
    table = list(csv.reader(io.StringIO(rows.text)))
    assert table[1][3:] == ["103", "Gamma", "#N/A", "", "12345678901234", "G"]
    table[1][5], table[2][5:7] = "3,25", ["7,5", "2020"]
    corrected = io.StringIO()
    csv.writer(corrected).writerows(table)
    back = await run_import(client, corrected.getvalue().encode(), "text/csv", mapping="book")
    assert (back["accepted"], back["by_reason"]) == (2, {})
    gamma, delta = (await list_projects(client))[2:]
    assert (gamma["total_amount"], gamma["x_share"]) == ("3250000.00", 12345678901234)
    assert (delta["total_amount"], delta["cod_date"]) == ("7500000.00", "2020-01-01")


async def test_a_merged_cell_stands_for_its_rows_where_the_mapping_says_so(
    client: httpx.AsyncClient,
) -> None:
    def fill(book: Any, sheet: Any) -> None:
        sheet.write_row(0, 0, ("Id", "Owner", "Cost"))
        for row, cost in enumerate((5, 7, 11), start=1):
            sheet.write_row(row, 0, (row, "", cost))
        sheet.merge_range(1, 1, 2, 1, "Both Ltd")
        sheet.merge_range(1, 2, 2, 2, 12, book.add_format({"bold": True}))

    columns = [
        {"attribute": "project_name", "column": "Owner"},
        {"attribute": "total_amount", "column": "Cost"},
    ]
    mapping = {"columns": columns, "key": {"source": "m", "column": "Id"}}
    await put_mapping(client, "m", {**mapping, "fill_merged": ["Owner"]})
    result = await run_import(client, build_workbook(fill), XLSX, mapping="m")
    assert (result["accepted"], result["by_reason"]) == (1, {"missing": 2})
    reasons = (await client.get(result["reasons_url"])).json()["reasons"]
    assert [(r["field"], r["samples"][0]["line"]) for r in reasons] == [("Cost", 3), ("Owner", 4)]
    (project,) = await list_projects(client)
    assert (project["project_name"], project["total_amount"]) == ("Both Ltd", "12.00")


async def test_a_workbook_needs_its_extra_and_the_columns(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_mapping(client, "book", {**MAPPING, "sheet": "Plants"})
    content = build_workbook(fill_register, lambda _, sheet: sheet.write(0, 0, "x"), s1="Plants")
    query = {"mapping": "book", "dry_run": "true"}
    headers = {"Content-Type": XLSX}
    tried = await client.post(IMPORTS, params=query, content=content, headers=headers)
    assert tried.status_code == 422
    assert tried.json()["errors"][0]["detail"] == (
        "The header lacks Cost, Id, Owner, Plant, Share, Start; it has: x; "
        "the sheets are: Sheet1, Plants"
    )
    assert (await client.get("/v1/ops/import-mappings/book")).json()["sheet"] == "Plants"

    monkeypatch.setattr(SubprocessWorkers, "reads_workbooks", False)
    refused = await client.post(IMPORTS, params=query, content=content, headers=headers)
    assert refused.status_code == 415
    assert "pip install 'duckdb-spawn[excel]'" in refused.json()["detail"]


async def test_rows_of_a_sheet_form_groups(client: httpx.AsyncClient) -> None:
    def fill(book: Any, sheet: Any) -> None:
        day = book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
        sheet.write_row(0, 0, ("Plant", "Unit", "MW", "Start"))
        for row, (plant, megawatts) in enumerate((("P", 1.1), ("Q", 5), ("P", 2.2)), start=1):
            sheet.write_row(row, 0, (plant, row, megawatts))
            sheet.write_datetime(row, 3, datetime(2001, 2, row, 12, 30), day)  # noqa: DTZ001 - as above

    await put_mapping(
        client,
        "g",
        {
            "key": {"source": "g", "column": "Plant"},
            "group_by": "key",
            "columns": [
                {"attribute": "project_name", "column": "Plant"},
                {"attribute": "total_amount", "column": "MW", "aggregate": "sum"},
                {
                    "attribute": "cod_date",
                    "column": "Start",
                    "date_format": "iso",
                    "aggregate": "max",
                },
            ],
        },
    )
    result = await run_import(client, build_workbook(fill), XLSX, mapping="g")
    assert (result["accepted"], result["merged"]) == (2, 1)
    first = (await list_projects(client))[0]
    assert (first["total_amount"], first["cod_date"]) == ("3.30", str(date(2001, 2, 3)))
