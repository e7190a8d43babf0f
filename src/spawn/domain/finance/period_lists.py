"""Lists of periods in warnings, which name every period concerned, and warnings of any case."""

from collections.abc import Iterable, Sequence
from datetime import date

from spawn.domain.finance.time_base.notional_periods import list_moved_dates

_RUN_LENGTH = 4


def list_periods(numbers: Iterable[int]) -> str:
    """Return "period 4" or "periods 1, 2, 5-9": every number, runs of four and more shortened."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [
        f"{run[0]}-{run[-1]}" if len(run) >= _RUN_LENGTH else ", ".join(map(str, run))
        for run in runs
    ]
    is_single = len(runs) == 1 and len(runs[0]) == 1
    return f"period{'' if is_single else 's'} {', '.join(parts)}"


def warn_of_moved_dates(dates: Sequence[date] | None) -> list[str]:
    """Warn of given dates that business days seem to have moved, where terms in years use them."""
    moved_dates = list_moved_dates(dates or ())
    if not moved_dates:
        return []
    days = ", ".join(map(str, moved_dates))
    advice = "give payment_dates with a rule if business days have moved them"
    return [f"/dates has {days} off the roll day, and terms in years count as given; {advice}"]
