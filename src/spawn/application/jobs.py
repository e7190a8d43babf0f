"""Long work in the background: a bounded queue, few at a time, resumed after a crash.

A job's aggregate is its fence: each step of the work writes the job's next version, so that a
cancelled job, or one that another runner took, cannot commit a further step.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta

from spawn.application.dependencies import Services, require
from spawn.application.lineage.recorder import job_ended
from spawn.domain import jobs
from spawn.domain.change import Change, Stored, Write
from spawn.domain.errors import Conflict, NotFound, Overloaded, SpawnError, Stale, Unavailable
from spawn.domain.jobs import Job
from spawn.domain.principal import Principal
from spawn.domain.query import MAX_LIMIT, Page, Query

KIND = "job"
MAX_ATTEMPTS = 5
ABANDONED_AFTER = timedelta(hours=1)
"""A job without its upload that nothing has touched for so long belongs to no runner."""

Work = Callable[[Services, str, Executor], Awaitable[None]]
"""Does a job to its end, all that it writes included; raises what made it fail."""

SERVICE = Principal(id="service")
"""Who ends a job that failed."""


async def get_job(services: Services, principal: Principal, job_id: str) -> Stored[Job]:
    """The job now.

    Raises:
        NotFound: no such job.
    """
    require(principal, "read")
    return await services.reads.get(KIND, job_id)


async def cancel_job(services: Services, principal: Principal, job_id: str) -> Stored[Job]:
    """End a job; what it has committed stays. The runner stops at its next step.

    Raises:
        NotFound: no such job.
        Conflict: it has ended already.
    """
    require(principal, "write")
    return await _change(services, principal, job_id, jobs.cancel)


async def _change(
    services: Services, principal: Principal, job_id: str, decide: Callable[[Job], Job]
) -> Stored[Job]:
    for _ in range(MAX_ATTEMPTS):
        before: Stored[Job] = await services.reads.get(KIND, job_id)
        after = decide(before.state)
        ending, events = await job_ended(services, after)
        change = Change(
            writes=(Write(KIND, job_id, before.version, after), *ending),
            events=events,
            actor=principal.id,
            schema_version=(await services.active()).schema.version,
        )
        try:
            await services.commands.commit(change)
        except Stale:
            continue
        return await services.reads.get(KIND, job_id)
    raise Conflict("the job is moving on too fast to be changed; try again")


class JobRunner:
    """Runs jobs by kind: `concurrency` at a time, `queue_limit` waiting.

    `on_error` is told of each failure, for the log of whoever composed the service.
    """

    def __init__(
        self,
        services: Services,
        works: Mapping[str, Work],
        *,
        concurrency: int = 1,
        queue_limit: int = 16,
        on_error: Callable[[str, BaseException], None] | None = None,
    ) -> None:
        self._services = services
        self._works = works
        self._concurrency = concurrency
        self._queue: asyncio.Queue[str] = asyncio.Queue(queue_limit)
        self._on_error = on_error or (lambda _job_id, _error: None)
        self._tasks: list[asyncio.Task[None]] = []
        self._resuming: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(concurrency, thread_name_prefix="spawn-job")

    async def start(self) -> None:
        """Take up the work, what a crash left unfinished first."""
        # What arrives from now on has its job soon, and must not be taken for a leftover.
        uploads = await asyncio.to_thread(lambda: set(self._services.spool.names()))
        self._tasks = [asyncio.create_task(self._serve()) for _ in range(self._concurrency)]
        self._resuming = asyncio.create_task(self._resume(uploads))
        self._tasks.append(self._resuming)

    async def close(self) -> None:
        """Stop after the step under way; what is unfinished goes on at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)

    async def drain(self) -> None:
        """Wait until every job submitted or resumed so far has ended and is cleared away."""
        if self._resuming is not None:
            await asyncio.wait({self._resuming})
        await self._queue.join()

    def check_room(self) -> None:
        """Let new work in if the queue has room for it.

        Raises:
            Overloaded: it has not; nothing need be uploaded.
        """
        if self._queue.full():
            raise Overloaded(f"{self._queue.maxsize} jobs are waiting already.", retry_after_s=10.0)

    async def submit(self, job_id: str) -> None:
        """Queue a job that is recorded as queued; waits for room if others came first."""
        await self._queue.put(job_id)

    async def _resume(self, uploads: set[str]) -> None:
        for job_id in await self._unfinished(uploads):
            await self._queue.put(job_id)
        await self._fail_abandoned(uploads)

    async def _serve(self) -> None:
        while True:
            job_id = await self._queue.get()
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
            if error is not None:
                self._on_error(job_id, error)

    async def _run(self, job_id: str) -> None:
        """Do one job; one that fails for a reason says so, whatever else becomes of it."""
        stored: Stored[Job] = await self._services.reads.get(KIND, job_id)
        if not stored.state.is_final:
            work = self._works[stored.state.kind]
            task = asyncio.ensure_future(work(self._services, job_id, self._executor))
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait({task})
                raise
            error = task.exception()
            if isinstance(error, Unavailable):
                # The store cannot write now: the upload stays, and so does the checkpoint.
                raise error
            if error is not None:
                await self._fail(job_id, error)
                self._on_error(job_id, error)
        await self._services.spool.discard(job_id)

    async def _fail(self, job_id: str, error: BaseException) -> None:
        reason = error.detail if isinstance(error, SpawnError) else "an internal error"
        try:
            await _change(
                self._services, SERVICE, job_id, lambda job: jobs.fail(job, reason[:1000])
            )
        except Conflict:
            return  # It has ended meanwhile, for instance by being cancelled.

    async def _unfinished(self, uploads: set[str]) -> list[str]:
        """The jobs of uploads that are to be resumed, oldest first; other uploads are cleared."""
        found: list[str] = []
        for name in sorted(uploads):
            try:
                stored: Stored[Job] = await self._services.reads.get(KIND, name)
            except NotFound:
                await self._services.spool.discard(name)  # Never acknowledged, so never a job.
                continue
            if stored.state.is_final:
                await self._services.spool.discard(name)
            else:
                found.append(name)
        return found

    async def _fail_abandoned(self, uploads: set[str]) -> None:
        """End unfinished jobs whose upload is gone, so that nobody waits for them for ever."""
        limit = self._services.clock.now() - ABANDONED_AFTER
        lost = NotFound("the uploaded file is gone; post it again")
        query: Query | None = Query(kind=KIND, limit=MAX_LIMIT)
        while query is not None:
            page: Page[Stored[Job]] = await self._services.reads.page(query)
            for stored in page.items:
                stale = stored.id not in uploads and stored.updated_at < limit
                if stale and not stored.state.is_final:
                    await self._fail(stored.id, lost)
            query = Query(kind=KIND, limit=MAX_LIMIT, after=page.next) if page.next else None
