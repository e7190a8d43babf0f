"""Routes of simulations: submit one as a job, and get it under its own address."""

from typing import Any, Final

import msgspec
from litestar import get, post

from spawn.application.analysis.calculation import CalculationPool
from spawn.application.analysis.simulations import get_simulation, start_simulation
from spawn.application.jobs import JobRunner
from spawn.domain.change import StoredAggregate
from spawn.domain.finance.simulation.simulation_run import SimulationRun
from spawn.entrypoints.http.analysis import examples
from spawn.entrypoints.http.analysis.requests import read_simulation
from spawn.entrypoints.http.analysis.routes import MAX_BODY_BYTES, is_large
from spawn.entrypoints.http.jobs import JOBS, SIMULATIONS, read_receipt, respond_to_submission
from spawn.entrypoints.http.openapi.handler_operation import operation_options
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Response, json_response

SIMULATION_PATH: Final = "/v1/analysis/simulation"
_NO_STORE: Final[Header] = (b"cache-control", b"no-store")


@post(
    SIMULATION_PATH,
    status_code=202,
    request_max_body_size=MAX_BODY_BYTES,
    opt=operation_options(examples.START_SIMULATION),
)
async def submit_simulation(request: StrictRequest) -> Response:
    """Validate a simulation and queue it as a job."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    runner: JobRunner = request.http_state.jobs
    pool: CalculationPool = request.http_state.calculation_pool
    runner.check_capacity()
    async with pool.slot(large=is_large(request)):
        body = await request.read_body(limit=MAX_BODY_BYTES)
        case = await pool.run(lambda _deadline: read_simulation(body))
        with request.http_state.span("start_simulation"):
            submission = await start_simulation(
                request.dependencies,
                request.principal,
                case,
                receipt=read_receipt(request, SIMULATION_PATH),
            )
    return await respond_to_submission(request, submission)


@get(SIMULATIONS + "/{simulation_id:str}", opt=operation_options(examples.GET_SIMULATION))
async def get_simulation_run(request: StrictRequest) -> Response:
    """Get a simulation and, once its job has succeeded, its result."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    with request.http_state.span("get_simulation"):
        simulation = await get_simulation(
            request.dependencies, request.principal, request.path_id("simulation_id")
        )
    return json_response(_simulation_fields(simulation), headers=(_NO_STORE,))


def _simulation_fields(simulation: StoredAggregate[SimulationRun]) -> dict[str, Any]:
    fields = msgspec.structs.asdict(simulation.state)
    result = fields.pop("result")
    return {
        **fields,
        "created_at": simulation.created_at,
        "updated_at": simulation.updated_at,
        "job_url": f"{JOBS}/{simulation.id}",
        "result": result,
    }


ROUTES: Final = [submit_simulation, get_simulation_run]
