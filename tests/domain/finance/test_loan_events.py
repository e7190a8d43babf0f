"""Loans with dated events: the state after each, and the interest accrued between them."""

from datetime import date, timedelta
from itertools import pairwise
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.loans.loan_events import replay_loan
from spawn.domain.finance.loans.loan_results import LoanEvent, LoanSchedule
from spawn.domain.finance.loans.loan_schedule import build_loan_schedule
from spawn.domain.finance.loans.loan_terms import (
    LoanDraw,
    LoanTerms,
    LoanTransfer,
    Prepayment,
    RateReset,
    resolve_loan_time,
)
from spawn.domain.finance.time_base.business_calendar import BusinessCalendar, BusinessDayRule
from spawn.domain.finance.time_base.day_count import DayCount, add_months
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency

pytestmark = pytest.mark.core

QUARTERS = tuple(
    date(2026 + month // 12, month % 12 + 1, 15) for month in range(0, 27, 3)
)  # eight quarters


def loan(**fields: Any) -> LoanSchedule:
    return build_loan_schedule(loan_terms(**fields))


def loan_terms(**fields: Any) -> LoanTerms:
    stated: dict[str, Any] = {
        "principal": 800.0,
        "annual_rates": 0.06,
        "profile": "straight_line",
        "dates": QUARTERS,
        "day_count": "ACT/365F",
    }
    return LoanTerms(**{**stated, **fields})


def codes(**fields: Any) -> dict[str, str]:
    return error_codes(lambda: loan(**fields))


def events_of(schedule: LoanSchedule, kind: str) -> list[LoanEvent]:
    return [event for event in schedule.events if event.kind == kind]


def years(start: date, end: date) -> float:
    return (end - start).days / 365


@given(
    st.sampled_from(["annuity", "straight_line", "bullet", "balloon"]),
    st.floats(0.0, 0.3),
    st.integers(0, 3),
    st.sampled_from(["interest_only", "capitalised"]),
    st.floats(0.0, 0.6),
)
@settings(max_examples=scale(40))
def test_a_plain_loan_replayed_is_its_closed_form(
    profile: Literal["annuity", "straight_line", "bullet", "balloon"],
    rate: float,
    grace_periods: int,
    grace: Literal["interest_only", "capitalised"],
    balloon: float,
) -> None:
    has_balloon = profile in {"annuity", "balloon"}
    terms = loan_terms(
        profile=profile,
        annual_rates=rate,
        grace_periods=grace_periods,
        grace=grace if grace_periods else None,
        balloon_share=max(balloon, 0.01) if has_balloon else 0.0,
    )
    closed, replayed = build_loan_schedule(terms), replay_loan(terms, resolve_loan_time(terms))
    for one, other in zip(closed.rows, replayed.rows, strict=True):
        for name in ("interest", "capitalised", "principal", "payment", "closing_balance"):
            assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-9), name
    if profile == "annuity":
        assert replayed.level_payment == pytest.approx(closed.level_payment, rel=1e-12)


def test_a_reset_inside_a_period_splits_its_interest() -> None:
    day = date(2026, 2, 20)
    result = loan(rate_resets=(RateReset(date=day, annual_rate=0.09),))
    start, end = QUARTERS[:2]
    expected = 800.0 * (0.06 * years(start, day) + 0.09 * years(day, end))
    assert result.rows[0].interest == pytest.approx(expected, rel=1e-14)
    assert result.rows[0].interest == pytest.approx(
        result.rows[0].annual_rate * result.rows[0].accrual_fraction * 800.0
    )
    assert result.rows[1].annual_rate == pytest.approx(0.09)
    (reset,) = events_of(result, "rate_reset")
    assert reset.accrued_interest == pytest.approx(800.0 * 0.06 * years(start, day))


def test_an_annuity_is_levelled_anew_at_a_reset_or_keeps_its_payment() -> None:
    resets = (RateReset(date=QUARTERS[3], annual_rate=0.1),)
    anew = loan(profile="annuity", rate_resets=resets)
    payments = [row.payment for row in anew.rows]
    assert payments[:3] == pytest.approx([anew.level_payment] * 3)
    assert payments[3:] == pytest.approx([payments[3]] * 5)
    assert payments[3] > payments[0]
    same = loan(profile="annuity", rate_resets=resets, reset_effect="keep_payment")
    payments = [row.payment for row in same.rows]
    assert payments[:7] == pytest.approx([payments[0]] * 7)
    assert payments[7] > payments[0]


def test_a_reset_before_the_first_payment_keeps_the_payment_of_the_rate_before() -> None:
    early = (RateReset(date=date(2026, 2, 20), annual_rate=0.1),)
    before = loan(profile="annuity").level_payment or 0.0
    for grace in (0, 2):
        kept = loan(
            profile="annuity", rate_resets=early, reset_effect="keep_payment", grace_periods=grace
        )
        old = loan(profile="annuity", grace_periods=grace).level_payment or 0.0
        assert kept.level_payment == pytest.approx(old, rel=1e-12)
        payments = [row.payment for row in kept.rows[grace:]]
        assert payments[:-1] == pytest.approx([old] * (7 - grace))
        assert payments[-1] > old
    anew = loan(profile="annuity", rate_resets=early, reset_effect="relevel")
    assert (anew.level_payment or 0.0) > before * 1.01


def test_the_payment_after_a_reset_is_that_of_a_new_loan_on_the_rest() -> None:
    day = QUARTERS[3]
    whole = loan(profile="annuity", rate_resets=(RateReset(date=day, annual_rate=0.1),))
    rest = loan(
        profile="annuity",
        principal=whole.rows[2].closing_balance,
        annual_rates=0.1,
        dates=QUARTERS[3:],
    )
    assert rest.level_payment == pytest.approx(whole.rows[3].payment, rel=1e-12)


def test_draws_bear_interest_from_their_date_and_are_levelled_in() -> None:
    result = loan(profile="annuity", principal=(400.0, 200.0, 200.0))
    drawn = [row.drawn for row in result.rows]
    assert drawn == [0.0, 200.0, 200.0, *[0.0] * 5]
    assert [event.cash_flow for event in events_of(result, "draw")] == [-400.0, -200.0, -200.0]
    for row in result.rows:
        closing = row.opening_balance + row.drawn + row.capitalised - row.principal
        assert row.closing_balance == pytest.approx(closing, abs=1e-9)
    payments = [row.payment for row in result.rows]
    assert payments[2:] == pytest.approx([payments[2]] * 6)
    assert result.rows[-1].closing_balance == 0.0
    day = date(2026, 3, 1)
    dated = loan(profile="bullet", draws=(LoanDraw(date=day, amount=100.0),))
    start, end = QUARTERS[:2]
    interest = 0.06 * (800.0 * years(start, end) + 100.0 * years(day, end))
    assert dated.rows[0].interest == pytest.approx(interest)


@pytest.mark.parametrize("profile", ["straight_line", "annuity"])
def test_a_balance_within_the_balloon_pays_interest_alone(
    profile: Literal["straight_line", "annuity"],
) -> None:
    draw = LoanDraw(date=QUARTERS[3], amount=700.0)
    result = loan(profile=profile, principal=100.0, balloon=300.0, draws=(draw,))
    assert [row.closing_balance for row in result.rows[:3]] == [100.0] * 3
    assert [row.principal for row in result.rows[:3]] == [0.0, 0.0, 0.0]
    assert result.rows[0].payment == pytest.approx(6.0 * years(*QUARTERS[:2]))
    assert result.rows[-1].principal > 300.0
    assert result.total_principal == pytest.approx(800.0)
    if profile == "straight_line":
        assert [row.principal for row in result.rows[3:7]] == pytest.approx([100.0] * 4)
    prepaid = loan(
        profile=profile,
        balloon=500.0,
        prepayments=(Prepayment(date=QUARTERS[1], amount=600.0),),
    )
    assert [row.principal for row in prepaid.rows[1:7]] == [0.0] * 6
    assert prepaid.rows[-1].closing_balance == 0.0
    first = loan(profile=profile, balloon=500.0).rows[0]
    whole = Prepayment(date=QUARTERS[1], amount=first.closing_balance)
    repaid = loan(profile=profile, balloon=500.0, prepayments=(whole,))
    assert [row.closing_balance for row in repaid.rows] == [0.0] * 8
    assert repaid.total_principal == pytest.approx(800.0)


def test_a_prepayment_pays_the_interest_accrued_on_it() -> None:
    day = QUARTERS[1] + timedelta(30)
    prepayment = Prepayment(date=day, amount=350.0)
    result = loan(prepayments=(prepayment,))
    (event,) = events_of(result, "prepayment")
    accrued = 700.0 * 0.06 * years(QUARTERS[1], day)
    assert event.cash_flow == pytest.approx(350.0 + accrued / 2)
    assert event.accrued_interest == pytest.approx(accrued / 2)
    assert event.balance == pytest.approx(350.0)
    assert result.rows[1].principal == pytest.approx(350.0 + 350.0 / 7)
    assert result.total_principal == pytest.approx(800.0)


def test_a_prepayment_shortens_the_loan_where_payments_stay() -> None:
    prepayment = Prepayment(date=QUARTERS[2], amount=300.0, effect="shorten")
    shorter = loan(prepayments=(prepayment,))
    assert [row.closing_balance for row in shorter.rows] == pytest.approx(
        [700.0, 300.0, 200.0, 100.0, 0.0, 0.0, 0.0, 0.0]
    )
    annuity = loan(profile="annuity", prepayments=(prepayment,))
    paid = [row.payment for row in annuity.rows]
    assert paid[2] == pytest.approx(paid[0])
    assert paid[-2:] == [0.0, 0.0]
    assert annuity.total_principal == pytest.approx(800.0)


SHORTENING = {
    "principal": 100.0,
    "annual_rates": 0.06,
    "dates": QUARTERS[:5],
    "day_count": "30E/360",
}


@pytest.mark.parametrize("grace_periods", [0, 1])
def test_a_prepayment_before_the_first_instalment_keeps_it_too(grace_periods: int) -> None:
    terms = SHORTENING | {"grace_periods": grace_periods, "profile": "straight_line"}
    early = Prepayment(date=date(2026, 2, 15), amount=40.0, effect="shorten")
    plain = loan(**terms).rows[-1].principal
    rows = loan(**terms, prepayments=(early,)).rows
    left = 60.0
    for row in rows[grace_periods:]:
        due = min(plain, left)
        assert row.principal - row.early_repayment == pytest.approx(due, abs=1e-9)
        left -= due


@pytest.mark.parametrize("grace", ["interest_only", "capitalised"])
@pytest.mark.parametrize("grace_periods", [0, 1])
@pytest.mark.parametrize("day", [date(2026, 2, 15), date(2026, 4, 15)])
def test_a_prepayment_before_the_first_payment_of_an_annuity_keeps_it_too(
    grace: str, grace_periods: int, day: date
) -> None:
    terms = SHORTENING | {"grace_periods": grace_periods, "profile": "annuity"}
    terms |= {"grace": grace} if grace_periods else {}
    early = Prepayment(date=day, amount=40.0, effect="shorten")
    plain = loan(**terms)
    result = loan(**terms, prepayments=(early,))
    assert result.level_payment == pytest.approx(plain.level_payment)
    paid = [row.payment for row in result.rows]
    first = max(grace_periods, 1)
    assert paid[first] == pytest.approx(plain.level_payment)
    assert paid[-1] == pytest.approx(0.0, abs=1e-9)
    assert sum(row.principal - row.capitalised for row in result.rows) == pytest.approx(100.0)


def test_the_instalment_of_a_shorter_straight_line_loan_is_a_quarter_of_it() -> None:
    early = Prepayment(date=date(2026, 2, 15), amount=40.0, effect="shorten")
    rows = loan(**SHORTENING, prepayments=(early,)).rows
    assert [row.principal for row in rows] == pytest.approx([65.0, 25.0, 10.0, 0.0])


@pytest.mark.parametrize("profile", ["straight_line", "annuity"])
def test_the_instalments_of_a_shorter_loan_leave_the_whole_balloon(
    profile: Literal["straight_line", "annuity"],
) -> None:
    early = Prepayment(date=QUARTERS[1], amount=30.0, effect="shorten")
    terms = SHORTENING | {"profile": profile, "balloon": 20.0}
    rows = loan(**terms, prepayments=(early,)).rows
    assert [row.closing_balance for row in rows[2:]] == pytest.approx([20.0, 0.0])
    if profile == "straight_line":
        assert [row.principal for row in rows] == pytest.approx([50.0, 20.0, 10.0, 20.0])


@pytest.mark.parametrize("effect", ["relevel", "keep_payment"])
def test_a_reset_to_the_same_rate_leaves_a_shorter_annuity_as_it_is(effect: str) -> None:
    terms = SHORTENING | {"profile": "annuity"}
    early = Prepayment(date=QUARTERS[1], amount=40.0, effect="shorten")
    plain = loan(**terms, prepayments=(early,))
    reset = RateReset(date=date(2026, 5, 1), annual_rate=0.06)
    result = loan(**terms, prepayments=(early,), rate_resets=(reset,), reset_effect=effect)
    paid = [row.payment for row in result.rows]
    assert paid == pytest.approx([row.payment for row in plain.rows], abs=1e-9)
    assert paid == pytest.approx([65.944479, 25.944479, 10.296541, 0.0], abs=1e-6)
    # At another rate the payment changes, and the end stays.
    higher = RateReset(date=date(2026, 5, 1), annual_rate=0.09)
    dearer = loan(**terms, prepayments=(early,), rate_resets=(higher,), reset_effect=effect)
    assert dearer.rows[3].payment == pytest.approx(0.0, abs=1e-9)
    assert (dearer.rows[1].payment > paid[1] + 0.01) == (effect == "relevel")


def test_a_reset_to_the_same_rate_leaves_an_annuity_below_its_balloon_as_it_is() -> None:
    terms: dict[str, Any] = SHORTENING | {"profile": "annuity", "annual_rates": 0.6}
    terms |= {"balloon_share": 0.9}
    terms["dates"] = (date(2026, 1, 15), date(2026, 4, 15), date(2027, 1, 15), date(2028, 1, 15))
    plain = [row.payment for row in loan(**terms).rows]
    assert plain == pytest.approx([35.935, 35.935, 125.935], abs=1e-3)
    reset = RateReset(date=date(2027, 2, 1), annual_rate=0.6)
    paid = [row.payment for row in loan(**terms, rate_resets=(reset,)).rows]
    assert paid == pytest.approx(plain, abs=1e-9)


def test_a_prepayment_on_a_payment_date_levels_the_rest_to_one_amount() -> None:
    prepayment = Prepayment(date=QUARTERS[2], amount=300.0)
    annuity = loan(profile="annuity", prepayments=(prepayment,))
    payments = [row.payment for row in annuity.rows]
    # The interest of the date itself is paid on it, and is no part of the later payments.
    assert payments[2:] == pytest.approx([payments[2]] * 6)
    assert sum(row.principal for row in annuity.rows[2:]) == pytest.approx(
        annuity.rows[1].closing_balance
    )


def test_a_running_loan_brings_its_accrued_interest_and_is_bought_with_it() -> None:
    running = loan(accrued_interest=7.0)
    assert running.rows[0].payment == pytest.approx(
        7.0 + running.rows[0].interest + running.rows[0].principal
    )
    day = QUARTERS[2] + timedelta(10)
    bought = loan(take_over=LoanTransfer(date=day, price=590.0))
    accrued = 600.0 * 0.06 * years(QUARTERS[2], day)
    assert bought.events[0].kind == "take_over"
    assert bought.events[0].cash_flow == pytest.approx(-590.0 - accrued)
    assert sum(e.cash_flow for e in bought.events[1:] if e.kind == "principal") == pytest.approx(
        600.0
    )


def test_a_termination_pays_the_price_and_the_accrued_interest() -> None:
    day = QUARTERS[2] + timedelta(10)
    ended = loan(termination=LoanTransfer(date=day))
    accrued = 600.0 * 0.06 * years(QUARTERS[2], day)
    assert ended.events[-1].cash_flow == pytest.approx(600.0 + accrued)
    assert len(ended.rows) == 3
    assert ended.rows[-1].closing_balance == 0.0
    assert loan(termination=LoanTransfer(date=day, price=640.0)).events[
        -1
    ].cash_flow == pytest.approx(640.0 + accrued)


def test_interest_may_be_capitalised_up_to_a_date_and_run_on_a_fixed_base() -> None:
    day = QUARTERS[1] + timedelta(20)
    result = loan(profile="bullet", capitalise_until=day)
    growth = (1 + 0.06 * years(QUARTERS[0], QUARTERS[1])) * (1 + 0.06 * years(QUARTERS[1], day))
    assert result.rows[1].closing_balance == pytest.approx(800.0 * growth)
    assert result.rows[1].payment == pytest.approx(800.0 * growth * 0.06 * years(day, QUARTERS[2]))
    fixed = loan(interest_base="fixed", interest_base_dates=(QUARTERS[4],))
    spans = [years(*pair) for pair in pairwise(QUARTERS)]
    assert [row.interest for row in fixed.rows] == pytest.approx(
        [800 * 0.06 * t for t in spans[:4]] + [400 * 0.06 * t for t in spans[4:]]
    )


def test_a_payment_below_the_interest_grows_the_balance_where_it_is_allowed() -> None:
    fields = {"profile": "annuity", "payment": 5.0}
    assert codes(**fields) == {"/allow_negative_amortisation": "negative_amortisation"}
    result = loan(**fields, allow_negative_amortisation=True)
    assert result.rows[0].closing_balance > 800.0
    assert result.warnings[0] == "the payment does not cover the interest in periods 1-7"
    assert "takes the rest" in result.warnings[1]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"payment": 10.0}, {"/payment": "not_applicable"}),
        ({"profile": "annuity", "instalment": 10.0}, {"/instalment": "not_applicable"}),
        ({"interest_base_amount": 10.0}, {"/interest_base_amount": "not_applicable"}),
        ({"reset_effect": "relevel"}, {"/reset_effect": "not_applicable"}),
        ({"grace": "capitalised"}, {"/grace": "not_applicable"}),
        (
            {"profile": "sculpted", "cfads": (1.0,) * 8, "accrued_interest": 1.0},
            {"/accrued_interest": "not_applicable"},
        ),
        (
            {
                "dates": None,
                "accruals": (0.5,) * 8,
                "day_count": None,
                "capitalise_until": QUARTERS[1],
            },
            {"/capitalise_until": "not_applicable"},
        ),
        (
            {"draws": (LoanDraw(date=QUARTERS[0], amount=1.0),)},
            {"/draws/0/date": "out_of_range"},
        ),
        (
            {"prepayments": (Prepayment(date=QUARTERS[1], amount=701.0),)},
            {"/prepayments/0/amount": "exceeds_debt"},
        ),
        (
            {
                "annual_rates": (0.06,) * 8,
                "rate_resets": (RateReset(date=QUARTERS[1], annual_rate=0.1),),
            },
            {"/rate_resets": "ambiguous"},
        ),
        (
            {"rate_resets": (RateReset(date=QUARTERS[1], annual_rate=0.1),) * 2},
            {"/rate_resets": "duplicate"},
        ),
        (
            {"profile": "annuity", "principal_dates": (QUARTERS[1], date(2026, 5, 1))},
            {"/principal_dates": "off_roll"},
        ),
        (
            {"principal_dates": (QUARTERS[1],), "grace_periods": 1},
            {"/grace_periods": "ambiguous"},
        ),
        (
            {
                "take_over": LoanTransfer(date=QUARTERS[3]),
                "termination": LoanTransfer(date=QUARTERS[2]),
            },
            {"/termination/date": "out_of_order"},
        ),
        (
            {"termination": LoanTransfer(date=QUARTERS[2], price=-1.0)},
            {"/termination/price": "out_of_range"},
        ),
        ({"instalment": 100.0, "balloon": 9.0}, {"/balloon": "not_applicable"}),
        (
            {
                "termination": LoanTransfer(date=QUARTERS[2]),
                "prepayments": (Prepayment(date=QUARTERS[2], amount=1.0),),
                "draws": (LoanDraw(date=QUARTERS[3], amount=1.0),),
                "rate_resets": (RateReset(date=QUARTERS[4], annual_rate=0.1),),
            },
            {
                "/prepayments/0/date": "out_of_order",
                "/draws/0/date": "out_of_order",
                "/rate_resets/0/date": "out_of_order",
            },
        ),
        (
            {"grace_periods": 1, "grace": "interest_only", "capitalise_until": QUARTERS[2]},
            {"/capitalise_until": "contradiction"},
        ),
        (
            {
                "profile": "annuity",
                "payment": 120.0,
                "prepayments": (Prepayment(date=QUARTERS[2], amount=9.0, effect="relevel"),),
            },
            {"/prepayments/0/effect": "contradiction"},
        ),
        ({"principal": (1.0,) * 9}, {"/principal": "wrong_length"}),
        (
            {
                "termination": LoanTransfer(date=date(2026, 5, 15)),
                "principal": (100.0, 0.0, 0.0, 40.0),
            },
            {"/principal/3": "out_of_order"},
        ),
        (
            {
                "termination": LoanTransfer(date=date(2026, 5, 15)),
                "interest_base": "fixed",
                "interest_base_dates": (QUARTERS[3],),
            },
            {"/interest_base_dates/0": "out_of_order"},
        ),
        (
            {
                "profile": "bullet",
                "prepayments": (Prepayment(date=QUARTERS[2], amount=9.0, effect="shorten"),),
            },
            {"/prepayments/0/effect": "not_applicable"},
        ),
        # A rate of -50 % over three years is more than all of a balance.
        (
            {
                "annual_rates": -0.5,
                "dates": (date(2026, 1, 15), date(2029, 1, 15), date(2032, 1, 15)),
                "accrued_interest": 0.0,
            },
            {"/annual_rates/0": "out_of_range", "/annual_rates/1": "out_of_range"},
        ),
        (
            {
                "dates": (date(2026, 1, 15), date(2029, 1, 15), date(2032, 1, 15)),
                "rate_resets": (RateReset(date=date(2029, 2, 15), annual_rate=-0.5),),
            },
            {"/rate_resets": "out_of_range"},
        ),
    ],
)
def test_terms_without_a_use_and_events_that_do_not_fit_are_rejected_by_name(
    fields: dict[str, Any], error: dict[str, str]
) -> None:
    assert codes(**fields) == error


def test_principal_dates_of_a_loan_that_ends_before_them_remain() -> None:
    ended = loan(principal_dates=QUARTERS[3:], termination=LoanTransfer(date=date(2026, 5, 15)))
    assert [row.principal for row in ended.rows] == pytest.approx([0.0, 800.0])


def test_a_loan_that_ends_on_a_day_that_counts_nothing_has_its_rate() -> None:
    dates = (date(2026, 1, 30), date(2026, 4, 30), date(2026, 7, 30))
    end = LoanTransfer(date=date(2026, 1, 31))
    ended = loan(dates=dates, day_count="30E/360", termination=end)
    assert [(row.annual_rate, row.interest) for row in ended.rows] == [(0.06, 0.0)]


@pytest.mark.parametrize("order", [1, -1])
def test_an_accrual_date_and_its_payment_date_are_one_day_of_events(order: int) -> None:
    dates = PaymentDateTerms(
        start=date(2026, 2, 15),
        end=date(2027, 2, 15),
        frequency=PaymentFrequency.QUARTERLY,
        rule=BusinessDayRule.FOLLOWING,
        accrual="unadjusted",
        calendar=BusinessCalendar(base="target"),
    )
    accrual_date, payment_date = date(2026, 8, 15), date(2026, 8, 17)
    resets = tuple(
        RateReset(date=day, annual_rate=rate)
        for day, rate in ((accrual_date, 0.1), (payment_date, 0.2))[::order]
    )
    fields: dict[str, Any] = {"dates": None, "payment_dates": dates}
    assert codes(**fields, rate_resets=resets) == {"/rate_resets": "duplicate"}
    ended = {"termination": LoanTransfer(date=accrual_date)}
    draw = LoanDraw(date=payment_date, amount=1.0)
    assert codes(**fields, **ended, draws=(draw,)) == {"/draws/0/date": "out_of_order"}


def test_a_given_payment_and_accrued_interest_need_no_dates() -> None:
    terms = LoanTerms(
        principal=100.0,
        annual_rates=0.06,
        profile="annuity",
        accruals=(0.5,) * 4,
        payment=30.0,
        accrued_interest=1.0,
    )
    rows = build_loan_schedule(terms).rows
    assert [row.payment for row in rows[:3]] == [30.0, 30.0, 30.0]
    # the accrued interest is the first that a payment covers
    assert rows[0].closing_balance == pytest.approx(100.0 + 1.0 + 3.0 - 30.0)
    assert rows[-1].closing_balance == 0.0


@given(
    st.sampled_from([rule.value for rule in DayCount if rule is not DayCount.BUS_252]),
    st.dates(date(2022, 1, 1), date(2025, 12, 31)),
    st.sampled_from([1, 2, 4]),
    st.data(),
)
@settings(max_examples=scale(60))
def test_a_reset_to_the_same_rate_changes_nothing_under_any_day_count(
    day_count: str, start: date, frequency: int, data: st.DataObject
) -> None:
    # ACT/365L counts each part over the days of its coupon period, 30/360, 30U/360 and AFB what a
    # part adds to the time since the start of the period.
    dates = tuple(add_months(start, 12 // frequency * number) for number in range(4))
    fields: dict[str, Any] = {"profile": "bullet", "dates": dates, "day_count": day_count}
    if DayCount(day_count).needs_frequency:
        fields["frequency"] = frequency
    inner = st.dates(dates[0] + timedelta(1), dates[-1] - timedelta(1))
    day = data.draw(inner)
    plain = loan(**fields)
    reset = loan(**fields, rate_resets=(RateReset(date=day, annual_rate=0.06),))
    for row, other in zip(reset.rows, plain.rows, strict=True):
        assert row.interest == pytest.approx(other.interest, rel=1e-12)
        assert row.annual_rate == pytest.approx(0.06, rel=1e-12)


def test_a_part_of_an_annual_coupon_counts_over_the_days_of_the_coupon() -> None:
    # 60 days at 6 % and 306 at 9 %, each over 366: 29 February is in the period.
    result = loan(
        profile="bullet",
        dates=(date(2023, 12, 31), date(2024, 12, 31), date(2025, 12, 31)),
        day_count="ACT/365L",
        frequency=1,
        rate_resets=(RateReset(date=date(2024, 2, 29), annual_rate=0.09),),
    )
    expected = 800.0 * (0.06 * 60 + 0.09 * 306) / 366
    assert result.rows[0].interest == pytest.approx(expected, rel=1e-14)


def test_one_payment_is_level_with_and_without_events() -> None:
    for fields in ({}, {"grace_periods": 7}, {"balloon": 100.0}):
        terms = {"profile": "annuity", "dates": QUARTERS[-9 if "grace_periods" in fields else -2 :]}
        reset = RateReset(date=QUARTERS[-2] + timedelta(5), annual_rate=0.06)
        plain, replayed = loan(**terms | fields), loan(**terms | fields, rate_resets=(reset,))
        assert plain.level_payment == pytest.approx(replayed.level_payment, rel=1e-14)


def test_a_solved_payment_repays_the_loan_where_it_does_not_cover_the_interest_at_first() -> None:
    # At 600 % a long period before a short one pays less than its interest.
    dates = (QUARTERS[0], QUARTERS[4], QUARTERS[5])
    fields: dict[str, Any] = {"profile": "annuity", "dates": dates, "annual_rates": 6.0}
    reset = RateReset(date=QUARTERS[0] + timedelta(5), annual_rate=6.0)
    plain, replayed = loan(**fields), loan(**fields, rate_resets=(reset,))
    for row, other in zip(plain.rows, replayed.rows, strict=True):
        assert row.payment == pytest.approx(other.payment)
    assert plain.rows[0].principal < 0.0
    assert replayed.warnings == ("the payment does not cover the interest in period 1",)


def test_negative_interest_is_paid_where_it_would_take_the_balance_below_zero() -> None:
    result = loan(
        principal=100.0, annual_rates=-0.02, instalment=200.0, capitalise_until=QUARTERS[3]
    )
    assert [row.closing_balance for row in result.rows] == [0.0] * 8
    assert result.rows[0].payment == pytest.approx(100.0 * (1.0 - 0.02 * 90 / 365))
    assert result.total_capitalised == 0.0


def test_a_stub_counts_over_its_own_leap_days() -> None:
    # 220 days without a 29 February; the coupon that would end in May 2024 has one.
    start, end = date(2023, 5, 18), date(2023, 12, 24)
    fields: dict[str, Any] = {
        "profile": "bullet",
        "dates": None,
        "payment_dates": PaymentDateTerms(start=start, end=end, frequency=PaymentFrequency.ANNUAL),
        "day_count": "ACT/365L",
    }
    reset = RateReset(date=date(2023, 6, 2), annual_rate=0.06)
    for result in (loan(**fields), loan(**fields, rate_resets=(reset,))):
        assert result.total_interest == pytest.approx(800.0 * 0.06 * 220 / 365, rel=1e-14)


def test_a_period_without_a_day_bears_no_interest_and_has_its_rate() -> None:
    # From the 30th to the 31st is no day of a 30-day month.
    dates = (date(2026, 3, 30), date(2026, 3, 31), date(2026, 6, 30), date(2026, 9, 30))
    reset = RateReset(date=date(2026, 8, 1), annual_rate=0.09)
    result = loan(dates=dates, day_count="30/360", profile="bullet", rate_resets=(reset,))
    assert [row.annual_rate for row in result.rows] == pytest.approx(
        [0.06, 0.06, (0.06 * 31 + 0.09 * 59) / 90]
    )
    assert result.rows[0].interest == 0.0


@pytest.mark.parametrize("until", [QUARTERS[2], date(2026, 6, 1)])
def test_a_straight_line_is_level_once_its_interest_is_no_longer_capitalised(until: date) -> None:
    for balloon in (0.0, 200.0):
        result = loan(capitalise_until=until, balloon=balloon)
        principal = [row.principal for row in result.rows]
        assert principal[2:-1] == pytest.approx(principal[2:3] * 5, rel=1e-12)
        assert principal[-1] == pytest.approx(principal[2] + balloon)
        assert sum(principal) == pytest.approx(800.0 + result.total_capitalised)


@pytest.mark.parametrize("until", [QUARTERS[2], date(2026, 6, 1)])
def test_an_annuity_is_level_once_its_interest_is_no_longer_capitalised(until: date) -> None:
    result = loan(profile="annuity", capitalise_until=until)
    payments = [row.payment for row in result.rows]
    assert payments[2:] == pytest.approx([result.level_payment] * 6, rel=1e-12)
    assert payments[0] == pytest.approx(payments[2] - result.rows[0].interest)


@pytest.mark.parametrize(
    ("fields", "payments"),
    [
        ({"profile": "annuity", "payment": 120.0}, [120.0, 120.0]),
        ({"instalment": 80.0, "annual_rates": 0.0}, [80.0, 80.0]),
    ],
)
def test_a_prepayment_keeps_a_given_payment_and_leaves_less_of_the_rest(
    fields: dict[str, Any], payments: list[float]
) -> None:
    prepayment = Prepayment(date=QUARTERS[2] + timedelta(10), amount=50.0)
    plain, prepaid = loan(**fields), loan(**fields, prepayments=(prepayment,))
    assert [row.payment for row in prepaid.rows[3:5]] == pytest.approx(payments)
    assert sum(row.payment for row in prepaid.rows[5:]) < sum(row.payment for row in plain.rows[5:])
    assert prepaid.total_principal == pytest.approx(800.0)
