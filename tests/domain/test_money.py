"""Money is exact in parsing, rounding, addition and allocation."""

import json
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import InvalidInput
from spawn.domain.money import (
    CURRENCIES,
    Money,
    Rounding,
    fit_amount,
    format_amount,
    get_currency,
    parse_amount,
)
from spawn.testing.expected_errors import expect_invalid
from spawn.testing.strategies import CODES, amounts

pytestmark = pytest.mark.core

ORACLE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "oracles" / "money_01_minor_units.json").read_text(),
    parse_float=Decimal,
)


def codes_of(error: pytest.ExceptionInfo[InvalidInput]) -> list[str]:
    return [field_error.code for field_error in error.value.errors]


def test_the_oracle_has_these_minor_units() -> None:
    expected = ORACLE["expected"]["minor_units"]
    assert {code: get_currency(code).exponent for code in expected} == expected


@pytest.mark.parametrize("case", ORACLE["expected"]["allocate"], ids=lambda case: case["ccy"])
def test_the_oracle_allocations_add_up(case: dict[str, Any]) -> None:
    whole = Money(Decimal(case["amount"]), case["ccy"])
    parts = [part.amount for part in whole.allocate(case["weights"])]
    assert sum(parts) == Decimal(case["parts_sum"])
    if "max_part_minus_min_part" in case:
        assert max(parts) - min(parts) == Decimal(case["max_part_minus_min_part"])


def test_the_largest_remainders_get_the_remaining_units() -> None:
    parts = Money(Decimal("1.000"), "KWD").allocate([1, 2, 4])
    assert [str(part.amount) for part in parts] == ["0.143", "0.286", "0.571"]
    tie = Money(Decimal("-0.05"), "USD").allocate([1, 1])
    assert [str(part.amount) for part in tie] == ["-0.03", "-0.02"]


def test_the_invalid_cases_of_the_oracle_are_rejected() -> None:
    with pytest.raises(InvalidInput) as mismatch:
        Money(Decimal(1), "EUR") + Money(Decimal(1), "USD")
    assert codes_of(mismatch) == ["currency_mismatch"]
    with pytest.raises(InvalidInput) as fine:
        parse_amount("10.005", "EUR")
    assert codes_of(fine) == ["too_precise"]
    with pytest.raises(InvalidInput) as unknown:
        get_currency("EURO")
    assert codes_of(unknown) == ["unknown_currency"]
    for number in (float("nan"), float("inf"), 0.1):
        with pytest.raises(InvalidInput) as floating:
            Money(number, "EUR")  # type: ignore[arg-type]  # the misuse is the point
        assert codes_of(floating) == ["not_decimal"]


@given(st.data())
def test_an_allocation_sums_exactly_and_is_fair(data: st.DataObject) -> None:
    code = data.draw(st.sampled_from(CODES))
    whole = Money(data.draw(amounts(code, signed=True)), code)
    weights = data.draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=8).filter(any))
    parts = whole.allocate(weights)
    total = Money(Decimal(0), code)
    for part in parts:
        total += part
    assert total == whole
    unit = Decimal(1).scaleb(-(get_currency(code).exponent or 0))
    for part, weight in zip(parts, weights, strict=True):
        exact = Fraction(whole.amount) * weight / sum(weights)
        assert abs(Fraction(part.amount) - exact) < Fraction(unit)
        assert weight or part.amount == 0


@pytest.mark.parametrize(
    "weights",
    [[], [0, 0], [1, -1], [Decimal("NaN")], [float("inf")], [1] * 10_001, [Decimal("1E+99999")]],
    ids=["none", "zero", "negative", "nan", "infinite", "many", "vast"],
)
def test_invalid_weights_are_rejected(weights: list[Any]) -> None:
    with pytest.raises(InvalidInput) as error:
        Money(Decimal(1), "EUR").allocate(weights)
    assert codes_of(error) == ["invalid_weights"]


@pytest.mark.parametrize(
    ("text", "code", "amount"),
    [
        ("0", "USD", "0.00"),
        ("-0", "USD", "0.00"),
        ("-0.00", "USD", "0.00"),
        ("100", "USD", "100.00"),
        ("1234.5", "EUR", "1234.50"),
        ("-12.34", "EUR", "-12.34"),
        ("999999999999999999.99", "EUR", "999999999999999999.99"),
        ("1000", "JPY", "1000"),
        ("1000.00", "JPY", "1000"),
        ("0.0001", "CLF", "0.0001"),
    ],
)
def test_an_amount_is_parsed_at_the_scale_of_its_currency(
    text: str, code: str, amount: str
) -> None:
    assert str(parse_amount(text, code)) == amount
    assert format_amount(parse_amount(text, code), code) == amount


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("NaN", "not_finite"),
        ("-Infinity", "not_finite"),
        ("sNaN", "not_finite"),
        ("1000000000000000000", "out_of_range"),
        ("1000000000000000000.001", "out_of_range"),
        ("9" * 400, "out_of_range"),
        ("0.001", "too_precise"),
        ("10.00000", "too_precise"),
        ("0." + "1" * 31, "too_precise"),
        ("1e3", "not_an_amount"),
        ("1E400", "not_an_amount"),
        ("+1", "not_an_amount"),
        ("01", "not_an_amount"),
        ("1.", "not_an_amount"),
        (".5", "not_an_amount"),
        ("1,000", "not_an_amount"),
        ("1_000", "not_an_amount"),
        (" 1", "not_an_amount"),
        ("1\n", "not_an_amount"),
        ("\u0661", "not_an_amount"),  # ARABIC-INDIC DIGIT ONE
        ("", "not_an_amount"),
    ],
)
def test_a_text_that_is_not_an_exact_amount_is_rejected(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_amount(text, "USD", pointer="/total_amount")
    assert codes_of(error) == [code]
    assert error.value.errors[0].pointer == "/total_amount"


def test_finite_is_checked_before_magnitude_and_magnitude_before_scale() -> None:
    for amount, code in [("NaN", "not_finite"), ("1E+400000", "out_of_range")]:
        with pytest.raises(InvalidInput) as error:
            fit_amount(Decimal(amount), "XAU")
        assert codes_of(error) == [code]
    with pytest.raises(InvalidInput) as error:
        fit_amount(Decimal("1E+18") + Decimal("0.001"), "EUR")
    assert codes_of(error) == ["out_of_range"]


@pytest.mark.parametrize(
    ("rounding", "positive", "negative"),
    [
        (Rounding.HALF_EVEN, "2.12", "-2.12"),
        (Rounding.HALF_UP, "2.13", "-2.13"),
        (Rounding.DOWN, "2.12", "-2.12"),
        (Rounding.UP, "2.13", "-2.13"),
        (Rounding.FLOOR, "2.12", "-2.13"),
        (Rounding.CEILING, "2.13", "-2.12"),
    ],
)
def test_an_amount_is_rounded_by_the_mode(rounding: Rounding, positive: str, negative: str) -> None:
    assert str(parse_amount("2.125", "EUR", rounding=rounding)) == positive
    assert str(parse_amount("-2.125", "EUR", rounding=rounding)) == negative


def test_a_rounding_mode_allows_thirty_decimals_of_exact_text() -> None:
    text = "0.005" + "0" * 26 + "1"
    assert parse_amount(text, "EUR", rounding=Rounding.HALF_EVEN) == Decimal("0.01")
    assert Money.from_unrounded(Decimal("10.005"), "EUR", Rounding.HALF_EVEN).amount == Decimal(
        "10.00"
    )


def test_a_rounded_amount_out_of_range_is_rejected() -> None:
    with pytest.raises(InvalidInput) as error:
        parse_amount("9" * 18 + ".999", "EUR", rounding=Rounding.HALF_UP)
    assert codes_of(error) == ["out_of_range"]


@given(st.data())
def test_an_amount_round_trips_through_its_text(data: st.DataObject) -> None:
    code = data.draw(st.sampled_from(CODES))
    amount = data.draw(amounts(code, signed=True))
    text = format_amount(amount, code)
    assert parse_amount(text, code) == amount
    assert len(text.partition(".")[2]) == get_currency(code).exponent


def test_arithmetic_ignores_the_decimal_context_of_the_thread() -> None:
    with localcontext() as context:
        context.prec = 3
        large = parse_amount("123456789012345678.91", "EUR")
        total = Money(large, "EUR") + Money(Decimal("0.01"), "EUR")
        assert str(total.amount) == "123456789012345678.92"
        assert Money(large, "EUR").allocate([1])[0].amount == large


def test_money_compares_negates_subtracts_and_scales_within_its_currency() -> None:
    ten, three = Money(Decimal(10), "EUR"), Money(Decimal(3), "EUR")
    assert three < ten
    assert three <= ten - three
    assert -(three - ten) == Money(Decimal(7), "EUR")
    assert ten.multiply(Decimal("0.33333"), Rounding.HALF_EVEN) == Money(Decimal("3.33"), "EUR")
    with expect_invalid(("", "currency_mismatch")):
        _ = ten < Money(Decimal(3), "USD")


def test_codes_without_a_minor_unit_have_no_amounts() -> None:
    without = {code for code, currency in CURRENCIES.items() if currency.exponent is None}
    metals, bonds = {"XAG", "XAU", "XPD", "XPT"}, {"XBA", "XBB", "XBC", "XBD"}
    assert without == metals | bonds | {"XDR", "XSU", "XTS", "XUA", "XXX"}
    with pytest.raises(InvalidInput) as error:
        Money(Decimal(1), "XAU")
    assert codes_of(error) == ["no_minor_unit"]


def test_the_currency_list_is_complete() -> None:
    by_exponent = {0: 26, 3: 7, 4: 2}
    for exponent, count in by_exponent.items():
        assert sum(currency.exponent == exponent for currency in CURRENCIES.values()) == count
    assert {"SLE", "VED", "XAD", "XCG", "ZWG"} < set(CURRENCIES)
    assert all(
        len(code) == 3 and code.isupper() and currency.name for code, currency in CURRENCIES.items()
    )
