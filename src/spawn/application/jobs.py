"""Background jobs: a bounded queue with limited concurrency, resumed after a crash.

The job's aggregate fences its work: each step writes the job's next version, so that a cancelled
job, or one that another runner took, cannot commit a further step.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from spawn.application.commands import MAX_PAUSE_S, MIN_PAUSE_S, Decision, execute
from spawn.application.dependencies import Dependencies, require
from spawn.application.lineage.recorder import end_job_run
from spawn.application.traffic.shared_places import SharedPlaces
from spawn.domain import jobs
from spawn.domain.change import (
    IdempotencyReceipt,
    StoredAggregate,
    StoredResponse,
    VersionReference,
    Write,
)
from spawn.domain.errors import (
    Conflict,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    SpawnError,
    Unavailable,
)
from spawn.domain.jobs import FINAL_STATUSES, JOB_KIND, Job, JobStatus
from spawn.domain.principal import SERVICE_PRINCIPAL, Principal, Scope
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Page, Query

ABANDONED_AFTER = timedelta(hours=1)
"""Age from which an unfinished job without an upload is treated as abandoned."""

MAX_SLOW_ATTEMPTS = 5
"""Attempts after which a job whose queries exceed their deadline fails."""

JobHandler = Callable[[Dependencies, str, Executor], Awaitable[None]]
"""Function that runs a job to its end, with all its writes; raises when the job fails."""


class StartTask(Protocol):
    """Function that starts a named task, and may start it again after a failure."""

    def __call__(
        self, name: str, work: Callable[[], Coroutine[Any, Any, None]], *, is_endless: bool
    ) -> asyncio.Task[None]:
        """Start the task; `is_endless` says that it never ends without a failure."""
        ...


def _start_task(
    name: str, work: Callable[[], Coroutine[Any, Any, None]], *, is_endless: bool
) -> asyncio.Task[None]:
    del is_endless  # nobody watches it
    return asyncio.create_task(work(), name=name)


_OTHER_SCOPES: Final[Mapping[str, tuple[Scope, Scope]]] = {
    "simulation": (Scope.ANALYSIS, Scope.ANALYSIS)
}
"""Scopes to read and to cancel the jobs of a kind, if others than those of imports."""


async def get_job(
    dependencies: Dependencies, principal: Principal, job_id: str
) -> StoredAggregate[Job]:
    """Return the current state of a job.

    Raises:
        NotFound: no such job.
    """
    job: StoredAggregate[Job] = await dependencies.reads.get(JOB_KIND, job_id)
    require(principal, _scopes_of(job.state)[0])
    return job


async def cancel_job(
    dependencies: Dependencies, principal: Principal, job_id: str
) -> StoredAggregate[Job]:
    """Cancel a job; committed work stays, and the runner stops at its next step.

    Raises:
        NotFound: no such job.
        Conflict: the job has already ended.
    """
    job: StoredAggregate[Job] = await dependencies.reads.get(JOB_KIND, job_id)
    require(principal, _scopes_of(job.state)[1])
    return await _change_job(dependencies, principal, job_id, jobs.cancel)


def _scopes_of(job: Job) -> tuple[Scope, Scope]:
    return _OTHER_SCOPES.get(job.kind, (Scope.PROJECTS_READ, Scope.PROJECTS_WRITE))


async def _change_job(
    dependencies: Dependencies, principal: Principal, job_id: str, decide: Callable[[Job], Job]
) -> StoredAggregate[Job]:
    async def decide_end() -> Decision:
        before: StoredAggregate[Job] = await dependencies.reads.get(JOB_KIND, job_id)
        after = decide(before.state)
        run_writes, events = await end_job_run(dependencies, after)
        write = Write(JOB_KIND, job_id, before.version, after)
        return Decision(writes=(write, *run_writes), events=events)

    conflict = "The job kept changing meanwhile; try again."
    await execute(dependencies, principal.id, decide_end, conflict=conflict)
    return await dependencies.reads.get(JOB_KIND, job_id)


class SubmittedJob(msgspec.Struct, frozen=True):
    """A job that was submitted, or the stored response of the same earlier request."""

    job: Job | None
    replayed_response: StoredResponse | None = None


async def submit_job(
    dependencies: Dependencies,
    principal: Principal,
    job: Job,
    decide: Callable[[], Awaitable[Decision]],
    *,
    content_sha256: str,
    receipt: IdempotencyReceipt | None,
) -> SubmittedJob:
    """Record a queued job together with the aggregate that it works on.

    Args:
        dependencies: the ports.
        principal: the caller.
        job: the job, whose upload is in the spool; it stays there only if the job is new.
        decide: returns the writes that belong to the job, and their events.
        content_sha256: the hash of the upload, in hexadecimal.
        receipt: the receipt of an idempotent request, whose key lacks the hash of the content.

    Raises:
        IdempotencyMismatch: the key was used for other content.
        StorageFull, Overloaded, Unavailable: nothing was stored.
    """
    if receipt is not None:
        receipt = IdempotencyReceipt(receipt.key.for_content(content_sha256), receipt.recipe)

    async def decide_job() -> Decision:
        decision = await decide()
        write = Write(JOB_KIND, job.job_id, 0, job)
        subject = VersionReference(JOB_KIND, job.job_id, 1)
        return msgspec.structs.replace(decision, writes=(write, *decision.writes), subject=subject)

    try:
        outcome = await execute(
            dependencies, principal.id, decide_job, receipt=receipt, lost_races=()
        )
    except SpawnError:
        await dependencies.spool.discard(job.job_id)
        raise
    replayed_response = outcome.result.replayed_response if outcome.result else None
    if replayed_response is not None:
        await dependencies.spool.discard(job.job_id)
        return SubmittedJob(None, replayed_response)
    return SubmittedJob(job)


class JobEnded(Exception):
    """The job has ended, or another runner works on it: its runner stops."""


async def load_running_job(dependencies: Dependencies, job_id: str) -> StoredAggregate[Job]:
    """Load a job for the next step of its work.

    Raises:
        JobEnded: no step may follow.
    """
    job: StoredAggregate[Job] = await dependencies.reads.get(JOB_KIND, job_id)
    if job.state.is_final:
        raise JobEnded
    return job


class QueuePlace:
    """A reserved place in the queue of jobs."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.is_used = False


class JobRunner:
    """Runner of queued jobs: `concurrency` at a time, `queue_limit` waiting.

    A job that the store is unavailable for is queued again after a pause, which doubles. `on_error`
    is called with each failure, for the log. `start_task` starts the workers, `sleep` waits out a
    pause.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        handlers: Mapping[str, JobHandler],
        *,
        concurrency: int = 1,
        queue_limit: int = 16,
        on_error: Callable[[str, BaseException], None] | None = None,
        start_task: StartTask = _start_task,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._start_task = start_task
        self._sleep = sleep
        self._attempts: dict[str, int] = {}
        self._retries: set[asyncio.Task[None]] = set()
        self._dependencies = dependencies
        self._handlers = handlers
        self._concurrency = concurrency
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._places = SharedPlaces(queue_limit)
        self._clients: dict[str, str] = {}
        self._on_error = on_error or (lambda _job_id, _error: None)
        self._tasks: list[asyncio.Task[None]] = []
        self._resume_task: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(concurrency, thread_name_prefix="spawn-job")
        self.running = 0
        self.run_counts: Counter[tuple[str, str]] = Counter()
        """Runs by kind of job and outcome: `ended`, `failed` or `retry`."""

    @property
    def waiting_count(self) -> int:
        """Jobs in the queue, and those whose retry is due later."""
        return self._queue.qsize() + len(self._retries)

    async def start(self) -> None:
        """Start the workers and queue the jobs that a crash left unfinished."""
        # Uploads that arrive from now on get their job soon and are no leftovers of a crash.
        uploads = await asyncio.to_thread(lambda: set(self._dependencies.spool.names()))
        self._tasks = [
            self._start_task("job queue", self._run_queue, is_endless=True)
            for _ in range(self._concurrency)
        ]
        self._resume_task = self._start_task(
            "resumption of jobs", partial(self._resume, uploads), is_endless=False
        )
        self._tasks.append(self._resume_task)

    async def close(self) -> None:
        """Stop after the current step; unfinished jobs resume at the next start."""
        tasks = [*self._tasks, *self._retries]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)

    async def drain(self) -> None:
        """Wait until every job submitted or resumed so far has had its turn.

        A job has ended then and its upload is deleted, unless the store was unavailable for it.
        """
        if self._resume_task is not None:
            await asyncio.wait({self._resume_task})
        await self._queue.join()

    @contextmanager
    def reserve(self, client: str) -> Iterator[QueuePlace]:
        """Reserve a place in the queue for a job of the client, before its file is uploaded.

        It is released at the end of the block, unless a job was submitted for it.

        Raises:
            Overloaded: the queue is full, or has too many jobs of the client.
        """
        if not self._places.take(client):
            raise Overloaded(
                f"{self._places.held_by(client)} jobs of this client are waiting already, and"
                f" {self._places.in_use} in all; try again later.",
                retry_after_s=10.0,
            )
        place = QueuePlace(client)
        try:
            yield place
        finally:
            if not place.is_used:
                self._places.release(client)

    def submit(self, job_id: str, place: QueuePlace | None = None) -> None:
        """Queue a job that is recorded as queued; it uses its place until it runs."""
        if place is not None:
            place.is_used = True
            self._clients[job_id] = place.client
        self._queue.put_nowait(job_id)

    async def _resume(self, uploads: set[str]) -> None:
        for job_id in await self._find_unfinished(uploads):
            self._queue.put_nowait(job_id)
        await self._fail_abandoned(uploads)

    async def _run_queue(self) -> None:
        while True:
            job_id = await self._queue.get()
            client = self._clients.pop(job_id, None)
            if client is not None:
                self._places.release(client)
            task = asyncio.create_task(self._run(job_id))
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait({task})
                raise
            finally:
                self._queue.task_done()
            error = task.exception()
            if isinstance(error, Unavailable):
                self._retry_later(job_id)
            else:
                self._attempts.pop(job_id, None)
            if error is not None:
                self._on_error(job_id, error)

    def _retry_later(self, job_id: str) -> None:
        """Queue a job again after a pause, which doubles from attempt to attempt."""
        attempts = self._attempts[job_id] = self._attempts.get(job_id, 0) + 1
        pause_s = min(MIN_PAUSE_S * 2**attempts, MAX_PAUSE_S)

        async def queue_again() -> None:
            await self._sleep(pause_s)
            self._queue.put_nowait(job_id)

        task = asyncio.create_task(queue_again(), name=f"retry of job {job_id}")
        self._retries.add(task)
        task.add_done_callback(self._retries.discard)

    async def _run(self, job_id: str) -> None:
        """Run one job and record why it failed."""
        aggregate: StoredAggregate[Job] = await self._dependencies.reads.get(JOB_KIND, job_id)
        if not aggregate.state.is_final:
            kind = aggregate.state.kind
            error = await self._run_handler(kind, job_id)
            is_too_slow = (
                isinstance(error, DeadlineExceeded)
                and self._attempts.get(job_id, 0) + 1 >= MAX_SLOW_ATTEMPTS
            )
            if isinstance(error, Unavailable) and not is_too_slow:
                # The store cannot write now: keep the upload and the checkpoint.
                self.run_counts[kind, "retry"] += 1
                raise error
            self.run_counts[kind, "ended" if error is None else "failed"] += 1
            if error is not None:
                await self._record_failure(job_id, error)
                self._on_error(job_id, error)
        await self._dependencies.spool.discard(job_id)

    async def _run_handler(self, kind: str, job_id: str) -> BaseException | None:
        """Run the handler of a job to its end, and return its error."""
        handler = self._handlers[kind]
        task = asyncio.ensure_future(handler(self._dependencies, job_id, self._executor))
        self.running += 1
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        finally:
            self.running -= 1
        return task.exception()

    async def _record_failure(self, job_id: str, error: BaseException) -> None:
        reason = error.detail if isinstance(error, SpawnError) else "an internal error"
        try:
            await _change_job(
                self._dependencies,
                SERVICE_PRINCIPAL,
                job_id,
                lambda job: jobs.fail(job, reason[:1000]),
            )
        except Conflict:
            return  # The job has ended meanwhile, for instance by a cancellation.

    async def _find_unfinished(self, uploads: set[str]) -> list[str]:
        """Return the unfinished jobs of the uploads, oldest first; delete other uploads."""
        unfinished_ids: list[str] = []
        for name in sorted(uploads):
            try:
                aggregate: StoredAggregate[Job] = await self._dependencies.reads.get(JOB_KIND, name)
            except NotFound:
                await self._dependencies.spool.discard(name)  # Never acknowledged: it has no job.
                continue
            if aggregate.state.is_final:
                await self._dependencies.spool.discard(name)
            else:
                unfinished_ids.append(name)
        return unfinished_ids

    async def _fail_abandoned(self, uploads: set[str]) -> None:
        """Fail unfinished jobs whose upload is gone, so that no client waits for them for ever."""
        limit = self._dependencies.clock.now() - ABANDONED_AFTER
        missing_upload = NotFound("the uploaded file is gone; post it again")
        unfinished = tuple(status.value for status in JobStatus if status not in FINAL_STATUSES)
        filters = (
            Filter("status", Operator.IN, unfinished),
            Filter("updated_at", Operator.LT, (limit,)),
        )
        query: Query | None = Query(kind=JOB_KIND, filters=filters, limit=MAX_LIMIT)
        while query is not None:
            page: Page[StoredAggregate[Job]] = await self._dependencies.reads.page(query)
            for aggregate in page.items:
                if aggregate.id not in uploads:
                    await self._record_failure(aggregate.id, missing_upload)
            query = msgspec.structs.replace(query, after=page.next) if page.next else None
