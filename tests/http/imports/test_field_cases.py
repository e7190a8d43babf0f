"""Files that other importers met in the field go in, or are quarantined for a stated reason."""

import httpx
from tests.http.imports.case_player import (
    list_projects,
    list_quarantine,
    load_case,
    play,
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
