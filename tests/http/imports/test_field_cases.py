"""Files that other importers met in the field go in, or are quarantined for a stated reason."""

import json

import httpx
from tests.http.imports.case_player import (
    list_projects,
    list_quarantine,
    load_case,
    play,
    put_mapping,
    read_shape,
    run_import,
)


async def test_a_mark_before_a_quoted_header_is_no_data(client: httpx.AsyncClient) -> None:
    case = load_case("data", "01")
    (result,) = await play(client, case)
    assert result == {**result, **case["expected"]}


async def test_corrected_rows_of_a_quarantine_come_back_as_they_were(
    client: httpx.AsyncClient,
) -> None:
    case = load_case("data", "03")
    first, _ = await play(client, case)
    (project,) = await list_projects(client)
    assert project == {**project, **case["expected"]}
    served = await client.get(first["quarantine_url"], headers={"Accept": "text/csv"})
    assert served.content.splitlines()[0] == b"line,reasons,raw_line,id,name,amount,d"
    assert served.content.endswith(b"1,'@Home Wind,n/a,'+49 30 555 and ask\r\n")


async def test_a_trailing_delimiter_carries_nothing(client: httpx.AsyncClient) -> None:
    case = load_case("data", "12")
    (result,) = await play(client, case)
    assert result == {**result, **case["expected"]}


async def test_title_lines_are_skipped(client: httpx.AsyncClient) -> None:
    case = load_case("data", "14")
    (result,) = await play(client, case, header_row=3)
    assert result == {**result, **case["expected"]}


async def test_a_decimal_comma_is_a_mark_of_the_mapping(client: httpx.AsyncClient) -> None:
    case = load_case("data", "17")
    (result,) = await play(client, case, decimal=",")
    (project,) = await list_projects(client)
    assert {**result, **project} == {**result, **project, **case["expected"]}


async def test_a_date_may_have_a_time(client: httpx.AsyncClient) -> None:
    case = load_case("data", "20")
    body = case["steps"][0]["body"]
    body["columns"][3] = {**body["columns"][3], "date_format": "%d.%m.%Y %H:%M"}
    await play(client, case)
    (project,) = await list_projects(client)
    assert project == {**project, **case["expected"]}


async def test_a_text_without_an_entry_may_be_itself(client: httpx.AsyncClient) -> None:
    case = load_case("data", "24")
    body = case["steps"][0]["body"]
    body["columns"][3]["otherwise"] = "keep"
    (result,) = await play(client, case)
    assert result == {**result, **case["expected"]}
    assert [p["country_code"] for p in await list_projects(client)] == ["GBR", "DEU"]


async def test_names_of_columns_that_differ_in_blanks_are_both_found(
    client: httpx.AsyncClient,
) -> None:
    case = load_case("data", "26")
    for result in await play(client, case):
        assert result == {**result, **case["expected"]}
    assert [p["x_fuel2"] for p in await list_projects(client)] == ["Oil", "Peat"]


async def test_keys_that_look_the_same_are_the_same(client: httpx.AsyncClient) -> None:
    case = load_case("data", "29")
    (result,) = await play(client, case)
    expected = dict(case["expected"])
    assert result["by_reason"] == {expected.pop("reason"): 1}
    assert result == {**result, **expected}
    found = await client.get("/v1/ops/projects", params={"project_name[like]": "são"})
    assert [p["external_ref"]["id"] for p in found.json()["items"]] == ["SÃO-1"]


async def test_a_column_without_a_name_can_be_the_key(client: httpx.AsyncClient) -> None:
    case = load_case("integration", "25")
    (step,) = case["steps"]
    created = await client.put(step["path"], json=step["body"])
    assert created.status_code == case["expected"]["status"]
    result = await run_import(client, ",name\n0,Dam\n1,Weir\n", mapping="un")
    assert (result["accepted"], result["error"]) == (2, None)


async def test_rows_that_came_back_are_quarantined_in_the_same_form(
    client: httpx.AsyncClient,
) -> None:
    case = load_case("data", "03")
    first, _ = await play(client, case)
    served = await client.get(first["quarantine_url"], headers={"Accept": "text/csv"})
    again = await run_import(client, served.content, mapping="c-fq")
    second = await client.get(again["quarantine_url"], headers={"Accept": "text/csv"})
    assert second.content.splitlines()[0] == served.content.splitlines()[0]
    (row,) = await list_quarantine(client, again)
    (before,) = await list_quarantine(client, first)
    assert row["fields"] == before["fields"]


async def test_sponsors_are_read_from_pairs_of_columns(client: httpx.AsyncClient) -> None:
    case = load_case("data", "22")
    await play(client, case)
    content = (
        "Clave;Nombre;Titular;Part;Titular 2;Part 2\n"
        "1;Both;EDP;60;B;40\n2;One;Alone;100;;\n3;Unknown;EDP;;B;\n4;None;;;;0\n5;Lost;;60;B;40\n"
    )
    result = await run_import(client, content, mapping="c-spo")
    assert result["by_reason"] == {"share_without_name": 1}
    both, one, unknown, none = [p["sponsors"] for p in await list_projects(client)]
    assert both == case["expected"]["sponsors"]
    assert one == [{"name": "Alone", "share": "100"}]
    assert unknown == [{"name": "EDP", "share": None}, {"name": "B", "share": None}]
    assert none == []


async def test_a_status_of_the_next_edition_is_a_transition(client: httpx.AsyncClient) -> None:
    case = load_case("data", "41")
    _, result = await play(client, case)
    (project,) = await list_projects(client)
    assert {**project, **result} == {**project, **result, **case["expected"]}
    assert project["total_amount"] == "6.00"
    path = f"/v1/ops/projects/{project['project_id']}/history"
    newest = (await client.get(path)).json()["items"][-1]
    assert newest["type"] == "project.transitioned"
    assert {"status", "total_amount", "capacity_mw"} <= set(newest["changed"])


async def test_a_status_out_of_reach_is_warned_of_and_the_rest_taken(
    client: httpx.AsyncClient,
) -> None:
    case = load_case("data", "41")
    await play(client, case)
    result = await run_import(client, "id,name,amount,st,mw\n1,A,7,PROPOSED,12\n", mapping="c-st")
    assert (result["accepted"], result["warnings"], result["quarantined"]) == (1, 1, 0)
    (project,) = await list_projects(client)
    assert (project["status"], project["total_amount"]) == ("OPERATION", "7.00")
    warnings = await client.get(result["quarantine_url"].replace("quarantine", "warnings"))
    (reason,) = warnings.json()["reasons"]
    assert (reason["field"], reason["code"]) == ("st", "status_out_of_reach")
    again = await run_import(client, "id,name,amount,st,mw\n1,A,7,PROPOSED,12\n", mapping="c-st")
    assert (again["unchanged"], again["warnings"]) == (1, 1)


NGER = {
    "where": {"column": "Type", "in": ["F", "FA"]},
    "null": ["", "-"],
    "thousands": ",",
    "columns": [
        {"attribute": "project_name", "column": "Facility Name"},
        {"attribute": "total_amount", "constant": "0"},
        {"attribute": "currency_code", "constant": "AUD"},
        {"attribute": "country_code", "constant": "AU"},
        {"attribute": "x_mwh", "column": "Electricity Production (MWh)", "as": "integer"},
        {"attribute": "x_emissions_t", "column": "Total Emissions (t CO2-e)", "as": "integer"},
    ],
    "key": {"source": "nger", "columns": ["Reporting Entity", "Facility Name"]},
}


async def test_rows_of_subtotals_are_no_projects(client: httpx.AsyncClient) -> None:
    case = load_case("integration", "23")
    await put_mapping(client, "nger", NGER)
    result = await run_import(client, read_shape("nger-subtotals.csv"), mapping="nger")
    assert result == {**result, **case["expected"], "rows": 11, "quarantined": 0}
    assert result["skipped_by"] == {"blank_row": 1, "filtered_row": 4}
    mwh = {p["project_name"]: p["x_mwh"] for p in await list_projects(client)}
    assert mwh["Red Rock Power Station"] == 10697778
    assert mwh["Ridge Wind Farm"] == 153042
    (ridge, *_) = await list_projects(client)
    assert ridge["external_ref"]["id"] == "SOUTHERN BREEZE PTY LTD|Ridge Wind Farm"


TURBINES = {
    "key": {"source": "uswtdb", "columns": ["fips", "name"]},
    "group_by": "key",
    "columns": [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "constant": "0"},
        {"attribute": "capacity_mw", "column": "capacity[MW]", "aggregate": "sum"},
        {"attribute": "x_turbines", "aggregate": "count"},
        {"attribute": "cod_date", "column": "year", "date_format": "year", "aggregate": "min"},
    ],
}


async def test_rows_of_one_wind_farm_are_one_project(client: httpx.AsyncClient) -> None:
    await put_mapping(client, "uswtdb", TURBINES)
    content = read_shape("us-turbines.csv")
    result = await run_import(client, content, mapping="uswtdb")
    counts = (result["rows"], result["accepted"], result["merged"], result["quarantined"])
    assert counts == (8, 4, 4, 0)
    projects = {p["project_name"]: p for p in await list_projects(client)}
    farms = {n: (p["capacity_mw"], p["x_turbines"], p["cod_date"]) for n, p in projects.items()}
    assert farms == {
        "Mesa Wind I": (6.9, 3, "2018-01-01"),
        "Dry Creek Phase I": (4.0, 2, "2005-01-01"),
        "Quarry Turbine": (1.6, 2, "2012-01-01"),
        "Base Turbine": (1.5, 1, None),
    }
    assert projects["Mesa Wind I"]["external_ref"]["id"] == "06073|Mesa Wind I"
    again = await run_import(client, content, mapping="uswtdb")
    assert (again["unchanged"], again["accepted"]) == (4, 0)


async def test_rows_of_a_quarantined_group_come_back_together(client: httpx.AsyncClient) -> None:
    await put_mapping(client, "uswtdb", TURBINES)
    content = b"fips,name,year,capacity[MW]\n1,A,2001,x\n2,B,2002,1\n1,A,2003,2\n"
    result = await run_import(client, content, mapping="uswtdb")
    counts = (result["rows"], result["accepted"], result["merged"], result["quarantined"])
    assert counts == (3, 1, 1, 1)
    served = await client.get(result["quarantine_url"], headers={"Accept": "text/csv"})
    assert len(served.content.splitlines()) == 3
    mended = served.content.replace(b",x\r\n", b",3\r\n")
    again = await run_import(client, mended, mapping="uswtdb")
    assert (again["accepted"], again["error"]) == (1, None)
    (row,) = await list_quarantine(client, result)
    assert row["fields"]["capacity[MW]"] == ["x", "2"]
    row["fields"]["capacity[MW]"][0] = "3"
    line = json.dumps(row)
    third = await run_import(client, line, "application/x-ndjson", mapping="uswtdb")
    assert (third["unchanged"], third["quarantined"]) == (1, 0)
    assert [p["capacity_mw"] for p in await list_projects(client)] == [1, 5]


IATI = {
    "key": {"source": "iati", "column": "iati-identifier"},
    "choose": [
        {
            "element": "budget",
            "same": ["period-start.@iso-date", "period-end.@iso-date"],
            "highest": "@type",
        },
        {"element": "recipient-country", "highest": "@percentage"},
    ],
    "columns": [
        {"attribute": "project_name", "column": "title.narrative.0.text"},
        {"attribute": "total_amount", "column": "budget.value", "aggregate": "sum"},
        {
            "attribute": "currency_code",
            "columns": ["budget.value.@currency", "@default-currency"],
        },
        {"attribute": "country_code", "column": "recipient-country.@code"},
        {
            "attribute": "status",
            "column": "activity-status.@code",
            "enum": {"1": "PROPOSED", "2": "CONSTRUCTION", "3": "COMPLETED", "4": "COMPLETED"},
        },
        {"attribute": "cod_date", "column": "activity-date[@type=2].@iso-date"},
    ],
}


async def test_activities_of_iati_are_read_from_xml(client: httpx.AsyncClient) -> None:
    case = load_case("integration", "27")
    await put_mapping(client, "iati", IATI)
    content = read_shape("iati-activities.xml")
    result = await run_import(client, content, "application/xml", mapping="iati")
    assert result["accepted"] == case["expected"]["accepted"]
    farm, grid = await list_projects(client)
    assert (farm["project_name"], farm["total_amount"]) == ("Coastal Wind Farm", "130000000.00")
    assert (farm["currency_code"], farm["country_code"]) == ("USD", "KEN")
    assert (farm["status"], farm["cod_date"]) == ("CONSTRUCTION", "2024-04-15")
    assert (grid["country_code"], grid["total_amount"]) == ("KEN", "9000000.00")
    (row,) = await list_quarantine(client, result)
    assert row["fields"]["iati-identifier"] == "XX-DFI-1002"
    assert {r["code"] for r in row["reasons"]} == {"several_values"}
    warnings = await client.get(result["quarantine_url"].replace("quarantine", "warnings"))
    (reason,) = warnings.json()["reasons"]
    assert (reason["code"], reason["detail"]) == (
        "elements_chosen",
        "1 of 2 recipient-country used, by 60, 40",
    )


async def test_commitments_of_iati_go_before_budgets(client: httpx.AsyncClient) -> None:
    committed = "transaction[transaction-type.@code=2].value"
    columns = [dict(column) for column in IATI["columns"]]  # type: ignore[call-overload]  # a list
    columns[1] = {
        "attribute": "total_amount",
        "columns": [committed, "budget.value"],
        "aggregate": "sum",
    }
    await put_mapping(client, "iati", {**IATI, "columns": columns})
    content = read_shape("iati-activities.xml")
    await run_import(client, content, "text/xml", mapping="iati")
    farm, _ = await list_projects(client)
    assert farm["total_amount"] == "125500000.50"


async def test_projects_that_a_new_edition_lacks_are_reported(client: httpx.AsyncClient) -> None:
    case = load_case("data", "41")
    await play(client, case, vanished="report")
    rows = "id,name,amount,st,mw\n" + "".join(f"{n},P{n},1,,\n" for n in range(2, 6))
    await run_import(client, rows, mapping="c-st")
    edition = "id,name,amount,st,mw\n2,P2,1,,\n4,P4,bad,,\n"
    result = await run_import(client, edition, mapping="c-st")
    assert (result["unchanged"], result["quarantined"], result["vanished"]) == (1, 1, 3)
    lines = (await client.get(result["vanished_url"])).text.splitlines()
    vanished = [json.loads(line) for line in lines]
    assert [project["external_ref"]["id"] for project in vanished] == ["1", "3", "5"]
    assert vanished[0]["project_name"] == "A"
    assert len(await list_projects(client)) == 5
