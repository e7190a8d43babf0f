"""Simulations as jobs: progress, cancel, a crash in the middle, and the same digits again."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from spawn.application.analysis import simulations
from spawn.application.analysis.simulations import (
    JOB,
    get_simulation,
    run_simulation,
    start_simulation,
)
from spawn.application.dependencies import Services
from spawn.application.jobs import JobRunner, cancel_job, get_job
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.finance.simulation.monte_carlo import simulate
from spawn.domain.finance.simulation.monte_carlo_case import (
    Shock,
    Shocks,
    SimulatedProject,
    SimulationCase,
)
from spawn.domain.jobs import JobStatus
from spawn.domain.principal import Principal

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
async def runner(services: Services) -> AsyncIterator[JobRunner]:
    running = JobRunner(services, {JOB: run_simulation})
    await running.start()
    yield running
    await running.close()


async def ordered(services: Services, runner: JobRunner, case: SimulationCase) -> str:
    order = await start_simulation(services, DESK, case)
    assert order.job is not None
    await runner.submit(order.job.job_id)
    return order.job.job_id


async def test_a_simulation_runs_as_a_job_and_its_result_is_stored(
    services: Services, runner: JobRunner
) -> None:
    job_id = await ordered(services, runner, SMALL)
    await runner.drain()
    job = (await get_job(services, DESK, job_id)).state
    assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
    assert job.progress.done == job.progress.total == 1_500
    assert job.result_url == f"/v1/analysis/simulations/{job_id}"
    run = (await get_simulation(services, DESK, job_id)).state
    assert run.result == simulate(SMALL)
    assert (run.seed, run.scenarios, run.projects) == (11, 1_500, 1)
    assert "numpy" in run.engine
    assert list(services.spool.names()) == []


@pytest.mark.parametrize("workers", [1, 3])
async def test_the_stored_result_does_not_depend_on_the_number_of_threads(
    services: Services, workers: int
) -> None:
    wide = msgspec.structs.replace(SMALL, projects=SMALL.projects * 70)
    order = await start_simulation(services, DESK, wide)
    assert order.job is not None
    with ThreadPoolExecutor(1) as executor:
        await run_simulation(services, order.job.job_id, executor, workers=workers)
    run = (await get_simulation(services, DESK, order.job.job_id)).state
    assert msgspec.json.encode(run.result) == msgspec.json.encode(simulate(wide))


async def test_a_cancelled_simulation_stops_and_stores_nothing(
    services: Services, runner: JobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulations, "REPORT_S", 0.0)
    job_id = await ordered(services, runner, LONG)
    while (await get_job(services, DESK, job_id)).state.progress.done == 0:
        await asyncio.to_thread(lambda: None)  # a turn for the job, which runs on this very loop
    await cancel_job(services, DESK, job_id)
    await runner.drain()
    job = (await get_job(services, DESK, job_id)).state
    assert job.status == JobStatus.CANCELLED
    assert 0 < job.progress.done < job.progress.total
    assert (await get_simulation(services, DESK, job_id)).state.result is None


async def test_a_simulation_that_a_crash_interrupts_is_run_again(services: Services) -> None:
    """The request lies in the spool; whoever starts next takes the job up."""
    order = await start_simulation(services, DESK, SMALL)
    assert order.job is not None
    successor = JobRunner(services, {JOB: run_simulation})
    await successor.start()
    await successor.drain()
    await successor.close()
    run = (await get_simulation(services, DESK, order.job.job_id)).state
    assert run.result == simulate(SMALL)


async def test_a_path_beyond_the_engine_fails_the_job_with_a_reason(
    services: Services, runner: JobRunner
) -> None:
    huge = msgspec.structs.replace(SMALL.projects[0], cfads=(9e23,) * 10)
    swing = Shocks(cfads=Shock(distribution="lognormal", median=1e5, sigma=3.0))
    case = msgspec.structs.replace(SMALL, projects=(huge,), shocks=swing)
    job_id = await ordered(services, runner, case)
    await runner.drain()
    job = (await get_job(services, DESK, job_id)).state
    assert job.status == JobStatus.FAILED
    assert job.error == "/projects/0: a path leaves the bounds of the engine"


async def test_a_case_that_does_not_fit_leaves_nothing_behind(services: Services) -> None:
    with pytest.raises(InvalidInput):
        await start_simulation(services, DESK, msgspec.structs.replace(SMALL, scenarios=0))
    assert list(services.spool.names()) == []
    with pytest.raises(NotFound):
        await get_simulation(services, DESK, "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b")
