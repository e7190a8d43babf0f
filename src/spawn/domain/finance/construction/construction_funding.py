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

from typing import NamedTuple

from spawn.domain.errors import Infeasible
from spawn.domain.finance.construction.construction_case import (
    ConstructionCase,
    check_construction_case,
)
from spawn.domain.finance.construction.construction_result import (
    ConstructionFunding,
    ConstructionRow,
)
from spawn.domain.finance.construction.facility_funding import fund_commitment, fund_facilities
from spawn.domain.finance.facilities.fixed_point import find_fixed_point
from spawn.domain.finance.limits import MAX_AMOUNT, expand_per_period, reject_overflow


class _PeriodTerms(NamedTuple):
    """The case with one cost, rate and fee per period."""

    costs: tuple[float, ...]
    rates: tuple[float, ...]
    fees: tuple[float, ...]
    gearing: float
    case: ConstructionCase


def fund_construction(case: ConstructionCase) -> ConstructionFunding:
    """Solve the debt, the equity, and the sources and uses per period.

    Raises:
        InvalidInput: names each field outside its limits; also fees and interest so high that
            each unit of debt needs more than one unit of debt, and commitments above the cost.
    """
    check_construction_case(case)
    if case.facilities is not None:
        return fund_facilities(case, case.facilities)
    if case.debt_commitment is not None:
        return fund_commitment(case, case.debt_commitment)
    return _fund_gearing(case, case.gearing or 0.0)


def _fund_gearing(case: ConstructionCase, gearing: float) -> ConstructionFunding:
    """Fund the costs with one debt that is a share of the uses."""
    periods = len(case.construction_cost)
    terms = _PeriodTerms(
        (case.cost_at_close, *case.construction_cost),
        expand_per_period(case.rate_per_period or 0.0, periods),
        expand_per_period(case.commitment_fee_per_period, periods),
        gearing,
        case,
    )
    is_pro_rata = case.funding != "equity_first"
    debt = _solve_pro_rata(terms) if is_pro_rata else _solve_equity_first(terms)
    if not debt <= MAX_AMOUNT:
        raise _no_solution_error()
    remaining_equity = None if is_pro_rata else debt * (1.0 - gearing) / gearing
    rows = _build_rows(terms, debt, remaining_equity)
    reject_overflow(
        "/construction_cost", (row.uses for row in rows), (row.closing_balance for row in rows)
    )
    return _build_result(case, debt, rows)


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
            balance += terms.gearing * uses
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
    """Find the fixed point of the debt drawn."""
    equity_ratio = (1.0 - terms.gearing) / terms.gearing
    debt = find_fixed_point(
        lambda debt: _total_debt_draw(terms, debt, debt * equity_ratio, 1.0), 0.0, MAX_AMOUNT
    )
    if debt is None:
        raise _no_solution_error()
    return debt


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
            debt_draw = terms.gearing * uses
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
            "funding": case.funding or "pro_rata",
        },
    )
