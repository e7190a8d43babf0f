"""Requests for approval, and their queries."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from spawn.application.approvals.previews import list_moved
from spawn.application.commands import Decision, execute
from spawn.application.dependencies import Dependencies, require
from spawn.domain.approvals.approval import (
    APPROVAL_KIND,
    MAX_COMMAND_BYTES,
    MAX_PENDING,
    REQUESTED_EVENT,
    Approval,
    ApprovalState,
    CommandPreview,
)
from spawn.domain.change import (
    Guard,
    IdempotencyReceipt,
    StoredAggregate,
    StoredResponse,
    VersionReference,
    Write,
)
from spawn.domain.errors import Conflict, InvalidInput, NotFound
from spawn.domain.events.event import DomainEvent
from spawn.domain.principal import Principal, Scope
from spawn.domain.query import Filter, Operator, Page, Query, Sort
from spawn.domain.text import has_credential

READER_SCOPES = (
    Scope.PROJECTS_WRITE,
    Scope.FINANCE_WRITE,
    Scope.SCHEMA_ADMIN,
    Scope.APPROVALS_DECIDE,
    Scope.ADMIN,
)
"""Scopes of which a caller needs one to read approvals: its own, or with the last two all."""

_ALL_READERS = frozenset({Scope.APPROVALS_DECIDE, Scope.ADMIN})


class CommandText(msgspec.Struct, frozen=True, kw_only=True):
    """A command as it was sent; see `Approval`."""

    command: str
    target: str
    parameters: Mapping[str, str]
    body: str
    content_type: str
    if_match: str | None
    kind: str = ""
    amount: str = ""

    def fingerprint(self) -> str:
        """Return the SHA-256 of everything that decides what the command does."""
        parts = (self.command, self.target, self.content_type, self.if_match or "", self.body)
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


class RequestedApproval(msgspec.Struct, frozen=True):
    """A new approval, or the stored response of the same earlier request."""

    approval: StoredAggregate[Approval] | None
    replayed_response: StoredResponse | None = None


async def request_approval(
    dependencies: Dependencies,
    principal: Principal,
    text: CommandText,
    preview: CommandPreview,
    *,
    lifetime: timedelta,
    receipt: IdempotencyReceipt | None = None,
) -> RequestedApproval:
    """Record a command that waits for a decision.

    Raises:
        InvalidInput: the body is too long, or has a credential, which a journal must not.
        Conflict: the maker has too many undecided commands.
    """
    _check_body(text.body)
    now = dependencies.clock.now()
    await _check_pending(dependencies, principal, now)
    approval = Approval(
        approval_id=dependencies.ids.new(),
        command=text.command,
        target=text.target,
        parameters=text.parameters,
        body=text.body,
        content_type=text.content_type,
        if_match=text.if_match,
        kind=text.kind,
        amount=text.amount,
        fingerprint=text.fingerprint(),
        maker=principal.id,
        maker_kind=principal.kind,
        maker_scopes=tuple(sorted(principal.scopes)),
        maker_rows=principal.row_scope,
        preview=preview,
        expires_at=now + lifetime,
    )
    key = approval.approval_id

    async def decide() -> Decision:
        event = DomainEvent(type=REQUESTED_EVENT, kind=APPROVAL_KIND, id=key, changed=("state",))
        return Decision(
            writes=(Write(APPROVAL_KIND, key, 0, approval),),
            events=(event,),
            subject=VersionReference(APPROVAL_KIND, key, 1),
        )

    outcome = await execute(dependencies, principal.id, decide, receipt=receipt)
    result = outcome.result
    if result is not None and result.replayed_response is not None:
        return RequestedApproval(None, result.replayed_response)
    return RequestedApproval(await dependencies.reads.get(APPROVAL_KIND, key, version=1))


def _check_body(body: str) -> None:
    if len(body.encode()) > MAX_COMMAND_BYTES:
        detail = f"a command that needs an approval has at most {MAX_COMMAND_BYTES} bytes"
        raise InvalidInput.at("", "too_long", detail)
    if has_credential(body):
        detail = "an API key or a token is in the body: approvals store it for good"
        raise InvalidInput.at("", "credential", detail)


async def _check_pending(dependencies: Dependencies, principal: Principal, now: datetime) -> None:
    query = Query(
        kind=APPROVAL_KIND,
        filters=(
            Filter("maker", Operator.EQ, (principal.id,)),
            *build_state_filters(ApprovalState.PENDING, now),
        ),
        limit=MAX_PENDING,
    )
    if len((await dependencies.reads.page(query)).items) >= MAX_PENDING:
        raise Conflict(f"{MAX_PENDING} of your commands wait for a decision: withdraw some.")


def build_state_filters(state: ApprovalState, now: datetime) -> tuple[Filter, ...]:
    """Return the filters of approvals in a state at an instant."""
    if state not in {ApprovalState.PENDING, ApprovalState.EXPIRED}:
        return (Filter("state", Operator.EQ, (state.value,)),)
    comparison = Operator.GT if state is ApprovalState.PENDING else Operator.LTE
    return (
        Filter("state", Operator.EQ, (ApprovalState.PENDING.value,)),
        Filter("expires_at", comparison, (now,)),
    )


class ReviewedApproval(msgspec.Struct, frozen=True):
    """An approval with its state now, and the versions that have moved under it."""

    aggregate: StoredAggregate[Approval]
    state: ApprovalState
    moved_versions: tuple[Guard, ...] = ()


async def review_approval(
    dependencies: Dependencies, aggregate: StoredAggregate[Approval]
) -> ReviewedApproval:
    """Return an approval with its state now: undecided it becomes stale with its versions."""
    state = aggregate.state.state_at(dependencies.clock.now())
    if state is not ApprovalState.PENDING:
        return ReviewedApproval(aggregate, state)
    moved_versions = await list_moved(dependencies, aggregate.state.preview.rests_on)
    return ReviewedApproval(
        aggregate, ApprovalState.STALE if moved_versions else state, moved_versions
    )


async def get_approval(
    dependencies: Dependencies, principal: Principal, approval_id: str
) -> StoredAggregate[Approval]:
    """Return an approval that the principal may read.

    Raises:
        NotFound: no such approval, or one of another maker.
    """
    require(principal, *READER_SCOPES)
    aggregate: StoredAggregate[Approval] = await dependencies.reads.get(APPROVAL_KIND, approval_id)
    if aggregate.state.maker != principal.id and principal.scopes.isdisjoint(_ALL_READERS):
        raise NotFound("There is no approval of this id.")
    return aggregate


async def list_approvals(
    dependencies: Dependencies,
    principal: Principal,
    query: Query,
    *,
    state: ApprovalState | None = None,
    maker: str | None = None,
    command: str | None = None,
) -> Page[StoredAggregate[Approval]]:
    """Return one page of approvals, newest first."""
    require(principal, *READER_SCOPES)
    texts = {"maker": maker, "command": command}
    filters = [Filter(n, Operator.EQ, (text,)) for n, text in texts.items() if text is not None]
    if principal.scopes.isdisjoint(_ALL_READERS):
        filters.append(Filter("maker", Operator.EQ, (principal.id,)))
    if state is not None:
        filters += build_state_filters(state, dependencies.clock.now())
    newest_first = (Sort("created_at", descending=True),)
    return await dependencies.reads.page(
        msgspec.structs.replace(
            query, kind=APPROVAL_KIND, filters=tuple(filters), sort=newest_first
        )
    )
