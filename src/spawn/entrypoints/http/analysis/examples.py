"""What the routes of analysis say of themselves in OpenAPI, with examples that are computed."""

from typing import Any, Final

import msgspec

from spawn.application.analysis.calculation import Deadline, calculate
from spawn.application.analysis.calculators import CALCULATORS
from spawn.domain.finance.simulation.monte_carlo_case import SimulationCase, SimulationResult
from spawn.entrypoints.http.analysis.requests import read_request
from spawn.entrypoints.http.analysis.responses import ARROW, CSV, as_json
from spawn.entrypoints.http.imports.operations import JOB_SCHEMA
from spawn.entrypoints.http.openapi.operation import Body, Operation, Success
from spawn.entrypoints.http.openapi.struct_schemas import (
    answer_schema,
    input_schema,
    output_schema,
    request_schema,
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
EXPLAIN: Final[dict[str, Any]] = {
    "name": "explain",
    "in": "query",
    "required": False,
    "description": "As `explain` in the body: formula and inputs of each headline figure.",
    "schema": {"type": "string", "enum": ["true", "false"]},
}
TABLES: Final[dict[str, dict[str, Any]]] = {
    CSV: {"type": "string", "description": "The rows of the schedule, one a line."},
    ARROW: {
        "type": "string",
        "format": "binary",
        "description": "The rows as an Arrow IPC stream, where the extra `arrow` is installed.",
    },
}
_SUMMARIES: Final = {
    "returns": "Rates of return and present value of a series",
    "debt-sizing": "Size debt on CFADS, targets and gearing",
    "schedule": "Payment dates, and the loan repaid on them",
    "construction-funding": "Fund construction with debt and equity",
    "waterfall": "Pay cash down the order of claims",
    "covenants": "Test a covenant over its dates",
    "day-count": "Days and year fractions",
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


def _computed(name: str) -> Any:
    """The answer to the example, by the very code that answers."""
    asked = read_request(name, msgspec.json.encode(EXAMPLES[name]))
    found = calculate(
        name, asked.cases, explain=asked.explain, pointers=asked.pointers, deadline=Deadline()
    )
    return msgspec.json.decode(as_json(asked.names, found, single=asked.single))


def _operation(name: str) -> Operation:
    calculator = CALCULATORS[name]
    return Operation(
        id=f"calculate{name.title().replace('-', '')}",
        tag=TAG,
        summary=_SUMMARIES[name],
        description=(
            "Stateless. One case, or several under `cases`; the answer has the whole schedule, the "
            "conventions used and warnings. Amounts and rates are float64, rates are fractions; "
            "`explain` adds to each headline figure its formula and inputs."
        ),
        parameters=(EXPLAIN,),
        body=Body(schema=request_schema(calculator.case), example=EXAMPLES[name]),
        answers={
            200: Success(
                description="Calculated.",
                schema=answer_schema(calculator.result),
                example=_computed(name),
                also=TABLES,
            )
        },
        problems=PROBLEMS,
    )


CALCULATIONS: Final = {name: _operation(name) for name in CALCULATORS}

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
RUN_SCHEMA: Final[dict[str, Any]] = {
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
START_SIMULATION: Final = Operation(
    id="startSimulation",
    tag=TAG,
    summary="Simulate a portfolio under shocks",
    description=(
        "A job draws scenarios of CFADS, capex, delay and rates by a factor model and revalues "
        "every project. The same request gives the same result to the last digit. `DELETE` of the "
        "job stops it."
    ),
    parameters=("IdempotencyKey",),
    body=Body(schema=input_schema(SimulationCase), example=SIMULATION_EXAMPLE),
    answers={
        202: Success(description="Queued; `Location` is the job's address.", schema=JOB_SCHEMA)
    },
    problems=(*PROBLEMS, "idempotency_key_reused", "storage_full"),
)
GET_SIMULATION: Final = Operation(
    id="getSimulation",
    tag=TAG,
    summary="What came of a simulation",
    description="`result` is null until the job has succeeded.",
    answers={200: Success(description="The simulation.", schema=RUN_SCHEMA)},
    problems=("not_found",),
)
