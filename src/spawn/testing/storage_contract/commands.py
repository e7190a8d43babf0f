# ruff: noqa: D102 -- a test's name is its sentence
"""Storage contract: commands and receipts.

See `spawn.testing.storage_contract.harness` for how to run it against an adapter.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from spawn.domain.aggregates import encode_state
from spawn.domain.change import CommitResult, EncodedState, Guard, Write
from spawn.domain.errors import Duplicate, IdempotencyMismatch, NotFound, StaleVersion, Unavailable
from spawn.domain.projects.project import ExternalRefReservation, Project
from spawn.domain.query import Filter, Operator, Query
from spawn.ports.runtime import MAX_CLOCK_JUMP_S
from spawn.testing.storage_contract.harness import (
    ReopenStore,
    StorageHarness,
    a_record,
    build_event,
    gather_outcomes,
)

RACE_SIZE = 16


def _encode_write(project: Project) -> Write:
    document = encode_state("project", project, a_record().schema)
    return Write("project", project.project_id, 0, EncodedState(document))


class TestCommands:
    """Changes are atomic, durable and ordered, and each version has one writer."""

    async def test_a_created_project_is_read_back_as_version_one(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create(
            total_amount=Decimal("12.30"), project_name="Île d'Yeu 風力 🌬"
        )
        aggregate = await harness.get(project)
        assert (aggregate.state, aggregate.version, aggregate.schema_version) == (project, 1, 1)
        assert str(aggregate.state.total_amount) == "12.30"
        assert aggregate.created_at == aggregate.updated_at == harness.clock.now()
        assert aggregate.created_at.tzinfo is UTC

    async def test_a_second_creation_of_the_same_id_is_rejected_as_duplicate(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create()
        other = msgspec.structs.replace(project, project_name="Other")
        with pytest.raises(Duplicate):
            await harness.store.commit(harness.change((other, 0)))
        assert (await harness.get(project)).state == project

    async def test_a_stale_update_is_rejected_with_the_current_version(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create()
        await harness.rename(project, 1, "Second")
        with pytest.raises(StaleVersion) as error:
            await harness.rename(project, 1, "Late")
        assert error.value.current == 2
        assert (await harness.get(project)).state.project_name == "Second"

    async def test_an_update_of_a_missing_project_is_stale(self, harness: StorageHarness) -> None:
        with pytest.raises(StaleVersion) as error:
            await harness.store.commit(harness.change((harness.project(), 3)))
        assert error.value.current == 0

    async def test_a_change_is_written_whole_or_not_at_all(self, harness: StorageHarness) -> None:
        existing, before = await harness.create(), await harness.store.position()
        new_project = harness.project()
        with pytest.raises(Duplicate):
            await harness.store.commit(harness.change((new_project, 0), (existing, 0)))
        with pytest.raises(NotFound):
            await harness.get(new_project)
        assert await harness.store.position() == before
        assert (await harness.store.feed(after=before, limit=10)).entries == ()

    async def test_a_guard_holds_only_at_its_version(self, harness: StorageHarness) -> None:
        guarded_project, new_project = await harness.create(), harness.project()
        await harness.rename(guarded_project, 1, "Second")
        stale = harness.change(
            (new_project, 0), guards=(Guard("project", guarded_project.project_id, 1),)
        )
        with pytest.raises(StaleVersion):
            await harness.store.commit(stale)
        with pytest.raises(NotFound):
            await harness.get(new_project)
        good = harness.change(
            (new_project, 0), guards=(Guard("project", guarded_project.project_id, 2),)
        )
        await harness.store.commit(good)
        assert (await harness.get(guarded_project)).version == 2

    async def test_a_guard_can_require_absence(self, harness: StorageHarness) -> None:
        new_project = harness.project()
        absent = (Guard("external_ref", "erp:7", 0),)
        await harness.store.commit(harness.change((new_project, 0), guards=absent))
        reserve = Write(
            "external_ref", "erp:7", 0, ExternalRefReservation(project_id=new_project.project_id)
        )
        await harness.store.commit(harness.change(writes=(reserve,), events=()))
        with pytest.raises(StaleVersion):
            await harness.store.commit(harness.change((harness.project(), 0), guards=absent))

    async def test_of_racing_updates_exactly_one_wins_each_version(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create()
        for version in (1, 2, 3):
            outcomes = await gather_outcomes(
                [harness.rename(project, version, f"{version}-{n}") for n in range(RACE_SIZE)]
            )
            winners = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, CommitResult)]
            assert len(winners) == 1
            assert sum(isinstance(outcome, StaleVersion) for outcome in outcomes) == RACE_SIZE - 1
            aggregate = await harness.get(project)
            assert aggregate.version == version + 1
            assert aggregate.state.project_name == f"{version}-{winners[0]}"

    async def test_of_racing_creations_exactly_one_wins(self, harness: StorageHarness) -> None:
        project = harness.project()
        commits = [
            harness.store.commit(
                harness.change((msgspec.structs.replace(project, project_name=f"N{n}"), 0))
            )
            for n in range(RACE_SIZE)
        ]
        outcomes = await gather_outcomes(commits)
        winners = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, CommitResult)]
        assert len(winners) == 1
        assert sum(isinstance(outcome, Duplicate) for outcome in outcomes) == RACE_SIZE - 1
        assert (await harness.get(project)).state.project_name == f"N{winners[0]}"

    async def test_a_guard_and_a_write_of_one_aggregate_never_both_win(
        self, harness: StorageHarness
    ) -> None:
        for _ in range(8):
            guarded_project = await harness.create()
            guard = (Guard("project", guarded_project.project_id, 1),)
            outcomes = await gather_outcomes(
                [
                    harness.rename(guarded_project, 1, "Moved"),
                    harness.store.commit(harness.change((harness.project(), 0), guards=guard)),
                ]
            )
            wrote, guarding = outcomes
            assert isinstance(wrote, CommitResult)
            if isinstance(guarding, CommitResult):
                assert guarding.recorded_at < wrote.recorded_at
            else:
                assert isinstance(guarding, StaleVersion)

    async def test_recorded_times_increase_though_the_clock_goes_back(
        self, harness: StorageHarness
    ) -> None:
        project, times = await harness.create(), []
        for version in range(1, 6):
            harness.clock.advance(timedelta(seconds=-1))
            times.append((await harness.rename(project, version, f"N{version}")).recorded_at)
        assert times == sorted(set(times))
        assert times[0] > (await harness.get(project)).created_at

    async def test_nothing_is_dated_by_a_clock_that_jumped_ahead(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create()
        end = await harness.store.position()
        harness.clock.ahead_s = MAX_CLOCK_JUMP_S + 1
        with pytest.raises(Unavailable, match="clock"):
            await harness.rename(project, 1, "Too late")
        assert (await harness.store.position(), await harness.store.probe()) >= (end, 0)
        harness.clock.ahead_s = MAX_CLOCK_JUMP_S
        assert (await harness.rename(project, 1, "In time")).position > end

    async def test_a_cancelled_waiter_does_not_withdraw_its_change(
        self, harness: StorageHarness
    ) -> None:
        projects = [harness.project() for _ in range(RACE_SIZE)]
        pending = [
            asyncio.ensure_future(harness.store.commit(harness.change((p, 0)))) for p in projects
        ]
        await asyncio.sleep(0)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await harness.create()  # every change queued before is decided by then
        outcomes = await harness.store.get_many("project", [p.project_id for p in projects])
        assert sorted(outcomes) == sorted(p.project_id for p in projects)

    async def test_a_write_without_event_is_in_the_history_but_not_on_the_feed(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create()
        await harness.store.commit(harness.change((project, 1), events=()))
        entries = (await harness.store.feed(after=None, limit=10)).entries
        assert [entry.version for entry in entries] == [1]
        history = await harness.store.history(
            "project", project.project_id, after_version=0, limit=10
        )
        assert [(entry.version, entry.type) for entry in history] == [
            (1, "project.created"),
            (2, ""),
        ]

    async def test_an_encoded_state_is_stored_like_a_plain_one(
        self, harness: StorageHarness
    ) -> None:
        first = harness.project(
            project_name="plain",
            attributes={"capacity_mw": Decimal("1.5000"), "units": 7, "merchant": True},
        )
        exact = harness.project(
            project_name="wide",
            total_amount=Decimal("999999999999999999.99"),
            attributes={
                "ratio": Decimal("1234567890123456789012345678.0123456789"),
                "metered_at": datetime(2020, 2, 29, 18, 29, tzinfo=UTC),
            },
        )
        writes = (
            *(_encode_write(project) for project in (first, exact)),
            Write("external_ref", "erp:1", 0, ExternalRefReservation(project_id=first.project_id)),
        )
        events = tuple(build_event(project, 0) for project in (first, exact))
        await harness.store.commit(harness.change(writes=writes, events=events))
        assert [(await harness.get(project)).state for project in (first, exact)] == [first, exact]
        wide = (Filter("ratio", Operator.EQ, (exact.attributes["ratio"],)),)
        assert [i.id for i in (await harness.store.page(Query(filters=wide))).items] == [
            exact.project_id
        ]
        unwritten = (Filter("merchant", Operator.EQ, (True,)),)
        assert [i.id for i in (await harness.store.page(Query(filters=unwritten))).items] == [
            first.project_id
        ]
        await harness.rename(first, 1, "Second")
        assert (await harness.get(first)).version == 2
        with pytest.raises(Duplicate):
            await harness.store.commit(harness.change(writes=(_encode_write(first),), events=()))

    async def test_a_closed_store_rejects_commands_and_closes_twice(
        self, harness: StorageHarness
    ) -> None:
        await harness.store.close()
        await harness.store.close()
        with pytest.raises(Unavailable):
            await harness.create()
        assert not harness.store.status().is_writable

    async def test_waiting_for_a_failure_ends_when_the_store_closes(
        self, harness: StorageHarness
    ) -> None:
        waiting = asyncio.ensure_future(harness.store.wait_until_failed())
        await harness.create()
        assert not waiting.done()
        await harness.store.close()
        with pytest.raises(Unavailable):
            await waiting
        with pytest.raises(Unavailable):
            await harness.store.wait_until_failed()

    async def test_the_probe_succeeds_and_leaves_no_trace(self, harness: StorageHarness) -> None:
        await harness.create()
        before = await harness.store.position()
        assert await harness.store.probe() >= 0
        assert await harness.store.position() == before
        assert harness.store.status().is_writable


class TestReceipts:
    """A repeated request gets the first response, byte for byte, and writes nothing."""

    async def test_a_repeated_request_gets_the_first_response(
        self, harness: StorageHarness
    ) -> None:
        project, receipt = harness.project(), harness.receipt(etag='"ü\x00\\"')
        first = await harness.store.commit(harness.change((project, 0), receipt=receipt))
        before = await harness.store.position()
        again = await harness.store.commit(harness.change((project, 0), receipt=receipt))
        assert again.replayed_response == receipt.recipe
        assert again.recorded_at == first.recorded_at
        assert await harness.store.position() == before
        assert await harness.store.find_receipt(receipt.key) == again.replayed_response

    async def test_an_unknown_key_has_no_response(self, harness: StorageHarness) -> None:
        assert await harness.store.find_receipt(harness.receipt().key) is None

    async def test_the_same_key_for_another_request_is_rejected(
        self, harness: StorageHarness
    ) -> None:
        await harness.store.commit(
            harness.change((harness.project(), 0), receipt=harness.receipt())
        )
        new_project = harness.project()
        other = harness.receipt(fingerprint="f2")
        with pytest.raises(IdempotencyMismatch):
            await harness.store.commit(harness.change((new_project, 0), receipt=other))
        with pytest.raises(IdempotencyMismatch):
            await harness.store.find_receipt(other.key)
        with pytest.raises(NotFound):
            await harness.get(new_project)

    async def test_the_losers_of_a_race_get_the_winners_response(
        self, harness: StorageHarness
    ) -> None:
        commits = [
            harness.store.commit(harness.change((harness.project(), 0), receipt=harness.receipt()))
            for _ in range(RACE_SIZE)
        ]
        outcomes = await asyncio.gather(*commits)
        winners = [result for result in outcomes if result.replayed_response is None]
        assert len(winners) == 1
        assert {c.replayed_response for c in outcomes if c.replayed_response is not None} == {
            harness.receipt().recipe
        }
        assert len((await harness.store.feed(after=None, limit=100)).entries) == 1

    async def test_the_receipt_is_checked_before_versions(self, harness: StorageHarness) -> None:
        project = await harness.create()
        change = harness.change((project, 1), receipt=harness.receipt())
        await harness.store.commit(change)
        assert (await harness.store.commit(change)).replayed_response is not None

    async def test_a_rejected_change_leaves_no_receipt(self, harness: StorageHarness) -> None:
        receipt = harness.receipt()
        with pytest.raises(StaleVersion):
            await harness.store.commit(harness.change((harness.project(), 5), receipt=receipt))
        assert await harness.store.find_receipt(receipt.key) is None

    async def test_a_receipt_needs_no_write(self, harness: StorageHarness) -> None:
        receipt = harness.receipt()
        result = await harness.store.commit(harness.change(receipt=receipt))
        assert result.replayed_response is None
        again = await harness.store.commit(harness.change(receipt=receipt))
        assert again.replayed_response == receipt.recipe
        assert (await harness.store.feed(after=None, limit=10)).entries == ()

    async def test_a_receipt_lives_for_a_day(self, harness: StorageHarness) -> None:
        receipt = harness.receipt()
        await harness.store.commit(harness.change((harness.project(), 0), receipt=receipt))
        harness.clock.advance(timedelta(hours=23, minutes=59))
        assert await harness.store.find_receipt(receipt.key) is not None
        harness.clock.advance(timedelta(minutes=2))
        assert await harness.store.find_receipt(receipt.key) is None
        new_project = harness.project()
        again = await harness.store.commit(harness.change((new_project, 0), receipt=receipt))
        assert again.replayed_response is None
        assert (await harness.get(new_project)).version == 1


class TestReopening:
    """State of a durable store after it is reopened."""

    @pytest.fixture(autouse=True)
    def _only_durable(self, request: pytest.FixtureRequest) -> None:
        if not getattr(request.module, "DURABLE", False):
            pytest.skip("the store lives as long as its process")

    async def test_everything_is_read_back_after_reopening(
        self, harness: StorageHarness, reopen_store: ReopenStore
    ) -> None:
        project = await harness.create()
        await harness.rename(project, 1, "Second")
        await harness.store.commit(harness.change((project, 2), events=()))
        receipt = harness.receipt()
        await harness.store.commit(harness.change((harness.project(), 0), receipt=receipt))
        response = await harness.store.find_receipt(receipt.key)
        feed, aggregate = (
            await harness.store.feed(after=None, limit=100),
            await harness.get(project),
        )
        await harness.store.close()
        store = await reopen_store()
        assert await store.get("project", project.project_id) == aggregate
        assert await store.feed(after=None, limit=100) == feed
        assert await store.find_receipt(receipt.key) == response
        assert (await store.head("project", project.project_id)).version == 3
        assert await store.position() == feed.next
        assert await store.records() == [a_record()]

    async def test_order_continues_after_the_clock_went_back(
        self, harness: StorageHarness, reopen_store: ReopenStore
    ) -> None:
        project = await harness.create()
        await harness.store.close()
        harness.clock.advance(timedelta(days=-1))
        again = StorageHarness(await reopen_store(), harness.clock)
        result = await again.rename(project, 1, "Second")
        assert result.recorded_at > (await again.get(project)).created_at
        history = await again.store.history(
            "project", project.project_id, after_version=0, limit=10
        )
        assert [entry.version for entry in history] == [1, 2]

    async def test_an_instant_of_a_reader_outlives_a_reopening(
        self, harness: StorageHarness, reopen_store: ReopenStore
    ) -> None:
        project = await harness.create()
        harness.clock.advance(timedelta(hours=1))
        instant = await harness.store.final_instant()
        await harness.store.close()
        harness.clock.advance(timedelta(seconds=-30))
        again = StorageHarness(await reopen_store(), harness.clock)
        assert await again.store.final_instant() == instant
        assert (await again.rename(project, 1, "Second")).recorded_at > instant
