"""Business calendars that name countries."""

import importlib.util
from datetime import date

import pytest

from spawn.adapters.local.public_holidays import PackageHolidays, load_public_holidays
from spawn.application.analysis.calculators import DayCountCase, calculate_day_counts
from spawn.application.analysis.holiday_calendars import resolve_calendars
from spawn.application.analysis.schedule_calculator import ScheduleCase, calculate_schedule
from spawn.domain.errors import InvalidInput
from spawn.domain.finance.time_base.business_calendar import BusinessCalendar, BusinessDayRule
from spawn.domain.finance.time_base.day_count import AccrualPeriod
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("holidays") is None,
    reason="the optional package holidays is not installed: its calendars are not checked",
)


def brazil(*countries: str) -> BusinessCalendar:
    return BusinessCalendar(base="weekends", countries=countries or ("BR",))


def days_case(calendar: BusinessCalendar, end: date = date(2026, 7, 1)) -> DayCountCase:
    period = AccrualPeriod(start=date(2026, 1, 2), end=end)
    return DayCountCase(day_count="BUS/252", periods=(period,), calendar=calendar)


def test_without_a_source_a_country_is_rejected_and_a_case_without_one_stays() -> None:
    with pytest.raises(InvalidInput) as caught:
        calculate_day_counts(resolve_calendars(days_case(brazil()), None))
    assert [(e.pointer, e.code) for e in caught.value.errors] == [
        ("/calendar/countries", "no_holiday_source")
    ]
    case = days_case(BusinessCalendar(base="weekends"))
    assert resolve_calendars(case, PackageHolidays()) is case


@needs_package
def test_the_holidays_of_a_country_close_its_days() -> None:
    source = load_public_holidays()
    result = calculate_day_counts(resolve_calendars(days_case(brazil()), source))
    # 128 weekdays, less Good Friday, Tiradentes and Labour Day.
    assert result.rows[0].days == 128 - 3
    terms = PaymentDateTerms(
        start=date(2026, 1, 21),
        end=date(2026, 7, 21),
        frequency=PaymentFrequency.QUARTERLY,
        rule=BusinessDayRule.FOLLOWING,
        calendar=brazil(),
    )
    schedule = calculate_schedule(resolve_calendars(ScheduleCase(payment_dates=terms), source))
    assert schedule.dates[1] == date(2026, 4, 22)  # the 21st is Tiradentes


@needs_package
@pytest.mark.parametrize(
    ("calendar", "end", "pointer", "code"),
    [
        (brazil("BR", "XX"), date(2026, 7, 1), "/calendar/countries/1", "unknown_country"),
        (brazil("DE-XX"), date(2026, 7, 1), "/calendar/countries/0", "unknown_country"),
        (brazil(*["BR"] * 21), date(2026, 7, 1), "/calendar/countries", "wrong_length"),
        (brazil(), date(2400, 7, 1), "/calendar/countries", "too_many"),
    ],
)
def test_what_the_source_does_not_know_is_rejected_by_name(
    calendar: BusinessCalendar, end: date, pointer: str, code: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        resolve_calendars(days_case(calendar, end), PackageHolidays())
    assert [(e.pointer, e.code) for e in caught.value.errors] == [(pointer, code)]
