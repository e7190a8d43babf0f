"""Registered consumers of schema versions, and whom a Sunset names."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.application.conftest import open_engine_dependencies
from tests.application.fake_registry import POLICY, FakeRegistry

from spawn.adapters.local.clock import SystemClock
from spawn.application.dependencies import Dependencies
from spawn.application.projects.commands import create_project
from spawn.application.schemas import consumers
from spawn.application.schemas.activation import build_policies, ensure_active_schema
from spawn.application.schemas.adoptions.proposals import review_schema
from spawn.application.schemas.consumers import (
    WARNING_PERIOD,
    SavedConsumer,
    find_affected,
    find_warnings,
    get_consumer,
    get_readership,
    list_consumers,
    register_consumer,
    remove_consumer,
)
from spawn.application.schemas.refresh import refresh_schema
from spawn.application.schemas.served_versions import find_schema
from spawn.application.schemas.versions import list_registry
from spawn.domain.errors import Conflict, Forbidden, NotFound
from spawn.domain.principal import Principal, RowScope, Scope
from spawn.domain.query import Query
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode
from spawn.domain.schemas.evolution.schema_consumer import CONSUMER_KIND
from spawn.domain.schemas.validator import ProjectInput
from spawn.testing.expected_errors import expect_invalid

GRADE = {"name": "grade", "type": "string(20)"}
READER = frozenset({Scope.PROJECTS_READ})
DESK = Principal(id="key:desk", scopes=READER)
OTHER = Principal(id="key:other", scopes=READER)
STEWARD = Principal(id="key:steward", scopes=frozenset({Scope.SCHEMA_ADMIN}))
CONTACT = "mailto:desk@bank.example"


@pytest.fixture(params=["memory", "duckdb"])
async def dependencies(
    fake_registry: FakeRegistry, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Dependencies]:
    """A store with a project under version 1, which has the column grade."""
    async with open_engine_dependencies(request.param, fake_registry, tmp_path) as dependencies:
        fake_registry.serve(1, GRADE)
        await ensure_active_schema(dependencies, POLICY)
        core = {"project_name": "One", "total_amount": Decimal(1)}
        await create_project(dependencies, DESK_WRITER, attributes=ProjectInput(core, {}, {}))
        yield dependencies


DESK_WRITER = Principal(id="writer")


def deprecated(days: int) -> dict[str, Any]:
    """Return the column with a Sunset in some days."""
    sunset = SystemClock().now().date() + timedelta(days=days)
    return {**GRADE, "deprecated": True, "sunset": sunset.isoformat()}


async def register(
    dependencies: Dependencies, principal: Principal = DESK, version: int = 1, name: str = "desk"
) -> SavedConsumer:
    return await register_consumer(
        dependencies, principal, name=name, contact=CONTACT, schema_version=version
    )


async def test_a_consumer_is_registered_changed_and_removed_with_its_history(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    assert (await register(dependencies)).is_new
    assert not (await register(dependencies)).is_new
    fake_registry.serve(2, GRADE, "b")
    await refresh_schema(dependencies, POLICY)
    await register(dependencies, version=2)
    consumer = await get_consumer(dependencies, OTHER, "desk")
    assert (consumer.schema_version, consumer.owner) == (2, "key:desk")
    assert (
        await get_readership(dependencies, OTHER, await find_schema(dependencies, 2))
    ).consumers == (consumer,)
    assert (
        await get_readership(dependencies, OTHER, await find_schema(dependencies, 1))
    ).consumers == ()
    removed = await remove_consumer(dependencies, DESK, "desk")
    assert not removed.is_active
    with pytest.raises(NotFound):
        await get_consumer(dependencies, DESK, "desk")
    with pytest.raises(NotFound):
        await remove_consumer(dependencies, DESK, "desk")
    assert (await list_consumers(dependencies, DESK, Query())).items == ()
    entries = await dependencies.reads.history(CONSUMER_KIND, "desk", after_version=0, limit=9)
    assert [entry.version for entry in entries] == [1, 2, 3]
    # Its name is free again, also for another client.
    assert (await register(dependencies, OTHER)).consumer.owner == "key:other"


async def test_only_the_owner_or_a_schema_administrator_changes_a_consumer(
    dependencies: Dependencies,
) -> None:
    await register(dependencies)
    with pytest.raises(Forbidden):
        await register(dependencies, OTHER)
    with pytest.raises(Forbidden):
        await remove_consumer(dependencies, OTHER, "desk")
    with pytest.raises(Forbidden):
        await register(dependencies, Principal(id="key:desk", scopes=frozenset()))
    await register_consumer(
        dependencies, STEWARD, name="desk", contact="mailto:b@bank.example", schema_version=1
    )
    changed = await get_consumer(dependencies, DESK, "desk")
    assert (changed.owner, changed.contact) == ("key:desk", "mailto:b@bank.example")
    await remove_consumer(dependencies, STEWARD, "desk")


async def test_a_client_of_some_projects_is_not_told_who_the_other_consumers_are(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await register(dependencies)
    fake_registry.serve(2, deprecated(9))
    await refresh_schema(dependencies, POLICY)
    scoped = msgspec.structs.replace(DESK, row_scope=RowScope.of({"sector": ["wind"]}))
    readership = await get_readership(dependencies, scoped, await find_schema(dependencies, 1))
    assert readership.consumers == ()
    assert readership.sunset is not None


async def test_a_consumer_needs_a_name_and_a_version_that_is_served(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    with expect_invalid(("/name", "invalid_name")):
        await register(dependencies, name="The desk")
    with expect_invalid(("/schema_version", "unknown_version")):
        await register(dependencies, version=7)
    monkeypatch.setattr(consumers, "MAX_CONSUMERS", 1)
    await register(dependencies)
    with pytest.raises(Conflict):
        await register(dependencies, name="second")
    await register(dependencies)


async def test_a_sunset_names_the_consumers_before_it_is_adopted_and_after(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await register(dependencies)
    fake_registry.serve(2, GRADE, "b")
    await refresh_schema(dependencies, POLICY)
    await register(dependencies, version=2, name="risk")
    assert await find_affected(dependencies) == ()
    # A version that waits for a decision says whom its Sunset would affect.
    strict = msgspec.structs.replace(POLICY, mode=CompatibilityMode.FULL)
    fake_registry.serve(3, deprecated(90), {"name": "b", "type": "timestamp"})
    await refresh_schema(dependencies, strict)
    _, proposal = await review_schema(dependencies, strict, STEWARD, version=3)
    assert proposal is not None
    assert [(a.consumer.name, a.sunset.column) for a in proposal.affected] == [
        ("desk", "grade"),
        ("risk", "grade"),
    ]
    assert await find_affected(dependencies) == ()
    fake_registry.serve(4, deprecated(90), "b")
    result = await refresh_schema(dependencies, POLICY)
    assert "a Sunset affects the registered consumers desk (version 1: grade, " in result.detail
    assert "risk (version 2: grade, " in result.detail
    assert len(await find_affected(dependencies)) == 2
    assert await find_warnings(dependencies) == ()


async def test_a_renamed_column_is_named_as_the_consumer_knows_it(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await register(dependencies)
    fake_registry.serve(2, {**GRADE, "name": "rating", "aliases": ["grade"]})
    fake_registry.serve(3, {**deprecated(5), "name": "rating", "aliases": ["grade"]})
    await refresh_schema(dependencies, POLICY)
    (affected,) = await find_affected(dependencies)
    assert affected.sunset.column == "grade"
    assert await find_warnings(dependencies) == (affected,)
    await remove_consumer(dependencies, DESK, "desk")
    assert await find_warnings(dependencies) == ()


async def test_health_warns_within_the_period_before_a_sunset_and_while_it_lasts(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await register(dependencies)
    fake_registry.serve(2, deprecated(WARNING_PERIOD.days))
    await refresh_schema(dependencies, POLICY)
    (warning,) = await find_warnings(dependencies)
    assert warning.consumer.name == "desk"
    # Removed before its Sunset: the version is still served, and ends on that day.
    fake_registry.serve(3, "b")
    await refresh_schema(dependencies, POLICY)
    assert await find_warnings(dependencies) == (warning,)


async def test_the_registry_list_names_what_governs_projects(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(5, GRADE)
    (listed,) = await list_registry(dependencies, DESK, build_policies(POLICY))
    assert (listed.schema_id, listed.followed_by) == ("project_schema", "project")
    assert (listed.active_version, listed.latest_version, listed.versions) == (1, 5, (1, 5))
