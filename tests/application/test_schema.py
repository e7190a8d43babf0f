"""Which schema rules: an empty store adopts, a filled one keeps, and the rest is recorded."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.application.conftest import services_over
from tests.application.shelf import RULES, Shelf, pinned

from spawn.adapters.local.runtime import SystemClock
from spawn.adapters.memory.store import MemoryStore
from spawn.application.dependencies import Services
from spawn.application.schemas.activation import (
    MAX_WAITING,
    Refreshed,
    SchemaRules,
    Verdict,
    parse_pin,
    schema_health,
    settle_schema,
)
from spawn.application.schemas.adoption import refresh_forever, refresh_schema
from spawn.domain.change import Change, Write
from spawn.domain.errors import InvalidInput, NotFound, RegistryError
from spawn.ports.schemas import Provenance, SchemaState
from spawn.testing.builders import a_project


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def services(shelf: Shelf, tmp_path: Path) -> AsyncIterator[Services]:
    clock = SystemClock()
    store = MemoryStore(clock)
    yield services_over(store, shelf, tmp_path)
    await store.close()


async def fill(services: Services) -> None:
    """Put one project into the store."""
    project = a_project()
    write = Write("project", project.project_id, 0, project)
    active = await services.active()
    version = active.schema.version
    await services.commands.commit(Change(writes=(write,), actor="a", schema_version=version))


async def states(services: Services) -> dict[int, SchemaState]:
    return {r.schema.version: r.state for r in await services.schemas.records()}


async def first_outcome(services: Services, rules: SchemaRules = RULES) -> Refreshed:
    """What the background task reports of its first round."""
    heard: asyncio.Future[Refreshed] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(refresh_forever(services, rules, report=heard.set_result))
    outcome = await heard
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return outcome


async def test_an_empty_store_adopts_what_is_live(services: Services, shelf: Shelf) -> None:
    shelf.serve(4)
    record = await settle_schema(services, RULES)
    assert (record.schema.version, record.state) == (4, SchemaState.ACTIVE)
    assert record.provenance is Provenance.LIVE
    assert (await services.active()).schema == record.schema


async def test_an_empty_store_adopts_the_bundled_schema_if_the_registry_is_away(
    services: Services, shelf: Shelf
) -> None:
    shelf.error = RegistryError("away")
    record = await settle_schema(services, RULES)
    assert (record.schema.version, record.provenance) == (0, Provenance.BUNDLED)
    assert "away" in (await schema_health(services, RULES)).problem


async def test_a_pin_outranks_the_latest(services: Services, shelf: Shelf) -> None:
    shelf.serve(3)
    shelf.serve(4, "b")
    record = await settle_schema(services, pinned(3))
    assert record.schema.version == 3


async def test_a_pin_that_cannot_be_had_gives_way_and_health_says_so(
    services: Services, shelf: Shelf
) -> None:
    shelf.serve(4)
    record = await settle_schema(services, pinned(9))
    assert record.schema.version == 4
    health = await schema_health(services, pinned(9))
    assert health.problem == "version 9 is pinned, but version 4 is active"


async def test_no_schema_anywhere_is_an_error(services: Services, shelf: Shelf) -> None:
    shelf.error = RegistryError("away")
    with pytest.raises(NotFound):
        await settle_schema(services, SchemaRules(schema_id="another_schema"))


async def test_a_store_that_has_a_schema_asks_nobody(services: Services, shelf: Shelf) -> None:
    shelf.serve(4)
    await settle_schema(services, RULES)
    shelf.error = RegistryError("must not be asked")
    assert (await settle_schema(services, RULES)).schema.version == 4


async def test_a_store_without_projects_follows_the_registry(
    services: Services, shelf: Shelf
) -> None:
    shelf.error = RegistryError("away")
    await settle_schema(services, RULES)
    shelf.error = None
    shelf.serve(1)
    outcome = await first_outcome(services)
    assert outcome.verdict is Verdict.ADOPTED
    assert (await services.active()).schema.version == 1


async def test_a_store_without_projects_takes_any_newer_version_on_demand(
    services: Services, shelf: Shelf
) -> None:
    shelf.serve(1)
    await settle_schema(services, RULES)
    shelf.serve(2, {"name": "a", "type": "string", "required": True})
    outcome = await refresh_schema(services, RULES)
    assert (outcome.verdict, outcome.migration) == (Verdict.ADOPTED, None)
    assert await states(services) == {1: SchemaState.RETIRED, 2: SchemaState.ACTIVE}


async def test_a_pin_is_adopted_by_an_empty_store_as_soon_as_it_can_be_had(
    services: Services, shelf: Shelf
) -> None:
    shelf.serve(5)
    await settle_schema(services, pinned(3))
    latest = shelf.latest
    shelf.serve(3, "b")
    shelf.latest = latest
    assert (await first_outcome(services, pinned(3))).verdict is Verdict.ADOPTED
    assert (await services.active()).schema.version == 3


async def test_a_pinned_store_does_not_follow_the_latest(services: Services, shelf: Shelf) -> None:
    shelf.serve(3)
    await settle_schema(services, pinned(3))
    shelf.serve(4, "b")
    assert (await first_outcome(services, pinned(3))).verdict is Verdict.UNCHANGED
    assert await states(services) == {3: SchemaState.ACTIVE}


async def test_a_number_used_again_for_another_content_is_quarantined(
    services: Services, shelf: Shelf
) -> None:
    shelf.serve(4)
    await settle_schema(services, RULES)
    shelf.serve(4, "b")
    outcome = await first_outcome(services)
    assert outcome.verdict is Verdict.QUARANTINED
    assert "another content" in outcome.detail
    assert (await services.active()).schema.columns[0].name == "a"


async def test_there_is_no_way_down(services: Services, shelf: Shelf) -> None:
    shelf.serve(4)
    await settle_schema(services, RULES)
    shelf.serve(2, "b")
    outcome = await first_outcome(services)
    assert outcome.verdict is Verdict.QUARANTINED
    assert "older" in outcome.detail
    assert (await services.active()).schema.version == 4


async def test_an_invalid_document_is_quarantined_by_the_version_it_claims(
    services: Services, shelf: Shelf
) -> None:
    shelf.serve(4)
    await settle_schema(services, RULES)
    shelf.serve(5, 'x"; drop table journal; --')
    outcome = await refresh_schema(services, RULES)
    assert outcome.verdict is Verdict.QUARANTINED
    assert "/columns/0/name" in outcome.detail
    assert await states(services) == {4: SchemaState.ACTIVE, 5: SchemaState.QUARANTINED}
    assert (await refresh_schema(services, RULES)).verdict is Verdict.UNCHANGED
    # Its number is free for the corrected document.
    shelf.serve(5, "b")
    assert (await refresh_schema(services, RULES)).verdict is Verdict.ADOPTED


@pytest.mark.parametrize("garbage", [b"<html>", b"[]", b"", b"\xff"])
async def test_mere_garbage_is_reported_and_not_recorded(
    services: Services, shelf: Shelf, garbage: bytes
) -> None:
    shelf.serve(4)
    await settle_schema(services, RULES)
    shelf.latest = garbage
    with pytest.raises(RegistryError, match="refused"):
        await refresh_schema(services, RULES)
    outcome = await first_outcome(services)
    assert outcome.verdict is Verdict.FAILED
    assert await states(services) == {4: SchemaState.ACTIVE}


async def test_documents_without_a_number_are_numbered_by_fingerprint(
    services: Services, shelf: Shelf
) -> None:
    one = shelf.serve(None, "a")
    assert (await settle_schema(services, RULES)).schema.version == 1
    await fill(services)
    shelf.serve(None, "b")
    assert (await first_outcome(services)).detail.startswith("version 2")
    shelf.latest = one
    assert (await first_outcome(services)).verdict is Verdict.UNCHANGED
    shelf.serve(None, "c")
    await first_outcome(services)
    assert sorted(await states(services)) == [1, 2, 3]


async def test_what_waits_is_bounded(services: Services, shelf: Shelf) -> None:
    shelf.serve(1)
    await settle_schema(services, RULES)
    await fill(services)
    for version in range(2, MAX_WAITING + 4):
        shelf.serve(version, {"name": "a", "type": "double"})
        outcome = await refresh_schema(services, RULES)
    assert "not recorded" in outcome.detail
    assert len(await services.schemas.records()) == MAX_WAITING + 1
    shelf.serve(MAX_WAITING + 5, "a", "b")
    assert (await refresh_schema(services, RULES)).verdict is Verdict.ADOPTED
    shelf.serve(MAX_WAITING + 6, {"name": "a", "type": "double"}, "b")
    outcome = await refresh_schema(services, RULES)
    assert "not recorded" not in outcome.detail
    assert (await schema_health(services, RULES)).problem.startswith("version 106 is quarantined")


async def test_a_registry_that_is_away_does_not_end_the_refreshing(
    services: Services, shelf: Shelf
) -> None:
    shelf.serve(1)
    await settle_schema(services, RULES)
    outcomes: list[Refreshed] = []
    pauses: list[float] = []

    async def next_round(seconds: float) -> None:
        pauses.append(seconds)
        shelf.error = RegistryError("away") if len(pauses) == 1 else None
        if len(pauses) == 3:
            raise asyncio.CancelledError

    task = refresh_forever(
        services, RULES, report=outcomes.append, interval_s=100.0, sleep=next_round
    )
    with pytest.raises(asyncio.CancelledError):
        await task
    verdicts = [outcome.verdict for outcome in outcomes]
    assert verdicts == [Verdict.UNCHANGED, Verdict.FAILED, Verdict.UNCHANGED]
    assert all(75 <= pause <= 125 for pause in pauses)


@pytest.mark.parametrize("text", ["project_schema", "@3", "A@3", "a@", "a@-1", "a@3.0", "a@²"])
def test_a_pin_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_pin(text)


def test_a_pin_names_schema_and_version() -> None:
    assert parse_pin("project_schema@3") == ("project_schema", 3)
