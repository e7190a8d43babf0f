"""Routes of simulations: submit one as a job, and get it under its own address."""

from typing import Final

from spawn.application.analysis.calculation_requests import read_simulation
from spawn.application.analysis.simulations import get_simulation, start_simulation
from spawn.application.struct_schemas import input_schema
from spawn.domain.finance.simulation.monte_carlo_case import SimulationCase
from spawn.domain.principal import Scope
from spawn.entrypoints.http.analysis.requests import parse_calculation_body
from spawn.entrypoints.http.analysis.routes import MAX_BODY_BYTES, PROBLEMS, TAG, is_large
from spawn.entrypoints.http.analysis.wire import SIMULATION_EXAMPLE, SimulationView
from spawn.entrypoints.http.jobs import (
    ACCEPTED_RESPONSE,
    SIMULATIONS,
    read_receipt,
    respond_to_submission,
)
from spawn.entrypoints.http.protocol.operation import IDEMPOTENCY_KEY, Body, Cache, Success
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.protocol.route import Route, route

SIMULATION_PATH: Final = "/v1/analysis/simulation"


@route(
    "POST",
    SIMULATION_PATH,
    "startSimulation",
    scopes=(Scope.ANALYSIS,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Simulate a portfolio under shocks",
    description=(
        "A job draws scenarios of CFADS, capex, delay and rates by a factor model and revalues "
        "every project. The same request gives the same result to the last digit. `DELETE` the "
        "job to stop it."
    ),
    parameters=(IDEMPOTENCY_KEY,),
    body=Body(input_schema(SimulationCase), example=SIMULATION_EXAMPLE, max_bytes=MAX_BODY_BYTES),
    returns=ACCEPTED_RESPONSE,
    problems=(*PROBLEMS, "idempotency_key_reused", "storage_full"),
)
async def submit_simulation(request: StrictRequest) -> Response:
    """Validate a simulation and queue it as a job."""
    pool = request.http_state.calculation_pool
    with request.http_state.jobs.reserve(request.context.client) as place:
        async with pool.slot(large=is_large(request)):
            body = await request.read_body()
            case = await pool.run(lambda _deadline: read_simulation(parse_calculation_body(body)))
            submission = await start_simulation(
                request.dependencies,
                request.principal,
                case,
                receipt=read_receipt(request, SIMULATION_PATH),
            )
        return await respond_to_submission(request, submission, place)


@route(
    "GET",
    SIMULATIONS + "/{simulation_id}",
    "getSimulation",
    scopes=(Scope.ANALYSIS,),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get a simulation",
    description="`result` is null until the job has succeeded.",
    returns=Success(SimulationView, "The simulation."),
    problems=("not_found",),
    cache=Cache.NO_STORE,
)
async def get_simulation_run(request: StrictRequest, simulation_id: str) -> SimulationView:
    """Get a simulation and, once its job has succeeded, its result."""
    return SimulationView.of_run(
        await get_simulation(request.dependencies, request.principal, simulation_id)
    )


ROUTES: Final[list[Route]] = [submit_simulation, get_simulation_run]
