# ruff: noqa: D102 -- a test's name is its sentence
"""The storage contract: what every storage adapter promises, as tests for any adapter by URL.

A package that offers an adapter runs the whole suite in a module of its own tests:

    import pytest
    from spawn.testing.storage_contract.commands import *         # the fixtures, and commands
    from spawn.testing.storage_contract.reads import *   # pages, history, schemas
    from spawn.testing.storage_contract.feed import *    # the feed, and those who follow it
    from spawn.testing.storage_contract.quality import * # counts of how much data keeps a rule
    from spawn.testing.storage_contract.migrations import * # the schema changes under the data
    from spawn.testing.storage_contract.governance import * # who governs it, and what is remembered
    from spawn.testing.storage_contract.migration_properties import * # property tests of that
    from spawn.testing.storage_contract.properties import *    # property tests

    @pytest.fixture
    def store_url(tmp_path):
        return f"duckdb:///{tmp_path}/store.duckdb"

Each test gets a store of its own by that URL, through `spawn.adapters.factory.open_store`: a
third party's scheme is found by its entry point. pytest-asyncio must be in `auto` mode. Two names
in the module are looked at: `DURABLE = True` says that the store outlives its process, and what it
must remember when it is opened again is tested too; `STORE_OPTIONS` opens it with other bounds.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.factory import Store, open_store
from spawn.adapters.local.runtime import Uuid7Ids
from spawn.domain import serialization
from spawn.domain.change import Answer, Change, Committed, Encoded, Guard, Receipt, Stored, Write
from spawn.domain.errors import Duplicate, IdempotencyMismatch, NotFound, Stale, Unavailable
from spawn.domain.events.event import DomainEvent
from spawn.domain.projects.project import Project, Reservation
from spawn.domain.query import Filter, Operator, Query
from spawn.domain.schemas.document_parser import read_schema
from spawn.ports.schemas import Provenance, SchemaRecord, SchemaState
from spawn.testing.builders import a_project

RACERS = 16
SCHEMA_DOCUMENT = b"""{"id": "project_schema", "version": 1, "name": "Projects", "columns": [
 {"name": "capacity_mw", "type": "decimal(18,4)"}, {"name": "ratio", "type": "decimal(38,10)"},
 {"name": "technology", "type": "string(50)"}, {"name": "licensed_on", "type": "date"},
 {"name": "units", "type": "integer"}, {"name": "grid_id", "type": "bigint"},
 {"name": "load", "type": "double"}, {"name": "merchant", "type": "boolean"},
 {"name": "metered_at", "type": "timestamp"}]}"""


class ManualClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        self._now = now

    def now(self) -> datetime:
        """The instant it was set to."""
        return self._now

    def move(self, by: timedelta) -> None:
        """Go on, or back."""
        self._now += by


def a_record(
    document: bytes = SCHEMA_DOCUMENT, state: SchemaState = SchemaState.ACTIVE
) -> SchemaRecord:
    """A schema record as the application makes one from a registry's document."""
    return SchemaRecord(
        schema=read_schema(document),
        document=document,
        state=state,
        provenance=Provenance.LIVE,
        recorded_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


class Desk:
    """A store with shorthand for the changes that tests make."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self._ids = Uuid7Ids()

    def project(self, **fields: Any) -> Project:
        """A project with an id of its own."""
        return a_project(**{"project_id": self._ids.new()} | fields)

    def change(self, *states: tuple[Project, int], **more: Any) -> Change:
        """Write each state over the expected version, with an event each."""
        fields: dict[str, Any] = {
            "writes": tuple(Write("project", p.project_id, version, p) for p, version in states),
            "events": tuple(_event(p, version) for p, version in states),
            "actor": "analyst",
            "schema_version": 1,
        }
        return Change(**fields | more)

    async def create(self, **fields: Any) -> Project:
        """Create one project."""
        project = self.project(**fields)
        await self.store.commit(self.change((project, 0)))
        return project

    async def rename(self, project: Project, version: int, name: str) -> Committed:
        """Write the next version under another name."""
        renamed = msgspec.structs.replace(project, project_name=name)
        return await self.store.commit(self.change((renamed, version)))

    async def get(self, project: Project) -> Stored[Any]:
        """The project as stored now."""
        return await self.store.get("project", project.project_id)

    def receipt(self, key: str = "k1", fingerprint: str = "f1", body: bytes = b"{}") -> Receipt:
        """A receipt whose answer names the recorded time."""
        return Receipt(
            "analyst POST /v1/ops/projects",
            key,
            fingerprint,
            lambda at: Answer(201, (("location", "/é"),), body + at.isoformat().encode()),
        )


def _event(project: Project, version: int) -> DomainEvent:
    done = "amended" if version else "created"
    return DomainEvent(
        type=f"project.{done}",
        kind="project",
        id=project.project_id,
        changed=("project_name",),
        reason="because" if version else None,
    )


def _encoded(project: Project) -> Write:
    document = serialization.encode("project", project, a_record().schema)
    return Write("project", project.project_id, 0, Encoded(document))


async def outcomes(calls: Iterable[Awaitable[Any]]) -> list[Any]:
    """What concurrent calls returned or raised, in their order."""
    return await asyncio.gather(*calls, return_exceptions=True)


@pytest.fixture
def clock() -> ManualClock:
    """The clock behind the store."""
    return ManualClock()


Opener = Callable[[], Awaitable[Store]]


@pytest.fixture
async def opener(
    store_url: str, clock: ManualClock, request: pytest.FixtureRequest
) -> AsyncIterator[Opener]:
    """Opens the store by its URL, again if need be; whatever is open is closed at the end."""
    opened: list[Store] = []
    options = getattr(request.module, "STORE_OPTIONS", StoreOptions())

    async def open_again() -> Store:
        store = await open_store(store_url, clock=clock, options=options)
        opened.append(store)
        return store

    yield open_again
    for store in opened:
        await store.close()


@pytest.fixture
async def desk(opener: Opener, clock: ManualClock) -> Desk:
    """A fresh store with an adopted schema."""
    store = await opener()
    await store.adopt(a_record())
    return Desk(store, clock)


class TestCommands:
    """Changes are whole, durable, ordered, and each version has one winner."""

    async def test_what_is_created_is_read_back_as_version_one(self, desk: Desk) -> None:
        project = await desk.create(total_amount=Decimal("12.30"), project_name="Île d'Yeu 風力 🌬")
        stored = await desk.get(project)
        assert (stored.state, stored.version, stored.schema_version) == (project, 1, 1)
        assert str(stored.state.total_amount) == "12.30"
        assert stored.created_at == stored.updated_at == desk.clock.now()
        assert stored.created_at.tzinfo is UTC

    async def test_a_second_creation_of_the_same_id_is_refused_as_duplicate(
        self, desk: Desk
    ) -> None:
        project = await desk.create()
        other = msgspec.structs.replace(project, project_name="Other")
        with pytest.raises(Duplicate):
            await desk.store.commit(desk.change((other, 0)))
        assert (await desk.get(project)).state == project

    async def test_a_stale_update_is_refused_and_names_the_current_version(
        self, desk: Desk
    ) -> None:
        project = await desk.create()
        await desk.rename(project, 1, "Second")
        with pytest.raises(Stale) as refused:
            await desk.rename(project, 1, "Late")
        assert refused.value.current == 2
        assert (await desk.get(project)).state.project_name == "Second"

    async def test_an_update_of_what_does_not_exist_is_stale(self, desk: Desk) -> None:
        with pytest.raises(Stale) as refused:
            await desk.store.commit(desk.change((desk.project(), 3)))
        assert refused.value.current == 0

    async def test_a_change_is_written_whole_or_not_at_all(self, desk: Desk) -> None:
        known, before = await desk.create(), await desk.store.position()
        fresh = desk.project()
        with pytest.raises(Duplicate):
            await desk.store.commit(desk.change((fresh, 0), (known, 0)))
        with pytest.raises(NotFound):
            await desk.get(fresh)
        assert await desk.store.position() == before
        assert (await desk.store.feed(after=before, limit=10)).entries == ()

    async def test_a_guard_holds_only_at_its_version(self, desk: Desk) -> None:
        guarded, fresh = await desk.create(), desk.project()
        await desk.rename(guarded, 1, "Second")
        stale = desk.change((fresh, 0), guards=(Guard("project", guarded.project_id, 1),))
        with pytest.raises(Stale):
            await desk.store.commit(stale)
        with pytest.raises(NotFound):
            await desk.get(fresh)
        good = desk.change((fresh, 0), guards=(Guard("project", guarded.project_id, 2),))
        await desk.store.commit(good)
        assert (await desk.get(guarded)).version == 2

    async def test_a_guard_can_demand_absence(self, desk: Desk) -> None:
        fresh = desk.project()
        absent = (Guard("external_ref", "erp:7", 0),)
        await desk.store.commit(desk.change((fresh, 0), guards=absent))
        reserve = Write("external_ref", "erp:7", 0, Reservation(project_id=fresh.project_id))
        await desk.store.commit(desk.change(writes=(reserve,), events=()))
        with pytest.raises(Stale):
            await desk.store.commit(desk.change((desk.project(), 0), guards=absent))

    async def test_of_racing_updates_exactly_one_wins_each_version(self, desk: Desk) -> None:
        project = await desk.create()
        for version in (1, 2, 3):
            found = await outcomes(
                [desk.rename(project, version, f"{version}-{n}") for n in range(RACERS)]
            )
            won = [n for n, outcome in enumerate(found) if isinstance(outcome, Committed)]
            assert len(won) == 1
            assert sum(isinstance(outcome, Stale) for outcome in found) == RACERS - 1
            stored = await desk.get(project)
            assert stored.version == version + 1
            assert stored.state.project_name == f"{version}-{won[0]}"

    async def test_of_racing_creations_exactly_one_wins(self, desk: Desk) -> None:
        project = desk.project()
        racing = [
            desk.store.commit(
                desk.change((msgspec.structs.replace(project, project_name=f"N{n}"), 0))
            )
            for n in range(RACERS)
        ]
        found = await outcomes(racing)
        won = [n for n, outcome in enumerate(found) if isinstance(outcome, Committed)]
        assert len(won) == 1
        assert sum(isinstance(outcome, Duplicate) for outcome in found) == RACERS - 1
        assert (await desk.get(project)).state.project_name == f"N{won[0]}"

    async def test_a_guard_and_a_write_of_one_aggregate_never_both_win(self, desk: Desk) -> None:
        for _ in range(8):
            guarded = await desk.create()
            guard = (Guard("project", guarded.project_id, 1),)
            found = await outcomes(
                [
                    desk.rename(guarded, 1, "Moved"),
                    desk.store.commit(desk.change((desk.project(), 0), guards=guard)),
                ]
            )
            wrote, guarding = found
            assert isinstance(wrote, Committed)
            if isinstance(guarding, Committed):
                assert guarding.recorded_at < wrote.recorded_at
            else:
                assert isinstance(guarding, Stale)

    async def test_recorded_times_increase_though_the_clock_goes_back(self, desk: Desk) -> None:
        project, times = await desk.create(), []
        for version in range(1, 6):
            desk.clock.move(timedelta(seconds=-1))
            times.append((await desk.rename(project, version, f"N{version}")).recorded_at)
        assert times == sorted(set(times))
        assert times[0] > (await desk.get(project)).created_at

    async def test_a_cancelled_waiter_does_not_withdraw_its_change(self, desk: Desk) -> None:
        projects = [desk.project() for _ in range(RACERS)]
        waiting = [asyncio.ensure_future(desk.store.commit(desk.change((p, 0)))) for p in projects]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await desk.create()  # whatever was queued before this is decided after it
        found = await desk.store.get_many("project", [p.project_id for p in projects])
        assert sorted(found) == sorted(p.project_id for p in projects)

    async def test_a_write_without_event_is_in_the_history_but_not_on_the_feed(
        self, desk: Desk
    ) -> None:
        project = await desk.create()
        await desk.store.commit(desk.change((project, 1), events=()))
        entries = (await desk.store.feed(after=None, limit=10)).entries
        assert [entry.version for entry in entries] == [1]
        history = await desk.store.history("project", project.project_id, after_version=0, limit=10)
        assert [(entry.version, entry.type) for entry in history] == [
            (1, "project.created"),
            (2, ""),
        ]

    async def test_what_comes_encoded_already_is_stored_as_if_it_did_not(self, desk: Desk) -> None:
        first = desk.project(
            project_name="plain",
            attributes={"capacity_mw": Decimal("1.5000"), "units": 7, "merchant": True},
        )
        exact = desk.project(
            project_name="wide",
            total_amount=Decimal("999999999999999999.99"),
            attributes={
                "ratio": Decimal("1234567890123456789012345678.0123456789"),
                "metered_at": datetime(2020, 2, 29, 18, 29, tzinfo=UTC),
            },
        )
        writes = (
            *(_encoded(project) for project in (first, exact)),
            Write("external_ref", "erp:1", 0, Reservation(project_id=first.project_id)),
        )
        events = tuple(_event(project, 0) for project in (first, exact))
        await desk.store.commit(desk.change(writes=writes, events=events))
        assert [(await desk.get(project)).state for project in (first, exact)] == [first, exact]
        wide = (Filter("ratio", Operator.EQ, (exact.attributes["ratio"],)),)
        assert [i.id for i in (await desk.store.page(Query(filters=wide))).items] == [
            exact.project_id
        ]
        unwritten = (Filter("merchant", Operator.EQ, (True,)),)
        assert [i.id for i in (await desk.store.page(Query(filters=unwritten))).items] == [
            first.project_id
        ]
        await desk.rename(first, 1, "Second")
        assert (await desk.get(first)).version == 2
        with pytest.raises(Duplicate):
            await desk.store.commit(desk.change(writes=(_encoded(first),), events=()))

    async def test_a_closed_store_refuses_commands_and_closes_twice(self, desk: Desk) -> None:
        await desk.store.close()
        await desk.store.close()
        with pytest.raises(Unavailable):
            await desk.create()
        assert not desk.store.status().writable

    async def test_the_probe_goes_through_and_leaves_no_trace(self, desk: Desk) -> None:
        await desk.create()
        before = await desk.store.position()
        assert await desk.store.probe() >= 0
        assert await desk.store.position() == before
        assert desk.store.status().writable


class TestReceipts:
    """A repeated request gets its first answer, byte for byte, and writes nothing."""

    async def test_a_repeated_request_gets_the_first_answer(self, desk: Desk) -> None:
        project, receipt = desk.project(), desk.receipt(body="ü\x00".encode())
        first = await desk.store.commit(desk.change((project, 0), receipt=receipt))
        before = await desk.store.position()
        again = await desk.store.commit(desk.change((project, 0), receipt=receipt))
        assert again.replayed == receipt.answer(first.recorded_at)
        assert again.recorded_at == first.recorded_at
        assert await desk.store.position() == before
        assert await desk.store.receipt(receipt.scope, receipt.key, "f1") == again.replayed

    async def test_an_unknown_key_has_no_answer(self, desk: Desk) -> None:
        assert await desk.store.receipt("scope", "key", "f") is None

    async def test_the_same_key_for_another_request_is_refused(self, desk: Desk) -> None:
        await desk.store.commit(desk.change((desk.project(), 0), receipt=desk.receipt()))
        fresh = desk.project()
        other = desk.receipt(fingerprint="f2")
        with pytest.raises(IdempotencyMismatch):
            await desk.store.commit(desk.change((fresh, 0), receipt=other))
        with pytest.raises(IdempotencyMismatch):
            await desk.store.receipt(other.scope, other.key, "f2")
        with pytest.raises(NotFound):
            await desk.get(fresh)

    async def test_the_losers_of_a_race_get_the_winners_answer(self, desk: Desk) -> None:
        racing = [
            desk.store.commit(desk.change((desk.project(), 0), receipt=desk.receipt()))
            for _ in range(RACERS)
        ]
        found = await asyncio.gather(*racing)
        won = [committed for committed in found if committed.replayed is None]
        assert len(won) == 1
        answer = desk.receipt().answer(won[0].recorded_at)
        assert {c.replayed for c in found if c.replayed is not None} == {answer}
        assert len((await desk.store.feed(after=None, limit=100)).entries) == 1

    async def test_the_receipt_is_looked_at_before_versions(self, desk: Desk) -> None:
        project = await desk.create()
        change = desk.change((project, 1), receipt=desk.receipt())
        await desk.store.commit(change)
        assert (await desk.store.commit(change)).replayed is not None

    async def test_a_refused_change_leaves_no_receipt(self, desk: Desk) -> None:
        receipt = desk.receipt()
        with pytest.raises(Stale):
            await desk.store.commit(desk.change((desk.project(), 5), receipt=receipt))
        assert await desk.store.receipt(receipt.scope, receipt.key, "f1") is None

    async def test_a_receipt_can_stand_alone(self, desk: Desk) -> None:
        receipt = desk.receipt()
        committed = await desk.store.commit(desk.change(receipt=receipt))
        assert committed.replayed is None
        again = await desk.store.commit(desk.change(receipt=receipt))
        assert again.replayed == receipt.answer(committed.recorded_at)
        assert (await desk.store.feed(after=None, limit=10)).entries == ()

    async def test_a_receipt_lives_for_a_day(self, desk: Desk) -> None:
        receipt = desk.receipt()
        await desk.store.commit(desk.change((desk.project(), 0), receipt=receipt))
        desk.clock.move(timedelta(hours=23, minutes=59))
        assert await desk.store.receipt(receipt.scope, receipt.key, "f1") is not None
        desk.clock.move(timedelta(minutes=2))
        assert await desk.store.receipt(receipt.scope, receipt.key, "f1") is None
        fresh = desk.project()
        again = await desk.store.commit(desk.change((fresh, 0), receipt=receipt))
        assert again.replayed is None
        assert (await desk.get(fresh)).version == 1


class TestMemory:
    """What a durable store remembers when it is opened again."""

    @pytest.fixture(autouse=True)
    def _only_durable(self, request: pytest.FixtureRequest) -> None:
        if not getattr(request.module, "DURABLE", False):
            pytest.skip("the store lives as long as its process")

    async def test_everything_is_there_again(self, desk: Desk, opener: Opener) -> None:
        project = await desk.create()
        await desk.rename(project, 1, "Second")
        await desk.store.commit(desk.change((project, 2), events=()))
        receipt = desk.receipt()
        await desk.store.commit(desk.change((desk.project(), 0), receipt=receipt))
        answer = await desk.store.receipt(receipt.scope, receipt.key, "f1")
        feed, stored = await desk.store.feed(after=None, limit=100), await desk.get(project)
        await desk.store.close()
        store = await opener()
        assert await store.get("project", project.project_id) == stored
        assert await store.feed(after=None, limit=100) == feed
        assert await store.receipt(receipt.scope, receipt.key, "f1") == answer
        assert (await store.head("project", project.project_id)).version == 3
        assert await store.position() == feed.next
        assert await store.records() == [a_record()]

    async def test_order_goes_on_though_the_clock_went_back(
        self, desk: Desk, opener: Opener
    ) -> None:
        project = await desk.create()
        await desk.store.close()
        desk.clock.move(timedelta(days=-1))
        again = Desk(await opener(), desk.clock)
        committed = await again.rename(project, 1, "Second")
        assert committed.recorded_at > (await again.get(project)).created_at
        history = await again.store.history(
            "project", project.project_id, after_version=0, limit=10
        )
        assert [entry.version for entry in history] == [1, 2]
