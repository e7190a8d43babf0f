"""Lists of quoted values, and names that are similar to an unknown one."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.text import split_list, suggest_name, trim
from spawn.testing.expected_errors import expect_invalid

pytestmark = pytest.mark.core

VALUES = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_a_list_written_as_csv_is_read_back(values: list[str]) -> None:
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="").writerow(values)
    assert split_list(line.getvalue(), "/f") == values


@given(
    st.lists(VALUES.filter(lambda v: "," not in v and '"' not in v and v == trim(v)), min_size=1)
)
def test_plain_values_need_no_quotes(values: list[str]) -> None:
    assert split_list(",".join(values), "/f") == values


@pytest.mark.parametrize("text", ['"', '"a', '"a"b', '"a","', "a, b", " a", 'a,"b" '])
def test_a_malformed_list_is_invalid(text: str) -> None:
    with expect_invalid(("/f", "malformed_list")):
        split_list(text, "/f")


def test_a_similar_name_is_suggested_and_no_other() -> None:
    names = ("total_amount", "country_code", "sector")
    assert suggest_name("total_amonut", names) == " Did you mean 'total_amount'?"
    assert suggest_name("colour", names) == ""
    assert suggest_name("total_amonut" * 20, names) == ""
