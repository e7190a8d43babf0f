"""Facilities of a sizing in the result: amount, fee, ratios, and a row for each period."""

from collections.abc import Sequence
from datetime import date

import msgspec

from spawn.domain.finance.coverage_ratios import compute_dscrs, find_lowest, weighted_average_life
from spawn.domain.finance.facilities.debt_stack import DebtStack, Repayment, StackSizing
from spawn.domain.finance.facilities.facility_terms import FacilityKind
from spawn.domain.finance.facilities.repayment_terms import RepaidFacility
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule


class FacilityRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period: closing = opening + capitalised - principal, the balloon in the last principal.

    `payment` is the debt service: interest + accrued_interest - capitalised + principal + premium -
    balloon - early_repayment. `accrued_interest` is that of a running loan before the start,
    `premium` the price of a termination above the balance, `early_repayment` what prepayments and
    a termination repay, with the premium. `annual_rate` is the average of a period with a reset
    inside. `dscr` divides the CFADS by the payments of all facilities of this rank and those before
    it.
    """

    period: int
    date: date | None
    annual_rate: float
    opening_balance: float
    interest: float
    capitalised: float
    principal: float
    balloon: float
    payment: float
    closing_balance: float
    dscr: float | None
    accrued_interest: float = 0.0
    premium: float = 0.0
    early_repayment: float = 0.0


class FacilitySchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A facility: its amount, its figures and its rows over its tenor."""

    name: str
    kind: FacilityKind
    rank: int
    amount: float
    upfront_fee: float
    level_payment: float | None
    total_interest: float
    wal_years: float | None
    min_dscr: float | None
    min_dscr_period: int | None
    rows: tuple[FacilityRow, ...]


def build_facility_schedules(
    facilities: Sequence[RepaidFacility],
    stack: DebtStack,
    sizing: StackSizing,
    schedule: PeriodSchedule,
    cfads: Sequence[float],
) -> tuple[FacilitySchedule, ...]:
    """Return each facility with its rows and the ratios of its rank."""
    scale = sum(sizing.amounts)
    results: list[FacilitySchedule] = []
    for index, facility in enumerate(facilities):
        repayment = sizing.repayments[index]
        count = len(repayment.payments)
        service = [0.0] * count
        for other, other_repayment in zip(facilities, sizing.repayments, strict=True):
            if other.rank <= facility.rank:
                for t, payment in enumerate(other_repayment.payments[:count]):
                    service[t] += payment
        ratios = compute_dscrs(cfads[:count], service, scale)
        times = schedule.payment_times_years()[:count]
        results.append(
            FacilitySchedule(
                name=facility.name,
                kind=facility.kind,
                rank=facility.rank,
                amount=sizing.amounts[index],
                upfront_fee=facility.upfront_fee * sizing.amounts[index],
                level_payment=repayment.level_payment,
                total_interest=sum(repayment.interest),
                wal_years=weighted_average_life(times, repayment.principal),
                min_dscr=min((ratio for ratio in ratios if ratio is not None), default=None),
                min_dscr_period=find_lowest(ratios),
                rows=_build_rows(repayment, schedule, stack.annual_rates[index], ratios),
            )
        )
    return tuple(results)


def _build_rows(
    repayment: Repayment,
    schedule: PeriodSchedule,
    annual_rates: Sequence[float],
    ratios: Sequence[float | None],
) -> tuple[FacilityRow, ...]:
    count, extras = len(repayment.payments), repayment.extras
    rates = repayment.annual_rates or annual_rates
    return tuple(
        FacilityRow(
            period=t + 1,
            date=schedule.dates[t + 1] if schedule.dates else None,
            annual_rate=rates[t],
            opening_balance=repayment.balances[t],
            interest=repayment.interest[t],
            capitalised=repayment.capitalised[t],
            principal=repayment.principal[t],
            balloon=repayment.balloon if t == count - 1 else 0.0,
            payment=repayment.payments[t],
            closing_balance=repayment.balances[t + 1],
            dscr=ratios[t],
            accrued_interest=extras.accrued_interest[t] if extras else 0.0,
            premium=extras.premium[t] if extras else 0.0,
            early_repayment=extras.early_repayment[t] if extras else 0.0,
        )
        for t in range(count)
    )
