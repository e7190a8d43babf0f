"""A version that was rejected unread holds up nothing, hides nothing and is not taken."""

from typing import Any

from tests.application.fake_registry import POLICY, FakeRegistry, pinned_policy
from tests.application.schemas.test_refresh import (
    AA,
    QUARANTINED,
    STEWARD,
    active,
    attributes,
    begin,
    begin_again,
)

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import get_schema_health
from spawn.application.schemas.adoption import reject_schema
from spawn.application.schemas.refresh import refresh_schema
from spawn.domain.errors import RegistryError

FORBIDDEN = RegistryError("the registry responded with status 403")
PAGE = b"<!doctype html>"


async def reject_unread(
    dependencies: Dependencies, fake_registry: FakeRegistry, number: int, fault: Any = FORBIDDEN
) -> None:
    """Refresh while the registry withholds a version, and reject that version."""
    fake_registry.faults = {number: fault}
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=number, reason="never published")


async def test_a_pinned_version_that_was_rejected_is_not_adopted_over_a_gap(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(5, "other")
    fake_registry.listed = (5,)
    await reject_unread(dependencies, fake_registry, 5, PAGE)
    fake_registry.faults = {}
    await refresh_schema(dependencies, pinned_policy(5))
    assert await active(dependencies) == 1
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
    problem = (await get_schema_health(dependencies, pinned_policy(5))).problem
    assert problem.startswith("version 5 is pinned, but version 1 is active")


async def test_a_complaint_about_the_active_number_ends_though_all_later_ones_are_rejected(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(2, AA, "two")
    await reject_unread(dependencies, fake_registry, 2)
    fake_registry.faults[1] = FORBIDDEN
    await refresh_schema(dependencies, POLICY)
    problem = (await get_schema_health(dependencies, POLICY)).problem
    assert problem.startswith("version 1 is failed: it is listed, but was not read: ")
    del fake_registry.faults[1]
    await refresh_schema(dependencies, POLICY)
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_another_content_of_the_active_number_is_met_though_all_later_ones_are_rejected(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(1, AA)
    await begin_again(dependencies)
    latest = fake_registry.serve(2, AA, "two")
    await reject_unread(dependencies, fake_registry, 2)
    fake_registry.serve(1, AA, "more")
    fake_registry.latest = latest
    result = await refresh_schema(dependencies, POLICY)
    assert result.outcomes[0].verdict is QUARANTINED
    problem = (await get_schema_health(dependencies, POLICY)).problem
    assert problem == "version 1 is quarantined: version 1 is known with another content"
