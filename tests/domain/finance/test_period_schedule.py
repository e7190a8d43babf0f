"""The schedule of periods: one statement of time, and what contradicts it."""

from datetime import date, timedelta
from itertools import pairwise, product
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.time_base.business_calendar import (
    BusinessCalendar,
    BusinessDayRule,
    adjust_to_business_day,
)
from spawn.domain.finance.time_base.day_count import add_months, count_month_days
from spawn.domain.finance.time_base.payment_dates import (
    PaymentDateTerms,
    PaymentFrequency,
    roll_payment_dates,
)
from spawn.domain.finance.time_base.period_schedule import (
    PeriodSchedule,
    TimeTerms,
    resolve_schedule,
    shares_ahead,
    trailing_periods,
)

pytestmark = pytest.mark.core

TARGET = BusinessCalendar(base="target")
WEEKENDS = BusinessCalendar(base="weekends")
YEARS = range(2020, 2030)
DAY = timedelta(days=1)


def resolve(periods: int | None = None, **fields: Any) -> PeriodSchedule:
    return resolve_schedule(TimeTerms(**fields), periods)


def codes(periods: int | None = None, **fields: Any) -> dict[str, str]:
    return error_codes(lambda: resolve(periods, **fields))


def days(*texts: str) -> tuple[date, ...]:
    return tuple(map(date.fromisoformat, texts))


def rolled(**fields: Any) -> list[date]:
    fields.setdefault("frequency", PaymentFrequency.QUARTERLY)
    return list(roll_payment_dates(PaymentDateTerms(**fields)).dates)


def test_without_any_time_a_period_is_a_year_or_as_many_months_as_stated() -> None:
    assert resolve(3).accrual_fractions == (1.0, 1.0, 1.0)
    assert resolve(2, months_per_period=6).accrual_fractions == (0.5, 0.5)
    assert resolve(2, frequency=4).accrual_fractions == (0.25, 0.25)
    assert codes(2, frequency=4, months_per_period=6) == {"/frequency": "contradiction"}


def test_a_half_year_of_dates_is_six_months_and_two_a_year() -> None:
    schedule = resolve(dates=days("2029-03-31", "2029-09-28", "2030-03-29", "2030-09-30"))
    assert schedule.months_per_period == 6
    assert schedule.periods_per_year == 2.0
    assert schedule.period_months() == (6.0, 6.0, 6.0)
    assert schedule.stubs == ()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"months_per_period": 12}, {"/months_per_period": "contradiction"}),
        ({"frequency": 4}, {"/frequency": "contradiction"}),
        ({"accruals": (0.5, 0.5)}, {"/accruals": "ambiguous"}),
        ({"calendar": TARGET}, {"/calendar": "not_applicable"}),
        ({"day_count": "BUS/252"}, {"/calendar": "required"}),
        ({"day_count": "ACT/ACT ICMA", "frequency": 1}, {"/frequency": "contradiction"}),
        ({"frequency": 5}, {"/frequency": "out_of_range"}),
    ],
)
def test_what_contradicts_the_dates_is_rejected_by_name(
    fields: dict[str, Any], error: dict[str, str]
) -> None:
    assert codes(dates=days("2029-03-31", "2029-09-30", "2030-03-31"), **fields) == error


def test_what_contradicts_the_accruals_is_rejected_by_name() -> None:
    assert resolve(accruals=(0.5083, 0.5028), months_per_period=6).months_per_period == 6
    assert codes(accruals=(0.5, 0.5), months_per_period=12) == {
        "/months_per_period": "contradiction"
    }
    assert codes(accruals=(0.1, 0.9), months_per_period=6) == {
        "/months_per_period": "contradiction"
    }
    assert codes(accruals=(0.5, 0.5), day_count="ACT/360") == {"/day_count": "not_applicable"}
    assert codes(2, day_count="30/360", calendar=TARGET) == {
        "/day_count": "not_applicable",
        "/calendar": "not_applicable",
    }


def test_what_contradicts_the_payment_dates_is_rejected_by_name() -> None:
    terms = PaymentDateTerms(
        start=date(2026, 1, 15), end=date(2027, 1, 15), frequency=PaymentFrequency.QUARTERLY
    )
    assert resolve(payment_dates=terms, frequency=4, months_per_period=3).periods == 4
    assert codes(payment_dates=terms, frequency=2) == {"/frequency": "contradiction"}
    assert codes(payment_dates=terms, months_per_period=6) == {
        "/months_per_period": "contradiction"
    }
    assert codes(5, payment_dates=terms) == {"/payment_dates/end": "wrong_length"}
    idle = PaymentDateTerms(
        start=terms.start, end=terms.end, frequency=terms.frequency, calendar=TARGET
    )
    assert codes(payment_dates=idle) == {"/payment_dates/calendar": "not_applicable"}
    assert resolve(payment_dates=idle, day_count="BUS/252").day_count == "BUS/252"
    moving = PaymentDateTerms(
        start=terms.start,
        end=terms.end,
        frequency=terms.frequency,
        rule=BusinessDayRule.FOLLOWING,
    )
    assert codes(payment_dates=moving) == {"/payment_dates/calendar": "required"}
    assert codes(payment_dates=terms, calendar=TARGET) == {"/calendar": "ambiguous"}


def test_a_stub_counts_over_its_notional_period_and_several_whole_ones_count_as_many() -> None:
    half_years = days("2026-11-15", "2026-12-31", "2027-06-30", "2027-12-31", "2028-06-30")
    schedule = resolve(dates=half_years, day_count="ACT/ACT ICMA", frequency=2)
    assert schedule.accrual_fractions == (46 / (2 * 184), 0.5, 0.5, 0.5)
    assert (schedule.stubs, schedule.months_per_period) == ((1,), 6)
    five_years = days("2026-01-31", "2031-01-31")
    assert resolve(dates=five_years, day_count="ACT/ACT ICMA", frequency=2).accrual_fractions == (
        5.0,
    )


def test_the_frequency_of_icma_follows_from_the_dates() -> None:
    quarters = days("2026-01-15", "2026-04-15", "2026-07-15", "2026-10-15")
    assert resolve(dates=quarters, day_count="ACT/ACT ICMA").accrual_fractions == (0.25,) * 3
    odd = days("2026-01-15", "2026-05-20", "2026-06-01")
    assert codes(dates=odd, day_count="ACT/ACT ICMA") == {"/frequency": "required"}


def test_icma_takes_no_odd_period_inside_and_none_alone() -> None:
    inner = days("2026-01-15", "2026-04-15", "2026-06-20", "2026-10-15", "2027-01-15")
    assert codes(dates=inner, day_count="ACT/ACT ICMA", frequency=4) == {"/dates/2": "off_roll"}
    alone = days("2026-01-15", "2026-03-30")
    assert codes(dates=alone, day_count="ACT/ACT ICMA", frequency=4) == {"/dates/1": "off_roll"}


def test_dates_that_business_days_have_moved_count_as_regular() -> None:
    moved = days("2027-01-31", "2027-07-30", "2028-01-31", "2028-07-31", "2029-01-31")
    schedule = resolve(dates=moved, day_count="ACT/ACT ICMA", frequency=2)
    assert schedule.accrual_fractions == (0.5,) * 4
    on_grid = days("2026-01-15", "2026-04-15", "2026-07-15", "2026-10-18")
    schedule = resolve(dates=on_grid, day_count="ACT/ACT ICMA", frequency=4)
    # A Thursday: no weekend has moved it, so the last period is longer than a quarter.
    assert schedule.accrual_fractions[-1] == pytest.approx(0.25 + 3 / (4 * 92), abs=1e-15)


@pytest.mark.parametrize("rule", [rule for rule in BusinessDayRule if rule != "unadjusted"])
@pytest.mark.parametrize("roll_day", [1, 15, 28, 29, 30, 31])
def test_every_rule_of_business_days_leaves_the_periods_regular(
    rule: BusinessDayRule, roll_day: int
) -> None:
    years = YEARS[: scale(len(YEARS) * 10) // 10]
    for calendar, months, count, year in product((TARGET, WEEKENDS), (6, 12), (2, 3, 8), years):
        firsts = [add_months(date(year, 4, 1), months * step) for step in range(count + 1)]
        regular = [
            first.replace(day=min(roll_day, count_month_days(first.year, first.month)))
            for first in firsts
        ]
        moved = tuple(adjust_to_business_day(day, rule, calendar) for day in regular)
        schedule = resolve(dates=moved, day_count="ACT/ACT ICMA")
        assert schedule.accrual_fractions == (months / 12,) * count
        assert schedule.stubs == ()


def test_both_ends_may_be_stubs_around_regular_dates() -> None:
    fields: dict[str, Any] = {"start": date(2026, 1, 7), "end": date(2026, 12, 20)}
    fields |= {"first_regular_date": date(2026, 3, 31), "last_regular_date": date(2026, 9, 30)}
    terms = PaymentDateTerms(frequency=PaymentFrequency.QUARTERLY, end_of_month=True, **fields)
    result = roll_payment_dates(terms)
    assert result.dates == days(
        "2026-01-07", "2026-03-31", "2026-06-30", "2026-09-30", "2026-12-20"
    )
    assert result.stubs == (1, 4)
    assert result.notional_periods[0] == days("2025-12-31", "2026-03-31")
    assert result.notional_periods[3] == days("2026-09-30", "2026-12-31")


@pytest.mark.parametrize(
    ("fields", "anchor"),
    [
        ({}, "start"),
        ({"stub": "long_back"}, "start"),
        ({"stub": "short_front"}, "end"),
        ({"stub": "long_front"}, "end"),
        ({"roll_day": 15}, "roll day, counted from the month of the start"),
        ({"last_regular_date": date(2026, 9, 30)}, "last_regular_date"),
        ({"first_regular_date": date(2026, 3, 31)}, "first_regular_date"),
        (
            {"first_regular_date": date(2026, 3, 31), "last_regular_date": date(2026, 9, 30)},
            "first_regular_date",
        ),
    ],
)
def test_the_conventions_name_the_day_that_dates_count_from(
    fields: dict[str, Any], anchor: str
) -> None:
    terms = PaymentDateTerms(
        start=date(2026, 1, 7),
        end=date(2026, 12, 20),
        frequency=PaymentFrequency.QUARTERLY,
        **fields,
    )
    assert roll_payment_dates(terms).conventions["anchor"] == anchor


def test_a_roll_day_counts_from_the_month_of_the_start() -> None:
    fields: dict[str, Any] = {"start": date(2026, 1, 7), "end": date(2026, 8, 20), "roll_day": 15}
    quarters = days("2026-01-07", "2026-01-15", "2026-04-15", "2026-07-15", "2026-08-20")
    assert rolled(**fields) == list(quarters)
    assert rolled(**fields, front_stub="long") == list(quarters[:1] + quarters[2:])
    assert rolled(**fields, back_stub="long") == list(quarters[:3] + quarters[4:])
    alone = {**fields, "start": date(2026, 1, 20), "end": date(2026, 3, 3)}
    assert rolled(**alone) == list(days("2026-01-20", "2026-03-03"))


def test_a_missing_roll_day_pays_at_the_month_end_or_on_the_first_of_the_next() -> None:
    fields: dict[str, Any] = {"start": date(2025, 1, 31), "end": date(2025, 5, 1)}
    fields["frequency"] = PaymentFrequency.MONTHLY
    assert rolled(**fields, missing_day="next_month") == list(
        days("2025-01-31", "2025-03-01", "2025-03-31", "2025-05-01")
    )
    assert rolled(**fields)[1:3] == list(days("2025-02-28", "2025-03-31"))
    result = roll_payment_dates(PaymentDateTerms(**fields, missing_day="next_month"))
    assert result.stubs == ()


def test_a_maturity_on_the_plain_day_of_a_month_end_roll_is_regular() -> None:
    terms = PaymentDateTerms(
        start=date(2019, 2, 28),
        end=date(2024, 2, 28),
        frequency=PaymentFrequency.SEMI_ANNUAL,
        end_of_month=True,
    )
    result = roll_payment_dates(terms)
    assert (result.dates[-1], result.stubs) == (date(2024, 2, 28), ())
    schedule = resolve(payment_dates=terms, day_count="ACT/ACT ICMA")
    assert schedule.accrual_fractions == (0.5,) * 10


def test_intervals_of_days_and_of_any_months_roll_too() -> None:
    fields: dict[str, Any] = {"start": date(2026, 1, 1), "end": date(2026, 3, 1)}
    assert rolled(**fields, frequency=None, interval_days=27) == list(
        days("2026-01-01", "2026-01-28", "2026-02-24", "2026-03-01")
    )
    two = rolled(**{**fields, "end": date(2026, 5, 1)}, frequency=None, interval_months=2)
    assert two == list(days("2026-01-01", "2026-03-01", "2026-05-01"))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"frequency": None}, {"/frequency": "required"}),
        ({"interval_days": 30}, {"/frequency": "ambiguous"}),
        ({"frequency": None, "interval_months": 0}, {"/interval_months": "out_of_range"}),
        ({"roll_day": 32}, {"/roll_day": "out_of_range"}),
        ({"roll_day": 15, "end_of_month": True}, {"/roll_day": "contradiction"}),
        ({"roll_day": 15, "stub": "long_back"}, {"/stub": "not_applicable"}),
        ({"front_stub": "long"}, {"/front_stub": "not_applicable"}),
        ({"accrual": "unadjusted"}, {"/accrual": "not_applicable"}),
        ({"first_regular_date": date(2025, 1, 1)}, {"/first_regular_date": "out_of_order"}),
        (
            {"roll_day": 3, "first_regular_date": date(2026, 2, 4)},
            {"/first_regular_date": "off_roll"},
        ),
        (
            {"first_regular_date": date(2026, 2, 4), "last_regular_date": date(2026, 5, 5)},
            {"/last_regular_date": "off_roll"},
        ),
        (
            {"first_regular_date": date(2026, 2, 4), "front_stub": "long"},
            {"/front_stub": "not_applicable"},
        ),
        ({"missing_day": "next_month", "end_of_month": True}, {"/missing_day": "contradiction"}),
        (
            {"frequency": None, "interval_days": 9, "roll_day": 3},
            {"/roll_day": "not_applicable"},
        ),
        ({"calendar": BusinessCalendar(weekend=(4, 5))}, {"/calendar/weekend": "not_applicable"}),
        (
            {"calendar": BusinessCalendar(countries=("BR",))},
            {"/calendar/countries": "no_holiday_source"},
        ),
    ],
)
def test_terms_that_contradict_or_serve_nothing_are_rejected_by_name(
    fields: dict[str, Any], error: dict[str, str]
) -> None:
    span = {"start": date(2026, 1, 7), "end": date(2026, 8, 20)}
    assert error_codes(lambda: rolled(**span, **fields)) == error


def test_interest_accrues_between_adjusted_or_unadjusted_dates_and_is_paid_on_adjusted_ones() -> (
    None
):
    fields: dict[str, Any] = {
        "start": date(2026, 1, 31),
        "end": date(2026, 7, 31),
        "frequency": PaymentFrequency.QUARTERLY,
        "end_of_month": True,
        "rule": BusinessDayRule.MODIFIED_FOLLOWING,
        "calendar": TARGET,
    }
    adjusted = resolve(payment_dates=PaymentDateTerms(**fields))
    plain = resolve(payment_dates=PaymentDateTerms(**fields, accrual="unadjusted"))
    assert adjusted.dates == plain.dates == days("2026-01-30", "2026-04-30", "2026-07-31")
    assert adjusted.accrual_fractions == (90 / 360, 92 / 360)
    assert plain.accrual_fractions == (89 / 360, 92 / 360)


def test_a_reserve_and_a_window_count_months_not_periods() -> None:
    schedule = resolve(
        dates=days("2026-11-15", "2026-12-31", "2027-06-30", "2027-12-31", "2028-06-30")
    )
    months = schedule.period_months()
    assert months[1:] == (6.0, 6.0, 6.0)
    assert months[0] == pytest.approx(46 / 30.436875)
    assert shares_ahead(months, 0, 6.0) == [1.0, pytest.approx((6.0 - months[0]) / 6.0)]
    assert shares_ahead(months, 1, 9.0) == [1.0, 0.5]
    assert shares_ahead(months, 3, 24.0) == [1.0]
    assert trailing_periods(months, 2, 12.0) == 2
    assert trailing_periods(months, 1, 12.0) is None


def test_times_of_flows_run_on_in_regular_periods() -> None:
    schedule = resolve(dates=days("2026-11-15", "2026-12-31", "2027-06-30", "2027-12-31"))
    times = schedule.flow_times_years(6)
    assert times[0] == 0.0
    assert [b - a for a, b in pairwise(times[1:])] == pytest.approx([0.5] * 4)


def test_a_part_of_a_period_counts_by_its_own_dates_and_the_maturity() -> None:
    dates = days("2026-02-28", "2026-08-31", "2027-02-28")
    schedule = resolve(2, dates=dates, day_count="30E/360 ISDA")
    # A whole period has its own fraction, the first as well as the last.
    assert schedule.count_part(1, dates[0], dates[1]) == pytest.approx(180 / 360)
    assert schedule.count_part(2, dates[1], dates[2]) == pytest.approx(178 / 360)
    # The end of February is the 30th, except at maturity.
    assert schedule.count_part(1, dates[0], date(2026, 3, 15)) == pytest.approx(15 / 360)
    assert schedule.count_part(2, date(2027, 1, 30), dates[2]) == pytest.approx(28 / 360)


@pytest.mark.parametrize("index", [1, 2, 3])
def test_an_inner_date_off_the_grid_is_named(index: int) -> None:
    dates = list(days("2026-01-15", "2026-04-15", "2026-07-15", "2026-10-15", "2027-01-15"))
    dates[index] = dates[index].replace(day=2)
    errors = codes(4, dates=tuple(dates), day_count="ACT/ACT ICMA", frequency=4)
    assert errors == {f"/dates/{index}": "off_roll"}


@pytest.mark.parametrize(
    "texts",
    [
        ("2024-06-17", "2024-12-16", "2025-06-16", "2025-12-15"),
        ("2021-11-15", "2022-05-16", "2022-11-15"),
    ],
)
def test_a_roll_day_is_read_off_all_dates_where_weekends_moved_them(texts: tuple[str, ...]) -> None:
    schedule = resolve(dates=days(*texts), day_count="ACT/ACT ICMA", frequency=2)
    assert schedule.accrual_fractions == (0.5,) * (len(texts) - 1)
    assert schedule.stubs == ()


def test_dates_that_no_business_day_explains_are_stubs() -> None:
    schedule = resolve(
        dates=days("2024-01-10", "2024-07-15", "2025-01-10"),
        day_count="ACT/ACT ICMA",
        frequency=2,
    )
    assert schedule.stubs == (1, 2)


@pytest.mark.parametrize(
    ("texts", "fractions"),
    [
        # 14 February 2026 is a Saturday, 25 March 2035 a Sunday: no rule moves them so far.
        (
            ("2026-02-10", "2026-02-14", "2026-05-14", "2026-08-14", "2026-11-14"),
            (4 / (4 * 92), 0.25, 0.25, 0.25),
        ),
        (
            ("2026-02-14", "2026-05-14", "2026-08-14", "2026-11-14", "2026-11-18"),
            (0.25, 0.25, 0.25, 4 / (4 * 92)),
        ),
        (("2035-03-28", "2035-04-25", "2035-05-25", "2035-06-25"), (28 / 31 / 12, 1 / 12, 1 / 12)),
        # The 13th is the Friday before, but the 14th itself is the regular date.
        (
            ("2026-02-13", "2026-02-14", "2026-05-14", "2026-08-14"),
            (1 / (4 * 92), 0.25, 0.25),
        ),
        # A holiday that neither weekends nor TARGET have moved Friday 5 June.
        (
            ("2026-01-30", "2026-02-05", "2026-03-05", "2026-04-07", "2026-06-08", "2026-07-06"),
            (6 / 31 / 12, 1 / 12, 1 / 12, 2 / 12, 1 / 12),
        ),
    ],
)
def test_an_end_that_no_business_day_moves_there_is_a_stub(
    texts: tuple[str, ...], fractions: tuple[float, ...]
) -> None:
    schedule = resolve(
        dates=days(*texts), day_count="ACT/ACT ICMA", frequency=round(1 / fractions[1])
    )
    assert schedule.accrual_fractions == pytest.approx(fractions, abs=1e-15)
    assert schedule.stubs == ((len(fractions),) if texts[0] == "2026-02-14" else (1,))


def test_two_dates_of_one_regular_date_are_no_period() -> None:
    alone = days("2026-02-13", "2026-02-14")
    assert codes(dates=alone, day_count="ACT/ACT ICMA", frequency=4) == {"/dates/1": "off_roll"}
    inside = days("2026-01-15", "2026-02-16", "2026-02-18", "2026-03-15", "2026-04-15")
    assert codes(dates=inside, day_count="ACT/ACT ICMA", frequency=12) == {"/dates/2": "off_roll"}


@pytest.mark.parametrize(
    ("fields", "number", "fraction"),
    [
        (
            {"start": "2026-02-10", "end": "2026-08-31", "frequency": "monthly", "roll_day": 31},
            1,
            18 / 28 / 12,
        ),
        ({"start": "2025-10-31", "end": "2026-03-10", "frequency": "monthly"}, 5, 10 / 31 / 12),
        (
            {"start": "2026-01-20", "end": "2027-01-31", "roll_day": 31, "front_stub": "long"},
            1,
            11 / 92 / 4 + 0.25,
        ),
        (
            {"start": "2026-01-20", "end": "2027-02-10", "first_regular_date": "2026-12-31"},
            1,
            70 / 90 / 4 + 0.75,
        ),
        # The neighbours of Saturday 28 February on a 31st, both moved: 30 January and 31 March.
        (
            {
                "start": "2026-02-10",
                "end": "2026-08-31",
                "frequency": "monthly",
                "roll_day": 31,
                "rule": "modified_following",
                "calendar": WEEKENDS,
            },
            1,
            17 / 28 / 12,
        ),
    ],
)
def test_the_notional_periods_of_a_stub_return_to_the_roll_day_after_a_short_month(
    fields: dict[str, Any], number: int, fraction: float
) -> None:
    terms = msgspec.convert({"frequency": "quarterly", **fields}, PaymentDateTerms)
    schedule = resolve(payment_dates=terms, day_count="ACT/ACT ICMA")
    assert schedule.accrual_fractions[number - 1] == pytest.approx(fraction, abs=1e-15)
    assert number in schedule.stubs
    start, end = (schedule.accrual_dates or ())[number - 1 : number + 1]
    parts = [schedule.count_part(number, start, inner) for inner in (start + DAY, end)]
    assert parts[0] + schedule.count_part(number, start + DAY, end) == pytest.approx(parts[1])


@given(
    st.dates(date(2001, 1, 1), date(2040, 12, 31)),
    st.integers(2, 6),
    st.sampled_from([PaymentFrequency.QUARTERLY, PaymentFrequency.SEMI_ANNUAL]),
    st.sampled_from([BusinessDayRule.FOLLOWING, BusinessDayRule.MODIFIED_FOLLOWING]),
)
@settings(max_examples=scale(100))
def test_a_rolled_schedule_counts_the_same_from_its_dates(
    start: date, periods: int, frequency: PaymentFrequency, rule: BusinessDayRule
) -> None:
    start = start.replace(day=min(start.day, 28))
    months = 3 if frequency is PaymentFrequency.QUARTERLY else 6
    terms = PaymentDateTerms(
        start=start,
        end=add_months(start, months * periods),
        frequency=frequency,
        rule=rule,
        calendar=TARGET,
    )
    rolled_schedule = resolve(payment_dates=terms, day_count="ACT/ACT ICMA")
    dates = rolled_schedule.dates
    assert dates is not None
    given_schedule = resolve(dates=dates, day_count="ACT/ACT ICMA", frequency=12 // months)
    assert given_schedule.accrual_fractions == pytest.approx((months / 12,) * periods)
    assert given_schedule.stubs == ()
