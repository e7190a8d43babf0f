"""Country codes are converted to alpha-3, and unknown ones are rejected."""

import pytest

from spawn.domain.errors import InvalidInput
from spawn.domain.iso.countries import COUNTRIES, parse_country

pytestmark = pytest.mark.core


def test_country_codes_are_converted_to_alpha_3() -> None:
    assert parse_country("ES") == parse_country("ESP") == "ESP"
    assert parse_country("NA") == "NAM"
    assert COUNTRIES["CIV"] == ("CI", "Côte d'Ivoire")
    assert COUNTRIES["XKX"] == ("XK", "Kosovo")
    assert len(COUNTRIES) == 249 + 1
    assert len({alpha_2 for alpha_2, _ in COUNTRIES.values()}) == 249 + 1


@pytest.mark.parametrize("code", ["XX", "esp", "", "Spain", "ES ", "ZZZ"])
def test_an_unknown_country_is_rejected(code: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_country(code, pointer="/country_code")
    assert error.value.errors[0].code == "unknown_country"
