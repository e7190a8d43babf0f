"""Numeric limits of the finance engine, and the checks that name each field outside them.

Every calculator collects all field errors of a request before it rejects it, so that a caller
repairs a payload in one round. Comparisons are written as `low <= value <= high`: a NaN fails
them, so that the same line rejects not-a-number, infinity and overlarge integers.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import pairwise

from spawn.domain.errors import MAX_ERRORS, FieldError, InvalidInput

MAX_PERIODS = 2_400
"""Periods in a schedule: 200 years of months."""

MAX_FLOWS = 10_000
"""Cash flows in a series for IRR, XIRR or NPV."""

MAX_AMOUNT = 1e24
"""Largest magnitude of an amount: float64 keeps no unit beyond it, and no economy reaches it."""

MAX_RATE = 100.0
"""Largest rate per year or per period, 10,000 %."""

MAX_RATIO = 1e6
"""Largest target ratio, fee share or threshold."""

MIN_POSITIVE = 1e-12
"""Smallest positive amount, share or ratio: a divisor that keeps its digits."""

FIRST_YEAR = 1_000
"""Earliest year of a schedule."""

LAST_YEAR = 9_000
"""Latest year of a schedule: two centuries of rolling must stay below 9999, where `date` ends."""

ROUNDING_NOISE = 1e-12
"""Relative size below which a float64 sum of a schedule is rounding noise, not money."""


class FieldChecker:
    """Collector of field errors; `raise_errors` raises them together."""

    def __init__(self) -> None:
        self._errors: list[FieldError] = []

    def reject(self, pointer: str, code: str, detail: str) -> None:
        """Record one field error once, up to `MAX_ERRORS`."""
        error = FieldError(pointer, code, detail)
        if len(self._errors) < MAX_ERRORS and error not in self._errors:
            self._errors.append(error)

    def require_number(self, pointer: str, value: float, low: float, high: float) -> None:
        """Reject a value that is not a finite number inside [low, high]."""
        if not low <= value <= high:
            self.reject(pointer, "out_of_range", f"must be a number from {low:g} to {high:g}")

    def require_positive(self, pointer: str, value: float, high: float = MAX_AMOUNT) -> None:
        """Reject a value that is not above zero."""
        if not MIN_POSITIVE <= value <= high:
            detail = f"must be above 0 (at least {MIN_POSITIVE:g}) and at most {high:g}"
            self.reject(pointer, "not_positive", detail)

    def require_each_positive(self, pointer: str, values: Sequence[float], high: float) -> None:
        """Reject each item that is not above zero."""
        for index, value in enumerate(values):
            if not MIN_POSITIVE <= value <= high:
                self.require_positive(f"{pointer}/{index}", value, high)

    def require_amount(self, pointer: str, value: float, *, low: float = -MAX_AMOUNT) -> None:
        """Reject an amount that is not finite, too large or below `low`."""
        self.require_number(pointer, value, low, MAX_AMOUNT)

    def require_rate(self, pointer: str, value: float, low: float = 0.0) -> None:
        """Reject a rate outside [low, MAX_RATE]."""
        self.require_number(pointer, value, low, MAX_RATE)

    def require_length(self, pointer: str, values: Sequence[object], expected: int) -> bool:
        """Return whether a series has the `expected` length; reject it otherwise."""
        if len(values) == expected:
            return True
        self.reject(pointer, "wrong_length", f"must have {expected} items, has {len(values)}")
        return False

    def require_size(self, pointer: str, count: int, high: int, low: int = 1) -> bool:
        """Return whether a series has from `low` to `high` items; reject it otherwise."""
        if low <= count <= high:
            return True
        code = "empty" if count == 0 else "wrong_length"
        self.reject(pointer, code, f"must have from {low} to {high} items, has {count}")
        return False

    def require_each(self, pointer: str, values: Sequence[float], low: float, high: float) -> None:
        """Reject each item that is not a finite number inside [low, high]."""
        for index, value in enumerate(values):
            if not low <= value <= high:
                self.require_number(f"{pointer}/{index}", value, low, high)

    def require_increasing(self, pointer: str, dates: Sequence[date]) -> None:
        """Reject dates that do not strictly increase."""
        for index, (before, after) in enumerate(pairwise(dates), start=1):
            if after <= before:
                self.reject(f"{pointer}/{index}", "not_increasing", "must be after the date before")
        for index, day in enumerate(dates):
            if not FIRST_YEAR <= day.year <= LAST_YEAR:
                self.require_day(f"{pointer}/{index}", day)

    def require_day(self, pointer: str, day: date) -> None:
        """Reject a date outside FIRST_YEAR to LAST_YEAR."""
        if not FIRST_YEAR <= day.year <= LAST_YEAR:
            years = f"{FIRST_YEAR} to {LAST_YEAR}"
            self.reject(pointer, "out_of_range", f"must be in the years {years}")

    def raise_errors(self) -> None:
        """Raise `InvalidInput` with all recorded errors, if there are any."""
        if self._errors:
            raise InvalidInput(self._errors)


def reject_overflow(pointer: str, *series: Iterable[float | None]) -> None:
    """Reject results beyond float64: one infinity or NaN shows in their sum.

    Raises:
        InvalidInput: a result is not finite; code `overflow` at `pointer`.
    """
    total = sum(number for numbers in series for number in numbers if number is not None)
    if not math.isfinite(total):
        raise InvalidInput.at(
            pointer, "overflow", "the result is beyond float64; give smaller amounts or rates"
        )


def expand_per_period(value: float | tuple[float, ...], periods: int) -> tuple[float, ...]:
    """Repeat a scalar for each period; return a series unchanged."""
    return value if isinstance(value, tuple) else (value,) * periods


def check_per_period(
    checker: FieldChecker,
    pointer: str,
    value: float | tuple[float, ...],
    periods: int,
    limits: tuple[float, float],
) -> None:
    """Reject a scalar, or a series of one value per period, that leaves [low, high]."""
    if isinstance(value, tuple):
        if checker.require_length(pointer, value, periods):
            checker.require_each(pointer, value, *limits)
    else:
        checker.require_number(pointer, value, *limits)
