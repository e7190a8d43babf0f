"""Routes of simulations: one is ordered as a job, and its result read under its own address."""

from typing import Any, Final

import msgspec
from litestar import get, post

from spawn.application.analysis.calculation import Workbench
from spawn.application.analysis.simulations import get_simulation, start_simulation
from spawn.application.imports.commands import KeyUse
from spawn.application.jobs import JobRunner
from spawn.domain.change import Stored
from spawn.domain.finance.simulation.simulation_run import SimulationRun
from spawn.domain.jobs import Job
from spawn.entrypoints.http.analysis import examples
from spawn.entrypoints.http.analysis.requests import read_simulation
from spawn.entrypoints.http.analysis.routes import MAX_BODY_BYTES, is_large
from spawn.entrypoints.http.jobs import JOBS
from spawn.entrypoints.http.openapi.operation import described
from spawn.entrypoints.http.protocol.preconditions import answer_of, reply_of
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Reply, json_reply

SIMULATION: Final = "/v1/analysis/simulation"
SIMULATIONS: Final = "/v1/analysis/simulations"
_NEVER_STORED: Final[Header] = (b"cache-control", b"no-store")


@post(
    SIMULATION,
    status_code=202,
    request_max_body_size=MAX_BODY_BYTES,
    opt=described(examples.START_SIMULATION),
)
async def start(request: StrictRequest) -> Reply:
    """Take a simulation in and queue it."""
    request.query()
    request.accepts("application/json")
    runner: JobRunner = request.app.state.jobs
    bench: Workbench = request.app.state.workbench
    runner.check_room()
    async with bench.admitted(large=is_large(request)):
        body = await request.bytes_of(limit=MAX_BODY_BYTES)
        case = await bench.run(lambda _deadline: read_simulation(body))
        with request.surface.span("start_simulation"):
            ordered = await start_simulation(
                request.services, request.principal, case, key=_key_use(request)
            )
    if ordered.job is None:
        if ordered.replayed is None:
            raise RuntimeError("an order that was not replayed has a job")
        return reply_of(ordered.replayed)
    await runner.submit(ordered.job.job_id)
    return _accepted(ordered.job)


@get(SIMULATIONS + "/{simulation_id:str}", opt=described(examples.GET_SIMULATION))
async def read_simulation_run(request: StrictRequest) -> Reply:
    """A simulation and, once there is one, its result."""
    request.query()
    request.accepts("application/json")
    with request.surface.span("get_simulation"):
        stored = await get_simulation(
            request.services, request.principal, request.path_id("simulation_id")
        )
    return json_reply(_fields(stored), headers=(_NEVER_STORED,))


def _fields(stored: Stored[SimulationRun]) -> dict[str, Any]:
    fields = msgspec.structs.asdict(stored.state)
    result = fields.pop("result")
    return {
        **fields,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
        "job_url": f"{JOBS}/{stored.id}",
        "result": result,
    }


def _key_use(request: StrictRequest) -> KeyUse | None:
    key = request.idempotency_key()
    if key is None:
        return None
    return KeyUse(
        scope=f"{request.principal.id} POST {SIMULATION}",
        key=key,
        content_type=request.field(b"content-type") or "",
        answer=lambda job: answer_of(_accepted(job)),
    )


def _accepted(job: Job) -> Reply:
    headers: list[Header] = [
        (b"location", f"{JOBS}/{job.job_id}".encode()),
        (b"retry-after", b"1"),
    ]
    return json_reply(job, status=202, headers=headers)


ROUTES: Final = [start, read_simulation_run]
