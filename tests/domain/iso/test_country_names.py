"""Countries by name, in the forms of registers."""

import pytest

from spawn.domain.iso.countries import COUNTRIES
from spawn.domain.iso.country_names import find_country_code

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ES", "ESP"),
        ("ESP", "ESP"),
        ("Spain", "ESP"),
        ("ESPAÑA", "ESP"),
        ("espana", "ESP"),
        ("Côte d'Ivoire", "CIV"),
        ("Cote d\u2019Ivoire", "CIV"),
        ("Ivory Coast", "CIV"),
        ("Congo, Dem. Rep.", "COD"),
        ("The Democratic Republic of the Congo", "COD"),
        ("Congo", "COG"),
        ("Korea, Rep.", "KOR"),
        ("Democratic People's Republic of Korea", "PRK"),
        ("Tanzania", "TZA"),
        ("United Republic of Tanzania", "TZA"),
        ("Turkey", "TUR"),
        ("Türkiye", "TUR"),
        ("Viet Nam", "VNM"),
        ("Trinidad & Tobago", "TTO"),
        ("Bahamas, The", "BHS"),
        ("U.S.A.", "USA"),
        ("UK", "GBR"),
        ("EL", "GRC"),
        ("XKX", "XKX"),
        ("de", "DEU"),
        ("Deu", "DEU"),
        ("na", None),  # not available
        ("Macau SAR", "MAC"),
        ("Hong Kong SAR China", "HKG"),
        ("Myanmar (Burma)", "MMR"),
        ("St. Pierre & Miquelon", "SPM"),
        ("Kosovo", "XKX"),
        ("Saint Helena", None),
        ("Korea", None),
        ("Virgin Islands", None),
        ("Atlantis", None),
        ("x" * 100, None),
        ("", None),
    ],
)
def test_a_country_is_found_by_its_name(text: str, code: str | None) -> None:
    assert find_country_code(text) == code


def test_each_country_is_found_by_its_own_name_and_codes() -> None:
    for code, (alpha_2, name) in COUNTRIES.items():
        assert {find_country_code(text) for text in (code, alpha_2, name, name.upper())} == {code}
