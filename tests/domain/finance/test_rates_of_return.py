"""Rates of return: every root is listed, and no other."""

import math
import random
from datetime import date, timedelta
from decimal import Decimal, localcontext

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.searches import scale

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import MAX_FLOWS
from spawn.domain.finance.returns import one_sign_change
from spawn.domain.finance.returns.irr_polynomial import IrrPolynomial
from spawn.domain.finance.returns.irr_root_isolation import WorkBudget
from spawn.domain.finance.returns.one_sign_change import solve_one_sign_change
from spawn.domain.finance.returns.precise_roots import WorkLimitExceeded
from spawn.domain.finance.returns.rates_of_return import (
    DatedFlow,
    annualise,
    count_years,
    irr,
    mirr,
    npv,
    xirr,
    xirr_from_flows,
    xnpv,
)
from spawn.domain.finance.time_base.day_count import DayCount

pytestmark = pytest.mark.core

START = date(2026, 3, 31)
amounts = st.floats(-1e9, 1e9).filter(lambda x: x == 0.0 or abs(x) > 1e-3)


def polynomial(*rates: float) -> list[float]:
    """Flows whose periodic rates of return are exactly `rates`, outflow first."""
    flows = [-1.0]
    for rate in rates:
        flows = [
            (flows[t] if t < len(flows) else 0.0) - (1.0 + rate) * (flows[t - 1] if t > 0 else 0.0)
            for t in range(len(flows) + 1)
        ]
    return flows


def pointers(refused: pytest.ExceptionInfo[InvalidInput]) -> dict[str, str]:
    return {error.pointer: error.code for error in refused.value.errors}


@given(st.lists(st.integers(-60, 120), min_size=2, max_size=4, unique=True))
@settings(max_examples=scale(25))
def test_every_root_of_a_constructed_series_is_listed(percents: list[int]) -> None:
    expected = sorted(percent / 100.0 for percent in percents)
    outcome = irr(polynomial(*expected))
    assert outcome.status == "several"
    assert outcome.rates == pytest.approx(expected, abs=1e-6)


def test_a_double_root_is_one_rate_with_a_warning() -> None:
    outcome = irr([-100.0, 220.0, -121.0])
    assert outcome.status == "unique"
    assert outcome.rate == pytest.approx(0.10, abs=1e-12)
    assert "touches" in outcome.warnings[0]


def test_roots_that_nearly_meet_are_separated_and_vanish_when_the_curve_lifts_off() -> None:
    near = irr([-100.0, 220.000001, -121.0])
    assert near.status == "several"
    assert near.rates == pytest.approx([0.0998951, 0.1001049], abs=1e-6)
    gone = irr([-100.0, 219.999, -121.0])
    assert (gone.status, gone.reason, gone.rates) == ("none", "no_root", ())


def test_a_mid_life_outlay_with_one_rate_is_unique_despite_three_sign_changes() -> None:
    flows = [-1000.0, 300.0, 300.0, -200.0, 500.0, 500.0, 500.0]
    outcome = irr(flows, 2)
    assert outcome.sign_changes == 3
    assert outcome.status == "unique"
    assert outcome.rate is not None
    assert npv(outcome.rate, flows) == pytest.approx(0.0, abs=1e-9)
    assert outcome.effective_pa[0] == pytest.approx((1 + outcome.rate) ** 2 - 1, rel=1e-14)
    assert outcome.nominal_pa[0] == 2 * outcome.rate


def test_a_decommissioning_cost_gives_two_rates_and_both_are_named() -> None:
    flows = [-100.0, *[12.0] * 20, -40.0]
    outcome = irr(flows)
    assert outcome.status == "several"
    assert len(outcome.rates) == 2
    for rate in outcome.rates:
        assert npv(rate, flows) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("flows", "status", "reason"),
    [
        ([100.0, 50.0], "none", "single_sign"),
        ([-100.0, 0.0, -50.0], "none", "single_sign"),
        ([0.0, 0.0], "undefined", "all_zero"),
        ([5.0], "none", "single_sign"),
        ([-100.0, 100.0, -100.0], "none", "no_root"),
    ],
)
def test_series_without_a_rate_have_a_reason(flows: list[float], status: str, reason: str) -> None:
    outcome = irr(flows)
    assert (outcome.status, outcome.reason, outcome.rate) == (status, reason, None)


def test_flows_on_one_day_are_undefined_and_netted_flows_are_netted() -> None:
    assert xirr([START, START], [-100.0, 120.0]).reason == "single_date"
    netted = xirr([START, START, START + timedelta(365)], [-150.0, 50.0, 110.0])
    assert netted.rate == pytest.approx(0.10, abs=1e-14)
    cancelled = xirr([START, START, START + timedelta(1)], [-1.0, 1.0, 0.0])
    assert cancelled.reason == "all_zero"


@pytest.mark.parametrize(("back", "reason"), [(1e12, "beyond_float"), (1e-12, "beyond_float")])
def test_a_rate_that_float_cannot_hold_is_typed_not_infinite(back: float, reason: str) -> None:
    outcome = xirr([START, START + timedelta(1)], [-1.0, back])
    assert (outcome.status, outcome.reason, outcome.rates) == ("undefined", reason, ())


def test_an_amount_negligible_beside_the_others_counts_as_none() -> None:
    outcome = irr([-1e10, 1.1e10, -1e-60])
    assert (outcome.status, outcome.sign_changes) == ("unique", 1)
    assert outcome.rate == pytest.approx(0.1, abs=1e-15)
    assert irr([-1e-300, 1.1e-300]).rate == pytest.approx(0.1, abs=1e-15)


@given(
    st.lists(st.tuples(st.integers(0, 9000), amounts), min_size=2, max_size=8),
    st.floats(1e-6, 1e6),
    st.integers(-3000, 3000),
)
@settings(max_examples=scale(25))
def test_xirr_does_not_depend_on_unit_date_or_order(
    rows: list[tuple[int, float]], scale: float, shift: int
) -> None:
    plain = xirr([START + timedelta(d) for d, _ in rows], [a for _, a in rows])
    moved = xirr(
        [START + timedelta(d + shift) for d, _ in reversed(rows)],
        [a * scale for _, a in reversed(rows)],
    )
    assume(not plain.warnings and not moved.warnings)
    assume(all(-0.999 < rate < 1e3 for rate in plain.rates))
    assert (moved.status, moved.reason) == (plain.status, plain.reason)
    assert moved.rates == pytest.approx(plain.rates, rel=1e-6, abs=1e-6)


@given(st.lists(amounts, min_size=1, max_size=30), st.integers(-40, 40), st.integers(0, 20))
@settings(max_examples=scale(50))
def test_irr_is_the_same_in_another_unit_and_from_another_start(
    flows: list[float], doublings: int, wait: int
) -> None:
    """A power of two leaves every digit where it was, so that the outcome is equal to the bit."""
    scaled = [0.0] * wait + [math.ldexp(amount, doublings) for amount in flows]
    assert irr(scaled) == irr(flows)


def exact_npv(rate: Decimal, rows: list[tuple[int, float]]) -> Decimal:
    """Compute the present value in 60-digit arithmetic."""
    first = min(days for days, _ in rows)
    growth = (1 + rate).ln()
    return sum(
        (Decimal(amount) * (-growth * (days - first) / 365).exp() for days, amount in rows),
        Decimal(0),
    )


@given(
    st.lists(st.tuples(st.integers(0, 4000), st.floats(1.0, 1e6)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4000), st.floats(1.0, 1e6)), min_size=1, max_size=5),
)
@settings(max_examples=scale(25))
def test_each_root_brackets_a_change_of_sign_in_sixty_digits(
    spent: list[tuple[int, float]], earned: list[tuple[int, float]]
) -> None:
    rows = [(days, -amount) for days, amount in spent] + earned
    outcome = xirr([START + timedelta(d) for d, _ in rows], [a for _, a in rows])
    assume(outcome.rates and not outcome.warnings)
    # Roots that nearly touch are conditioned like the square root of float64.
    width = Decimal("1e-9") if outcome.status == "unique" else Decimal("1e-6")
    with localcontext() as context:
        context.prec = 60
        for rate in outcome.rates:
            near = width * max(Decimal(1), abs(Decimal(rate)))
            low = max(Decimal(rate) - near, (Decimal(rate) - 1) / 2)
            assert exact_npv(low, rows) * exact_npv(Decimal(rate) + near, rows) <= 0


@given(st.lists(amounts, min_size=1, max_size=40))
@settings(max_examples=scale(25))
def test_no_series_yields_a_number_that_is_not_finite(flows: list[float]) -> None:
    outcome = irr(flows)
    numbers = outcome.rates + outcome.effective_pa + outcome.nominal_pa
    assert all(math.isfinite(number) for number in numbers)
    assert (outcome.status == "unique") == (len(outcome.rates) == 1 and not outcome.reason)


def test_twelve_million_terms_are_the_work_of_one_series() -> None:
    budget = WorkBudget()
    assert budget.can_spend(7_000_000)
    assert not budget.can_spend(5_000_001)
    budget.spend(4_000_000)
    assert budget.can_spend(1_000_000)
    with pytest.raises(WorkLimitExceeded):
        budget.spend(1)


@pytest.mark.slow
def test_a_series_at_the_limit_ends_in_bounded_work() -> None:
    jagged = [math.cos(0.7 * t) for t in range(MAX_FLOWS)]
    outcome = irr(jagged)
    assert (outcome.status, outcome.reason, outcome.rates) == ("undefined", "work_bound", ())


def test_npv_states_whether_the_first_flow_is_discounted() -> None:
    flows = [-10_000.0, 3_000.0, 4_200.0, 6_800.0]
    here = npv(0.1, flows)
    assert here == pytest.approx(1.1 * npv(0.1, flows, first_discounted=True), rel=1e-14)
    assert here == pytest.approx(-10_000 + 3_000 / 1.1 + 4_200 / 1.21 + 6_800 / 1.331, rel=1e-14)


def test_xnpv_is_zero_at_the_xirr_and_moves_with_its_base_date() -> None:
    dates = [START, START + timedelta(400), START + timedelta(800)]
    flows = [-100.0, 60.0, 70.0]
    rate = xirr(dates, flows).rate
    assert rate is not None
    assert xnpv(rate, dates, flows) == pytest.approx(0.0, abs=1e-12)
    assert xnpv(0.08, dates[::-1], flows[::-1]) == pytest.approx(xnpv(0.08, dates, flows))
    early = xnpv(0.08, dates, flows, base=START - timedelta(365))
    assert early == pytest.approx(xnpv(0.08, dates, flows) / 1.08, rel=1e-14)
    late = xnpv(0.08, dates, flows, base=START + timedelta(365))
    assert late == pytest.approx(xnpv(0.08, dates, flows) * 1.08, rel=1e-14)


def test_years_before_the_base_are_negative() -> None:
    days = [START - timedelta(365), START, START + timedelta(73)]
    assert count_years(days, START, DayCount.ACT_365F) == [-1.0, 0.0, 0.2]


def test_a_slope_without_a_change_of_sign_turns_in_the_middle() -> None:
    one_rate = IrrPolynomial([0.0, 1.0], [-1.0, 1.1])
    assert one_rate.find_turning_point(1.0, 2.0) == 1.5
    two_rates = IrrPolynomial([0.0, 1.0, 2.0], [-1.0, 2.25, -1.26])
    turn = two_rates.find_turning_point(0.0, 1.0)
    assert two_rates.value_and_slope(turn)[1] == pytest.approx(0.0, abs=1e-14)
    assert 0.0 < turn < 1.0


def test_mirr_of_one_outlay_and_one_receipt_is_the_plain_rate() -> None:
    assert mirr([-100.0, 0.0, 121.0], 0.04, 0.09) == pytest.approx(0.10, abs=1e-14)


def test_mirr_of_one_flow_names_their_number() -> None:
    with pytest.raises(InvalidInput) as caught:
        mirr([-10.0], 0.1, 0.12)
    assert pointers(caught) == {"/cash_flows": "wrong_length"}


def test_a_negligible_outlay_at_the_start_counts_as_zero() -> None:
    days = [START, START + timedelta(5000), START + timedelta(5990)]
    result = xirr(days, [-1e-65, -1.0, 1e21])
    assert result.rate == pytest.approx(xirr(days[1:], [-1.0, 1e21]).rate, rel=1e-12)
    assert result.rate == pytest.approx(1e21 ** (365 / 990) - 1.0, rel=1e-9)


def test_annualised_rates() -> None:
    effective, nominal = annualise(0.01, 12)
    assert effective == pytest.approx(1.01**12 - 1, rel=1e-14)
    assert nominal == 0.12


def test_invalid_series_name_each_invalid_flow() -> None:
    with pytest.raises(InvalidInput) as caught:
        irr([-1.0, math.nan, 1e308, math.inf, 5.0])
    assert pointers(caught) == dict.fromkeys(
        ["/cash_flows/1", "/cash_flows/2", "/cash_flows/3"], "out_of_range"
    )
    with pytest.raises(InvalidInput) as caught:
        irr([])
    assert pointers(caught) == {"/cash_flows": "empty"}
    with pytest.raises(InvalidInput) as caught:
        irr([-1.0] * (MAX_FLOWS + 1), 0)
    assert pointers(caught) == {
        "/cash_flows": "wrong_length",
        "/periods_per_year": "out_of_range",
    }
    with pytest.raises(InvalidInput) as caught:
        xirr([START], [-1.0, 2.0])
    assert pointers(caught) == {"/dates": "wrong_length"}


def test_flow_records_reject_mixed_currencies() -> None:
    flows = [
        DatedFlow(START, -100.0, "EUR"),
        DatedFlow(START + timedelta(365), 60.0, "USD"),
        DatedFlow(START + timedelta(365), math.nan, "EUR"),
    ]
    with pytest.raises(InvalidInput) as caught:
        xirr_from_flows(flows)
    assert pointers(caught) == {
        "/flows/1/currency": "mixed_currencies",
        "/flows/2/amount": "out_of_range",
    }
    assert xirr_from_flows([flows[0], DatedFlow(START + timedelta(365), 107.0, "EUR")]).rate == (
        pytest.approx(0.07, abs=1e-14)
    )


@pytest.mark.parametrize("rate", [-1.0, -2.0, math.nan, math.inf, 1e308])
def test_impossible_discount_rates_are_rejected(rate: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        npv(rate, [1.0, 2.0])
    assert pointers(caught) == {"/rate": "out_of_range"}


def test_present_values_beyond_float_are_rejected() -> None:
    with pytest.raises(InvalidInput) as caught:
        npv(-0.9999, [0.0] * 999 + [1e9])
    assert pointers(caught) == {"/rate": "overflow"}
    with pytest.raises(InvalidInput) as caught:
        mirr([100.0, 20.0], 0.1, 0.1)
    assert pointers(caught) == {"/cash_flows": "single_sign"}


def expand(*roots: str) -> list[float]:
    """Return flows whose rates are exactly the given decimals."""
    flows = [Decimal(1000)]
    for root in roots:
        growth = 1 + Decimal(root)
        shifted = [Decimal(0), *(flow * growth for flow in flows)]
        flows = [
            after - before for after, before in zip(shifted, [*flows, Decimal(0)], strict=True)
        ]
    return [float(amount) for amount in flows]


@pytest.mark.parametrize(
    ("roots", "rates"),
    [
        (("0.1", "0.1", "0.1"), (0.1,)),
        (("0.25", "0.25"), (0.25,)),
        (("0", "0"), (0.0,)),
        (("-0.5", "-0.5", "-0.5"), (-0.5,)),
        (("0.08",) * 4, (0.08,)),
        (("0.1", "0.1", "0.2"), (0.1, 0.2)),
        (("0.05", "0.05", "0.3", "0.3"), (0.05, 0.3)),
        (("0.1", "0.1000001"), (0.1, 0.1000001)),
        (("0.1", "0.2", "0.3"), (0.1, 0.2, 0.3)),
    ],
)
def test_roots_that_meet_or_nearly_meet_are_exact(
    roots: tuple[str, ...], rates: tuple[float, ...]
) -> None:
    flows = expand(*roots)
    outcome = irr(flows)
    assert outcome.rates == pytest.approx(rates, abs=1e-12)
    assert outcome.status == ("unique" if len(rates) == 1 else "several")
    assert bool(outcome.warnings) is (len(set(roots)) < len(roots))
    dates = [date(2026, 1, 1) + timedelta(365 * k) for k in range(len(flows))]
    assert xirr(dates, flows).rates == pytest.approx(rates, abs=1e-12)


@given(
    st.integers(1, 30),
    st.integers(1, 200),
    st.floats(-1.5, 2.5),
    st.sampled_from([1, 30, 91, 182]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=scale(60))
def test_the_only_rate_of_a_series_is_that_of_forty_digits(
    outlays: int, receipts: int, level: float, step: int, rng: random.Random
) -> None:
    days = [date(2026, 1, 31)]
    for _ in range(outlays + receipts - 1):
        days.append(days[-1] + timedelta(step + rng.randrange(3)))
    flows = [-rng.uniform(1, 100) for _ in range(outlays)]
    scale = math.exp(level) * -sum(flows) / receipts
    flows += [scale * rng.uniform(0.01, 2) for _ in range(receipts)]
    outcome = xirr(days, flows)
    if outcome.rates and outcome.rates[0] > -0.999:
        root = math.log1p(outcome.rates[0]) / 365
        assert root == pytest.approx(_polish(root, days, flows), rel=2e-13, abs=1e-15)
    else:
        assert outcome.rates or outcome.reason == "beyond_float"


def _polish(root: float, days: list[date], flows: list[float]) -> float:
    """Return the log rate a day near `root`, by Newton in forty digits."""
    with localcontext(prec=40):
        x = Decimal(root)
        for _ in range(3):
            terms = [
                (Decimal(flow) * (-x * (day - days[0]).days).exp(), (day - days[0]).days)
                for day, flow in zip(days, flows, strict=True)
            ]
            moment = sum((value * time for value, time in terms), Decimal())
            x += sum((value for value, _ in terms), Decimal()) / moment
        return float(x)


def test_lists_and_arrays_give_one_root(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [0.25 * t for t in range(124)]
    flows = [-1000.0] * 8 + [250.0 + t % 7 for t in range(116)]
    in_arrays = solve_one_sign_change(times, flows, 8)
    monkeypatch.setattr(one_sign_change, "MIN_ARRAY_FLOWS", 1000)
    in_lists = solve_one_sign_change(times, flows, 8)
    assert in_arrays is not None
    assert in_arrays == pytest.approx(in_lists, rel=1e-14)


@pytest.mark.parametrize("length", [1, 100])
def test_series_beyond_float_are_left_to_the_long_way(length: int) -> None:
    times = [float(t) for t in range(2 * length)]
    for early, late in ((-1.0, 1e300), (-1.0, math.nan), (-1.0, 0.0), (-1.0, math.inf), (0.0, 1.0)):
        flows = [early] * length + [late] * length
        assert solve_one_sign_change(times, flows, length) is None
    assert solve_one_sign_change([0.0] * (2 * length), [-1.0, 2.0] * length, length) is None


@pytest.mark.parametrize(
    ("flows", "status"),
    [
        ([-1.0, 2.0, -0.5], "several"),
        ([-1.0, -2.0, -3.0], "none"),
        ([-1e-70, -1.0, 1e-80], "none"),
        ([0.0, -1.0, 2.0], "unique"),
        ([-1.0, 0.0, 2.0], "unique"),
        ([1.0, 0.0, -2.0], "unique"),
    ],
)
def test_plain_series_and_others_are_told_apart(flows: list[float], status: str) -> None:
    day = date(2026, 1, 31)
    assert xirr([day, day + timedelta(30), day + timedelta(60)], flows).status == status


def test_flows_of_one_day_at_the_change_of_sign_are_netted() -> None:
    first, second = date(2026, 1, 1), date(2027, 1, 1)
    outcome = xirr([first, second, second], [-100.0, -10.0, 120.0])
    assert outcome.rates == pytest.approx((0.1,), rel=1e-14)
    assert xirr([first, first], [-1.0, 2.0]).reason == "single_date"


def test_the_modified_rate_of_a_total_loss_is_minus_one_hundred_percent() -> None:
    assert mirr([-100.0, 0.0, 0.0], 0.05, 0.07) == -1.0
    with pytest.raises(InvalidInput) as caught:
        mirr([0.0, 0.0], 0.05, 0.07)
    assert pointers(caught) == {"/cash_flows": "single_sign"}
