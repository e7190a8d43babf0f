"""What a list of projects may be sorted by."""

import pytest

from spawn.application.projects.list_query import MAX_SORTS, read_sort
from spawn.domain.errors import InvalidInput
from spawn.domain.query import Sort
from spawn.domain.schemas.validator import compile_schema
from spawn.testing.builders import a_schema

VALIDATOR = compile_schema(a_schema())
NAMES = (
    *("project_name", "total_amount", "currency_code", "country_code", "sector", "status"),
    *("maturity_years", "dscr", "description", "expected_irr", "cod_date"),
)


def test_a_sort_has_fields_in_both_orders() -> None:
    assert read_sort(None, VALIDATOR) == ()
    assert read_sort("-total_amount,project_name", VALIDATOR) == (
        Sort("total_amount", descending=True),
        Sort("project_name"),
    )
    assert len(read_sort(",".join(NAMES[:MAX_SORTS]), VALIDATOR)) == MAX_SORTS


@pytest.mark.parametrize(
    ("names", "codes"),
    [
        (("nonsense", "sector", "-sector"), ["unknown_field", "repeated_field"]),
        (NAMES[: MAX_SORTS + 1], ["too_many"]),
        # No more than one field above the limit is read.
        ((*NAMES[: MAX_SORTS + 1], "nonsense"), ["too_many"]),
        (tuple(f"nonsense_{n}" for n in range(99)), ["unknown_field"] * (MAX_SORTS + 1)),
    ],
)
def test_an_invalid_sort_names_each_error(names: tuple[str, ...], codes: list[str]) -> None:
    with pytest.raises(InvalidInput) as error:
        read_sort(",".join(names), VALIDATOR)
    assert [(one.pointer, one.code) for one in error.value.errors] == [
        ("/sort", code) for code in codes
    ]
