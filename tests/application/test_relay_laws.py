"""The relay's law: wherever it is cut off, everything was told or is told next time, in order."""

import asyncio
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.application.conftest import services_in
from tests.application.test_relay import Consumer, Desk, Verdict, relaying

from spawn.application.events.delivery import Patience
from spawn.domain.change import Entry

KEYS = ("a", "b", "c", "d")
PATIENCE = Patience(tries=10**6, first_s=1e-5, longest_s=1e-4, hold_s=1e-4, hold_after=2)


@given(
    seed=st.integers(0, 2**32),
    batch=st.sampled_from([1, 3, 100]),
    concurrency=st.sampled_from([1, 4]),
    failing=st.floats(0, 0.9),
    calls=st.integers(1, 30),
)
@settings(max_examples=60, deadline=None)
def test_a_relay_that_is_cut_off_anywhere_leaves_nothing_out(
    seed: int, batch: int, concurrency: int, failing: float, calls: int
) -> None:
    asyncio.run(_cut_off(random.Random(seed), batch, concurrency, failing, calls))


async def _cut_off(
    chance: random.Random, batch: int, concurrency: int, failing: float, calls: int
) -> None:
    with TemporaryDirectory() as folder:
        async with services_in(Path(folder)) as services:
            desk = Desk(services)
            terms: dict[str, Any] = {
                "batch": batch,
                "concurrency": concurrency,
                "from_oldest": True,
            }
            first = Consumer(verdict=_moods(chance, failing), **terms)
            written = dict.fromkeys(KEYS, 0)
            async with relaying(services, first, patience=PATIENCE) as relay:
                for _ in range(30):
                    chosen = chance.sample(KEYS, chance.randrange(1, len(KEYS) + 1))
                    await desk.write(*chosen)
                    for key in chosen:
                        written[key] += 1
                total = sum(written.values())
                await first.until(lambda: first.calls >= calls or len(first.taken) == total)
                await relay.close()  # its positions are kept; what is under way is cut off
            second = Consumer(**terms)
            async with relaying(services, second, patience=PATIENCE) as relay:
                await relay.drain()
    for key, versions in written.items():
        told = [first.versions().get(key, []), second.versions().get(key, [])]
        assert set(told[0]) | set(told[1]) == set(range(1, versions + 1))
        assert all(one == sorted(one) for one in told)
        assert len(set(told[0])) == len(told[0])


def _moods(chance: random.Random, failing: float) -> Verdict:
    def verdict(_entry: Entry) -> str | None:
        return "not now" if chance.random() < failing else None

    return verdict
