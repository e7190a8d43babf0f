# ruff: noqa: D102 -- a test's name is its sentence
"""Storage contract: feed, bookmarks and derived documents.

See `spawn.testing.storage_contract.harness` for how to run it against an adapter.
"""

import asyncio
import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from spawn.domain.change import Write
from spawn.domain.errors import CursorExpired, CursorInvalid, Unavailable
from spawn.domain.events.event import DomainEvent
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.projects.project import ExternalRefReservation
from spawn.ports.storage import DerivedDocument
from spawn.testing.storage_contract.harness import StorageHarness, gather_outcomes


class TestFeed:
    """The feed returns every event once, in order, from any position."""

    async def test_every_event_is_returned_once_in_order(self, harness: StorageHarness) -> None:
        projects = [await harness.create(project_name=f"N{n}") for n in range(5)]
        await harness.rename(projects[2], 1, "Second")
        entries, after = list[JournalEntry](), None
        while (page := await harness.store.feed(after=after, limit=2)).entries:
            entries += page.entries
            after = page.next
        assert [(e.id, e.version) for e in entries] == [
            *((p.project_id, 1) for p in projects),
            (projects[2].project_id, 2),
        ]
        positions = [e.position for e in entries]
        assert len(set(positions)) == 6
        assert page.next == after == positions[-1] == await harness.store.position()

    async def test_the_feed_continues_after_any_entry(self, harness: StorageHarness) -> None:
        for n in range(4):
            await harness.create(project_name=f"N{n}")
        entries = (await harness.store.feed(after=None, limit=10)).entries
        for n, entry in enumerate(entries):
            rest = await harness.store.feed(after=entry.position, limit=10)
            assert rest.entries == entries[n + 1 :]

    async def test_entries_outside_the_filter_are_skipped(self, harness: StorageHarness) -> None:
        project = await harness.create()
        reserve = Write(
            "external_ref", "erp:1", 0, ExternalRefReservation(project_id=project.project_id)
        )
        await harness.store.commit(harness.change(writes=(reserve,), events=()))
        await harness.rename(project, 1, "Second")
        page = await harness.store.feed(after=None, limit=10, types=frozenset({"project.amended"}))
        assert [e.version for e in page.entries] == [2]
        other = await harness.create()
        mine = await harness.store.feed(
            after=None, limit=10, subject=("project", project.project_id)
        )
        assert [e.version for e in mine.entries] == [1, 2]
        nothing = await harness.store.feed(after=None, limit=10, types=frozenset({"x.y"}))
        assert (nothing.entries, nothing.next) == ((), await harness.store.position())
        assert other.project_id not in {e.id for e in mine.entries}

    async def test_lineage_events_are_returned_only_for_their_types(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create()
        event = DomainEvent(
            type="lineage.started", kind="project", id=project.project_id, changed=()
        )
        result = await harness.store.commit(harness.change((project, 1), events=(event,)))
        subject = ("project", project.project_id)
        for types, versions in (
            (None, [1]),
            (frozenset({"lineage.started"}), [2]),
            (frozenset({"lineage.started", "project.created"}), [1, 2]),
            (frozenset[str](), []),
        ):
            for about in (None, subject):
                page = await harness.store.feed(after=None, limit=10, types=types, subject=about)
                assert [entry.version for entry in page.entries] == versions
                assert page.next == result.position

    async def test_new_events_follow_the_end_of_the_feed(self, harness: StorageHarness) -> None:
        end = await harness.store.position()
        assert await harness.store.feed(after=end, limit=10) == await harness.store.feed(
            after=None, limit=10
        )
        project = await harness.create()
        page = await harness.store.feed(after=end, limit=10)
        assert [e.id for e in page.entries] == [project.project_id]

    async def test_a_commit_ends_the_wait_for_a_change(self, harness: StorageHarness) -> None:
        end = await harness.store.position()
        waiter = asyncio.create_task(harness.store.wait_for_change(end, 60))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not waiter.done()
        await harness.create()
        async with asyncio.timeout(10):
            assert await waiter == await harness.store.position() != end

    async def test_an_earlier_change_ends_the_wait_at_once(self, harness: StorageHarness) -> None:
        end = await harness.store.position()
        await harness.create()
        async with asyncio.timeout(10):
            assert await harness.store.wait_for_change(end, 60) == await harness.store.position()

    async def test_waiting_for_a_change_times_out_and_leaves_nothing_behind(
        self, harness: StorageHarness
    ) -> None:
        end = await harness.store.position()
        assert await harness.store.wait_for_change(end, 0.01) == end
        cancelled_waiter = asyncio.create_task(harness.store.wait_for_change(end, 60))
        await asyncio.sleep(0)
        cancelled_waiter.cancel()
        await harness.create()
        assert (await gather_outcomes([cancelled_waiter]))[0].__class__ is asyncio.CancelledError

    async def test_closing_the_store_ends_every_wait(self, harness: StorageHarness) -> None:
        end = await harness.store.position()
        waiter = asyncio.create_task(harness.store.wait_for_change(end, 60))
        await asyncio.sleep(0)
        await harness.store.close()
        with pytest.raises(Unavailable):
            async with asyncio.timeout(10):
                await waiter
        with pytest.raises(Unavailable):
            await harness.store.wait_for_change(end, 60)

    async def test_positions_that_were_never_issued_are_rejected(
        self, harness: StorageHarness
    ) -> None:
        await harness.create()
        end = await harness.store.position()
        for position in (Position(end.epoch, end.number + 1), Position(end.epoch + 1, 0)):
            with pytest.raises(CursorInvalid):
                await harness.store.feed(after=position, limit=1)
        with pytest.raises(CursorExpired) as error:
            await harness.store.feed(after=Position(end.epoch - 1, 1), limit=1)
        assert (await harness.store.feed(after=Position.parse(error.value.oldest), limit=1)).entries

    async def test_all_writes_of_a_change_are_recorded_at_one_instant(
        self, harness: StorageHarness
    ) -> None:
        change = harness.change(*((harness.project(), 0) for _ in range(40)))
        result = await harness.store.commit(change)
        page = await harness.store.feed(after=None, limit=100)
        assert [e.id for e in page.entries] == [write.id for write in change.writes]
        assert {e.recorded_at for e in page.entries} == {result.recorded_at}
        assert page.entries[-1].position == result.position

    async def test_the_rows_after_a_position_are_counted(self, harness: StorageHarness) -> None:
        before = await harness.store.position()
        project = await harness.create()
        reserve = Write(
            "external_ref", "erp:1", 0, ExternalRefReservation(project_id=project.project_id)
        )
        await harness.store.commit(harness.change(writes=(reserve,), events=()))
        end = await harness.store.position()
        assert await harness.store.count_rows_after(before) == 2
        assert await harness.store.count_rows_after(end) == 0
        assert await harness.store.count_rows_after(None) >= 2
        with pytest.raises(CursorInvalid):
            await harness.store.count_rows_after(Position(end.epoch, end.number + 1))

    async def test_entries_before_the_floor_are_stored_but_not_returned(
        self, harness: StorageHarness
    ) -> None:
        old = [await harness.create() for _ in range(3)]
        early = (await harness.store.feed(after=None, limit=1)).next
        harness.clock.advance(timedelta(days=2))
        new = await harness.create()
        floor = harness.clock.now() - timedelta(days=1)
        page = await harness.store.feed(after=None, limit=10, floor=floor)
        assert [e.id for e in page.entries] == [new.project_id]
        with pytest.raises(CursorExpired) as error:
            await harness.store.feed(after=early, limit=10, floor=floor)
        oldest = error.value.oldest
        again = await harness.store.feed(after=Position.parse(oldest), limit=10, floor=floor)
        assert again == page
        everything = await harness.store.feed(after=None, limit=10)
        assert len(everything.entries) == len(old) + 1
        harness.clock.advance(timedelta(days=2))
        later = await harness.store.feed(
            after=None, limit=10, floor=harness.clock.now() - timedelta(days=1)
        )
        assert (later.entries, later.next) == ((), await harness.store.position())


class TestIdentity:
    """A store has an identity, drawn when it is made."""

    async def test_an_identity_outlives_a_reopening(
        self, harness: StorageHarness, reopen_store: Any, request: pytest.FixtureRequest
    ) -> None:
        store_id = harness.store.status().store_id
        assert re.fullmatch("[0-9a-f]{32}", store_id)
        if getattr(request.module, "DURABLE", False):
            await harness.create()
            await harness.store.close()
            assert (await reopen_store()).status().store_id == store_id


class TestBookmarks:
    """Positions of followers are stored with the feed."""

    async def test_the_last_position_of_each_name_is_stored(self, harness: StorageHarness) -> None:
        assert await harness.store.load_bookmarks() == {}
        first, second = Position(1, 1), Position(1, 2)
        await harness.store.save_bookmarks({"a": first, "https://b.example/c": first})
        await harness.store.save_bookmarks({"a": second, "d": None})
        positions = {"a": second, "https://b.example/c": first, "d": None}
        assert await harness.store.load_bookmarks() == positions

    async def test_saving_does_not_change_the_journal(self, harness: StorageHarness) -> None:
        before = await harness.store.position()
        await harness.store.save_bookmarks({"a": before})
        assert await harness.store.position() == before

    async def test_bookmarks_are_as_durable_as_the_journal(
        self, harness: StorageHarness, reopen_store: Any, request: pytest.FixtureRequest
    ) -> None:
        if not getattr(request.module, "DURABLE", False):
            pytest.skip("the store ends with its process")
        await harness.store.save_bookmarks({"a": Position(1, 1)})
        await harness.store.close()
        with pytest.raises(Unavailable):
            await harness.store.save_bookmarks({"a": Position(1, 2)})
        assert await (await reopen_store()).load_bookmarks() == {"a": Position(1, 1)}


class TestDerivedDocuments:
    """Derived documents are stored beside the journal."""

    async def test_the_last_document_of_each_name_and_key_is_read(
        self, harness: StorageHarness
    ) -> None:
        assert await harness.store.load_derived("sums", ["a"]) == {}
        first = DerivedDocument(name="sums", key="a", basis=(1, 4), document=b'["x"]')
        second = DerivedDocument(name="sums", key="b", basis=(2,), document='["ä\'"]'.encode())
        other = DerivedDocument(name="other", key="a", basis=(0, 7), document=b"{}")
        before = await harness.store.position()
        await harness.store.save_derived([first, second, other])
        assert await harness.store.load_derived("sums", ["a", "b", "c"]) == {
            "a": first,
            "b": second,
        }
        later = msgspec.structs.replace(first, basis=(1, 5), document=b"[2]")
        await harness.store.save_derived([later])
        assert await harness.store.load_derived("sums", ["a"]) == {"a": later}
        assert await harness.store.load_derived("other", ["a", "b"]) == {"a": other}
        assert await harness.store.position() == before

    async def test_a_document_may_outlive_a_reopening(
        self, harness: StorageHarness, reopen_store: Any, request: pytest.FixtureRequest
    ) -> None:
        if not getattr(request.module, "DURABLE", False):
            pytest.skip("the store ends with its process")
        one = DerivedDocument(name="sums", key="a", basis=(1,), document=b"{}")
        await harness.store.save_derived([one])
        await harness.store.close()
        with pytest.raises(Unavailable):
            await harness.store.save_derived([one])
        assert await (await reopen_store()).load_derived("sums", ["a"]) in ({}, {"a": one})
