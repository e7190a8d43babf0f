"""The map of countries: the places of the grid, the shades, and the page that shows it."""

from decimal import Decimal
from xml.etree import ElementTree as ET

import httpx
import pytest
from tests.http.pages.test_portfolio_page import DAY, group, page_of
from tests.http.portfolios.test_exposure_routes import portfolio

from spawn.domain.iso.countries import COUNTRIES
from spawn.entrypoints.http.charts.country_grid import COLUMNS, COUNTRY_PLACES, ROWS
from spawn.entrypoints.http.charts.country_maps import CountryTile, lay_out_countries

__all__ = ["portfolio"]
PLACES = {code: (column, row) for code, column, row in COUNTRY_PLACES}


def tile_of(amount: str, share: str, code: str = "BRA") -> CountryTile:
    drawing = lay_out_countries({code: (Decimal(amount), Decimal(share))})
    (tile,) = (one for one in drawing.tiles if one.code == code)
    return tile


def test_each_country_has_exactly_one_tile() -> None:
    assert sorted(code for code, _, _ in COUNTRY_PLACES) == sorted(COUNTRIES)
    assert len({(column, row) for _, column, row in COUNTRY_PLACES}) == len(COUNTRIES)
    assert all(0 <= column < COLUMNS and 0 <= row < ROWS for column, row in PLACES.values())


@pytest.mark.parametrize(
    "codes",
    [
        "USA PRT ITA TUR IRN CHN JPN",
        "CHL BRA NGA KEN IND VNM PNG FJI",
        "ESP ITA GRC",
        "PER BOL BRA",
    ],
)
def test_countries_stand_from_west_to_east(codes: str) -> None:
    columns = [PLACES[code][0] for code in codes.split()]
    assert columns == sorted(set(columns))


@pytest.mark.parametrize(
    "codes",
    [
        "GRL CAN USA MEX PAN COL PER CHL ARG",
        "NOR DEU AUT ITA TUN NGA AGO ZAF ATA",
        "RUS CHN VNM IDN AUS NZL",
    ],
)
def test_countries_stand_from_north_to_south(codes: str) -> None:
    rows = [PLACES[code][1] for code in codes.split()]
    assert rows == sorted(set(rows))


@pytest.mark.parametrize(
    ("share", "shade"),
    [("0.0000", 1), ("5", 1), ("5.0001", 2), ("10", 2), ("25", 3), ("25.0001", 4), ("100", 4)],
)
def test_a_shade_tells_the_share(share: str, shade: int) -> None:
    assert tile_of("0.01", share).shade == shade


def test_an_amount_without_a_country_is_beside_the_map() -> None:
    exposures = {
        None: (Decimal(7), Decimal(70)),
        "KEN": (Decimal(1), Decimal(10)),
        "BRA": (Decimal(2), Decimal(20)),
    }
    drawing = lay_out_countries(exposures)
    assert drawing.elsewhere == 7
    assert [one.code for one in drawing.largest_first] == ["BRA", "KEN"]
    assert len(drawing.tiles) == len(COUNTRIES)
    assert tile_of("0", "0").shade == 0
    for one in drawing.tiles:
        assert one.x + drawing.size <= drawing.width
        assert one.y + drawing.size <= drawing.height


def test_the_page_has_a_tile_for_each_country_with_its_amount(
    client: httpx.Client, portfolio: str
) -> None:
    exposure = client.get(f"{portfolio}/exposure", params={**DAY, "by": "country"}).json()
    page = client.get(page_of(portfolio), params=DAY).text
    start = page.index('<svg viewBox="-1 -1 ')
    picture = page[start : page.index("</svg>", start) + len("</svg>")]
    drawing = ET.fromstring(picture)  # noqa: S314 - drawn a line above
    groups = [one for one in drawing.findall("g") if one.find("title") is not None]
    assert len(groups) == len(COUNTRIES)
    tiles = {one.findtext("text", ""): one for one in groups}
    assert set(tiles) == set(COUNTRIES)
    names = {code: tile.findtext("title", "") for code, tile in tiles.items()}
    described = drawing.findtext("desc")
    assert described is not None
    amounts = {one["keys"]["country"]: one for one in exposure["groups"]}
    assert amounts
    for code, name in names.items():
        country = COUNTRIES[code][1]
        if code in amounts:
            one = amounts[code]
            assert name == f"{country}: {group(one['exposure'])} EUR, {one['share']} %"
            assert name in described
            assert tiles[code].get("class") != "shade-0"
        else:
            assert name == f"{country}: no exposure"
            assert tiles[code].get("class") == "shade-0"
