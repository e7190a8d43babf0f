"""Every number of a calculation has its bounds: outside of them the recorded errors, by pointer.

Each line of the record is a calculator, a number of a request, another value for it and what comes
of it: `ok`, or the pointer and code of each error. The first request that has a number stands for
all; of a list the first, the second and the last number do.
`python -m tests.http.analysis.test_recorded_bounds` writes the record anew.
"""

import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from tests.http.analysis.calculator_requests import Json
from tests.http.analysis.field_requests import BASES
from tests.http.analysis.test_calculator_fuzz import (
    Path as NumberPath,
)
from tests.http.analysis.test_calculator_fuzz import (
    apply_changes,
    number_paths,
    run_request,
)

RECORD: Final = Path(__file__).with_name("recorded_bounds.txt")
VALUES: Final = (-1e30, -1, 0, 1.5, 1e30)
CALCULATORS: Final = sorted({name for name, _ in BASES} - {"simulation"})


@cache
def list_numbers(calculator: str) -> dict[str, tuple[Json, NumberPath]]:
    """Return each number of a calculator's requests by its name, with the first that has it."""
    numbers: dict[str, tuple[Json, NumberPath]] = {}
    for name, request in BASES:
        if name == calculator:
            for path, is_last in mark_ends(list(number_paths(request))):
                if is_last or all(step in (0, 1) for step in path if isinstance(step, int)):
                    numbers.setdefault(name_number(path), (request, path))
    return numbers


def mark_ends(paths: list[NumberPath]) -> Iterator[tuple[NumberPath, bool]]:
    """Yield each path, and whether the next one belongs to another list."""
    for path, after in pairwise([*paths, ()]):
        yield path, path[:-1] != after[:-1]


def name_number(path: NumberPath) -> str:
    """Return a path as a pointer; what follows the second item of a list counts as the last."""
    steps = (
        str(step if step in (0, 1) else "n") if isinstance(step, int) else step for step in path
    )
    return "/" + "/".join(steps)


def list_outcomes(calculator: str) -> Iterator[str]:
    """Yield the lines of a calculator."""
    for name, (request, path) in list_numbers(calculator).items():
        for value in VALUES:
            _, errors = run_request(calculator, apply_changes(request, {path: value}))
            codes = sorted({f"{error.pointer} {error.code}" for error in errors})
            yield f"{calculator} {name} {value:g}: {', '.join(codes) or 'ok'}"


@pytest.mark.parametrize("calculator", CALCULATORS)
def test_numbers_out_of_bounds_are_rejected_as_recorded(calculator: str) -> None:
    """A number that is not on record yet is judged by none of the lines."""
    recorded = {
        line for line in RECORD.read_text().splitlines() if line.startswith(f"{calculator} ")
    }
    numbers = {line.partition(":")[0] for line in recorded}
    outcomes = {line for line in list_outcomes(calculator) if line.partition(":")[0] in numbers}
    assert outcomes == recorded


if __name__ == "__main__":
    outcomes = [line for name in CALCULATORS for line in list_outcomes(name)]
    RECORD.write_text("".join(f"{line}\n" for line in outcomes))
    sys.stdout.write("Review the difference: clients of the calculators see it.\n")
