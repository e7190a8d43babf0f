# ruff: noqa: D102 -- a test's name is its sentence
"""The storage contract's laws: what is read back equals what was written, whatever it is.

See `spawn.testing.storage_contract.commands` for how to run it against an adapter.
Needs hypothesis.
"""

import asyncio
import random
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawn.adapters.embedded import query_evaluation
from spawn.adapters.factory import open_store
from spawn.adapters.local.runtime import Uuid7Ids
from spawn.domain.projects.project import Project
from spawn.domain.query import Query, Sort
from spawn.domain.schemas.validator import compile_schema
from spawn.testing.storage_contract.commands import Desk, ManualClock, a_record
from spawn.testing.strategies import projects

_SCHEMA = a_record().schema


@st.composite
def portfolios(draw: st.DrawFn) -> list[Project]:
    """Projects as wild as the domain allows, each with an id of its own."""
    ids = Uuid7Ids()
    drawn = draw(st.lists(projects(_SCHEMA), min_size=1, max_size=12))
    return [msgspec.structs.replace(project, project_id=ids.new()) for project in drawn]


class TestLaws:
    """Laws that hold for any projects."""

    @given(portfolio=portfolios(), seed=st.integers(0, 2**32))
    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.differing_executors,
        ],
    )
    def test_what_is_read_back_equals_what_was_written(
        self, store_url: str, portfolio: list[Project], seed: int
    ) -> None:
        asyncio.run(_round_trip(f"{store_url}{suffix(store_url)}", portfolio, seed))


_runs = iter(range(10**9))


def suffix(url: str) -> str:
    """Another store for each run, where the URL names a file."""
    return "" if url.endswith("//") else f".{next(_runs)}"


async def _round_trip(url: str, portfolio: list[Project], seed: int) -> None:
    store = await open_store(url, clock=ManualClock())
    try:
        await store.adopt(a_record())
        desk = Desk(store, ManualClock())
        for project in portfolio:
            await store.commit(desk.change((project, 0)))
        for project in portfolio:
            assert (await desk.get(project)).state == project
        await _check_orders(desk, portfolio, random.Random(seed))
    finally:
        await store.close()
    if not url.endswith("//"):
        again = await open_store(url, clock=ManualClock())
        try:
            for project in portfolio:
                assert (await again.get("project", project.project_id)).state == project
        finally:
            await again.close()


async def _check_orders(desk: Desk, portfolio: list[Project], chance: random.Random) -> None:
    """Any sort gives every project once, in the order that plain Python gives."""
    fields = sorted(compile_schema(_SCHEMA).fields)
    stored: list[tuple[Any, int]] = [
        (await desk.get(project), n) for n, project in enumerate(portfolio)
    ]
    for _ in range(4):
        sort = tuple(Sort(field, chance.random() < 0.5) for field in chance.sample(fields, k=2))
        expected = stored
        for by in reversed(sort):
            expected = query_evaluation.ordered(expected, by)
        query, found = Query(sort=sort, limit=3), []
        while True:
            page = await desk.store.page(query)
            found += [item.id for item in page.items]
            if page.next is None:
                break
            query = msgspec.structs.replace(query, after=page.next)
        assert found == [item.id for item, _ in expected]
