"""A version that was rejected unread holds up nothing, hides nothing and is not taken."""

from typing import Any

import msgspec
import pytest
from tests.application.fake_registry import POLICY, FakeRegistry, pinned_policy
from tests.application.schemas.test_refresh import (
    AA,
    BB,
    CC,
    QUARANTINED,
    STEWARD,
    active,
    attributes,
    begin,
    begin_again,
)

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import get_schema_health
from spawn.application.schemas.adoptions.proposals import check_schema
from spawn.application.schemas.adoptions.steward_decisions import (
    approve_schema,
    reject_schema,
)
from spawn.application.schemas.refresh import refresh_schema
from spawn.domain.errors import RegistryError
from spawn.domain.schemas.refresh_state import RefreshStates

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


SIX: dict[str, Any] = {**CC, "aliases": ["bb"]}
RENAMES_AA = "version 5, which is not adopted, renames aa to bb, and version 6 follows it"


@pytest.mark.parametrize("bad_columns", [(), ({"name": "Bad name"},)], ids=["valid", "invalid"])
async def test_the_renames_of_a_rejected_version_count_once_it_is_read(
    dependencies: Dependencies, fake_registry: FakeRegistry, bad_columns: tuple[Any, ...]
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(6, SIX)
    fake_registry.listed = (5, 6)
    await reject_unread(dependencies, fake_registry, 5, PAGE)
    fake_registry.listed, fake_registry.faults = None, {}
    for number in (2, 3, 4):
        fake_registry.serve(number, AA, f"c{number}")
    fake_registry.serve(5, BB, *bad_columns)
    fake_registry.serve(6, SIX)
    await refresh_schema(dependencies, POLICY)
    for fault in (None, FORBIDDEN):  # what was read once is known
        fake_registry.faults = {} if fault is None else {5: fault}
        restarted = msgspec.structs.replace(dependencies, refresh_states=RefreshStates())
        await refresh_schema(restarted, POLICY)
        assert await active(dependencies) == 4
        assert (await attributes(dependencies, project))["aa"] == "PRECIOUS"
        problem = (await get_schema_health(dependencies, POLICY)).problem
        assert problem.startswith(f"version 6 is quarantined: {RENAMES_AA}")
    assert len(await dependencies.schemas.records()) == 7


async def test_a_version_that_may_follow_a_rename_that_nobody_has_read_hides_nothing(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """Once the rejected version is read, and renames nothing, the next is adopted."""
    project = await begin(dependencies, fake_registry, AA, aa="OBSOLETE")
    document = fake_registry.serve(3, "other")
    fake_registry.serve(2, AA, "two")
    await reject_unread(dependencies, fake_registry, 2)
    fake_registry.latest = document
    await refresh_schema(dependencies, POLICY, should_retry=False)
    assert await attributes(dependencies, project) == {"aa": "OBSOLETE"}
    reason = "version 2, which is rejected and cannot be read now, may rename aa"
    problem = (await get_schema_health(dependencies, POLICY)).problem
    assert problem.startswith(f"version 3 is quarantined: {reason}")
    assert reason in (await check_schema(dependencies, POLICY, STEWARD, document)).violation
    fake_registry.faults = {}
    await refresh_schema(dependencies, POLICY, should_retry=False)
    assert await active(dependencies) == 3
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_a_rejected_version_is_not_adopted_by_a_pin_once_it_is_read(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, "other")
    await reject_unread(dependencies, fake_registry, 2)
    fake_registry.faults = {}
    pinned = pinned_policy(2)
    for listed, has_list in (((1,), True), (None, True), (None, False)):
        fake_registry.listed, fake_registry.has_list = listed, has_list
        await refresh_schema(dependencies, pinned)
        assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
        problem = (await get_schema_health(dependencies, pinned)).problem
        rejection = "version 2 was rejected (never published): approve it, or pin another"
        assert problem == f"version 2 is pinned, but version 1 is active; {rejection}"
    await approve_schema(dependencies, pinned, STEWARD, version=2, reason="published after all")
    assert await active(dependencies) == 2
    fake_registry.has_list = True
    fake_registry.serve(2, "another")  # the adoption ended the rejection
    await refresh_schema(dependencies, pinned)
    assert (await get_schema_health(dependencies, pinned)).problem == (
        "version 2 is quarantined: version 2 is known with another content"
    )


async def test_the_renames_of_an_unlisted_version_that_was_rejected_count_once_it_is_read(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, BB)
    fake_registry.serve(3, AA, {"name": "needed", "type": "integer", "required": True})
    fake_registry.listed = (1, 3)
    await reject_unread(dependencies, fake_registry, 2)
    await refresh_schema(dependencies, POLICY)
    fake_registry.faults = {}
    fake_registry.serve(4, SIX)
    fake_registry.listed = (1, 3, 4)
    result = await refresh_schema(dependencies, POLICY)
    assert "version 2, which is not adopted, renames aa to bb, and version 4" in result.detail
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
