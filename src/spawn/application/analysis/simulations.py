"""Simulations: submit one, run it as a job, get its result.

The request stays in the spool until its job has ended, so that a job interrupted by a crash runs
again from its beginning: the same seed gives the same result. Results are committed whole,
together with the end of the job.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import suppress
from importlib.metadata import version
from typing import Final

import msgspec

from spawn import __version__
from spawn.application.commands import Decision, commit, execute, retry_while_unavailable
from spawn.application.dependencies import Dependencies, require
from spawn.application.jobs import (
    JobEnded,
    SubmittedJob,
    load_running_job,
    submit_job,
)
from spawn.domain import jobs
from spawn.domain.change import (
    IdempotencyReceipt,
    StoredAggregate,
    Write,
)
from spawn.domain.errors import Overloaded, StaleVersion, Unavailable
from spawn.domain.finance.simulation.monte_carlo_case import (
    SimulationCase,
    SimulationResult,
    validate_simulation_case,
)
from spawn.domain.finance.simulation.simulation_run import SIMULATION_KIND, SimulationRun
from spawn.domain.jobs import JOB_KIND, Job, JobProgress
from spawn.domain.principal import SERVICE_PRINCIPAL, Principal, Scope
from spawn.ports.workers import SimulationWorker

SIMULATION_JOB: Final = "simulation"
"""Job kind of a simulation."""

REPORT_INTERVAL_S: Final = 0.5
"""Seconds between progress reports, hence the longest run of a job after its cancellation."""

_CHUNK_BYTES: Final = 1024 * 1024


async def start_simulation(
    dependencies: Dependencies,
    principal: Principal,
    case: SimulationCase,
    *,
    receipt: IdempotencyReceipt | None = None,
) -> SubmittedJob:
    """Record a simulation as a queued job; its request is on disk when this returns.

    `receipt` is that of an idempotent request; its key needs the hash of the case.

    Raises:
        InvalidInput: names each field outside its limits.
        IdempotencyMismatch: the key was used for another request.
        StorageFull, Overloaded, Unavailable: nothing was stored.
    """
    require(principal, Scope.ANALYSIS)
    document = await asyncio.to_thread(_encode_case, case)
    run = SimulationRun(
        simulation_id=dependencies.ids.new(),
        requested_by=principal.id,
        request_sha256=hashlib.sha256(document).hexdigest(),
        projects=len(case.projects),
        scenarios=case.scenarios,
        seed=case.seed,
        engine=f"spawn {__version__}, numpy {version('numpy')}",
    )
    await dependencies.spool.receive(run.simulation_id, _iterate_chunks(document))

    async def decide() -> Decision:
        return Decision(writes=(Write(SIMULATION_KIND, run.simulation_id, 0, run),))

    job = Job(
        job_id=run.simulation_id,
        kind=SIMULATION_JOB,
        progress=JobProgress(0, run.projects * run.scenarios),
    )
    return await submit_job(
        dependencies,
        principal,
        job,
        decide,
        content_sha256=run.request_sha256,
        receipt=receipt,
    )


async def get_simulation(
    dependencies: Dependencies, principal: Principal, simulation_id: str
) -> StoredAggregate[SimulationRun]:
    """Get a simulation, with its result once the job has succeeded.

    Raises:
        NotFound: no such simulation.
    """
    require(principal, Scope.ANALYSIS)
    return await dependencies.reads.get(SIMULATION_KIND, simulation_id)


async def run_simulation(dependencies: Dependencies, job_id: str, executor: Executor) -> None:
    """Run a simulation to its end; return early if the job is cancelled.

    Raises:
        NotFound: the simulation or its request is gone.
        InvalidInput: a path exceeds the limits of the engine.
        WorkerEnded: the process of the simulation has ended before its result.
    """
    simulation: StoredAggregate[SimulationRun] = await dependencies.reads.get(
        SIMULATION_KIND, job_id
    )
    file = await asyncio.to_thread(dependencies.spool.find, job_id)
    if not await _report_progress(dependencies, job_id, 0):
        return
    worker = dependencies.workers.start_simulation(file)
    try:
        result = await _await_result(dependencies, job_id, worker, executor)
    finally:
        await asyncio.to_thread(worker.close)
    if result is not None:
        run = msgspec.structs.replace(simulation.state, result=result)
        await _commit_result(dependencies, simulation, run)


async def _await_result(
    dependencies: Dependencies, job_id: str, worker: SimulationWorker, executor: Executor
) -> SimulationResult | None:
    """Return the result; None if the job has ended in the meantime."""
    loop = asyncio.get_running_loop()
    reported_s = loop.time()
    while (progress := await loop.run_in_executor(executor, worker.read_progress)).result is None:
        if loop.time() - reported_s >= REPORT_INTERVAL_S:
            reported_s = loop.time()
            if not await _report_progress(dependencies, job_id, progress.valued_paths):
                return None
    return progress.result


def _encode_case(case: SimulationCase) -> bytes:
    """Validate a case and encode it in canonical form."""
    validate_simulation_case(case)
    return msgspec.json.encode(case)


async def _iterate_chunks(document: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(document), _CHUNK_BYTES):
        yield document[start : start + _CHUNK_BYTES]


async def _report_progress(dependencies: Dependencies, job_id: str, valued_paths: int) -> bool:
    """Record the progress of the job; return False if it has ended.

    A report that a busy store rejects is skipped; the next one follows.
    """
    try:
        job = await load_running_job(dependencies, job_id)
    except JobEnded:
        return False
    after = jobs.advance(job.state, valued_paths)
    try:
        decision = Decision(writes=(Write(JOB_KIND, job.id, job.version, after),))
        await commit(dependencies, SERVICE_PRINCIPAL.id, decision)
    except (StaleVersion, Overloaded, Unavailable):
        # The next report reads the change that came first.
        return True
    return True


async def _commit_result(
    dependencies: Dependencies, simulation: StoredAggregate[SimulationRun], run: SimulationRun
) -> None:
    """Commit the result with the end of the job, unless the job has ended otherwise."""

    async def decide() -> Decision:
        job = await load_running_job(dependencies, simulation.id)
        after = jobs.succeed(job.state, job.state.progress.total)
        return Decision(
            writes=(
                Write(SIMULATION_KIND, simulation.id, simulation.version, run),
                Write(JOB_KIND, job.id, job.version, after),
            )
        )

    with suppress(JobEnded):
        # A full queue or disk is temporary; the result stays in memory until then.
        await retry_while_unavailable(lambda: execute(dependencies, SERVICE_PRINCIPAL.id, decide))
