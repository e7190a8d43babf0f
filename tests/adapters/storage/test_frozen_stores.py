"""Files of every format ever written open, and say what they said when they were written.

Each archive has the file of a store, its log and its mark, as a crash left them (`today-closed`: as
a close left them), and what the service of that time said about every project.
"""

import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.application.projects.queries import project_fields
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.change import StoredAggregate
from spawn.domain.query import Filter, Operator, Query
from spawn.ports.schemas import SchemaState

ARCHIVES = sorted(Path(__file__).with_name("frozen").glob("*.tar.xz"))


def extract(archive: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the file of an archive's store, and what it is expected to say."""
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    (path,) = folder.rglob("store.duckdb")
    return path, msgspec.json.decode(path.with_name("expected.json").read_bytes())


async def open_frozen(archive: Path, folder: Path) -> tuple[DuckDbStore, dict[str, Any]]:
    """Return the store of an archive, opened by this release, and what it is expected to say."""
    path, expected = extract(archive, folder)
    return await open_path(path), expected


async def open_path(path: Path) -> DuckDbStore:
    return await open_duckdb(path, clock=SystemClock(), options=StoreOptions())


async def render(store: DuckDbStore, aggregate: StoredAggregate[Any]) -> dict[str, Any]:
    """Return the project as a response has it."""
    record = await store.active()
    assert record is not None
    fields = project_fields(aggregate, record.schema)
    rendered: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(fields))
    return rendered


def test_there_is_an_archive_of_every_format() -> None:
    names = {path.name.removesuffix(".tar.xz") for path in ARCHIVES}
    assert names == {
        *("format1", "format2", "format3", "format4a"),
        *("today", "today-closed", "today-subdivision", "format6", "format7"),
    }


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)
async def test_every_archive_says_what_it_said(
    archive: Path, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Opened once for all: to bring a file to today's format takes a third of a second."""
    path, expected = extract(archive, tmp_path)
    assert expected
    store = await open_path(path)
    with subtests.test("projects"):
        await check_projects(store, expected)
    with subtests.test("histories"):
        await check_histories(store, expected)
    with subtests.test("lists"):
        await check_lists(store, expected)
    store_id = store.status().store_id
    await store.close()
    with subtests.test("one identity"):
        assert len(store_id) == 32
        reopened = await open_path(path)
        assert reopened.status().store_id == store_id
        await reopened.close()


async def check_projects(store: DuckDbStore, expected: dict[str, Any]) -> None:
    """Check that every project reads as it did."""
    for project_id, served in expected.items():
        rendered = await render(store, await store.get("project", project_id))
        # A later release may have more attributes, which these projects do not have.
        added = {name: rendered.pop(name) for name in rendered.keys() - served["get"].keys()}
        assert rendered == served["get"]
        assert not any(added.values())


async def check_histories(store: DuckDbStore, expected: dict[str, Any]) -> None:
    """Check that every entry of a history reads as it did."""
    for project_id, served in expected.items():
        entries = await store.history("project", project_id, after_version=0, limit=100)
        assert len(entries) == len(served["history"]["items"])
        for entry, item in zip(entries, served["history"]["items"], strict=True):
            fields = {name: item[name] for name in ("version", "type", "actor", "schema_version")}
            assert msgspec.structs.asdict(entry) | fields == msgspec.structs.asdict(entry)
            assert list(entry.changed) == item["changed"]
            assert msgspec.json.decode(entry.document) == item["document"]
            recorded_at = msgspec.convert(item["recorded_at"], type=type(entry.recorded_at))
            assert entry.recorded_at == recorded_at
            version = await store.get("project", project_id, version=entry.version)
            assert version.updated_at == entry.recorded_at


async def check_lists(store: DuckDbStore, expected: dict[str, Any]) -> None:
    """Check that every list says what the journal says."""
    for kind, aggregate_type in AGGREGATE_TYPES.items():
        items = (await store.page(Query(kind=kind, limit=500))).items
        for item in items:
            entries = await store.history(kind, item.id, after_version=0, limit=500)
            assert (item.version, item.updated_at) == (entries[-1].version, entries[-1].recorded_at)
            assert item == await store.get(kind, item.id, version=item.version)
            for column in aggregate_type.columns:
                value = aggregate_type.read_column(item.state, column.name)
                has_value = Filter(column.name, Operator.EXISTS, (value is not None,))
                equal = (
                    Filter(column.name, Operator.EQ, (value,)) if value is not None else has_value
                )
                page = await store.page(Query(kind=kind, filters=(equal,), limit=500))
                assert item.id in {one.id for one in page.items}
    page = await store.page(Query(limit=500))
    assert {item.id for item in page.items} == expected.keys()


async def test_the_versions_of_two_kinds_read_as_they_did(tmp_path: Path) -> None:
    """Format 7 has a line of versions for each kind, and a facility written under two of its."""
    (archive,) = (path for path in ARCHIVES if path.name == "format7.tar.xz")
    store, _ = await open_frozen(archive, tmp_path)
    lines = {
        kind: [(record.schema.version, record.state) for record in await store.records(kind)]
        for kind in ("project", "facility")
    }
    retired, active = SchemaState.RETIRED, SchemaState.ACTIVE
    assert sorted(lines["project"]) == [
        *((2, retired), (3, active), (4, SchemaState.QUARANTINED)),
    ]
    assert sorted(lines["facility"]) == [(1, retired), (2, retired), (3, active)]
    in_transport = Query(kind="facility", filters=(Filter("desk", Operator.EQ, ("Transport",)),))
    (facility,) = (await store.page(in_transport)).items
    assert facility.state.attributes == {"booking_code": "TLA-2", "desk": "Transport"}
    first = await store.get("facility", facility.id, version=1)
    # The extension of version 1 became the column of version 2.
    assert first.state.attributes == {"booking_code": "TLA-1", "desk": "Transport"}
    entries = await store.history("facility", facility.id, after_version=0, limit=9)
    assert [entry.schema_version for entry in entries] == [1, 3]
    await store.close()
