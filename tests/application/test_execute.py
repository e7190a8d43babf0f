"""Commands decide again after a lost race, within a bound, and wait while the store is full."""

import pytest

from spawn.application.commands import (
    MAX_ATTEMPTS,
    MAX_PAUSE_S,
    Decision,
    commit,
    execute,
    retry_on,
    retry_while_unavailable,
)
from spawn.application.dependencies import Dependencies
from spawn.domain.change import (
    Guard,
    IdempotencyKey,
    IdempotencyReceipt,
    ResponseRecipe,
    VersionReference,
    Write,
)
from spawn.domain.errors import Conflict, Duplicate, Overloaded, StaleVersion, Unavailable
from spawn.domain.jobs import JOB_KIND, Job, JobProgress

KEY = IdempotencyKey(scope="anna POST /jobs", key="k", fingerprint="f")
RECEIPT = IdempotencyReceipt(KEY, ResponseRecipe(codec="c", status=202))


class RacingDecider:
    """Decides on the next version of one job, and loses a number of races before."""

    def __init__(self, dependencies: Dependencies, races: int) -> None:
        self._dependencies = dependencies
        self._races = races
        self.attempts = 0

    async def decide(self) -> Decision:
        self.attempts += 1
        version = (await self._dependencies.reads.head(JOB_KIND, "j")).version
        if self.attempts <= self._races:
            await commit(self._dependencies, "rival", advance(version))
        return advance(version)


def advance(version: int) -> Decision:
    job = Job(job_id="j", kind="import", progress=JobProgress(version, 99))
    return Decision(writes=(Write(JOB_KIND, "j", version, job),))


async def read_version(dependencies: Dependencies) -> int:
    return (await dependencies.reads.head(JOB_KIND, "j")).version


@pytest.mark.parametrize("races", [0, 1, MAX_ATTEMPTS - 1])
async def test_a_command_that_lost_races_decides_on_the_newest_version(
    dependencies: Dependencies, races: int
) -> None:
    await commit(dependencies, "anna", advance(0))
    decider = RacingDecider(dependencies, races)
    outcome = await execute(dependencies, "anna", decider.decide)
    assert decider.attempts == races + 1
    assert outcome.decision.writes[0].expected_version == races + 1
    assert await read_version(dependencies) == races + 2


async def test_too_many_lost_races_are_a_conflict(dependencies: Dependencies) -> None:
    await commit(dependencies, "anna", advance(0))
    decider = RacingDecider(dependencies, 99)
    with pytest.raises(Conflict, match="five times"):
        await execute(dependencies, "anna", decider.decide, conflict="changed five times")
    assert decider.attempts == MAX_ATTEMPTS


async def test_an_error_of_the_decision_itself_ends_the_command(
    dependencies: Dependencies,
) -> None:
    attempts: list[int] = []

    async def decide() -> Decision:
        attempts.append(1)
        raise StaleVersion("the caller expected another version", current=3)

    with pytest.raises(StaleVersion):
        await execute(dependencies, "anna", decide)
    assert len(attempts) == 1


async def test_only_the_named_errors_of_a_commit_are_lost_races(
    dependencies: Dependencies,
) -> None:
    await commit(dependencies, "anna", advance(0))
    attempts: list[int] = []

    async def decide() -> Decision:
        attempts.append(1)
        return advance(0)

    with pytest.raises(Duplicate):
        await execute(dependencies, "anna", decide)
    with pytest.raises(Conflict):
        await execute(dependencies, "anna", decide, lost_races=(StaleVersion, Duplicate))
    with pytest.raises(Duplicate):
        await execute(dependencies, "anna", decide, lost_races=())
    assert len(attempts) == 1 + MAX_ATTEMPTS + 1


async def test_a_decision_without_writes_commits_nothing(dependencies: Dependencies) -> None:
    before = await dependencies.reads.position()

    async def decide() -> Decision:
        return Decision()

    assert (await execute(dependencies, "anna", decide)).result is None
    assert await dependencies.reads.position() == before
    assert await dependencies.commands.find_receipt(KEY) is None


async def test_a_receipt_is_recorded_with_its_subject_even_without_writes(
    dependencies: Dependencies,
) -> None:
    subject = VersionReference(JOB_KIND, "j", 1)

    async def decide() -> Decision:
        return Decision(subject=subject)

    first = await execute(dependencies, "anna", decide, receipt=RECEIPT)
    again = await execute(dependencies, "anna", decide, receipt=RECEIPT)
    recipe = RECEIPT.with_subject(subject).recipe
    assert first.result is not None
    assert first.result.replayed_response is None
    assert again.result is not None
    assert again.result.replayed_response == recipe
    assert await dependencies.commands.find_receipt(KEY) == recipe


async def test_a_guard_that_no_longer_holds_is_a_lost_race(dependencies: Dependencies) -> None:
    await commit(dependencies, "anna", advance(0))

    async def decide() -> Decision:
        write = Write(JOB_KIND, "other", 0, Job(job_id="other", kind="import"))
        return Decision(writes=(write,), guards=(Guard(JOB_KIND, "j", 9),))

    with pytest.raises(Conflict):
        await execute(dependencies, "anna", decide)


async def test_the_last_attempt_raises_its_own_error() -> None:
    attempts: list[int] = []

    async def attempt() -> None:
        attempts.append(1)
        raise Overloaded(f"attempt {len(attempts)}")

    with pytest.raises(Overloaded, match=f"attempt {MAX_ATTEMPTS}"):
        await retry_on(Overloaded, attempt)
    attempts.clear()
    with pytest.raises(Overloaded, match="attempt 1"):
        await retry_on(Conflict, attempt)


async def test_pauses_double_to_their_maximum_and_respect_the_store() -> None:
    hints = [0.0, 0.0, 2.0, 0.0, 999.0, *[0.0] * 6]
    pauses: list[float] = []

    async def attempt() -> str:
        if hints:
            raise Unavailable("full", retry_after_s=hints.pop(0))
        return "written"

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    assert await retry_while_unavailable(attempt, sleep=sleep) == "written"
    assert pauses == [0.25, 0.5, 2.0, 2.0, 30.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]
    assert max(pauses) == MAX_PAUSE_S


def test_a_key_of_an_upload_tells_contents_and_types_apart() -> None:
    keys = {
        IdempotencyKey(scope="s", key="k", fingerprint=content_type).for_content(sha256)
        for content_type in ("text/csv wind", "text/csv solar")
        for sha256 in ("ab", "cd")
    }
    assert len({key.fingerprint for key in keys}) == 4
    assert {len(key.fingerprint) for key in keys} == {64}
