"""Queries of one client never keep those of another out."""

import asyncio
import threading
from pathlib import Path

import pytest

from spawn.adapters.duckdb.connection import Engine, ReaderThreads
from spawn.adapters.embedded import reader_turns
from spawn.adapters.embedded.reader_turns import ReaderTurns
from spawn.domain.errors import Overloaded
from spawn.ports.runtime import current_client


async def take_all(turns: ReaderTurns, client: str, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(turns.take(client)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_a_client_alone_uses_its_threads_and_another_finds_one_beside_them() -> None:
    turns = ReaderTurns(2, 256)
    hostile = await take_all(turns, "hostile", 10)
    assert [task.done() for task in hostile] == [True, True] + [False] * 8
    await asyncio.wait_for(turns.take("good"), 1)
    assert (turns.running, turns.waiting) == (3, 8)


async def test_clients_run_one_query_each_while_several_have_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 100.0
    monkeypatch.setattr(reader_turns, "monotonic", lambda: now_s)
    turns = ReaderTurns(2, 256)
    hostile = await take_all(turns, "hostile", 6)
    assert sum(task.done() for task in hostile) == 2
    await turns.take("good")
    turns.release("good")
    for _ in range(2):  # both of its queries end, and only one follows
        turns.release("hostile")
    await asyncio.sleep(0)
    assert (sum(task.done() for task in hostile), turns.running) == (3, 1)
    now_s += 1.0  # alone again, it runs two
    turns.release("hostile")
    await asyncio.sleep(0)
    assert (sum(task.done() for task in hostile), turns.running) == (5, 2)


async def test_clients_that_wait_take_turns_after_one_another() -> None:
    turns = ReaderTurns(1, 256)
    await turns.take("a")
    await turns.take("b")
    order: list[str] = []

    async def run(client: str) -> None:
        await turns.take(client)
        order.append(client)
        turns.release(client)

    tasks = [asyncio.create_task(run(client)) for client in ("c", "c", "c", "d", "e", "e")]
    await asyncio.sleep(0)
    turns.release("a")
    await asyncio.wait_for(asyncio.gather(*tasks), 1)
    assert order == ["c", "d", "e", "c", "e", "c"]
    turns.release("b")
    assert (turns.running, turns.waiting) == (0, 0)


async def test_a_client_fills_its_share_of_the_queue_only() -> None:
    turns = ReaderTurns(1, 8)
    hostile = await take_all(turns, "hostile", 7)
    with pytest.raises(Overloaded):
        await turns.take("hostile")
    await turns.take("good")
    good = await take_all(turns, "good", 2)
    with pytest.raises(Overloaded):
        await turns.take("third")
    for task in (*hostile, *good):
        task.cancel()


async def test_a_wait_that_is_cancelled_takes_no_turn() -> None:
    turns = ReaderTurns(1, 8)
    await turns.take("a")
    waiting, next_one = await take_all(turns, "a", 2)
    waiting.cancel()
    await asyncio.sleep(0)
    turns.release("a")
    await asyncio.wait_for(next_one, 1)
    assert (turns.running, turns.waiting) == (1, 0)
    # The turn comes, and the wait is cancelled before its task runs again.
    (late,) = await take_all(turns, "a", 1)
    turns.release("a")
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert (turns.running, turns.waiting) == (0, 0)


async def test_costly_queries_of_one_client_leave_a_thread_to_another(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "store.duckdb", "64MB", 1 << 20)
    readers = ReaderThreads(engine, 2, timeout_s=20, operation="read", on_fatal=lambda: None)
    barrier = threading.Event()

    async def read_slowly() -> bool:
        current_client.set("hostile")
        return await readers.run(lambda _: barrier.wait(20))

    try:
        slow = [asyncio.create_task(read_slowly()) for _ in range(20)]
        await asyncio.sleep(0)
        current_client.set("good")
        row = await asyncio.wait_for(readers.run(lambda c: c.execute("select 7").fetchone()), 10)
        assert row == (7,)
        assert not any(task.done() for task in slow)
        barrier.set()
        assert all(await asyncio.gather(*slow))
    finally:
        barrier.set()
        readers.close()
        engine.close()


async def test_a_query_that_ends_after_a_cancellation_gives_its_turn_to_another() -> None:
    turns = ReaderTurns(1, 10)
    await turns.take("a")
    first, second = (asyncio.create_task(turns.take("a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    turns.release("a")  # before the task that was cancelled has run
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert (turns.running, turns.waiting) == (1, 0)
    turns.release("a")
    assert turns.running == 0
