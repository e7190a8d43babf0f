# ruff: noqa: D102 -- a test's name is its sentence
"""The storage contract, continued: the feed, those who follow it, and where they stand.

See `spawn.testing.storage_contract.commands` for how to run it against an adapter.
"""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from spawn.domain.change import Entry, Write
from spawn.domain.errors import CursorExpired, CursorInvalid, Unavailable
from spawn.domain.events.event import DomainEvent
from spawn.domain.projects.project import Reservation
from spawn.testing.storage_contract.commands import Desk, outcomes


class TestFeed:
    """The feed shows every event once, in order, and continues anywhere."""

    async def test_every_event_is_shown_once_in_order(self, desk: Desk) -> None:
        projects = [await desk.create(project_name=f"N{n}") for n in range(5)]
        await desk.rename(projects[2], 1, "Second")
        entries, after = list[Entry](), None
        while (page := await desk.store.feed(after=after, limit=2)).entries:
            entries += page.entries
            after = page.next
        assert [(e.id, e.version) for e in entries] == [
            *((p.project_id, 1) for p in projects),
            (projects[2].project_id, 2),
        ]
        positions = [e.position for e in entries]
        assert len(set(positions)) == 6
        assert page.next == after == positions[-1] == await desk.store.position()

    async def test_any_entry_is_a_place_to_continue_from(self, desk: Desk) -> None:
        for n in range(4):
            await desk.create(project_name=f"N{n}")
        entries = (await desk.store.feed(after=None, limit=10)).entries
        for n, entry in enumerate(entries):
            rest = await desk.store.feed(after=entry.position, limit=10)
            assert rest.entries == entries[n + 1 :]

    async def test_what_is_not_shown_is_passed_over(self, desk: Desk) -> None:
        project = await desk.create()
        reserve = Write("external_ref", "erp:1", 0, Reservation(project_id=project.project_id))
        await desk.store.commit(desk.change(writes=(reserve,), events=()))
        await desk.rename(project, 1, "Second")
        amended = await desk.store.feed(after=None, limit=10, types=frozenset({"project.amended"}))
        assert [e.version for e in amended.entries] == [2]
        other = await desk.create()
        mine = await desk.store.feed(after=None, limit=10, subject=("project", project.project_id))
        assert [e.version for e in mine.entries] == [1, 2]
        nothing = await desk.store.feed(after=None, limit=10, types=frozenset({"x.y"}))
        assert (nothing.entries, nothing.next) == ((), await desk.store.position())
        assert other.project_id not in {e.id for e in mine.entries}

    async def test_lineage_is_shown_only_to_who_names_it(self, desk: Desk) -> None:
        project = await desk.create()
        event = DomainEvent(
            type="lineage.started", kind="project", id=project.project_id, changed=()
        )
        committed = await desk.store.commit(desk.change((project, 1), events=(event,)))
        subject = ("project", project.project_id)
        for types, versions in (
            (None, [1]),
            (frozenset({"lineage.started"}), [2]),
            (frozenset({"lineage.started", "project.created"}), [1, 2]),
            (frozenset[str](), []),
        ):
            for about in (None, subject):
                page = await desk.store.feed(after=None, limit=10, types=types, subject=about)
                assert [entry.version for entry in page.entries] == versions
                assert page.next == committed.position

    async def test_the_end_of_the_feed_is_where_new_events_come(self, desk: Desk) -> None:
        end = await desk.store.position()
        assert await desk.store.feed(after=end, limit=10) == await desk.store.feed(
            after=None, limit=10
        )
        project = await desk.create()
        page = await desk.store.feed(after=end, limit=10)
        assert [e.id for e in page.entries] == [project.project_id]

    async def test_who_waits_for_a_change_is_woken_by_a_commit(self, desk: Desk) -> None:
        end = await desk.store.position()
        waiting = asyncio.create_task(desk.store.await_change(end, 60))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not waiting.done()
        await desk.create()
        async with asyncio.timeout(10):
            assert await waiting == await desk.store.position() != end

    async def test_a_change_that_is_there_already_is_not_waited_for(self, desk: Desk) -> None:
        end = await desk.store.position()
        await desk.create()
        async with asyncio.timeout(10):
            assert await desk.store.await_change(end, 60) == await desk.store.position()

    async def test_waiting_for_a_change_ends_in_time_and_leaves_nothing_behind(
        self, desk: Desk
    ) -> None:
        end = await desk.store.position()
        assert await desk.store.await_change(end, 0.01) == end
        given_up = asyncio.create_task(desk.store.await_change(end, 60))
        await asyncio.sleep(0)
        given_up.cancel()
        await desk.create()
        assert (await outcomes([given_up]))[0].__class__ is asyncio.CancelledError

    async def test_a_closing_store_lets_those_who_wait_go(self, desk: Desk) -> None:
        end = await desk.store.position()
        waiting = asyncio.create_task(desk.store.await_change(end, 60))
        await asyncio.sleep(0)
        await desk.store.close()
        with pytest.raises(Unavailable):
            async with asyncio.timeout(10):
                await waiting
        with pytest.raises(Unavailable):
            await desk.store.await_change(end, 60)

    async def test_positions_that_were_never_issued_are_refused(self, desk: Desk) -> None:
        await desk.create()
        epoch, number = (int(part) for part in (await desk.store.position()).split("."))
        for text in ("", "x", "1", f"{epoch}.{number + 1}", f"{epoch + 1}.0", f"{epoch}.-1"):
            with pytest.raises(CursorInvalid):
                await desk.store.feed(after=text, limit=1)
        with pytest.raises(CursorExpired) as expired:
            await desk.store.feed(after=f"{epoch - 1}.1", limit=1)
        assert (await desk.store.feed(after=expired.value.oldest, limit=1)).entries

    async def test_all_writes_of_a_change_are_recorded_at_one_instant(self, desk: Desk) -> None:
        change = desk.change(*((desk.project(), 0) for _ in range(40)))
        committed = await desk.store.commit(change)
        page = await desk.store.feed(after=None, limit=100)
        assert [e.id for e in page.entries] == [write.id for write in change.writes]
        assert {e.recorded_at for e in page.entries} == {committed.recorded_at}
        assert page.entries[-1].position == committed.position

    async def test_the_rows_after_a_position_are_counted(self, desk: Desk) -> None:
        before = await desk.store.position()
        project = await desk.create()
        reserve = Write("external_ref", "erp:1", 0, Reservation(project_id=project.project_id))
        await desk.store.commit(desk.change(writes=(reserve,), events=()))
        end = await desk.store.position()
        assert await desk.store.rows_after(before) == 2
        assert await desk.store.rows_after(end) == 0
        assert await desk.store.rows_after(None) >= 2
        with pytest.raises(CursorInvalid):
            await desk.store.rows_after("nonsense")

    async def test_what_is_older_than_the_floor_is_hidden_but_not_gone(self, desk: Desk) -> None:
        old = [await desk.create() for _ in range(3)]
        early = (await desk.store.feed(after=None, limit=1)).next
        desk.clock.move(timedelta(days=2))
        new = await desk.create()
        floor = desk.clock.now() - timedelta(days=1)
        page = await desk.store.feed(after=None, limit=10, floor=floor)
        assert [e.id for e in page.entries] == [new.project_id]
        with pytest.raises(CursorExpired) as expired:
            await desk.store.feed(after=early, limit=10, floor=floor)
        oldest = expired.value.oldest
        again = await desk.store.feed(after=oldest, limit=10, floor=floor)
        assert again == page
        everything = await desk.store.feed(after=None, limit=10)
        assert len(everything.entries) == len(old) + 1
        desk.clock.move(timedelta(days=2))
        later = await desk.store.feed(
            after=None, limit=10, floor=desk.clock.now() - timedelta(days=1)
        )
        assert (later.entries, later.next) == ((), await desk.store.position())


class TestBookmarks:
    """Where those who follow the feed stand is kept with it."""

    async def test_the_last_position_of_each_name_is_kept(self, desk: Desk) -> None:
        assert await desk.store.load_bookmarks() == {}
        await desk.store.save_bookmarks({"a": "1.1", "https://b.example/c": "1.1"})
        await desk.store.save_bookmarks({"a": "1.2", "d": ""})
        kept = {"a": "1.2", "https://b.example/c": "1.1", "d": ""}
        assert await desk.store.load_bookmarks() == kept

    async def test_saving_is_no_change_of_the_journal(self, desk: Desk) -> None:
        before = await desk.store.position()
        await desk.store.save_bookmarks({"a": before})
        assert await desk.store.position() == before

    async def test_they_are_as_durable_as_the_journal(
        self, desk: Desk, opener: Any, request: pytest.FixtureRequest
    ) -> None:
        if not getattr(request.module, "DURABLE", False):
            pytest.skip("the store ends with its process")
        await desk.store.save_bookmarks({"a": "1.1"})
        await desk.store.close()
        with pytest.raises(Unavailable):
            await desk.store.save_bookmarks({"a": "1.2"})
        assert await (await opener()).load_bookmarks() == {"a": "1.1"}
