"""Property of the relay: after any interruption every event is delivered, in order."""

import asyncio
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.application.conftest import open_test_dependencies
from tests.application.events.test_relay import Consumer, ProjectWriter, RejectionRule, relaying

from spawn.application.events.delivery import RetryPolicy
from spawn.domain.events.journal_entry import JournalEntry

KEYS = ("a", "b", "c", "d")
RETRY_POLICY = RetryPolicy(
    max_attempts=10**6, initial_delay_s=1e-5, max_delay_s=1e-4, max_pause_s=1e-4, pause_after=2
)


@given(
    seed=st.integers(0, 2**32),
    batch=st.sampled_from([1, 3, 100]),
    concurrency=st.sampled_from([1, 4]),
    failing=st.floats(0, 0.9),
    calls=st.integers(1, 30),
)
@settings(max_examples=60, deadline=None)
def test_a_relay_interrupted_anywhere_skips_no_event(
    seed: int, batch: int, concurrency: int, failing: float, calls: int
) -> None:
    asyncio.run(_cut_off(random.Random(seed), batch, concurrency, failing, calls))


async def _cut_off(
    chance: random.Random, batch: int, concurrency: int, failing: float, calls: int
) -> None:
    with TemporaryDirectory() as folder:
        async with open_test_dependencies(Path(folder)) as dependencies:
            writer = ProjectWriter(dependencies)
            terms: dict[str, Any] = {
                "batch": batch,
                "concurrency": concurrency,
                "from_oldest": True,
            }
            first = Consumer(verdict=_moods(chance, failing), **terms)
            write_counts = dict.fromkeys(KEYS, 0)
            async with relaying(dependencies, first, retry_policy=RETRY_POLICY) as relay:
                for _ in range(30):
                    keys = chance.sample(KEYS, chance.randrange(1, len(KEYS) + 1))
                    await writer.write(*keys)
                    for key in keys:
                        write_counts[key] += 1
                total = sum(write_counts.values())
                await first.until(
                    lambda: first.calls >= calls or len(first.accepted_entries) == total
                )
                await relay.close()  # its positions are kept; what is under way is cut off
            second = Consumer(**terms)
            async with relaying(dependencies, second, retry_policy=RETRY_POLICY) as relay:
                await relay.drain()
    for key, versions in write_counts.items():
        deliveries = [first.versions().get(key, []), second.versions().get(key, [])]
        assert set(deliveries[0]) | set(deliveries[1]) == set(range(1, versions + 1))
        assert all(one == sorted(one) for one in deliveries)
        assert len(set(deliveries[0])) == len(deliveries[0])


def _moods(chance: random.Random, failing: float) -> RejectionRule:
    def verdict(_entry: JournalEntry) -> str | None:
        return "not now" if chance.random() < failing else None

    return verdict
