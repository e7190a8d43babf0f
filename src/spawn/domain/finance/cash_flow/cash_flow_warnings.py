"""Warnings of a cash flow: lines and prices without a period, and CFADS below zero."""

from collections.abc import Iterator, Sequence

from spawn.domain.finance.cash_flow.cash_flow_case import (
    CashFlowCase,
    CashFlowInputs,
    count_contract_shares,
)
from spawn.domain.finance.cash_flow.cash_flow_lines import (
    AvailabilityPayment,
    OperatingCost,
    RevenueLine,
)
from spawn.domain.finance.cash_flow.cash_flow_result import CashFlowRow
from spawn.domain.finance.period_lists import list_periods, warn_of_moved_dates


def warn_of_losses(rows: Sequence[CashFlowRow]) -> Iterator[str]:
    """Warn of periods whose CFADS are below zero."""
    negative_periods = [row.period for row in rows if row.cfads < 0.0]
    if negative_periods:
        yield f"CFADS are below zero in {list_periods(negative_periods)}"


def warn_of_idle_terms(inputs: CashFlowInputs) -> Iterator[str]:
    """Warn of lines and prices that no period has, and of years on dates that have been moved."""
    case = inputs.case
    if case.dates is not None and _counts_years(case):
        yield from warn_of_moved_dates(case.dates)
    for line in case.revenues:
        if any(inputs.active_shares(line.first_period)):
            yield from _warn_of_prices(inputs, line)
    lines: list[RevenueLine | AvailabilityPayment | OperatingCost] = [
        *case.revenues,
        *case.availability_payments,
        *case.operating_costs,
    ]
    for each in lines:
        if not any(inputs.active_shares(each.first_period)):
            yield (
                f"{each.name}: first_period {each.first_period} is after the concession, "
                "so that the line is zero in every period"
            )


def _counts_years(case: CashFlowCase) -> bool:
    """Return whether a term steps by the year, or ends on a day."""
    return (
        any(index.step == "year" for index in case.indices)
        or any(line.contract_end is not None for line in case.revenues)
        or case.concession_end is not None
        or (case.tax is not None and case.tax.assessment == "year")
    )


def _warn_of_prices(inputs: CashFlowInputs, line: RevenueLine) -> Iterator[str]:
    shares = inputs.active_shares(line.first_period)
    contract = count_contract_shares(inputs.bounds, line.contract_periods, line.contract_end)
    contract_parts = tuple(map(min, shares, contract))
    if not any(contract_parts):
        consequence = (
            "the line is zero in every period"
            if line.merchant_price is None
            else "price has no use"
        )
        yield (
            f"{line.name}: the contract ends before first_period {line.first_period}, so that "
            f"{consequence}; contract_periods counts from the first period of the case"
        )
    elif line.merchant_price is not None and contract_parts == shares:
        yield (
            f"{line.name}: merchant_price has no use: the contract does not end before the "
            "concession and the periods do"
        )
