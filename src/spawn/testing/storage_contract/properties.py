# ruff: noqa: D102 -- a test's name is its sentence
"""Storage contract: round-trip properties, for random projects.

See `spawn.testing.storage_contract.harness` for how to run it against an adapter.
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
from spawn.adapters.local.ids import Uuid7Ids
from spawn.domain.projects.project import Project
from spawn.domain.query import Query, Sort
from spawn.domain.schemas.validator import compile_schema
from spawn.testing.intensity import rounds
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record
from spawn.testing.strategies import projects

_SCHEMA = a_record().schema


@st.composite
def project_lists(draw: st.DrawFn) -> list[Project]:
    """Draw any valid projects, each with its own id."""
    ids = Uuid7Ids()
    project_list = draw(st.lists(projects(_SCHEMA), min_size=1, max_size=12))
    return [msgspec.structs.replace(project, project_id=ids.new()) for project in project_list]


class TestRoundTrip:
    """Properties of any projects."""

    @given(projects_written=project_lists(), seed=st.integers(0, 2**32))
    @settings(
        max_examples=rounds(5, 15),
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.differing_executors,
        ],
    )
    def test_projects_are_read_back_as_written(
        self, store_url: str, projects_written: list[Project], seed: int
    ) -> None:
        asyncio.run(_round_trip(f"{store_url}{url_suffix(store_url)}", projects_written, seed))


_run_numbers = iter(range(10**9))


def url_suffix(url: str) -> str:
    """Return a URL suffix that gives each run its own file, if the URL names a file."""
    return "" if url.endswith("//") else f".{next(_run_numbers)}"


async def _round_trip(url: str, projects_written: list[Project], seed: int) -> None:
    store = await open_store(url, clock=ManualClock())
    try:
        await store.adopt(a_record())
        harness = StorageHarness(store, ManualClock())
        for project in projects_written:
            await store.commit(harness.change((project, 0)))
        for project in projects_written:
            assert (await harness.get(project)).state == project
        await _check_orders(harness, projects_written, random.Random(seed))
    finally:
        await store.close()
    if not url.endswith("//"):
        second_store = await open_store(url, clock=ManualClock())
        try:
            for project in projects_written:
                assert (await second_store.get("project", project.project_id)).state == project
        finally:
            await second_store.close()


async def _check_orders(
    harness: StorageHarness, projects_written: list[Project], rng: random.Random
) -> None:
    """Check that any sort returns each project once, in the order of plain Python."""
    fields = sorted(compile_schema(_SCHEMA).fields)
    items: list[tuple[Any, int]] = [
        (await harness.get(project), n) for n, project in enumerate(projects_written)
    ]
    for _ in range(4):
        sort = tuple(Sort(field, rng.random() < 0.5) for field in rng.sample(fields, k=2))
        expected = items
        for criterion in reversed(sort):
            expected = query_evaluation.sort_items(expected, criterion)
        query, ids = Query(sort=sort, limit=3), []
        while True:
            page = await harness.store.page(query)
            ids += [item.id for item in page.items]
            if page.next is None:
                break
            query = msgspec.structs.replace(query, after=page.next)
        assert ids == [item.id for item, _ in expected]
