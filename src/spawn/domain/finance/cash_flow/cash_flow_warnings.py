"""Warnings of a cash flow: lines and prices without a period, and CFADS below zero."""

from collections.abc import Iterator, Sequence
from datetime import date

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


def warn_of_idle_terms(
    inputs: CashFlowInputs, dates: Sequence[date] | None, pointer: str = ""
) -> Iterator[str]:
    """Warn of lines and prices that no period has, and of years on dates that have been moved.

    Args:
        inputs: the case with its time.
        dates: the dates that the request gives, None without any.
        pointer: the place of the case in the request; each warning of a line begins with its own.
    """
    case = inputs.case
    if dates is not None and _counts_years(case):
        yield from warn_of_moved_dates(dates)
    for number, line in enumerate(case.revenues):
        if any(inputs.active_shares(line.first_period)):
            yield from _warn_of_prices(inputs, line, f"{pointer}/revenues/{number}")
    lists: dict[str, Sequence[RevenueLine | AvailabilityPayment | OperatingCost]] = {
        "revenues": case.revenues,
        "availability_payments": case.availability_payments,
        "operating_costs": case.operating_costs,
    }
    for name, lines in lists.items():
        for number, each in enumerate(lines):
            if not any(inputs.active_shares(each.first_period)):
                yield (
                    f"{pointer}/{name}/{number}/first_period: {each.name} begins in period "
                    f"{each.first_period}, after the concession, so that it is zero in every period"
                )
    for number, cost in enumerate(case.operating_costs):
        yield from _warn_of_volumes(inputs, cost, f"{pointer}/operating_costs/{number}")


def _counts_years(case: CashFlowCase) -> bool:
    """Return whether a term steps by the year, or ends on a day."""
    return (
        any(index.step == "year" for index in case.indices)
        or any(line.contract_end is not None for line in case.revenues)
        or case.concession_end is not None
        or (case.tax is not None and case.tax.assessment == "year")
    )


def _contract_parts(inputs: CashFlowInputs, line: RevenueLine) -> tuple[float, ...]:
    """Return the share of each period in which a line sells under its contract."""
    shares = inputs.active_shares(line.first_period)
    contract = count_contract_shares(inputs.bounds, line.contract_periods, line.contract_end)
    return tuple(map(min, shares, contract))


def _warn_of_prices(inputs: CashFlowInputs, line: RevenueLine, pointer: str) -> Iterator[str]:
    contract_parts = _contract_parts(inputs, line)
    if not any(contract_parts):
        is_over = line.merchant_price is None
        consequence = "it is zero in every period" if is_over else "its price has no use"
        text = f"the contract of {line.name} ends before its first_period {line.first_period}"
        if line.contract_end is not None:
            yield f"{pointer}/contract_end: {text}, so that {consequence}"
        else:
            advice = "contract_periods counts from the first period of the case"
            yield f"{pointer}/contract_periods: {text}, so that {consequence}; {advice}"
    elif line.merchant_price is not None and contract_parts == inputs.active_shares(
        line.first_period
    ):
        yield (
            f"{pointer}/merchant_price: {line.name} has no use for it, because its contract does "
            "not end before the concession and the periods do"
        )


def _warn_of_volumes(inputs: CashFlowInputs, cost: OperatingCost, pointer: str) -> Iterator[str]:
    """Warn of a cost by volume in whose periods nothing is sold."""
    shares = inputs.active_shares(cost.first_period, cost.last_period)
    for line in inputs.case.revenues:
        if line.name != cost.volume_of or not any(shares):
            continue
        is_merchant = line.merchant_price is not None
        sold = inputs.active_shares(line.first_period) if is_merchant else None
        if not any(map(min, shares, sold or _contract_parts(inputs, line))):
            yield (
                f"{pointer}/volume_of: {line.name} is not sold in the periods of {cost.name}, so "
                "that the cost is zero in every period"
            )
