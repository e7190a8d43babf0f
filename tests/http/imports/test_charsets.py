"""The charset of an upload: one in which the mapping reads the file, or a clear contradiction."""

import httpx
import pytest
from tests.http.imports.case_player import IMPORTS, list_projects, put_mapping, run_import

COLUMNS = [
    {"attribute": "project_name", "column": "name"},
    {"attribute": "total_amount", "constant": "1"},
]
FILE = "name\nPuente Nuevo Ñ\n"


@pytest.mark.parametrize(
    "charset", ["windows-1252", '"CP1252"', "utf-8", "US-ASCII"], ids=lambda text: text.strip('"')
)
async def test_a_charset_of_the_mapping_is_accepted(
    client: httpx.AsyncClient, charset: str
) -> None:
    await put_mapping(client, "c", {"columns": COLUMNS, "encoding": ["utf-8", "cp1252"]})
    media_type = f"text/csv; charset={charset}"
    result = await run_import(client, FILE.encode("cp1252"), media_type, mapping="c")
    assert result["accepted"] == 1
    assert (await list_projects(client))[0]["project_name"] == "Puente Nuevo Ñ"


@pytest.mark.parametrize(
    ("media_type", "code"),
    [
        ("text/csv; charset=iso-8859-1", "contradiction"),
        ("text/csv;charset=utf-16", "contradiction"),
        ("text/csv; charset=klingon", "invalid_value"),
        ("application/x-ndjson; charset=iso-8859-15", "contradiction"),
    ],
)
@pytest.mark.parametrize("dry_run", ["true", "false"])
async def test_a_charset_that_the_mapping_does_not_read_is_a_contradiction(
    client: httpx.AsyncClient, media_type: str, code: str, dry_run: str
) -> None:
    await put_mapping(client, "c", {"columns": COLUMNS, "encoding": ["utf-8", "cp1252"]})
    response = await client.post(
        IMPORTS,
        params={"mapping": "c", "dry_run": dry_run},
        content=FILE.encode(),
        headers={"Content-Type": media_type},
    )
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/Content-Type", code)
    assert (await client.get(IMPORTS)).json()["items"] == []


async def test_an_upload_without_a_media_type_is_refused(client: httpx.AsyncClient) -> None:
    for media_type in ("", "text/plain; charset=utf-8", ";charset=utf-8"):
        response = await client.post(IMPORTS, content=FILE, headers={"Content-Type": media_type})
        assert response.status_code == 415
