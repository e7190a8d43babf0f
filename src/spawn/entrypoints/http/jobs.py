"""Routes of background jobs: read and cancel."""

from typing import Annotated, Final

from msgspec import Meta

from spawn.application.analysis.simulations import SIMULATION_JOB
from spawn.application.dependencies import Dependencies
from spawn.application.imports.commands import IMPORT_JOB
from spawn.application.jobs import QueuePlace, SubmittedJob, cancel_job, get_job
from spawn.domain.change import IdempotencyKey, IdempotencyReceipt, ResponseRecipe, StoredAggregate
from spawn.domain.jobs import Job, JobStatus
from spawn.domain.principal import Scope
from spawn.entrypoints.http.protocol.idempotency import render_stored_response
from spawn.entrypoints.http.protocol.operation import Cache, Success
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Response, json_response
from spawn.entrypoints.http.protocol.route import Result, Route, route
from spawn.entrypoints.http.wire import Count, ResourceId, WireStruct
from spawn.entrypoints.request_context import public_path

JOBS: Final = "/v1/jobs"
IMPORTS: Final = "/v1/ops/imports"
SIMULATIONS: Final = "/v1/analysis/simulations"
RESULTS: Final = {IMPORT_JOB: IMPORTS, SIMULATION_JOB: SIMULATIONS}
"""Path of the results of each kind of job; a result has the id of its job."""

CODEC: Final = "accepted-job.v1"
"""Name of the codec of submissions in receipts."""

ACCEPTED: Final = ResponseRecipe(codec=CODEC, status=202)


class JobProgressView(WireStruct, frozen=True):
    """Completed and total work, in the job's own unit."""

    done: Count
    total: Count


class JobView(WireStruct, frozen=True):
    """A background job; once it has succeeded, `result_url` is the address of its result."""

    job_id: ResourceId
    kind: Annotated[str, Meta(examples=["import"])]
    status: JobStatus
    progress: JobProgressView
    result_url: str | None
    error: str | None


def view_job(job: Job) -> JobView:
    """Return a job with the address of its result, if its kind has results."""
    path = RESULTS.get(job.kind)
    result_url = None if path is None else public_path(f"{path}/{job.job_id}")
    return JobView.of(job, result_url=result_url)


ACCEPTED_RESPONSE: Final = Success(
    JobView, "Queued; `Location` is the address of the job.", status=202, headers=("Location",)
)
"""Declaration of the response to a submission."""


@route(
    "GET",
    JOBS + "/{job_id}",
    "getJob",
    scopes=(Scope.PROJECTS_READ, Scope.ANALYSIS),
    serves_row_scopes=True,
    tag="jobs",
    summary="Get a job",
    returns=Success(JobView, "The job"),
    problems=("not_found",),
    cache=Cache.NO_STORE,
)
async def get_job_route(request: StrictRequest, job_id: str) -> JobView | Result:
    """Return the state and progress of a job."""
    job = (await get_job(request.dependencies, request.principal, job_id)).state
    if job.is_final:
        return view_job(job)
    return Result(view_job(job), ((b"retry-after", b"1"),))


@route(
    "DELETE",
    JOBS + "/{job_id}",
    "cancelJob",
    scopes=(Scope.PROJECTS_WRITE, Scope.ANALYSIS),
    serves_row_scopes=True,
    tag="jobs",
    summary="Cancel a job",
    description="Projects that the job has committed already stay.",
    returns=Success(JobView, "The job, cancelled"),
    problems=("not_found", "conflict"),
    cache=Cache.NO_STORE,
)
async def cancel_job_route(request: StrictRequest, job_id: str) -> JobView:
    """Cancel a job."""
    return view_job((await cancel_job(request.dependencies, request.principal, job_id)).state)


def render_accepted(job: Job) -> Response:
    """Return the response to a request that submitted a job."""
    headers: list[Header] = [
        (b"location", f"{JOBS}/{job.job_id}".encode()),
        (b"retry-after", b"1"),
    ]
    return json_response(view_job(job), status=202, headers=headers)


def read_receipt(request: StrictRequest, path: str, *parameters: str) -> IdempotencyReceipt | None:
    """Return the receipt of a request that submits a job; None without an idempotency key.

    Args:
        request: the request, whose content is hashed later.
        path: the canonical path.
        parameters: the parts of the request that are not in its content.
    """
    key = request.idempotency_key()
    if key is None:
        return None
    content_type = request.header(b"content-type") or ""
    idempotency_key = IdempotencyKey(
        scope=f"{request.principal.id} POST {path}",
        key=key,
        fingerprint=" ".join((content_type, *parameters)),
    )
    return IdempotencyReceipt(idempotency_key, ACCEPTED)


async def respond_to_submission(
    request: StrictRequest, submission: SubmittedJob, place: QueuePlace
) -> Response:
    """Queue a job that is new and acknowledge it, or repeat the first response."""
    if submission.job is None:
        if submission.replayed_response is None:
            raise RuntimeError("a submission that was not replayed must have a job")
        return await render_stored_response(request, submission.replayed_response)
    request.http_state.jobs.submit(submission.job.job_id, place)
    return render_accepted(submission.job)


async def render_recipe(dependencies: Dependencies, recipe: ResponseRecipe) -> Response:
    """Render the response to a submission again, from the job as it was then."""
    subject = recipe.subject
    if subject is None:
        raise RuntimeError("the receipt of a submission must refer to a job")
    aggregate: StoredAggregate[Job] = await dependencies.reads.get(
        subject.kind, subject.id, version=subject.version
    )
    return render_accepted(aggregate.state)


ROUTES: Final[list[Route]] = [get_job_route, cancel_job_route]
