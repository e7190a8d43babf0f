"""Use cases of reserve accounts: open, amend, record balances, compare with the target."""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal

import msgspec

from spawn.application.covenants.figure_sources import load_case_figures
from spawn.application.covenants.state_saving import (
    SavedState,
    StateDecision,
    check_expected_version,
    decide_state,
    require_project,
    save_state,
)
from spawn.application.dependencies import Dependencies, require, require_past
from spawn.application.projects.commands import CommandContext
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.cash_periods import add_exactly
from spawn.domain.covenants.project_reserve import (
    RESERVE_AMENDED_EVENT,
    RESERVE_BALANCED_EVENT,
    RESERVE_KIND,
    RESERVE_OPENED_EVENT,
    ReserveAccountState,
    ReserveAccountTerms,
    ReserveBalance,
    compute_target,
    find_balance,
    record_balance,
)
from spawn.domain.errors import InvalidInput
from spawn.domain.principal import Principal, Scope


class ReserveOnDay(msgspec.Struct, frozen=True, kw_only=True):
    """A reserve account on a day.

    `shortfall` is the target less the balance, 0 where the balance reaches it, and None where
    either is unknown. A target in months is of a case.
    """

    account: StoredAggregate[ReserveAccountState]
    on: date
    balance: ReserveBalance | None
    target: Decimal | None
    shortfall: Decimal | None
    case_id: str | None
    case_version: int | None


async def open_reserve(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    terms: ReserveAccountTerms,
    context: CommandContext,
) -> SavedState:
    """Open a reserve account of a project under a new id.

    Raises:
        NotFound: no such project.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> StateDecision:
        await require_project(dependencies, project_id)
        key = dependencies.ids.new()
        members = msgspec.structs.asdict(terms)
        account = ReserveAccountState(**members, account_id=key, project_id=project_id)
        return decide_state(RESERVE_KIND, key, None, account, RESERVE_OPENED_EVENT)

    return await save_state(dependencies, principal, decide, context)


async def amend_reserve(
    dependencies: Dependencies,
    principal: Principal,
    account_id: str,
    change_terms: Callable[[ReserveAccountState], ReserveAccountTerms],
    context: CommandContext,
) -> SavedState:
    """Change the terms of a reserve account; its balances stay in its currency.

    Raises:
        NotFound: no such account.
        StaleVersion: the account is not at the expected version.
        InvalidInput: a rule of the terms is violated, or the currency of balances changes.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> StateDecision:
        before = await _load(dependencies, account_id, context)
        terms = change_terms(before.state)
        if before.state.balances and terms.currency_code != before.state.currency_code:
            detail = f"the account has balances in {before.state.currency_code}"
            raise InvalidInput.at("/currency_code", "currency_mismatch", detail)
        after = msgspec.structs.replace(before.state, **msgspec.structs.asdict(terms))
        return decide_state(RESERVE_KIND, account_id, before, after, RESERVE_AMENDED_EVENT)

    return await save_state(dependencies, principal, decide, context)


async def record_reserve_balance(
    dependencies: Dependencies,
    principal: Principal,
    account_id: str,
    balance: ReserveBalance,
    context: CommandContext,
) -> SavedState:
    """Record the balance of an account on a day; a later fact of the day corrects it.

    Raises:
        NotFound: no such account.
        InvalidInput: the balance is negative, or a correction has no reason.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> StateDecision:
        before = await _load(dependencies, account_id, context)
        after = record_balance(before.state, balance)
        return decide_state(
            RESERVE_KIND, account_id, before, after, RESERVE_BALANCED_EVENT, reason=balance.reason
        )

    return await save_state(dependencies, principal, decide, context)


async def _load(
    dependencies: Dependencies, account_id: str, context: CommandContext
) -> StoredAggregate[ReserveAccountState]:
    before: StoredAggregate[ReserveAccountState] = await dependencies.reads.get(
        RESERVE_KIND, account_id
    )
    check_expected_version(before, context)
    return before


async def read_reserve(
    dependencies: Dependencies,
    principal: Principal,
    account_id: str,
    *,
    on: date | None = None,
    as_of: datetime | None = None,
    case_id: str | None = None,
    case_version: int | None = None,
) -> ReserveOnDay:
    """Return a reserve account on a day, by default today, as it was known at an instant.

    Raises:
        NotFound: no such account, or none yet at that instant.
        InvalidInput: the project has no such case, the case has another currency, or the instant is
            not in the past.
    """
    require(principal, Scope.FINANCE_READ)
    await require_past(dependencies, as_of)
    account: StoredAggregate[ReserveAccountState] = await dependencies.reads.get(
        RESERVE_KIND, account_id, as_of=as_of
    )
    state, day = account.state, on or dependencies.clock.now().date()
    source = None
    if case_id is not None:
        source = await load_case_figures(dependencies, state.project_id, case_id, case_version)
        if source.currency_code != state.currency_code:
            detail = f"is in {source.currency_code}, and the account in {state.currency_code}"
            raise InvalidInput.at("/case_id", "currency_mismatch", detail)
    balance = find_balance(state, day)
    target = compute_target(state, () if source is None else source.periods, day)
    shortfall = None
    if balance is not None and target is not None:
        shortfall = max(add_exactly((target, -balance.amount)), Decimal(0) * target)
    return ReserveOnDay(
        account=account,
        on=day,
        balance=balance,
        target=target,
        shortfall=shortfall,
        case_id=None if source is None else source.stored.id,
        case_version=None if source is None else source.stored.version,
    )
