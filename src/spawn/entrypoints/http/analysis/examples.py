"""OpenAPI operations of the analysis routes, with computed example responses."""

from typing import Any, Final

import msgspec

from spawn.application.analysis.calculation import Deadline, calculate
from spawn.application.analysis.calculators import CALCULATORS
from spawn.domain.finance.simulation.monte_carlo_case import SimulationCase, SimulationResult
from spawn.entrypoints.http.analysis.requests import read_request
from spawn.entrypoints.http.analysis.responses import ARROW, CSV, encode_json
from spawn.entrypoints.http.jobs import JobView
from spawn.entrypoints.http.openapi.handler_operation import (
    HandlerOperation,
    RequestBody,
    SuccessResponse,
)
from spawn.entrypoints.http.openapi.struct_schemas import (
    input_schema,
    output_schema,
    request_schema,
    response_schema,
)

TAG: Final = "analysis"
PROBLEMS: Final = (
    "malformed_body",
    "invalid_input",
    "unsupported_media_type",
    "body_too_large",
    "request_timeout",
    "overloaded",
    "deadline_exceeded",
)
EXPLAIN_PARAMETER: Final[dict[str, Any]] = {
    "name": "explain",
    "in": "query",
    "required": False,
    "description": "Formula and inputs of each headline figure, as `explain` in the body.",
    "schema": {"type": "string", "enum": ["true", "false"]},
}
TABLE_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    CSV: {"type": "string", "description": "The rows of the schedule, one per line."},
    ARROW: {
        "type": "string",
        "format": "binary",
        "description": "The rows as an Arrow IPC stream, if the extra `arrow` is installed.",
    },
}
_SUMMARIES: Final = {
    "returns": "Calculate rates of return and present value",
    "debt-sizing": "Size debt on CFADS, targets and gearing",
    "schedule": "Calculate payment dates and a loan schedule",
    "construction-funding": "Fund construction with debt and equity",
    "waterfall": "Run a cash-flow waterfall",
    "covenants": "Test a covenant over a series of ratios",
    "day-count": "Calculate days and year fractions",
}
EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "returns": {
        "flows": [
            {"date": "2026-01-01", "amount": -10000},
            {"date": "2027-03-01", "amount": 2750},
            {"date": "2028-10-30", "amount": 9250},
        ],
        "currency_code": "EUR",
        "discount_rate": 0.08,
    },
    "debt-sizing": {
        "name": "Sierra Wind II",
        "cfads": [9800000, 10100000, 10050000, 10300000, 9900000, 10400000],
        "annual_rates": 0.055,
        "target_dscr": 1.3,
        "dates": [
            "2027-06-30",
            "2027-12-31",
            "2028-06-30",
            "2028-12-31",
            "2029-06-30",
            "2029-12-31",
            "2030-06-30",
        ],
        "day_count": "ACT/360",
        "months_per_period": 6,
        "uses": {"capex": 60000000, "upfront_fee_share": 0.02, "dsra_months": 6},
        "max_gearing": 0.75,
        "explain": True,
    },
    "schedule": {
        "payment_dates": {
            "start": "2027-01-31",
            "end": "2030-01-31",
            "frequency": "semi_annual",
            "end_of_month": True,
            "rule": "modified_following",
            "calendar": {"base": "target"},
        },
        "day_count": "30E/360",
        "principal": 50000000,
        "annual_rates": 0.05,
        "profile": "annuity",
        "currency_code": "EUR",
    },
    "construction-funding": {
        "construction_cost": [20000000, 30000000, 25000000, 15000000],
        "gearing": 0.7,
        "rate_per_period": 0.015,
        "commitment_fee_per_period": 0.002,
        "upfront_fee": 0.02,
        "dsra_funding_at_end": 3000000,
    },
    "waterfall": {
        "cfads": [12.0, 6.0, 11.0],
        "senior_interest": [3.0, 2.8, 2.6],
        "senior_principal": [5.0, 5.0, 5.0],
        "dsra_target": 4.0,
        "dsra_open": 4.0,
        "mezz_open": 10.0,
        "mezz_rate": 0.05,
        "lockup_below": 1.15,
    },
    "covenants": {
        "lockup_below": 1.15,
        "default_below": 1.05,
        "lockup_release_at_or_above": 1.2,
        "ratios": [1.32, 1.1499999, None, 1.18, 1.2],
    },
    "day-count": {
        "day_count": "ACT/ACT ISDA",
        "periods": [{"start": "2027-11-01", "end": "2028-05-01"}],
    },
}


def _compute_example(name: str) -> Any:
    """Compute the response to the example with the code of the route."""
    request = read_request(name, msgspec.json.encode(EXAMPLES[name]))
    results = calculate(
        name, request.cases, explain=request.explain, pointers=request.pointers, deadline=Deadline()
    )
    return msgspec.json.decode(encode_json(request.names, results, is_single=request.is_single))


def _create_operation(name: str) -> HandlerOperation:
    calculator = CALCULATORS[name]
    return HandlerOperation(
        id=f"calculate{name.title().replace('-', '')}",
        tag=TAG,
        summary=_SUMMARIES[name],
        description=(
            "Stateless. Send one case, or several under `cases`; the response has the whole "
            "schedule, its conventions and warnings. Amounts and rates are float64, rates are "
            "fractions; `explain` adds to each headline figure its formula and inputs."
        ),
        parameters=(EXPLAIN_PARAMETER,),
        body=RequestBody(schema=request_schema(calculator.case), example=EXAMPLES[name]),
        responses={
            200: SuccessResponse(
                description="Calculated.",
                schema=response_schema(calculator.result),
                example=_compute_example(name),
                alternative_schemas=TABLE_SCHEMAS,
            )
        },
        problems=PROBLEMS,
    )


CALCULATOR_OPERATIONS: Final = {name: _create_operation(name) for name in CALCULATORS}

SIMULATION_EXAMPLE: Final[dict[str, Any]] = {
    "projects": [
        {
            "name": "Sierra Wind II",
            "sector": "wind",
            "country_code": "ESP",
            "currency_code": "EUR",
            "equity": [10, 15],
            "capex": [40, 60],
            "cfads": [0, 14, 14.5, 15, 15.5, 16, 16.5, 17, 17.5, 18],
            "interest": [0, 4, 3.5, 3, 2.5, 2, 1.4, 0.7],
            "principal": [0, 7, 7.5, 8, 8.5, 9, 9.8, 10.5],
            "hedged_share": 0.75,
        }
    ],
    "shocks": {
        "cfads": {
            "distribution": "lognormal",
            "median": 1.0,
            "sigma": 0.12,
            "loadings": {"global": 0.3, "sector": 0.4, "country": 0.2},
        },
        "capex": {"distribution": "triangular", "low": -0.05, "mode": 0.05, "high": 0.4},
        "delay": {"distribution": "uniform", "low": 0, "high": 0.25},
        "rates": {
            "distribution": "normal",
            "mean": 0,
            "standard_deviation": 0.01,
            "loadings": {"global": 1},
        },
    },
    "covenants": [{"name": "lock-up", "below": 1.15}, {"name": "default", "below": 1.05}],
    "discount_rate": 0.1,
    "scenarios": 2000,
    "seed": 2026,
}
SIMULATION_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "simulation_id": {"type": "string", "format": "uuid"},
        "requested_by": {"type": "string"},
        "request_sha256": {"type": "string"},
        "projects": {"type": "integer"},
        "scenarios": {"type": "integer"},
        "seed": {"type": "integer"},
        "engine": {"type": "string", "examples": ["spawn 0.1.0, numpy 2.4.6"]},
        "created_at": {"type": "string", "format": "date-time"},
        "updated_at": {"type": "string", "format": "date-time"},
        "job_url": {"type": "string"},
        "result": {"anyOf": [{"type": "null"}, output_schema(SimulationResult)]},
    },
    "required": ["simulation_id", "request_sha256", "seed", "job_url", "result"],
}
START_SIMULATION: Final = HandlerOperation(
    id="startSimulation",
    tag=TAG,
    summary="Simulate a portfolio under shocks",
    description=(
        "A job draws scenarios of CFADS, capex, delay and rates by a factor model and revalues "
        "every project. The same request gives the same result to the last digit. `DELETE` the "
        "job to stop it."
    ),
    parameters=("IdempotencyKey",),
    body=RequestBody(schema=input_schema(SimulationCase), example=SIMULATION_EXAMPLE),
    responses={
        202: SuccessResponse(
            description="Queued; `Location` is the address of the job.", schema=JobView
        )
    },
    problems=(*PROBLEMS, "idempotency_key_reused", "storage_full"),
)
GET_SIMULATION: Final = HandlerOperation(
    id="getSimulation",
    tag=TAG,
    summary="Get a simulation",
    description="`result` is null until the job has succeeded.",
    responses={200: SuccessResponse(description="The simulation.", schema=SIMULATION_SCHEMA)},
    problems=("not_found",),
)
