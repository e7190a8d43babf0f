"""An approved command of several changes is finished after a crash, once and only once."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from spawn.application.approvals.decisions import (
    ApprovedCommand,
    decide_approval,
    finish_interrupted_commands,
)
from spawn.application.approvals.previews import preview_command
from spawn.application.approvals.requests import CommandText, request_approval
from spawn.application.dependencies import Dependencies
from spawn.application.health import MAX_EXECUTING_S, HealthStatus, check_approvals
from spawn.application.projects.commands import amend_project, create_project
from spawn.domain.approvals.approval import (
    APPROVAL_KIND,
    Approval,
    ApprovalState,
    CommandPreview,
    Verdict,
)
from spawn.domain.change import Guard, StoredAggregate
from spawn.domain.errors import Conflict, NotFound, StorageFull
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.project import PROJECT_KIND

MAKER = Principal(id="token:maker", scopes=frozenset({Scope.PROJECTS_WRITE}))
CHECKER = Principal(id="token:checker", scopes=frozenset({Scope.APPROVALS_DECIDE}))
BODY = b'{"project_name": "Sierra", "total_amount": "1", "currency_code": "EUR"}'


class Crash(BaseException):
    """The end of the process, as far as the use case can tell."""


class SteppedCommand:
    """An amendment that is declared to be more than one change, and where it crashes."""

    def __init__(self, dependencies: Dependencies, project_id: str) -> None:
        self.dependencies = dependencies
        self.project_id = project_id
        self.crashes_before = False
        self.crashes_after = False

    def find(self, _: Approval) -> ApprovedCommand:
        return ApprovedCommand(scopes=(Scope.PROJECTS_WRITE,), run=self._run, check=self.check)

    async def amend(self, dependencies: Dependencies) -> None:
        validator = await dependencies.validator()
        today = dependencies.clock.now().date()
        attributes = validator.read(parse_object(b'{"dscr": 2}'), partial=True, on_date=today)
        await amend_project(dependencies, MAKER, self.project_id, attributes=attributes)

    async def check(self, _: Principal, dependencies: Dependencies) -> CommandPreview:
        preview = await preview_command(dependencies, self.amend)
        guard = Guard(PROJECT_KIND, self.project_id, preview.rests_on[0].expected_version + 1)
        return msgspec.structs.replace(preview, results_in=(guard,))

    async def _run(self, _: Principal, dependencies: Dependencies) -> None:
        if self.crashes_before:
            raise Crash
        await self.amend(dependencies)
        if self.crashes_after:
            raise Crash

    async def request(self) -> StoredAggregate[Approval]:
        text = CommandText(
            command="amendProject",
            target=f"/v1/ops/projects/{self.project_id}",
            parameters={"project_id": self.project_id},
            body='{"dscr":2}',
            content_type="application/json",
            if_match=None,
        )
        preview = await self.check(MAKER, self.dependencies)
        requested = await request_approval(
            self.dependencies, MAKER, text, preview, lifetime=timedelta(hours=1)
        )
        assert requested.approval is not None
        return requested.approval

    async def approve(self, approval_id: str) -> StoredAggregate[Approval]:
        return await decide_approval(
            self.dependencies,
            CHECKER,
            approval_id,
            Verdict.APPROVE,
            "agreed",
            find_command=self.find,
        )

    async def read_state(self, approval_id: str) -> ApprovalState:
        aggregate = await self.dependencies.reads.get(APPROVAL_KIND, approval_id)
        state: ApprovalState = aggregate.state.state
        return state

    async def read_version(self) -> int:
        return (await self.dependencies.reads.head(PROJECT_KIND, self.project_id)).version


@pytest.fixture
async def command(dependencies: Dependencies) -> SteppedCommand:
    validator = await dependencies.validator()
    today = dependencies.clock.now().date()
    attributes = validator.read(parse_object(BODY), on_date=today)
    result = await create_project(dependencies, MAKER, attributes=attributes)
    assert result.aggregate is not None
    return SteppedCommand(dependencies, result.aggregate.id)


@pytest.mark.parametrize("place", ["crashes_before", "crashes_after"])
async def test_crash_is_repaired_at_the_next_start(command: SteppedCommand, place: str) -> None:
    approval = await command.request()
    setattr(command, place, True)
    with pytest.raises(Crash):
        await command.approve(approval.id)
    assert await command.read_state(approval.id) is ApprovalState.EXECUTING
    with pytest.raises(Conflict, match="executing"):
        await command.approve(approval.id)
    setattr(command, place, False)
    for count in (1, 0):
        assert await finish_interrupted_commands(command.dependencies, command.find) == count
        assert await command.read_state(approval.id) is ApprovalState.APPROVED
        assert await command.read_version() == 2


async def test_interrupted_command_that_rests_on_other_versions_has_failed(
    command: SteppedCommand,
) -> None:
    approval = await command.request()
    command.crashes_before = True
    with pytest.raises(Crash):
        await command.approve(approval.id)
    other = SteppedCommand(command.dependencies, command.project_id)
    validator = await command.dependencies.validator()
    for dscr in (b"3", b"4"):
        attributes = validator.read(parse_object(b'{"dscr": %s}' % dscr), partial=True)
        await amend_project(other.dependencies, MAKER, other.project_id, attributes=attributes)
    command.crashes_before = False
    await finish_interrupted_commands(command.dependencies, command.find)
    assert await command.read_state(approval.id) is ApprovalState.FAILED
    assert await command.read_version() == 3


async def test_command_that_this_release_does_not_have_fails(command: SteppedCommand) -> None:
    approval = await command.request()
    command.crashes_before = True
    with pytest.raises(Crash):
        await command.approve(approval.id)

    def find_nothing(_: Approval) -> ApprovedCommand:
        raise NotFound("This release has no such command.")

    await finish_interrupted_commands(command.dependencies, find_nothing)
    assert await command.read_state(approval.id) is ApprovalState.FAILED


async def test_a_client_that_leaves_does_not_interrupt_the_command(
    command: SteppedCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval, is_begun, may_end = await command.request(), asyncio.Event(), asyncio.Event()
    amend = command.amend

    async def amend_slowly(dependencies: Dependencies) -> None:
        if await command.read_state(approval.id) is ApprovalState.EXECUTING:
            is_begun.set()
            await may_end.wait()
        await amend(dependencies)

    monkeypatch.setattr(command, "amend", amend_slowly)
    decision = asyncio.create_task(command.approve(approval.id))
    await is_begun.wait()
    decision.cancel()
    with pytest.raises(asyncio.CancelledError):
        await decision
    may_end.set()
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    assert await command.read_state(approval.id) is ApprovalState.APPROVED


async def test_decision_that_cannot_be_written_leaves_command_and_approval_as_they_were(
    command: SteppedCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is one change here, and the disk is full at its commit."""
    approval = await command.request()
    single = ApprovedCommand(
        scopes=(Scope.PROJECTS_WRITE,), run=lambda _, ports: command.amend(ports)
    )

    async def fail(_: object) -> None:
        raise StorageFull("The disk is full.")

    def find(_: Approval) -> ApprovedCommand:
        return single

    async def approve() -> StoredAggregate[Approval]:
        return await decide_approval(
            command.dependencies, CHECKER, approval.id, Verdict.APPROVE, "x", find_command=find
        )

    with monkeypatch.context() as patch:
        patch.setattr(command.dependencies.commands, "commit", fail)
        with pytest.raises(StorageFull):
            await approve()
    assert await command.read_state(approval.id) is ApprovalState.PENDING
    assert await command.read_version() == 1
    assert (await approve()).state.state is ApprovalState.APPROVED
    assert await command.read_version() == 2


async def test_health_names_a_command_that_does_not_end(
    command: SteppedCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval = await command.request()
    command.crashes_before = True
    with pytest.raises(Crash):
        await command.approve(approval.id)
    check: dict[str, Any] = dict(await check_approvals(command.dependencies))
    assert (check["status"], check["executing"]) == (HealthStatus.OK, 1)
    now = command.dependencies.clock.now() + timedelta(seconds=MAX_EXECUTING_S + 1)
    monkeypatch.setattr(type(command.dependencies.clock), "now", lambda _: now)
    check = dict(await check_approvals(command.dependencies))
    assert (check["status"], approval.id in check["detail"]) == (HealthStatus.DEGRADED, True)
    monkeypatch.undo()
    command.crashes_before = False
    await finish_interrupted_commands(command.dependencies, command.find)
    check = dict(await check_approvals(command.dependencies))
    assert check["executing"] == 0
