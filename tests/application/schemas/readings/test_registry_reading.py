"""An adoption rests on one reading of the registry, which is the state of one moment."""

import asyncio
from itertools import count
from typing import Any

import pytest
from tests.application.fake_registry import POLICY, FakeRegistry, pinned_policy
from tests.application.schemas.test_refresh import AA, ADOPTED, BB, STEWARD, attributes, begin

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import RefreshVerdict, get_schema_health
from spawn.application.schemas.adoptions.steward_decisions import reject_schema
from spawn.application.schemas.readings import registry_reading
from spawn.application.schemas.refresh import CHANGED, refresh_schema
from spawn.domain.errors import RegistryError
from spawn.ports.schemas import FetchedSchema, SchemaState

NEEDED: dict[str, Any] = {"name": "needed", "type": "integer", "required": True}
PLAIN_BB: dict[str, Any] = {**BB, "aliases": []}
FORBIDDEN = RegistryError("the registry responded with status 403")
RENAMES = "version 2, which is not adopted, renames aa to bb, and version 3 follows it"


async def read_active(dependencies: Dependencies) -> int:
    return (await dependencies.active_schema()).schema.version


async def test_versions_that_are_replaced_while_they_are_read_are_judged_anew(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """Version 3 follows the second content of version 2, and the first was read."""
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, AA, NEEDED)
    fake_registry.serve(3, AA, NEEDED, "three")

    def replace(number: int | None) -> None:
        if number == 3:
            fake_registry.serve(2, BB, NEEDED)
            fake_registry.serve(3, PLAIN_BB)

    fake_registry.notice = replace
    result = await refresh_schema(dependencies, POLICY)
    assert RENAMES in result.detail
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}


async def test_a_version_that_is_replaced_before_the_next_is_published_is_read_again(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, AA, NEEDED)

    def replace(number: int | None) -> None:
        if number is None and 3 not in fake_registry.documents:
            fake_registry.serve(2, BB, NEEDED)
            fake_registry.serve(3, PLAIN_BB)

    fake_registry.notice = replace
    result = await refresh_schema(dependencies, POLICY)
    assert RENAMES in result.detail
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}


async def test_a_mark_rests_on_the_contents_before_it(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spawn.application.schemas.refresh.MAX_WALK", 2)
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    for number in (2, 3, 4):
        fake_registry.serve(number, AA, NEEDED, f"c{number}")
    await refresh_schema(dependencies, POLICY, is_continued=True)
    fake_registry.serve(2, BB, NEEDED)
    fake_registry.serve(4, PLAIN_BB)
    for _ in range(2):
        await refresh_schema(dependencies, POLICY, is_continued=True)
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}


async def test_nothing_is_adopted_from_a_registry_that_changes_all_the_time(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    requests: list[int | None] = []

    def replace(number: int | None) -> None:
        requests.append(number)
        fake_registry.serve(2, AA, f"c{len(requests)}")

    fake_registry.notice = replace
    fake_registry.serve(2, AA, "two")
    result = await refresh_schema(dependencies, POLICY)
    assert (result.verdict, await read_active(dependencies)) == (RefreshVerdict.FAILED, 1)
    assert result.detail.endswith(CHANGED)
    assert requests == [1, 2, 2] * 3
    assert (await get_schema_health(dependencies, POLICY)).problem == CHANGED
    fake_registry.notice = lambda _: None
    assert (await refresh_schema(dependencies, POLICY)).verdict is ADOPTED
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_two_servers_that_take_turns_do_not_confirm_each_other(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """One of them has earlier contents: versions 3 and 4 are never of one moment in a walk."""
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, AA, NEEDED)
    requests = count()

    def take_turns(number: int | None) -> None:
        del number
        is_current = bool(next(requests) % 2)
        fake_registry.serve(3, BB if is_current else AA, NEEDED)
        fake_registry.serve(4, *([PLAIN_BB] if is_current else [AA, NEEDED]))

    for first in (0, 1):
        requests = count(first)
        fake_registry.notice = take_turns
        for _ in range(3):
            await refresh_schema(dependencies, POLICY)
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}


@pytest.mark.parametrize("max_walk", [1, 1_000])
async def test_a_number_without_a_version_is_read_again_before_an_adoption(
    dependencies: Dependencies,
    fake_registry: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    max_walk: int,
) -> None:
    renames = RENAMES.replace("version 3", "version 4")
    monkeypatch.setattr("spawn.application.schemas.refresh.MAX_WALK", max_walk)
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    for number in (3, 4):
        fake_registry.serve(number, AA, NEEDED, f"c{number}")
    fake_registry.listed = (1, 3, 4)
    await refresh_schema(dependencies, POLICY, is_continued=True)
    fake_registry.serve(2, BB, NEEDED)
    fake_registry.serve(4, PLAIN_BB)
    results = [await refresh_schema(dependencies, POLICY, is_continued=True) for _ in range(3)]
    assert any(renames in result.detail for result in results)
    assert await read_active(dependencies) == 1
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}


async def test_a_second_reading_that_fails_names_the_error(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, AA, "two")
    requests = count()

    def fail_second(number: int | None) -> None:
        if number == 2 and next(requests):
            fake_registry.faults[2] = FORBIDDEN

    fake_registry.notice = fail_second
    with pytest.raises(RegistryError, match="status 403"):
        await refresh_schema(dependencies, POLICY)
    assert await read_active(dependencies) == 1


async def test_refreshes_of_a_kind_do_not_run_at_once(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one took a number for unread while it was requested."""
    await begin(dependencies, fake_registry, AA, "old")
    fake_registry.serve(2, AA, "old", NEEDED)
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="no")
    fake_registry.serve(3, AA)
    refresh_version, refreshing = FakeRegistry.refresh, set[asyncio.Task[Any] | None]()

    async def wait(*arguments: Any, **options: Any) -> FetchedSchema:
        refreshing.add(asyncio.current_task())
        assert len(refreshing) == 1
        await asyncio.sleep(0)
        fetched_schema = await refresh_version(*arguments, **options)
        refreshing.clear()
        return fetched_schema

    monkeypatch.setattr(FakeRegistry, "refresh", wait)
    results = await asyncio.gather(*[refresh_schema(dependencies, POLICY) for _ in range(2)])
    assert [result.verdict for result in results] == [ADOPTED, RefreshVerdict.UNCHANGED]


async def test_without_a_list_a_pinned_version_is_read_from_the_registry(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy serves only if the registry fails."""
    await begin(dependencies, fake_registry, AA)
    fake_registry.has_list = False
    fake_registry.serve(2, AA, NEEDED)
    copy = await fake_registry.fetch("project_schema", 2)

    async def fetch(*_: Any, **__: Any) -> FetchedSchema:
        return copy

    monkeypatch.setattr(fake_registry, "fetch", fetch)
    fake_registry.serve(2, AA, "good")
    fake_registry.faults = {2: FORBIDDEN}
    result = await refresh_schema(dependencies, pinned_policy(2))
    assert (result.verdict, await read_active(dependencies)) == (RefreshVerdict.QUARANTINED, 1)
    fake_registry.faults = {}
    await refresh_schema(dependencies, pinned_policy(2))
    assert await read_active(dependencies) == 2


async def test_a_round_is_finished_although_the_latest_version_cannot_be_read(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(2, AA, NEEDED)
    await refresh_schema(dependencies, POLICY)
    del fake_registry.documents[2]

    def fail(number: int | None) -> None:
        if number is None:
            raise FORBIDDEN

    fake_registry.notice = fail
    with pytest.raises(RegistryError, match="403"):
        await refresh_schema(dependencies, POLICY)
    states = [record.state for record in await dependencies.schemas.records()]
    assert states == [SchemaState.ACTIVE, SchemaState.WITHDRAWN]
    fake_registry.has_list = False
    fake_registry.serve(3, AA, NEEDED, "three")
    with pytest.raises(RegistryError, match="403"):
        await refresh_schema(dependencies, POLICY)


async def test_requests_for_rejected_versions_have_a_common_budget_of_time(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(dependencies, fake_registry, AA)
    for number in range(2, 5):
        fake_registry.serve(number, AA, NEEDED, f"c{number}")
    await refresh_schema(dependencies, POLICY)
    for number in range(2, 5):
        await reject_schema(dependencies, POLICY, STEWARD, version=number, reason="no")
    fake_registry.serve(5, AA, "good")
    fake_registry.faults = dict.fromkeys(range(2, 5), FORBIDDEN)
    requests: list[int | None] = []
    fake_registry.notice = requests.append
    monkeypatch.setattr(registry_reading, "SECONDARY_BUDGET_S", 1e-9)
    await refresh_schema(dependencies, POLICY)
    assert [number for number in requests if number in range(2, 5)] == [2]
    assert await read_active(dependencies) == 5
