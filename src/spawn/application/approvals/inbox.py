"""Inbox of a checker: commands of others that wait for a decision."""

from collections.abc import Sequence

import msgspec

from spawn.application.approvals.makers import check_independence
from spawn.application.approvals.requests import ReviewedApproval, list_approvals, review_approval
from spawn.application.dependencies import Dependencies, require
from spawn.domain.approvals.approval import ApprovalState
from spawn.domain.errors import Forbidden
from spawn.domain.principal import Principal, Scope
from spawn.domain.query import Query
from spawn.domain.schema_version import Value


class WaitingApproval(msgspec.Struct, frozen=True):
    """An undecided approval, and whether the checker may approve it; rejecting it is possible."""

    reviewed: ReviewedApproval
    may_approve: bool


class InboxPage(msgspec.Struct, frozen=True):
    """A page of an inbox: what waits, the number of own commands left out, and the next page."""

    approvals: Sequence[WaitingApproval]
    own: int
    next: tuple[Value | None, ...] | None


async def list_inbox(dependencies: Dependencies, principal: Principal, query: Query) -> InboxPage:
    """Return a page of the commands that a checker may decide about, newest first.

    A stale command can only be rejected, and so can one of a maker who issued the checker's key.

    Raises:
        Forbidden: the principal may not decide about commands.
    """
    require(principal, Scope.APPROVALS_DECIDE)
    page = await list_approvals(dependencies, principal, query, state=ApprovalState.PENDING)
    of_others = [one for one in page.items if one.state.maker != principal.id]
    independent: dict[str, bool] = {}
    approvals = []
    for aggregate in of_others:
        maker = aggregate.state.maker
        if maker not in independent:
            independent[maker] = await _is_independent(dependencies, principal, maker)
        reviewed = await review_approval(dependencies, aggregate)
        is_pending = reviewed.state is ApprovalState.PENDING
        approvals.append(WaitingApproval(reviewed, independent[maker] and is_pending))
    return InboxPage(approvals, len(page.items) - len(of_others), page.next)


async def _is_independent(dependencies: Dependencies, checker: Principal, maker: str) -> bool:
    try:
        await check_independence(dependencies, checker, maker)
    except Forbidden:
        return False
    return True
