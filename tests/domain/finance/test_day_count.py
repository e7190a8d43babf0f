"""Day counts beyond the oracle cases."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.time_base.day_count import (
    AccrualPeriod,
    DayCount,
    add_months,
    compute_year_fraction,
    count_days,
    parse_day_count,
)

pytestmark = pytest.mark.core

days = st.dates(date(1990, 1, 1), date(2090, 12, 31))


def period(start: date, end: date) -> AccrualPeriod:
    return AccrualPeriod(start=start, end=end)


def test_30e_360_isda_keeps_the_last_of_february_at_maturity_alone() -> None:
    start, end = date(2023, 8, 31), date(2024, 2, 29)
    inner = AccrualPeriod(start=start, end=end, maturity=date(2030, 2, 28))
    last = AccrualPeriod(start=start, end=end, maturity=end)
    assert count_days("30E/360 ISDA", inner).days == 180
    assert count_days("30E/360 ISDA", last).days == 179


def test_icma_splits_a_long_period_over_its_notional_periods() -> None:
    # Rule 251, a long first period: one whole half-year, and a part of the half-year before.
    first = AccrualPeriod(
        start=date(2002, 8, 15),
        end=date(2003, 7, 15),
        reference_start=date(2003, 1, 15),
        reference_end=date(2003, 7, 15),
        frequency=2,
    )
    assert count_days("ACT/ACT ICMA", first).year_fraction == pytest.approx(
        0.5 + 153 / (2 * 184), abs=1e-15
    )


def test_icma_reads_the_frequency_off_its_reference_period() -> None:
    stub = AccrualPeriod(
        start=date(1999, 2, 1),
        end=date(1999, 7, 1),
        reference_start=date(1998, 7, 1),
        reference_end=date(1999, 7, 1),
    )
    assert count_days("ACT/ACT ICMA", stub).year_fraction == pytest.approx(150 / 365, abs=1e-15)


PLAIN = sorted(
    rule for rule in DayCount if not rule.needs_frequency and rule is not DayCount.BUS_252
)
"""Conventions that need no more than two dates."""


@given(days, days, st.sampled_from(PLAIN))
def test_fractions_are_near_the_calendar_and_never_negative(
    one: date, other: date, convention: DayCount
) -> None:
    start, end = min(one, other), max(one, other)
    fraction = compute_year_fraction(convention, start, end)
    calendar = (end - start).days / 365.25
    assert fraction >= 0.0 or (start, end) == (end, start) or (end - start).days < 3
    assert fraction == pytest.approx(calendar, rel=0.016, abs=0.01)


@given(days, st.integers(1, 4000), st.integers(1, 4000))
@settings(max_examples=scale(25))
def test_actual_day_counts_add_up_over_a_split_period(start: date, one: int, more: int) -> None:
    middle, end = start + timedelta(one), start + timedelta(one + more)
    for convention in (DayCount.ACT_360, DayCount.ACT_365F, DayCount.ACT_ACT_ISDA):
        parts = compute_year_fraction(convention, start, middle) + compute_year_fraction(
            convention, middle, end
        )
        assert parts == pytest.approx(compute_year_fraction(convention, start, end), abs=1e-12)


@given(days, st.integers(-1200, 1200))
@settings(max_examples=scale(25))
def test_adding_months_keeps_the_day_or_the_end_of_the_month(day: date, months: int) -> None:
    moved = add_months(day, months)
    assert (moved.year * 12 + moved.month) - (day.year * 12 + day.month) == months
    assert moved.day == day.day or (moved + timedelta(1)).day == 1


@pytest.mark.parametrize(
    ("text", "convention"),
    [
        *[(convention.value, convention) for convention in DayCount],
        *[(text, DayCount.ACT_360) for text in ("act/360", "Actual/360")],
        *[
            (text, DayCount.ACT_365F)
            for text in ("ACT/365", "ACT/365 (Fixed)", "Actual/365 Fixed", "Actual/365F")
        ],
        *[
            (text, DayCount.THIRTY_360)
            for text in ("30/360 Bond Basis", "30/360 ISDA", "Bond Basis")
        ],
        *[
            (text, DayCount.THIRTY_E_360)
            for text in ("30e/360", "30E/360 Eurobond", "Eurobond Basis")
        ],
        *[(text, DayCount.THIRTY_U_360) for text in ("30u_360", "30/360 US", "30/360 NASD")],
        *[(text, DayCount.ACT_ACT_ISDA) for text in ("ACT/ACT", "Actual/Actual (ISDA)")],
        *[(text, DayCount.ACT_ACT_ICMA) for text in ("Actual/Actual ICMA", "ACT/ACT ISMA")],
        *[(text, DayCount.ACT_ACT_AFB) for text in ("Actual/Actual AFB", "ACT/ACT Euro")],
        *[(text, DayCount.ACT_365L) for text in ("Actual/365L", "ISMA-Year")],
        *[
            (text, DayCount.NL_365)
            for text in ("ACT/365 NL", "Actual/365 NL", "No Leap/365", "NoLeap/365")
        ],
        *[(text, DayCount.BUS_252) for text in ("Business/252",)],
    ],
)
def test_conventions_have_their_usual_names(text: str, convention: DayCount) -> None:
    assert parse_day_count(text) is convention


def test_invalid_periods_are_rejected() -> None:
    one, two = date(2026, 1, 1), date(2026, 7, 1)
    assert error_codes(lambda: parse_day_count("ACT/364")) == {"/day_count": "unknown_day_count"}
    assert error_codes(lambda: count_days("ACT/360", period(two, one))) == {"/end": "before_start"}
    assert error_codes(lambda: count_days("ACT/ACT ICMA", period(one, two))) == {
        "/frequency": "required"
    }
    half = AccrualPeriod(start=one, end=two, reference_start=one, frequency=2)
    assert error_codes(lambda: count_days("ACT/ACT ICMA", half)) == {"/reference_end": "incomplete"}
    odd = AccrualPeriod(start=one, end=two, frequency=5)
    assert error_codes(lambda: count_days("ACT/ACT ICMA", odd)) == {"/frequency": "out_of_range"}
    empty = AccrualPeriod(start=one, end=two, reference_start=one, reference_end=one, frequency=1)
    assert error_codes(lambda: count_days("ACT/ACT ICMA", empty)) == {
        "/reference_end": "not_increasing"
    }
    early = AccrualPeriod(start=date(999, 1, 1), end=two, frequency=1)
    assert error_codes(lambda: count_days("ACT/ACT ICMA", early)) == {"/start": "out_of_range"}


def test_icma_counts_however_far_the_reference_is() -> None:
    terms = {
        "reference_start": date(2026, 1, 1),
        "reference_end": date(2026, 7, 1),
        "frequency": 2,
    }

    def fraction(start: date, end: date) -> float:
        period = AccrualPeriod(start=start, end=end, **terms)  # type: ignore[arg-type]  # by name
        return count_days("ACT/ACT ICMA", period).year_fraction

    assert fraction(date(1500, 1, 1), date(4000, 1, 1)) == 2500.0
    parts = [date(1999, 11, 3), date(2020, 2, 29), date(2026, 3, 31), date(2031, 8, 17)]
    whole = sum(fraction(start, end) for start, end in pairwise(parts))
    assert fraction(parts[0], parts[-1]) == pytest.approx(whole, abs=1e-13)


@pytest.mark.parametrize(
    ("start", "end", "frequency"),
    [
        (date(2026, 1, 31), date(2031, 1, 31), 2),
        (date(2024, 1, 1), date(2024, 7, 1), 12),
        (date(2024, 1, 1), date(2024, 2, 15), 2),
    ],
)
def test_icma_without_a_reference_takes_no_period_of_another_length(
    start: date, end: date, frequency: int
) -> None:
    odd = AccrualPeriod(start=start, end=end, frequency=frequency)
    assert error_codes(lambda: count_days("ACT/ACT ICMA", odd)) == {"/frequency": "contradiction"}


@pytest.mark.parametrize(
    ("start", "end", "frequency"),
    [
        (date(2024, 8, 31), date(2025, 2, 28), 2),
        (date(2024, 6, 17), date(2024, 12, 16), 2),
        (date(2024, 1, 31), date(2024, 2, 29), 12),
    ],
)
def test_icma_without_a_reference_counts_one_period_that_business_days_move(
    start: date, end: date, frequency: int
) -> None:
    moved = AccrualPeriod(start=start, end=end, frequency=frequency)
    assert count_days("ACT/ACT ICMA", moved).year_fraction == 1 / frequency


def test_a_frequency_of_zero_is_none_of_the_reference() -> None:
    start, end = date(2026, 1, 15), date(2026, 7, 15)
    period = AccrualPeriod(
        start=start, end=end, reference_start=start, reference_end=end, frequency=0
    )
    codes = error_codes(lambda: count_days("ACT/ACT ICMA", period))
    assert codes == {"/frequency": "out_of_range"}


def test_a_part_under_act_365l_counts_over_the_days_of_its_coupon_period() -> None:
    part = AccrualPeriod(
        start=date(2023, 12, 31),
        end=date(2024, 2, 28),
        reference_start=date(2023, 12, 31),
        reference_end=date(2024, 12, 31),
        frequency=1,
    )
    assert count_days("ACT/365L", part).year_fraction == 59 / 366
    half = AccrualPeriod(
        start=part.start, end=part.end, reference_end=part.reference_end, frequency=1
    )
    assert error_codes(lambda: count_days("ACT/365L", half)) == {"/reference_end": "incomplete"}
