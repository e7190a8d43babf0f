"""Every explanation evaluates: its formula over its inputs is the figure."""

import json
from typing import Any

import pytest
from tests.application.analysis.formula_evaluator import evaluate
from tests.http.analysis.calculator_requests import REQUESTS, Json

from spawn.application.analysis.calculation import Deadline, calculate
from spawn.application.analysis.calculation_requests import read_request
from spawn.domain.json_tokens import parse_object
from spawn.entrypoints.http.analysis.responses import encode_json
from spawn.entrypoints.http.analysis.wire import EXAMPLES

GRACE: Json = {
    "cfads": [26, 26, 26, 26, 26],
    "annual_rates": 0.05,
    "target_dscr": 1.3,
    "grace_periods": 2,
}
TOTAL_SERVICE: Json = {
    "cfads": [26, 27, 26, 4, 26],
    "facilities": [
        {"name": "bank", "commitment": 9, "tenor_periods": 3, "rate": {"base_rate": 0.04}},
        {
            "name": "term",
            "target_dscr": 1.3,
            "target_basis": "total_service",
            "grace_periods": 1,
            "balloon": 2,
            "rate": {"base_rate": 0.05},
        },
    ],
}
MORE: list[tuple[str, Json]] = [
    ("debt-sizing", GRACE),
    ("debt-sizing", {**GRACE, "balloon": 20}),
    (
        "debt-sizing",
        {
            **GRACE,
            "cfads": [-3, 26, -2, 26, 26],
            "floor_debt_service": False,
            "allow_negative_amortisation": True,
        },
    ),
    ("debt-sizing", TOTAL_SERVICE),
    (
        "deal",
        {
            "construction_cost": [60, 70],
            "cfads": [14.0, 15.0] * 9,
            "facilities": TOTAL_SERVICE["facilities"],
        },
    ),
    ("returns", {"cash_flows": [-100, 230, -132]}),
    ("returns", {"cash_flows": [-100, -1]}),
    ("day-count", EXAMPLES["day-count"]),
    ("day-count", {**EXAMPLES["day-count"], "day_count": "30E/360"}),
    ("schedule", {"payment_dates": EXAMPLES["schedule"]["payment_dates"]}),
]


def explain(name: str, request: Json) -> Json:
    read = read_request(name, parse_object(json.dumps(request).encode()))
    results = calculate(name, read.cases, explain=True, pointers=read.pointers, deadline=Deadline())
    response: Json = json.loads(encode_json(read.names, results, is_single=True))
    return response


def assert_evaluates(figure: str, explanation: Json) -> None:
    """Assert that an expression has the value, or that each value solves an equation."""
    left, equals, right = explanation["formula"].partition(" = ")
    value, inputs = explanation["value"], explanation["inputs"]
    if not equals:
        result = evaluate(left, inputs)
        is_number = isinstance(value, float)
        assert result == (pytest.approx(value, rel=1e-9, abs=1e-12) if is_number else value)
        return
    scale = sum(abs(flow) for flow in inputs.get("flows", inputs.get("cash_flow")))
    for root in value if isinstance(value, list) else [value]:
        residual = evaluate(left, inputs | {figure: root}) - float(right)
        assert residual == pytest.approx(0.0, abs=1e-9 * scale)


@pytest.mark.parametrize("number", range(len(REQUESTS) + len(MORE)))
def test_the_formula_of_each_figure_has_its_value(number: int) -> None:
    name, request = (REQUESTS + MORE)[number]
    result = explain(name, request)
    has_figure = name != "schedule" or "principal" in request
    assert bool(result["explain"]) is has_figure
    for figure, explanation in result["explain"].items():
        if explanation["value"] is not None:
            assert_evaluates(figure, explanation)


def test_a_figure_is_explained_wherever_the_result_has_it() -> None:
    figures: dict[str, set[Any]] = {
        "returns": {"rate", "npv", "mirr", "moic", "dpi", "payback_years", "lcoe"},
        "deal": {"debt", "total_uses", "equity_irr", "project_irr", "llcr", "plcr", "min_dscr"}
        | {"dscr_capacity"},
        "cash-flow": {"total_revenue", "total_operating_costs", "total_ebitda", "total_cfads"},
        "debt-sizing": {"debt", "min_dscr", "llcr", "plcr", "wal_years", "equity", "equity_irr"},
        "schedule": {"level_payment", "total_interest", "total_principal"},
        "construction-funding": {"debt_commitment", "equity", "idc_total", "fees_total"},
        "waterfall": {"total_distributions", "total_sweep", "total_unpaid", "min_dscr"},
        "covenants": {"final_state", "first_lockup", "first_default", "min_llcr"},
        "day-count": {"total_year_fraction"},
    }
    explained: dict[str, set[Any]] = {name: set() for name in figures}
    for name, request in REQUESTS + MORE:
        explained[name] |= set(explain(name, request)["explain"])
    for name, names in figures.items():
        assert names <= explained[name]
