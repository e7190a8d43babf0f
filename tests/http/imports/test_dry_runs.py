"""Tries of a file that write nothing, the list of imports, and reasons with samples."""

import asyncio

import httpx
from tests.http.imports.case_player import (
    IMPORTS,
    list_projects,
    load_case,
    put_mapping,
    run_import,
)

CSV = {"Content-Type": "text/csv"}
MAPPING = {
    "columns": [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "amount"},
    ],
    "key": {"source": "try", "column": "id"},
}


async def read_position(client: httpx.AsyncClient) -> str:
    position: str = (await client.get("/v1/events", params={"limit": 500})).json()["next"]
    return position


async def test_a_dry_run_counts_as_the_import_would_and_writes_nothing(
    client: httpx.AsyncClient,
) -> None:
    case = load_case("data", "54")
    await put_mapping(client, "c-ref", MAPPING)
    (step,) = case["steps"]
    await run_import(client, "id,name,amount\n7,Old,1\n", mapping="c-ref")
    before = await read_position(client)
    content = step["body"] + "1,Again,6\n2,Bad,x\n3,Worse,y\n7,Old,1\n,,\n"
    tried = await client.post(step["path"], content=content, headers=step["headers"])
    assert tried.status_code == 200, tried.text
    run = tried.json()
    assert (run["rows"], run["complete"]) == (6, True)
    assert [project["project_name"] for project in run["projects"]] == ["A"]
    assert run["projects"][0]["total_amount"] == "5.00"
    (worst, repeated) = run["reasons"]
    assert (worst["field"], worst["code"], worst["rows"]) == ("amount", "not_a_number", 2)
    assert worst["samples"][0] == {
        "line": 4,
        "detail": "'x' is not a number",
        "raw_line": "2,Bad,x",
    }
    assert (repeated["code"], repeated["rows"]) == ("duplicate_in_file", 1)

    assert await read_position(client) == before
    assert [project["project_name"] for project in await list_projects(client)] == ["Old"]
    assert len((await client.get(IMPORTS)).json()["items"]) == 1

    result = await run_import(client, content, mapping="c-ref")
    for name in ("rows", "accepted", "unchanged", "quarantined", "skipped", "by_reason"):
        assert run[name] == result[name], name
    reasons = (await client.get(result["reasons_url"])).json()
    assert reasons["reasons"] == run["reasons"]
    assert reasons["warnings"] == []


async def test_a_dry_run_names_the_errors_of_request_and_header(client: httpx.AsyncClient) -> None:
    await put_mapping(client, "c-ref", MAPPING)
    for query, pointer in (
        ({"mapping": "c-ref", "dry_run": "yes"}, "/dry_run"),
        ({"mapping": "none", "dry_run": "true"}, "/mapping"),
        ({"dry_run": "true"}, "/mapping"),
        ({"mapping": "c-ref", "from_export": "true"}, "/mapping"),
    ):
        response = await client.post(IMPORTS, params=query, content="id\n", headers=CSV)
        assert response.status_code == 422
        assert response.json()["errors"][0]["pointer"] == pointer
    query = {"mapping": "c-ref", "dry_run": "true"}
    lacking = await client.post(IMPORTS, params=query, content="id,name\n1,A\n", headers=CSV)
    assert lacking.status_code == 422
    assert lacking.json()["errors"][0]["detail"] == "The header lacks amount; it has: id, name"


async def test_only_two_dry_runs_proceed_at_a_time(client: httpx.AsyncClient) -> None:
    await put_mapping(client, "c-ref", MAPPING)
    query = {"mapping": "c-ref", "dry_run": "true"}
    tries = [
        client.post(IMPORTS, params=query, content="id,name,amount\n1,A,1\n", headers=CSV)
        for _ in range(4)
    ]
    codes = sorted(response.status_code for response in await asyncio.gather(*tries))
    assert codes == [200, 200, 503, 503]
    free = await client.post(IMPORTS, params=query, content="id,name,amount\n", headers=CSV)
    assert free.status_code == 200


async def test_imports_are_listed_newest_first(client: httpx.AsyncClient) -> None:
    for name in ("one", "two"):
        await put_mapping(client, name, {**MAPPING, "key": {"source": name, "column": "id"}})
    for mapping in ("one", "two", "one"):
        await run_import(client, "id,name,amount\n1,A,1\n", mapping=mapping)
    items = (await client.get(IMPORTS)).json()["items"]
    assert [item["mapping"] for item in items] == ["one", "two", "one"]
    assert items[0]["created_at"] > items[-1]["created_at"]
    first = await client.get(IMPORTS, params={"mapping": "one", "limit": 1})
    second = await client.get(first.links["next"]["url"])
    pages = [page.json()["items"] for page in (first, second)]
    assert [[item["unchanged"] for item in page] for page in pages] == [[1], [0]]
    other = {"mapping": "two", "after": first.json()["next"]}
    assert (await client.get(IMPORTS, params=other)).status_code == 400
