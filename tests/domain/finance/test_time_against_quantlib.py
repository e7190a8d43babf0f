"""Random schedules and loans with stubs and resets beside QuantLib, a test oracle."""

import random
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.domain.finance.oracle_engines import (
    QUANTLIB_RULES,
    import_oracle,
    last_of_month,
    random_day,
)

from spawn.domain.finance.loans.loan_schedule import build_loan_schedule
from spawn.domain.finance.loans.loan_terms import LoanTerms, RateReset
from spawn.domain.finance.time_base.business_calendar import BusinessCalendar, BusinessDayRule
from spawn.domain.finance.time_base.day_count import (
    AccrualPeriod,
    DayCount,
    add_months,
    count_days,
)
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, roll_payment_dates
from spawn.domain.finance.time_base.period_schedule import TimeTerms, resolve_schedule

pytestmark = [pytest.mark.core, pytest.mark.slow]

TOLERANCE = 1e-9
TARGET = BusinessCalendar(base="target")


def to_quantlib(ql: Any, day: date) -> Any:
    return ql.Date.from_date(day)


def random_stub(rng: random.Random, months: int) -> timedelta:
    """Return the length of a stub, from some days to almost two periods."""
    return timedelta(rng.randrange(5, int(30.4 * months * 1.9)))


def random_terms(rng: random.Random) -> PaymentDateTerms:
    """Return terms with a stub at both ends, each shorter or longer than a period."""
    months = rng.choice([1, 2, 3, 4, 6, 12])
    start = random_day(rng)
    first = start + random_stub(rng, months)
    month_end = rng.random() < 0.3
    if month_end:
        first = last_of_month(first)
    last = add_months(first, months * rng.randrange(1, 20))
    if month_end:
        last = last_of_month(last)
    return PaymentDateTerms(
        start=start,
        end=last + random_stub(rng, months),
        interval_months=months,
        rule=rng.choice(list(BusinessDayRule)),
        end_of_month=month_end,
        calendar=TARGET,
        first_regular_date=first,
        last_regular_date=last,
    )


def build_quantlib_schedule(ql: Any, terms: PaymentDateTerms, rule: str) -> Any:
    convention = getattr(ql, rule)
    first, last = terms.first_regular_date, terms.last_regular_date
    return ql.Schedule(
        to_quantlib(ql, terms.start),
        to_quantlib(ql, terms.end),
        ql.Period(terms.interval_months, ql.Months),
        ql.TARGET(),
        convention,
        convention,
        ql.DateGeneration.Forward,
        terms.end_of_month,
        to_quantlib(ql, first) if first else ql.Date(),
        to_quantlib(ql, last) if last else ql.Date(),
    )


def test_dates_with_stubs_at_both_ends_equal_quantlib() -> None:
    ql, rng = import_oracle("QuantLib"), random.Random(21)
    for _ in range(600):
        terms = random_terms(rng)
        theirs = build_quantlib_schedule(ql, terms, QUANTLIB_RULES[terms.rule])
        assert list(roll_payment_dates(terms).dates) == [day.to_date() for day in theirs], terms


def is_clipped(terms: PaymentDateTerms) -> bool:
    """Return whether a stub steps over a month end that the roll clips."""
    first, last, months = (
        terms.first_regular_date,
        terms.last_regular_date,
        terms.interval_months,
    )
    assert first is not None
    assert last is not None
    assert months is not None
    if add_months(terms.start, months) == first:
        return True
    if terms.end_of_month:
        is_long = terms.end > last_of_month(add_months(last, months))
        return is_long or terms.start < last_of_month(add_months(first, -months))
    # A stub is shorter than two periods, so that its notional periods end within these.
    around = [add_months(first, step * months) for step in (-2, -1)]
    around += [add_months(last, step * months) for step in (1, 2)]
    return any(day.day != first.day for day in (last, *around))


def test_icma_coupons_of_stubs_at_both_ends_equal_quantlib() -> None:
    """The accrual fractions are those of bonds, between adjusted dates and unadjusted ones.

    Stubs over a clipped month end are left out: QuantLib steps their notional periods from the
    clipped day, ours roll from the regular date (ICMA rule 251). QuantLib also calls the last
    period a stub where it is a regular one.
    """
    ql, rng = import_oracle("QuantLib"), random.Random(22)
    counter = ql.ActualActual(ql.ActualActual.ISMA)
    checked = 0
    while checked < 300:
        terms = random_terms(rng)
        if terms.interval_months in {2, 4} or terms.rule is BusinessDayRule.UNADJUSTED:
            continue  # QuantLib takes the frequencies 12, 4, 2 and 1
        fields = {name: getattr(terms, name) for name in terms.__struct_fields__}
        fields["accrual"] = rng.choice(["adjusted", "unadjusted"])
        ours = resolve_schedule(
            TimeTerms(payment_dates=PaymentDateTerms(**fields), day_count="ACT/ACT ICMA")
        )
        if is_clipped(terms) or ours.stubs != (1, ours.periods):
            continue
        checked += 1
        rule = QUANTLIB_RULES[terms.rule]
        schedule = build_quantlib_schedule(
            ql, terms, rule if fields["accrual"] == "adjusted" else "Unadjusted"
        )
        leg = ql.FixedRateLeg(schedule, counter, [1.0], [1.0], getattr(ql, rule))
        theirs = [ql.as_fixed_rate_coupon(coupon).accrualPeriod() for coupon in leg]
        assert ours.accrual_fractions == pytest.approx(theirs, abs=TOLERANCE), terms


def test_interest_with_resets_inside_periods_equals_quantlib() -> None:
    """QuantLib averages a fixing a day over each coupon; a reset changes them from its date on."""
    ql, rng = import_oracle("QuantLib"), random.Random(23)
    counters = {"ACT/360": ql.Actual360(), "ACT/365F": ql.Actual365Fixed()}
    for _ in range(300):
        start, months = random_day(rng), rng.choice([1, 3, 6])
        dates = [add_months(start, months * index) for index in range(rng.randrange(3, 12))]
        day_count = rng.choice(list(counters))
        inside = rng.sample(range(1, (dates[-1] - start).days), rng.randrange(1, 8))
        reset_days = {start + timedelta(days) for days in inside}
        reset_days |= {day for day in dates[1:-1] if rng.random() < 0.5}
        rates = {day: rng.uniform(-0.01, 0.12) for day in sorted(reset_days)}
        ours = build_loan_schedule(
            LoanTerms(
                principal=1.0,
                annual_rates=0.05,
                profile=rng.choice(["straight_line", "bullet", "annuity"]),
                dates=tuple(dates),
                day_count=day_count,
                rate_resets=tuple(
                    RateReset(date=day, annual_rate=rate) for day, rate in rates.items()
                ),
            )
        )
        ql.IndexManager.instance().clearHistories()
        currency, calendar = ql.EURCurrency(), ql.NullCalendar()
        index = ql.OvernightIndex("daily", 0, currency, calendar, counters[day_count])
        days = [start + timedelta(number) for number in range((dates[-1] - start).days)]
        fixings, rate = [], 0.05
        for day in days:
            rate = rates.get(day, rate)
            fixings.append(rate)
        index.addFixings([to_quantlib(ql, day) for day in days], fixings)
        ql.Settings.instance().evaluationDate = to_quantlib(ql, dates[-1] + timedelta(5))
        leg = ql.OvernightLeg(
            [row.opening_balance for row in ours.rows],
            ql.Schedule([to_quantlib(ql, day) for day in dates]),
            index,
            counters[day_count],
            ql.Unadjusted,
            averagingMethod=ql.RateAveraging.Simple,
        )
        theirs = [coupon.amount() for coupon in leg]
        assert [row.interest for row in ours.rows] == pytest.approx(theirs, abs=TOLERANCE)


def test_floating_coupons_with_fixings_and_a_margin_equal_quantlib() -> None:
    """A rate is fixed at the start of each period and bears the margin; dates are adjusted."""
    ql, rng = import_oracle("QuantLib"), random.Random(25)
    counters = {"ACT/360": ql.Actual360(), "ACT/365F": ql.Actual365Fixed()}
    checked = 0
    while checked < 300:
        terms = random_terms(rng)
        if terms.rule is BusinessDayRule.UNADJUSTED:
            continue
        checked += 1
        day_count, margin = rng.choice(list(counters)), rng.uniform(0.0, 0.04)
        dates = roll_payment_dates(terms).dates
        fixings = [rng.uniform(-0.01, 0.08) for _ in dates[:-1]]
        ours = build_loan_schedule(
            LoanTerms(
                principal=1.0,
                annual_rates=tuple(fixing + margin for fixing in fixings),
                profile=rng.choice(["straight_line", "bullet"]),
                payment_dates=terms,
                day_count=day_count,
            )
        )
        ql.IndexManager.instance().clearHistories()
        ql.Settings.instance().evaluationDate = to_quantlib(ql, dates[-1] + timedelta(5))
        index = ql.IborIndex(
            "fixing",
            ql.Period(terms.interval_months, ql.Months),
            0,
            ql.EURCurrency(),
            ql.NullCalendar(),
            ql.Unadjusted,
            False,  # noqa: FBT003 - the end of month, by position as QuantLib takes it
            counters[day_count],
        )
        index.addFixings([to_quantlib(ql, day) for day in dates[:-1]], fixings)
        leg = ql.IborLeg(
            [row.opening_balance for row in ours.rows],
            build_quantlib_schedule(ql, terms, QUANTLIB_RULES[terms.rule]),
            index,
            counters[day_count],
            ql.Unadjusted,
            [0],
            spreads=[margin],
        )
        theirs = [coupon.amount() for coupon in leg]
        assert [row.interest for row in ours.rows] == pytest.approx(theirs, abs=TOLERANCE), terms


def test_further_day_counts_equal_quantlib() -> None:
    ql, rng = import_oracle("QuantLib"), random.Random(24)
    holidays = ql.BespokeCalendar("weekends")
    for weekday in (ql.Saturday, ql.Sunday):
        holidays.addWeekend(weekday)
    theirs = {
        DayCount.ACT_ACT_AFB: ql.ActualActual(ql.ActualActual.AFB),
        DayCount.NL_365: ql.Actual365Fixed(ql.Actual365Fixed.NoLeap),
        DayCount.BUS_252: ql.Business252(holidays),
    }
    for start, end in pairwise(random_day(rng) for _ in range(2_000)):
        if start >= end:
            continue
        for convention, counter in theirs.items():
            calendar = BusinessCalendar(base="weekends") if "BUS" in convention.value else None
            ours = count_days(convention, AccrualPeriod(start=start, end=end), calendar=calendar)
            fraction = counter.yearFraction(to_quantlib(ql, start), to_quantlib(ql, end))
            assert ours.year_fraction == pytest.approx(fraction, abs=TOLERANCE), (convention, start)
