"""A background task that fails is started again, and its failures stay visible."""

import asyncio
from collections.abc import Callable

import pytest

from spawn.application.background_tasks import (
    FIRST_PAUSE_S,
    MAX_PAUSE_S,
    STABLE_S,
    BackgroundTasks,
    TaskStatus,
)


class FakeTime:
    """Time that passes only in pauses, each of which lasts until the test lets it end."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []
        self._gate = asyncio.Semaphore(0)

    def read(self) -> float:
        return self.now_s

    async def sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        await self._gate.acquire()
        self.now_s += pause_s

    def end_pause(self) -> None:
        self._gate.release()


class Failures:
    """Failures as the supervisor reports them."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, BaseException | None, float]] = []

    def report(self, name: str, failure: BaseException | None, pause_s: float) -> None:
        self.reports.append((name, failure, pause_s))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- the supervisor has no event
            await asyncio.sleep(0)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def failures() -> Failures:
    return Failures()


@pytest.fixture
def tasks(time: FakeTime, failures: Failures) -> BackgroundTasks:
    return BackgroundTasks(on_failure=failures.report, sleep=time.sleep, clock=time.read)


async def test_a_task_that_fails_is_started_again_after_growing_pauses(
    tasks: BackgroundTasks, time: FakeTime, failures: Failures
) -> None:
    async def fail() -> None:
        raise KeyError("cause")

    async with tasks.run("follower", fail):
        for count in range(1, 10):
            await until(lambda count=count: len(time.pauses) == count)  # type: ignore[misc]
            time.end_pause()
    assert time.pauses[0] == FIRST_PAUSE_S
    assert time.pauses[1:4] == [2.0, 4.0, 8.0]
    assert max(time.pauses) == MAX_PAUSE_S
    assert {(name, type(failure)) for name, failure, _ in failures.reports} == {
        ("follower", KeyError)
    }
    assert tasks.statuses()[0].failures == len(failures.reports)


async def test_a_restarted_task_is_failing_until_it_has_run_for_long(
    tasks: BackgroundTasks, time: FakeTime
) -> None:
    starts = 0

    async def fail_once() -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise RuntimeError
        await asyncio.Event().wait()

    async with tasks.run("follower", fail_once):
        await until(lambda: time.pauses == [FIRST_PAUSE_S])
        failing = TaskStatus(name="follower", failures=1, is_failing=True, error="RuntimeError")
        assert tasks.statuses() == [failing]
        time.end_pause()
        await until(lambda: starts == 2)
        time.now_s += STABLE_S - 1
        assert tasks.statuses() == [failing]
        time.now_s += 1
        assert not tasks.statuses()[0].is_failing
        assert tasks.statuses()[0].failures == 1


async def test_an_endless_task_that_ends_has_failed(
    tasks: BackgroundTasks, failures: Failures, time: FakeTime
) -> None:
    async def end() -> None:
        return

    async with tasks.run("follower", end), tasks.run("cleanup", end, is_endless=False):
        await until(lambda: bool(time.pauses))
    assert [name for name, _, _ in failures.reports] == ["follower"]
    assert [status.is_failing for status in tasks.statuses()] == [True, False]


async def test_work_that_is_cancelled_from_within_is_started_again(
    tasks: BackgroundTasks, time: FakeTime
) -> None:
    async def cancel_itself() -> None:
        raise asyncio.CancelledError

    async with tasks.run("follower", cancel_itself):
        await until(lambda: len(time.pauses) == 1)
        assert tasks.statuses()[0].error == "CancelledError"


async def test_the_end_of_the_block_ends_the_work(tasks: BackgroundTasks) -> None:
    ended = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with tasks.run("follower", wait):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert ended.is_set()
    assert tasks.statuses()[0].failures == 0
