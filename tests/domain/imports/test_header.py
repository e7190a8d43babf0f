"""Names of a header: equal, else equal but for blanks and normalization."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.imports.formula_guard import escape_formula, unescape_formula
from spawn.domain.imports.header import (
    describe_mismatch,
    find_columns,
    is_quarantine_header,
)

pytestmark = pytest.mark.core


def test_an_equal_name_goes_before_one_that_differs_in_blanks() -> None:
    header = ["Name", "Standby fuel ", "Standby fuel"]
    assert find_columns(header, ["Standby fuel "]).indexes == {"Standby fuel ": 1}
    assert find_columns(header, ["Standby fuel"]).indexes == {"Standby fuel": 2}
    assert find_columns(header, [" Standby  fuel"]).repeated_names == (" Standby  fuel",)


def test_line_breaks_and_composition_make_no_difference() -> None:
    header = ["Total \n(t CO2-e)", "Sa\u0303o", " id "]
    found = find_columns(header, ["Total (t CO2-e)", "S\u00e3o", "id"])
    assert found.indexes == {"Total (t CO2-e)": 0, "S\u00e3o": 1, "id": 2}
    assert found.is_complete


def test_an_empty_name_is_the_first_one_and_not_a_trailing_delimiter() -> None:
    assert find_columns(["", "name", "", ""], [""]).indexes == {"": 0}
    assert find_columns(["", "", "name"], [""]).repeated_names == ("",)


def test_a_number_selects_one_of_the_columns_of_a_name() -> None:
    header = ["Id", "Cost", "Cost", "No#2"]
    assert find_columns(header, ["Cost#1", "Cost#2"]).indexes == {"Cost#1": 1, "Cost#2": 2}
    assert find_columns(header, ["Cost", "Cost#2"]).indexes == {"Cost": 1, "Cost#2": 2}
    assert find_columns(header, ["No#2"]).indexes == {"No#2": 3}
    assert find_columns(header, ["Cost#3", "Id#1"]).missing == ("Cost#3", "Id#1")
    text = describe_mismatch(header, find_columns(header, ["Cost"]))
    assert "more than one Cost (name the second `Cost#2`)" in text


def test_a_header_in_one_piece_asks_for_the_delimiter() -> None:
    header = ["id;name;cost"]
    text = describe_mismatch(header, find_columns(header, ["id"]))
    assert text.endswith("it has: id;name;cost; is ';' the delimiter?")


def test_a_mismatch_names_what_the_header_has() -> None:
    header = ["Name ", "", "x" * 70]
    text = describe_mismatch(header, find_columns(header, ["id", "Nam e"]))
    assert text == f"The header lacks Nam e, id; it has: 'Name ', '', {'x' * 60}…"


def test_the_header_of_quarantined_rows_is_recognised() -> None:
    assert is_quarantine_header(["line", "reasons", "raw_line", "id"])
    assert is_quarantine_header(["spawn_line", "reasons", "raw_line", "line"])
    assert not is_quarantine_header(["line", "reasons", "raw_line"])
    assert not is_quarantine_header(["id", "line", "reasons", "raw_line"])


@given(st.text(alphabet="'=+-@\t\r1a.", max_size=8) | st.text(max_size=8))
def test_the_guard_against_formulas_comes_off_again(text: str) -> None:
    assert unescape_formula(escape_formula(text)) == text


@given(st.text(alphabet="'=+-@\t\r1a.e", max_size=8))
def test_no_guarded_text_is_a_formula(text: str) -> None:
    guarded = escape_formula(text)
    is_number = guarded.lstrip("+-")[:1] in set("0123456789.")
    assert not guarded.startswith(("=", "+", "-", "@", "\t", "\r")) or is_number
