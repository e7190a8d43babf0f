"""Warnings of a waterfall; each names every period it concerns."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from spawn.domain.finance.limits import ROUNDING_NOISE
from spawn.domain.finance.period_lists import list_periods
from spawn.domain.finance.waterfall.waterfall_case import WaterfallInputs
from spawn.domain.finance.waterfall.waterfall_result import WaterfallRow


class _ScheduledDebt(NamedTuple):
    """A debt with a balance and its schedule; interest that follows from a rate is None."""

    name: str
    opening_balance: float
    principal: tuple[float, ...]
    interest: tuple[float, ...] | None


def warn_of_waterfall(inputs: WaterfallInputs, rows: Sequence[WaterfallRow]) -> tuple[str, ...]:
    """Warn of unpaid amounts, of claims passed over, and of a schedule beyond its balance."""
    groups = {
        "senior debt service is not paid in full": [
            row.period for row in rows if row.senior_unpaid > 0.0
        ],
        "costs exceed all cash and reserves": [
            row.period for row in rows if row.operating_shortfall > 0.0
        ],
        "mezzanine principal exceeds the balance and is reduced to it": [
            row.period
            for row, scheduled_amount in zip(rows, inputs.mezz_principal, strict=True)
            if scheduled_amount > row.mezz_principal_due * (1.0 + ROUNDING_NOISE)
        ],
        "mezzanine principal is not paid in full": [
            row.period
            for row in rows
            if row.mezz_principal_paid < row.mezz_principal_due * (1.0 - ROUNDING_NOISE)
        ],
        "distributions are paid while capitalised mezzanine interest is open": (
            _periods_with_capitalised_interest(rows)
        ),
    }
    warnings = [f"{text} in {list_periods(numbers)}" for text, numbers in groups.items() if numbers]
    warnings += _warn_of_schedule(inputs, rows)
    warnings += _warn_of_ends(inputs, rows[-1])
    return tuple(warnings)


def _periods_with_capitalised_interest(rows: Sequence[WaterfallRow]) -> list[int]:
    """Return the periods that distribute while capitalised interest is not repaid."""
    numbers: list[int] = []
    pik_balance = total = 0.0
    for row in rows:
        total += row.mezz_pik
        pik_balance = min(pik_balance + row.mezz_pik - row.mezz_catch_up, row.mezz_close)
        if row.distribution > 0.0 and pik_balance > ROUNDING_NOISE * total:
            numbers.append(row.period)
    return numbers


def _warn_of_schedule(inputs: WaterfallInputs, rows: Sequence[WaterfallRow]) -> list[str]:
    warnings = _warn_of_balances(inputs)
    if inputs.knows_balance:
        return warnings
    sweeps = [row.period for row in rows if row.sweep > 0.0]
    if sweeps and sweeps[-1] == rows[-1].period:
        warnings.append("the last period sweeps although no senior principal is scheduled after it")
    if sweeps:
        detail = "give senior_open, and they shorten the schedule"
        warnings.append(f"sweeps are not taken off later dues in {list_periods(sweeps)}: {detail}")
    return warnings


def _warn_of_balances(inputs: WaterfallInputs) -> list[str]:
    """Warn of principal beyond the balance, and of interest without a balance."""
    warnings: list[str] = []
    for name, opening_balance, principal, interest in _list_debts(inputs):
        noise = ROUNDING_NOISE * opening_balance
        balance = opening_balance
        excess: list[int] = []
        idle: list[int] = []
        for t, due in enumerate(principal):
            period = inputs.periods_before + t + 1
            if interest is not None and interest[t] > 0.0 and balance <= noise:
                idle.append(period)
            if due > balance + noise:
                excess.append(period)
            balance = max(balance - due, 0.0)
        if excess:
            text = "scheduled principal exceeds the balance and is reduced to it"
            warnings.append(f"{name}: {text} in {list_periods(excess)}")
        if idle:
            text = "interest is scheduled although nothing is owed, and is not charged"
            warnings.append(f"{name}: {text} in {list_periods(idle)}")
    return warnings


def _warn_of_ends(inputs: WaterfallInputs, last: WaterfallRow) -> list[str]:
    """Warn of debt that is owed after the last period, and of cash that nobody received."""
    case = inputs.case
    balances = (tranche.opening_balance for tranche in case.tranches)
    scale = max(*map(abs, case.cfads), case.senior_open or 0.0, case.mezz_open or 0.0, *balances)
    amounts = {
        "locked-up cash": last.trapped_close,
        "the DSRA": last.dsra_close if case.dsra_form == "cash" else 0.0,
        "the reserves": last.reserve_close,
        "the mezzanine": last.mezz_close,
        "senior debt": last.senior_close or 0.0,
    }
    warnings = [
        f"at the end {amount:.10g} of {name} is left"
        for name, amount in amounts.items()
        if amount > ROUNDING_NOISE * scale
    ]
    if last.dsra_owed_close > ROUNDING_NOISE * scale:
        amount = f"{last.dsra_owed_close:.10g}"
        warnings.append(f"at the end {amount} is owed to the bank of the letter of credit")
    return warnings


def _list_debts(inputs: WaterfallInputs) -> Iterator[_ScheduledDebt]:
    """Yield the debts whose balance is given, with their schedules."""
    case = inputs.case
    for number, tranche in enumerate(case.tranches, start=1):
        name = tranche.name or f"tranche {number}"
        yield _ScheduledDebt(name, tranche.opening_balance, tranche.principal, tranche.interest)
    if case.senior_open is not None:
        principal = case.senior_principal or ()
        yield _ScheduledDebt("senior", case.senior_open, principal, case.senior_interest)
