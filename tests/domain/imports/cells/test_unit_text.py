"""Numbers with units beside them, to exact digits."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.imports.cells.number_text import compile_number_parser
from spawn.domain.imports.cells.unit_text import compile_unit_parser, read_negative, split_unit

pytestmark = pytest.mark.core

UNITS = {
    "\u20ac": Decimal(1),
    "US$": Decimal(1),
    "Rs.": Decimal(1),
    "million": Decimal(1_000_000),
    "bn": Decimal("1e9"),
    "billion": Decimal(10**9),
    "%": Decimal("0.01"),
}


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("1,234.50", "1234.50"),
        ("\u20ac 1,234.5", "1234.5"),
        ("US$ 1.25 million", "1250000"),
        ("us$1.25 MILLION", "1250000"),
        ("1.2 bn \u20ac", "1200000000"),
        ("12.5%", "0.125"),
        ("Rs. 55", "55"),
        ("-\u20ac5", "-5"),
        ("\u20ac -5", "-5"),
        ("(\u20ac 5)", "-5"),
        ("5.00 \u20ac-", "-5"),
        ("5 GBP", None),
        ("US$ 5 m", None),
        ("\u20ac", None),
        ("\u20ac five", None),
        ("5 5", None),
        ("5 bn bn", None),
        ("5 bn billion", None),
        ("\u20ac 5 \u20ac", "5"),
        ("% 5 %", None),
        ("5 million bn", "5e15"),
    ],
)
def test_a_unit_multiplies_the_number_beside_it(text: str, digits: str | None) -> None:
    result = compile_unit_parser(compile_number_parser(".", ","), UNITS)(text)
    assert (result is None) is (digits is None)
    assert digits is None or Decimal(result or "") == Decimal(digits)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("(12.5)", "-12.5"), (" 12.5- ", "-12.5"), ("( -5 )", "( -5 )"), ("-5", "-5"), ("-", "-")],
)
def test_a_negative_number_may_be_in_parentheses_or_have_its_sign_behind(
    text: str, plain: str
) -> None:
    assert read_negative(text) == plain


def test_the_unit_of_a_cell_is_what_is_not_its_number() -> None:
    assert split_unit("US$ 1.25 million") == ("1.25", "US$ million")
    assert split_unit("-\u20ac5") == ("-5", "\u20ac")
    assert split_unit(" EUR ") == ("", "EUR")


@given(st.text(max_size=20))
def test_any_text_is_a_number_or_none(text: str) -> None:
    result = compile_unit_parser(compile_number_parser(".", ","), UNITS)(text)
    assert result is None or Decimal(result).is_finite()
