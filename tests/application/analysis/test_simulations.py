"""Simulations as jobs: progress, cancellation, a crash, and repeatable results."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from spawn.adapters.workers.subprocess_workers import SubprocessWorkers
from spawn.application.analysis import simulations
from spawn.application.analysis.simulations import (
    SIMULATION_JOB,
    get_simulation,
    run_simulation,
    start_simulation,
)
from spawn.application.dependencies import Dependencies
from spawn.application.jobs import JobRunner, cancel_job, get_job
from spawn.domain.errors import NotFound
from spawn.domain.finance.simulation.monte_carlo import simulate_portfolio
from spawn.domain.finance.simulation.monte_carlo_case import (
    Shock,
    Shocks,
    SimulatedProject,
    SimulationCase,
)
from spawn.domain.jobs import JobStatus
from spawn.domain.principal import Principal
from spawn.testing.expected_errors import expect_invalid

DESK = Principal(id="desk")
SMALL = SimulationCase(
    projects=(
        SimulatedProject(
            name="Rio Verde Solar",
            equity=(30.0,),
            cfads=(12.0,) * 10,
            interest=(3.0,) * 5,
            principal=(5.0,) * 5,
        ),
    ),
    shocks=Shocks(cfads=Shock(distribution="lognormal", median=1.0, sigma=0.2)),
    scenarios=1_500,
    seed=11,
)
LONG = msgspec.structs.replace(SMALL, projects=SMALL.projects * 64, scenarios=100_000)


@pytest.fixture
async def runner(dependencies: Dependencies) -> AsyncIterator[JobRunner]:
    running = JobRunner(dependencies, {SIMULATION_JOB: run_simulation})
    await running.start()
    yield running
    await running.close()


async def submit(dependencies: Dependencies, runner: JobRunner, case: SimulationCase) -> str:
    submitted = await start_simulation(dependencies, DESK, case)
    assert submitted.job is not None
    runner.submit(submitted.job.job_id)
    return submitted.job.job_id


async def test_a_simulation_runs_as_a_job_and_its_result_is_stored(
    dependencies: Dependencies, runner: JobRunner
) -> None:
    job_id = await submit(dependencies, runner, SMALL)
    await runner.drain()
    job = (await get_job(dependencies, DESK, job_id)).state
    assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
    assert job.progress.done == job.progress.total == 1_500
    run = (await get_simulation(dependencies, DESK, job_id)).state
    assert run.result == simulate_portfolio(SMALL)
    assert (run.seed, run.scenarios, run.projects) == (11, 1_500, 1)
    assert "numpy" in run.engine
    assert list(dependencies.spool.names()) == []


@pytest.mark.parametrize("threads", [1, 3])
async def test_the_stored_result_does_not_depend_on_the_number_of_threads(
    dependencies: Dependencies, threads: int
) -> None:
    dependencies = msgspec.structs.replace(dependencies, workers=SubprocessWorkers(threads=threads))
    wide = msgspec.structs.replace(SMALL, projects=SMALL.projects * 70)
    submitted = await start_simulation(dependencies, DESK, wide)
    assert submitted.job is not None
    with ThreadPoolExecutor(1) as executor:
        await run_simulation(dependencies, submitted.job.job_id, executor)
    run = (await get_simulation(dependencies, DESK, submitted.job.job_id)).state
    assert msgspec.json.encode(run.result) == msgspec.json.encode(simulate_portfolio(wide))


async def test_a_cancelled_simulation_stops_and_stores_nothing(
    dependencies: Dependencies, runner: JobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulations, "REPORT_INTERVAL_S", 0.0)
    job_id = await submit(dependencies, runner, LONG)
    while (await get_job(dependencies, DESK, job_id)).state.progress.done == 0:
        await asyncio.to_thread(lambda: None)  # lets the job run, which shares this loop
    await cancel_job(dependencies, DESK, job_id)
    await runner.drain()
    job = (await get_job(dependencies, DESK, job_id)).state
    assert job.status == JobStatus.CANCELLED
    assert 0 < job.progress.done < job.progress.total
    assert (await get_simulation(dependencies, DESK, job_id)).state.result is None


async def test_a_simulation_interrupted_by_a_crash_runs_again(
    dependencies: Dependencies,
) -> None:
    """The request stays in the spool; the next process to start runs the job."""
    submitted = await start_simulation(dependencies, DESK, SMALL)
    assert submitted.job is not None
    successor = JobRunner(dependencies, {SIMULATION_JOB: run_simulation})
    await successor.start()
    await successor.drain()
    await successor.close()
    run = (await get_simulation(dependencies, DESK, submitted.job.job_id)).state
    assert run.result == simulate_portfolio(SMALL)


async def test_a_path_beyond_the_limits_fails_the_job_with_a_reason(
    dependencies: Dependencies, runner: JobRunner
) -> None:
    huge = msgspec.structs.replace(SMALL.projects[0], cfads=(9e23,) * 10)
    swing = Shocks(cfads=Shock(distribution="lognormal", median=1e5, sigma=3.0))
    case = msgspec.structs.replace(SMALL, projects=(huge,), shocks=swing)
    job_id = await submit(dependencies, runner, case)
    await runner.drain()
    job = (await get_job(dependencies, DESK, job_id)).state
    assert job.status == JobStatus.FAILED
    assert (
        job.error
        == "/projects/0: a path exceeds the limits of the engine; give smaller amounts or shocks"
    )


async def test_an_invalid_case_stores_nothing(dependencies: Dependencies) -> None:
    with expect_invalid(("/scenarios", "out_of_range")):
        await start_simulation(dependencies, DESK, msgspec.structs.replace(SMALL, scenarios=0))
    assert list(dependencies.spool.names()) == []
    with pytest.raises(NotFound):
        await get_simulation(dependencies, DESK, "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b")
