"""Public holidays of countries, for business calendars that name them."""

from datetime import date
from typing import Protocol


class HolidaySource(Protocol):
    """Source of public holidays, in memory: its methods return at once, on any thread."""

    def find_holidays(
        self, country: str, first_year: int, last_year: int
    ) -> frozenset[date] | None:
        """Return the holidays of the years, both included; None for an unknown country.

        `country` is an ISO 3166 code, with a subdivision as in `DE-BY`.
        """
        ...
