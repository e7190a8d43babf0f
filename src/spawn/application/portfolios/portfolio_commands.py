"""Commands of portfolios: create, and amend their terms."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec

from spawn.application.commands import Decision, execute
from spawn.application.dependencies import Dependencies, require
from spawn.application.facilities.facility_commands import FinanceContext, check_expected
from spawn.domain.change import StoredAggregate, StoredResponse, VersionReference, Write
from spawn.domain.errors import Duplicate, StaleVersion
from spawn.domain.events.event import DomainEvent
from spawn.domain.portfolios.portfolio import (
    PORTFOLIO_AMENDED_EVENT,
    PORTFOLIO_CREATED_EVENT,
    PORTFOLIO_KIND,
    PORTFOLIO_TERMS,
    Portfolio,
    check_portfolio,
)
from spawn.domain.principal import Principal, Scope

S = TypeVar("S")


class FinanceResult(msgspec.Struct, Generic[S], frozen=True):
    """The aggregate after a command, or the stored response of the same earlier request."""

    aggregate: StoredAggregate[S] | None
    replayed_response: StoredResponse | None = None


async def create_portfolio(
    dependencies: Dependencies,
    principal: Principal,
    terms: dict[str, Any],
    context: FinanceContext,
) -> FinanceResult[Portfolio]:
    """Create a portfolio under a new id.

    Args:
        dependencies: the ports.
        principal: the caller.
        terms: values of `PORTFOLIO_TERMS`, `name` and `currency_code` at least.
        context: of the command.

    Raises:
        InvalidInput: a term breaks a rule; each is named.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> Decision:
        portfolio = check_portfolio(Portfolio(portfolio_id=dependencies.ids.new(), **terms))
        changed = tuple(n for n in PORTFOLIO_TERMS if getattr(portfolio, n) not in {None, ()})
        return _decide(0, portfolio, PORTFOLIO_CREATED_EVENT, changed)

    return await execute_finance(dependencies, principal, decide, context)


async def amend_portfolio(
    dependencies: Dependencies,
    principal: Principal,
    portfolio_id: str,
    terms: dict[str, Any],
    context: FinanceContext,
) -> FinanceResult[Portfolio]:
    """Replace terms of a portfolio; no change writes nothing.

    Raises:
        NotFound: no such portfolio.
        StaleVersion: it is not at the expected version.
        InvalidInput: a term breaks a rule; each is named.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> Decision:
        before: StoredAggregate[Portfolio] = await dependencies.reads.get(
            PORTFOLIO_KIND, portfolio_id
        )
        check_expected(before.version, context.expected_version, "portfolio")
        after = check_portfolio(msgspec.structs.replace(before.state, **terms), before.state.limits)
        changed = tuple(n for n in PORTFOLIO_TERMS if getattr(after, n) != getattr(before.state, n))
        return _decide(before.version, after, PORTFOLIO_AMENDED_EVENT, changed)

    return await execute_finance(dependencies, principal, decide, context)


def _decide(
    version: int, portfolio: Portfolio, event_type: str, changed: tuple[str, ...]
) -> Decision:
    key = portfolio.portfolio_id
    subject = VersionReference(PORTFOLIO_KIND, key, version + bool(changed))
    if not changed:
        return Decision(subject=subject)
    event = DomainEvent(type=event_type, kind=PORTFOLIO_KIND, id=key, changed=changed)
    write = Write(PORTFOLIO_KIND, key, version, portfolio)
    return Decision(writes=(write,), events=(event,), subject=subject)


async def execute_finance(
    dependencies: Dependencies,
    principal: Principal,
    decide: Callable[[], Awaitable[Decision]],
    context: FinanceContext,
) -> FinanceResult[Any]:
    """Execute a command and return the version that it has written, or found unchanged.

    Args:
        dependencies: the ports.
        principal: the caller.
        decide: returns a decision whose subject is that version.
        context: of the command.

    Raises:
        Conflict: the command lost too many races.
    """
    outcome = await execute(
        dependencies,
        principal.id,
        decide,
        receipt=context.receipt,
        traceparent=context.traceparent,
        # The first holding of an exposure creates its allocation.
        lost_races=(StaleVersion, Duplicate),
    )
    if outcome.result is not None and outcome.result.replayed_response is not None:
        return FinanceResult(None, outcome.result.replayed_response)
    subject = outcome.decision.subject
    if subject is None:
        raise RuntimeError("a command of the financing must name the version that it shows")
    aggregate = await dependencies.reads.get(subject.kind, subject.id, version=subject.version)
    return FinanceResult(aggregate)
