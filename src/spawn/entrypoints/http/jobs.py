"""Routes of background jobs: read and cancel."""

from typing import Final

from litestar import delete, get

from spawn.application.jobs import cancel_job, get_job
from spawn.entrypoints.http.imports import operations
from spawn.entrypoints.http.openapi.operation import operation_options
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Response, json_response

JOBS: Final = "/v1/jobs"
_NO_STORE: Final[Header] = (b"cache-control", b"no-store")


@get(JOBS + "/{job_id:str}", opt=operation_options(operations.GET_JOB))
async def get_job_route(request: StrictRequest) -> Response:
    """Return the state and progress of a job."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    with request.http_state.span("get_job"):
        aggregate = await get_job(
            request.dependencies, request.principal, request.path_id("job_id")
        )
    headers: list[Header] = [_NO_STORE]
    if not aggregate.state.is_final:
        headers.append((b"retry-after", b"1"))
    return json_response(aggregate.state, headers=headers)


@delete(JOBS + "/{job_id:str}", status_code=200, opt=operation_options(operations.CANCEL_JOB))
async def cancel_job_route(request: StrictRequest) -> Response:
    """Cancel a job."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    with request.http_state.span("cancel_job"):
        aggregate = await cancel_job(
            request.dependencies, request.principal, request.path_id("job_id")
        )
    return json_response(aggregate.state, headers=(_NO_STORE,))


ROUTES: Final = [get_job_route, cancel_job_route]
