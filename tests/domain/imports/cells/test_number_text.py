"""Numbers as registers write them, to exact digits."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.imports.cells.number_text import compile_number_parser, to_number_token

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("decimal", "thousands", "text", "digits"),
    [
        (".", None, "341.790", "341.790"),
        (",", None, "341,790", "341.790"),
        (",", ".", "1.234.567,50", "1234567.50"),
        (",", ".", "1234567,50", "1234567.50"),
        (".", ",", "10,697,778", "10697778"),
        (".", ",", "1,23,45,678.5", "12345678.5"),  # lakh and crore
        (",", " ", "1\u202f234\u00a0567,5", "1234567.5"),
        (".", "'", "1'234\u2019567", "1234567"),
        (",", ".", "-,5", "-0.5"),
        (",", ".", "\u22125", "-5"),
        (",", None, "1,5e3", "1.5e3"),
        (".", ",", "5.", "5"),
        (",", ".", "1990.0", "1990"),
        (",", None, "17.00", "17"),
        (".", ",", "0,000", "0"),  # zero by either mark
        (".", ",", "-000,000,000.50", "-0.5"),
    ],
)
def test_a_number_is_read_by_its_marks(
    decimal: str, thousands: str | None, text: str, digits: str
) -> None:
    parsed = compile_number_parser(decimal, thousands)(text)
    assert parsed is not None
    assert Decimal(parsed) == Decimal(digits)


@pytest.mark.parametrize(
    ("decimal", "thousands", "text"),
    [
        (".", None, "85,500,000.50"),  # never 85
        (",", None, "1.234,50"),
        (",", ".", "1.23"),  # a group has three digits
        (",", ".", "1.2345"),
        (".", ",", "1,234,56"),
        (".", ",", ",123"),
        (".", ",", "1,,234"),
        (".", " ", "1 2345"),
        (".", ",", "0,500"),  # a half with a decimal comma, never 500
        (".", ",", "0,050"),
        (".", ",", "0,00"),
        (".", ",", "0,000,500"),
        (".", ",", "001,234"),
        (".", ",", "00,123,456"),
        (",", " ", "0 123"),
        (".", ",", ""),
        (".", ",", "."),
        (",", ".", "١٢"),
        (",", ".", "NaN"),
    ],
)
def test_a_number_with_other_marks_is_none(decimal: str, thousands: str | None, text: str) -> None:
    assert compile_number_parser(decimal, thousands)(text) is None


def test_a_number_beyond_any_quantity_is_out_of_range() -> None:
    assert to_number_token("1e41") is None
    assert to_number_token("1.50e2") == "150"


@given(st.integers(-(10**20), 10**20), st.sampled_from([(",", "."), (".", ","), (",", " ")]))
def test_grouped_digits_are_read_exactly(number: int, marks: tuple[str, str]) -> None:
    decimal, thousands = marks
    text = f"{number:,}".replace(",", thousands) + f"{decimal}25"
    parsed = compile_number_parser(decimal, thousands)(text)
    sign = "-" if number < 0 else ""
    assert parsed is not None
    assert Decimal(parsed) == Decimal(f"{sign}{abs(number)}.25")
