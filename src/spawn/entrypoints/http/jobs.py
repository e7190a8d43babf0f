"""Routes of jobs: how far long work is, and the way to end it."""

from typing import Final

from litestar import delete, get

from spawn.application.jobs import cancel_job, get_job
from spawn.entrypoints.http.imports import operations
from spawn.entrypoints.http.openapi.operation import described
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Reply, json_reply

JOBS: Final = "/v1/jobs"
_NEVER_STORED: Final[Header] = (b"cache-control", b"no-store")


@get(JOBS + "/{job_id:str}", opt=described(operations.GET_JOB))
async def read_job(request: StrictRequest) -> Reply:
    """How far a job is."""
    request.query()
    request.accepts("application/json")
    with request.surface.span("get_job"):
        stored = await get_job(request.services, request.principal, request.path_id("job_id"))
    headers: list[Header] = [_NEVER_STORED]
    if not stored.state.is_final:
        headers.append((b"retry-after", b"1"))
    return json_reply(stored.state, headers=headers)


@delete(JOBS + "/{job_id:str}", status_code=200, opt=described(operations.CANCEL_JOB))
async def end_job(request: StrictRequest) -> Reply:
    """Cancel a job."""
    request.query()
    request.accepts("application/json")
    with request.surface.span("cancel_job"):
        stored = await cancel_job(request.services, request.principal, request.path_id("job_id"))
    return json_reply(stored.state, headers=(_NEVER_STORED,))


ROUTES: Final = [read_job, end_job]
