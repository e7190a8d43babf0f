"""Jobs that the store is unavailable for are queued again, and end once it is back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Any

import pytest

from spawn.application.commands import Decision, execute
from spawn.application.dependencies import Dependencies
from spawn.application.jobs import (
    MAX_SLOW_ATTEMPTS,
    JobRunner,
    cancel_job,
    get_job,
    submit_job,
)
from spawn.domain import jobs
from spawn.domain.change import Write
from spawn.domain.errors import DeadlineExceeded, SpawnError, StorageFull, Unavailable
from spawn.domain.jobs import JOB_KIND, Job, JobStatus
from spawn.domain.principal import Principal

ANALYST = Principal(id="analyst")


class Pauses:
    """Pauses that end when the test says so."""

    def __init__(self) -> None:
        self.lengths_s: list[float] = []
        self._gate = asyncio.Semaphore(0)

    async def sleep(self, pause_s: float) -> None:
        self.lengths_s.append(pause_s)
        await self._gate.acquire()

    def end(self) -> None:
        self._gate.release()


class Work:
    """A job handler that raises the given errors in turn, then succeeds."""

    def __init__(self, *errors: SpawnError) -> None:
        self._errors = list(errors)
        self.attempts: list[str] = []

    async def run(self, dependencies: Dependencies, job_id: str, _: Executor) -> None:
        self.attempts.append(job_id)
        if self._errors:
            raise self._errors.pop(0)

        async def decide() -> Decision:
            job = await dependencies.reads.get(JOB_KIND, job_id)
            write = jobs.succeed(job.state, 1)
            return Decision(writes=(Write(JOB_KIND, job_id, job.version, write),))

        await execute(dependencies, "service", decide)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- the runner has no event
            await asyncio.sleep(0)


async def a_job(dependencies: Dependencies) -> str:
    """Submit a job with an upload and return its id."""
    job_id = dependencies.ids.new()

    async def upload() -> AsyncIterator[bytes]:
        yield b"content"

    async def decide() -> Decision:
        return Decision()

    await dependencies.spool.receive(job_id, upload())
    job = Job(job_id=job_id, kind="work")
    await submit_job(dependencies, ANALYST, job, decide, content_sha256="0" * 64, receipt=None)
    return job_id


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


async def status_of(dependencies: Dependencies, job_id: str) -> JobStatus:
    return (await get_job(dependencies, ANALYST, job_id)).state.status


async def test_a_job_is_tried_again_until_the_store_is_back(
    dependencies: Dependencies, pauses: Pauses
) -> None:
    work, errors = Work(StorageFull("full"), Unavailable("gone")), list[Any]()
    runner = JobRunner(
        dependencies,
        {"work": work.run},
        sleep=pauses.sleep,
        on_error=lambda _, error: errors.append(type(error)),
    )
    await runner.start()
    job_id, other = await a_job(dependencies), await a_job(dependencies)
    runner.submit(job_id)
    await until(lambda: len(pauses.lengths_s) == 1)
    runner.submit(other)
    await until(lambda: len(pauses.lengths_s) == 2)
    assert await status_of(dependencies, job_id) is JobStatus.QUEUED
    assert set(dependencies.spool.names()) == {job_id, other}
    pauses.end()
    pauses.end()
    await until(lambda: not list(dependencies.spool.names()))
    await runner.close()
    assert work.attempts == [job_id, other, job_id, other]
    assert await status_of(dependencies, job_id) is JobStatus.SUCCEEDED
    assert await status_of(dependencies, other) is JobStatus.SUCCEEDED
    assert errors == [StorageFull, Unavailable]


async def test_the_pauses_double_and_a_job_that_is_always_too_slow_fails(
    dependencies: Dependencies, pauses: Pauses
) -> None:
    work = Work(*[DeadlineExceeded("too slow")] * MAX_SLOW_ATTEMPTS)
    runner = JobRunner(dependencies, {"work": work.run}, sleep=pauses.sleep)
    await runner.start()
    job_id = await a_job(dependencies)
    runner.submit(job_id)
    for _ in range(MAX_SLOW_ATTEMPTS):
        pauses.end()
    await until(lambda: not list(dependencies.spool.names()))
    await runner.close()
    job = (await get_job(dependencies, ANALYST, job_id)).state
    assert (job.status, job.error) == (JobStatus.FAILED, "too slow")
    assert pauses.lengths_s == [0.5, 1.0, 2.0, 4.0]


async def test_a_job_cancelled_between_two_attempts_is_not_tried_again(
    dependencies: Dependencies, pauses: Pauses
) -> None:
    work = Work(Unavailable("gone"))
    runner = JobRunner(dependencies, {"work": work.run}, sleep=pauses.sleep)
    await runner.start()
    job_id = await a_job(dependencies)
    runner.submit(job_id)
    await until(lambda: len(pauses.lengths_s) == 1)
    await cancel_job(dependencies, ANALYST, job_id)
    pauses.end()
    await until(lambda: not list(dependencies.spool.names()))
    await runner.close()
    assert work.attempts == [job_id]


async def test_closing_ends_the_pauses_and_keeps_the_upload(
    dependencies: Dependencies, pauses: Pauses
) -> None:
    work = Work(Unavailable("gone"))
    runner = JobRunner(dependencies, {"work": work.run}, sleep=pauses.sleep)
    await runner.start()
    job_id = await a_job(dependencies)
    runner.submit(job_id)
    await until(lambda: len(pauses.lengths_s) == 1)
    async with asyncio.timeout(10):
        await runner.close()
    assert list(dependencies.spool.names()) == [job_id]
