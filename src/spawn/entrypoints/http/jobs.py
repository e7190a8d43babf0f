"""Routes of background jobs: read and cancel."""

from typing import Final

from litestar import delete, get

from spawn.application.dependencies import Dependencies
from spawn.application.jobs import cancel_job, get_job
from spawn.domain.change import ResponseRecipe, StoredAggregate
from spawn.domain.jobs import Job
from spawn.entrypoints.http.imports import operations
from spawn.entrypoints.http.openapi.operation import operation_options
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Response, json_response

JOBS: Final = "/v1/jobs"
CODEC: Final = "accepted-job.v1"
"""Name of the codec of submissions in receipts."""

ACCEPTED: Final = ResponseRecipe(codec=CODEC, status=202)
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


def render_accepted(job: Job) -> Response:
    """Return the response to a request that submitted a job."""
    headers: list[Header] = [
        (b"location", f"{JOBS}/{job.job_id}".encode()),
        (b"retry-after", b"1"),
    ]
    return json_response(job, status=202, headers=headers)


async def render_recipe(dependencies: Dependencies, recipe: ResponseRecipe) -> Response:
    """Render the response to a submission again, from the job as it was then."""
    subject = recipe.subject
    if subject is None:
        raise RuntimeError("the receipt of a submission must refer to a job")
    aggregate: StoredAggregate[Job] = await dependencies.reads.get(
        subject.kind, subject.id, version=subject.version
    )
    return render_accepted(aggregate.state)


ROUTES: Final = [get_job_route, cancel_job_route]
