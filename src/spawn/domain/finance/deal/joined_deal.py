"""A deal in one model: construction and operation, every lender and the sponsors.

The funded cost is solved first (`deal_funding`); the waterfall then pays the debt that was drawn
(`deal_operation`). Sponsors pay equity and shareholder loan in construction and receive the
distributions; they refinance what a sweep leaves of a balloon. Sources equal uses in every period
of construction and cash in equals cash out in every period of operation. Rows have what is paid;
ratios are those of the debt as scheduled at close, which a sweep or a shortfall departs from.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from math import fsum
from typing import NamedTuple

from msgspec.structs import replace

from spawn.domain.finance.construction.construction_result import (
    ConstructionRow,
    FacilityDraws,
)
from spawn.domain.finance.construction.facility_funding import (
    build_construction_rows,
    build_facility_draws,
    warn_of_undrawn,
)
from spawn.domain.finance.coverage_ratios import (
    compute_dscrs,
    compute_life_cover_ratios,
    find_lowest,
    is_below,
    weighted_average_life,
)
from spawn.domain.finance.deal.deal_case import (
    DealCase,
    DealInputs,
    point_at_cash,
    resolve_deal_inputs,
)
from spawn.domain.finance.deal.deal_funding import DealFunding
from spawn.domain.finance.deal.deal_operation import (
    LoanOperation,
    VatOperation,
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
from spawn.domain.finance.deal.deal_tax import DealTax
from spawn.domain.finance.deal.operation_tax import operate_deal
from spawn.domain.finance.debt_sizing_warnings import warn_of_equity_rate
from spawn.domain.finance.facilities.debt_stack import Repayment
from spawn.domain.finance.facilities.repayment_terms import describe_sculpting
from spawn.domain.finance.limits import ROUNDING_NOISE, reject_overflow
from spawn.domain.finance.period_lists import list_periods, warn_of_moved_dates
from spawn.domain.finance.sizing.facility_sizing import warn_of_sculpting
from spawn.domain.finance.sizing.sizing_equity import find_equity_rate
from spawn.domain.finance.tax.tax_terms import warn_of_idle_assets
from spawn.domain.finance.waterfall.waterfall_result import WaterfallResult


class _JoinedDeal(NamedTuple):
    """Everything that the result is read from; series of operation begin with its period 1."""

    inputs: DealInputs
    funding: DealFunding
    cfads: tuple[float, ...]
    taxes: tuple[float, ...] | None
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
    service: list[float]
    dscr: tuple[float | None, ...]
    llcr: tuple[float | None, ...]
    plcr: tuple[float | None, ...]


class _Balloons(NamedTuple):
    """Balloons of senior debt by period of operation: refinanced at its end, and left after it."""

    refinancings: list[float]
    closing: list[float]


def model_deal(case: DealCase) -> DealResult:
    """Solve a deal, and pay it out period by period.

    Raises:
        InvalidInput: names each field outside its limits or without a use; also a deal without a
            finite funded cost, CFADS that carry no debt, and commitments that are not drawn.
    """
    inputs = resolve_deal_inputs(case)
    with point_at_cash(case):
        return _build_result(_join(inputs, run_vat(inputs)))


def _join(inputs: DealInputs, vat: VatOperation) -> _JoinedDeal:
    operation = operate_deal(inputs, vat)
    funding = operation.funding
    distributions = [row.distribution for row in operation.waterfall.rows]
    return _JoinedDeal(
        inputs=inputs,
        funding=funding,
        cfads=operation.tax.cfads,
        taxes=_list_taxes(inputs, operation.tax),
        tax=operation.tax,
        vat=vat,
        mezzanine=operation.mezzanine,
        waterfall=operation.waterfall,
        loans=run_shareholder_loans(inputs, funding, distributions),
        construction=build_construction_rows(inputs.draws, funding.periods),
        draws=build_facility_draws(inputs.draws, funding.plan, funding.periods),
    )


def _list_taxes(inputs: DealInputs, tax: DealTax) -> tuple[float, ...] | None:
    """Return the taxes that are computed or stated, None without any."""
    return tuple(row.tax_paid for row in tax.rows) if tax.rows else inputs.stated_taxes


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
        tax_rows=tuple(replace(row, period=first + row.period) for row in deal.tax.rows) or None,
        total_tax=None if deal.taxes is None else fsum(deal.taxes),
        tax_iterations=deal.tax.iterations or None,
        sponsors=_share_flows(inputs.case, flows),
        construction=deal.construction,
        waterfall=deal.waterfall.rows,
        months_per_period=inputs.schedule.months_per_period,
        conventions=_conventions(deal),
        warnings=_list_warnings(deal, senior) + warn_of_equity_rate(equity_irr),
    )


def _sum_senior(deal: _JoinedDeal) -> _SeniorDebt:
    """Return the sums over the senior facilities, and the ratios on them."""
    inputs, funding = deal.inputs, deal.funding
    periods = inputs.operating_periods
    balances = [0.0] * (periods + 1)
    interest, principal = [0.0] * periods, [0.0] * periods
    for index, repayment in enumerate(funding.sizing.repayments):
        if index == inputs.mezzanine:
            continue
        for t, payment in enumerate(repayment.principal):
            balances[t] += repayment.balances[t]
            interest[t] += repayment.interest[t]
            principal[t] += payment
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
                scheduled_senior_balance=_sum_kinds(kinds, period.closing, {"senior"}),
            )
        )
    return rows


def _sum_kinds(kinds: Sequence[str], values: Sequence[float], wanted_kinds: set[str]) -> float:
    return fsum(v for kind, v in zip(kinds, values, strict=True) if kind in wanted_kinds)


def _list_operating_rows(deal: _JoinedDeal, senior: _SeniorDebt) -> list[DealRow]:
    dates = deal.inputs.schedule.dates
    rows: list[DealRow] = []
    cash_before = deal.funding.plan.reserve
    balloons = _sum_balloons(deal)
    for t, paid in enumerate(deal.waterfall.rows):
        period = paid.period
        loans = fsum(loan.balances[t + 1] for loan in deal.loans.values())
        junior = paid.mezz_close + deal.vat.balances[t + 1] + loans
        senior_balance = (paid.senior_close or 0.0) + balloons.closing[t]
        cash = paid.dsra_close + paid.trapped_close
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
                tax_paid=deal.taxes[t] if deal.taxes else 0.0,
                senior_interest=paid.senior_interest_paid,
                senior_principal=paid.senior_principal_paid,
                debt_service=paid.senior_paid,
                balloon=balloons.refinancings[t],
                senior_balance=senior_balance,
                debt_balance=senior_balance + junior,
                dscr=senior.dscr[t],
                llcr=senior.llcr[t],
                plcr=senior.plcr[t],
                dsra_balance=paid.dsra_close,
                distribution=paid.distribution,
                sponsor_cash_flow=paid.distribution - balloons.refinancings[t],
                sweep=paid.sweep,
                mezzanine_interest=paid.mezz_paid + paid.mezz_catch_up,
                mezzanine_principal=paid.mezz_principal_paid,
                reserve_income=paid.reserve_income,
                operating_shortfall=paid.operating_shortfall,
                cash_movement=cash - cash_before,
                scheduled_interest=senior.interest[t],
                scheduled_principal=senior.principal[t],
                scheduled_debt_service=senior.service[t],
                scheduled_senior_balance=senior.balances[t + 1],
            )
        )
        cash_before = cash
    return rows


def _sum_balloons(deal: _JoinedDeal) -> _Balloons:
    """Return what sweeps have left of the balloons, and the part that sponsors refinance."""
    periods = deal.inputs.operating_periods
    balloons = _Balloons([0.0] * periods, [0.0] * periods)
    for index, repayment in enumerate(deal.funding.sizing.repayments):
        if index == deal.inputs.mezzanine:
            continue
        last = len(repayment.payments) - 1
        amounts = deal.waterfall.tranche_balloons[_tranche_of(deal, index)]
        balloons.refinancings[last] += amounts[last]
        for t in range(last):
            balloons.closing[t] += amounts[t]
    return balloons


def _tranche_of(deal: _JoinedDeal, index: int) -> int:
    """Return the place in the waterfall of a lender, which the mezzanine has none in."""
    return index - (deal.inputs.mezzanine is not None and deal.inputs.mezzanine < index)


def _project_flows(deal: _JoinedDeal) -> list[float]:
    """Return costs and CFADS before any financing."""
    costs = [-row.cost for row in deal.construction]
    return [*costs, *deal.inputs.cfads]


def _build_facilities(deal: _JoinedDeal) -> tuple[DealFacilityResult, ...]:
    return tuple(_build_facility(deal, place) for place in range(len(deal.draws)))


def _build_facility(deal: _JoinedDeal, place: int) -> DealFacilityResult:
    """Join the draws of a facility with its repayment."""
    inputs, draws = deal.inputs, deal.draws[place]
    dates = inputs.schedule.dates
    rates = inputs.annual_rates[place]
    loan, balloon = _operate(deal, place)
    schedule = _find_schedule(deal, place)
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
                scheduled_interest=_value_at(schedule.interest, t) if schedule else None,
                scheduled_principal=_value_at(schedule.principal, t) if schedule else None,
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
        scheduled_balloon=schedule.balloon if schedule and draws.kind == "senior" else 0.0,
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
    last = len(deal.funding.sizing.repayments[index].payments) - 1
    balloon = deal.waterfall.tranche_balloons[_tranche_of(deal, index)][last]
    return _operate_senior(deal, index), balloon


def _find_schedule(deal: _JoinedDeal, place: int) -> Repayment | None:
    """Return the repayment of a lender as scheduled; the other facilities have none."""
    if place not in deal.inputs.lenders:
        return None
    index = deal.inputs.lenders.index(place)
    is_mezzanine = index == deal.inputs.mezzanine
    return deal.mezzanine if is_mezzanine else deal.funding.sizing.repayments[index]


def _value_at(values: Sequence[float], t: int) -> float:
    return values[t] if t < len(values) else 0.0


def _operate_senior(deal: _JoinedDeal, index: int) -> LoanOperation:
    """Return a senior facility as paid, over its tenor and as long as it is owed."""
    repayment = deal.funding.sizing.repayments[index]
    tranche = _tranche_of(deal, index)
    interest = deal.waterfall.tranche_interest[tranche]
    closing = [balance or 0.0 for balance in deal.waterfall.tranche_balances[tranche]]
    tenor, count = len(repayment.payments), len(closing)
    while count > tenor and not (closing[count - 2] or interest[count - 1]):
        count -= 1
    for t in range(tenor - 1):
        closing[t] += deal.waterfall.tranche_balloons[tranche][t]
    balances = [repayment.balances[0], *closing[:count]]
    return LoanOperation(
        list(interest[:count]),
        [0.0] * count,
        [before - after for before, after in pairwise(balances)],
        balances,
    )


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
    """Return the warnings of every part, each once, in the numbers of the deal."""
    inputs = deal.inputs
    mezzanine = () if deal.mezzanine is None else deal.mezzanine.warnings
    parts: tuple[Iterable[str], ...] = (
        inputs.schedule.warnings,
        inputs.idle_terms,
        warn_of_undrawn(inputs.draws, deal.draws),
        (text for each in deal.funding.sizing.repayments for text in each.warnings),
        mezzanine,
        warn_of_sculpting(inputs.stack_facilities, inputs.stack, deal.funding.sizing),
        _warn_of_equity(deal),
        _warn_of_operation(deal, senior),
        deal.waterfall.warnings,
        _warn_of_ends(deal),
        _warn_of_tax(deal),
    )
    return tuple(dict.fromkeys(chain.from_iterable(parts)))


def _warn_of_operation(deal: _JoinedDeal, senior: _SeniorDebt) -> list[str]:
    """Warn of low CFADS and ratios, of a lock-up, and of interest that is not paid."""
    inputs, rows = deal.inputs, deal.waterfall.rows
    ratios = [1.0] * (inputs.construction_periods + 1)
    ratios += [1.0 if ratio is None else ratio for ratio in senior.dscr]
    cfads = [0.0] * (inputs.construction_periods + 1) + [*inputs.cfads]
    groups = {
        "CFADS are below zero": [n for n, cash in enumerate(cfads) if cash < 0.0],
        "the DSCR is below 1: CFADS do not cover debt service": [
            n for n, ratio in enumerate(ratios) if is_below(ratio, 1.0)
        ],
        "distributions are locked up": [row.period for row in rows if row.locked_up],
        "mezzanine interest is capitalised": [row.period for row in rows if row.mezz_pik > 0.0],
    }
    return [f"{text} in {list_periods(numbers)}" for text, numbers in groups.items() if numbers]


def _warn_of_ends(deal: _JoinedDeal) -> list[str]:
    """Warn of shareholder loans that are left, and of a balloon."""
    warnings: list[str] = []
    first = deal.inputs.construction_periods
    loans = fsum(loan.balances[-1] for loan in deal.loans.values())
    if loans > ROUNDING_NOISE * deal.funding.total_uses:
        warnings.append(f"at the end {loans:.10g} of shareholder loans is left")
    refinancings = _sum_balloons(deal).refinancings
    balloons = [first + n for n, amount in enumerate(refinancings, start=1) if amount > 0.0]
    if balloons:
        warnings.append(f"sponsors refinance the balloon in {list_periods(balloons)}")
    return warnings


def _warn_of_tax(deal: _JoinedDeal) -> list[str]:
    """Warn of a tax by the year on moved dates, and of one that depreciates more than the cost."""
    case, cost = deal.inputs.case, deal.funding.total_uses
    if case.tax is None:
        return []
    warnings = warn_of_moved_dates(case.dates) if case.tax.assessment == "year" else []
    has_later_costs = case.cash_flow is not None and case.cash_flow.capital_costs
    assets = fsum(asset.cost for asset in case.tax.assets)
    if assets > cost * (1.0 + ROUNDING_NOISE) and not has_later_costs:
        text = f"the assets of the tax cost {assets:.10g}, above the funded cost of {cost:.10g}"
        warnings.append(text)
    if deal.inputs.tax_base is not None:
        warnings += warn_of_idle_assets(deal.inputs.tax_base)
    return warnings


def _warn_of_equity(deal: _JoinedDeal) -> list[str]:
    """Warn of a deal whose sponsors pay nothing in because no cap limits the debt."""
    paid_in = fsum(row.equity_draw for row in deal.construction)
    paid_in += fsum(loan.balances[0] for loan in deal.loans.values())
    total = deal.funding.total_uses
    if deal.inputs.case.max_gearing is not None or paid_in > ROUNDING_NOISE * total:
        return []
    text = "sponsors pay nothing in, so that their return has no rate"
    return [f"{text}: the other facilities fund the whole cost; set max_gearing to cap the debt"]


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
        "rows": "as paid; DSCR, LLCR, PLCR and average life are of the debt as scheduled",
        "cfads": "as given or built up, less the interest of the VAT facility and the tax",
        "tax": "on EBITDA less depreciation and the interest that lenders are paid; capitalised "
        "interest is deducted when it is repaid",
        "llcr": "PV of CFADS to the maturity of senior debt at its average rates / balance",
        "equity_irr": "of sponsors: equity, shareholder loan, distributions, balloons",
    }
