"""Turns of what arrives on the connections of several clients."""

import asyncio
from functools import partial

import pytest

from spawn.application.traffic import arrival_turns
from spawn.application.traffic.arrival_turns import ARRIVALS, CONTENTION_S, ArrivalTurns


class Arrivals:
    """Arrivals that are served at once or in a later round, in the order of their service."""

    def __init__(self) -> None:
        self.turns = ArrivalTurns()
        self.served: list[str] = []

    def arrive(self, client: str, name: str) -> None:
        serve = partial(self.served.append, name)
        if self.turns.take(client, serve):
            serve()


@pytest.fixture
def arrivals() -> Arrivals:
    return Arrivals()


async def test_a_client_alone_is_served_at_once(arrivals: Arrivals) -> None:
    for number in range(50):
        arrivals.arrive("a", f"a{number}")
    assert len(arrivals.served) == 50


async def test_each_client_has_its_arrivals_in_every_round(arrivals: Arrivals) -> None:
    arrivals.arrive("b", "b0")
    for number in range(10):
        arrivals.arrive("a", f"a{number}")
    arrivals.arrive("b", "b1")
    assert arrivals.served == ["b0", "a0", "a1", "a2", "a3", "b1"]
    assert ARRIVALS == 4
    await asyncio.sleep(0)
    assert arrivals.served[6:] == ["a4", "a5", "a6", "a7"]
    arrivals.arrive("b", "b2")
    arrivals.arrive("a", "a10")
    assert arrivals.served[10:] == ["b2"]
    await asyncio.sleep(0)
    assert arrivals.served[11:] == ["a8", "a9", "a10"]


async def test_an_arrival_waits_behind_those_of_its_client(arrivals: Arrivals) -> None:
    arrivals.arrive("b", "b0")
    for number in range(9):
        arrivals.arrive("a", f"a{number}")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    arrivals.arrive("a", "a9")
    assert arrivals.served == ["b0", *(f"a{number}" for number in range(10))]


async def test_a_client_is_alone_again_after_the_contention(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 10.0
    monkeypatch.setattr(arrival_turns, "monotonic", lambda: now_s)
    arrivals.arrive("b", "b0")
    for number in range(6):
        arrivals.arrive("a", f"a{number}")
    assert len(arrivals.served) == 5
    await asyncio.sleep(0)
    now_s += CONTENTION_S
    for number in range(6, 16):
        arrivals.arrive("a", f"a{number}")
    assert len(arrivals.served) == 17
