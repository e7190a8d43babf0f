"""The use cases of simulations: order one, run it as a job, read what came of it.

The request lies in the spool until its job has ended, so that a job which a crash interrupts is
run again from its beginning: the same seed gives the same result. Results are committed whole,
together with the end of the job.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from importlib.metadata import version
from typing import Final

import msgspec

from spawn import __version__
from spawn.application.analysis.simulation_worker import ValuingProcess
from spawn.application.dependencies import Services, require
from spawn.application.imports.commands import KeyUse
from spawn.application.jobs import KIND as JOB_KIND
from spawn.domain import jobs
from spawn.domain.change import Answer, Change, Receipt, Stored, Write
from spawn.domain.errors import Overloaded, SpawnError, Stale, Unavailable
from spawn.domain.finance.simulation.monte_carlo_case import (
    SimulationCase,
    SimulationResult,
    check_simulation,
)
from spawn.domain.finance.simulation.simulation_run import SimulationRun
from spawn.domain.jobs import Job, Progress
from spawn.domain.principal import Principal

KIND: Final = "simulation"
JOB: Final = "simulation"
"""What a job that simulates says it is."""

WORKERS: Final = max(1, min(2, os.cpu_count() or 1))
"""Threads of the process that values."""

REPORT_S: Final = 0.5
"""Seconds between two reports of progress, and so the most a cancelled job goes on for."""

FIRST_PAUSE_S: Final = 0.25
MAX_PAUSE_S: Final = 30.0
_PIECE_BYTES: Final = 1024 * 1024


class Ordered(msgspec.Struct, frozen=True):
    """A simulation that was ordered: its job, or the recorded answer of the same request before."""

    job: Job | None
    replayed: Answer | None = None


async def start_simulation(
    services: Services, principal: Principal, case: SimulationCase, *, key: KeyUse | None = None
) -> Ordered:
    """Record a simulation as a queued job; its request is on disk when this returns.

    Raises:
        InvalidInput: the case does not fit; every field is named.
        IdempotencyMismatch: the key was used for another request.
        StorageFull, Overloaded, Unavailable: nothing was kept.
    """
    require(principal, "write")
    document = await asyncio.to_thread(_document, case)
    run = SimulationRun(
        simulation_id=services.ids.new(),
        requested_by=principal.id,
        request_sha256=hashlib.sha256(document).hexdigest(),
        projects=len(case.projects),
        scenarios=case.scenarios,
        seed=case.seed,
        engine=f"spawn {__version__}, numpy {version('numpy')}",
    )
    await services.spool.receive(run.simulation_id, _pieces(document))
    try:
        ordered = await _order(services, principal, run, key)
    except SpawnError:
        await services.spool.discard(run.simulation_id)
        raise
    if ordered.replayed is not None:
        await services.spool.discard(run.simulation_id)
    return ordered


async def get_simulation(
    services: Services, principal: Principal, simulation_id: str
) -> Stored[SimulationRun]:
    """The simulation, with its result once there is one.

    Raises:
        NotFound: no such simulation.
    """
    require(principal, "read")
    return await services.reads.get(KIND, simulation_id)


async def run_simulation(
    services: Services, job_id: str, executor: Executor, *, workers: int = WORKERS
) -> None:
    """Do a simulation to its end; returns early if the job is cancelled.

    Raises:
        NotFound: the request is gone.
        InvalidInput: a path leaves the bounds of the engine.
    """
    order: Stored[SimulationRun] = await services.reads.get(KIND, job_id)
    path = await asyncio.to_thread(services.spool.path, job_id)
    if not await _report(services, job_id, 0):
        return
    process = ValuingProcess(path, workers)
    try:
        result = await _valued(services, job_id, process, executor)
    finally:
        await asyncio.to_thread(process.close)
    if result is not None:
        run = msgspec.structs.replace(order.state, result=result)
        await _finish(services, order, run)


async def _valued(
    services: Services, job_id: str, process: ValuingProcess, executor: Executor
) -> SimulationResult | None:
    """The result; None if the job has ended meanwhile."""
    loop = asyncio.get_running_loop()
    reported = loop.time()
    while (told := await loop.run_in_executor(executor, process.next)).result is None:
        if loop.time() - reported >= REPORT_S:
            reported = loop.time()
            if not await _report(services, job_id, told.done):
                return None
    return told.result


def _document(case: SimulationCase) -> bytes:
    """The case in one canonical form, checked."""
    check_simulation(case)
    return msgspec.json.encode(case)


async def _pieces(document: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(document), _PIECE_BYTES):
        yield document[start : start + _PIECE_BYTES]


async def _order(
    services: Services, principal: Principal, run: SimulationRun, key: KeyUse | None
) -> Ordered:
    job = Job(
        job_id=run.simulation_id,
        kind=JOB,
        progress=Progress(0, run.projects * run.scenarios),
        result_url=f"/v1/analysis/simulations/{run.simulation_id}",
    )
    receipt = None
    if key is not None:
        content = f"{run.request_sha256} {key.content_type}".encode()
        receipt = Receipt(
            scope=key.scope,
            key=key.key,
            fingerprint=hashlib.sha256(content).hexdigest(),
            answer=lambda _recorded_at: key.answer(job),
        )
    change = Change(
        writes=(Write(JOB_KIND, job.job_id, 0, job), Write(KIND, run.simulation_id, 0, run)),
        receipt=receipt,
        actor=principal.id,
        schema_version=(await services.active()).schema.version,
    )
    committed = await services.commands.commit(change)
    return Ordered(job if committed.replayed is None else None, committed.replayed)


async def _report(services: Services, job_id: str, done: int) -> bool:
    """Tell how far the job is; False if it has ended. A store that is busy is told next time."""
    job: Stored[Job] = await services.reads.get(JOB_KIND, job_id)
    if job.state.is_final:
        return False
    try:
        await _commit(services, job, jobs.advance(job.state, done))
    except (Stale, Overloaded, Unavailable):
        # Whoever was quicker is seen at the next report.
        return True
    return True


async def _finish(services: Services, order: Stored[SimulationRun], run: SimulationRun) -> None:
    """Commit the result with the end of the job, unless the job has ended otherwise."""
    pause_s = FIRST_PAUSE_S
    while True:
        job: Stored[Job] = await services.reads.get(JOB_KIND, order.id)
        if job.state.is_final:
            return
        write = Write(KIND, order.id, order.version, run)
        try:
            await _commit(services, job, jobs.succeed(job.state, job.state.progress.total), write)
        except Unavailable as error:
            # A full queue or disk passes; the result is kept in memory meanwhile.
            await asyncio.sleep(max(pause_s, min(error.retry_after_s, MAX_PAUSE_S)))
            pause_s = min(pause_s * 2, MAX_PAUSE_S)
        except Stale:
            continue
        else:
            return


async def _commit(services: Services, job: Stored[Job], after: Job, *writes: Write) -> None:
    await services.commands.commit(
        Change(
            writes=(*writes, Write(JOB_KIND, job.id, job.version, after)),
            actor="service",
            schema_version=(await services.active()).schema.version,
        )
    )
