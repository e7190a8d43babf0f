"""The stated bounds of the finance engine, and the checks that name the field which breaks one.

Every calculator collects all offences of a request before it refuses, so that a caller repairs a
payload in one round. Comparisons are written as `low <= value <= high`: a NaN fails them, so that
not-a-number, infinity and overlarge integers are all refused by the same line.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import pairwise

from spawn.domain.errors import FieldError, InvalidInput

MAX_PERIODS = 2_400
"""Periods in a schedule: 200 years of months."""

MAX_FLOWS = 10_000
"""Cash flows in a series for IRR, XIRR or NPV."""

MAX_AMOUNT = 1e24
"""Largest magnitude of an amount: beyond it float64 keeps no unit and no economy reaches."""

MAX_RATE = 100.0
"""Largest rate per year or per period, 10,000 %."""

MAX_RATIO = 1e6
"""Largest target ratio, fee share or threshold."""

SMALLEST = 1e-12
"""Smallest amount, share or ratio where one must be above zero: a divisor that keeps its digits."""

MAX_ERRORS = 50
"""Field errors reported at once."""

FIRST_YEAR = 1_000
"""Earliest year of a schedule."""

LAST_YEAR = 9_000
"""Latest year of a schedule; `date` ends at 9999 and two centuries of rolling must not fall off."""

NOISE = 1e-12
"""Relative size below which a float64 sum of a schedule is rounding, not money."""


class Checker:
    """Collects field errors; `done` raises `InvalidInput` with all of them, if there are any."""

    def __init__(self) -> None:
        self._errors: list[FieldError] = []

    def refuse(self, pointer: str, code: str, detail: str) -> None:
        """Record one offence."""
        if len(self._errors) < MAX_ERRORS:
            self._errors.append(FieldError(pointer, code, detail))

    def number(self, pointer: str, value: float, low: float, high: float) -> None:
        """Refuse a value that is not finite or not inside [low, high]."""
        if not low <= value <= high:
            self.refuse(pointer, "out_of_range", f"must be a number from {low:g} to {high:g}")

    def positive(self, pointer: str, value: float, high: float = MAX_AMOUNT) -> None:
        """Refuse a value that is not above zero."""
        if not SMALLEST <= value <= high:
            detail = f"must be above 0 (at least {SMALLEST:g}) and at most {high:g}"
            self.refuse(pointer, "not_positive", detail)

    def amount(self, pointer: str, value: float, *, low: float = -MAX_AMOUNT) -> None:
        """Refuse an amount that is not finite, too large or below `low`."""
        self.number(pointer, value, low, MAX_AMOUNT)

    def rate(self, pointer: str, value: float, low: float = 0.0) -> None:
        """Refuse a rate outside [low, MAX_RATE]."""
        self.number(pointer, value, low, MAX_RATE)

    def length(self, pointer: str, values: Sequence[object], expected: int) -> bool:
        """Refuse a series whose length is not `expected`; True when it fits."""
        if len(values) == expected:
            return True
        self.refuse(pointer, "wrong_length", f"must have {expected} items, has {len(values)}")
        return False

    def size(self, pointer: str, count: int, high: int, low: int = 1) -> bool:
        """Refuse an empty or overlong series; True when its size is allowed."""
        if low <= count <= high:
            return True
        code = "empty" if count == 0 else "wrong_length"
        self.refuse(pointer, code, f"must have from {low} to {high} items, has {count}")
        return False

    def each(self, pointer: str, values: Sequence[float], low: float, high: float) -> None:
        """Refuse each item that is not a finite number inside [low, high]."""
        for index, value in enumerate(values):
            if not low <= value <= high:
                self.number(f"{pointer}/{index}", value, low, high)

    def increasing(self, pointer: str, dates: Sequence[date]) -> None:
        """Refuse dates that do not strictly increase."""
        for index, (before, after) in enumerate(pairwise(dates), start=1):
            if after <= before:
                self.refuse(f"{pointer}/{index}", "not_increasing", "must be after the date before")
        for index, day in enumerate(dates):
            self.day(f"{pointer}/{index}", day)

    def day(self, pointer: str, day: date) -> None:
        """Refuse a date outside the years that the engine rolls."""
        if not FIRST_YEAR <= day.year <= LAST_YEAR:
            years = f"{FIRST_YEAR} to {LAST_YEAR}"
            self.refuse(pointer, "out_of_range", f"must be in the years {years}")

    def done(self) -> None:
        """Raise `InvalidInput` when anything was refused."""
        if self._errors:
            raise InvalidInput(self._errors)


def refuse_overflow(pointer: str, *series: Iterable[float | None]) -> None:
    """Refuse results that left float64: one infinity or NaN shows in the sum.

    Raises:
        InvalidInput: with code `overflow` at `pointer`.
    """
    total = sum(number for numbers in series for number in numbers if number is not None)
    if not math.isfinite(total):
        raise InvalidInput.at(pointer, "overflow", "the result is beyond float64")


def per_period(value: float | tuple[float, ...], periods: int) -> tuple[float, ...]:
    """A scalar repeated for each period, or the series as it is given."""
    return value if isinstance(value, tuple) else (value,) * periods


def check_per_period(
    check: Checker,
    pointer: str,
    value: float | tuple[float, ...],
    periods: int,
    limits: tuple[float, float],
) -> None:
    """Refuse a scalar or a series of one value a period that leaves [low, high]."""
    if isinstance(value, tuple):
        if check.length(pointer, value, periods):
            check.each(pointer, value, *limits)
    else:
        check.number(pointer, value, *limits)
