"""What a refresh has read is known to the next one, to a manual one, and to a dry run."""

from typing import Any

import msgspec
import pytest
from tests.application.fake_registry import POLICY, FakeRegistry, pinned_policy
from tests.application.schemas.test_refresh import (
    AA,
    ADOPTED,
    BB,
    QUARANTINED,
    STEWARD,
    active,
    attributes,
    begin,
)

from spawn.application.dependencies import Dependencies
from spawn.application.schemas import activation, refresh
from spawn.application.schemas.activation import SchemaPolicy, get_schema_health
from spawn.application.schemas.adoptions.proposals import check_schema
from spawn.application.schemas.refresh import refresh_schema
from spawn.domain.errors import NotFound, RegistryError
from spawn.domain.schemas.refresh_state import RefreshStates
from spawn.ports.schemas import FetchedSchema, SchemaState

NEEDED: dict[str, Any] = {"name": "needed", "type": "integer", "required": True}
PLAIN_BB: dict[str, Any] = {**BB, "aliases": []}
MISSING = NotFound("the registry has no such schema or version")


async def refresh_on(dependencies: Dependencies) -> list[int]:
    """Refresh as the loop does, and return the versions that were met."""
    result = await refresh_schema(dependencies, POLICY, should_retry=False, is_continued=True)
    return [outcome.version for outcome in result.outcomes]


async def test_a_rename_before_the_mark_of_a_long_list_hides_no_values(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first version renames aa and finds no room among the records."""
    monkeypatch.setattr(refresh, "MAX_WALK", 3)
    monkeypatch.setattr(activation, "MAX_WAITING", 0)
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, BB, NEEDED)
    for number in range(3, 6):
        fake_registry.serve(number, AA, NEEDED, f"c{number}")
    document = fake_registry.serve(6, PLAIN_BB)
    assert await refresh_on(dependencies) == [2, 3, 4]
    assert await refresh_on(dependencies) == [5, 6]
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
    reason = "version 2, which is not adopted, renames aa to bb"
    assert reason in (await check_schema(dependencies, POLICY, STEWARD, document)).violation


async def test_a_gap_of_more_served_numbers_than_a_refresh_reads_is_passed(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "MAX_GAP_READS", 3)
    await begin(dependencies, fake_registry, AA)
    for number in range(2, 9):
        fake_registry.serve(number, AA, NEEDED, f"c{number}")
    fake_registry.serve(9, AA, "nine")
    fake_registry.listed = (1, 9)
    met = [await refresh_on(dependencies) for _ in range(3)]
    assert met == [[2, 3, 4], [5, 6, 7], [8, 9]]
    assert await active(dependencies) == 9


async def test_a_gap_that_closed_before_the_mark_of_a_long_list_leaves_no_complaint(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version at the end of the gap is read in one refresh, and the list ends in another."""
    monkeypatch.setattr(refresh, "MAX_WALK", 2)
    await begin(dependencies, fake_registry, AA)
    for number in (2, 3):
        fake_registry.serve(number, AA, NEEDED, f"c{number}")
    fake_registry.serve(4, AA, "four")
    fake_registry.faults = {2: RegistryError("the registry responded with status 403")}
    assert await refresh_on(dependencies) == [2]
    fake_registry.faults = {}
    assert await refresh_on(dependencies) == [2, 3]
    fake_registry.documents.pop(4)
    fake_registry.serve(5, AA, NEEDED)
    assert await refresh_on(dependencies) == [5]
    problem = (await get_schema_health(dependencies, POLICY)).problem
    assert problem.startswith("version 5 is quarantined: ")
    states = [r.state for r in await dependencies.schemas.records() if r.schema.version == 2]
    assert states == [SchemaState.WITHDRAWN, SchemaState.QUARANTINED]


async def test_unused_numbers_among_served_ones_do_not_end_a_gap(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "MAX_GAP_READS", 3)
    monkeypatch.setattr(refresh, "MAX_UNUSED", 2)
    await begin(dependencies, fake_registry, AA)
    for number in (3, 5, 7):
        fake_registry.serve(number, AA, NEEDED, f"c{number}")
    fake_registry.serve(8, AA, "eight")
    fake_registry.listed = (1, 8)
    met = [await refresh_on(dependencies) for _ in range(2)]
    assert met == [[3], [5, 7, 8]]


async def test_health_names_the_highest_version_although_another_was_met_later(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    latest = fake_registry.serve(3, AA, NEEDED)
    await refresh_on(dependencies)
    fake_registry.serve(2, AA, NEEDED, "two")
    fake_registry.latest = latest
    await refresh_on(dependencies)
    problem = (await get_schema_health(dependencies, POLICY)).problem
    assert problem.startswith("version 3 is quarantined: ")


async def test_unused_numbers_are_read_once_for_each_list_though_a_refresh_fails(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested: list[int | None] = []
    refresh_version = FakeRegistry.refresh

    async def count(
        registry: FakeRegistry, schema_id: str, version: int | None = None, **options: Any
    ) -> FetchedSchema:
        requested.append(version)
        if version is None and is_down:
            raise RegistryError("the registry responded with status 503")
        return await refresh_version(registry, schema_id, version, **options)

    monkeypatch.setattr(FakeRegistry, "refresh", count)
    is_down = True
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(4, AA, NEEDED)
    with pytest.raises(RegistryError):
        await refresh_on(dependencies)
    assert requested == [1, 2, 3, 4, None]
    is_down = False
    requested.clear()
    await refresh_schema(dependencies, POLICY)
    assert requested == [1, 4, None]
    # Another list may come from another state of the registry.
    fake_registry.serve(5, AA, NEEDED, "five")
    requested.clear()
    await refresh_on(dependencies)
    assert requested == [1, 2, 3, 4, 5, None]


@pytest.mark.parametrize("max_walk", [1, 1_000])
async def test_a_version_is_compared_again_once_one_before_it_renames_nothing_more(
    dependencies: Dependencies,
    fake_registry: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    max_walk: int,
) -> None:
    await begin(dependencies, fake_registry, AA, aa="OBSOLETE")
    fake_registry.serve(2, BB, NEEDED)
    fake_registry.serve(3, PLAIN_BB)
    assert [*await refresh_on(dependencies), *await refresh_on(dependencies)][:2] == [2, 3]
    monkeypatch.setattr(refresh, "MAX_WALK", max_walk)
    latest = fake_registry.latest
    fake_registry.serve(2, AA, NEEDED)
    fake_registry.latest = latest
    await refresh_on(dependencies)
    await refresh_on(dependencies)
    assert await active(dependencies) == 3


async def test_another_content_of_the_active_number_counts_until_it_is_corrected(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="OBSOLETE")
    fake_registry.serve(1, BB)
    fake_registry.serve(2, PLAIN_BB)
    fake_registry.listed = (2,)
    result = await refresh_schema(dependencies, POLICY)
    assert [o.verdict for o in result.outcomes] == [QUARANTINED, QUARANTINED]
    assert await attributes(dependencies, project) == {"aa": "OBSOLETE"}
    for fault in (MISSING, RegistryError("the registry responded with status 403")):
        fake_registry.faults = {1: fault}
        for state in (dependencies.refresh_states, RefreshStates()):
            replica = msgspec.structs.replace(dependencies, refresh_states=state)
            await refresh_schema(replica, POLICY)
            assert await attributes(dependencies, project) == {"aa": "OBSOLETE"}
            problem = (await get_schema_health(dependencies, POLICY)).problem
            assert "version 1, which is not adopted, renames aa to bb" in problem
    fake_registry.faults = {}
    latest = fake_registry.latest
    fake_registry.serve(1, AA)
    fake_registry.latest = latest
    result = await refresh_schema(dependencies, POLICY, should_retry=False)
    assert [o.verdict for o in result.outcomes] == [ADOPTED]


@pytest.mark.parametrize("policy", [POLICY, pinned_policy(2)], ids=["free", "pinned"])
async def test_health_says_that_the_active_version_is_published_no_more(
    dependencies: Dependencies, fake_registry: FakeRegistry, policy: SchemaPolicy
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    first = fake_registry.latest
    second = fake_registry.serve(2, AA, "two")
    await refresh_schema(dependencies, POLICY)
    # An older version is the latest one again: it is never adopted over data.
    del fake_registry.documents[2]
    fake_registry.latest = first
    await refresh_schema(dependencies, policy)
    problem = (await get_schema_health(dependencies, policy)).problem
    assert problem.endswith(
        "version 2 is active, and the registry publishes it no more: publish it again, or a later"
        " version"
    )
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
    fake_registry.documents[2] = fake_registry.latest = second
    fake_registry.listed = (1,)  # a stale list
    await refresh_schema(dependencies, policy)
    assert "no more" not in (await get_schema_health(dependencies, policy)).problem
    del fake_registry.documents[2]
    fake_registry.latest, fake_registry.listed = first, None
    await refresh_schema(dependencies, POLICY)
    fake_registry.serve(3, AA, "two", "three")
    await refresh_schema(dependencies, POLICY)
    assert (await get_schema_health(dependencies, POLICY)).problem == ""
