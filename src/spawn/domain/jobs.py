"""Background jobs as aggregates: kind, status and progress."""

from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.errors import Conflict

JOB_KIND: Final = "job"


class JobStatus(StrEnum):
    """The status of a job; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_STATUSES = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


class JobProgress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Completed and total work in the job's own unit (bytes for an import)."""

    done: int = 0
    total: int = 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job; its result is the aggregate with the job's own id; `error` is a failure's reason."""

    # Documents of earlier releases also have the address of the result, which is not read.
    job_id: str
    kind: str
    status: JobStatus = JobStatus.QUEUED
    progress: JobProgress = JobProgress()
    error: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self.status in FINAL_STATUSES


def advance(job: Job, units: int) -> Job:
    """Return the job as running, with `units` of work completed.

    Raises:
        Conflict: the job has ended.
    """
    _check_not_final(job)
    progress = JobProgress(units, job.progress.total)
    return msgspec.structs.replace(job, status=JobStatus.RUNNING, progress=progress)


def succeed(job: Job, units: int) -> Job:
    """Return the job as succeeded.

    Raises:
        Conflict: the job has ended.
    """
    return msgspec.structs.replace(advance(job, units), status=JobStatus.SUCCEEDED)


def fail(job: Job, reason: str) -> Job:
    """Return the job as failed for `reason`.

    Raises:
        Conflict: the job has ended.
    """
    _check_not_final(job)
    return msgspec.structs.replace(job, status=JobStatus.FAILED, error=reason)


def cancel(job: Job) -> Job:
    """Return the job as cancelled by its owner; its committed work stays.

    Raises:
        Conflict: the job has ended.
    """
    _check_not_final(job)
    return msgspec.structs.replace(job, status=JobStatus.CANCELLED)


def _check_not_final(job: Job) -> None:
    if job.is_final:
        raise Conflict(f"the job has {job.status.value} already")
