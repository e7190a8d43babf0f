"""Imports of facilities and of entries: a book of running loans is taken over from files."""

import json
from typing import Any

import httpx
import pytest
from tests.http.imports.test_import_routes import CSV, IMPORTS, NDJSON, ended, result
from tests.http.imports.test_workbooks import XLSX, build_workbook

Json = dict[str, Any]

PROJECT: Json = {
    "project_name": "Sierra Wind",
    "total_amount": "130000000.00",
    "currency_code": "EUR",
    "external_ref": {"source": "desk", "id": "P-1"},
}
TERMS: Json = {
    "project_ref.source": "desk",
    "project_ref.id": "P-1",
    "name": "Term loan",
    "kind": "senior",
    "currency_code": "EUR",
    "commitment": "1000000.00",
    "availability_start": "2020-03-31",
    "availability_end": "2021-12-31",
    "lenders.0.lender": "First",
    "lenders.0.share": "60",
    "lenders.1.lender": "Second",
    "lenders.1.share": "40",
    "rate.fixed_rate": "0.04",
    "day_count": "ACT/365F",
    "payment_dates.start": "2020-03-31",
    "payment_dates.end": "2030-03-31",
    "payment_dates.frequency": "semi_annual",
    "repayment.profile": "straight_line",
    "repayment.grace_periods": "2",
}
LOAN: Json = {"facility_name": "Term loan", "project_ref": {"source": "desk", "id": "P-1"}}
OPENING: Json = {
    **LOAN,
    "kind": "opening",
    "value_date": "2024-06-30",
    "amount": "600000.00",
    "accrued_interest": "6000.00",
    "external_key": "OPEN-1",
}


def csv_of(*rows: Json) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    return "".join(",".join(line) + "\n" for line in lines).encode()


def lines_of(*rows: Json) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


async def load(
    client: httpx.AsyncClient, kind: str, content: bytes, headers: Json = CSV, **params: str
) -> Json:
    """Import a file and return its counts."""
    answer = await client.post(
        IMPORTS, params={"kind": kind, **params}, content=content, headers=headers
    )
    job = await ended(client, answer)
    assert job["status"] == "succeeded", job
    return await result(client, job)


async def list_reasons(client: httpx.AsyncClient, counts: Json) -> list[tuple[int, str, str]]:
    """Return line, field and code of each reason of the quarantined rows."""
    rows = (await client.get(counts["quarantine_url"])).text.splitlines()
    return [
        (row["line"], reason["field"], reason["code"])
        for row in map(json.loads, rows)
        for reason in row["reasons"]
    ]


def numbers(counts: Json) -> tuple[int, int, int]:
    return counts["accepted"], counts["unchanged"], counts["quarantined"]


@pytest.fixture
async def project(client: httpx.AsyncClient) -> str:
    created = await client.post("/v1/ops/projects", json=PROJECT)
    assert created.status_code == 201, created.text
    return str(created.json()["project_id"])


async def the_facility(client: httpx.AsyncClient, project: str) -> Json:
    (facility,) = (await client.get(f"/v1/ops/projects/{project}/facilities")).json()["items"]
    found: Json = facility
    return found


async def balance_of(client: httpx.AsyncClient, project: str, on: str) -> Json:
    facility = await the_facility(client, project)
    path = f"/v1/ops/facilities/{facility['facility_id']}/balance"
    found: Json = (await client.get(path, params={"on": on})).json()
    return found


async def test_a_book_of_running_loans_is_taken_over_and_again_changes_nothing(
    client: httpx.AsyncClient, project: str
) -> None:
    facilities = csv_of(TERMS)
    payment = {**LOAN, "kind": "payment", "value_date": "2024-09-30", "amount": "20000.00"}
    entries = lines_of(OPENING, {**payment, "external_key": "PAY-1"})
    assert numbers(await load(client, "facility", facilities)) == (1, 0, 0)
    assert numbers(await load(client, "entry", entries, NDJSON)) == (2, 0, 0)
    facility = await the_facility(client, project)
    assert facility["lenders"] == [
        {"lender": "First", "share": "60"},
        {"lender": "Second", "share": "40"},
    ]
    assert facility["repayment"]["grace_periods"] == 2
    balance = await balance_of(client, project, "2024-09-30")
    # 6,000 brought along and 92 days of 4 % on 600,000 are paid before principal.
    assert (balance["interest_paid"], balance["balance"]) == ("12049.32", "592049.32")
    before = await client.get("/v1/events", params={"limit": 500})
    assert numbers(await load(client, "facility", facilities)) == (0, 1, 0)
    assert numbers(await load(client, "entry", entries, NDJSON)) == (0, 2, 0)
    assert await balance_of(client, project, "2024-09-30") == balance
    types = [one["type"] for one in before.json()["events"]]
    after = (await client.get("/v1/events", params={"limit": 500})).json()["events"]
    recorded = [one for one in after[len(types) :] if "import" not in one["type"]]
    assert [one["type"] for one in recorded if "run" not in one["type"]] == []


async def test_a_workbook_has_typed_cells(client: httpx.AsyncClient, project: str) -> None:
    await load(client, "facility", csv_of(TERMS))

    def fill(book: Any, sheet: Any) -> None:
        day = book.add_format({"num_format": "dd/mm/yyyy"})
        rows = ({**OPENING, "project_ref": None},)
        names = [name for name in OPENING if name != "project_ref"]
        sheet.write_row(0, 0, [*names, "project_id"])
        for number, row in enumerate(rows, start=1):
            sheet.write_row(number, 0, [row[name] for name in names] + [project])
            sheet.write(number, names.index("value_date"), 45473, day)
            sheet.write_number(number, names.index("amount"), 600000)

    counts = await load(client, "entry", build_workbook(fill), {"Content-Type": XLSX})
    assert numbers(counts) == (1, 0, 0)
    balance = await balance_of(client, project, "2024-06-30")
    assert (balance["balance"], balance["accrued_interest"]) == ("600000.00", "6000.00")


@pytest.mark.usefixtures("project")
async def test_errors_of_rows_name_the_field(client: httpx.AsyncClient) -> None:
    rows = (
        {**TERMS, "commitment": "much"},
        {**TERMS, "name": "B", "rate.fixed_rate": "4.0.1"},
        {**TERMS, "name": "C", "lenders.1.share": "50"},
        {**TERMS, "name": "D", "project_ref.id": "P-9"},
        {**TERMS, "name": "E", "repayment.profile": "balloon_like"},
        TERMS,
        {**TERMS, "commitment": "2000000.00"},
    )
    counts = await load(client, "facility", csv_of(*rows))
    assert numbers(counts) == (1, 0, 6)
    assert await list_reasons(client, counts) == [
        (2, "commitment", "not_a_number"),
        (3, "rate.fixed_rate", "not_a_number"),
        (4, "lenders", "not_a_hundred"),
        (5, "project_ref.id", "not_found"),
        (6, "repayment.profile", "not_in_enum"),
        (8, "name", "differs_from_existing"),
    ]
    draw = {**LOAN, "kind": "draw", "value_date": "2020-06-30", "amount": "1.00"}
    entries = (
        draw,
        {**draw, "external_key": "A", "amount": "1000000.01"},
        {**draw, "external_key": "B", "facility_name": "None"},
        {**draw, "external_key": "C", "kind": "rate_fixing", "amount": None},
        {**draw, "external_key": "D", "colour": "red"},
        {**draw, "external_key": "E"},
        {**draw, "external_key": "E", "amount": "2.00"},
    )
    counts = await load(client, "entry", lines_of(*entries), NDJSON)
    assert numbers(counts) == (1, 0, 6)
    assert await list_reasons(client, counts) == [
        (1, "external_key", "missing"),
        (2, "amount", "exceeds_commitment"),
        (3, "facility_name", "not_found"),
        (4, "kind", "not_applicable"),
        (4, "rate", "missing"),
        (5, "colour", "unknown_field"),
        (7, "external_key", "differs_from_existing"),
    ]


async def test_closed_periods_hold_for_imported_entries(
    client: httpx.AsyncClient, project: str
) -> None:
    await load(client, "facility", csv_of(TERMS))
    late = {**LOAN, "kind": "fee", "value_date": "2024-07-31", "amount": "5.00"}
    closing = {**LOAN, "kind": "closing", "value_date": "2024-12-31", "external_key": "CLOSE"}
    entries = (
        OPENING,
        closing,
        {**late, "external_key": "FEE-1"},
        {**late, "external_key": "FEE-2", "reason": "invoiced late"},
    )
    counts = await load(client, "entry", lines_of(*entries), NDJSON)
    assert await list_reasons(client, counts) == [(3, "reason", "missing")]
    assert numbers(counts) == (3, 0, 1)
    facility = await the_facility(client, project)
    path = f"/v1/ops/facilities/{facility['facility_id']}/entries"
    restated = [e for e in (await client.get(path)).json()["items"] if e["is_restatement"]]
    assert [entry["external_key"] for entry in restated] == ["FEE-2"]


async def test_a_mapping_converts_the_columns_of_another_system(
    client: httpx.AsyncClient, project: str
) -> None:
    await load(client, "facility", csv_of(TERMS))
    mapping = {
        "kind": "entry",
        "delimiter": ";",
        "decimal": ",",
        "thousands": ".",
        "columns": [
            {"attribute": "project_id", "constant": project},
            {"attribute": "facility_name", "column": "Loan"},
            {
                "attribute": "kind",
                "column": "Type",
                "enum": {"OB": "opening", "PMT": "payment"},
            },
            {"attribute": "value_date", "column": "Value", "date_formats": ["%d.%m.%Y"]},
            {"attribute": "amount", "column": "Amount"},
            {"attribute": "accrued_interest", "column": "Interest"},
            {"attribute": "external_key", "column": "Ref"},
        ],
    }
    path = "/v1/ops/import-mappings/core-banking"
    assert (await client.put(path, json=mapping)).status_code == 201
    assert (await client.get(path)).json()["kind"] == "entry"
    table = (
        "Ref;Loan;Type;Value;Amount;Interest\n"
        "1;Term loan;OB;30.06.2024;600.000,00;0,00\n"
        "2;Term loan;PMT;30.09.2024;1.000,00;\n"
        "3;Term loan;PMT;31.09.2024;x;\n"
    )
    counts = await load(client, "entry", table.encode(), mapping="core-banking")
    assert numbers(counts) == (2, 0, 1)
    assert await list_reasons(client, counts) == [
        (4, "Value", "not_a_date"),
        (4, "Amount", "not_a_number"),
    ]
    balance = await balance_of(client, project, "2024-09-30")
    assert (balance["balance"], balance["interest_paid"]) == ("600000.00", "1000.00")
    quarantined = (await client.get(counts["quarantine_url"])).text
    corrected = quarantined.replace("31.09.2024", "01.10.2024").replace('"x"', '"1,00"')
    counts = await load(client, "entry", corrected.encode(), NDJSON, mapping="core-banking")
    assert numbers(counts) == (1, 0, 0)


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"columns": [{"attribute": "rate.colour", "column": "a"}]}, "/columns/0/attribute"),
        ({"key": {"source": "desk", "column": "id"}}, "/key"),
        ({"group_by": ["a"]}, "/group_by"),
    ],
)
async def test_a_mapping_of_facilities_has_their_fields_alone(
    client: httpx.AsyncClient, members: Json, pointer: str
) -> None:
    mapping = {"kind": "facility", "columns": [{"attribute": "name", "column": "a"}], **members}
    answer = await client.put("/v1/ops/import-mappings/loans", json=mapping)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_parameters_of_an_import_fit_its_kind(client: httpx.AsyncClient) -> None:
    mapping = {"columns": [{"attribute": "project_name", "column": "a"}]}
    await client.put("/v1/ops/import-mappings/desk", json=mapping)
    for params, pointer in (
        ({"kind": "loan"}, "/kind"),
        ({"kind": "entry", "from_export": "true", "mapping": "desk"}, "/mapping"),
        ({"kind": "entry", "mapping": "desk"}, "/mapping"),
    ):
        answer = await client.post(IMPORTS, params=params, content=b"a\n", headers=CSV)
        assert answer.status_code == 422, params
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_a_header_with_an_unknown_field_fails_the_import(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        IMPORTS, params={"kind": "facility"}, content=b"name,colour\nA,red\n", headers=CSV
    )
    job = await ended(client, answer)
    assert job["status"] == "failed"
    assert "has no colour: correct the header, or name a mapping" in job["error"]


async def try_file(client: httpx.AsyncClient, kind: str, content: bytes, headers: Json) -> Json:
    """Return the dry run of a file."""
    params = {"kind": kind, "dry_run": "true"}
    response = await client.post(IMPORTS, params=params, content=content, headers=headers)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


async def test_a_dry_run_of_records_counts_as_the_import_does_and_writes_nothing(
    client: httpx.AsyncClient, project: str
) -> None:
    """Rows rest on those before them: a draw on a fixing, a second facility on the first's name."""
    floating = {name: value for name, value in TERMS.items() if name != "rate.fixed_rate"}
    facilities = csv_of(
        {**TERMS, "lender_steps.0.from_date": "", "rate.curve": ""},
        {**floating, "name": "Floating", "rate.curve": "EURIBOR-6M"},
        {**TERMS, "commitment": "2.00"},
        {**TERMS, "name": "Short", "lenders.0.share": "50"},
    )
    trial = await try_file(client, "facility", facilities, CSV)
    assert (await client.get(f"/v1/ops/projects/{project}/facilities")).json()["items"] == []
    done = await load(client, "facility", facilities)
    assert numbers(trial) == numbers(done) == (2, 0, 2)
    assert {one["code"] for one in trial["reasons"]} == {"differs_from_existing", "not_a_hundred"}
    assert (trial["complete"], trial["projects"]) == (True, [])

    loan = {**LOAN, "facility_name": "Floating"}
    fixing = {"kind": "rate_fixing", "value_date": "2020-03-31", "rate": "0.02"}
    draw = {"kind": "draw", "value_date": "2020-04-01", "amount": "900000.00"}
    entries = lines_of(
        {**loan, **draw, "external_key": "EARLY"},
        {**loan, **fixing, "external_key": "FIX"},
        {**loan, **draw, "external_key": "DRAW"},
        {**loan, **draw, "external_key": "DRAW"},
        {**loan, **draw, "external_key": "TOO-MUCH"},
        {**LOAN, **draw, "external_key": "OTHER-LEDGER"},
    )
    trial = await try_file(client, "entry", entries, NDJSON)
    listed = (await client.get(f"/v1/ops/projects/{project}/facilities")).json()["items"]
    for one in listed:
        path = f"/v1/ops/facilities/{one['facility_id']}/entries"
        assert (await client.get(path)).json()["items"] == []
    done = await load(client, "entry", entries, NDJSON)
    assert numbers(trial) == numbers(done) == (3, 1, 2)
    codes = {one["code"] for one in trial["reasons"]}
    assert codes == {code for _, _, code in await list_reasons(client, done)}
    assert codes == {"no_rate", "exceeds_commitment"}
    again = await try_file(client, "entry", entries[entries.index(b"\n") + 1 :], NDJSON)
    assert numbers(again) == (0, 4, 1)


BOOK: Json = {
    **LOAN,
    "value_date": "2024-07-31",
    "amount": "20000.00",
    "evidence": '=notice, "1"',
    "external_key": "PAY-1",
}
ENTRIES: list[Json] = [
    OPENING,
    {**BOOK, "kind": "payment"},
    {**LOAN, "kind": "fee", "value_date": "2024-08-31", "amount": "7.50", "external_key": "F-1"},
]


async def fill(client: httpx.AsyncClient, project: str) -> str:
    """Record a loan with entries, one of them reversed, and return the path of the loan."""
    await load(client, "facility", csv_of(TERMS))
    await load(client, "entry", lines_of(*ENTRIES), NDJSON)
    facility = await the_facility(client, project)
    path = f"/v1/ops/facilities/{facility['facility_id']}"
    reversed_entry = await client.post(
        f"{path}/entries/3/reversal",
        json={"reason": "Charged twice"},
        headers={"If-Match": "*", "Idempotency-Key": "R-1"},
    )
    assert reversed_entry.status_code == 201, reversed_entry.text
    return path


async def export(client: httpx.AsyncClient, dataset: str, headers: Json) -> bytes:
    accept = {"Accept": headers["Content-Type"]}
    exported = await client.get(f"/v1/data/{dataset}", headers=accept)
    assert exported.status_code == 200, exported.text
    return exported.content


@pytest.mark.parametrize(
    "headers", [CSV, NDJSON, {"Content-Type": XLSX}], ids=["csv", "ndjson", "xlsx"]
)
async def test_exports_of_a_book_change_nothing_in_their_own_store(
    client: httpx.AsyncClient, project: str, headers: Json
) -> None:
    path = await fill(client, project)
    for kind, dataset, rows in (("facility", "facilities", 1), ("entry", "entries", 4)):
        exported = await export(client, dataset, headers)
        counts = await load(client, kind, exported, headers, from_export="true")
        assert numbers(counts) == (0, rows, 0), await list_reasons(client, counts)
        trial = await client.post(
            IMPORTS,
            params={"kind": kind, "from_export": "true", "dry_run": "true"},
            content=exported,
            headers=headers,
        )
        assert trial.json()["unchanged"] == rows, trial.text
        if headers in (CSV, NDJSON):
            assert await export(client, dataset, headers) == exported
    assert (await client.get(path)).json()["version"] == 1


@pytest.mark.parametrize(
    "headers", [CSV, NDJSON, {"Content-Type": XLSX}], ids=["csv", "ndjson", "xlsx"]
)
async def test_an_export_that_the_store_contradicts_is_quarantined(
    client: httpx.AsyncClient, project: str, headers: Json
) -> None:
    path = await fill(client, project)
    exported = await export(client, "facilities", headers)
    stored = await client.get(path)
    amended = await client.patch(
        path, json={"name": "Loan A"}, headers={"If-Match": stored.headers["ETag"]}
    )
    assert amended.status_code == 200, amended.text
    counts = await load(client, "facility", exported, headers, from_export="true")
    assert await list_reasons(client, counts) == [
        (2 if headers is not NDJSON else 1, "facility_id", "differs_from_existing")
    ]


async def test_rows_that_no_export_has_are_quarantined(
    client: httpx.AsyncClient, project: str
) -> None:
    await fill(client, project)
    first, *_ = map(json.loads, (await export(client, "entries", NDJSON)).splitlines())
    rows = [
        {**first, "amount": "600000.01"},
        {**first, "entry_id": "0190b5a0-0000-7000-8000-000000000001.1"},
        {**first, "value_date": "30.06.2024"},
        {**first, "maturity": None},
        {"amount": first["amount"]},
    ]
    counts = await load(client, "entry", lines_of(*rows), NDJSON, from_export="true")
    assert await list_reasons(client, counts) == [
        (1, "entry_id", "differs_from_existing"),
        (2, "entry_id", "not_found"),
        (3, "value_date", "not_a_date"),
        (4, "maturity", "unknown_field"),
        (5, "entry_id", "missing"),
    ]


async def test_a_table_of_another_dataset_is_no_export_of_the_kind(
    client: httpx.AsyncClient, project: str
) -> None:
    await fill(client, project)
    exported = await export(client, "entries", CSV)
    answer = await client.post(
        IMPORTS,
        params={"kind": "facility", "from_export": "true"},
        content=exported,
        headers=CSV,
    )
    job = await ended(client, answer)
    assert job["status"] == "failed"
    assert "no column entry_id" in json.dumps(job)
