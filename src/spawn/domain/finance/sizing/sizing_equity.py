"""Equity returns of a sizing: project cash less debt service, plus reserve movements."""

from collections.abc import Sequence

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.debt_sizing_case import SizingCase
from spawn.domain.finance.debt_sizing_warnings import warn_of_equity_rate, warn_of_funding
from spawn.domain.finance.limits import MAX_AMOUNT
from spawn.domain.finance.returns.rates_of_return import (
    RateOutcome,
    irr,
    irr_at_times,
    xirr,
)
from spawn.domain.finance.sizing.sizing_result import SizingResult
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule


def add_equity(
    case: SizingCase,
    schedule: PeriodSchedule,
    project_cash_flow: Sequence[float],
    dues: Sequence[float],
    sizing: SizingResult,
    *,
    tax_flows: Sequence[float] | None = None,
) -> SizingResult:
    """Add the equity flows: project cash less debt service, plus reserve movements.

    `dues` are all payments to lenders by period, `tax_flows` those of a computed tax. Sponsors
    also pay the balloon, out of a refinancing that is not part of this case.
    """
    life, tenor, reserve = len(project_cash_flow), len(dues), sizing.dsra_balance
    flows = [-(sizing.equity or 0.0)]
    for t in range(life):
        tau = schedule.accrual_fractions[t] if t < tenor else 0.0
        reserve_interest = case.reserve_interest_rate * tau * reserve[t]
        reserve_release = reserve[t] - reserve[t + 1]
        due = dues[t] if t < tenor else 0.0
        flows.append(project_cash_flow[t] - due + reserve_interest + reserve_release)
    if tax_flows is None:
        tax_flows = case.tax_cash_flow or (0.0,) * (life + 1)
    flows_after_tax = [flow + tax_flow for flow, tax_flow in zip(flows, tax_flows, strict=True)]
    equity_irr = find_equity_rate(schedule, flows)
    warnings = warn_of_funding(sizing.debt, sizing.total_uses or 0.0)
    return msgspec.structs.replace(
        sizing,
        equity_cash_flow=tuple(flows),
        equity_irr=equity_irr,
        warnings=sizing.warnings + warnings + warn_of_equity_rate(equity_irr),
        equity_cash_flow_after_tax=tuple(flows_after_tax),
        equity_irr_after_tax=find_equity_rate(schedule, flows_after_tax),
    )


def find_equity_rate(schedule: PeriodSchedule, flows: Sequence[float]) -> RateOutcome:
    """Return the XIRR when every flow has a date, otherwise the rate on the schedule's time.

    Raises:
        InvalidInput: a flow is beyond the limit of an amount.
    """
    for t, flow in enumerate(flows):
        if not abs(flow) <= MAX_AMOUNT:
            pointer = "/uses" if t == 0 else "/cfads"
            raise InvalidInput.at(
                pointer, "overflow", f"takes equity beyond {MAX_AMOUNT:g}; give smaller amounts"
            )
    dates = schedule.all_dates()
    if len(dates) >= len(flows):
        return xirr(dates[: len(flows)], flows)
    if (periods_per_year := schedule.periods_per_year) is not None:
        return irr(flows, periods_per_year)
    return irr_at_times(schedule.flow_times_years(len(flows)), flows)
