"""Values survive versions that are passed over, and registries that have no list of them."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.application.fake_registry import POLICY, FakeRegistry, pinned_policy
from tests.application.schemas.test_refresh import (
    AA,
    ADOPTED,
    BB,
    CC,
    CC_TWICE,
    QUARANTINED,
    STEWARD,
    active,
    attributes,
    begin,
    begin_again,
    states,
)

from spawn.adapters.local.clock import SystemClock
from spawn.application.dependencies import Dependencies
from spawn.application.schemas import activation, refresh
from spawn.application.schemas.activation import RefreshResult, RefreshVerdict, get_schema_health
from spawn.application.schemas.adoptions.proposals import check_schema
from spawn.application.schemas.adoptions.steward_decisions import (
    approve_schema,
    reject_schema,
)
from spawn.application.schemas.refresh import MAX_WALK, refresh_forever, refresh_schema
from spawn.domain.errors import Conflict, NotFound, RegistryError
from spawn.domain.schema_version import MAX_VERSION
from spawn.ports.schemas import SchemaState


class EarlierClock(SystemClock):
    """A clock that was set back by an hour."""

    def now(self) -> datetime:
        return super().now() - timedelta(hours=1)


BAD_COLUMNS: dict[str, dict[str, Any]] = {
    "invalid": {"name": "Bad name", "type": "integer"},
    "type of a later release": {"name": "site", "type": "geometry"},
    "incompatible": {"name": "needed", "type": "integer", "required": True},
}


@pytest.mark.parametrize("bad_column", BAD_COLUMNS.values(), ids=BAD_COLUMNS)
@pytest.mark.parametrize("successor", [CC, {**BB, "aliases": []}], ids=["renamed", "kept"])
async def test_a_rename_that_was_passed_over_hides_no_values(
    dependencies: Dependencies,
    fake_registry: FakeRegistry,
    bad_column: dict[str, Any],
    successor: dict[str, Any],
) -> None:
    """The successor names bb alone, so that it looks like a removal of aa."""
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, BB, bad_column)
    document = fake_registry.serve(3, successor)
    result = await refresh_schema(dependencies, POLICY)
    assert [o.verdict for o in result.outcomes] == [QUARANTINED, QUARANTINED]
    reason = "version 2, which is not adopted, renames aa to bb, and version 3 follows it"
    assert reason in result.outcomes[1].detail
    assert reason in (await get_schema_health(dependencies, POLICY)).problem
    assert reason in (await check_schema(dependencies, POLICY, STEWARD, document)).violation
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
    fake_registry.serve(4, {**successor, "aliases": [*successor["aliases"], "aa"]})
    result = await refresh_schema(dependencies, POLICY)
    assert [o.verdict for o in result.outcomes][1:] == [QUARANTINED, ADOPTED]
    assert await attributes(dependencies, project) == {successor["name"]: "PRECIOUS"}


async def test_a_rename_that_found_no_room_among_the_records_hides_no_values(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation, "MAX_WAITING", 1)
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, AA, BAD_COLUMNS["invalid"])
    for number, bad_column in enumerate(BAD_COLUMNS.values(), 3):
        fake_registry.serve(number, BB, bad_column)
    fake_registry.serve(6, CC)
    result = await refresh_schema(dependencies, POLICY)
    assert [o.verdict for o in result.outcomes] == [QUARANTINED] * 5
    assert "version 3, which is not adopted, renames aa to bb" in result.outcomes[-1].detail
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}


async def test_a_decision_may_hide_the_values_of_a_rename_that_was_passed_over(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="OBSOLETE")
    fake_registry.serve(2, BB, BAD_COLUMNS["incompatible"])
    fake_registry.serve(3, CC)
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="wrong")
    result = await refresh_schema(dependencies, POLICY)
    assert "renames aa to bb" in result.detail
    await approve_schema(dependencies, POLICY, STEWARD, version=3, reason="not needed")
    assert await attributes(dependencies, project) == {}


@pytest.mark.parametrize(
    "last", [CC_TWICE, {"name": "cc", "type": "string(9)"}, AA], ids=["both", "new", "back"]
)
async def test_a_successor_that_does_not_follow_a_rename_is_judged_alone(
    dependencies: Dependencies, fake_registry: FakeRegistry, last: dict[str, Any]
) -> None:
    await begin(dependencies, fake_registry, AA, aa="A")
    fake_registry.serve(2, BB, BAD_COLUMNS["invalid"])
    fake_registry.serve(3, last)
    result = await refresh_schema(dependencies, POLICY)
    assert [o.verdict for o in result.outcomes] == [QUARANTINED, ADOPTED]


async def test_versions_are_read_one_by_one_where_there_is_no_list(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """The latest one alone would hide the values of the first rename."""
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.has_list = False
    fake_registry.serve(2, BB)
    fake_registry.serve(3, {**BB, "unit": "MW", "type": "date"})
    fake_registry.serve(4, {**CC_TWICE, "aliases": ["bb", "aa"]})
    result = await refresh_schema(dependencies, POLICY)
    assert [(o.version, o.verdict) for o in result.outcomes] == [(2, ADOPTED), (3, QUARANTINED)]
    assert await active(dependencies) == 4
    assert await attributes(dependencies, project) == {"cc": "PRECIOUS"}
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


@pytest.mark.parametrize("is_pinned", [False, True])
async def test_without_a_list_no_version_is_adopted_over_one_that_is_not_read(
    dependencies: Dependencies, fake_registry: FakeRegistry, *, is_pinned: bool
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.has_list = False
    fake_registry.serve(2, BB)
    fake_registry.serve(3, CC_TWICE)
    fake_registry.faults = {2: NotFound("the registry has no such schema or version")}
    policy = pinned_policy(3) if is_pinned else POLICY
    for _ in range(2):
        result = await refresh_schema(dependencies, policy)
        assert (result.verdict, await active(dependencies)) == (RefreshVerdict.FAILED, 1)
    problem = (await get_schema_health(dependencies, POLICY)).problem
    assert "no list of versions, and version 2 before it was not read" in problem
    fake_registry.faults = {}
    await refresh_schema(dependencies, policy)
    assert await attributes(dependencies, project) == {"cc": "PRECIOUS"}
    fake_registry.serve(5, CC_TWICE, "five")
    await refresh_schema(dependencies, POLICY)
    await approve_schema(dependencies, POLICY, STEWARD, version=5, reason="4 was never used")
    assert await active(dependencies) == 5
    # A rejected one is passed over, and more numbers than a refresh reads are not tried.
    fake_registry.serve(7, CC_TWICE, "seven")
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=7, reason="a slip")
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.UNCHANGED
    fake_registry.serve(MAX_WALK + 7, CC_TWICE, "eight")
    result = await refresh_schema(dependencies, POLICY)
    assert "1,001 numbers lie between it and version 5" in result.detail


async def test_what_a_decision_made_adoptable_is_adopted_without_a_restart(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """It was compared with the version that was active before the decision."""
    await begin(dependencies, fake_registry, AA, aa="A")
    narrow = {**AA, "enum": ["A"]}
    fake_registry.serve(2, narrow)
    fake_registry.serve(3, narrow, "three")
    results: list[RefreshResult] = []

    async def pause(_: float) -> None:
        if len(results) == 2:  # the second found nothing new
            await approve_schema(dependencies, POLICY, STEWARD, version=2, reason="agreed")
        if len(results) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await refresh_forever(dependencies, POLICY, report=results.append, sleep=pause)
    verdicts = [[o.verdict for o in result.outcomes] for result in results]
    assert verdicts == [[QUARANTINED] * 2, [RefreshVerdict.UNCHANGED] * 2, [ADOPTED]]
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_a_document_without_columns_hides_all_by_a_decision_only(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """It is valid, and as likely the placeholder of a server as the end of three columns."""
    project = await begin(dependencies, fake_registry, AA, "two", "three", aa="PRECIOUS")
    fake_registry.documents[2] = fake_registry.latest = b'{"columns": []}'
    result = await refresh_schema(dependencies, POLICY)
    assert "version 2 has no columns, and version 1 has 3" in result.detail
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
    await approve_schema(dependencies, POLICY, STEWARD, version=2, reason="all moved elsewhere")
    assert await attributes(dependencies, project) == {}


async def test_health_names_a_blocked_version_although_the_clock_went_back(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    set_back = msgspec.structs.replace(dependencies, clock=EarlierClock())
    fake_registry.serve(2, BAD_COLUMNS["incompatible"])
    await refresh_schema(set_back, POLICY)
    problem = (await get_schema_health(set_back, POLICY)).problem
    assert problem.startswith("version 2 is quarantined: ")


NEEDED = BAD_COLUMNS["incompatible"]
PLAIN_BB: dict[str, Any] = {**BB, "aliases": []}


async def assert_hidden_by_no_successor(
    dependencies: Dependencies, fake_registry: FakeRegistry, project: str, number: int
) -> None:
    """Serve bb alone under a number, and find the values of aa where they were."""
    fake_registry.serve(number, PLAIN_BB)
    result = await refresh_schema(dependencies, POLICY)
    assert "version 2, which is not adopted, renames aa to bb" in result.outcomes[-1].detail
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
    fake_registry.serve(number + 1, BB)
    await refresh_schema(dependencies, POLICY)
    assert await attributes(dependencies, project) == {"bb": "PRECIOUS"}


@pytest.mark.parametrize("is_rejected", [False, True])
async def test_a_version_that_was_read_once_keeps_its_rename_while_it_is_not_read(
    dependencies: Dependencies, fake_registry: FakeRegistry, *, is_rejected: bool
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, BB, NEEDED)
    await refresh_schema(dependencies, POLICY)
    if is_rejected:
        await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="wrong")
    fake_registry.faults = {2: RegistryError("the registry responded with status 403")}
    await refresh_schema(dependencies, POLICY)
    fake_registry.faults = {}
    await assert_hidden_by_no_successor(dependencies, fake_registry, project, 3)


async def test_the_content_that_a_version_has_now_counts(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """Version 2 renamed aa, then not, then again: its newest record is the one between."""
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    for columns in ((BB, NEEDED), (AA, NEEDED), (BB, NEEDED)):
        fake_registry.serve(2, *columns)
        await refresh_schema(dependencies, POLICY)
    await assert_hidden_by_no_successor(dependencies, fake_registry, project, 3)


async def test_a_version_corrected_under_its_number_hides_nothing(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="OBSOLETE")
    for columns in ((BB, NEEDED), (AA, NEEDED)):
        fake_registry.serve(2, *columns)
        await refresh_schema(dependencies, POLICY)
    document = fake_registry.serve(3, PLAIN_BB)
    assert (await check_schema(dependencies, POLICY, STEWARD, document)).violation == ""
    await refresh_schema(dependencies, POLICY)
    assert await attributes(dependencies, project) == {}


async def test_a_rename_is_followed_through_a_version_without_the_column(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """In full order version 3 removes bb, and version 4 restores it with its values."""
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, BB, NEEDED)
    fake_registry.serve(3, BAD_COLUMNS["invalid"])
    await assert_hidden_by_no_successor(dependencies, fake_registry, project, 4)


async def test_a_rename_is_followed_through_an_adopted_version_without_the_column(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, "other", aa="PRECIOUS")
    fake_registry.serve(2, BB, "other", NEEDED)
    fake_registry.serve(3, "other")
    fake_registry.serve(4, "other", PLAIN_BB)
    result = await refresh_schema(dependencies, POLICY)
    assert [o.verdict for o in result.outcomes] == [QUARANTINED, ADOPTED, QUARANTINED]
    assert "version 2, which is not adopted, renames aa to bb" in result.outcomes[-1].detail
    fake_registry.serve(5, "other", BB)
    await refresh_schema(dependencies, POLICY)
    assert await attributes(dependencies, project) == {"bb": "PRECIOUS"}


@pytest.mark.parametrize("has_list", [True, False])
@pytest.mark.parametrize("bad_columns", [(), (BAD_COLUMNS["invalid"],)], ids=["valid", "invalid"])
async def test_another_content_under_the_active_number_is_a_version_passed_over(
    dependencies: Dependencies,
    fake_registry: FakeRegistry,
    bad_columns: tuple[dict[str, Any], ...],
    *,
    has_list: bool,
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(2, AA, "other")
    project = await begin_again(dependencies, aa="PRECIOUS")
    await refresh_schema(dependencies, POLICY)
    fake_registry.has_list = has_list
    fake_registry.serve(2, BB, "other", *bad_columns)
    fake_registry.serve(3, PLAIN_BB, "other")
    result = await refresh_schema(dependencies, POLICY)
    verdicts = [(o.version, o.verdict) for o in result.outcomes]
    assert verdicts[:1] == [(2, QUARANTINED)]
    assert "version 2, which is not adopted, renames aa to bb" in result.detail
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
    fake_registry.serve(2, AA, "other")
    fake_registry.serve(3, AA, "other", "third")
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == 3
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_nothing_is_adopted_while_the_active_number_is_not_read(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA, aa="A")
    fake_registry.serve(2, AA, "other")
    fake_registry.faults = {1: RegistryError("the registry responded with status 403")}
    result = await refresh_schema(dependencies, POLICY)
    assert (result.verdict, await active(dependencies)) == (RefreshVerdict.FAILED, 1)
    problem = (await get_schema_health(dependencies, POLICY)).problem
    assert problem.startswith("version 1 is failed: it is listed, but was not read: ")
    fake_registry.faults = {1: NotFound("the registry has no such schema or version")}
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == 2
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_an_active_number_that_is_taken_back_leaves_no_failure(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA, aa="A")
    fake_registry.serve(2, BAD_COLUMNS["invalid"])
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="of another schema")
    fake_registry.faults = {1: RegistryError("the registry responded with status 403")}
    await refresh_schema(dependencies, POLICY)
    problem = (await get_schema_health(dependencies, POLICY)).problem
    assert problem.startswith("version 1 is failed: ")
    fake_registry.faults = {1: NotFound("the registry has no such schema or version")}
    await refresh_schema(dependencies, POLICY)
    problem = (await get_schema_health(dependencies, POLICY)).problem
    assert problem.startswith("version 1 is active, and the registry publishes it no more: ")


async def test_a_list_that_lacks_versions_between_others_is_walked_whole(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """Sorted as text, its first page of ten ends with 7, and 8 renames aa."""
    await begin(dependencies, fake_registry, AA)
    project = await begin_again(dependencies, aa="PRECIOUS")
    for number in range(2, 8):
        fake_registry.serve(number, AA, f"c{number}")
    fake_registry.serve(8, BB, "c7")
    for number in range(9, 13):
        fake_registry.serve(number, BB, "c7", f"c{number}")
    fake_registry.listed = (1, 2, 3, 4, 5, 6, 7, 10, 11, 12)
    result = await refresh_schema(dependencies, POLICY)
    assert [o.version for o in result.outcomes] == list(range(2, 13))
    assert (await attributes(dependencies, project))["bb"] == "PRECIOUS"


async def test_a_missing_number_that_is_not_known_to_be_unused_is_not_passed_over(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, BB)
    fake_registry.serve(3, CC_TWICE)
    fake_registry.listed = (1, 3)
    fake_registry.faults = {2: RegistryError("the registry responded with status 403")}
    result = await refresh_schema(dependencies, POLICY)
    assert (result.verdict, await active(dependencies)) == (RefreshVerdict.FAILED, 1)
    problem = (await get_schema_health(dependencies, POLICY)).problem
    assert "it may be missing between two versions of the list, but was not read" in problem
    fake_registry.faults = {}
    await refresh_schema(dependencies, POLICY)
    assert await attributes(dependencies, project) == {"cc": "PRECIOUS"}
    fake_registry.serve(5, CC_TWICE, "five")
    fake_registry.listed = (1, 3, 5)
    fake_registry.faults = {4: RegistryError("the registry responded with status 403")}
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=4, reason="never used")
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == 5
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_a_gap_is_read_once_and_only_to_its_tenth_unused_number(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions may be numbered by day; the first one here stays quarantined."""
    await begin(dependencies, fake_registry, AA, aa="A")
    fake_registry.serve(101, NEEDED)
    fake_registry.serve(201, NEEDED)
    fake_registry.listed = (1, 101, 201)
    monkeypatch.setattr(refresh, "MAX_GAP_READS", 15)
    state = dependencies.refresh_states.of_kind("project")
    first = await refresh_schema(dependencies, POLICY, is_continued=True)
    assert state.unused_numbers == {*range(2, 12), *range(102, 107)}
    assert [o.version for o in first.outcomes] == [101]
    second = await refresh_schema(dependencies, POLICY, is_continued=True)
    assert state.unused_numbers == {*range(2, 12), *range(102, 112)}
    assert [o.version for o in second.outcomes] == [201]
    monkeypatch.setattr(refresh, "MAX_GAP_READS", 0)
    third = await refresh_schema(dependencies, POLICY)
    assert [o.version for o in third.outcomes] == [101, 201]


async def test_each_round_goes_on_behind_the_one_before(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(dependencies, fake_registry, AA, aa="A")
    fake_registry.serve(101, NEEDED)
    fake_registry.serve(201, NEEDED)
    fake_registry.listed = (1, 101, 201)
    monkeypatch.setattr(refresh, "MAX_GAP_READS", 15)
    results: list[RefreshResult] = []

    async def pause(_: float) -> None:
        if len(results) == 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await refresh_forever(dependencies, POLICY, report=results.append, sleep=pause)
    assert [[o.version for o in result.outcomes] for result in results] == [[101], [201]]


FORBIDDEN = RegistryError("the registry responded with status 403")


async def test_a_rejection_settles_every_record_of_a_number(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """One is of the document, and one of the refresh that did not get it."""
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(2, AA, NEEDED)
    await refresh_schema(dependencies, POLICY)
    fake_registry.faults = {2: FORBIDDEN}
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="wrong")
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.UNCHANGED
    assert (await get_schema_health(dependencies, POLICY)).problem == ""
    with pytest.raises(Conflict, match="already rejected"):
        await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="again")


async def test_a_rejected_version_does_not_block_while_it_is_not_read(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(2, AA, NEEDED)
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="wrong")
    fake_registry.faults = {2: FORBIDDEN}
    fake_registry.serve(3, AA, "three")
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == 3
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_versions_above_the_pin_need_no_attention_and_those_up_to_it_are_withdrawn(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(2, AA, NEEDED)
    await refresh_schema(dependencies, POLICY)
    await refresh_schema(dependencies, pinned_policy(1))
    assert (await get_schema_health(dependencies, pinned_policy(1))).problem == ""
    pinned = pinned_policy(3)
    await refresh_schema(dependencies, POLICY)
    fake_registry.documents = {1: fake_registry.documents[1]}
    fake_registry.serve(3, AA, "three")
    await refresh_schema(dependencies, pinned)
    assert (await states(dependencies))[2] is SchemaState.WITHDRAWN
    assert (await get_schema_health(dependencies, pinned)).problem == ""


async def test_health_names_what_keeps_a_pinned_version_from_being_active(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(2, AA, "two")
    fake_registry.serve(3, AA, "two", "three")
    fake_registry.faults = {2: FORBIDDEN}
    await refresh_schema(dependencies, pinned_policy(3))
    problem = (await get_schema_health(dependencies, pinned_policy(3))).problem
    assert problem.startswith("version 3 is pinned, but version 1 is active; version 2 is failed: ")


async def test_a_huge_number_that_was_published_once_does_not_end_the_numbering(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(None, AA)
    await begin_again(dependencies, aa="A")
    fake_registry.serve(None, AA, "two")
    await refresh_schema(dependencies, POLICY)
    first = await active(dependencies)
    fake_registry.documents = {}
    fake_registry.has_list = False
    fake_registry.serve(MAX_VERSION, AA, "two", "three")
    await refresh_schema(dependencies, POLICY)
    fake_registry.serve(None, AA, "two", "four")
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == first + 1
    assert (await get_schema_health(dependencies, POLICY)).problem == ""
