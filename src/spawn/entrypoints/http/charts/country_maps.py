"""Maps of countries as tiles of a drawing, shaded by what each holds of a portfolio."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from spawn.domain.iso.countries import COUNTRIES
from spawn.entrypoints.http.charts.country_grid import COLUMNS, COUNTRY_PLACES, ROWS

_STEP, _MARGIN = 25, 2
SHADES: Final = (
    (Decimal(0), "up to 5 %"),
    (Decimal(5), "up to 10 %"),
    (Decimal(10), "up to 25 %"),
    (Decimal(25), "above 25 %"),
)
"""Share in per cent that a shade begins above, with its text, from the lightest.

The steps are the same for every portfolio, so that two maps can be compared.
"""


class CountryTile(msgspec.Struct, frozen=True, kw_only=True):
    """A country at its place; `shade` is zero without an exposure, and counts from one with it."""

    code: str
    name: str
    x: int
    y: int
    amount: Decimal
    share: Decimal
    shade: int


class CountryMap(msgspec.Struct, frozen=True, kw_only=True):
    """A map in units of its drawing; `elsewhere` is the exposure without a country."""

    tiles: tuple[CountryTile, ...]
    elsewhere: Decimal
    shades: tuple[str, ...] = tuple(text for _, text in SHADES)
    size: int = _STEP - _MARGIN
    width: int = COLUMNS * _STEP
    height: int = ROWS * _STEP

    @property
    def largest_first(self) -> list[CountryTile]:
        """Tiles with an exposure, the largest first."""
        return sorted((one for one in self.tiles if one.shade), key=lambda one: -one.amount)


def lay_out_countries(
    exposures: Mapping[str | None, tuple[Decimal, Decimal]],
) -> CountryMap:
    """Lay out every country of ISO 3166-1 with its exposure.

    Args:
        exposures: amount and share in per cent by alpha-3 code; None is without a country.
    """
    none = (Decimal(0), Decimal(0))
    tiles = []
    for code, column, row in COUNTRY_PLACES:
        amount, share = exposures.get(code, none)
        tiles.append(
            CountryTile(
                code=code,
                name=COUNTRIES[code][1],
                x=column * _STEP,
                y=row * _STEP,
                amount=amount,
                share=share,
                shade=_find_shade(amount, share),
            )
        )
    return CountryMap(tiles=tuple(tiles), elsewhere=exposures.get(None, none)[0])


def _find_shade(amount: Decimal, share: Decimal) -> int:
    """Return the number of the shade; an amount whose share rounds to zero has the lightest."""
    return max(1, sum(share > start for start, _ in SHADES)) if amount > 0 else 0
