"""Payment dates: stubs, month ends and business days."""

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.time_base.business_calendar import (
    BusinessCalendar,
    BusinessDayRule,
    adjust_to_business_day,
    easter_sunday,
)
from spawn.domain.finance.time_base.day_count import is_month_end
from spawn.domain.finance.time_base.payment_dates import (
    PaymentDateTerms,
    PaymentFrequency,
    StubKind,
    roll_payment_dates,
)

pytestmark = pytest.mark.core

TARGET = BusinessCalendar(base="target")


def schedule(start: date, end: date, stub: StubKind = "short_back") -> list[date]:
    terms = PaymentDateTerms(start=start, end=end, frequency=PaymentFrequency.QUARTERLY, stub=stub)
    return list(roll_payment_dates(terms).dates)


@pytest.mark.parametrize(
    ("stub", "inner"),
    [
        ("short_back", [date(2026, 4, 15), date(2026, 7, 15), date(2026, 10, 15)]),
        ("long_back", [date(2026, 4, 15), date(2026, 7, 15)]),
        ("short_front", [date(2026, 2, 20), date(2026, 5, 20), date(2026, 8, 20)]),
        ("long_front", [date(2026, 5, 20), date(2026, 8, 20)]),
    ],
)
def test_the_stub_is_where_the_terms_put_it(stub: StubKind, inner: list[date]) -> None:
    start, end = date(2026, 1, 15), date(2026, 11, 20)
    assert schedule(start, end, stub) == [start, *inner, end]
    terms = PaymentDateTerms(start=start, end=end, frequency=PaymentFrequency.QUARTERLY, stub=stub)
    odd = len(inner) + 1 if stub.endswith("back") else 1
    assert roll_payment_dates(terms).stubs == (odd,)


def test_a_period_shorter_than_one_interval_is_a_single_stub() -> None:
    for stub in ("short_back", "long_back", "short_front", "long_front"):
        assert len(schedule(date(2026, 1, 15), date(2026, 2, 1), stub)) == 2


def test_a_regular_schedule_has_no_stub_and_returns_to_the_thirty_first() -> None:
    dates = schedule(date(2025, 8, 31), date(2027, 8, 31))
    assert dates[2] == date(2026, 2, 28)
    assert dates[4] == date(2026, 8, 31)
    terms = PaymentDateTerms(
        start=dates[0], end=dates[-1], frequency=PaymentFrequency.QUARTERLY, stub="long_front"
    )
    assert roll_payment_dates(terms).stubs == ()


def test_month_ends_stay_month_ends_when_the_terms_require_it() -> None:
    terms = PaymentDateTerms(
        start=date(2025, 2, 28),
        end=date(2028, 2, 29),
        frequency=PaymentFrequency.MONTHLY,
        end_of_month=True,
    )
    assert all(is_month_end(day) for day in roll_payment_dates(terms).dates)


@pytest.mark.parametrize(
    ("rule", "moved"),
    [
        (BusinessDayRule.UNADJUSTED, date(2027, 1, 31)),
        (BusinessDayRule.FOLLOWING, date(2027, 2, 1)),
        (BusinessDayRule.MODIFIED_FOLLOWING, date(2027, 1, 29)),
        (BusinessDayRule.PRECEDING, date(2027, 1, 29)),
        (BusinessDayRule.MODIFIED_PRECEDING, date(2027, 1, 29)),
    ],
)
def test_a_sunday_at_the_end_of_january(rule: BusinessDayRule, moved: date) -> None:
    assert adjust_to_business_day(date(2027, 1, 31), rule, TARGET) == moved


def test_modified_preceding_does_not_leave_the_month_backwards() -> None:
    first = date(2026, 8, 1)  # a Saturday
    assert adjust_to_business_day(first, BusinessDayRule.PRECEDING, TARGET) == date(2026, 7, 31)
    assert adjust_to_business_day(first, BusinessDayRule.MODIFIED_PRECEDING, TARGET) == date(
        2026, 8, 3
    )


def test_target_closes_on_its_holidays() -> None:
    closed = [
        date(2026, 1, 1),
        date(2026, 4, 3),
        date(2026, 4, 6),
        date(2026, 5, 1),
        date(2026, 12, 25),
        date(2025, 12, 26),
        date(1999, 12, 31),
        date(2001, 12, 31),
    ]
    assert not any(TARGET.is_business_day(day) for day in closed)
    assert all(
        TARGET.is_business_day(day)
        for day in (date(1999, 4, 2), date(2026, 5, 14), date(2027, 12, 31), date(2026, 10, 26))
    )


def test_easter_falls_where_the_tables_have_it() -> None:
    tables = {1818: (3, 22), 1943: (4, 25), 2000: (4, 23), 2024: (3, 31), 2038: (4, 25)}
    assert {year: easter_sunday(year) for year in tables} == {
        year: date(year, *day) for year, day in tables.items()
    }


def test_a_user_calendar_has_its_own_weekend_and_holidays() -> None:
    gulf = BusinessCalendar(base="weekends", weekend=(4, 5), holidays=frozenset({date(2026, 7, 5)}))
    assert adjust_to_business_day(date(2026, 7, 3), BusinessDayRule.FOLLOWING, gulf) == date(
        2026, 7, 6
    )


def test_periods_that_fall_on_one_business_day_merge_with_a_warning() -> None:
    terms = PaymentDateTerms(
        start=date(2026, 1, 30),
        end=date(2026, 5, 31),
        frequency=PaymentFrequency.MONTHLY,
        stub="short_back",
        rule=BusinessDayRule.PRECEDING,
        calendar=BusinessCalendar(
            base="weekends", holidays=frozenset(date(2026, 5, day) for day in range(1, 32))
        ),
    )
    result = roll_payment_dates(terms)
    assert result.dates[-2:] == (date(2026, 3, 30), date(2026, 4, 30))
    assert result.unadjusted_dates[-1] == date(2026, 5, 31)
    assert len(result.warnings) == 2


@given(
    st.dates(date(1999, 1, 1), date(2040, 1, 1)),
    st.integers(1, 12_000),
    st.sampled_from(PaymentFrequency),
    st.sampled_from(["short_back", "long_back", "short_front", "long_front"]),
    st.sampled_from(BusinessDayRule),
    st.booleans(),
)
@settings(max_examples=scale(25))
def test_dates_increase_are_business_days_and_cover_the_term(
    start: date,
    length: int,
    frequency: PaymentFrequency,
    stub: StubKind,
    rule: BusinessDayRule,
    end_of_month: bool,  # noqa: FBT001 - hypothesis passes by position
) -> None:
    end = date.fromordinal(start.toordinal() + length + 10)
    result = roll_payment_dates(
        PaymentDateTerms(
            start=start,
            end=end,
            frequency=frequency,
            stub=stub,
            end_of_month=end_of_month,
            rule=rule,
            calendar=TARGET,
        )
    )
    assert all(before < after for before, after in pairwise(result.dates))
    assert (result.unadjusted_dates[0], result.unadjusted_dates[-1]) == (start, end)
    if rule is not BusinessDayRule.UNADJUSTED:
        assert all(map(TARGET.is_business_day, result.dates))
    longest = 2 if stub.startswith("long") else 1
    longest_days = max((b - a).days for a, b in pairwise(result.unadjusted_dates))
    assert longest_days <= 31 * frequency.months * longest + 3


def test_invalid_terms_are_rejected() -> None:
    one, two = date(2026, 1, 1), date(2026, 7, 1)
    assert error_codes(lambda: schedule(two, one)) == {"/end": "not_increasing"}
    assert error_codes(lambda: schedule(one, one)) == {"/end": "not_increasing"}
    assert error_codes(lambda: schedule(one, date(2700, 1, 1))) == {"/end": "too_many_periods"}
    assert error_codes(lambda: schedule(date(900, 1, 1), date(905, 1, 1))) == {
        "/start": "out_of_range",
        "/end": "out_of_range",
    }
    closed = BusinessCalendar(base="weekends", weekend=(0, 1, 2, 3, 4, 5, 6))
    terms = PaymentDateTerms(start=one, end=two, frequency=PaymentFrequency.ANNUAL, calendar=closed)
    assert error_codes(lambda: roll_payment_dates(terms)) == {"/calendar/weekend": "out_of_range"}
    shut = BusinessCalendar(
        holidays=frozenset(date.fromordinal(one.toordinal() + k) for k in range(400))
    )
    terms = PaymentDateTerms(
        start=one,
        end=two,
        frequency=PaymentFrequency.ANNUAL,
        calendar=shut,
        rule=BusinessDayRule.FOLLOWING,
    )
    assert error_codes(lambda: roll_payment_dates(terms)) == {"/calendar": "no_business_day"}
