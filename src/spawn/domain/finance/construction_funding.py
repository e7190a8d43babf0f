"""Construction funding: debt and equity draws that pay costs, interest and fees in each period.

Timing: costs and draws fall at period end; interest is rate x opening balance; the commitment fee
runs on the undrawn commitment, D - opening balance, from period 1; the upfront fee is a share of
D at close (period 0). Interest, fees and the initial reserves are uses, so that the commitment D
depends on itself:

* pro rata, each use is funded at the same gearing: the debt drawn is affine in D, hence
  D = a / (1 - b) exactly, with a the debt drawn at D = 0 and b the debt drawn at D = 1 without
  costs (not f(1) - f(0), which cancels);
* equity first, the equity D (1 - g)/g is spent before the first debt: the debt drawn is a falling
  piecewise linear function of D, and its fixed point is found inside a bracket.

Both follow from the timing above alone; no textbook is needed to check them, for sources equal uses
in every row and the debt drawn equals the commitment.
"""

from typing import Literal, NamedTuple

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    SMALLEST,
    Checker,
    check_per_period,
    per_period,
    refuse_overflow,
)

Funding = Literal["pro_rata", "equity_first"]
_MAX_DOUBLINGS = 200
_MAX_ROOT_STEPS = 200
_RESOLUTION = 4e-16


class ConstructionCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is built, and how it is paid.

    `construction_cost` has one amount a period, due at its end; `cost_at_close` falls in period 0.
    Rates and the commitment fee are per period: one, or one a period. `upfront_fee` is a share of
    the commitment. `dsra_funding_at_end` is an amount and `dsra_share_of_debt` a share of the
    commitment, both funded in the last period.
    """

    construction_cost: tuple[float, ...]
    gearing: float
    rate_per_period: float | tuple[float, ...]
    commitment_fee_per_period: float | tuple[float, ...] = 0.0
    upfront_fee: float = 0.0
    dsra_funding_at_end: float = 0.0
    dsra_share_of_debt: float = 0.0
    cost_at_close: float = 0.0
    funding: Funding = "pro_rata"


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
    """The commitment that funds itself, its sums, and the rows from period 0."""

    debt_commitment: float
    equity: float
    total_uses: float
    idc_total: float
    fees_total: float
    gearing: float
    rows: tuple[ConstructionRow, ...]
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


class _Terms(NamedTuple):
    costs: tuple[float, ...]
    rates: tuple[float, ...]
    fees: tuple[float, ...]
    case: ConstructionCase


def fund_construction(case: ConstructionCase) -> ConstructionFunding:
    """The debt commitment, the equity, and every period's sources and uses.

    Raises:
        InvalidInput: each field that does not fit is named; also fees and interest so high that
            each unit of debt needs more than one unit of debt.
    """
    _check(case)
    periods = len(case.construction_cost)
    terms = _Terms(
        (case.cost_at_close, *case.construction_cost),
        per_period(case.rate_per_period, periods),
        per_period(case.commitment_fee_per_period, periods),
        case,
    )
    pro_rata = case.funding == "pro_rata"
    debt = _pro_rata_debt(terms) if pro_rata else _equity_first_debt(terms)
    if not debt <= MAX_AMOUNT:
        raise _unsolvable()
    equity_left = None if pro_rata else debt * (1.0 - case.gearing) / case.gearing
    rows = _run(terms, debt, equity_left)
    refuse_overflow(
        "/construction_cost", (row.uses for row in rows), (row.closing_balance for row in rows)
    )
    return _result(case, debt, rows)


def _check(case: ConstructionCase) -> None:
    check = Checker()
    periods = len(case.construction_cost)
    if check.size("/construction_cost", periods, MAX_PERIODS):
        check.each("/construction_cost", case.construction_cost, 0.0, MAX_AMOUNT)
        limits = (0.0, MAX_RATE)
        check_per_period(check, "/rate_per_period", case.rate_per_period, periods, limits)
        fee = case.commitment_fee_per_period
        check_per_period(check, "/commitment_fee_per_period", fee, periods, limits)
    if not SMALLEST <= case.gearing <= 1.0:
        check.refuse("/gearing", "out_of_range", "must be above 0 and at most 1")
    check.number("/upfront_fee", case.upfront_fee, 0.0, 1.0)
    check.amount("/dsra_funding_at_end", case.dsra_funding_at_end, low=0.0)
    check.number("/dsra_share_of_debt", case.dsra_share_of_debt, 0.0, 1.0)
    check.amount("/cost_at_close", case.cost_at_close, low=0.0)
    if periods and max(case.cost_at_close, *case.construction_cost) < SMALLEST:
        check.refuse("/construction_cost", "all_zero", "there is nothing to fund")
    check.done()


def _unsolvable() -> InvalidInput:
    return InvalidInput.at(
        "/rate_per_period", "no_solution", "each unit of debt costs more debt than it funds"
    )


def _debt_drawn(terms: _Terms, debt: float, equity: float | None, scale: float) -> float:
    """The debt drawn when `debt` is committed; `scale` 0 leaves out what does not depend on it."""
    case = terms.case
    last = len(terms.costs) - 1
    balance = 0.0
    for period, cost in enumerate(terms.costs):
        uses = scale * cost
        if period == 0:
            uses += case.upfront_fee * debt
        else:
            fee = terms.fees[period - 1]
            uses += terms.rates[period - 1] * balance + fee * (debt - balance)
        if period == last:
            uses += scale * case.dsra_funding_at_end + case.dsra_share_of_debt * debt
        if equity is None:
            balance += case.gearing * uses
        else:
            from_equity = min(equity, uses)
            equity -= from_equity
            balance += uses - from_equity
    return balance


def _pro_rata_debt(terms: _Terms) -> float:
    """D = a / (1 - b)."""
    at_zero = _debt_drawn(terms, 0.0, None, 1.0)
    per_unit = _debt_drawn(terms, 1.0, None, 0.0)
    if not per_unit < 1.0:
        raise _unsolvable()
    return at_zero / (1.0 - per_unit)


def _equity_first_debt(terms: _Terms) -> float:
    """The fixed point of the debt drawn, by the Illinois variant of regula falsi in a bracket."""
    share = (1.0 - terms.case.gearing) / terms.case.gearing

    def excess(debt: float) -> float:
        return _debt_drawn(terms, debt, debt * share, 1.0) - debt

    low, at_low = 0.0, excess(0.0)
    high = at_low
    for _ in range(_MAX_DOUBLINGS):
        at_high = excess(high)
        if at_high <= 0.0:
            break
        low, at_low = high, at_high
        high *= 2.0
        if not high <= MAX_AMOUNT:
            raise _unsolvable()
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


def _run(terms: _Terms, debt: float, equity_left: float | None) -> tuple[ConstructionRow, ...]:
    """Every period's sources and uses at the solved commitment."""
    case = terms.case
    last = len(terms.costs) - 1
    rows: list[ConstructionRow] = []
    balance = 0.0
    for period, cost in enumerate(terms.costs):
        first = period == 0
        upfront = case.upfront_fee * debt if first else 0.0
        interest = 0.0 if first else terms.rates[period - 1] * balance
        fee = 0.0 if first else terms.fees[period - 1] * (debt - balance)
        reserve = case.dsra_funding_at_end + case.dsra_share_of_debt * debt
        reserve = reserve if period == last else 0.0
        uses = cost + upfront + interest + fee + reserve
        if equity_left is None:
            debt_draw = case.gearing * uses
        else:
            debt_draw = uses - min(equity_left, uses)
            equity_left -= uses - debt_draw
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


def _result(
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
