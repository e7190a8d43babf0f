"""A facility as a loan of the finance engine, which does all arithmetic of schedules."""

from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec

from spawn.domain.errors import FieldError
from spawn.domain.facilities.facility import Facility, FacilityRepayment
from spawn.domain.finance.loans.loan_terms import LoanTerms
from spawn.domain.finance.time_base.period_schedule import (
    PeriodSchedule,
    TimeTerms,
    resolve_schedule,
)

_SAME_TERMS: Final = tuple(
    name for name in FacilityRepayment.__struct_fields__ if name in LoanTerms.__struct_fields__
)


def resolve_facility_time(facility: Facility) -> PeriodSchedule:
    """Resolve the periods of a loan.

    Raises:
        InvalidInput: the statements of time contradict each other, or name no dates.
    """
    terms = TimeTerms(
        payment_dates=facility.payment_dates, dates=facility.dates, day_count=facility.day_count
    )
    return resolve_schedule(terms)


def build_probe_loan(facility: Facility) -> LoanTerms:
    """Return the loan with its whole commitment drawn at the start, to check its terms."""
    rate = facility.rate.fixed_rate if facility.rate is not None else None
    return LoanTerms(
        principal=float(facility.commitment),
        annual_rates=float(rate or 0),
        payment_dates=facility.payment_dates,
        dates=facility.dates,
        day_count=facility.day_count,
        **translate_repayment(facility.repayment),
    )


def translate_repayment(repayment: FacilityRepayment | None) -> dict[str, Any]:
    """Return the repayment terms of a loan, with float64 in place of decimals."""
    if repayment is None:
        return {}
    return {
        name: _to_float(value)
        for name in _SAME_TERMS
        if (value := getattr(repayment, name)) is not None
    }


def locate_loan_error(error: FieldError) -> FieldError:
    """Return the error of a loan's term at the place that the facility has it in."""
    name = error.pointer.split("/")[1] if "/" in error.pointer else ""
    if name in FacilityRepayment.__struct_fields__:
        return msgspec.structs.replace(error, pointer=f"/repayment{error.pointer}")
    return error


def _to_float(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, tuple):
        return tuple(item if isinstance(item, date) else float(item) for item in value)
    return value
