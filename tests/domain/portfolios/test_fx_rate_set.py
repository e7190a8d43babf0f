"""Sets of exchange rates: rules, exact cross rates, and no rate that nobody published."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import InvalidInput
from spawn.domain.money import CURRENCIES, Money
from spawn.domain.portfolios.fx_rate_set import FxRateSet, create_rate_set, round_to_currency

pytestmark = pytest.mark.core

TODAY = date(2026, 11, 30)
RATES = {"USD": Decimal("1.0573"), "GBP": Decimal("0.8312"), "JPY": Decimal("160.94")}


def a_set(**changes: object) -> FxRateSet:
    fields = {
        "on": date(2026, 11, 27),
        "source": "ecb",
        "base_currency": "EUR",
        "rates": RATES,
        "today": TODAY,
        **changes,
    }
    return create_rate_set(**fields)  # type: ignore[arg-type]  # invalid fields are the point


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"on": date(2026, 12, 2)}, "/on", "in_the_future"),
        ({"source": "ECB"}, "/source", "invalid_name"),
        ({"source": ""}, "/source", "invalid_name"),
        ({"base_currency": "EURO"}, "/base_currency", "unknown_currency"),
        ({"base_currency": "XAU"}, "/base_currency", "no_minor_unit"),
        ({"rates": {}}, "/rates", "wrong_length"),
        ({"rates": {"EUR": Decimal(1)}}, "/rates/EUR", "contradiction"),
        ({"rates": {"ZZZ": Decimal(1)}}, "/rates/ZZZ", "unknown_currency"),
        ({"rates": {"USD": Decimal(0)}}, "/rates/USD", "out_of_range"),
        ({"rates": {"USD": Decimal(-1)}}, "/rates/USD", "out_of_range"),
        ({"rates": {"USD": Decimal("NaN")}}, "/rates/USD", "out_of_range"),
        ({"rates": {"USD": Decimal(10) ** 9}}, "/rates/USD", "out_of_range"),
        ({"rates": {"USD": Decimal("0.0000009")}}, "/rates/USD", "out_of_range"),
        ({"rates": {"USD": Decimal("1.0000000000001")}}, "/rates/USD", "too_precise"),
        ({"reason": " "}, "/correction/reason", "empty"),
    ],
)
def test_an_invalid_set_is_rejected_by_field(
    changes: dict[str, object], pointer: str, code: str
) -> None:
    with pytest.raises(InvalidInput) as failure:
        a_set(**changes)
    assert [(e.pointer, e.code) for e in failure.value.errors] == [(pointer, code)]


def test_a_set_of_tomorrow_is_one_of_a_day_that_has_begun_elsewhere() -> None:
    assert a_set(on=date(2026, 12, 1)).set_id == "2026-12-01.ecb"


def test_a_rate_is_stored_without_an_exponent() -> None:
    rate_set = a_set(rates={"IRR": Decimal("4.45E+4"), "USD": Decimal("1.0573")})
    assert [str(one.rate) for one in rate_set.rates] == ["44500", "1.0573"]


def test_amounts_convert_by_the_base_and_through_it() -> None:
    rate_set = a_set()
    assert rate_set.convert(Money(Decimal("105.73"), "USD"), "EUR").amount == Decimal("100.00")
    assert rate_set.convert(Money(Decimal(100), "EUR"), "JPY").amount == Decimal(16094)
    assert rate_set.cross_rate("USD", "GBP") == Fraction(8312, 10573)
    assert rate_set.convert(Money(Decimal(100), "USD"), "GBP").amount == Decimal("78.62")


@pytest.mark.parametrize("pair", [("USD", "BRL"), ("BRL", "USD"), ("EUR", "BRL")])
def test_a_missing_rate_is_an_error_that_names_pair_and_day(pair: tuple[str, str]) -> None:
    with pytest.raises(InvalidInput) as failure:
        a_set().convert(Money(Decimal(1), pair[0]), pair[1], pointer="/currency")
    (error,) = failure.value.errors
    assert (error.pointer, error.code) == ("/currency", "missing_rate")
    assert all(text in error.detail for text in (*pair, "2026-11-27", "BRL"))


def test_the_same_currency_needs_no_rate() -> None:
    assert a_set().cross_rate("BRL", "BRL") == 1


rates = st.decimals(min_value="0.000001", max_value="999999", places=6)


@given(rates, rates, st.decimals(min_value=0, max_value=10**12, places=2))
def test_there_and_back_is_the_identity_within_rounding(
    usd: Decimal, gbp: Decimal, amount: Decimal
) -> None:
    rate_set = a_set(rates={"USD": usd, "GBP": gbp})
    there, back = rate_set.cross_rate("USD", "GBP"), rate_set.cross_rate("GBP", "USD")
    assert there * back == 1
    exact = Fraction(amount) * there * back
    assert round_to_currency(exact, "USD") == amount
    if Fraction(amount) * there >= 10**18:
        return
    money = Money(amount, "USD")
    returned = rate_set.convert(rate_set.convert(money, "GBP"), "USD")
    # Each of the two roundings moves the amount by half a minor unit, in dollars at most.
    tolerance = back * Fraction(1, 200) + Fraction(1, 200)
    assert abs(Fraction(returned.amount) - Fraction(amount)) <= tolerance


@given(st.fractions(min_value=-(10**12), max_value=10**12))
def test_an_amount_is_rounded_half_even_to_its_minor_unit(exact: Fraction) -> None:
    for code in ("EUR", "JPY", "BHD"):
        exponent = CURRENCIES[code].exponent or 0
        rounded = Fraction(round_to_currency(exact, code)) * 10**exponent
        assert rounded.denominator == 1
        assert abs(rounded - exact * 10**exponent) <= Fraction(1, 2)
    assert round_to_currency(Fraction(5, 2), "JPY") == 2
    assert round_to_currency(Fraction(7, 2), "JPY") == 4
