"""Subdivision codes are those of ISO 3166-2, and each belongs to a country."""

import pytest

from spawn.domain.errors import InvalidInput
from spawn.domain.iso.countries import COUNTRIES
from spawn.domain.iso.subdivisions import SUBDIVISIONS, find_country, parse_subdivision

pytestmark = pytest.mark.core


def test_the_list_has_every_code_of_its_edition() -> None:
    assert len(SUBDIVISIONS) == 5_046
    assert len({find_country(code) for code in SUBDIVISIONS}) == 200
    assert {find_country(code) for code in SUBDIVISIONS} <= set(COUNTRIES)
    for codes in ("ES-GA ES-A ES-MD", "US-TX US-PR", "GB-ENG GB-WNH", "FR-75C FR-69M", "KZ-63"):
        assert SUBDIVISIONS.issuperset(codes.split())


def test_a_code_belongs_to_the_country_of_its_prefix() -> None:
    assert parse_subdivision("ES-GA") == "ES-GA"
    assert find_country("ES-GA") == "ESP"
    assert find_country("GB-SCT") == "GBR"
    assert find_country("US-PR") == "USA"


@pytest.mark.parametrize(
    "code", ["ES-XX", "es-ga", "ESP-GA", "GA", "ES", "", "ES-", "ES-GA ", "XX-01", "ES_GA", "\0"]
)
def test_an_unknown_subdivision_is_rejected(code: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_subdivision(code, pointer="/subdivision_code")
    assert error.value.errors[0].code == "unknown_subdivision"
