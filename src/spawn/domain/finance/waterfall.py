"""Cash-flow waterfall: the order in which each period's cash pays the claims.

Order: senior interest and principal; DSRA draw on a shortfall; DSRA top-up, or release above its
target; mezzanine cash interest, its shortfall capitalised (PIK); a sweep of a share of the
remaining cash while the senior DSCR is below its level; then a distribution, unless it is locked up
or a senior amount is unpaid, in which case the cash is trapped until both are cured. A DSCR below
the lock-up level locks distributions up until it reaches the release level. Without senior debt
service the DSCR is not tested: a lock-up neither begins nor ends. Source of the order: the cascade
of a project's common terms agreement, as in E. R. Yescombe, Principles of Project Finance.
"""

import msgspec

from spawn.domain.finance.coverage_ratios import find_lowest
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    MAX_RATIO,
    MIN_POSITIVE,
    FieldChecker,
    check_per_period,
    expand_per_period,
    reject_overflow,
)
from spawn.domain.finance.period_lists import list_periods


class WaterfallCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cash and the claims, one amount per period.

    `dsra_target` is the reserve required after each payment. `mezz_rate` is per period. A level
    of 0 switches its test off. `carry_arrears` makes an unpaid senior amount due again in the
    next period, before anything junior; without it each period stands alone. `senior_open`, when
    given, is the senior balance, which a sweep cannot exceed. `lockup_release_at_or_above` is by
    default the lock-up level itself.
    """

    cfads: tuple[float, ...]
    senior_interest: tuple[float, ...]
    senior_principal: tuple[float, ...]
    dsra_target: float | tuple[float, ...] = 0.0
    dsra_open: float = 0.0
    mezz_open: float = 0.0
    mezz_rate: float | tuple[float, ...] = 0.0
    sweep_share: float = 0.0
    sweep_if_dscr_below: float = 0.0
    lockup_below: float = 0.0
    lockup_release_at_or_above: float | None = None
    trapped_open: float = 0.0
    carry_arrears: bool = True
    senior_open: float | None = None


class WaterfallRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period, in which cash in (CFADS, DSRA draw and release, trapped cash) equals cash out.

    `senior_due` is scheduled, `arrears` are carried in; `senior_paid` includes the DSRA draw.
    """

    period: int
    cfads: float
    senior_due: float
    arrears: float
    dscr: float | None
    senior_paid: float
    dsra_draw: float
    senior_unpaid: float
    dsra_topup: float
    dsra_release: float
    dsra_close: float
    mezz_interest_due: float
    mezz_paid: float
    mezz_pik: float
    mezz_close: float
    sweep: float
    locked_up: bool
    distribution: float
    trapped_close: float


class WaterfallResult(msgspec.Struct, frozen=True, kw_only=True):
    """The rows and their sums."""

    rows: tuple[WaterfallRow, ...]
    total_distributions: float
    total_sweep: float
    total_unpaid: float
    min_dscr: float | None
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()
    min_dscr_period: int | None = None


class _AccountBalances(msgspec.Struct):
    """Balances carried from period to period."""

    dsra: float
    mezz: float
    trapped: float
    arrears: float
    senior: float | None
    is_locked: bool


def run_waterfall(case: WaterfallCase) -> WaterfallResult:
    """Pay each period's cash in the order of claims.

    Raises:
        InvalidInput: wrong lengths, negative or non-finite amounts, shares beyond 1.
    """
    periods = _check_case(case)
    accounts = _AccountBalances(
        dsra=case.dsra_open,
        mezz=case.mezz_open,
        trapped=case.trapped_open,
        arrears=0.0,
        senior=case.senior_open,
        is_locked=False,
    )
    targets = expand_per_period(case.dsra_target, periods)
    mezz_rates = expand_per_period(case.mezz_rate, periods)
    rows = tuple(_pay_period(case, accounts, t, targets[t], mezz_rates[t]) for t in range(periods))
    reject_overflow("/cfads", (row.dscr for row in rows), (row.mezz_close for row in rows))
    return WaterfallResult(
        rows=rows,
        total_distributions=sum(row.distribution for row in rows),
        total_sweep=sum(row.sweep for row in rows),
        total_unpaid=rows[-1].senior_unpaid
        if case.carry_arrears
        else sum(row.senior_unpaid for row in rows),
        min_dscr=min((row.dscr for row in rows if row.dscr is not None), default=None),
        min_dscr_period=find_lowest(row.dscr for row in rows),
        conventions={
            "order": "senior, DSRA, mezzanine interest, sweep, distribution",
            "dscr": "CFADS / scheduled senior debt service, not rounded",
            "arrears": "carried to the next period" if case.carry_arrears else "not carried",
            "sweep": "recorded as prepayment; scheduled senior amounts are not re-cut",
        },
        warnings=_warnings(case, rows),
    )


def _check_case(case: WaterfallCase) -> int:
    checker = FieldChecker()
    periods = len(case.cfads)
    if checker.require_size("/cfads", periods, MAX_PERIODS):
        checker.require_each("/cfads", case.cfads, 0.0, MAX_AMOUNT)
        series = (
            ("/senior_interest", case.senior_interest),
            ("/senior_principal", case.senior_principal),
        )
        for pointer, values in series:
            if checker.require_length(pointer, values, periods):
                checker.require_each(pointer, values, 0.0, MAX_AMOUNT)
        check_per_period(checker, "/dsra_target", case.dsra_target, periods, (0.0, MAX_AMOUNT))
        check_per_period(checker, "/mezz_rate", case.mezz_rate, periods, (0.0, MAX_RATE))
    checker.require_amount("/dsra_open", case.dsra_open, low=0.0)
    checker.require_amount("/mezz_open", case.mezz_open, low=0.0)
    checker.require_amount("/trapped_open", case.trapped_open, low=0.0)
    checker.require_number("/sweep_share", case.sweep_share, 0.0, 1.0)
    checker.require_number("/sweep_if_dscr_below", case.sweep_if_dscr_below, 0.0, MAX_RATIO)
    checker.require_number("/lockup_below", case.lockup_below, 0.0, MAX_RATIO)
    release = case.lockup_release_at_or_above
    if release is not None and not case.lockup_below <= release <= MAX_RATIO:
        detail = "must be finite and not below the lock-up level"
        checker.reject("/lockup_release_at_or_above", "out_of_order", detail)
    if case.senior_open is not None:
        checker.require_amount("/senior_open", case.senior_open, low=0.0)
    checker.raise_errors()
    return periods


def _pay_period(
    case: WaterfallCase, accounts: _AccountBalances, t: int, dsra_target: float, mezz_rate: float
) -> WaterfallRow:
    """Pay one period's claims in order, and update `accounts`."""
    cash, scheduled, arrears = (
        case.cfads[t],
        case.senior_interest[t] + case.senior_principal[t],
        accounts.arrears,
    )
    dscr = cash / scheduled if scheduled >= MIN_POSITIVE else None
    due = scheduled + arrears
    from_cash = min(cash, due)
    cash -= from_cash
    draw = min(due - from_cash, accounts.dsra)
    unpaid = due - from_cash - draw
    reserve = accounts.dsra - draw
    topup = min(cash, max(dsra_target - reserve, 0.0))
    release = max(reserve - dsra_target, 0.0)
    cash += release - topup
    mezz_due = accounts.mezz * mezz_rate
    mezz_paid = min(cash, mezz_due)
    cash -= mezz_paid
    sweep = _sweep(case, accounts, dscr, cash, case.senior_principal[t])
    cash -= sweep
    if dscr is not None:
        accounts.is_locked = dscr < _lockup_level(case, accounts)
    is_locked_up = accounts.is_locked or unpaid > 0.0
    distribution = 0.0 if is_locked_up else cash + accounts.trapped
    accounts.trapped = accounts.trapped + cash if is_locked_up else 0.0
    accounts.dsra = reserve + topup - release
    accounts.mezz += mezz_due - mezz_paid
    accounts.arrears = unpaid if case.carry_arrears else 0.0
    return WaterfallRow(
        period=t + 1,
        cfads=case.cfads[t],
        senior_due=scheduled,
        arrears=arrears,
        dscr=dscr,
        senior_paid=from_cash + draw,
        dsra_draw=draw,
        senior_unpaid=unpaid,
        dsra_topup=topup,
        dsra_release=release,
        dsra_close=accounts.dsra,
        mezz_interest_due=mezz_due,
        mezz_paid=mezz_paid,
        mezz_pik=mezz_due - mezz_paid,
        mezz_close=accounts.mezz,
        sweep=sweep,
        locked_up=is_locked_up,
        distribution=distribution,
        trapped_close=accounts.trapped,
    )


def _lockup_level(case: WaterfallCase, accounts: _AccountBalances) -> float:
    """Return the DSCR that distributions need; in a lock-up it is the release level."""
    release = case.lockup_release_at_or_above
    return release if accounts.is_locked and release is not None else case.lockup_below


def _sweep(
    case: WaterfallCase,
    accounts: _AccountBalances,
    dscr: float | None,
    cash: float,
    repayment: float,
) -> float:
    """Return a share of the remaining cash while the DSCR is tested and below its level."""
    is_below_level = dscr is not None and dscr < case.sweep_if_dscr_below
    sweep = case.sweep_share * cash if is_below_level else 0.0
    if accounts.senior is not None:
        accounts.senior = max(accounts.senior - repayment, 0.0)
        sweep = min(sweep, accounts.senior)
        accounts.senior -= sweep
    return sweep


def _warnings(case: WaterfallCase, rows: tuple[WaterfallRow, ...]) -> tuple[str, ...]:
    warnings: list[str] = []
    unpaid_periods = [row.period for row in rows if row.senior_unpaid > 0.0]
    if unpaid_periods:
        periods = list_periods(unpaid_periods)
        warnings.append(f"senior debt service is not paid in full in {periods}")
    total_sweep = sum(row.sweep for row in rows)
    if case.senior_open is None and total_sweep > 0.0 and rows[-1].sweep > 0.0:
        warnings.append("the last period sweeps although no senior principal is scheduled after it")
    return tuple(warnings)
