"""An instant of the present is given once every change that was recorded by it is visible."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.application.conftest import open_engine_dependencies
from tests.http.access.worlds import until

from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.application.access.row_access import limit_to_rows
from spawn.application.dependencies import Dependencies, require_past
from spawn.application.events.feed import NEWEST, find_end, find_start
from spawn.application.projects.commands import create_project
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.domain.principal import LOCAL_PRINCIPAL, Principal, RowScope, Scope
from spawn.domain.schemas.validator import ProjectInput
from spawn.ports.schemas import SchemaRecord, SchemaState

ENVELOPE = EventEnvelope("https://spawn.example", "project_schema", "0" * 32, names_versions=True)
ROWS = RowScope.of({"x_desk": ["iberia"]})
Ask = Callable[[Dependencies, Dependencies], Awaitable[object]]


@pytest.fixture
async def dependencies(tmp_path: Path) -> AsyncIterator[Dependencies]:
    registry = BundledRegistry()
    fetched = await registry.fetch("project_schema")
    async with open_engine_dependencies("duckdb", registry, tmp_path) as opened:
        record = SchemaRecord(
            schema=fetched.schema,
            document=fetched.document,
            state=SchemaState.ACTIVE,
            provenance=fetched.provenance,
            recorded_at=opened.clock.now(),
        )
        await opened.schemas.adopt(record)
        yield opened


async def _create(dependencies: Dependencies) -> None:
    core: dict[str, object] = {"project_name": "Sierra", "total_amount": Decimal(1)}
    attributes = ProjectInput(
        core=core, governed={}, extensions={"x_desk": msgspec.Raw(b'"iberia"')}
    )
    await create_project(dependencies, LOCAL_PRINCIPAL, attributes=attributes)


@asynccontextmanager
async def _hold_writer(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    """Hold a change that has its time of recording, and is not in the journal yet."""
    store: Any = dependencies.reads
    is_held, is_released = threading.Event(), threading.Event()
    append_rows = store._appender._append_rows

    def hold_and_append(*arguments: Any) -> None:
        is_held.set()
        is_released.wait(60)
        append_rows(*arguments)

    monkeypatch.setattr(store._appender, "_append_rows", hold_and_append)
    change = asyncio.create_task(_create(dependencies))
    assert await asyncio.to_thread(is_held.wait, 60)
    try:
        yield store._writer
    finally:
        is_released.set()
        await change


async def _find_newest(_: Dependencies, scoped: Dependencies) -> object:
    return await find_start(scoped, ENVELOPE, NEWEST)


async def _find_end(_: Dependencies, scoped: Dependencies) -> object:
    return await find_end(scoped, ENVELOPE)


async def _check_past(dependencies: Dependencies, _: Dependencies) -> object:
    await require_past(dependencies, dependencies.clock.now())
    return None


@pytest.mark.parametrize("ask", [_find_newest, _find_end, _check_past])
async def test_change_in_progress_is_awaited(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    await _create(dependencies)
    principal = Principal(id="x", scopes=frozenset(Scope), row_scope=ROWS)
    scoped = limit_to_rows(dependencies, principal)
    before = await dependencies.reads.position()
    async with _hold_writer(dependencies, monkeypatch) as writer:
        asked = asyncio.ensure_future(ask(dependencies, scoped))
        await until(lambda: asked.done() or bool(writer._calls))
        assert not asked.done()
    await asked
    assert (await dependencies.reads.position()).number == before.number + 1


async def test_instant_of_an_earlier_change_awaits_nothing(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _create(dependencies)
    latest = await dependencies.reads.latest_recorded_at()
    async with _hold_writer(dependencies, monkeypatch) as writer:
        await require_past(dependencies, latest)
        assert not writer._calls
