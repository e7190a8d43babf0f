"""Fuzzing: a calculator returns finite figures or names a field for any numbers."""

import copy
import json
import math
from collections.abc import Iterator
from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.result_numbers import iterate_numbers
from tests.http.analysis.calculator_requests import REQUESTS

from spawn.application.analysis.calculation import CalculationResult, Deadline, calculate
from spawn.application.analysis.calculation_requests import read_request
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import parse_object
from spawn.testing.intensity import rounds

pytestmark = pytest.mark.slow

Json = dict[str, Any]
Path = tuple[str | int, ...]

EDGES = (0, -0.0, 1, -1, 5e-324, 1e-300, 1e-12, 1e-9, 1.0000001, 12, 2400, 1e6, 1e9, 1e24, 1.7e308)
values = st.sampled_from(EDGES) | st.sampled_from(EDGES).map(lambda x: -x) | st.floats(-2, 2)


def number_paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the paths of the numbers in a request."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from number_paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from number_paths(item, (*path, index))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def apply_changes(request: Json, changes: dict[Path, float]) -> Json:
    copied: Any = copy.deepcopy(request)
    for path, value in changes.items():
        holder = reduce(lambda at, step: at[step], path[:-1], copied)
        holder[path[-1]] = value
    result: Json = copied
    return result


def points_into(request: Any, error: FieldError) -> bool:
    """Return whether the pointer names a field of the request, or a sibling of one."""
    at = request
    for step in error.pointer.split("/")[1:-1]:
        if isinstance(at, list) and int(step) < len(at):
            at = at[int(step)]
        elif isinstance(at, dict) and step in at:
            at = at[step]
        else:
            return False
    return error.pointer.startswith("/")


def run_request(name: str, request: Json) -> tuple[list[CalculationResult], tuple[FieldError, ...]]:
    """Return the results of a request, or its field errors."""
    try:
        request_body = read_request(
            name, parse_object(json.dumps({**request, "explain": True}).encode())
        )
        pointers = request_body.pointers
        result = calculate(
            name, request_body.cases, explain=True, pointers=pointers, deadline=Deadline()
        )
    except InvalidInput as error:
        return [], error.errors
    return result, ()


@given(st.sampled_from(REQUESTS), st.data())
@settings(max_examples=rounds(150, 400))
def test_figures_are_finite_or_a_field_is_named(
    request: tuple[str, Json], data: st.DataObject
) -> None:
    name, base = request
    paths = st.sampled_from(list(number_paths(base)))
    request_body = apply_changes(
        base, data.draw(st.dictionaries(paths, values, min_size=1, max_size=4))
    )
    result, errors = run_request(name, request_body)
    assert all(map(math.isfinite, iterate_numbers(msgspec.to_builtins(result))))
    assert all(points_into(request_body, error) for error in errors), errors


@pytest.mark.parametrize("number", range(len(REQUESTS)))
def test_every_base_request_is_valid(number: int) -> None:
    result, errors = run_request(*REQUESTS[number])
    assert result
    assert not errors
