"""Lists of periods in warnings, which name every period concerned."""

from collections.abc import Iterable

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
