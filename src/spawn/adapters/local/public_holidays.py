"""Public holidays from the optional package `holidays`."""

import importlib
import importlib.util
from datetime import date
from typing import Any

from spawn.ports.holidays import HolidaySource

_PACKAGE = "holidays"


class PackageHolidays:
    """The public holidays of the countries and subdivisions that the package knows."""

    def __init__(self) -> None:
        # Importing it takes a while, and few installations name a country.
        self._package: Any = None

    def find_holidays(
        self, country: str, first_year: int, last_year: int
    ) -> frozenset[date] | None:
        """Return the holidays of the years; None for an unknown country or subdivision."""
        if self._package is None:
            self._package = importlib.import_module(_PACKAGE)
        code, _, subdivision = country.partition("-")
        try:
            days = self._package.country_holidays(
                code, subdiv=subdivision or None, years=range(first_year, last_year + 1)
            )
        except NotImplementedError:
            return None
        return frozenset(days)


def load_public_holidays() -> HolidaySource | None:
    """Return the source of public holidays, None where the package is not installed."""
    return PackageHolidays() if importlib.util.find_spec(_PACKAGE) is not None else None
