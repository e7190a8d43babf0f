"""Scales of charts: amounts at round steps with their unit, and days with the years to mark."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

CHART_WIDTH: Final = 560
"""Width of every chart but the map, so that one size of text suits all of them."""

CHART_RIGHT: Final = CHART_WIDTH - 24
_CHARACTER_WIDTH: Final = 11
_STEPS: Final = (1, 2, 5, 10)
_INTERVALS: Final = 4
_UNITS: Final = (
    (Decimal(10**12), "trillion"),
    (Decimal(10**9), "billion"),
    (Decimal(10**6), "million"),
    (Decimal(10**3), "thousand"),
)
_YEAR_STEPS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000)
_MAX_MARKED_YEARS: Final = 8
_MIN_MARKED_YEARS: Final = 3
_LEAST_RELATIVE_SPAN: Final = Decimal("1e-6")


class Tick(NamedTuple):
    """A text beside an axis, at a place of the drawing; `anchor` is that of the text."""

    text: str
    place: float
    anchor: str = "middle"


class ValueScale:
    """A scale of values from the bottom to the top of a drawing, at round steps.

    The texts of its ticks count in `unit`, such as million; it is empty for small values.
    """

    def __init__(self, values: Sequence[Decimal], top: float, bottom: float) -> None:
        lowest, highest = min(values), max(values)
        magnitude = max(abs(lowest), abs(highest))
        if highest - lowest <= magnitude * _LEAST_RELATIVE_SPAN:
            lowest, highest = min(lowest, Decimal(0)), max(highest, Decimal(0))
        if lowest == highest:
            highest += 1
        step = _find_round_step((highest - lowest) / _INTERVALS)
        self._top, self._bottom = top, bottom
        self.lowest = (lowest / step).to_integral_value("ROUND_FLOOR") * step
        self.highest = (highest / step).to_integral_value("ROUND_CEILING") * step
        divisor, self.unit = _find_unit(max(abs(self.lowest), abs(self.highest)))
        decimals = max(0, -(step / divisor).adjusted())
        count = int((self.highest - self.lowest) / step)
        marks = [self.lowest + step * number for number in range(count + 1)]
        self.ticks = [Tick(f"{one / divisor:,.{decimals}f}", self.place(one)) for one in marks]
        self.left = 12 + _CHARACTER_WIDTH * max(len(tick.text) for tick in self.ticks)

    def place(self, value: Decimal) -> float:
        """Return the height of a value in the drawing."""
        share = float((self.highest - value) / (self.highest - self.lowest))
        return round(self._top + (self._bottom - self._top) * share, 1)


class DayScale:
    """A scale of days from the left to the right of a drawing."""

    def __init__(self, days: Sequence[date], left: float, right: float) -> None:
        self.first, self.last = min(days), max(days)
        self._left, self._right = left, right
        self.ticks = self._mark_years() or self._mark_ends()

    def place(self, day: date) -> float:
        """Return the place of a day in the drawing; a single day is in the middle."""
        span = (self.last - self.first).days
        share = (day - self.first).days / span if span else 0.5
        return round(self._left + (self._right - self._left) * share, 1)

    def _mark_years(self) -> list[Tick]:
        """Return round years at their first days; none where there are too few to read it by."""
        begins = self.first.year + (self.first > date(self.first.year, 1, 1))
        years = range(begins, self.last.year + 1)
        if len(years) < _MIN_MARKED_YEARS:
            return []
        step = next(one for one in _YEAR_STEPS if len(years) <= one * _MAX_MARKED_YEARS)
        return [
            Tick(f"{year:04d}", self.place(date(year, 1, 1))) for year in years if year % step == 0
        ]

    def _mark_ends(self) -> list[Tick]:
        if self.first == self.last:
            return [Tick(self.first.isoformat(), self.place(self.first))]
        return [
            Tick(self.first.isoformat(), self._left, "start"),
            Tick(self.last.isoformat(), self._right, "end"),
        ]


def _find_round_step(step: Decimal) -> Decimal:
    """Return the least step of 1, 2 or 5 times a power of ten that is not below the given one."""
    power = Decimal(1).scaleb(step.adjusted())
    return next(one * power for one in _STEPS if one * power >= step)


def _find_unit(magnitude: Decimal) -> tuple[Decimal, str]:
    return next((one for one in _UNITS if magnitude >= 10 * one[0]), (Decimal(1), ""))
