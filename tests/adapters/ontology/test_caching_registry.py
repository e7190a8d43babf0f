"""Fallbacks of the registry: fresh, stale, disk, bundled; and the provenance of each."""

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.adapters.ontology.conftest import ManualTime, ScriptedServer, stream_body

from spawn.adapters.ontology import caching_registry
from spawn.adapters.ontology.bundled import (
    BundledRegistry,
    load_bundled_document,
    load_bundled_schema,
)
from spawn.adapters.ontology.caching_registry import (
    LARGE_DOCUMENT_BYTES,
    NOT_FOUND_TTL_S,
    CachingRegistry,
    open_http_registry,
)
from spawn.adapters.ontology.circuit_breaker import CircuitLimits
from spawn.adapters.ontology.client import RegistryClient
from spawn.adapters.ontology.disk_cache import DiskCache
from spawn.adapters.ontology.registry_lists import parse_versions
from spawn.domain.errors import InvalidInput, NotFound, RegistryError
from spawn.domain.schemas.core_columns import CORE_BY_NAME, CORE_COLUMNS
from spawn.domain.schemas.document_parser import InvalidSchemaDocument, read_schema
from spawn.ports.schemas import Provenance, SchemaRegistry

ID = "project_schema"


def document(version: int = 3, **members: Any) -> bytes:
    columns = [{"name": f"column_{version}", "type": "date"}]
    return json.dumps({"id": ID, "version": version, "columns": columns, **members}).encode()


def create_registry(
    server: ScriptedServer,
    time: ManualTime,
    directory: Path | None,
    url: str = "http://ontology.test",
) -> CachingRegistry:
    client = RegistryClient(
        url,
        timeout_s=2.0,
        transport=httpx.MockTransport(server),
        limits=CircuitLimits(failures=6, window_s=60.0, open_s=10.0),
        monotonic=time.monotonic,
        sleep=time.sleep,
    )
    return CachingRegistry(
        client,
        clock=time,
        disk_cache=None if directory is None else DiskCache(directory),
        bundled=BundledRegistry(),
        monotonic=time.monotonic,
    )


@pytest.fixture
async def registry(
    server: ScriptedServer, time: ManualTime, tmp_path: Path
) -> AsyncIterator[CachingRegistry]:
    registry = create_registry(server, time, tmp_path / "cache")
    yield registry
    await registry.close()


async def finish_revalidation(registry: CachingRegistry) -> None:
    """Wait until background revalidations have ended."""
    await asyncio.gather(*registry._revalidations.values())


async def test_a_closed_registry_has_no_connections(
    server: ScriptedServer, time: ManualTime
) -> None:
    class Transport(httpx.MockTransport):
        is_closed = False

        async def aclose(self) -> None:
            self.is_closed = True

    transport = Transport(server)
    client = RegistryClient("http://ontology.test", timeout_s=2.0, transport=transport)
    registry = CachingRegistry(client, clock=time, disk_cache=None, bundled=BundledRegistry())
    await registry.close()
    assert transport.is_closed


def test_a_document_that_cannot_be_stored_leaves_no_file(tmp_path: Path, time: ManualTime) -> None:
    (tmp_path / "key.json").mkdir()
    with pytest.raises(OSError, match=r".*"):
        DiskCache(tmp_path).save("key", document(), time.now())
    assert [path.name for path in tmp_path.iterdir()] == ["key.json"]


async def test_the_first_fetch_is_live_and_the_next_is_fresh_from_memory(
    registry: CachingRegistry, server: ScriptedServer, time: ManualTime
) -> None:
    server.set_response(200, document(), ETag='"3"', Cache_Control="max-age=100")
    first = await registry.fetch(ID)
    assert (first.provenance, first.schema.version) == (Provenance.LIVE, 3)
    assert (first.verified_at, first.detail) == (time.now(), "")
    time.elapsed_s += 99
    second = await registry.fetch(ID)
    assert second.provenance is Provenance.FRESH
    assert second.schema is first.schema
    assert len(server.requests) == 1
    assert registry.status().age_s == 99.0


async def test_an_expired_schema_is_served_stale_and_revalidated_in_the_background(
    registry: CachingRegistry, server: ScriptedServer, time: ManualTime
) -> None:
    server.set_response(200, document(), ETag='"3"', Cache_Control="max-age=10")
    await registry.fetch(ID)
    time.elapsed_s += 11
    server.set_response(304, Cache_Control="max-age=10")
    stale = await registry.fetch(ID)
    assert stale.provenance is Provenance.STALE
    await finish_revalidation(registry)
    assert server.requests[-1].headers["if-none-match"] == '"3"'
    renewed = await registry.fetch(ID)
    assert renewed.provenance is Provenance.FRESH
    assert renewed.verified_at == time.now()
    assert len(server.requests) == 2


async def test_revalidation_fetches_the_new_version(
    registry: CachingRegistry, server: ScriptedServer, time: ManualTime
) -> None:
    server.set_response(200, document(3), Cache_Control="max-age=10")
    await registry.fetch(ID)
    time.elapsed_s += 11
    server.set_response(200, document(4), Cache_Control="max-age=10")
    assert (await registry.fetch(ID)).schema.version == 3
    await finish_revalidation(registry)
    assert (await registry.fetch(ID)).schema.version == 4


async def test_a_schema_that_the_registry_has_no_more_is_stale_with_the_reason(
    registry: CachingRegistry, server: ScriptedServer, time: ManualTime
) -> None:
    server.set_response(200, document(), Cache_Control="max-age=10")
    await registry.fetch(ID)
    server.set_response(404)
    time.elapsed_s += 100
    await registry.fetch(ID)
    await finish_revalidation(registry)
    stale = await registry.fetch(ID)
    assert (stale.provenance, "no such schema" in stale.detail) == (Provenance.STALE, True)


async def test_a_list_that_fails_counts_as_one_failure(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    server.set_response(403)
    for failures in (1, 2):
        with pytest.raises(RegistryError):
            await registry.list_versions(ID)
        assert registry.status().consecutive_failures == failures


async def test_a_failing_registry_leaves_the_stale_schema_with_the_error(
    registry: CachingRegistry, server: ScriptedServer, time: ManualTime
) -> None:
    server.set_response(200, document(), Cache_Control="max-age=10")
    await registry.fetch(ID)
    server.set_response(500)
    time.elapsed_s += 100
    await registry.fetch(ID)
    await finish_revalidation(registry)
    stale = await registry.fetch(ID)
    assert stale.provenance is Provenance.STALE
    assert "500" in stale.detail
    status = registry.status()
    assert status.consecutive_failures >= 1
    assert "500" in (status.last_error or "")
    # The age counts from the last confirmation by the registry.
    assert (status.age_s or 0) >= 100


async def test_after_a_restart_without_registry_the_schema_comes_from_disk(
    server: ScriptedServer, time: ManualTime, tmp_path: Path
) -> None:
    first = create_registry(server, time, tmp_path)
    server.set_response(200, document(5))
    await first.fetch(ID)
    await first.close()
    time.elapsed_s += 3600
    server.disconnect()
    second = create_registry(server, time, tmp_path)
    fetched = await second.fetch(ID)
    assert (fetched.provenance, fetched.schema.version) == (Provenance.DISK, 5)
    assert "cannot be reached" in fetched.detail
    assert second.status().age_s == pytest.approx(3600, abs=5)
    await second.close()


async def test_a_fallback_is_never_cached_as_a_success(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    server.set_response(503)
    assert (await registry.fetch(ID)).provenance is Provenance.BUNDLED
    server.set_response(200, document())
    assert (await registry.fetch(ID)).provenance is Provenance.LIVE


def damage_file(directory: Path, damage: str) -> None:
    (path,) = directory.iterdir()
    entry = json.loads(path.read_bytes())
    another = b64encode(document(9)).decode()
    damaged_files = {
        "cut": path.read_bytes()[:-40],
        "edited": json.dumps({**entry, "document": another}).encode(),
        "nonsense": b"\x00" * 100,
        "renamed": json.dumps({**entry, "more": 1}).encode(),
    }
    path.write_bytes(damaged_files[damage])


@pytest.mark.parametrize("damage", ["cut", "edited", "nonsense", "renamed"])
async def test_a_damaged_file_counts_as_absent(
    server: ScriptedServer, time: ManualTime, tmp_path: Path, damage: str
) -> None:
    first = create_registry(server, time, tmp_path)
    server.set_response(200, document(5))
    await first.fetch(ID)
    await first.close()
    damage_file(tmp_path, damage)
    server.disconnect()
    second = create_registry(server, time, tmp_path)
    assert (await second.fetch(ID)).provenance is Provenance.BUNDLED
    await second.close()


async def test_an_unwritable_disk_is_reported_and_not_fatal(
    server: ScriptedServer, time: ManualTime, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where a directory should be")
    registry = create_registry(server, time, tmp_path / "cache")
    server.set_response(200, document())
    fetched = await registry.fetch(ID)
    assert fetched.provenance is Provenance.LIVE
    assert "could not be written" in fetched.detail
    await registry.close()


async def test_a_missing_schema_is_not_requested_again_at_once(
    registry: CachingRegistry, server: ScriptedServer, time: ManualTime
) -> None:
    server.set_response(404)
    for _ in range(3):
        with pytest.raises(NotFound):
            await registry.fetch("other_schema")
    assert len(server.requests) == 1
    time.elapsed_s += NOT_FOUND_TTL_S
    server.set_response(200, document(1, id="other_schema"))
    assert (await registry.fetch("other_schema")).provenance is Provenance.LIVE


async def test_a_missing_project_schema_falls_back_to_the_bundled_one(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    server.set_response(404)
    fetched = await registry.fetch(ID)
    assert (fetched.provenance, fetched.schema.version) == (Provenance.BUNDLED, 0)
    assert "no such schema" in fetched.detail


async def test_a_version_is_requested_by_number_and_has_no_fallback(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    server.set_response(200, document(2))
    assert (await registry.fetch(ID, 2)).schema.version == 2
    assert server.requests[0].url.path == f"/schemas/{ID}/versions/2"
    server.set_response(503)
    with pytest.raises(RegistryError):
        await registry.fetch(ID, 7)


async def test_another_version_than_requested_is_rejected(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    server.set_response(200, document(2))
    with pytest.raises(RegistryError, match="where 7 was requested"):
        await registry.fetch(ID, 7)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>oops</html>",
        b"",
        b"[]",
        b"{}",
        document(columns=[{"name": 'x"; drop table journal; --', "type": "string"}]),
        document(name="x'; drop table journal; --"),
        document(id="another"),
    ],
)
async def test_an_invalid_document_is_rejected_and_never_served(
    registry: CachingRegistry, server: ScriptedServer, body: bytes
) -> None:
    server.set_response(200, body)
    fetched = await registry.fetch(ID)
    assert fetched.provenance is Provenance.BUNDLED
    assert "document is invalid" in fetched.detail
    with pytest.raises(InvalidSchemaDocument) as failure:
        await registry.refresh(ID)
    assert failure.value.document == body
    assert failure.value.errors
    # The breaker counts failures of the transport alone.
    assert registry.status().breaker == "closed"


async def test_a_large_invalid_document_is_read_once_in_a_thread(
    registry: CachingRegistry, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def read(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.get_ident())
        return read_schema(*arguments, **options)

    monkeypatch.setattr(caching_registry, "read_schema", read)
    for name in ("a", "a", "b"):
        server.set_response(200, document(columns=7, description=name * LARGE_DOCUMENT_BYTES))
        with pytest.raises(InvalidSchemaDocument):
            await registry.refresh(ID, 3)
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_a_304_without_a_cached_document_is_an_error(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    server.set_response(304)
    assert (await registry.fetch(ID)).provenance is Provenance.BUNDLED


async def test_refresh_bypasses_the_cache_and_never_falls_back(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    server.set_response(200, document(3), ETag='"3"', Cache_Control="max-age=1000")
    await registry.fetch(ID)
    server.set_response(304)
    assert (await registry.refresh(ID)).provenance is Provenance.REVALIDATED
    server.set_response(500)
    with pytest.raises(RegistryError):
        await registry.refresh(ID)
    server.set_response(404)
    with pytest.raises(NotFound):
        await registry.refresh(ID)


async def test_an_open_breaker_is_visible_and_stops_requests(
    registry: CachingRegistry, server: ScriptedServer, time: ManualTime
) -> None:
    server.set_response(500)
    await registry.fetch(ID)
    await registry.fetch(ID)
    assert registry.status().breaker == "open"
    request_count = len(server.requests)
    fetched = await registry.fetch(ID)
    assert (fetched.provenance, len(server.requests)) == (Provenance.BUNDLED, request_count)
    assert "time to recover" in fetched.detail
    time.elapsed_s += 10
    assert registry.status().breaker == "half_open"
    server.set_response(200, document())
    assert (await registry.fetch(ID)).provenance is Provenance.LIVE
    status = registry.status()
    assert (status.breaker, status.last_error) == ("closed", None)
    assert status.consecutive_failures == 0


async def test_concurrent_fetches_share_one_request(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    server.set_response(200, document(), Cache_Control="max-age=100")
    fetched = await asyncio.gather(*(registry.fetch(ID) for _ in range(20)))
    assert len(server.requests) == 1
    assert sorted(f.provenance for f in fetched) == sorted(["live", *["fresh"] * 19])


async def test_a_document_of_the_first_generation_is_accepted(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    columns = [{"name": "expected_tri", "type": "DOUBLE"}, {"name": "region", "type": "VARCHAR"}]
    old = {"name": ID, "description": "", "columns": columns}
    server.set_response(200, json.dumps(old).encode())
    fetched = await registry.fetch(ID)
    assert fetched.provenance is Provenance.LIVE
    assert [column.name for column in fetched.schema.governed] == ["region"]


@pytest.mark.parametrize("schema_id", ["../admin", "A", "a/b", "", "a?x=1", "a%2fb"])
async def test_a_hostile_schema_id_reaches_neither_url_nor_file(
    registry: CachingRegistry, server: ScriptedServer, schema_id: str
) -> None:
    with pytest.raises(NotFound):
        await registry.fetch(schema_id)
    with pytest.raises(NotFound):
        await registry.refresh(schema_id)
    assert server.requests == []


async def test_closing_stops_revalidations_and_may_be_repeated(
    server: ScriptedServer, time: ManualTime
) -> None:
    registry = create_registry(server, time, None)
    server.set_response(200, document(), Cache_Control="max-age=0")
    await registry.fetch(ID)
    await registry.fetch(ID)
    (task,) = registry._revalidations.values()
    await registry.close()
    assert task.done()
    await registry.close()


async def test_the_cache_is_bounded(registry: CachingRegistry, server: ScriptedServer) -> None:
    def any_version(request: httpx.Request) -> httpx.Response:
        version = int(request.url.path.rpartition("/")[2])
        return httpx.Response(200, content=stream_body(document(version)))

    server.respond = any_version
    for version in range(1, 101):
        await registry.fetch(ID, version)
    assert len(registry._entries) == 64


@pytest.mark.parametrize(
    "url", ["ftp://a", "http://", "http://a?b=c", "http://a#b", "nonsense", "http://xn--a"]
)
async def test_a_malformed_registry_url_is_rejected(url: str, time: ManualTime) -> None:
    with pytest.raises(InvalidInput, match="A registry is"):
        await open_http_registry(
            url, timeout_s=1, cache_dir=None, clock=time, bundled=BundledRegistry()
        )


async def test_the_bundled_registry_has_one_schema_and_no_errors() -> None:
    registry: SchemaRegistry = BundledRegistry()
    fetched = await registry.fetch(ID)
    assert (fetched.provenance, fetched.schema.version) == (Provenance.BUNDLED, 0)
    assert await registry.fetch(ID, 0) == await registry.refresh(ID) == fetched
    for schema_id, version in [("other", None), (ID, 1)]:
        with pytest.raises(NotFound):
            await registry.fetch(schema_id, version)
    assert registry.status().breaker == "none"
    await registry.close()


def test_the_bundled_schema_keeps_the_fingerprint_that_stores_have_recorded() -> None:
    # Stores hold it as version 0; another text needs another version.
    fingerprint = load_bundled_schema().schema.fingerprint
    assert fingerprint == "e27c520e4cb63921a7fbfb1ae9eef472c93b609ab2dd98ef6688ba0be1014722"


def test_every_writable_core_column_is_described() -> None:
    schema = load_bundled_schema().schema
    documented = {c.name for c in schema.columns} - {c.name for c in schema.governed}
    recorded = {"status_reason", "status_effective_on", "suspended_from"}
    # Younger than version 0 of the schema, whose text stays: the core describes it itself.
    younger = {"subdivision_code"}
    assert documented == {c.name for c in CORE_COLUMNS} - recorded - younger
    assert all(CORE_BY_NAME[name].description for name in younger)
    assert all(CORE_BY_NAME[name].semantic for name in younger)
    assert not any(c.required for c in schema.governed)
    assert all(c.description for c in schema.columns)
    assert json.loads(load_bundled_document())["version"] == 0


async def test_revalidation_goes_on_after_the_first_time(
    registry: CachingRegistry, server: ScriptedServer, time: ManualTime
) -> None:
    for version in (3, 4, 5, 6):
        server.set_response(200, document(version), Cache_Control="max-age=10")
        await registry.fetch(ID)
        await finish_revalidation(registry)
        assert (await registry.fetch(ID)).schema.version == version
        time.elapsed_s += 11
    assert len(server.requests) == 4


async def test_stale_fetches_share_one_revalidation(
    registry: CachingRegistry, server: ScriptedServer, time: ManualTime
) -> None:
    server.set_response(200, document(), Cache_Control="max-age=10")
    await registry.fetch(ID)
    time.elapsed_s += 11
    for _ in range(20):
        assert (await registry.fetch(ID)).provenance is Provenance.STALE
    await finish_revalidation(registry)
    assert len(server.requests) == 2


async def test_a_cached_document_that_this_release_rejects_counts_as_absent(
    server: ScriptedServer, time: ManualTime, tmp_path: Path
) -> None:
    """The way of an upgrade: an earlier release accepted and stored it."""
    rejected = document(columns=[{"name": "x", "type": "no_such_type"}])
    server.set_response(200, document(7))
    first = create_registry(server, time, tmp_path)
    await first.fetch(ID)
    await first.close()
    (file,) = await asyncio.to_thread(lambda: list(tmp_path.iterdir()))
    DiskCache(tmp_path).save(file.stem, rejected, time.now())
    server.disconnect()
    second = create_registry(server, time, tmp_path)
    fetched = await second.fetch(ID)
    assert fetched.provenance is Provenance.BUNDLED
    assert second.status().age_s is None


def version_list(*numbers: object) -> bytes:
    return json.dumps({"id": ID, "versions": numbers}).encode()


async def test_the_list_of_versions_is_revalidated(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    entries = [{"version": 3}, {"version": "1"}, 2, "4", {"version": 10**18}, {"version": 3}]
    server.set_response(200, version_list(*entries), etag='"1"')
    assert await registry.list_versions(ID) == (1, 2, 3, 4)
    server.set_response(304, etag='"1"')
    assert await registry.list_versions(ID) == (1, 2, 3, 4)
    assert server.requests[-1].headers["if-none-match"] == '"1"'
    assert server.requests[-1].url.path == "/schemas/project_schema/versions"


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ({"version": -1}, "/versions/1/version is -1"),
        ({"version": True}, "/versions/1/version is true"),
        ({"version": 2.5}, "/versions/1/version is 2.5"),
        ({"version": "v2"}, '/versions/1/version is "v2"'),
        ({"version": "²"}, '/versions/1/version is "²"'),
        ({"version": int("9" * 21)}, "/versions/1/version is 999999999999999999999"),
        ({"number": 2}, "/versions/1/version is null"),
        (None, "/versions/1 is null"),
        ([], "/versions/1 is []"),
    ],
)
async def test_an_entry_without_a_number_fails_the_list_by_name(
    registry: CachingRegistry, server: ScriptedServer, entry: object, shown: str
) -> None:
    """It might be any version: the next one cannot be taken without it."""
    server.set_response(200, version_list({"version": 1}, entry, {"version": 3}))
    with pytest.raises(RegistryError) as failure:
        await registry.list_versions(ID)
    assert failure.value.detail.endswith(f"has an entry without a number: {shown}")
    assert registry.status().last_error == failure.value.detail


@pytest.mark.parametrize(
    ("members", "header", "place"),
    [
        ({"next": "x"}, "", "/next"),
        ({"has_more": True}, "", "/has_more"),
        ({"_links": {"next": {"href": "?page=2"}}}, "", "/_links/next"),
        ({"total": 3}, "", "/total"),
        ({"pagination": {"total": 12, "offset": 0, "limit": 10}}, "", "/pagination/total"),
        ({"pagination": {"next": "?page=2"}}, "", "/pagination/next"),
        ({"meta": {"total": 3}}, "", "/meta/total"),
        ({"@nextLink": "?page=2"}, "", "/@nextLink"),
        ({"cursor": "Mg"}, "", "/cursor"),
        ({"page": 1, "pages": 2}, "", "/pages"),
        ({"page": {"number": 0, "totalPages": 2}}, "", "/page/totalPages"),
        ({}, '<?page=2>; rel="next"', "rel=next"),
    ],
)
async def test_a_page_of_a_list_is_not_taken_for_the_list(
    registry: CachingRegistry,
    server: ScriptedServer,
    members: dict[str, Any],
    header: str,
    place: str,
) -> None:
    whole = {"versions": [{"version": 1}, {"version": 3}]}
    server.set_response(200, json.dumps(whole | members).encode(), link=header)
    with pytest.raises(RegistryError, match="list all versions in one response") as failure:
        await registry.list_versions(ID)
    assert place in failure.value.detail
    last_page = {
        "next": None,
        "has_more": False,
        "total": 2,
        "cursor": "",
        "page": 1,
        "pages": 1,
        "pagination": {"total": 2, "offset": 0, "limit": 10},
    }
    server.set_response(200, json.dumps(whole | last_page).encode())
    assert await registry.list_versions(ID) == (1, 3)


@pytest.mark.parametrize(
    ("names", "value"),
    [
        (
            [
                *("next", "next_page", "nextPage", "next_page_token", "nextPageToken"),
                *("next_cursor", "has_more", "hasMore", "has_next", "hasNext", "hasNextPage"),
                *("next_link", "nextLink", "@nextLink", "@odata.nextLink", "nextCursor", "cursor"),
            ],
            "Mg",
        ),
        (
            [
                *("total", "total_count", "totalCount", "count", "@odata.count", "total_items"),
                *("totalItems", "total_elements", "totalElements"),
            ],
            3,
        ),
        (["pages", "page_count", "pageCount", "total_pages", "totalPages"], 2),
    ],
)
def test_each_usual_name_of_a_further_page_is_known(names: list[str], value: object) -> None:
    holders = "links _links pagination paging page meta metadata page_info pageInfo"
    versions = {"versions": [1, 3]}
    for name in names:
        for holder in ["", *holders.split()]:
            members = {holder: {name: value}} if holder else {name: value}
            with pytest.raises(RegistryError) as failure:
                parse_versions(json.dumps(versions | members).encode())
            assert f"({f'/{holder}' if holder else ''}/{name})" in failure.value.detail
    assert parse_versions(json.dumps(versions).encode()) == (1, 3)


async def test_a_restart_does_not_forget_that_the_registry_had_a_list(
    server: ScriptedServer, time: ManualTime, tmp_path: Path
) -> None:
    first = create_registry(server, time, tmp_path)
    server.set_response(200, version_list(1))
    await first.list_versions(ID)
    await first.close()
    server.set_response(404)
    second = create_registry(server, time, tmp_path)
    with pytest.raises(RegistryError, match="no longer lists"):
        await second.list_versions(ID)
    # Another schema, or another registry, may have none.
    assert await second.list_versions("loan_schema") is None
    await second.close()
    third = create_registry(server, time, tmp_path, url="http://other.test")
    assert await third.list_versions(ID) is None
    await third.close()


@pytest.mark.parametrize("body", [b'{"columns": []}', None])
async def test_a_registry_without_a_list_serves_its_latest_version_alone(
    registry: CachingRegistry, server: ScriptedServer, body: bytes | None
) -> None:
    server.set_response(404 if body is None else 200, body or b"")
    assert await registry.list_versions(ID) is None
    assert registry.status().last_error is None
    server.set_response(200, version_list(1))
    assert await registry.list_versions(ID) == (1,)
    # It had one before, so something is wrong, and the latest version might hide others.
    server.set_response(404 if body is None else 200, body or b"")
    with pytest.raises(RegistryError, match="no longer lists"):
        await registry.list_versions(ID)
    assert "no longer lists" in str(registry.status().last_error)


@pytest.mark.parametrize(
    "body", [b'{"versions": {}}', b'{"items": [1, 2]}', b'{"error": "forbidden"}', b"{}"]
)
async def test_a_list_of_another_form_is_not_taken_for_none(
    registry: CachingRegistry, server: ScriptedServer, body: bytes
) -> None:
    server.set_response(200, body)
    with pytest.raises(RegistryError, match="has no array /versions"):
        await registry.list_versions(ID)


@pytest.mark.parametrize("body", [b"<!doctype html>", b"[1, 2]", b'{"versions": [1], "versions"'])
async def test_a_list_that_is_no_json_object_is_an_error(
    registry: CachingRegistry, server: ScriptedServer, body: bytes
) -> None:
    server.set_response(200, body)
    with pytest.raises(RegistryError, match="no JSON object"):
        await registry.list_versions(ID)


async def test_the_list_of_schemas_has_usable_entries_alone(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    entries = [
        {"id": "project_schema", "title": "Projects\n\u202e", "latest_version": 3},
        {"id": "asset_schema", "name": "Assets"},
        {"id": "../etc", "title": "hostile"},
        {"title": "none"},
        "text",
    ]
    server.set_response(200, json.dumps({"schemas": entries}).encode())
    listed = await registry.list_schemas()
    assert [(s.schema_id, s.title, s.latest_version) for s in listed] == [
        ("asset_schema", "Assets", None),
        ("project_schema", "Projects", 3),
    ]
    server.set_response(404)
    assert await registry.list_schemas() == ()


async def test_walked_versions_are_not_written_to_disk(
    registry: CachingRegistry, server: ScriptedServer, time: ManualTime, tmp_path: Path
) -> None:
    server.set_response(200, document(5))
    await registry.refresh(ID, 5)
    assert DiskCache(tmp_path / "cache").load(f"{ID}@5") is None
    # A pinned version may be needed at a start without the registry.
    other = create_registry(server, time, tmp_path / "cache")
    await other.fetch(ID, 5)
    assert DiskCache(tmp_path / "cache").load(f"{ID}@5") is not None
    await other.close()


async def test_a_response_about_one_schema_does_not_end_the_error_of_another(
    registry: CachingRegistry, server: ScriptedServer, time: ManualTime
) -> None:
    server.set_response(200, document(), Cache_Control="max-age=10")
    await registry.refresh(ID)
    time.elapsed_s += 100
    server.set_response(200, b'{"columns": [<!doctype html>')
    with pytest.raises(RegistryError):
        await registry.refresh(ID)
    loans = json.dumps({"id": "loan_schema", "version": 1, "columns": []}).encode()
    server.set_response(200, loans)
    await registry.refresh("loan_schema", kind="facility")
    assert registry.status("loan_schema").last_error is None
    assert registry.status("loan_schema").age_s == 0
    failing, all_schemas = registry.status(ID), registry.status()
    assert failing.last_error
    assert failing.last_error == all_schemas.last_error
    # A schema is as old as its own confirmation, and all are as old as the oldest.
    assert (failing.age_s, all_schemas.age_s) == (100, 100)
    assert all_schemas.consecutive_failures == 1
    server.set_response(200, document(4))
    await registry.refresh(ID)
    assert (registry.status().last_error, registry.status().consecutive_failures) == (None, 0)


async def test_a_schema_that_the_registry_does_not_have_is_no_outage(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    server.set_response(200, b"<!doctype html>")
    for schema_id in (ID, "loan_schema"):
        with pytest.raises(RegistryError):
            await registry.refresh(schema_id)
    server.set_response(404, b"")
    with pytest.raises(NotFound):
        await registry.refresh("loan_schema", kind="facility")
    missing = "the registry has no schema loan_schema"
    assert registry.status("loan_schema").last_error == missing
    server.set_response(200, document(4))
    await registry.refresh(ID)
    assert (registry.status().last_error, registry.status().consecutive_failures) == (missing, 0)
    loans = json.dumps({"id": "loan_schema", "version": 1, "columns": []}).encode()
    server.set_response(200, loans)
    await registry.refresh("loan_schema", kind="facility")
    assert registry.status().last_error is None
    server.set_response(410, b"")
    with pytest.raises(NotFound):
        await registry.refresh("loan_schema", kind="facility")
    assert registry.status().last_error == missing
    server.set_response(200, loans)
    await registry.refresh("loan_schema", 1, kind="facility")  # a walk reads any version
    assert registry.status().last_error == missing


async def test_a_pinned_version_ends_the_absence_of_a_schema(
    registry: CachingRegistry, server: ScriptedServer
) -> None:
    """A pinned service asks for the latest version at a start without the pinned one alone."""
    server.set_response(404, b"")
    for version in (2, None):
        with pytest.raises(NotFound):
            await registry.fetch("loan_schema", version, kind="facility")
    loans = {"id": "loan_schema", "columns": []}
    for version, problem in ((1, "the registry has no schema loan_schema"), (2, None)):
        server.set_response(200, json.dumps({**loans, "version": version}).encode())
        await registry.refresh("loan_schema", version, kind="facility")
        assert registry.status().last_error == problem
