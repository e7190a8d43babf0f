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

from spawn.application.analysis.calculation import CalculationResult, Deadline, calculate
from spawn.domain.errors import FieldError, InvalidInput
from spawn.entrypoints.http.analysis.requests import read_request
from spawn.entrypoints.http.analysis.wire import EXAMPLES

pytestmark = pytest.mark.slow

Json = dict[str, Any]
Path = tuple[str | int, ...]

LOAN: Json = {"principal": 90.0, "annual_rates": [0.05, 0.06, 0.07], "accruals": [0.5, 0.5, 0.25]}
SCULPTED: Json = {
    "cfads": [100, 120, 90, 110],
    "annual_rates": [0.05, 0.06, 0.04, 0.05],
    "target_dscr": [1.2, 1.3, 1.4, 1.5],
    "accruals": [0.5, 0.5, 0.5, 0.25],
    "months_per_period": 6,
    "balloon": 20,
    "grace_periods": 1,
    "uses": {"capex": 300, "closing_cost": 1, "upfront_fee_share": 0.02, "dsra_months": 6},
    "max_gearing": 0.6,
    "allow_negative_amortisation": True,
    "reserve_interest_rate": 0.01,
    "project_cash_flow": [100, 120, 90, 110, 50],
    "tax_cash_flow": [0, -1, -1, -1, -1, -1],
}
COVERAGE: Json = {
    "debt": 100,
    "cfads": [70, 70, 30],
    "interest": [5, 2.5],
    "principal": [50, 50],
    "period_rates": [0.05, 0.05],
    "times_years": [0.5, 1],
    "funded_cost": 150,
}
REQUESTS: list[tuple[str, Json]] = [
    *((name, example) for name, example in EXAMPLES.items() if name != "day-count"),
    ("returns", {"cash_flows": [-100, 230, -132, 5], "periods_per_year": 4, "discount_rate": 0.1}),
    ("returns", {"cash_flows": [-9, 4, 7], "finance_rate": 0.1, "reinvest_rate": 0.12}),
    ("schedule", {**LOAN, "profile": "balloon", "balloon_share": 0.3}),
    ("schedule", {**LOAN, "grace_periods": 1, "grace": "capitalised", "balloon": 10}),
    ("schedule", {**LOAN, "profile": "custom", "custom_shares": [0.2, 0.3, 0.5]}),
    ("schedule", {**LOAN, "profile": "sculpted", "cfads": [1, 2, 3], "currency_code": "EUR"}),
    ("debt-sizing", SCULPTED),
    ("debt-sizing", {**SCULPTED, "cap_basis": "pre_estimate", "pre_estimated_cost": 310}),
    (
        "debt-sizing",
        {
            "cfads": [100, 120, 90],
            "annual_rates": 0.05,
            "repayment": "annuity",
            "share_of_cost": 0.6,
            "uses": {"capex": 300, "upfront_fee_share": 0.02, "dsra_months": 6},
        },
    ),
    ("covenants", {"lockup_below": 1.15, "metric": "LLCR", "coverage": COVERAGE}),
    ("covenants", {"lockup_below": 1.15, "default_below": 1.05, "coverage": COVERAGE}),
    (
        "construction-funding",
        {
            "construction_cost": [50, 60, 70],
            "gearing": 0.7,
            "rate_per_period": [0.01, 0.02, 0.03],
            "dsra_share_of_debt": 0.05,
            "cost_at_close": 10,
            "funding": "equity_first",
        },
    ),
    ("waterfall", {**EXAMPLES["waterfall"], "sweep_share": 0.5, "sweep_if_dscr_below": 1.5}),
]
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
        request_body = read_request(name, json.dumps({**request, "explain": True}).encode())
        pointers = request_body.pointers
        result = calculate(
            name, request_body.cases, explain=True, pointers=pointers, deadline=Deadline()
        )
    except InvalidInput as error:
        return [], error.errors
    return result, ()


@given(st.sampled_from(REQUESTS), st.data())
@settings(max_examples=400)
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
