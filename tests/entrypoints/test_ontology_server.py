"""Local ontology server: protocol, publication and drills."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from spawn.adapters.local.clock import SystemClock
from spawn.adapters.ontology import published_documents
from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.adapters.ontology.caching_registry import open_http_registry
from spawn.adapters.ontology.published_documents import PublishedDocuments
from spawn.domain.errors import Conflict
from spawn.domain.schemas.document_parser import read_schema
from spawn.entrypoints.ontology_server.routes import create_app
from spawn.ports.schemas import Provenance

LATEST = "/schemas/project_schema"
VERSIONS = f"{LATEST}/versions"


def document(version: int | None, column: str = "a") -> dict[str, Any]:
    number = {} if version is None else {"version": version}
    return {"id": "project_schema", **number, "columns": [{"name": column, "type": "date"}]}


def connect(documents: PublishedDocuments, host: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=create_app(documents), client=(host, 1))  # type: ignore[arg-type]  # Litestar types its scope more narrowly
    return httpx.AsyncClient(transport=transport, base_url="http://ontology.test")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with connect(PublishedDocuments()) as client:
        yield client


async def test_a_new_server_serves_the_bundled_schema_as_version_1(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/health")).json() == {"status": "ok", "schemas": 1}
    (entry,) = (await client.get("/schemas")).json()["schemas"]
    assert (entry["id"], entry["latest_version"]) == ("project_schema", 1)
    latest = await client.get(LATEST)
    assert read_schema(latest.content, schema_id="project_schema").version == 1
    assert latest.content == (await client.get(f"{VERSIONS}/1")).content
    assert latest.headers["cache-control"] == "max-age=30"


async def test_a_published_version_is_listed_served_and_deleted(client: httpx.AsyncClient) -> None:
    response = await client.put(f"{VERSIONS}/2", json=document(2))
    assert (response.status_code, response.headers["location"]) == (201, f"{VERSIONS}/2")
    assert (await client.get(LATEST)).json() == document(2)
    entries = (await client.get(VERSIONS)).json()["versions"]
    assert [entry["version"] for entry in entries] == [1, 2]
    assert (await client.delete(f"{VERSIONS}/2")).status_code == 204
    assert (await client.get(f"{VERSIONS}/2")).status_code == 404
    assert (await client.get(LATEST)).json()["version"] == 1


async def test_a_post_uses_the_version_of_the_document_or_the_next(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.post(VERSIONS, json=document(7))).json()["version"] == 7
    assert (await client.post(VERSIONS, json=document(None, "b"))).json()["version"] == 8


async def test_a_published_version_never_changes(client: httpx.AsyncClient) -> None:
    await client.put(f"{VERSIONS}/2", json=document(2))
    reformatted = json.dumps(document(2), indent=3).encode()
    headers = {"Content-Type": "application/json"}
    same = await client.put(f"{VERSIONS}/2", content=reformatted, headers=headers)
    assert same.status_code == 200
    assert (await client.put(f"{VERSIONS}/2", json=document(2))).status_code == 200
    assert (await client.put(f"{VERSIONS}/2", json=document(2, "b"))).status_code == 409
    assert (await client.get(f"{VERSIONS}/2")).json() == document(2)


async def test_the_etag_saves_the_body(client: httpx.AsyncClient) -> None:
    etag = (await client.get(LATEST)).headers["etag"]
    for tag in [etag, f'"x", W/{etag}', "*"]:
        not_modified = await client.get(LATEST, headers={"If-None-Match": tag})
        assert (not_modified.status_code, not_modified.content) == (304, b"")
        assert not_modified.headers["etag"] == etag
    await client.put(f"{VERSIONS}/2", json=document(2))
    assert (await client.get(LATEST, headers={"If-None-Match": etag})).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/nothing", b"", 404),
        ("GET", "/schemas/other", b"", 404),
        ("GET", f"{VERSIONS}/9", b"", 404),
        ("GET", f"{VERSIONS}/x", b"", 404),
        ("DELETE", f"{VERSIONS}/9", b"", 404),
        ("PATCH", "/schemas", b"", 405),
        ("POST", VERSIONS, b"{", 400),
        ("POST", VERSIONS, b"[]", 422),
        ("PUT", f"{VERSIONS}/3", json.dumps(document(4)).encode(), 422),
        ("PUT", f"{VERSIONS}/3", json.dumps(document(3, "a b")).encode(), 422),
        ("PUT", "/schemas/A/versions/3", json.dumps(document(3)).encode(), 422),
        ("PUT", f"{VERSIONS}/3", b" " * (2 << 20), 413),
        ("PUT", "/drill", b'{"latency_s": -1}', 422),
        ("PUT", "/drill", b'{"error_status": 200}', 422),
        ("PUT", "/drill", b'{"unknown_member": 1}', 422),
        ("PUT", "/drill", b"{", 400),
    ],
)
async def test_every_error_is_a_problem(
    client: httpx.AsyncClient, method: str, path: str, content: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    response = await client.request(method, path, content=content, headers=headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status


async def test_an_invalid_document_is_rejected_with_its_path(client: httpx.AsyncClient) -> None:
    response = await client.put(f"{VERSIONS}/2", json=document(2, "a b"))
    assert [error["pointer"] for error in response.json()["errors"]] == ["/columns/0/name"]


async def test_only_json_can_be_published(client: httpx.AsyncClient) -> None:
    response = await client.put(f"{VERSIONS}/2", content=json.dumps(document(2)))
    assert response.status_code == 415


async def test_drills_are_configured_from_loopback_only() -> None:
    async with connect(PublishedDocuments(), "192.0.2.7") as remote_client:
        for method in ["GET", "PUT", "DELETE"]:
            assert (await remote_client.request(method, "/drill", json={})).status_code == 403
        assert (await remote_client.get(LATEST)).status_code == 200
    async with connect(PublishedDocuments(), "::1") as local_client:
        assert (await local_client.get("/drill")).status_code == 200


async def test_a_drill_of_errors_ends_when_it_is_deleted(client: httpx.AsyncClient) -> None:
    await client.put("/drill", json={"error_rate": 1.0, "error_status": 500})
    assert (await client.get(LATEST)).status_code == 500
    assert (await client.get("/health")).status_code == 500
    assert (await client.get("/drill")).json()["error_status"] == 500
    await client.delete("/drill")
    assert (await client.get(LATEST)).status_code == 200


async def test_a_drill_of_garbage_sends_invalid_json(client: httpx.AsyncClient) -> None:
    await client.put("/drill", json={"garbage": True})
    response = await client.get(LATEST)
    assert response.status_code == 200
    with pytest.raises(ValueError, match="property name"):
        response.json()


async def test_a_drill_of_silence_lasts_until_it_is_deleted(client: httpx.AsyncClient) -> None:
    await client.put("/drill", json={"hang": True})
    request = asyncio.create_task(client.get(LATEST))
    done, _ = await asyncio.wait({request}, timeout=0.05)
    assert not done
    await client.delete("/drill")
    assert (await request).status_code == 200


async def test_a_drill_can_publish_an_invalid_document(client: httpx.AsyncClient) -> None:
    await client.put("/drill", json={"accept_invalid": True})
    hostile = document(2, 'x"; drop table journal; --')
    assert (await client.put(f"{VERSIONS}/2", json=hostile)).status_code == 201
    assert (await client.get(LATEST)).json() == hostile
    assert (await client.get("/schemas")).json()["schemas"][0]["latest_version"] == 2


def test_versions_and_schemas_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_documents, "MAX_VERSIONS", 3)
    monkeypatch.setattr(published_documents, "MAX_SCHEMAS", 2)
    documents = PublishedDocuments()
    for name, numbers in (("project_schema", (2, 3)), ("other_schema", (1, 2, 3))):
        assert all(documents.put(name, number, b"{}") for number in numbers)
    for name, number in (("project_schema", 4), ("other_schema", 4), ("third_schema", 1)):
        with pytest.raises(Conflict, match="At most 2 schemas of 3 versions are stored"):
            documents.put(name, number, b"{}")
    assert not documents.put("other_schema", 3, b"{}")


def test_documents_in_a_directory_survive_a_restart(tmp_path: Path) -> None:
    first = PublishedDocuments(tmp_path)
    first.publish("project_schema", 2, json.dumps(document(2)).encode())
    first.delete("project_schema", 1)
    (tmp_path / "project_schema" / ".publish-half").write_text("{")
    (tmp_path / "not_a_version").mkdir()
    (tmp_path / "not_a_version" / "x.json").write_text("{}")
    second = PublishedDocuments(tmp_path)
    assert second.ids() == ["project_schema"]
    assert second.versions("project_schema") == [2]
    assert json.loads(second.document("project_schema")) == document(2)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_number_of_a_deleted_version_is_not_given_again(
    tmp_path: Path, *, is_restarted: bool
) -> None:
    documents = PublishedDocuments(tmp_path)
    documents.publish("project_schema", 2, json.dumps(document(2)).encode())
    documents.delete("project_schema", 2)
    documents.delete("project_schema", 1)
    if is_restarted:
        documents = PublishedDocuments(tmp_path)
    assert documents.ids() == []
    assert documents.claimed_version("project_schema", b"{}") == 3


@pytest.mark.real
async def test_the_registry_client_and_the_server_understand_each_other(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create_app(PublishedDocuments()), log_level="error", proxy_headers=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    registry = await open_http_registry(
        url, timeout_s=5.0, cache_dir=tmp_path, clock=SystemClock(), bundled=BundledRegistry()
    )
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await registry.fetch("project_schema")).provenance is Provenance.LIVE
        assert (await registry.refresh("project_schema")).provenance is Provenance.REVALIDATED
        await client.put(f"{VERSIONS}/2", json=document(2))
        assert (await registry.refresh("project_schema")).schema.version == 2
        assert (await registry.fetch("project_schema", 1)).schema.version == 1
    await registry.close()
    server.should_exit = True
    await asyncio.to_thread(thread.join)
    listener.close()
