"""The ladder fresh → stale → disk → bundled: what is served when, and that it says so."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.adapters.ontology.conftest import Script, Time, arriving

from spawn.adapters.ontology.bundled import BundledRegistry, bundled, bundled_document
from spawn.adapters.ontology.caching_registry import (
    NOT_FOUND_TTL_S,
    LadderRegistry,
    open_http_registry,
)
from spawn.adapters.ontology.circuit_breaker import BreakerLimits
from spawn.adapters.ontology.client import RegistryClient
from spawn.adapters.ontology.disk_cache import LastKnownGood
from spawn.domain.errors import InvalidInput, NotFound, RegistryError
from spawn.domain.schemas.core_columns import CORE_COLUMNS
from spawn.domain.schemas.document_parser import DocumentRefused
from spawn.ports.schemas import Provenance, SchemaRegistry

ID = "project_schema"


def document(version: int = 3, **members: Any) -> bytes:
    columns = [{"name": f"column_{version}", "type": "date"}]
    return json.dumps({"id": ID, "version": version, "columns": columns, **members}).encode()


def ladder(server: Script, time: Time, directory: Path | None) -> LadderRegistry:
    client = RegistryClient(
        "http://ontology.test",
        timeout_s=2.0,
        transport=httpx.MockTransport(server),
        limits=BreakerLimits(failures=6, window_s=60.0, open_s=10.0),
        monotonic=time.monotonic,
        sleep=time.sleep,
    )
    return LadderRegistry(
        client,
        clock=time,
        disk=None if directory is None else LastKnownGood(directory),
        bundled=BundledRegistry(),
        monotonic=time.monotonic,
    )


@pytest.fixture
async def registry(server: Script, time: Time, tmp_path: Path) -> AsyncIterator[LadderRegistry]:
    made = ladder(server, time, tmp_path / "cache")
    yield made
    await made.close()


async def settled(registry: LadderRegistry) -> None:
    """Let background revalidation come to its end."""
    await asyncio.gather(*registry._tasks.values())


async def test_the_first_answer_is_live_and_the_next_is_fresh_from_memory(
    registry: LadderRegistry, server: Script, time: Time
) -> None:
    server.says(200, document(), ETag='"3"', Cache_Control="max-age=100")
    first = await registry.fetch(ID)
    assert (first.provenance, first.schema.version) == (Provenance.LIVE, 3)
    assert first.verified_at == time.now()
    time.elapsed_s += 99
    second = await registry.fetch(ID)
    assert second.provenance is Provenance.FRESH
    assert second.schema is first.schema
    assert len(server.requests) == 1
    assert registry.status().age_s == 99.0


async def test_past_its_time_it_is_served_stale_and_revalidated_behind(
    registry: LadderRegistry, server: Script, time: Time
) -> None:
    server.says(200, document(), ETag='"3"', Cache_Control="max-age=10")
    await registry.fetch(ID)
    time.elapsed_s += 11
    server.says(304, Cache_Control="max-age=10")
    stale = await registry.fetch(ID)
    assert stale.provenance is Provenance.STALE
    await settled(registry)
    assert server.requests[-1].headers["if-none-match"] == '"3"'
    renewed = await registry.fetch(ID)
    assert renewed.provenance is Provenance.FRESH
    assert renewed.verified_at == time.now()
    assert len(server.requests) == 2


async def test_revalidation_brings_the_new_version(
    registry: LadderRegistry, server: Script, time: Time
) -> None:
    server.says(200, document(3), Cache_Control="max-age=10")
    await registry.fetch(ID)
    time.elapsed_s += 11
    server.says(200, document(4), Cache_Control="max-age=10")
    assert (await registry.fetch(ID)).schema.version == 3
    await settled(registry)
    assert (await registry.fetch(ID)).schema.version == 4


async def test_a_registry_that_fails_leaves_the_stale_answer_and_says_why(
    registry: LadderRegistry, server: Script, time: Time
) -> None:
    server.says(200, document(), Cache_Control="max-age=10")
    await registry.fetch(ID)
    server.says(500)
    time.elapsed_s += 100
    await registry.fetch(ID)
    await settled(registry)
    stale = await registry.fetch(ID)
    assert stale.provenance is Provenance.STALE
    assert "500" in stale.detail
    status = registry.status()
    assert status.consecutive_failures >= 1
    assert "500" in (status.last_error or "")
    # Nothing is older than when the registry last vouched for it.
    assert (status.age_s or 0) >= 100


async def test_after_a_restart_without_registry_the_disk_answers(
    server: Script, time: Time, tmp_path: Path
) -> None:
    before = ladder(server, time, tmp_path)
    server.says(200, document(5))
    await before.fetch(ID)
    await before.close()
    time.elapsed_s += 3600
    server.is_unreachable()
    after = ladder(server, time, tmp_path)
    found = await after.fetch(ID)
    assert (found.provenance, found.schema.version) == (Provenance.DISK, 5)
    assert "cannot be reached" in found.detail
    assert after.status().age_s == pytest.approx(3600, abs=5)
    await after.close()


async def test_a_fallback_is_never_cached_as_a_success(
    registry: LadderRegistry, server: Script
) -> None:
    server.says(503)
    assert (await registry.fetch(ID)).provenance is Provenance.BUNDLED
    server.says(200, document())
    assert (await registry.fetch(ID)).provenance is Provenance.LIVE


def damage_file(directory: Path, damage: str) -> None:
    (path,) = directory.iterdir()
    sound = json.loads(path.read_bytes())
    another = b64encode(document(9)).decode()
    damages = {
        "cut": path.read_bytes()[:-40],
        "edited": json.dumps({**sound, "document": another}).encode(),
        "nonsense": b"\x00" * 100,
        "renamed": json.dumps({**sound, "more": 1}).encode(),
    }
    path.write_bytes(damages[damage])


@pytest.mark.parametrize("damage", ["cut", "edited", "nonsense", "renamed"])
async def test_a_damaged_file_counts_as_absent(
    server: Script, time: Time, tmp_path: Path, damage: str
) -> None:
    before = ladder(server, time, tmp_path)
    server.says(200, document(5))
    await before.fetch(ID)
    await before.close()
    damage_file(tmp_path, damage)
    server.is_unreachable()
    after = ladder(server, time, tmp_path)
    assert (await after.fetch(ID)).provenance is Provenance.BUNDLED
    await after.close()


async def test_a_disk_that_cannot_be_written_is_said_and_borne(
    server: Script, time: Time, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where a directory should be")
    registry = ladder(server, time, tmp_path / "cache")
    server.says(200, document())
    found = await registry.fetch(ID)
    assert found.provenance is Provenance.LIVE
    assert "could not be written" in found.detail
    await registry.close()


async def test_a_missing_schema_is_not_asked_for_again_at_once(
    registry: LadderRegistry, server: Script, time: Time
) -> None:
    server.says(404)
    for _ in range(3):
        with pytest.raises(NotFound):
            await registry.fetch("other_schema")
    assert len(server.requests) == 1
    time.elapsed_s += NOT_FOUND_TTL_S
    server.says(200, document(1, id="other_schema"))
    assert (await registry.fetch("other_schema")).provenance is Provenance.LIVE


async def test_a_missing_project_schema_falls_back_and_says_so(
    registry: LadderRegistry, server: Script
) -> None:
    server.says(404)
    found = await registry.fetch(ID)
    assert (found.provenance, found.schema.version) == (Provenance.BUNDLED, 0)
    assert "no such schema" in found.detail


async def test_a_version_is_asked_for_by_its_number_and_has_no_substitute(
    registry: LadderRegistry, server: Script
) -> None:
    server.says(200, document(2))
    assert (await registry.fetch(ID, 2)).schema.version == 2
    assert server.requests[0].url.path == f"/schemas/{ID}/versions/2"
    server.says(503)
    with pytest.raises(RegistryError):
        await registry.fetch(ID, 7)


async def test_another_version_than_asked_for_is_refused(
    registry: LadderRegistry, server: Script
) -> None:
    server.says(200, document(2))
    with pytest.raises(RegistryError, match="where 7 was asked for"):
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
async def test_a_senseless_document_is_refused_and_never_served(
    registry: LadderRegistry, server: Script, body: bytes
) -> None:
    server.says(200, body)
    found = await registry.fetch(ID)
    assert found.provenance is Provenance.BUNDLED
    assert "refused" in found.detail
    with pytest.raises(DocumentRefused) as refusal:
        await registry.refresh(ID)
    assert refusal.value.document == body
    assert refusal.value.errors
    # Senseless is not absent: the breaker counts failures of the transport alone.
    assert registry.status().breaker == "closed"


async def test_a_304_to_who_has_nothing_is_senseless(
    registry: LadderRegistry, server: Script
) -> None:
    server.says(304)
    assert (await registry.fetch(ID)).provenance is Provenance.BUNDLED


async def test_refresh_asks_whatever_is_cached_and_never_falls_back(
    registry: LadderRegistry, server: Script
) -> None:
    server.says(200, document(3), ETag='"3"', Cache_Control="max-age=1000")
    await registry.fetch(ID)
    server.says(304)
    assert (await registry.refresh(ID)).provenance is Provenance.REVALIDATED
    server.says(500)
    with pytest.raises(RegistryError):
        await registry.refresh(ID)
    server.says(404)
    with pytest.raises(NotFound):
        await registry.refresh(ID)


async def test_an_open_breaker_is_visible_and_spares_the_registry(
    registry: LadderRegistry, server: Script, time: Time
) -> None:
    server.says(500)
    await registry.fetch(ID)
    await registry.fetch(ID)
    assert registry.status().breaker == "open"
    asked = len(server.requests)
    found = await registry.fetch(ID)
    assert (found.provenance, len(server.requests)) == (Provenance.BUNDLED, asked)
    assert "time to recover" in found.detail
    time.elapsed_s += 10
    assert registry.status().breaker == "half_open"
    server.says(200, document())
    assert (await registry.fetch(ID)).provenance is Provenance.LIVE
    status = registry.status()
    assert (status.breaker, status.last_error) == ("closed", None)
    assert status.consecutive_failures == 0


async def test_who_asks_at_the_same_time_shares_one_question(
    registry: LadderRegistry, server: Script
) -> None:
    server.says(200, document(), Cache_Control="max-age=100")
    found = await asyncio.gather(*(registry.fetch(ID) for _ in range(20)))
    assert len(server.requests) == 1
    assert sorted(f.provenance for f in found) == sorted(["live", *["fresh"] * 19])


async def test_a_first_generation_server_is_understood(
    registry: LadderRegistry, server: Script
) -> None:
    columns = [{"name": "expected_tri", "type": "DOUBLE"}, {"name": "region", "type": "VARCHAR"}]
    old = {"name": ID, "description": "", "columns": columns}
    server.says(200, json.dumps(old).encode())
    found = await registry.fetch(ID)
    assert found.provenance is Provenance.LIVE
    assert [column.name for column in found.schema.governed] == ["region"]


@pytest.mark.parametrize("schema_id", ["../admin", "A", "a/b", "", "a?x=1", "a%2fb"])
async def test_a_hostile_schema_id_reaches_neither_url_nor_file(
    registry: LadderRegistry, server: Script, schema_id: str
) -> None:
    with pytest.raises(NotFound):
        await registry.fetch(schema_id)
    with pytest.raises(NotFound):
        await registry.refresh(schema_id)
    assert server.requests == []


async def test_closing_stops_what_runs_behind_and_may_be_repeated(
    server: Script, time: Time
) -> None:
    registry = ladder(server, time, None)
    server.says(200, document(), Cache_Control="max-age=0")
    await registry.fetch(ID)
    await registry.fetch(ID)
    (task,) = registry._tasks.values()
    await registry.close()
    assert task.done()
    await registry.close()


async def test_what_is_remembered_is_bounded(registry: LadderRegistry, server: Script) -> None:
    def any_version(request: httpx.Request) -> httpx.Response:
        version = int(request.url.path.rpartition("/")[2])
        return httpx.Response(200, content=arriving(document(version)))

    server.answer = any_version
    for version in range(1, 101):
        await registry.fetch(ID, version)
    assert len(registry._known) == 64


@pytest.mark.parametrize("url", ["ftp://a", "http://", "http://a?b=c", "http://a#b", "nonsense"])
async def test_a_url_that_names_no_registry_is_refused(url: str, time: Time) -> None:
    with pytest.raises(InvalidInput, match="A registry is"):
        await open_http_registry(
            url, timeout_s=1, cache_dir=None, clock=time, bundled=BundledRegistry()
        )


async def test_the_bundled_registry_has_one_schema_and_is_always_well() -> None:
    registry: SchemaRegistry = BundledRegistry()
    found = await registry.fetch(ID)
    assert (found.provenance, found.schema.version) == (Provenance.BUNDLED, 0)
    assert await registry.fetch(ID, 0) == await registry.refresh(ID) == found
    for schema_id, version in [("other", None), (ID, 1)]:
        with pytest.raises(NotFound):
            await registry.fetch(schema_id, version)
    assert registry.status().breaker == "none"
    await registry.close()


def test_the_bundled_schema_describes_every_core_column_that_a_client_may_write() -> None:
    schema = bundled().schema
    described = {c.name for c in schema.columns} - {c.name for c in schema.governed}
    recorded = {"status_reason", "status_effective_on", "suspended_from"}
    assert described == {c.name for c in CORE_COLUMNS} - recorded
    assert not any(c.required for c in schema.governed)
    assert all(c.description for c in schema.columns)
    assert json.loads(bundled_document())["version"] == 0
