"""HTTP routes of imports: mappings with ETags, uploads, jobs, quarantined rows."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from tests.http.imports.case_player import POLL_S

MAPPINGS = "/v1/ops/import-mappings"
IMPORTS = "/v1/ops/imports"
NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv"}
JSON = {"Content-Type": "application/json"}
MAPPING: dict[str, Any] = {
    "encoding": ["utf-8", "cp1252"],
    "null": ["", "NA"],
    "columns": [
        {"attribute": "project_name", "column": "name", "whitespace": "collapse"},
        {"attribute": "total_amount", "column": "cost", "rounding": "half_even"},
    ],
    "key": {"source": "desk", "column": "id"},
}
ROWS = b'id,name,cost\nP1,"Rio\r\nVerde",1.005\nP2,,NA\nP1,Again,2\n'


async def ended(client: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    """The job of an accepted import, once it has ended."""
    assert answer.status_code == 202, answer.text
    while True:
        job: dict[str, Any] = (await client.get(answer.headers["Location"])).json()
        if job["status"] not in {"queued", "running"}:
            return job
        await asyncio.sleep(POLL_S)  # the job runs on this very loop


async def put_mapping(client: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    return await client.put(f"{MAPPINGS}/desk", json={**MAPPING, **changes})


async def result(client: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = (await client.get(job["result_url"])).json()
    return fields


async def test_a_mapping_is_created_read_and_listed(client: httpx.AsyncClient) -> None:
    created = await put_mapping(client)
    assert created.status_code == 201
    assert created.headers["Location"] == f"{MAPPINGS}/desk"
    read = await client.get(f"{MAPPINGS}/desk")
    assert read.headers["ETag"] == created.headers["ETag"]
    assert read.json()["columns"][1] == {
        "attribute": "total_amount",
        "column": "cost",
        "rounding": "half_even",
        "whitespace": "keep",
    }
    tag = {"If-None-Match": read.headers["ETag"]}
    assert (await client.get(f"{MAPPINGS}/desk", headers=tag)).status_code == 304
    listed = (await client.get(MAPPINGS, params={"limit": 1})).json()
    assert [item["name"] for item in listed["items"]] == ["desk"]
    # What is read can be put again as it is, and changes nothing.
    again = await client.put(f"{MAPPINGS}/desk", content=read.content, headers=JSON)
    assert (again.status_code, again.headers["ETag"]) == (200, read.headers["ETag"])


async def test_a_mapping_is_replaced_only_with_its_tag(client: httpx.AsyncClient) -> None:
    tag = (await put_mapping(client)).headers["ETag"]
    blind = await put_mapping(client, null=["-"])
    assert (blind.status_code, blind.json()["code"]) == (428, "precondition_required")
    other = {**MAPPING, "null": ["-"]}
    path = f"{MAPPINGS}/desk"
    replaced = await client.put(path, json=other, headers={"If-Match": tag})
    assert replaced.status_code == 200
    assert replaced.headers["ETag"] != tag
    stale = await client.put(path, json=MAPPING, headers={"If-Match": tag})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    malformed = await client.put(path, json=MAPPING, headers={"If-Match": "unquoted"})
    assert (malformed.status_code, malformed.json()["code"]) == (400, "malformed_request")
    only_new = await client.put(path, json=MAPPING, headers={"If-None-Match": "*"})
    assert only_new.status_code == 412
    absent = await client.put(f"{MAPPINGS}/none", json=MAPPING, headers={"If-Match": tag})
    assert absent.status_code == 412


async def test_every_error_of_a_mapping_is_named(client: httpx.AsyncClient) -> None:
    answer = await put_mapping(
        client, columns=[{"attribute": "colour", "column": "a"}, {"attribute": "b"}]
    )
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/columns/1"]
    unknown = await put_mapping(client, columns=[{"attribute": "colour", "column": "a"}])
    assert unknown.json()["errors"][0]["code"] == "unknown_attribute"
    assert (await client.get(f"{MAPPINGS}/absent")).status_code == 404
    assert (await client.get(f"{MAPPINGS}/%00")).status_code == 400
    bad_name = await client.put(f"{MAPPINGS}/Not%20A%20Name", json=MAPPING)
    assert bad_name.status_code == 422


async def test_csv_is_imported_and_every_row_is_counted(client: httpx.AsyncClient) -> None:
    await put_mapping(client)
    answer = await client.post(IMPORTS, params={"mapping": "desk"}, content=ROWS, headers=CSV)
    job = await ended(client, answer)
    assert (job["status"], job["kind"], job["error"]) == ("succeeded", "import", None)
    assert job["progress"] == {"done": len(ROWS), "total": len(ROWS)}
    counts = await result(client, job)
    assert {name: counts[name] for name in ("rows", "accepted", "unchanged", "quarantined")} == {
        "rows": 3,
        "accepted": 1,
        "unchanged": 0,
        "quarantined": 2,
    }
    (project,) = (await client.get("/v1/ops/projects")).json()["items"]
    assert (project["project_name"], project["total_amount"]) == ("Rio Verde", "1.00")
    assert project["external_ref"] == {"source": "desk", "id": "P1"}
    again = await client.post(IMPORTS, params={"mapping": "desk"}, content=ROWS, headers=CSV)
    counts = await result(client, await ended(client, again))
    assert (counts["accepted"], counts["unchanged"], counts["quarantined"]) == (0, 1, 2)


async def test_quarantined_rows_are_served_as_json_or_csv(client: httpx.AsyncClient) -> None:
    await put_mapping(client)
    answer = await client.post(IMPORTS, params={"mapping": "desk"}, content=ROWS, headers=CSV)
    job = await ended(client, answer)
    path = f"{job['result_url']}/quarantine"
    lines = (await client.get(path)).text.splitlines()
    first = json.loads(lines[0])
    assert first["line"] == 4
    assert first["fields"] == {"id": "P2", "name": "", "cost": "NA"}
    assert {reason["field"] for reason in first["reasons"]} == {"name", "cost"}
    served = await client.get(path, headers={"Accept": "text/csv"})
    assert served.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert served.text.splitlines()[0] == "line,reasons,raw_line,id,name,cost"
    corrected = json.dumps({**first, "fields": {"id": "P2", "name": "Dam", "cost": "5"}})
    back = await client.post(IMPORTS, params={"mapping": "desk"}, content=corrected, headers=NDJSON)
    assert (await result(client, await ended(client, back)))["accepted"] == 1
    problem = await client.get(path, headers={"Accept": "image/png"})
    assert problem.status_code == 406


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "iso-8859-15"])
async def test_quarantined_rows_have_the_encoding_and_delimiter_of_their_mapping(
    client: httpx.AsyncClient, encoding: str
) -> None:
    await put_mapping(client, delimiter=";", encoding=encoding)
    rows = "id;name;cost;=note\nP1;Café Présqu'île;?;=1+1\nP2;Là-bas;?;\n".encode(encoding)
    answer = await client.post(IMPORTS, params={"mapping": "desk"}, content=rows, headers=CSV)
    path = f"{(await ended(client, answer))['result_url']}/quarantine"

    served = await client.get(path, headers={"Accept": "text/csv"})
    assert served.headers["Content-Type"] == f"text/csv; charset={encoding}"
    header, first, _ = served.content.decode(encoding).splitlines()
    assert header == "line;reasons;raw_line;id;name;cost;'=note"
    assert first.endswith(";P1;Café Présqu'île;?;'=1+1")
    mended = served.content.replace(b";?;'", b";7;'").replace(b";?;\r\n", b";x;\r\n")
    back = await client.post(IMPORTS, params={"mapping": "desk"}, content=mended, headers=CSV)
    counts = await result(client, await ended(client, back))
    assert (counts["accepted"], counts["quarantined"]) == (1, 1)

    second = json.loads((await client.get(path)).text.splitlines()[1])
    second["fields"]["cost"] = "8"
    line = json.dumps(second, ensure_ascii=False).encode()  # JSON is UTF-8, whatever the file was
    back = await client.post(IMPORTS, params={"mapping": "desk"}, content=line, headers=NDJSON)
    assert (await result(client, await ended(client, back)))["accepted"] == 1
    found = (await client.get("/v1/ops/projects")).json()["items"]
    assert [item["project_name"] for item in found] == ["Café Présqu'île", "Là-bas"]


async def test_plain_projects_need_no_mapping(client: httpx.AsyncClient) -> None:
    rows = b'{"project_name":"A","total_amount":100,"expected_tri":9.5}\n{"project_name":"B"}\n'
    counts = await result(
        client, await ended(client, await client.post(IMPORTS, content=rows, headers=NDJSON))
    )
    assert (counts["accepted"], counts["by_reason"]) == (1, {"missing": 1})


async def test_same_key_and_file_get_the_first_response_again(
    client: httpx.AsyncClient,
) -> None:
    row = b'{"project_name":"A","total_amount":"1.00"}\n'
    headers = {**NDJSON, "Idempotency-Key": "k-1"}
    first = await client.post(IMPORTS, content=row, headers=headers)
    await ended(client, first)
    again = await client.post(IMPORTS, content=row, headers=headers)
    assert (again.status_code, again.content) == (202, first.content)
    other = await client.post(IMPORTS, content=row + row, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    await put_mapping(client)
    mapped = await client.post(IMPORTS, params={"mapping": "desk"}, content=row, headers=headers)
    assert (mapped.status_code, mapped.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("headers", "params", "status", "code"),
    [
        ({"Content-Type": "application/pdf"}, {}, 415, "unsupported_media_type"),
        ({**NDJSON, "Content-Encoding": "gzip"}, {}, 415, "unsupported_media_type"),
        (CSV, {}, 422, "invalid_input"),
        (CSV, {"mapping": "absent"}, 422, "invalid_input"),
        (NDJSON, {"maping": "desk"}, 422, "invalid_input"),
        ({**NDJSON, "Accept": "text/html"}, {}, 406, "not_acceptable"),
    ],
)
async def test_unreadable_upload_is_rejected_with_its_problem(
    client: httpx.AsyncClient,
    headers: dict[str, str],
    params: dict[str, str],
    status: int,
    code: str,
) -> None:
    answer = await client.post(IMPORTS, content=b"x", headers=headers, params=params)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_an_import_may_be_larger_than_any_other_body(client: httpx.AsyncClient) -> None:
    row = json.dumps({"project_name": "A", "total_amount": "1.00", "x_note": "n" * 2000}) + "\n"
    counts = await result(
        client,
        await ended(client, await client.post(IMPORTS, content=row * 800, headers=NDJSON)),
    )
    assert counts["accepted"] == 800
    assert counts["size_bytes"] > 1024 * 1024


async def test_failed_job_has_its_error_and_cannot_be_cancelled(
    client: httpx.AsyncClient,
) -> None:
    await put_mapping(client)
    answer = await client.post(IMPORTS, params={"mapping": "desk"}, content=b"a\n", headers=CSV)
    job = await ended(client, answer)
    assert (job["status"], "lacks" in job["error"]) == ("failed", True)
    problem = await client.delete(answer.headers["Location"])
    assert (problem.status_code, problem.json()["code"]) == (409, "conflict")


async def test_jobs_and_imports_that_do_not_exist_are_not_found(
    client: httpx.AsyncClient,
) -> None:
    nobody = "01890000-0000-7000-8000-000000000001"
    for path in (f"/v1/jobs/{nobody}", f"{IMPORTS}/{nobody}", f"{IMPORTS}/{nobody}/quarantine"):
        assert (await client.get(path)).status_code == 404
    assert (await client.get("/v1/jobs/x")).status_code == 404
    assert (await client.delete(f"/v1/jobs/{nobody}")).status_code == 404


async def test_openapi_describes_imports(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert set(paths[f"{IMPORTS}"]["post"]["requestBody"]["content"]) == {
        "application/x-ndjson",
        "application/json",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/xml",
        "text/csv",
    }
    assert "delete" in paths["/v1/jobs/{job_id}"]
