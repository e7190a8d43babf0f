"""Build-up of CFADS: revenue lines, costs, working capital, capital costs and tax by period.

A line of revenue is volume x price; the price grows with its index, the volume falls by its
degradation. Receivables and payables are the revenue and the operating costs of the last days of a
period; their increase is cash that is not yet there. Source of the order of the lines:
E. R. Yescombe, Principles of Project Finance.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from operator import add, mul, sub
from typing import NamedTuple

from spawn.domain.finance.cash_flow.cash_flow_case import (
    CashFlowCase,
    CashFlowInputs,
    count_contract_shares,
    resolve_cash_flow_inputs,
)
from spawn.domain.finance.cash_flow.cash_flow_lines import (
    AvailabilityPayment,
    CapitalCost,
    OperatingCost,
    PerPeriod,
    RevenueLine,
)
from spawn.domain.finance.cash_flow.cash_flow_result import (
    CashFlowLine,
    CashFlowResult,
    CashFlowRow,
)
from spawn.domain.finance.cash_flow.cash_flow_warnings import warn_of_idle_terms, warn_of_losses
from spawn.domain.finance.cash_flow.price_index import apply_index
from spawn.domain.finance.limits import expand_per_period, reject_overflow
from spawn.domain.finance.tax.income_tax import TaxRow, compute_tax
from spawn.domain.finance.tax.tax_terms import resolve_tax_base, warn_of_idle_assets
from spawn.domain.finance.time_base.period_bounds import floor_years
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule, shares_ahead

Series = tuple[float, ...]


def build_cash_flow(case: CashFlowCase, schedule: PeriodSchedule | None = None) -> CashFlowResult:
    """Build the cash flow before debt service of each period from its lines.

    Args:
        case: the lines, and their time unless a schedule is given.
        schedule: the periods of a larger case that the lines are a part of.

    Raises:
        InvalidInput: names each field outside its limits.
    """
    inputs = resolve_cash_flow_inputs(case, schedule)
    sales = [_sell(inputs, line) for line in case.revenues]
    payments = [_pay_for_availability(inputs, line) for line in case.availability_payments]
    contract = _sum_series(inputs, (sale.contract for sale in sales))
    merchant = _sum_series(inputs, (sale.merchant for sale in sales))
    availability = _sum_series(inputs, (gross for gross, _ in payments))
    deductions = _sum_series(inputs, (deduction for _, deduction in payments))
    sold = map(add, map(add, contract, merchant), availability)
    revenue = tuple(map(sub, sold, deductions))
    volumes = {line.name: sale.volumes for line, sale in zip(case.revenues, sales, strict=True)}
    costs = [_spend(inputs, line, volumes, revenue) for line in case.operating_costs]
    capital = [_invest(inputs, line) for line in case.capital_costs]
    is_fixed = [
        line.unit_cost is None and line.revenue_share is None for line in case.operating_costs
    ]
    fixed = _sum_series(
        inputs, (cost.amounts for cost, fix in zip(costs, is_fixed, strict=True) if fix)
    )
    variable = _sum_series(
        inputs, (cost.amounts for cost, fix in zip(costs, is_fixed, strict=True) if not fix)
    )
    rows, tax_rows = _build_rows(
        inputs,
        _Totals(
            contract=contract,
            merchant=merchant,
            availability=availability,
            deductions=deductions,
            revenue=revenue,
            fixed_costs=fixed,
            variable_costs=variable,
            capital_costs=_sum_series(inputs, (line.amounts for line in capital)),
        ),
    )
    lines = (
        *(sale.to_line(line) for line, sale in zip(case.revenues, sales, strict=True)),
        *(
            _describe_payment(inputs, line, gross, deduction)
            for line, (gross, deduction) in zip(case.availability_payments, payments, strict=True)
        ),
        *costs,
        *capital,
    )
    return _build_result(inputs, rows, lines, tax_rows)


class _Sale(NamedTuple):
    """A revenue line by period."""

    volumes: Series
    factors: Series
    prices: Series
    merchant_prices: Series | None
    contract: Series
    merchant: Series

    def to_line(self, line: RevenueLine) -> CashFlowLine:
        return CashFlowLine(
            name=line.name,
            kind="revenue",
            volumes=self.volumes,
            prices=self.prices,
            merchant_prices=self.merchant_prices,
            index_factors=self.factors,
            amounts=tuple(map(add, self.contract, self.merchant)),
        )


class _Totals(NamedTuple):
    """Sums of the lines by period."""

    contract: Series
    merchant: Series
    availability: Series
    deductions: Series
    revenue: Series
    fixed_costs: Series
    variable_costs: Series
    capital_costs: Series


def _sum_series(inputs: CashFlowInputs, series: Iterable[Series]) -> Series:
    total: Series = (0.0,) * inputs.schedule.periods
    for one in series:
        total = tuple(map(add, total, one))
    return total


def _factors(inputs: CashFlowInputs, index: str | None, share: float | None) -> Series:
    """Return the factor of a price by period; without an index it is constant."""
    if index is None:
        return (1.0,) * inputs.schedule.periods
    indexed_share = 1.0 if share is None else share
    return tuple(apply_index(indexed_share, factor) for factor in inputs.index_factors[index])


def _indexed(inputs: CashFlowInputs, price: PerPeriod, factors: Series) -> Series:
    return tuple(map(mul, expand_per_period(price, inputs.schedule.periods), factors))


def _quantity(
    inputs: CashFlowInputs, per_period: PerPeriod | None, per_year: PerPeriod | None
) -> Series:
    """Return a quantity of each period, one a year by the length of the period."""
    periods = inputs.schedule.periods
    if per_period is not None:
        return expand_per_period(per_period, periods)
    lengths = (end - start for start, end in pairwise(inputs.bounds.years))
    return tuple(map(mul, expand_per_period(per_year or 0.0, periods), lengths))


def _sell(inputs: CashFlowInputs, line: RevenueLine) -> _Sale:
    """Return volumes, prices and revenue of a line, under contract and after it."""
    shares = inputs.active_shares(line.first_period)
    full_volumes = _full_volumes(inputs, line)
    factors = _factors(inputs, line.index, line.indexed_share)
    prices = _indexed(inputs, line.price, factors)
    contract_shares = count_contract_shares(inputs.bounds, line.contract_periods, line.contract_end)
    contract_parts = tuple(map(min, shares, contract_shares))
    contract = tuple(map(mul, map(mul, full_volumes, contract_parts), prices))
    merchant_prices: Series | None = None
    merchant: Series = (0.0,) * inputs.schedule.periods
    sold_parts = contract_parts
    if line.merchant_price is not None:
        merchant_factors = _factors(inputs, line.merchant_index, line.merchant_indexed_share)
        merchant_prices = _indexed(inputs, line.merchant_price, merchant_factors)
        merchant_parts = map(sub, shares, contract_parts)
        merchant = tuple(map(mul, map(mul, full_volumes, merchant_parts), merchant_prices))
        sold_parts = shares
    volumes = tuple(map(mul, full_volumes, sold_parts))
    return _Sale(volumes, factors, prices, merchant_prices, contract, merchant)


def _full_volumes(inputs: CashFlowInputs, line: RevenueLine) -> Series:
    """Return the volumes of whole periods: available, and degraded by whole years of age."""
    quantities = _quantity(inputs, line.volume, line.volume_pa)
    availability = expand_per_period(line.availability, inputs.schedule.periods)
    if not line.degradation_pa:
        return tuple(map(mul, quantities, availability))
    start = inputs.bounds.years[line.first_period - 1]
    ages = (max(floor_years(year - start), 0) for year in inputs.bounds.years[:-1])
    remaining = 1.0 - line.degradation_pa
    return tuple(
        quantity * available * remaining**age
        for quantity, available, age in zip(quantities, availability, ages, strict=True)
    )


def _pay_for_availability(
    inputs: CashFlowInputs, line: AvailabilityPayment
) -> tuple[Series, Series]:
    """Return the payment of each period and its deductions, at most their cap."""
    periods = inputs.schedule.periods
    shares = inputs.active_shares(line.first_period)
    factors = _factors(inputs, line.index, line.indexed_share)
    amounts = map(mul, _quantity(inputs, line.amount, line.amount_pa), factors)
    gross = tuple(map(mul, amounts, shares))
    by_share = expand_per_period(line.deduction_share, periods)
    by_amount = expand_per_period(line.deduction_amount, periods)
    deductions = tuple(
        min(share * payment + amount, line.deduction_cap * payment)
        for payment, share, amount in zip(gross, by_share, by_amount, strict=True)
    )
    return gross, deductions


def _describe_payment(
    inputs: CashFlowInputs, line: AvailabilityPayment, gross: Series, deductions: Series
) -> CashFlowLine:
    return CashFlowLine(
        name=line.name,
        kind="availability_payment",
        index_factors=_factors(inputs, line.index, line.indexed_share),
        deductions=deductions,
        amounts=tuple(map(sub, gross, deductions)),
    )


def _spend(
    inputs: CashFlowInputs, line: OperatingCost, volumes: dict[str, Series], revenue: Series
) -> CashFlowLine:
    """Return an operating cost by period: fixed, per volume or as a share of revenue."""
    periods = inputs.schedule.periods
    factors = _factors(inputs, line.index, line.indexed_share)
    shares = inputs.active_shares(line.first_period, line.last_period)
    if line.unit_cost is not None and line.volume_of is not None:
        # The volume stops with the concession by itself; the line's own periods remain.
        is_active = [float(share > 0.0) for share in shares]
        prices = _indexed(inputs, line.unit_cost, factors)
        line_volumes = tuple(map(mul, volumes[line.volume_of], is_active))
        return CashFlowLine(
            name=line.name,
            kind="operating_cost",
            volumes=line_volumes,
            prices=prices,
            index_factors=factors,
            amounts=tuple(map(mul, line_volumes, prices)),
        )
    if line.revenue_share is not None:
        is_active = [float(share > 0.0) for share in shares]
        parts = map(mul, expand_per_period(line.revenue_share, periods), is_active)
        amounts = tuple(map(mul, parts, revenue))
        return CashFlowLine(name=line.name, kind="operating_cost", amounts=amounts)
    fixed = map(mul, _quantity(inputs, line.amount, line.amount_pa), factors)
    return CashFlowLine(
        name=line.name,
        kind="operating_cost",
        index_factors=factors,
        amounts=tuple(map(mul, fixed, shares)),
    )


def _invest(inputs: CashFlowInputs, line: CapitalCost) -> CashFlowLine:
    factors = _factors(inputs, line.index, line.indexed_share)
    return CashFlowLine(
        name=line.name,
        kind="capital_cost",
        index_factors=factors,
        amounts=tuple(map(mul, line.amounts, factors)),
    )


def _count_balances(inputs: CashFlowInputs, flows: Series, days: float) -> Series:
    """Return the flows of the last days of each period; the last active period releases all."""
    if not days:
        return (0.0,) * len(flows)
    backwards, lengths = flows[::-1], inputs.bounds.period_days()[::-1]
    balances = []
    for number in range(1, len(flows) + 1):
        first = len(flows) - number
        shares = shares_ahead(lengths, first, days) if number < inputs.active_periods else []
        balances.append(sum(map(mul, shares, backwards[first : first + len(shares)]), 0.0))
    return tuple(balances)


def _build_rows(
    inputs: CashFlowInputs, totals: _Totals
) -> tuple[tuple[CashFlowRow, ...], tuple[TaxRow, ...] | None]:
    """Return the rows of the periods, and those of the tax where the case computes it."""
    capital = inputs.case.working_capital
    operating_costs = tuple(map(add, totals.fixed_costs, totals.variable_costs))
    receivable_days = capital.receivable_days if capital else 0.0
    payable_days = capital.payable_days if capital else 0.0
    receivables = _count_balances(inputs, totals.revenue, receivable_days)
    payables = _count_balances(inputs, operating_costs, payable_days)
    balances = (0.0, *map(sub, receivables, payables))
    increases = [after - before for before, after in pairwise(balances)]
    days = inputs.schedule.dates or (None,) * (inputs.schedule.periods + 1)
    ebitda = tuple(map(sub, totals.revenue, operating_costs))
    tax_rows = _compute_tax_rows(inputs, ebitda)
    taxes = inputs.case.tax_paid or (0.0,) * inputs.schedule.periods
    if tax_rows is not None:
        taxes = tuple(row.tax_paid for row in tax_rows)
    rows = []
    for t in range(inputs.schedule.periods):
        before_tax = ebitda[t] - increases[t] - totals.capital_costs[t]
        rows.append(
            CashFlowRow(
                period=t + 1,
                start=days[t],
                end=days[t + 1],
                operating_share=inputs.operating_shares[t],
                contract_revenue=totals.contract[t],
                merchant_revenue=totals.merchant[t],
                availability_payments=totals.availability[t],
                deductions=totals.deductions[t],
                revenue=totals.revenue[t],
                fixed_costs=totals.fixed_costs[t],
                variable_costs=totals.variable_costs[t],
                operating_costs=operating_costs[t],
                ebitda=ebitda[t],
                receivables=receivables[t],
                payables=payables[t],
                working_capital_increase=increases[t],
                capital_costs=totals.capital_costs[t],
                cfads_before_tax=before_tax,
                tax_paid=taxes[t],
                cfads=before_tax - taxes[t],
            )
        )
    return tuple(rows), tax_rows


def _compute_tax_rows(inputs: CashFlowInputs, ebitda: Series) -> tuple[TaxRow, ...] | None:
    if inputs.case.tax is None:
        return None
    interest = inputs.case.interest or (0.0,) * inputs.schedule.periods
    return compute_tax(resolve_tax_base(inputs.case.tax, inputs.bounds), ebitda, interest)


def _warn_of_tax(inputs: CashFlowInputs) -> Iterator[str]:
    if inputs.case.tax is not None:
        yield from warn_of_idle_assets(resolve_tax_base(inputs.case.tax, inputs.bounds))


def _build_result(
    inputs: CashFlowInputs,
    rows: tuple[CashFlowRow, ...],
    lines: tuple[CashFlowLine, ...],
    tax_rows: tuple[TaxRow, ...] | None,
) -> CashFlowResult:
    for line in lines:
        reject_overflow("/revenues", line.amounts, line.prices or (), line.index_factors or ())
        reject_overflow("/revenues", line.merchant_prices or (), line.volumes or ())
    reject_overflow("/revenues", (row.cfads for row in rows), (row.ebitda for row in rows))
    return CashFlowResult(
        rows=rows,
        lines=lines,
        cfads_before_tax=tuple(row.cfads_before_tax for row in rows),
        cfads=tuple(row.cfads for row in rows),
        total_revenue=sum(row.revenue for row in rows),
        total_operating_costs=sum(row.operating_costs for row in rows),
        total_ebitda=sum(row.ebitda for row in rows),
        total_capital_costs=sum(row.capital_costs for row in rows),
        total_tax=sum(row.tax_paid for row in rows),
        total_cfads=sum(row.cfads for row in rows),
        conventions=_CONVENTIONS | inputs.schedule.conventions,
        warnings=(
            *inputs.schedule.warnings,
            *warn_of_losses(rows),
            *warn_of_idle_terms(inputs, inputs.case.dates),
            *_warn_of_tax(inputs),
        ),
        tax_rows=tax_rows,
    )


_CONVENTIONS = {
    "timing": "flows at period end",
    "price": "base price x (1 - indexed share + indexed share x index / index at the base)",
    "volume": "volume x availability x (1 - degradation) ^ whole years of the line",
    "years": "a regular period has its months, a stub its days",
    "working_capital": "receivables and payables of the last days, released in the last period",
    "cfads": "EBITDA - increase of working capital - capital costs - tax paid",
}
