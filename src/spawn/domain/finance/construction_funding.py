"""Construction funding: debt and equity draws for costs, interest and fees of each period.

Timing: costs and draws fall at period end; interest is rate x opening balance; the commitment fee
runs on the undrawn commitment, D - opening balance, from period 1; the upfront fee is a share of
D at close (period 0). Interest, fees and the initial reserves are uses, so that the commitment D
depends on itself:

* pro rata, each use is funded at the same gearing: the debt drawn is affine in D, hence
  D = a / (1 - b) exactly, with a the debt drawn at D = 0 and b the debt drawn at D = 1 without
  costs (not f(1) - f(0), which cancels);
* equity first, the equity D (1 - g)/g is spent before the first debt: the debt drawn is a falling
  piecewise linear function of D, and its fixed point is solved inside a bracket.

Both follow from the timing above alone and need no textbook to verify: sources equal uses in every
row, and the debt drawn equals the commitment.
"""

from typing import Literal, NamedTuple

import msgspec

from spawn.domain.errors import Infeasible
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    MIN_POSITIVE,
    FieldChecker,
    check_per_period,
    expand_per_period,
    reject_overflow,
)

FundingOrder = Literal["pro_rata", "equity_first"]
_MAX_DOUBLINGS = 200
_MAX_ROOT_STEPS = 200
_RESOLUTION = 4e-16


class ConstructionCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The costs of construction and the terms of their funding.

    `construction_cost` has one amount per period, due at its end; `cost_at_close` falls in period
    0. Rates and the commitment fee are per period: one value, or one for each period.
    `upfront_fee` is a share of the commitment. `dsra_funding_at_end` is an amount and
    `dsra_share_of_debt` a share of the commitment, both funded in the last period.
    """

    construction_cost: tuple[float, ...]
    gearing: float
    rate_per_period: float | tuple[float, ...]
    commitment_fee_per_period: float | tuple[float, ...] = 0.0
    upfront_fee: float = 0.0
    dsra_funding_at_end: float = 0.0
    dsra_share_of_debt: float = 0.0
    cost_at_close: float = 0.0
    funding: FundingOrder = "pro_rata"


class ConstructionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period: uses = cost + fees + interest + reserve = debt draw + equity draw."""

    period: int
    cost: float
    upfront_fee: float
    interest: float
    commitment_fee: float
    dsra_funding: float
    uses: float
    debt_draw: float
    equity_draw: float
    opening_balance: float
    closing_balance: float
    undrawn: float


class ConstructionFunding(msgspec.Struct, frozen=True, kw_only=True):
    """The commitment that also funds its own cost, its sums, and the rows from period 0."""

    debt_commitment: float
    equity: float
    total_uses: float
    idc_total: float
    fees_total: float
    gearing: float
    rows: tuple[ConstructionRow, ...]
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


class _PeriodTerms(NamedTuple):
    """The case with one cost, rate and fee per period."""

    costs: tuple[float, ...]
    rates: tuple[float, ...]
    fees: tuple[float, ...]
    case: ConstructionCase


def fund_construction(case: ConstructionCase) -> ConstructionFunding:
    """Solve the debt commitment, the equity, and the sources and uses per period.

    Raises:
        InvalidInput: names each field outside its limits; also fees and interest so high that
            each unit of debt needs more than one unit of debt.
    """
    _check_case(case)
    periods = len(case.construction_cost)
    terms = _PeriodTerms(
        (case.cost_at_close, *case.construction_cost),
        expand_per_period(case.rate_per_period, periods),
        expand_per_period(case.commitment_fee_per_period, periods),
        case,
    )
    is_pro_rata = case.funding == "pro_rata"
    debt = _solve_pro_rata(terms) if is_pro_rata else _solve_equity_first(terms)
    if not debt <= MAX_AMOUNT:
        raise _no_solution_error()
    remaining_equity = None if is_pro_rata else debt * (1.0 - case.gearing) / case.gearing
    rows = _build_rows(terms, debt, remaining_equity)
    reject_overflow(
        "/construction_cost", (row.uses for row in rows), (row.closing_balance for row in rows)
    )
    return _build_result(case, debt, rows)


def _check_case(case: ConstructionCase) -> None:
    checker = FieldChecker()
    periods = len(case.construction_cost)
    if checker.require_size("/construction_cost", periods, MAX_PERIODS):
        checker.require_each("/construction_cost", case.construction_cost, 0.0, MAX_AMOUNT)
        limits = (0.0, MAX_RATE)
        check_per_period(checker, "/rate_per_period", case.rate_per_period, periods, limits)
        fee = case.commitment_fee_per_period
        check_per_period(checker, "/commitment_fee_per_period", fee, periods, limits)
    if not MIN_POSITIVE <= case.gearing <= 1.0:
        checker.reject("/gearing", "out_of_range", "must be above 0 and at most 1")
    checker.require_number("/upfront_fee", case.upfront_fee, 0.0, 1.0)
    checker.require_amount("/dsra_funding_at_end", case.dsra_funding_at_end, low=0.0)
    checker.require_number("/dsra_share_of_debt", case.dsra_share_of_debt, 0.0, 1.0)
    checker.require_amount("/cost_at_close", case.cost_at_close, low=0.0)
    if periods and max(case.cost_at_close, *case.construction_cost) < MIN_POSITIVE:
        checker.reject("/construction_cost", "all_zero", "all costs are zero; give a cost to fund")
    checker.raise_errors()


def _no_solution_error() -> Infeasible:
    return Infeasible.at(
        "/rate_per_period",
        "no_solution",
        "each unit of debt costs more debt than it funds; lower rates, fees or gearing",
    )


def _total_debt_draw(
    terms: _PeriodTerms, debt: float, equity: float | None, cost_scale: float
) -> float:
    """Return the debt drawn at commitment `debt`; `cost_scale` 0 drops uses independent of it."""
    case = terms.case
    last = len(terms.costs) - 1
    balance = 0.0
    for period, cost in enumerate(terms.costs):
        uses = cost_scale * cost
        if period == 0:
            uses += case.upfront_fee * debt
        else:
            fee = terms.fees[period - 1]
            uses += terms.rates[period - 1] * balance + fee * (debt - balance)
        if period == last:
            uses += cost_scale * case.dsra_funding_at_end + case.dsra_share_of_debt * debt
        if equity is None:
            balance += case.gearing * uses
        else:
            from_equity = min(equity, uses)
            equity -= from_equity
            balance += uses - from_equity
    return balance


def _solve_pro_rata(terms: _PeriodTerms) -> float:
    """Return D = a / (1 - b)."""
    draw_at_zero = _total_debt_draw(terms, 0.0, None, 1.0)
    draw_per_unit = _total_debt_draw(terms, 1.0, None, 0.0)
    if not draw_per_unit < 1.0:
        raise _no_solution_error()
    return draw_at_zero / (1.0 - draw_per_unit)


def _solve_equity_first(terms: _PeriodTerms) -> float:
    """Find the fixed point of the debt drawn by the Illinois variant of regula falsi."""
    equity_ratio = (1.0 - terms.case.gearing) / terms.case.gearing

    def excess(debt: float) -> float:
        return _total_debt_draw(terms, debt, debt * equity_ratio, 1.0) - debt

    low, at_low = 0.0, excess(0.0)
    high = at_low
    for _ in range(_MAX_DOUBLINGS):
        at_high = excess(high)
        if at_high <= 0.0:
            break
        low, at_low = high, at_high
        high *= 2.0
        if not high <= MAX_AMOUNT:
            raise _no_solution_error()
    side = 0
    for _ in range(_MAX_ROOT_STEPS):
        if high - low <= _RESOLUTION * high or at_low == at_high:
            break
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        at_middle = excess(middle)
        if at_middle == 0.0 or not low < middle < high:
            return min(max(middle, low), high)
        if at_middle > 0.0:
            low, at_low = middle, at_middle
            at_high = 0.5 * at_high if side == 1 else at_high
            side = 1
        else:
            high, at_high = middle, at_middle
            at_low = 0.5 * at_low if side == -1 else at_low
            side = -1
    return 0.5 * (low + high)


def _build_rows(
    terms: _PeriodTerms, debt: float, remaining_equity: float | None
) -> tuple[ConstructionRow, ...]:
    """Build the sources and uses of each period at the solved commitment."""
    case = terms.case
    last = len(terms.costs) - 1
    rows: list[ConstructionRow] = []
    balance = 0.0
    for period, cost in enumerate(terms.costs):
        is_close = period == 0
        upfront = case.upfront_fee * debt if is_close else 0.0
        interest = 0.0 if is_close else terms.rates[period - 1] * balance
        fee = 0.0 if is_close else terms.fees[period - 1] * (debt - balance)
        reserve = case.dsra_funding_at_end + case.dsra_share_of_debt * debt
        reserve = reserve if period == last else 0.0
        uses = cost + upfront + interest + fee + reserve
        if remaining_equity is None:
            debt_draw = case.gearing * uses
        else:
            debt_draw = uses - min(remaining_equity, uses)
            remaining_equity -= uses - debt_draw
        rows.append(
            ConstructionRow(
                period=period,
                cost=cost,
                upfront_fee=upfront,
                interest=interest,
                commitment_fee=fee,
                dsra_funding=reserve,
                uses=uses,
                debt_draw=debt_draw,
                equity_draw=uses - debt_draw,
                opening_balance=balance,
                closing_balance=balance + debt_draw,
                undrawn=debt - balance - debt_draw,
            )
        )
        balance += debt_draw
    return tuple(rows)


def _build_result(
    case: ConstructionCase, debt: float, rows: tuple[ConstructionRow, ...]
) -> ConstructionFunding:
    total = sum(row.uses for row in rows)
    equity = sum(row.equity_draw for row in rows)
    return ConstructionFunding(
        debt_commitment=debt,
        equity=equity,
        total_uses=total,
        idc_total=sum(row.interest for row in rows),
        fees_total=sum(row.upfront_fee + row.commitment_fee for row in rows),
        gearing=debt / total,
        rows=rows,
        conventions={
            "timing": "costs and draws at period end; period 0 is financial close",
            "interest": "rate per period x opening balance",
            "commitment_fee": "rate per period x (commitment - opening balance), from period 1",
            "upfront_fee": "share of the commitment at period 0",
            "funding": case.funding,
        },
    )
