"""Exact ratios: windows, life cover against independent arithmetic, texts that are cut."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.covenants.test_cfads_case import a_case, half_years

from spawn.domain.covenants.case_comparison import compare_cases, measure_variance
from spawn.domain.covenants.exact_ratios import (
    LoanLife,
    Quotient,
    UntestedReason,
    WindowDirection,
    compute_dscr,
    floor_amount,
    format_fraction,
    format_ratio,
)
from spawn.domain.errors import InvalidInput
from spawn.domain.finance.coverage_ratios import CoverageCase, compute_coverage_ratios

pytestmark = pytest.mark.core

# The wind farm of docs/covenant-windows.md: CFADS of ten half years on 40 of debt service each.
CFADS = ["30", "70", "29", "68", "27", "55", "30", "70", "33", "71"]
TRAILING = [None, "1.2500", "1.2375", "1.2125", "1.1875", "1.0250", "1.0625", "1.2500"]
FORWARD = ["1.2375", "1.2125", "1.1875", "1.0250", "1.0625", "1.2500", "1.2875", "1.3000"]


def test_windows_of_twelve_months_have_the_figures_of_the_documentation() -> None:
    periods = [
        msgspec.structs.replace(period, cfads=Decimal(cfads))
        for period, cfads in zip(half_years(10), CFADS, strict=True)
    ]
    for direction, expected in (
        (WindowDirection.TRAILING, [*TRAILING, "1.2875", "1.3000"]),
        (WindowDirection.FORWARD, [*FORWARD, None, None]),
    ):
        ratios = [
            compute_dscr(periods, period.ends_on, months=12, direction=direction)
            for period in periods
        ]
        values = [ratio.value for ratio in ratios]
        printed = [None if value is None else format_ratio(value, 4) for value in values]
        assert printed == expected
        reasons = {ratio.untested_reason for ratio in ratios}
        assert reasons == {None, UntestedReason.WINDOW_NOT_FULL}


def test_without_debt_service_there_is_no_ratio() -> None:
    periods = half_years(2, interest="0", principal="0")
    ratio = compute_dscr(periods, periods[1].ends_on, months=12)
    assert (ratio.value, ratio.untested_reason) == (None, UntestedReason.NO_DEBT_SERVICE)
    assert ratio.window == (date(2027, 1, 1), date(2027, 12, 31))


def test_an_equity_cure_adds_to_the_cfads() -> None:
    periods = half_years(1, cfads="30")
    ratio = compute_dscr(periods, periods[0].ends_on, months=None, equity_cure=Decimal(16))
    assert ratio.value is not None
    assert format_fraction(ratio.value) == "23/20"


@given(st.lists(st.integers(-200, 400), min_size=1, max_size=12), st.integers(1, 50))
def test_the_llcr_is_that_of_the_calculator(cfads: list[int], rate_percent: int) -> None:
    debt, count = 100 * len(cfads), len(cfads)
    balance, rows = Decimal(debt), []
    for period, cash in zip(half_years(count), cfads, strict=True):
        interest = balance * rate_percent / 100
        rows.append(
            msgspec.structs.replace(
                period, cfads=Decimal(cash), interest=interest, principal=Decimal(100)
            )
        )
        balance -= 100
    life = LoanLife(rows, Decimal(debt))
    expected = compute_coverage_ratios(
        CoverageCase(
            debt=float(debt),
            cfads=tuple(map(float, cfads)),
            interest=tuple(float(row.interest or 0) for row in rows),
            principal=(100.0,) * count,
            period_rates=rate_percent / 100,
        )
    ).llcr
    for row, later in zip(rows, expected[1:], strict=False):
        value = life.compute_llcr(row.ends_on).value
        assert value is not None
        assert float(value.to_fraction()) == pytest.approx(later, rel=1e-12, abs=1e-12)
    last = life.compute_llcr(rows[-1].ends_on)
    assert (last.value, last.untested_reason) == (None, UntestedReason.NO_DEBT)


def test_a_sculpted_loan_has_one_llcr_at_every_date() -> None:
    # DSCR 1.25 in each period at 10 %: debt service 40 of CFADS 50, repaid in three years.
    service, rate = Fraction(40), Fraction(1, 10)
    debt = sum(service / (1 + rate) ** n for n in (1, 2, 3))
    scale = 1331  # makes every balance a whole number
    balance, rows = debt * scale, []
    for period in half_years(3):
        interest = balance * rate
        principal = service * scale - interest
        rows.append(
            msgspec.structs.replace(
                period,
                cfads=Decimal(50 * scale),
                interest=Decimal(interest.numerator) / interest.denominator,
                principal=Decimal(principal.numerator) / principal.denominator,
            )
        )
        balance -= principal
    opening = debt * scale
    life = LoanLife(rows, Decimal(opening.numerator) / opening.denominator)
    for row in rows[:-1]:
        value = life.compute_llcr(row.ends_on).value
        assert value is not None
        assert format_fraction(value) == "5/4"


@pytest.mark.parametrize(("unpaid", "is_tested"), [("0", True), ("0.0002", True), ("50", False)])
def test_a_case_that_ends_while_debt_is_owed_has_no_llcr(unpaid: str, *, is_tested: bool) -> None:
    rows = half_years(2, cfads="150", interest="10", principal="100")
    ratio = LoanLife(rows, 200 + Decimal(unpaid)).compute_llcr(rows[0].ends_on)
    assert (ratio.value is not None) is is_tested
    assert ratio.untested_reason is (None if is_tested else UntestedReason.CASE_TOO_SHORT)


def test_the_rounding_of_a_debt_that_the_case_draws_leaves_it_repaid() -> None:
    rows = half_years(3, cfads="600000000", interest="1")
    amounts = ("-1000000000", "500000000", "499999999.99")
    drawn = [
        msgspec.structs.replace(row, principal=Decimal(amount))
        for row, amount in zip(rows, amounts, strict=True)
    ]
    ratio = LoanLife(drawn, Decimal(0)).compute_llcr(drawn[0].ends_on)
    assert ratio.untested_reason is None


def test_a_later_period_without_interest_has_no_rate() -> None:
    rows = half_years(4)
    rows[2] = msgspec.structs.replace(rows[2], interest=None, principal=None)
    life = LoanLife(rows, Decimal(84))
    assert life.compute_llcr(rows[0].ends_on).untested_reason is UntestedReason.NO_FIGURES
    assert life.compute_llcr(rows[2].ends_on).value is not None
    assert life.compute_llcr(date(2027, 5, 1)).untested_reason is UntestedReason.WINDOW_NOT_FULL


def test_gearing_is_debt_of_debt_and_equity_after_the_payment() -> None:
    rows = half_years(1)
    value = LoanLife(rows, Decimal(100)).compute_gearing(Decimal(28), rows[0].ends_on).value
    assert value is not None
    assert format_fraction(value) == "18/25"


@given(st.integers(-(10**24), 10**24), st.integers(1, 10**24), st.integers(0, 10))
def test_a_printed_ratio_is_cut_and_never_above_the_ratio(n: int, d: int, decimals: int) -> None:
    printed = Fraction(format_ratio(Quotient(n, d), decimals))
    assert printed <= Fraction(n, d) < printed + Fraction(1, 10**decimals)


@given(st.fractions(), st.fractions())
def test_quotients_are_fractions_that_are_not_reduced(one: Fraction, other: Fraction) -> None:
    a, b = (Quotient(x.numerator * 6, x.denominator * 6) for x in (one, other))
    assert (a + b).to_fraction() == one + other
    assert (a - b).to_fraction() == one - other
    assert (a * b).to_fraction() == one * other
    if other > 0:
        assert (a / b).to_fraction() == one / other
    assert bool(a) is bool(one)


def test_an_amount_is_cut_to_the_minor_unit() -> None:
    assert str(floor_amount(Quotient(-1, 300), "EUR")) == "-0.01"
    assert str(floor_amount(Quotient(5, 2), "JPY")) == "2"


def test_cases_are_compared_period_by_period_with_differences_to_the_first() -> None:
    base = a_case(half_years(3), opening_debt=Decimal(100))
    low = a_case(half_years(2, cfads="50"), opening_debt=Decimal(100))
    rows = compare_cases([base, low])
    assert [row.ends_on.isoformat() for row in rows] == ["2027-06-30", "2027-12-31", "2028-06-30"]
    first = rows[0].cases
    assert (first[0].dscr, first[1].dscr, first[1].dscr_difference) == (
        "1.500000",
        "1.250000",
        "-0.250000",
    )
    assert str(first[1].cfads_difference) == "-10.00"
    assert rows[2].cases[1].cfads is None
    assert rows[2].cases[1].dscr_difference is None


def test_cases_of_several_currencies_are_not_compared() -> None:
    with pytest.raises(InvalidInput) as caught:
        compare_cases([a_case(), a_case(currency_code="USD")])
    assert caught.value.errors[0].pointer == "/cases/1/case_id"
    with pytest.raises(InvalidInput):
        compare_cases([a_case()])


def test_a_variance_is_actual_less_case_of_exactly_the_same_days() -> None:
    case = a_case(half_years(2))
    actual = msgspec.structs.replace(half_years(1)[0], cfads=Decimal(50))
    first, second = measure_variance(case, [actual])
    assert (str(first.cfads_difference), first.cfads_share) == ("-10.00", "-0.166667")
    assert (first.case_dscr, first.actual_dscr) == ("1.500000", "1.250000")
    assert second.actual_cfads is None
    shifted = msgspec.structs.replace(actual, ends_on=date(2027, 6, 29))
    assert measure_variance(case, [shifted])[0].actual_cfads is None
    negative = a_case(half_years(1, cfads="-40"))
    assert measure_variance(negative, [actual])[0].cfads_share == "-2.250000"
