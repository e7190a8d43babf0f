"""Events in the fields of one schema version: pages and streams."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.application.conftest import open_engine_dependencies
from tests.application.fake_registry import POLICY, FakeRegistry

from spawn.adapters.local.clock import SystemClock
from spawn.application.dependencies import Dependencies
from spawn.application.events.encoded_feed import EventFilter
from spawn.application.events.event_streams import EventStreams
from spawn.application.events.feed import read_feed
from spawn.application.events.journal_watch import JournalWatch
from spawn.application.events.versioned_events import convert_entries
from spawn.application.projects.commands import amend_project, create_project
from spawn.application.schemas.activation import ensure_active_schema
from spawn.application.schemas.refresh import refresh_schema
from spawn.domain.errors import NotFound, SchemaVersionExpired
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.principal import Principal
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schemas.validator import ProjectInput

ANNA = Principal(id="anna")
CORE = {"project_name": "One", "total_amount": Decimal(1)}
GRADE = {"name": "grade", "type": "string(20)"}
RATING = {"name": "rating", "type": "string(20)", "aliases": ["grade"]}


@pytest.fixture
def fake_registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture(params=["memory", "duckdb"])
async def dependencies(
    fake_registry: FakeRegistry, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Dependencies]:
    """A store with a project of each version; version 2 renames grade to rating and adds units."""
    async with open_engine_dependencies(request.param, fake_registry, tmp_path) as dependencies:
        fake_registry.serve(1, GRADE)
        await ensure_active_schema(dependencies, POLICY)
        await create(dependencies, 1, grade="A")
        fake_registry.serve(2, RATING, {"name": "units", "type": "integer"})
        await refresh_schema(dependencies, POLICY)
        project_id = await create(dependencies, 2, rating="B", units=7)
        changes = ProjectInput({}, {"rating": "C", "units": 8}, {}, schema_version=2)
        await amend_project(dependencies, ANNA, project_id, attributes=changes)
        yield dependencies


async def create(dependencies: Dependencies, version: int, **attributes: Any) -> str:
    project_input = ProjectInput(CORE, attributes, {}, schema_version=version)
    outcome = await create_project(dependencies, ANNA, attributes=project_input)
    assert outcome.aggregate is not None
    return outcome.aggregate.id


async def project_entries(
    dependencies: Dependencies, version: int | None
) -> list[tuple[JournalEntry, dict[str, Any]]]:
    page = await read_feed(dependencies, ANNA, after=None, limit=100)
    entries = page.entries
    if version is not None:
        entries = await convert_entries(dependencies, entries, ((PROJECT_KIND, version),))
    return [(e, json.loads(e.document)) for e in entries if e.kind == PROJECT_KIND]


async def test_events_before_and_after_a_version_have_its_fields(
    dependencies: Dependencies,
) -> None:
    stored = await project_entries(dependencies, None)
    assert [entry.schema_version for entry, _ in stored] == [1, 2, 2]
    old = await project_entries(dependencies, 1)
    assert {entry.schema_version for entry, _ in old} == {1}
    assert [document["grade"] for _, document in old] == ["A", "B", "C"]
    assert not any({"rating", "units"} & document.keys() for _, document in old)
    new = await project_entries(dependencies, 2)
    assert {entry.schema_version for entry, _ in new} == {2}
    assert [document["rating"] for _, document in new] == ["A", "B", "C"]
    assert [document["units"] for _, document in new] == [None, 7, 8]
    assert not any("grade" in document for _, document in new)
    # What changed is named as the version names it; a later column is an extension there.
    assert [entry.changed for entry, _ in (stored[2], old[2], new[2])] == [
        ("rating", "units"),
        ("grade", "x_units"),
        ("rating", "units"),
    ]
    assert [document.get("x_units") for _, document in old] == [None, 7, 8]
    assert "grade" in old[0][0].changed
    assert "rating" in new[0][0].changed
    for (before, _), (after, _) in zip(stored, old, strict=True):
        assert (before.position, before.id, before.type) == (after.position, after.id, after.type)


async def test_entries_of_other_kinds_stay_as_they_were_stored(dependencies: Dependencies) -> None:
    page = await read_feed(dependencies, ANNA, after=None, limit=100)
    converted = await convert_entries(dependencies, page.entries, ((PROJECT_KIND, 1),))
    others = [entry for entry in page.entries if entry.kind != PROJECT_KIND]
    assert others
    assert [entry for entry in converted if entry.kind != PROJECT_KIND] == others


async def test_a_version_that_is_not_served_gives_no_events(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    with pytest.raises(NotFound):
        await project_entries(dependencies, 9)
    sunset = SystemClock().now().date() + timedelta(days=1)
    noticed = {**RATING, "deprecated": True, "sunset": sunset.isoformat()}
    fake_registry.serve(3, noticed)
    fake_registry.serve(4, "b")
    await refresh_schema(dependencies, POLICY)
    kept = await project_entries(dependencies, 1)
    assert [document["grade"] for _, document in kept] == ["A", "B", "C"]
    # Retired values are in the documents, and in no event of a version without the column.
    newest = await project_entries(dependencies, 4)
    assert not any({"rating", "grade", "units"} & document.keys() for _, document in newest)
    later = msgspec.structs.replace(dependencies, clock=LaterClock())
    with pytest.raises(SchemaVersionExpired):
        await project_entries(later, 1)


class LaterClock(SystemClock):
    """A clock two days ahead."""

    def now(self) -> datetime:
        return super().now() + timedelta(days=2)


async def test_streams_of_two_versions_have_the_fields_of_each(dependencies: Dependencies) -> None:
    watch = JournalWatch(dependencies.reads)
    envelope = EventEnvelope("https://spawn.example", "project_schema", "0" * 32)
    streams = EventStreams(
        dependencies.reads,
        watch,
        envelope,
        _Lines(),
        convert=partial(convert_entries, dependencies),
    )
    epoch = (await dependencies.reads.position()).epoch
    for version, name in ((None, "rating"), (1, "grade"), (2, "rating"), (1, "grade")):
        events = await _follow(streams, Position(epoch, 0), version)
        assert events[-1]["data"]["after"][name] == "C"
        if version is not None:
            schemas = {event["dataschema"] for event in events if "dataschema" in event}
            (schema,) = schemas
            assert schema.endswith(f"/versions/{version}")


class _Lines:
    """Messages that are lines of JSON."""

    def encode_start(self, cursor: str) -> bytes:
        del cursor
        return b""

    def encode_heartbeat(self, cursor: str) -> bytes:
        del cursor
        return b""

    def encode_event(self, cursor: str, event: bytes) -> bytes:
        del cursor
        return event + b"\n"


async def _follow(
    streams: EventStreams, after: Position, version: int | None
) -> list[dict[str, Any]]:
    """Return the events of the first messages of a stream."""
    received = asyncio.get_running_loop().create_future()

    async def write(messages: bytes) -> None:
        if messages and not received.done():
            received.set_result([json.loads(line) for line in messages.splitlines()])

    versions = () if version is None else ((PROJECT_KIND, version),)
    task = asyncio.create_task(
        streams.follow(after, EventFilter(), write, schema_versions=versions)
    )
    events: list[dict[str, Any]] = await asyncio.wait_for(received, 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return events
