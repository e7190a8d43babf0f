"""Schema activation: an empty store adopts, a filled one keeps, and the rest is recorded."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.application.conftest import build_dependencies
from tests.application.fake_registry import POLICY, FakeRegistry, pinned_policy

from spawn.adapters.local.clock import SystemClock
from spawn.adapters.memory.store import MemoryStore
from spawn.application.dependencies import Dependencies
from spawn.application.schemas import activation
from spawn.application.schemas.activation import (
    RefreshResult,
    RefreshVerdict,
    SchemaPolicy,
    ensure_active_schema,
    get_schema_health,
    parse_pin,
)
from spawn.application.schemas.adoptions import version_adoption
from spawn.application.schemas.refresh import refresh_forever, refresh_schema
from spawn.domain.change import Change, Write
from spawn.domain.errors import NotFound, RegistryError
from spawn.ports.schemas import Provenance, SchemaState
from spawn.testing.builders import a_project
from spawn.testing.expected_errors import expect_invalid


@pytest.fixture
async def dependencies(fake_registry: FakeRegistry, tmp_path: Path) -> AsyncIterator[Dependencies]:
    clock = SystemClock()
    store = MemoryStore(clock)
    yield build_dependencies(store, fake_registry, tmp_path)
    await store.close()


async def fill(dependencies: Dependencies) -> None:
    """Put one project into the store."""
    project = a_project()
    write = Write("project", project.project_id, 0, project)
    active = await dependencies.active_schema()
    version = active.schema.version
    await dependencies.commands.commit(Change(writes=(write,), actor="a", schema_version=version))


async def states(dependencies: Dependencies) -> dict[int, SchemaState]:
    return {r.schema.version: r.state for r in await dependencies.schemas.records()}


async def first_outcome(
    dependencies: Dependencies, schema_policy: SchemaPolicy = POLICY
) -> RefreshResult:
    """Return the first result of the background task."""
    first_result: asyncio.Future[RefreshResult] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        refresh_forever(dependencies, schema_policy, report=first_result.set_result)
    )
    outcome = await first_result
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return outcome


async def test_an_empty_store_adopts_the_live_schema(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(4)
    record = await ensure_active_schema(dependencies, POLICY)
    assert (record.schema.version, record.state) == (4, SchemaState.ACTIVE)
    assert record.provenance is Provenance.LIVE
    assert (await dependencies.active_schema()).schema == record.schema


async def test_an_empty_store_adopts_the_bundled_schema_if_the_registry_is_away(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.error = RegistryError("away")
    record = await ensure_active_schema(dependencies, POLICY)
    assert (record.schema.version, record.provenance) == (0, Provenance.BUNDLED)
    assert "away" in (await get_schema_health(dependencies, POLICY)).problem


async def test_a_pin_outranks_the_latest(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(3)
    fake_registry.serve(4, "b")
    record = await ensure_active_schema(dependencies, pinned_policy(3))
    assert record.schema.version == 3


async def test_a_pin_that_cannot_be_had_gives_way_and_health_says_so(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(4)
    record = await ensure_active_schema(dependencies, pinned_policy(9))
    assert record.schema.version == 4
    health = await get_schema_health(dependencies, pinned_policy(9))
    assert health.problem == "version 9 is pinned, but version 4 is active"


async def test_no_schema_anywhere_is_an_error(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.error = RegistryError("away")
    with pytest.raises(NotFound):
        await ensure_active_schema(dependencies, SchemaPolicy(schema_id="another_schema"))


async def test_a_store_with_a_schema_makes_no_registry_request(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(4)
    await ensure_active_schema(dependencies, POLICY)
    fake_registry.error = RegistryError("must not be asked")
    assert (await ensure_active_schema(dependencies, POLICY)).schema.version == 4


async def test_a_store_without_projects_follows_the_registry(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.error = RegistryError("away")
    await ensure_active_schema(dependencies, POLICY)
    fake_registry.error = None
    fake_registry.serve(1)
    outcome = await first_outcome(dependencies)
    assert outcome.verdict is RefreshVerdict.ADOPTED
    assert (await dependencies.active_schema()).schema.version == 1


async def test_a_store_without_projects_takes_any_newer_version_on_demand(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(1)
    await ensure_active_schema(dependencies, POLICY)
    fake_registry.serve(2, {"name": "a", "type": "string", "required": True})
    outcome = await refresh_schema(dependencies, POLICY)
    assert (outcome.verdict, outcome.migration) == (RefreshVerdict.ADOPTED, None)
    assert await states(dependencies) == {1: SchemaState.RETIRED, 2: SchemaState.ACTIVE}


async def test_a_pin_is_adopted_by_an_empty_store_as_soon_as_it_can_be_had(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(5)
    await ensure_active_schema(dependencies, pinned_policy(3))
    latest = fake_registry.latest
    fake_registry.serve(3, "b")
    fake_registry.latest = latest
    assert (await first_outcome(dependencies, pinned_policy(3))).verdict is RefreshVerdict.ADOPTED
    assert (await dependencies.active_schema()).schema.version == 3


async def test_a_pinned_store_does_not_follow_the_latest(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(3)
    await ensure_active_schema(dependencies, pinned_policy(3))
    fake_registry.serve(4, "b")
    assert (await first_outcome(dependencies, pinned_policy(3))).verdict is RefreshVerdict.UNCHANGED
    assert await states(dependencies) == {3: SchemaState.ACTIVE}


async def test_a_number_used_again_for_another_content_is_quarantined(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(4)
    await ensure_active_schema(dependencies, POLICY)
    fake_registry.serve(4, "b")
    outcome = await first_outcome(dependencies)
    assert outcome.verdict is RefreshVerdict.QUARANTINED
    assert "another content" in outcome.detail
    assert (await dependencies.active_schema()).schema.columns[0].name == "a"


async def test_there_is_no_way_down(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(4)
    await ensure_active_schema(dependencies, POLICY)
    fake_registry.serve(2, "b")
    outcome = await first_outcome(dependencies)
    assert outcome.verdict is RefreshVerdict.QUARANTINED
    assert "older" in outcome.detail
    assert (await dependencies.active_schema()).schema.version == 4


async def test_an_invalid_document_is_quarantined_by_the_version_it_claims(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(4)
    await ensure_active_schema(dependencies, POLICY)
    fake_registry.serve(5, 'x"; drop table journal; --')
    outcome = await refresh_schema(dependencies, POLICY)
    assert outcome.verdict is RefreshVerdict.QUARANTINED
    assert "/columns/0/name" in outcome.detail
    assert await states(dependencies) == {4: SchemaState.ACTIVE, 5: SchemaState.QUARANTINED}
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.UNCHANGED
    # Its number is free for the corrected document.
    fake_registry.serve(5, "b")
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.ADOPTED


@pytest.mark.parametrize("garbage", [b"<html>", b"[]", b"", b"\xff"])
async def test_a_document_that_is_not_json_is_reported_and_not_recorded(
    dependencies: Dependencies, fake_registry: FakeRegistry, garbage: bytes
) -> None:
    fake_registry.serve(4)
    await ensure_active_schema(dependencies, POLICY)
    fake_registry.latest = garbage
    with pytest.raises(RegistryError, match="invalid"):
        await refresh_schema(dependencies, POLICY)
    outcome = await first_outcome(dependencies)
    assert outcome.verdict is RefreshVerdict.FAILED
    assert await states(dependencies) == {4: SchemaState.ACTIVE}


async def test_documents_without_a_number_are_numbered_by_fingerprint(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    one = fake_registry.serve(None, "a")
    assert (await ensure_active_schema(dependencies, POLICY)).schema.version == 1
    await fill(dependencies)
    fake_registry.serve(None, "b")
    assert (await first_outcome(dependencies)).detail.startswith("version 2")
    fake_registry.latest = one
    assert (await first_outcome(dependencies)).verdict is RefreshVerdict.UNCHANGED
    fake_registry.serve(None, "c")
    await first_outcome(dependencies)
    assert sorted(await states(dependencies)) == [1, 2, 3]


async def test_the_number_of_waiting_versions_is_bounded(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 10  # `tests.limits` records the one of a service, at which this takes 4 s
    for module in (activation, version_adoption):
        monkeypatch.setattr(module, "MAX_WAITING", limit)
    fake_registry.serve(1)
    await ensure_active_schema(dependencies, POLICY)
    await fill(dependencies)
    for version in range(2, limit + 4):
        fake_registry.serve(version, {"name": "a", "type": "double"})
        outcome = await refresh_schema(dependencies, POLICY)
        assert len(await dependencies.schemas.records()) == min(version, limit + 1)
        assert ("not recorded" in outcome.detail) is (version > limit + 1)
    fake_registry.serve(limit + 5, "a", "b")
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.ADOPTED
    fake_registry.serve(limit + 6, {"name": "a", "type": "double"}, "b")
    outcome = await refresh_schema(dependencies, POLICY)
    assert "not recorded" not in outcome.detail
    assert (await get_schema_health(dependencies, POLICY)).problem.startswith(
        f"version {limit + 6} is quarantined"
    )


async def test_a_registry_that_is_away_does_not_end_the_refreshing(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(1)
    await ensure_active_schema(dependencies, POLICY)
    outcomes: list[RefreshResult] = []
    pauses: list[float] = []

    async def next_round(seconds: float) -> None:
        pauses.append(seconds)
        fake_registry.error = RegistryError("away") if len(pauses) == 1 else None
        if len(pauses) == 3:
            raise asyncio.CancelledError

    task = refresh_forever(
        dependencies, POLICY, report=outcomes.append, interval_s=100.0, sleep=next_round
    )
    with pytest.raises(asyncio.CancelledError):
        await task
    verdicts = [outcome.verdict for outcome in outcomes]
    assert verdicts == [RefreshVerdict.UNCHANGED, RefreshVerdict.FAILED, RefreshVerdict.UNCHANGED]
    assert all(75 <= pause <= 125 for pause in pauses)


@pytest.mark.parametrize("text", ["project_schema", "@3", "A@3", "a@", "a@-1", "a@3.0", "a@²"])
def test_a_pin_of_another_form_is_rejected(text: str) -> None:
    with expect_invalid(("", "invalid_pin")):
        parse_pin(text)


def test_a_pin_names_schema_and_version() -> None:
    assert parse_pin("project_schema@3") == ("project_schema", 3)
