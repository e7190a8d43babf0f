"""Decisions follow from the last content of each number, the rejections, and what is unread now."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.application.fake_registry import POLICY, FakeRegistry, pinned_policy, schema_policy
from tests.application.schemas.test_refresh import (
    AA,
    ADOPTED,
    BB,
    CC,
    DAY,
    QUARANTINED,
    STEWARD,
    active,
    attributes,
    begin,
    states,
)

from spawn.adapters.embedded import schema_history
from spawn.adapters.local.clock import SystemClock
from spawn.application.dependencies import Dependencies
from spawn.application.projects.commands import amend_project
from spawn.application.schemas import activation, refresh
from spawn.application.schemas.activation import RefreshResult, RefreshVerdict, get_schema_health
from spawn.application.schemas.adoptions import violations
from spawn.application.schemas.adoptions.proposals import check_schema
from spawn.application.schemas.adoptions.steward_decisions import (
    approve_schema,
    reject_schema,
)
from spawn.application.schemas.refresh import refresh_forever, refresh_schema
from spawn.application.schemas.versions import diff_versions, get_version
from spawn.domain.errors import NotFound, RegistryError, Unavailable
from spawn.domain.principal import LOCAL_PRINCIPAL
from spawn.domain.schemas.document_parser import (
    MAX_NAMES,
    compute_fingerprint,
    read_column_aliases,
)
from spawn.domain.schemas.refresh_state import (
    PassedVersions,
    RefreshStates,
    build_passed_version,
)
from spawn.domain.schemas.validator import ProjectInput
from spawn.ports.schemas import SchemaState

FORBIDDEN = RegistryError("the registry responded with status 403")
PAGE = b"<!doctype html>"
NEEDED: dict[str, Any] = {"name": "needed", "type": "integer", "required": True}
PLAIN_BB: dict[str, Any] = {**BB, "aliases": []}
KEEP = "keep"


class MovedClock(SystemClock):
    """A clock that a test moves by days."""

    days = 0

    def now(self) -> datetime:
        return super().now() + timedelta(days=self.days)


def restart(dependencies: Dependencies) -> Dependencies:
    """Return the dependencies of a process that has read nothing yet."""
    return msgspec.structs.replace(dependencies, refresh_states=RefreshStates())


async def read_problem(dependencies: Dependencies) -> str:
    return (await get_schema_health(dependencies, POLICY)).problem


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("is_read_first", [False, True])
async def test_a_rejected_number_that_cannot_be_read_now_may_rename(
    dependencies: Dependencies,
    fake_registry: FakeRegistry,
    *,
    is_restarted: bool,
    is_read_first: bool,
) -> None:
    """Its content was read once, and another one is withheld since."""
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, AA, NEEDED)
    fake_registry.faults = {} if is_read_first else {2: FORBIDDEN}
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="no")
    fake_registry.serve(2, BB, NEEDED)
    fake_registry.serve(3, CC)
    fake_registry.faults = {2: FORBIDDEN}
    replica = restart(dependencies) if is_restarted else dependencies
    await refresh_schema(replica, POLICY)
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
    reason = "version 2, which is rejected and cannot be read now, may rename aa"
    assert (await read_problem(replica)).startswith(f"version 3 is quarantined: {reason}")
    fake_registry.faults = {}
    await refresh_schema(replica, POLICY, should_retry=False)
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
    assert "version 2, which is not adopted, renames aa to bb" in await read_problem(replica)


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize(
    "renames", [(True, False), (False, True), (True, False, True)], ids=["last", "first", "again"]
)
async def test_the_last_content_of_a_number_counts_once_it_is_withdrawn(
    dependencies: Dependencies,
    fake_registry: FakeRegistry,
    renames: tuple[bool, ...],
    *,
    is_restarted: bool,
) -> None:
    """What it had before does not, though all of it is recorded and rejected."""
    await begin(dependencies, fake_registry, AA, aa="A")
    first = fake_registry.latest
    for is_renaming in renames:
        fake_registry.serve(2, BB if is_renaming else AA, NEEDED)
        await refresh_schema(dependencies, POLICY)
        if (await states(dependencies))[2] is QUARANTINED.value:
            await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="no")
    del fake_registry.documents[2]
    fake_registry.latest = first
    await refresh_schema(dependencies, POLICY)
    fake_registry.serve(3, PLAIN_BB)
    replica = restart(dependencies) if is_restarted else dependencies
    result = await refresh_schema(replica, POLICY)
    expected = QUARANTINED if renames[-1] else ADOPTED
    assert [o.verdict for o in result.outcomes] == [expected]


@pytest.mark.parametrize("decision", [KEEP, "reject"])
async def test_correcting_a_number_releases_what_waits_for_it(
    dependencies: Dependencies, fake_registry: FakeRegistry, decision: str
) -> None:
    """The background refresh compares the later version again, whichever number it was."""
    await begin(dependencies, fake_registry, AA, aa="OBSOLETE")
    fake_registry.serve(1, BB)
    latest = fake_registry.serve(2, CC)
    await refresh_schema(dependencies, POLICY)
    if decision != KEEP:
        await reject_schema(dependencies, POLICY, STEWARD, version=1, reason="a slip")
    unchanged = await refresh_schema(dependencies, POLICY, should_retry=False)
    assert {o.verdict for o in unchanged.outcomes} == {RefreshVerdict.UNCHANGED}
    fake_registry.serve(1, AA)
    fake_registry.latest = latest
    await refresh_schema(dependencies, POLICY, should_retry=False)
    assert await active(dependencies) == 2
    assert await read_problem(dependencies) == ""


async def test_a_rejection_holds_again_once_its_content_is_published_again(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(2, AA, NEEDED)
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="no")
    fake_registry.serve(2, AA, NEEDED, "two")
    await refresh_schema(dependencies, POLICY)
    assert (await read_problem(dependencies)).startswith("version 2 is quarantined: ")
    fake_registry.serve(2, AA, NEEDED)
    await refresh_schema(dependencies, POLICY)
    states_of_two = [r.state for r in await dependencies.schemas.records() if r.schema.version == 2]
    assert states_of_two == [SchemaState.REJECTED, SchemaState.REPLACED]
    assert await read_problem(dependencies) == ""


async def test_versions_that_were_decided_leave_room_for_others(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those that wait for a decision count."""
    monkeypatch.setattr(activation, "MAX_WAITING", 2)
    await begin(dependencies, fake_registry, AA)
    for number in range(2, 6):
        fake_registry.serve(number, AA, NEEDED, f"c{number}")
        await refresh_schema(dependencies, POLICY)
        await reject_schema(dependencies, POLICY, STEWARD, version=number, reason="no")
    fake_registry.serve(6, AA, "six")
    fake_registry.faults = {6: FORBIDDEN}
    await refresh_schema(dependencies, POLICY)
    assert (await read_problem(dependencies)).startswith("version 6 is failed: it is listed, but")
    await reject_schema(dependencies, POLICY, STEWARD, version=6, reason="never published")


async def test_contents_of_a_document_that_changes_all_the_time_are_limited(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one is recorded all the same, and may be rejected."""
    monkeypatch.setattr(schema_history, "MAX_REPLACED", 2)
    await begin(dependencies, fake_registry, AA)
    for number in range(6):
        fake_registry.serve(2, AA, NEEDED, description=f"built {number}")
        await refresh_schema(dependencies, POLICY)
    last = fake_registry.latest
    records = await dependencies.schemas.records()
    replaced = SchemaState.REPLACED
    expected = [SchemaState.ACTIVE, replaced, replaced, SchemaState.QUARANTINED]
    assert [record.state for record in records] == expected
    assert records[-1].document == last
    assert len(dependencies.refresh_states.of_kind("project").decisions) == 1
    fake_registry.serve(3, AA, "three")
    fake_registry.faults = {2: FORBIDDEN}
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="no")
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == 3


async def test_a_version_that_was_too_early_is_adopted_once_the_sunset_has_passed(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    clock = MovedClock()
    moved = msgspec.structs.replace(dependencies, clock=clock)
    required = {**AA, "required": True}
    await begin(moved, fake_registry, required, aa="A")
    sunset = str(clock.now().date() + 2 * DAY)
    fake_registry.serve(2, {**required, "deprecated": True, "sunset": sunset})
    await refresh_schema(moved, POLICY)
    fake_registry.serve(3, "other")
    results: list[RefreshResult] = []

    async def pause(_: float) -> None:
        clock.days += len(results) % 2  # every day is met twice
        if len(results) == 5:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await refresh_forever(moved, POLICY, report=results.append, sleep=pause)
    same = RefreshVerdict.UNCHANGED
    assert [result.verdict for result in results] == [QUARANTINED, same, same, ADOPTED, same]


@pytest.mark.parametrize("fault", [FORBIDDEN, PAGE], ids=["forbidden", "a page"])
async def test_an_approval_ends_the_rejection_of_a_number_and_another_one_begins_it_again(
    dependencies: Dependencies, fake_registry: FakeRegistry, fault: Any
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(2, AA, "two")
    fake_registry.faults = {2: fault}
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="no")
    fake_registry.faults = {}
    await approve_schema(dependencies, POLICY, STEWARD, version=2, reason="served after all")
    fake_registry.serve(3, AA, "two", "three")
    fake_registry.faults = {2: fault}
    await refresh_schema(dependencies, POLICY)
    assert (await read_problem(dependencies)).startswith("version 2 is failed: it is listed, but")
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="go on without it")
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == 3
    assert await read_problem(dependencies) == ""


async def test_adopted_versions_are_not_passed_over_in_any_mode(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """The end in mode none is that of a restarted process."""
    policy = schema_policy(mode="none")
    plain = {"name": "bb", "type": "string(9)"}
    project = await begin(dependencies, fake_registry, AA, plain, aa="A", bb="B")
    fake_registry.serve(2, plain)
    await refresh_schema(dependencies, policy, should_retry=False)
    fake_registry.serve(3, {**CC, "aliases": ["bb", "aa"]})
    await refresh_schema(dependencies, policy, should_retry=False)
    fake_registry.serve(4, {"name": "dd", "type": "string(9)", "aliases": ["cc", "bb"]})
    await refresh_schema(dependencies, policy, should_retry=False)
    assert await active(dependencies) == 4
    assert await attributes(dependencies, project) == {"dd": "B"}


@pytest.mark.parametrize("is_unread", [False, True])
async def test_a_rejected_version_may_restore_a_removed_column(
    dependencies: Dependencies, fake_registry: FakeRegistry, *, is_unread: bool
) -> None:
    await begin(dependencies, fake_registry, AA, "zz", aa="PRECIOUS")
    fake_registry.serve(2, "zz")
    await refresh_schema(dependencies, POLICY)
    fake_registry.serve(3, "zz", BB, NEEDED)
    fake_registry.faults = {3: FORBIDDEN} if is_unread else {}
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=3, reason="no")
    fake_registry.serve(4, "zz", "another")
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == 4  # no value of aa could be in a date
    fake_registry.serve(5, "zz", "another", PLAIN_BB)
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == 4


async def test_without_a_list_an_invalid_latest_version_holds_up_none_before_it(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.has_list = False
    fake_registry.serve(2, AA, "two")
    fake_registry.serve(3, {"name": "Bad name"})
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == 2
    assert (await read_problem(dependencies)).startswith("version 3 is quarantined: ")


async def test_a_dry_run_knows_that_a_number_was_rejected(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    document = fake_registry.serve(2, AA, "two")
    fake_registry.faults = {2: FORBIDDEN}
    await refresh_schema(dependencies, POLICY)
    assert (await check_schema(dependencies, POLICY, STEWARD, document)).is_adoptable
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="no")
    for _ in range(2):
        proposal = await check_schema(dependencies, POLICY, STEWARD, document)
        assert (proposal.is_adoptable, proposal.violation) == (
            False,
            "version 2 was rejected: approve it",
        )
        fake_registry.faults = {}
        await refresh_schema(dependencies, POLICY)


async def test_a_rejected_number_behind_a_gap_is_no_complaint_again(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(5, AA, "five")
    fake_registry.listed = (5,)
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=5, reason="no")
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.UNCHANGED
    assert await read_problem(dependencies) == ""


async def test_versions_are_withdrawn_before_a_pin_that_is_not_published(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    first = fake_registry.latest
    fake_registry.serve(2, AA, NEEDED)
    await refresh_schema(dependencies, POLICY)
    del fake_registry.documents[2]
    fake_registry.latest = first
    with pytest.raises(NotFound):
        await refresh_schema(dependencies, pinned_policy(7))
    assert (await states(dependencies))[2] is SchemaState.WITHDRAWN


@pytest.mark.parametrize("has_list", [True, False])
@pytest.mark.parametrize("is_changed", [True, False])
async def test_an_active_number_that_cannot_be_read_now_may_rename(
    dependencies: Dependencies, fake_registry: FakeRegistry, *, has_list: bool, is_changed: bool
) -> None:
    """The list lacks it, or there is none; the next refresh reads it and decides again."""
    project = await begin(dependencies, fake_registry, AA, "zz", aa="PRECIOUS")
    fake_registry.has_list, fake_registry.listed = has_list, (2,)
    if is_changed:
        fake_registry.serve(1, BB, "zz")
    fake_registry.serve(2, CC, "zz")
    fake_registry.faults = {1: RegistryError("the registry responded with status 503")}
    await refresh_schema(dependencies, POLICY)
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}
    reason = "version 1, which is active and cannot be read now, may rename aa"
    assert (await read_problem(dependencies)).startswith(f"version 2 is quarantined: {reason}")
    fake_registry.faults = {}
    await refresh_schema(dependencies, POLICY, should_retry=False)
    assert await active(dependencies) == (1 if is_changed else 2)
    fake_registry.faults = {1: NotFound("none")}
    await refresh_schema(dependencies, POLICY, should_retry=False)
    assert await active(dependencies) == (1 if is_changed else 2)


@pytest.mark.parametrize("wide", ["bigint", "double"])
async def test_an_unread_version_may_restore_a_column_that_the_next_one_widens(
    dependencies: Dependencies, fake_registry: FakeRegistry, wide: str
) -> None:
    await begin(dependencies, fake_registry, {"name": "aa", "type": "integer"}, "zz", aa=7)
    fake_registry.serve(2, "zz")
    await refresh_schema(dependencies, POLICY)
    fake_registry.serve(3, "zz", NEEDED)
    fake_registry.faults = {3: FORBIDDEN}
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=3, reason="no")
    fake_registry.serve(4, "zz", {"name": "bb", "type": wide})
    assert (await refresh_schema(dependencies, POLICY)).verdict is QUARANTINED
    reason = "version 3, which is rejected and cannot be read now, may rename aa"
    assert (await read_problem(dependencies)).startswith(f"version 4 is quarantined: {reason}")


async def test_a_failure_while_mended_data_are_checked_is_tried_again(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = schema_policy(mode="none")
    project = await begin(dependencies, fake_registry, AA, aa="LONGVALUE")
    fake_registry.serve(2, {**AA, "pattern": "[A-Z]{1,3}"})
    await refresh_schema(dependencies, policy, should_retry=False)
    mended = ProjectInput({}, {"aa": "OK"}, {})
    await amend_project(dependencies, STEWARD, project, attributes=mended)

    async def fail(*_: Any, **__: Any) -> Any:
        raise Unavailable("The query was interrupted.")

    with monkeypatch.context() as patch:
        patch.setattr(dependencies.schemas, "check_proofs", fail)
        result = await refresh_schema(dependencies, policy, should_retry=False)
    assert result.verdict is RefreshVerdict.FAILED
    await refresh_schema(dependencies, policy, should_retry=False)
    assert await active(dependencies) == 2


@pytest.mark.parametrize("state", [SchemaState.WITHDRAWN, SchemaState.REJECTED])
@pytest.mark.parametrize("is_back", [False, True])
async def test_a_content_from_before_the_adoption_of_its_number_is_settled(
    dependencies: Dependencies, fake_registry: FakeRegistry, state: SchemaState, *, is_back: bool
) -> None:
    """An earlier release left it in its state; it counts once it is published again."""
    await begin(dependencies, fake_registry, AA, aa="A")
    first = fake_registry.serve(2, BB, NEEDED)
    await refresh_schema(dependencies, POLICY)
    if state is SchemaState.REJECTED:
        await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="no")
    record = next(r for r in await dependencies.schemas.records() if r.document == first)
    fake_registry.serve(2, AA, "two")
    await refresh_schema(dependencies, POLICY)
    await dependencies.schemas.record(msgspec.structs.replace(record, state=state))
    fake_registry.serve(3, AA, "two", "bb")
    fake_registry.listed = (3,)
    if is_back:
        fake_registry.documents[2] = first
    else:
        del fake_registry.documents[2]
    await refresh_schema(restart(dependencies), POLICY)
    assert await active(dependencies) == (2 if is_back else 3)


async def test_a_rejection_covers_the_contents_that_were_replaced(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """The data were mended since, so that a refresh would adopt the first one."""
    policy = schema_policy(mode="none")
    project = await begin(dependencies, fake_registry, AA, aa="LONGVALUE")
    first = fake_registry.serve(2, {**AA, "pattern": "[A-Z]{1,3}"})
    await refresh_schema(dependencies, policy)
    fake_registry.serve(2, {**AA, "pattern": "[A-Z]{1,3}"}, NEEDED)
    await refresh_schema(dependencies, policy)
    await reject_schema(dependencies, policy, STEWARD, version=2, reason="never")
    mended = ProjectInput({}, {"aa": "OK"}, {})
    await amend_project(dependencies, STEWARD, project, attributes=mended)
    fake_registry.documents[2] = fake_registry.latest = first
    await refresh_schema(dependencies, policy)
    assert await active(dependencies) == 1
    states_of_two = [r.state for r in await dependencies.schemas.records() if r.schema.version == 2]
    assert states_of_two == [SchemaState.REJECTED, SchemaState.REPLACED]


async def test_a_recorded_number_behind_ten_unused_ones_is_read_again(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(20, AA, NEEDED)
    fake_registry.listed = (1, 20)
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=20, reason="no")
    fake_registry.serve(20, BB, NEEDED)
    fake_registry.serve(40, CC)
    fake_registry.listed = (1, 40)
    await refresh_schema(dependencies, POLICY)
    reason = "version 20, which is not adopted, renames aa to bb"
    assert (await read_problem(dependencies)).startswith(f"version 40 is quarantined: {reason}")


async def test_a_number_shows_its_newest_content_and_health_no_earlier_one(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    for number in range(3):
        fake_registry.serve(2, AA, NEEDED, f"c{number}")
        await refresh_schema(dependencies, POLICY)
    record = await get_version(dependencies, LOCAL_PRINCIPAL, "project_schema", 2)
    assert record.document == fake_registry.latest
    comparison, _ = await diff_versions(
        dependencies, LOCAL_PRINCIPAL, "project_schema", old=1, new=2
    )
    assert "/columns/c2" in {finding.path for finding in comparison.findings}
    waiting = (await get_schema_health(dependencies, POLICY)).waiting
    assert [one.document for one in waiting] == [fake_registry.latest]


async def test_a_dry_run_knows_that_a_content_was_rejected_and_replaced(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    first = fake_registry.serve(2, AA, "two", NEEDED)
    await refresh_schema(dependencies, POLICY)
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="no")
    fake_registry.serve(2, AA, NEEDED)
    await refresh_schema(dependencies, POLICY)
    violation = (await check_schema(dependencies, POLICY, STEWARD, first)).violation
    assert violation == "version 2 was rejected: approve it"


async def test_the_same_invalid_document_under_two_numbers_waits_under_both(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, AA)
    document = b'{"name": "P", "columns": [{"name": "zz", "type": "nonsense"}]}'
    fake_registry.documents |= {2: document, 3: document}
    fake_registry.latest = document
    await refresh_schema(dependencies, POLICY)
    assert (await states(dependencies))[3] is SchemaState.QUARANTINED
    await reject_schema(dependencies, POLICY, STEWARD, version=3, reason="no")


async def test_a_failure_behind_a_mark_begins_at_the_active_version_again(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first version is corrected while a later one cannot be read."""
    monkeypatch.setattr(refresh, "MAX_WALK", 2)
    await begin(dependencies, fake_registry, AA)
    for number in range(2, 5):
        fake_registry.serve(number, AA, NEEDED, f"c{number}")
    fake_registry.faults = {4: FORBIDDEN}
    for _ in range(2):
        await refresh_schema(dependencies, POLICY, is_continued=True)
    fake_registry.serve(2, AA, "good")
    await refresh_schema(dependencies, POLICY, is_continued=True)
    assert await active(dependencies) == 2


async def test_health_reports_an_error_that_ends_the_loop_until_a_refresh_succeeds(
    dependencies: Dependencies, fake_registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(dependencies, fake_registry, AA)
    results: list[RefreshResult] = []

    async def fail(*_: Any) -> Any:
        raise UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range(128)")

    async def pause(_: float) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(fake_registry, "list_versions", fail)
        with pytest.raises(UnicodeEncodeError):
            await refresh_forever(dependencies, POLICY, report=results.append, sleep=pause)
    problem = "the refresh ended with an unexpected error: UnicodeEncodeError"
    assert await read_problem(dependencies) == problem
    with pytest.raises(asyncio.CancelledError):
        await refresh_forever(dependencies, POLICY, report=results.append, sleep=pause)
    assert await read_problem(dependencies) == ""


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("renaming_room", [1, 2], ids=["full", "room"])
async def test_a_rename_that_waits_beyond_the_others_counts_once_it_is_withdrawn(
    dependencies: Dependencies,
    fake_registry: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    renaming_room: int,
    *,
    is_restarted: bool,
) -> None:
    """Nothing is removed while there is no room for another rename."""
    monkeypatch.setattr(activation, "MAX_WAITING", 1)
    for module in (activation, violations):
        monkeypatch.setattr(module, "MAX_RENAMING", renaming_room)
    project = await begin(dependencies, fake_registry, AA, aa="PRECIOUS")
    fake_registry.serve(2, AA, NEEDED)
    fake_registry.serve(3, BB, NEEDED)
    await refresh_schema(dependencies, POLICY)
    del fake_registry.documents[3]
    await refresh_schema(dependencies, POLICY)
    replica = restart(dependencies) if is_restarted else dependencies
    fake_registry.serve(4, PLAIN_BB)
    result = await refresh_schema(replica, POLICY)
    reasons = {
        1: "1 versions wait, so that another one is not recorded, which may rename aa",
        2: "version 3, which is not adopted, renames aa to bb, and version 4 follows it",
    }
    assert reasons[renaming_room] in result.detail
    assert await attributes(dependencies, project) == {"aa": "PRECIOUS"}


async def test_a_document_of_more_names_than_a_version_may_have_is_none(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    """It would be read again, and kept, at each refresh; a rejection goes on without it."""
    await begin(dependencies, fake_registry, AA)
    fake_registry.serve(2, {**AA, "aliases": [f"a{n}" for n in range(MAX_NAMES)]})
    result = await refresh_schema(dependencies, POLICY)
    assert (result.verdict, result.outcomes[0].version) == (RefreshVerdict.FAILED, 2)
    assert read_column_aliases(fake_registry.documents[2]) == {}
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="too large")
    fake_registry.serve(3, AA, "three")
    await refresh_schema(dependencies, POLICY)
    assert await active(dependencies) == 3


def test_only_the_renames_of_the_last_selection_are_kept() -> None:
    passed_versions = PassedVersions()
    documents = [b'{"version": 2, "columns": [{"name": "bb", "aliases": ["aa"]}]}', b"{}"]
    for document in documents:
        content = (2, compute_fingerprint(document))
        selected_versions = passed_versions.select({content: document})
        assert selected_versions == {content: build_passed_version(2, document)}


@pytest.mark.parametrize("bad_columns", [(), ({"name": "Bad name"},)], ids=["valid", "invalid"])
async def test_a_latest_document_that_differs_from_that_of_its_number_counts_for_nothing(
    dependencies: Dependencies, fake_registry: FakeRegistry, bad_columns: tuple[Any, ...]
) -> None:
    """Each refresh had recorded both contents, one after the other."""
    await begin(dependencies, fake_registry, AA)
    second = fake_registry.serve(2, AA, NEEDED)
    fake_registry.serve(2, AA, NEEDED, "more", *bad_columns)
    fake_registry.documents[2] = second
    for _ in range(2):
        await refresh_schema(dependencies, POLICY)
    documents = [record.document for record in await dependencies.schemas.records()]
    assert documents == [fake_registry.documents[1], second]
