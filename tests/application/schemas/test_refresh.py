"""A refresh walks every published version in order, whatever lies between two refreshes."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.application.fake_registry import POLICY, FakeRegistry, pinned_policy

from spawn.application.dependencies import Dependencies
from spawn.application.projects.commands import create_project
from spawn.application.projects.queries import get_project
from spawn.application.projects.versioned_views import convert_to_version
from spawn.application.schemas import refresh
from spawn.application.schemas.activation import (
    RefreshVerdict,
    ensure_active_schema,
    get_schema_health,
)
from spawn.application.schemas.adoptions.steward_decisions import (
    approve_schema,
    reject_schema,
)
from spawn.application.schemas.refresh import MAX_SENTENCES, refresh_schema
from spawn.domain.errors import Conflict, NotFound, RegistryError
from spawn.domain.principal import Principal
from spawn.domain.schema_version import MAX_VERSION
from spawn.domain.schemas.refresh_state import WalkMark
from spawn.domain.schemas.validator import ProjectInput
from spawn.ports.schemas import SchemaState

STEWARD = Principal(id="steward")
AA: dict[str, Any] = {"name": "aa", "type": "string(9)"}
BB: dict[str, Any] = {"name": "bb", "type": "string(9)", "aliases": ["aa"]}
CC: dict[str, Any] = {"name": "cc", "type": "string(9)", "aliases": ["bb"]}
CC_TWICE: dict[str, Any] = {**CC, "aliases": ["bb", "aa"]}
NUMBER: dict[str, Any] = {"name": "aa", "type": "integer"}
DAY = timedelta(days=1)
ADOPTED, QUARANTINED = RefreshVerdict.ADOPTED, RefreshVerdict.QUARANTINED


async def begin(
    dependencies: Dependencies, fake_registry: FakeRegistry, *columns: Any, **values: Any
) -> str:
    """Adopt version 1 with these columns, and create a project with these values."""
    fake_registry.serve(1, *columns)
    return await begin_again(dependencies, **values)


async def begin_again(dependencies: Dependencies, **values: Any) -> str:
    """Adopt the version that is served, and create a project with these values."""
    await ensure_active_schema(dependencies, POLICY)
    core = {"project_name": "One", "total_amount": Decimal(1)}
    outcome = await create_project(dependencies, STEWARD, attributes=ProjectInput(core, values, {}))
    assert outcome.aggregate is not None
    return outcome.aggregate.id


async def attributes(dependencies: Dependencies, project_id: str) -> dict[str, Any]:
    return dict((await get_project(dependencies, STEWARD, project_id)).state.attributes)


async def active(dependencies: Dependencies) -> int:
    return (await dependencies.active_schema()).schema.version


async def states(dependencies: Dependencies) -> dict[int, SchemaState]:
    return {r.schema.version: r.state for r in await dependencies.schemas.records()}


async def test_two_renames_between_two_refreshes_are_two_adoptions(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, BB)
    fake_registry.serve(3, CC_TWICE)
    result = await refresh_schema(dependencies, POLICY)
    assert [(o.version, o.verdict) for o in result.outcomes] == [(2, ADOPTED), (3, ADOPTED)]
    assert result.verdict is ADOPTED
    assert await attributes(dependencies, project) == {"cc": "PRECIOUS"}
    assert [s.version for s in await dependencies.schemas.version_history()] == [3, 2, 1]


async def test_an_alias_lost_between_two_refreshes_is_a_break_of_writers(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, BB)
    fake_registry.serve(3, CC)
    result = await refresh_schema(dependencies, POLICY)
    assert [(o.version, o.verdict) for o in result.outcomes] == [(2, ADOPTED), (3, QUARANTINED)]
    assert "writers of version 1" in result.outcomes[1].detail
    assert await attributes(dependencies, project) == {"bb": "PRECIOUS"}


async def test_a_bad_version_between_good_ones_is_skipped_with_its_reason(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA, aa="A")
    fake_registry.serve(2, AA, "one")
    fake_registry.serve(3, NUMBER, "one")
    fake_registry.serve(4, AA, "one", 'x"; drop table journal; --')
    fake_registry.serve(5, AA, columns=7)
    fake_registry.serve(6, AA, "one", "two")
    result = await refresh_schema(dependencies, POLICY)
    assert [o.verdict for o in result.outcomes] == [ADOPTED, *[QUARANTINED] * 3, ADOPTED]
    assert "/columns/aa/type" in result.outcomes[1].detail
    assert "/columns/2/name" in result.outcomes[2].detail
    assert "/columns: must be an array" in result.outcomes[3].detail
    assert [s.version for s in await dependencies.schemas.version_history()] == [6, 2, 1]
    assert (await get_schema_health(dependencies, POLICY)).problem == ""
    again = await refresh_schema(dependencies, POLICY)
    assert (again.verdict, again.outcomes) == (RefreshVerdict.UNCHANGED, ())


UNREAD = {
    "unreachable": RegistryError("the registry responded with status 503"),
    "forbidden": RegistryError("the registry responded with status 403"),
    "missing": NotFound("the registry has no such schema or version"),
    "a page": b"<!doctype html><title>Log in</title>",
    "empty": b"",
    "a JSON text": b'"maintenance"',
    "an error": b'{"error": "forbidden"}',
    "another schema": b'{"id": "another", "version": 2, "columns": []}',
    "a number beyond a double": b'{"version": 2, "columns": [{"name": "bb", "default": 1e400}]}',
}


@pytest.mark.parametrize("fault", UNREAD.values(), ids=UNREAD)
async def test_a_listed_version_that_is_not_read_ends_the_refresh(
    dependencies: Dependencies, fake_registry: FakeRegistry, fault: Any
) -> None:
    """Its successor cannot be judged without it: the rename would be lost."""
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, BB)
    fake_registry.serve(3, CC_TWICE)
    fake_registry.faults = {2: fault}
    for _ in range(2):
        result = await refresh_schema(dependencies, POLICY)
        assert (result.verdict, await active(dependencies)) == (RefreshVerdict.FAILED, 1)
        assert [o.version for o in result.outcomes] == [2]
        problem = (await get_schema_health(dependencies, POLICY)).problem
        assert problem.startswith("version 2 is failed: it is listed, but was not read: ")
    assert len(await dependencies.schemas.records()) == 2
    fake_registry.faults = {}
    await refresh_schema(dependencies, POLICY)
    assert await attributes(dependencies, project) == {"cc": "PRECIOUS"}
    assert (await get_schema_health(dependencies, POLICY)).problem == ""
    assert SchemaState.FAILED not in (await states(dependencies)).values()


async def test_a_version_that_is_never_read_is_passed_by_a_rejection_or_off_the_list(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    missing = fake_registry.faults
    fake_registry.serve(2, AA, "two")
    fake_registry.serve(3, AA, "three")
    fake_registry.serve(4, AA, "four")
    fake_registry.serve(5, AA, "five")
    missing |= {2: NotFound("the registry has none"), 4: NotFound("the registry has none")}
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="lost in a restore")
    result = await refresh_schema(dependencies, POLICY)
    assert [(o.version, o.verdict) for o in result.outcomes] == [
        (2, RefreshVerdict.UNCHANGED),
        (3, ADOPTED),
        (4, RefreshVerdict.FAILED),
    ]
    del fake_registry.documents[4]
    result = await refresh_schema(dependencies, POLICY)
    assert result.outcomes[0].detail.endswith("; not listed before it: 4")
    assert await active(dependencies) == 5
    assert (await get_schema_health(dependencies, POLICY)).problem == ""
    assert (await states(dependencies))[4] is SchemaState.WITHDRAWN


async def test_a_rejected_version_that_is_read_later_may_be_approved(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(2, AA, "two")
    fake_registry.faults = {2: NotFound("the registry has none")}
    await refresh_schema(dependencies, POLICY)
    with pytest.raises(NotFound, match="does not publish version 2"):
        await approve_schema(dependencies, POLICY, STEWARD, version=2, reason="needed")
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="lost")
    fake_registry.faults = {}
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.UNCHANGED
    await approve_schema(dependencies, POLICY, STEWARD, version=2, reason="found again")
    assert await active(dependencies) == 2


async def test_versions_published_between_the_list_and_the_latest_are_walked(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    list_versions = FakeRegistry.list_versions

    async def publish_after(registry: FakeRegistry, schema_id: str) -> Any:
        listed = await list_versions(registry, schema_id)
        registry.serve(2, BB)
        registry.serve(3, CC)
        return listed

    monkeypatch.setattr(FakeRegistry, "list_versions", publish_after)
    result = await refresh_schema(dependencies, POLICY)
    assert [(o.version, o.verdict) for o in result.outcomes] == [(2, ADOPTED), (3, QUARANTINED)]
    assert await attributes(dependencies, project) == {"bb": "PRECIOUS"}


@pytest.mark.parametrize("listed", [(1,), ()])
async def test_a_version_that_a_stale_list_lacks_waits_for_it(
    dependencies: Dependencies, fake_registry: FakeRegistry, listed: tuple[int, ...]
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, BB)
    fake_registry.serve(3, CC_TWICE)
    fake_registry.listed = listed
    for policy in (POLICY, pinned_policy(3)):
        result = await refresh_schema(dependencies, policy)
        assert (result.verdict, await active(dependencies)) == (RefreshVerdict.FAILED, 1)
        assert "version 3: the registry serves it, but its list" in result.detail
    assert "version 3 is failed" in (await get_schema_health(dependencies, POLICY)).problem
    fake_registry.listed = None
    await refresh_schema(dependencies, POLICY)
    assert await attributes(dependencies, project) == {"cc": "PRECIOUS"}
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_a_list_that_begins_after_the_active_version_needs_an_approval(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, BB)
    fake_registry.serve(3, CC_TWICE)
    fake_registry.serve(4, CC_TWICE, "four")
    fake_registry.listed = (3, 4)
    result = await refresh_schema(dependencies, POLICY)
    assert (result.verdict, await active(dependencies)) == (RefreshVerdict.FAILED, 1)
    assert "the registry's list begins with it, and version 1 is active" in result.detail
    await approve_schema(dependencies, POLICY, STEWARD, version=3, reason="2 was never used")
    assert (await refresh_schema(dependencies, POLICY)).verdict is ADOPTED
    assert await active(dependencies) == 4
    assert await attributes(dependencies, project) == {"cc": "PRECIOUS"}


async def test_a_rejected_first_version_of_a_gap_leaves_the_next_to_a_decision(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.documents[5] = b"<!doctype html>"
    fake_registry.serve(6, AA, "six")
    fake_registry.listed = (5, 6)
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=5, reason="never published")
    for _ in range(2):
        result = await refresh_schema(dependencies, POLICY)
        assert (result.verdict, await active(dependencies)) == (RefreshVerdict.FAILED, 1)
        health = await get_schema_health(dependencies, POLICY)
        assert "version 6 is failed: the registry's list begins with it" in health.problem
    await approve_schema(dependencies, POLICY, STEWARD, version=6, reason="agreed")
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == 6
    assert (await attributes(dependencies, project))["aa"] == "PRECIOUS"
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_documents_without_a_number_have_that_of_the_list(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """An added number would drift from that of the registry, and block its later versions."""

    def publish(number: int, *columns: Any) -> None:
        fake_registry.documents[number] = fake_registry.serve(None, *columns)

    publish(1, AA)
    await begin_again(dependencies)
    publish(2, AA, "two")
    await refresh_schema(dependencies, POLICY)
    publish(2, AA, "two", "more")
    result = await refresh_schema(dependencies, POLICY)
    assert (result.verdict, await active(dependencies)) == (QUARANTINED, 2)
    assert "version 2 is known with another content" in result.detail
    publish(2, AA, "two")
    for number in (3, 4, 5):
        publish(number, AA, "two", f"column_{number}")
        await refresh_schema(dependencies, POLICY)
        assert await active(dependencies) == number
    # The latest is ahead of the list.
    latest = fake_registry.serve(None, AA, "two", "six")
    result = await refresh_schema(dependencies, POLICY)
    assert (result.verdict, await active(dependencies)) == (RefreshVerdict.FAILED, 5)
    fake_registry.documents[6] = latest
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == 6
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_the_summary_of_many_bad_versions_is_short(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    last = 2 * MAX_SENTENCES + 1
    for version in range(2, last):
        required = {"name": f"needed_{version}", "type": "integer", "required": True}
        fake_registry.serve(version, AA, required)
    fake_registry.serve(last, AA, {"name": "extra", "type": "integer"})
    result = await refresh_schema(dependencies, POLICY)
    assert (result.verdict, await active(dependencies)) == (ADOPTED, last)
    assert len(result.outcomes) == last - 1
    sentences = result.detail.split("; ")
    assert sentences[0].endswith("other versions: see outcomes")
    assert sentences[-1].startswith(f"version {last} took over")
    assert len(sentences) <= MAX_SENTENCES + 1


async def test_more_bad_versions_than_a_refresh_meets_do_not_hide_a_good_one(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "MAX_WALK", 3)
    await begin(dependencies, fake_registry, AA)
    for version in range(2, 9):
        fake_registry.serve(version, {**NUMBER, "description": f"Text {version}."})
    fake_registry.serve(9, AA, {"name": "extra", "type": "integer"})
    met: list[int] = []
    state = dependencies.refresh_states.of_kind("project")
    for _ in range(3):
        result = await refresh_schema(dependencies, POLICY, should_retry=False, is_continued=True)
        met += [outcome.version for outcome in result.outcomes]
    assert met == [*range(2, 10)]
    assert (await active(dependencies), state.mark) == (9, None)
    # A mark behind another active version says nothing.
    state.mark = WalkMark(active_version=1, reached=12, fingerprints={})
    fake_registry.serve(10, AA)
    result = await refresh_schema(dependencies, POLICY, is_continued=True)
    assert (result.verdict, await active(dependencies)) == (ADOPTED, 10)


async def test_a_number_filled_in_below_the_active_version_is_not_taken(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project_id = await begin(dependencies, fake_registry, AA, aa="A")
    newest = fake_registry.serve(5, AA, {"name": "extra", "type": "integer"})
    await refresh_schema(dependencies, POLICY)
    fake_registry.serve(3, BB)
    fake_registry.latest = newest
    result = await refresh_schema(dependencies, POLICY)
    assert (result.verdict, await active(dependencies)) == (RefreshVerdict.UNCHANGED, 5)
    assert await attributes(dependencies, project_id) == {"aa": "A"}
    # The registry withdraws the active version: the store keeps it, and its data.
    del fake_registry.documents[5]
    fake_registry.latest = fake_registry.documents[3]
    result = await refresh_schema(dependencies, POLICY)
    assert (result.verdict, await active(dependencies)) == (QUARANTINED, 5)
    assert "is older than version 5" in result.detail
    fake_registry.serve(6, AA)
    await refresh_schema(dependencies, POLICY)
    assert (await active(dependencies), await states(dependencies)) == (
        6,
        {
            1: SchemaState.RETIRED,
            3: SchemaState.QUARANTINED,
            5: SchemaState.RETIRED,
            6: SchemaState.ACTIVE,
        },
    )
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_another_order_of_columns_migrates_nothing(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    extra = {"name": "extra", "type": "integer"}
    project_id = await begin(dependencies, fake_registry, AA, extra, aa="A")
    fake_registry.serve(2, extra, AA)
    result = await refresh_schema(dependencies, POLICY)
    assert result.migration is not None
    assert (result.verdict, result.migration.steps, result.migration.rows) == (ADOPTED, (), 0)
    assert await attributes(dependencies, project_id) == {"aa": "A"}


async def test_a_pin_is_walked_to(dependencies: Dependencies, fake_registry: FakeRegistry) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    for number, column in enumerate((BB, CC_TWICE, {**CC_TWICE, "type": "string(20)"}), start=2):
        fake_registry.serve(number, column)
    result = await refresh_schema(dependencies, pinned_policy(3))
    assert [o.version for o in result.outcomes] == [2, 3]
    assert await active(dependencies) == 3
    assert await attributes(dependencies, project) == {"cc": "PRECIOUS"}


async def test_a_store_without_projects_takes_the_newest_valid_version(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(1, AA)
    await ensure_active_schema(dependencies, POLICY)
    fake_registry.serve(2, BB)
    fake_registry.serve(3, NUMBER)
    fake_registry.serve(4, 'x"; drop table journal; --')
    result = await refresh_schema(dependencies, POLICY)
    assert [(o.version, o.verdict) for o in result.outcomes] == [(4, QUARANTINED), (3, ADOPTED)]
    assert await active(dependencies) == 3


@pytest.mark.parametrize("jump", [MAX_VERSION, 2**31 - 1, 10**18])
async def test_a_jump_of_the_numbers_does_not_end_evolution(
    dependencies: Dependencies, fake_registry: FakeRegistry, jump: int
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(jump, AA, "far")
    if jump > MAX_VERSION:
        fake_registry.documents[1] = fake_registry.documents.pop(jump)
        fake_registry.serve(1, AA)
    result = await refresh_schema(dependencies, POLICY)
    assert result.verdict in {QUARANTINED, RefreshVerdict.UNCHANGED}
    assert await active(dependencies) == 1
    fake_registry.serve(2, AA, "one")
    assert (await refresh_schema(dependencies, POLICY)).verdict is ADOPTED
    assert await active(dependencies) == 2


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ({"type": "string(2)", "pattern": "[A-Z]{3}"}, "needs 3 characters, and it has at most 2"),
        ({"type": "string", "pattern": r"[^\s\S]"}, "no text matches its pattern"),
    ],
)
async def test_a_column_that_no_value_fits_is_quarantined_and_cannot_be_approved(
    dependencies: Dependencies, fake_registry: FakeRegistry, column: dict[str, Any], reason: str
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(2, AA, {"name": "grade", **column})
    result = await refresh_schema(dependencies, POLICY)
    assert result.verdict is QUARANTINED
    assert "/columns/grade/pattern of version 2 excludes every value" in result.detail
    assert reason in result.detail
    with pytest.raises(Conflict, match="excludes every value"):
        await approve_schema(dependencies, POLICY, STEWARD, version=2, reason="as agreed")
    assert await active(dependencies) == 1


async def test_a_jump_that_was_approved_can_be_taken_back(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(MAX_VERSION, AA, "far")
    await refresh_schema(dependencies, POLICY)
    await approve_schema(dependencies, POLICY, STEWARD, version=MAX_VERSION, reason="a mistake")
    fake_registry.serve(2, AA, "far", "one")
    result = await refresh_schema(dependencies, POLICY)
    assert "approve it to go back" in result.detail
    assert await active(dependencies) == MAX_VERSION
    with pytest.raises(NotFound):
        await approve_schema(dependencies, POLICY, STEWARD, version=3, reason="not published")
    with pytest.raises(Conflict, match="adopted before"):
        await approve_schema(dependencies, POLICY, STEWARD, version=1, reason="content of old")
    await approve_schema(dependencies, POLICY, STEWARD, version=2, reason="back to the old numbers")
    assert await active(dependencies) == 2
    fake_registry.serve(3, {**AA, "type": "string(20)"}, "far", "one")
    assert (await refresh_schema(dependencies, POLICY)).verdict is ADOPTED
    assert [s.version for s in await dependencies.schemas.version_history()] == [
        *(3, 2, MAX_VERSION, 1)
    ]
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
    assert (await get_schema_health(dependencies, POLICY)).problem == ""
    # Clients of the number that was taken back are still served.
    aggregate = await get_project(dependencies, STEWARD, project)
    former = await convert_to_version(dependencies, aggregate, MAX_VERSION)
    assert (former.schema_version, dict(former.state.attributes)) == (
        MAX_VERSION,
        {"aa": "PRECIOUS"},
    )


async def test_health_forgets_a_bad_version_that_the_registry_withdrew(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA, aa="A")
    good = fake_registry.latest
    fake_registry.serve(2, NUMBER)
    await refresh_schema(dependencies, POLICY)
    assert "version 2 is quarantined" in (await get_schema_health(dependencies, POLICY)).problem
    del fake_registry.documents[2]
    fake_registry.latest = good
    await refresh_schema(dependencies, POLICY, should_retry=False)
    assert (await get_schema_health(dependencies, POLICY)).problem == ""
    assert await states(dependencies) == {1: SchemaState.ACTIVE, 2: SchemaState.WITHDRAWN}
    with pytest.raises(Conflict, match="no longer publishes version 2"):
        await approve_schema(dependencies, POLICY, STEWARD, version=2, reason="still wanted")
    fake_registry.serve(2, NUMBER)
    await refresh_schema(dependencies, POLICY, should_retry=False)
    assert (await states(dependencies))[2] is SchemaState.QUARANTINED


async def test_another_content_of_a_quarantined_number_replaces_it(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA, aa="A")
    fake_registry.serve(2, NUMBER)
    await refresh_schema(dependencies, POLICY)
    fake_registry.serve(2, {**NUMBER, "unit": "1"})
    await refresh_schema(dependencies, POLICY)
    records = [(r.schema.version, r.state) for r in await dependencies.schemas.records()]
    assert records[1:] == [(2, SchemaState.REPLACED), (2, SchemaState.QUARANTINED)]


async def test_a_pulled_sunset_is_quarantined_with_the_removal_that_it_would_allow(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    today = datetime.now(UTC).date()
    due = {"name": "due", "type": "integer", "required": True, "default": 7}
    await begin(dependencies, fake_registry, due, due=7)
    notice = {**due, "deprecated": True}
    fake_registry.serve(2, {**notice, "sunset": str(today + DAY)})
    fake_registry.serve(3, {**notice, "sunset": str(today - DAY)})
    fake_registry.serve(4, "other")
    result = await refresh_schema(dependencies, POLICY)
    assert [o.verdict for o in result.outcomes] == [ADOPTED, QUARANTINED, QUARANTINED]
    assert "too little notice" in result.outcomes[1].detail
    assert "too early" in result.outcomes[2].detail
