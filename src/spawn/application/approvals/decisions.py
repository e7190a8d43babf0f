"""Decisions about commands of others: approve, reject, withdraw, and the end of a crash between.

An approved command that is one change is committed with the decision, as one change of both. Any
other command runs between two changes of its approval, and a start finds out what became of it.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from spawn.application.approvals.makers import (
    NOT_PERMITTED,
    check_independence,
    load_maker,
)
from spawn.application.approvals.previews import list_moved, list_versions
from spawn.application.approvals.requests import READER_SCOPES
from spawn.application.commands import Decision, commit
from spawn.application.dependencies import Dependencies, require
from spawn.domain.approvals.approval import (
    APPROVAL_KIND,
    DECIDED_EVENT,
    Approval,
    ApprovalState,
    CommandPreview,
    Verdict,
)
from spawn.domain.change import (
    Change,
    CommitResult,
    IdempotencyKey,
    IdempotencyReceipt,
    StoredAggregate,
    StoredResponse,
    VersionReference,
    Write,
)
from spawn.domain.errors import Conflict, Forbidden, NotFound, SpawnError, StaleVersion
from spawn.domain.events.event import DomainEvent
from spawn.domain.principal import SERVICE_PRINCIPAL, Principal, Scope
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Query
from spawn.ports.storage import CommandStore

_STALE = "What the command rests on has changed since: it is stale, and must be made again."
_DECIDED = "Another decision about this command came first."


class ApprovedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command that an approval names, as this release carries it out.

    `run` runs it for a principal over ports. `check` returns its preview, for a command that is
    more than one change; None for one that is.
    """

    scopes: tuple[Scope, ...]
    run: Callable[[Principal, Dependencies], Awaitable[object]]
    check: Callable[[Principal, Dependencies], Awaitable[CommandPreview]] | None = None


FindCommand = Callable[[Approval], ApprovedCommand]
"""Function that finds the command of an approval; it raises NotFound without one."""


class _ApprovedCommands:
    """A store of commands that commits the decision with the change of the approved command."""

    def __init__(self, commands: CommandStore, before: Approval, decision: Decision) -> None:
        self._commands = commands
        self._before = before
        self._decision = decision
        self._receipt: IdempotencyReceipt | None = None
        self.is_committed = False

    def with_receipt(self, receipt: IdempotencyReceipt | None) -> "_ApprovedCommands":
        if receipt is not None:
            self._receipt = receipt.with_subject(self._decision.subject)
        return self

    async def commit(self, change: Change) -> CommitResult:
        if list_versions(change) != self._before.preview.rests_on:
            raise _MovedCommand(_STALE)
        whole = msgspec.structs.replace(
            change,
            writes=(*change.writes, *self._decision.writes),
            events=(*change.events, *self._decision.events),
            receipt=self._receipt,
        )
        try:
            result = await self._commands.commit(whole)
        except StaleVersion as stale:
            # No other attempt: it would decide on versions that the checker has not seen.
            raise _MovedCommand(stale.detail) from stale
        self.is_committed = True
        return result

    async def find_receipt(self, key: IdempotencyKey) -> StoredResponse | None:
        return await self._commands.find_receipt(key)


class _MovedCommand(Conflict):
    """The command would rest on other versions than the checker has seen."""


async def decide_approval(
    dependencies: Dependencies,
    principal: Principal,
    approval_id: str,
    verdict: Verdict,
    reason: str,
    *,
    find_command: FindCommand,
    receipt: IdempotencyReceipt | None = None,
) -> StoredAggregate[Approval]:
    """Decide about a command, and carry it out if it is approved.

    Raises:
        NotFound: no such approval.
        Forbidden: the checker is the maker, uses a key that the maker issued, or may not decide.
        Conflict: it was decided before, has expired or is stale; or the maker may no longer make
            the command.
        SpawnError: the command is not possible now; the approval stays undecided.
    """
    is_withdrawal = verdict is Verdict.WITHDRAW
    require(principal, *(READER_SCOPES if is_withdrawal else (Scope.APPROVALS_DECIDE,)))
    aggregate: StoredAggregate[Approval] = await dependencies.reads.get(APPROVAL_KIND, approval_id)
    maker_id = aggregate.state.maker
    if (
        is_withdrawal
        and principal.id != maker_id
        and Scope.APPROVALS_DECIDE not in principal.scopes
    ):
        raise NotFound("There is no approval of this id.")
    decider = _Decider(dependencies, principal, aggregate, reason, receipt)
    if verdict is Verdict.REJECT:
        return await decider.record(verdict, ApprovalState.REJECTED)
    if is_withdrawal:
        return await decider.record(verdict, ApprovalState.WITHDRAWN)
    decider.build(verdict, ApprovalState.APPROVED)  # raises if it cannot be decided
    await check_independence(dependencies, principal, maker_id)
    command = find_command(aggregate.state)
    maker = await load_maker(dependencies, aggregate.state, command.scopes)
    if command.check is None:
        return await decider.approve_change(command, maker)
    return await decider.approve_steps(command, maker)


class _Decider:
    """One decision about one approval."""

    def __init__(
        self,
        dependencies: Dependencies,
        principal: Principal,
        aggregate: StoredAggregate[Approval],
        reason: str,
        receipt: IdempotencyReceipt | None,
    ) -> None:
        self._dependencies = dependencies
        self._principal = principal
        self._aggregate = aggregate
        self._reason = reason
        self._receipt = receipt

    def build(self, verdict: Verdict, state: ApprovalState, detail: str = "") -> Decision:
        """Return the change of the approval alone; see `Approval.decide`."""
        now = self._dependencies.clock.now()
        approval = self._aggregate.state
        after = approval.decide(verdict, self._principal.id, self._reason, now, state)
        after = msgspec.structs.replace(after, detail=detail)
        return _build_decision(self._aggregate, after, self._principal.id, self._reason)

    async def record(
        self, verdict: Verdict, state: ApprovalState, detail: str = ""
    ) -> StoredAggregate[Approval]:
        """Record a decision that carries nothing out."""
        receipt = None if state is ApprovalState.STALE else self._receipt
        decision = self.build(verdict, state, detail)
        return await _commit_decision(
            self._dependencies, self._principal.id, decision, receipt=receipt
        )

    async def approve_change(
        self, command: ApprovedCommand, maker: Principal
    ) -> StoredAggregate[Approval]:
        """Commit the command and the decision as one change, at the versions of the maker."""
        decision = self.build(Verdict.APPROVE, ApprovalState.APPROVED)
        before = self._aggregate.state
        joint_commands = _ApprovedCommands(self._dependencies.commands, before, decision)
        commands: CommandStore = joint_commands.with_receipt(self._receipt)
        dependencies = msgspec.structs.replace(self._dependencies, commands=commands)
        try:
            await command.run(maker, dependencies)
        except SpawnError as error:
            if not joint_commands.is_committed:
                await self._end_if_stale(error)
                if maker.row_scope is not None and isinstance(error, Forbidden | NotFound):
                    raise Conflict(NOT_PERMITTED) from error  # its rows are others now
                raise
        if not joint_commands.is_committed:
            await self._end_as_stale(_STALE)  # it would change nothing any more
        return await self._reload()

    async def approve_steps(
        self, command: ApprovedCommand, maker: Principal
    ) -> StoredAggregate[Approval]:
        """Carry out a command of several changes between two changes of its approval."""
        if command.check is None:
            raise RuntimeError("a command of several changes has a check")
        preview = await command.check(maker, self._dependencies)
        if preview != self._aggregate.state.preview:
            await self._end_as_stale(_STALE)
        decision = self.build(Verdict.APPROVE, ApprovalState.EXECUTING)
        running_approval = await _commit_decision(self._dependencies, self._principal.id, decision)
        work = _carry_out(self._dependencies, running_approval, command, maker, self._receipt)
        return await asyncio.shield(asyncio.ensure_future(work))

    async def _end_if_stale(self, error: SpawnError) -> None:
        current = await self._reload()
        if current.version != self._aggregate.version:
            raise Conflict(_DECIDED) from error
        moved_versions = await list_moved(
            self._dependencies, self._aggregate.state.preview.rests_on
        )
        if moved_versions or isinstance(error, _MovedCommand):
            await self._end_as_stale(error.detail)

    async def _end_as_stale(self, detail: str) -> None:
        """Record that the command is stale, and raise."""
        try:
            await self.record(Verdict.APPROVE, ApprovalState.STALE, detail)
        except StaleVersion:
            raise Conflict(_DECIDED) from None
        raise Conflict(_STALE)

    async def _reload(self) -> StoredAggregate[Approval]:
        return await self._dependencies.reads.get(APPROVAL_KIND, self._aggregate.id)


def _build_decision(
    before: StoredAggregate[Approval], after: Approval, actor: str, reason: str
) -> Decision:
    key, version = before.id, before.version
    event = DomainEvent(
        type=DECIDED_EVENT,
        kind=APPROVAL_KIND,
        id=key,
        changed=("state", "decision"),
        reason=reason or None,
    )
    return Decision(
        writes=(Write(APPROVAL_KIND, key, version, after, actor=actor),),
        events=(event,),
        subject=VersionReference(APPROVAL_KIND, key, version + 1),
    )


async def _commit_decision(
    dependencies: Dependencies,
    actor: str,
    decision: Decision,
    *,
    receipt: IdempotencyReceipt | None = None,
) -> StoredAggregate[Approval]:
    """Commit a change of one approval, and return it.

    Raises:
        Conflict: another decision came first.
    """
    try:
        await commit(dependencies, actor, decision, receipt=receipt)
    except StaleVersion:
        raise Conflict(_DECIDED) from None
    write = decision.writes[0]
    aggregate: StoredAggregate[Approval] = await dependencies.reads.get(
        APPROVAL_KIND, write.id, version=write.expected_version + 1
    )
    return aggregate


async def _carry_out(
    dependencies: Dependencies,
    running_approval: StoredAggregate[Approval],
    command: ApprovedCommand,
    maker: Principal,
    receipt: IdempotencyReceipt | None = None,
) -> StoredAggregate[Approval]:
    """Run an approved command of several changes, and record its end."""
    try:
        await command.run(maker, dependencies)
    except SpawnError as error:
        await _end(dependencies, running_approval, ApprovalState.FAILED, error.detail)
        raise
    return await _end(dependencies, running_approval, ApprovalState.APPROVED, receipt=receipt)


async def _end(
    dependencies: Dependencies,
    running_approval: StoredAggregate[Approval],
    state: ApprovalState,
    detail: str = "",
    receipt: IdempotencyReceipt | None = None,
) -> StoredAggregate[Approval]:
    after = msgspec.structs.replace(running_approval.state, state=state, detail=detail)
    decision = running_approval.state.decision
    actor = SERVICE_PRINCIPAL.id if decision is None else decision.actor
    change = _build_decision(
        running_approval, after, actor, "" if decision is None else decision.reason
    )
    return await _commit_decision(dependencies, actor, change, receipt=receipt)


async def list_executing(dependencies: Dependencies) -> tuple[StoredAggregate[Approval], ...]:
    """Return the approvals whose commands are being carried out, the oldest first."""
    state = Filter("state", Operator.EQ, (ApprovalState.EXECUTING.value,))
    query = Query(kind=APPROVAL_KIND, filters=(state,), limit=MAX_LIMIT)
    return (await dependencies.reads.page(query)).items


async def finish_interrupted_commands(dependencies: Dependencies, find_command: FindCommand) -> int:
    """Finish the approved commands that a crash has interrupted, and return their number.

    One that took effect is recorded as approved, one that did not is carried out now if it still
    rests on the same versions, and has failed otherwise.
    """
    aggregates = await list_executing(dependencies)
    for aggregate in aggregates:
        try:
            await _finish(dependencies, aggregate, find_command)
        except SpawnError as error:
            if (await dependencies.reads.head(APPROVAL_KIND, aggregate.id)).version == (
                aggregate.version
            ):
                await _end(dependencies, aggregate, ApprovalState.FAILED, error.detail)
    return len(aggregates)


async def _finish(
    dependencies: Dependencies, aggregate: StoredAggregate[Approval], find_command: FindCommand
) -> None:
    preview = aggregate.state.preview
    if not await list_moved(dependencies, preview.results_in):
        await _end(dependencies, aggregate, ApprovalState.APPROVED)
        return
    command = find_command(aggregate.state)
    maker = await load_maker(dependencies, aggregate.state, command.scopes)
    if command.check is None or await command.check(maker, dependencies) != preview:
        await _end(dependencies, aggregate, ApprovalState.FAILED, _STALE)
        return
    await _carry_out(dependencies, aggregate, command, maker)
