"""Long work as an aggregate: what was asked for, how far it is and how it ended."""

from enum import StrEnum

import msgspec

from spawn.domain.errors import Conflict


class JobStatus(StrEnum):
    """Where a job stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Work done of work to do, both in the job's own unit (bytes of the file, for an import)."""

    done: int = 0
    total: int = 0


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job. `result_url` is a path below the API's root; `error` one sentence of a failed one."""

    job_id: str
    kind: str
    status: JobStatus = JobStatus.QUEUED
    progress: Progress = Progress()
    result_url: str | None = None
    error: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.status in FINAL


def advance(job: Job, done: int) -> Job:
    """The job running, with `done` units behind it.

    Raises:
        Conflict: the job has ended.
    """
    _refuse_if_final(job)
    progress = Progress(done, job.progress.total)
    return msgspec.structs.replace(job, status=JobStatus.RUNNING, progress=progress)


def succeed(job: Job, done: int) -> Job:
    """The job done.

    Raises:
        Conflict: the job has ended.
    """
    return msgspec.structs.replace(advance(job, done), status=JobStatus.SUCCEEDED)


def fail(job: Job, reason: str) -> Job:
    """The job ended by an error that `reason` explains.

    Raises:
        Conflict: the job has ended.
    """
    _refuse_if_final(job)
    return msgspec.structs.replace(job, status=JobStatus.FAILED, error=reason)


def cancel(job: Job) -> Job:
    """The job ended by its owner; what it has committed stays.

    Raises:
        Conflict: the job has ended.
    """
    _refuse_if_final(job)
    return msgspec.structs.replace(job, status=JobStatus.CANCELLED)


def _refuse_if_final(job: Job) -> None:
    if job.is_final:
        raise Conflict(f"the job has {job.status.value} already")
