"""A deal in one model: construction and operation, every lender and the sponsors.

The funded cost is solved first (`deal_funding`); the waterfall then pays the debt that was drawn
(`deal_operation`). Sponsors pay equity and shareholder loan in construction and receive the
distributions; a balloon is refinanced by them. Sources equal uses in every period of construction
and cash in equals cash out in every period of operation.
"""

from collections.abc import Sequence
from math import fsum
from typing import NamedTuple

import msgspec

from spawn.domain.finance.construction.construction_result import (
    ConstructionRow,
    FacilityDraws,
)
from spawn.domain.finance.construction.facility_funding import (
    build_construction_rows,
    build_facility_draws,
)
from spawn.domain.finance.coverage_ratios import (
    compute_dscrs,
    compute_life_cover_ratios,
    find_lowest,
    weighted_average_life,
)
from spawn.domain.finance.deal.deal_case import DealCase, DealInputs, resolve_deal_inputs
from spawn.domain.finance.deal.deal_funding import DealFunding, fund_deal
from spawn.domain.finance.deal.deal_operation import (
    LoanOperation,
    VatOperation,
    run_deal_waterfall,
    run_shareholder_loans,
    run_vat,
)
from spawn.domain.finance.deal.deal_result import (
    DealFacilityResult,
    DealFacilityRow,
    DealResult,
    DealRow,
    SponsorResult,
)
from spawn.domain.finance.deal.deal_tax import DealTax, solve_deal_tax
from spawn.domain.finance.debt_sizing_warnings import warn_of_equity_rate
from spawn.domain.finance.facilities.debt_stack import Repayment
from spawn.domain.finance.facilities.repayment_terms import describe_sculpting
from spawn.domain.finance.limits import ROUNDING_NOISE, reject_overflow
from spawn.domain.finance.period_lists import list_periods, warn_of_high_rates
from spawn.domain.finance.sizing.facility_sizing import warn_of_sculpting
from spawn.domain.finance.sizing.sizing_equity import find_equity_rate
from spawn.domain.finance.waterfall.waterfall_result import WaterfallResult, WaterfallRow


class _JoinedDeal(NamedTuple):
    """Everything that the result is read from; series of operation begin with its period 1."""

    inputs: DealInputs
    funding: DealFunding
    cfads: tuple[float, ...]
    tax: DealTax
    vat: VatOperation
    mezzanine: Repayment | None
    waterfall: WaterfallResult
    loans: dict[int, LoanOperation]
    construction: tuple[ConstructionRow, ...]
    draws: tuple[FacilityDraws, ...]


class _SeniorDebt(NamedTuple):
    """Senior debt as scheduled, by period of operation; balances from its start."""

    balances: list[float]
    interest: list[float]
    principal: list[float]
    balloons: list[float]
    service: list[float]
    dscr: tuple[float | None, ...]
    llcr: tuple[float | None, ...]
    plcr: tuple[float | None, ...]


def model_deal(case: DealCase) -> DealResult:
    """Solve a deal, and pay it out period by period.

    Raises:
        InvalidInput: names each field outside its limits or without a use; also a deal without a
            finite funded cost, CFADS that carry no debt, and commitments that are not drawn.
    """
    inputs = resolve_deal_inputs(case)
    vat = run_vat(inputs)
    cfads = tuple(cash - paid for cash, paid in zip(inputs.cfads, vat.interest, strict=True))

    return _build_result(_join(inputs, vat, solve_deal_tax(inputs, cfads, vat.interest)))


def _join(inputs: DealInputs, vat: VatOperation, tax: DealTax) -> _JoinedDeal:
    cfads = tax.cfads
    funding = fund_deal(inputs, cfads, tax.funded_cost)
    mezzanine: Repayment | None = None
    if inputs.mezzanine is not None:
        place = inputs.lenders[inputs.mezzanine]
        mezzanine = inputs.stack.repay(inputs.mezzanine, funding.periods[-1].closing[place])
    waterfall = run_deal_waterfall(inputs, funding, cfads, mezzanine)
    distributions = [row.distribution for row in waterfall.rows]
    return _JoinedDeal(
        inputs=inputs,
        funding=funding,
        cfads=cfads,
        tax=tax,
        vat=vat,
        mezzanine=mezzanine,
        waterfall=waterfall,
        loans=run_shareholder_loans(inputs, funding, distributions),
        construction=build_construction_rows(inputs.draws, funding.periods),
        draws=build_facility_draws(inputs.draws, funding.plan, funding.periods),
    )


def _build_result(deal: _JoinedDeal) -> DealResult:
    inputs, funding = deal.inputs, deal.funding
    senior = _sum_senior(deal)
    rows = _build_rows(deal, senior)
    flows = tuple(row.sponsor_cash_flow for row in rows)
    reject_overflow(
        "/cfads",
        (row.sponsor_cash_flow for row in rows),
        *((row.dscr, row.llcr, row.plcr, row.debt_balance) for row in rows),
    )
    ratios = [ratio for ratio in senior.dscr if ratio is not None]
    debt = fsum(funding.sizing.amounts)
    equity_irr = find_equity_rate(inputs.schedule, flows)
    first = inputs.construction_periods
    lowest = find_lowest(senior.dscr)
    return DealResult(
        debt=debt,
        binding=funding.sizing.binding,
        dscr_capacity=funding.sizing.capacity,
        total_uses=funding.total_uses,
        equity=fsum(row.equity_draw for row in deal.construction),
        gearing=debt / funding.total_uses,
        idc_total=fsum(each.interest_total for each in deal.draws),
        fees_total=fsum(each.fees_total for each in deal.draws),
        initial_dsra=funding.plan.reserve,
        min_dscr=min(ratios, default=None),
        min_dscr_period=None if lowest is None else first + lowest,
        avg_dscr=sum(ratios) / len(ratios) if ratios else None,
        llcr=senior.llcr[0],
        plcr=senior.plcr[0],
        wal_years=weighted_average_life(inputs.operation.payment_times_years(), senior.principal),
        equity_irr=equity_irr,
        project_irr=find_equity_rate(inputs.schedule, _project_flows(deal)),
        sponsor_cash_flow=flows,
        cfads=inputs.cfads,
        rows=rows,
        facilities=_build_facilities(deal),
        tax_rows=deal.tax.rows or None,
        total_tax=fsum(row.tax_paid for row in deal.tax.rows) if deal.tax.rows else None,
        tax_iterations=deal.tax.iterations or None,
        sponsors=_share_flows(inputs.case, flows),
        construction=deal.construction,
        waterfall=_number_rows(deal),
        months_per_period=inputs.schedule.months_per_period,
        conventions=_conventions(deal),
        warnings=_list_warnings(deal, senior) + warn_of_equity_rate(equity_irr),
    )


def _sum_senior(deal: _JoinedDeal) -> _SeniorDebt:
    """Return the sums over the senior facilities, and the ratios on them."""
    inputs, funding = deal.inputs, deal.funding
    periods = inputs.operating_periods
    balances = [0.0] * (periods + 1)
    interest, principal, balloons = [0.0] * periods, [0.0] * periods, [0.0] * periods
    for index, repayment in enumerate(funding.sizing.repayments):
        if index == inputs.mezzanine:
            continue
        for t, payment in enumerate(repayment.principal):
            balances[t] += repayment.balances[t]
            interest[t] += repayment.interest[t]
            principal[t] += payment
        balloons[len(repayment.principal) - 1] += repayment.balloon
    noise = ROUNDING_NOISE * max(balances)
    rates: list[float] = []
    for t in range(periods):
        rates.append(interest[t] / balances[t] if balances[t] > noise else rates[-1])
    service = funding.senior_service
    tenor = max(t for t in range(periods) if balances[t] > noise) + 1
    llcr = compute_life_cover_ratios(deal.cfads[:tenor], rates, balances[:tenor])
    plcr = compute_life_cover_ratios(deal.cfads, rates, balances[:tenor])
    rest = (None,) * (periods - tenor)
    return _SeniorDebt(
        balances=balances,
        interest=interest,
        principal=principal,
        balloons=balloons,
        service=service,
        dscr=compute_dscrs(deal.cfads, service, max(balances)),
        llcr=(*llcr[:tenor], *rest),
        plcr=(*plcr[:tenor], *rest),
    )


def _build_rows(deal: _JoinedDeal, senior: _SeniorDebt) -> tuple[DealRow, ...]:
    return (*_list_construction_rows(deal), *_list_operating_rows(deal, senior))


def _list_construction_rows(deal: _JoinedDeal) -> list[DealRow]:
    inputs, dates = deal.inputs, deal.inputs.schedule.dates
    kinds = [source.kind for source in inputs.draws.sources]
    rows: list[DealRow] = []
    for t, row in enumerate(deal.construction):
        period = deal.funding.periods[t]
        loans = fsum(
            draw
            for kind, draw in zip(kinds, period.draws, strict=True)
            if kind == "shareholder_loan"
        )
        is_last = t == inputs.construction_periods
        rows.append(
            DealRow(
                period=t,
                phase="construction",
                date=dates[t] if dates else None,
                uses=row.uses,
                debt_draw=row.debt_draw,
                grant_draw=row.grant_draw,
                equity_draw=row.equity_draw,
                cfads=0.0,
                senior_interest=0.0,
                senior_principal=0.0,
                debt_service=0.0,
                balloon=0.0,
                senior_balance=_sum_kinds(kinds, period.closing, {"senior"}),
                debt_balance=row.closing_balance,
                dscr=None,
                llcr=None,
                plcr=None,
                dsra_balance=deal.funding.plan.reserve if is_last else 0.0,
                distribution=0.0,
                sponsor_cash_flow=-row.equity_draw - loans,
            )
        )
    return rows


def _sum_kinds(kinds: Sequence[str], values: Sequence[float], wanted_kinds: set[str]) -> float:
    return fsum(v for kind, v in zip(kinds, values, strict=True) if kind in wanted_kinds)


def _list_operating_rows(deal: _JoinedDeal, senior: _SeniorDebt) -> list[DealRow]:
    inputs, dates = deal.inputs, deal.inputs.schedule.dates
    rows: list[DealRow] = []
    for t, paid in enumerate(deal.waterfall.rows):
        period = inputs.construction_periods + 1 + t
        loans = fsum(loan.balances[t + 1] for loan in deal.loans.values())
        junior = paid.mezz_close + deal.vat.balances[t + 1] + loans
        rows.append(
            DealRow(
                period=period,
                phase="operation",
                date=dates[period] if dates else None,
                uses=0.0,
                debt_draw=0.0,
                grant_draw=0.0,
                equity_draw=0.0,
                cfads=deal.cfads[t],
                tax_paid=deal.tax.rows[t].tax_paid if deal.tax.rows else 0.0,
                senior_interest=senior.interest[t],
                senior_principal=senior.principal[t],
                debt_service=senior.service[t],
                balloon=senior.balloons[t],
                senior_balance=senior.balances[t + 1],
                debt_balance=senior.balances[t + 1] + junior,
                dscr=senior.dscr[t],
                llcr=senior.llcr[t],
                plcr=senior.plcr[t],
                dsra_balance=paid.dsra_close,
                distribution=paid.distribution,
                sponsor_cash_flow=paid.distribution - senior.balloons[t],
            )
        )
    return rows


def _project_flows(deal: _JoinedDeal) -> list[float]:
    """Return costs and CFADS before any financing."""
    costs = [-row.cost for row in deal.construction]
    return [*costs, *deal.inputs.cfads]


def _number_rows(deal: _JoinedDeal) -> tuple[WaterfallRow, ...]:
    """Return the rows of the waterfall with the numbers and dates of the deal."""
    return tuple(_renumber(row, deal.inputs.construction_periods) for row in deal.waterfall.rows)


def _renumber(row: WaterfallRow, first: int) -> WaterfallRow:
    return msgspec.structs.replace(row, period=row.period + first)


def _build_facilities(deal: _JoinedDeal) -> tuple[DealFacilityResult, ...]:
    return tuple(_build_facility(deal, place) for place in range(len(deal.draws)))


def _build_facility(deal: _JoinedDeal, place: int) -> DealFacilityResult:
    """Join the draws of a facility with its repayment."""
    inputs, draws = deal.inputs, deal.draws[place]
    dates = inputs.schedule.dates
    rates = inputs.annual_rates[place]
    loan, balloon = _operate(deal, place)
    rows = [
        DealFacilityRow(
            period=row.period,
            date=dates[row.period] if dates else None,
            annual_rate=row.annual_rate,
            opening_balance=row.opening_balance,
            draw=row.draw,
            fees=row.upfront_fee + row.commitment_fee,
            interest=row.interest,
            capitalised=row.capitalised,
            repaid=row.repaid,
            closing_balance=row.closing_balance,
        )
        for row in draws.rows
    ]
    first = inputs.construction_periods
    for t in range(len(loan.interest)):
        period = first + 1 + t
        rows.append(
            DealFacilityRow(
                period=period,
                date=dates[period] if dates else None,
                annual_rate=rates[period - 1],
                opening_balance=loan.balances[t],
                draw=0.0,
                fees=0.0,
                interest=loan.interest[t],
                capitalised=loan.capitalised[t],
                repaid=loan.repaid[t],
                closing_balance=loan.balances[t + 1],
            )
        )
    return DealFacilityResult(
        name=draws.name,
        kind=draws.kind,
        commitment=draws.commitment,
        drawn_total=draws.drawn_total,
        interest_total=fsum(row.interest for row in rows),
        fees_total=draws.fees_total,
        capitalised_total=fsum(row.capitalised for row in rows),
        repaid_total=fsum(row.repaid for row in rows),
        balloon=balloon,
        closing_balance=rows[-1].closing_balance,
        rows=tuple(rows),
    )


def _operate(deal: _JoinedDeal, place: int) -> tuple[LoanOperation, float]:
    """Return a facility in operation, and its balloon."""
    inputs = deal.inputs
    nothing = LoanOperation([], [], [], [])
    if place in deal.loans:
        return deal.loans[place], 0.0
    if place == inputs.draws.vat:
        count = inputs.draws.sources[place].refund_periods
        vat = deal.vat
        return LoanOperation(
            vat.interest[:count], [0.0] * count, vat.refunds[:count], vat.balances[: count + 1]
        ), 0.0
    if place not in inputs.lenders:
        return nothing, 0.0
    index = inputs.lenders.index(place)
    if index == inputs.mezzanine:
        return _operate_mezzanine(deal), 0.0
    repayment = deal.funding.sizing.repayments[index]
    return LoanOperation(
        list(repayment.interest),
        list(repayment.capitalised),
        list(repayment.principal),
        list(repayment.balances),
    ), repayment.balloon


def _operate_mezzanine(deal: _JoinedDeal) -> LoanOperation:
    rows = deal.waterfall.rows
    opening = deal.mezzanine.balances[0] if deal.mezzanine else 0.0
    return LoanOperation(
        [row.mezz_interest_due for row in rows],
        [row.mezz_pik for row in rows],
        [row.mezz_catch_up + row.mezz_principal_paid for row in rows],
        [opening, *(row.mezz_close for row in rows)],
    )


def _share_flows(case: DealCase, flows: Sequence[float]) -> tuple[SponsorResult, ...]:
    return tuple(
        SponsorResult(
            name=sponsor.name,
            share=sponsor.share,
            paid_in=fsum(-sponsor.share * flow for flow in flows if flow < 0.0),
            received=fsum(sponsor.share * flow for flow in flows if flow > 0.0),
            cash_flow=tuple(sponsor.share * flow for flow in flows),
        )
        for sponsor in case.sponsors
    )


def _list_warnings(deal: _JoinedDeal, senior: _SeniorDebt) -> tuple[str, ...]:
    inputs, waterfall = deal.inputs, deal.waterfall
    first = inputs.construction_periods
    warnings = list(inputs.schedule.warnings)
    warnings += [text for each in deal.funding.sizing.repayments for text in each.warnings]
    warnings += warn_of_sculpting(inputs.stack_facilities, inputs.stack, deal.funding.sizing)
    groups = {
        "the DSCR is below 1: CFADS do not cover debt service": [
            first + n
            for n, ratio in enumerate(senior.dscr, start=1)
            if ratio is not None and ratio < 1.0
        ],
        "senior debt service is not paid in full": [
            first + row.period for row in waterfall.rows if row.senior_unpaid > 0.0
        ],
        "distributions are locked up": [
            first + row.period for row in waterfall.rows if row.locked_up
        ],
        "costs exceed all cash and reserves": [
            first + row.period for row in waterfall.rows if row.operating_shortfall > 0.0
        ],
        "mezzanine interest is capitalised": [
            first + row.period for row in waterfall.rows if row.mezz_pik > 0.0
        ],
    }
    warnings += [
        f"{text} in {list_periods(numbers)}" for text, numbers in groups.items() if numbers
    ]
    return tuple(warnings + _warn_of_ends(deal, senior) + _warn_of_rates(inputs))


def _warn_of_ends(deal: _JoinedDeal, senior: _SeniorDebt) -> list[str]:
    """Warn of a balloon, and of what is owed or locked up at the end of the project."""
    last, scale = deal.waterfall.rows[-1], deal.funding.total_uses
    first = deal.inputs.construction_periods
    ends = {
        "locked-up cash": last.trapped_close,
        "the mezzanine": last.mezz_close,
        "senior debt": last.senior_close or 0.0,
        "shareholder loans": fsum(loan.balances[-1] for loan in deal.loans.values()),
    }
    warnings = [
        f"at the end of the project {amount:.10g} of {name} is left"
        for name, amount in ends.items()
        if amount > ROUNDING_NOISE * scale
    ]
    balloons = [first + n for n, amount in enumerate(senior.balloons, start=1) if amount > 0.0]
    if balloons:
        warnings.append(f"sponsors refinance the balloon in {list_periods(balloons)}")
    return warnings


def _warn_of_rates(inputs: DealInputs) -> list[str]:
    warnings: list[str] = []
    for facility, rates in zip(inputs.case.facilities, inputs.annual_rates, strict=True):
        warnings += warn_of_high_rates(rates, facility.name)
    return warnings


def _conventions(deal: _JoinedDeal) -> dict[str, str]:
    return deal.waterfall.conventions | {
        "timing": "flows at period end; period 0 is financial close, operation follows "
        "construction",
        "day_count": deal.inputs.schedule.day_count,
        "interest": "annual rate x accrual fraction x opening balance",
        "rate": "(1 - hedged share) x max(base, floor) + hedged share x swap rate + margin",
        "funding": "by draw order, pro rata to what is undrawn within one",
        "funded_cost": "costs, interest, fees and the initial DSRA, their own fixed point",
        "gearing": "senior and mezzanine debt / funded cost",
        "sculpting": describe_sculpting(deal.inputs.stack_facilities),
        "dscr": "CFADS / scheduled senior debt service, balloons apart, not rounded",
        "cfads": "as given or built up, less the interest of the VAT facility and the tax",
        "tax": "on EBITDA less depreciation and the interest of lenders as scheduled",
        "llcr": "PV of CFADS to the maturity of senior debt at its average rates / balance",
        "equity_irr": "of sponsors: equity, shareholder loan, distributions, balloons",
    }
