"""A core attribute of a later release never takes a governed column of its name in silence.

The later release is played by this one: a name is taken from those that the file has recorded, so
that the schema seems to have governed it so far.
"""

import asyncio
from pathlib import Path

import duckdb
import msgspec
import pytest
from tests.adapters.storage.test_frozen_stores import ARCHIVES, extract
from tests.loopback import free_port

from spawn.adapters.duckdb.core_names import FIRST_CORE_NAMES
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.domain.change import EncodedState, Write
from spawn.domain.errors import StorageDamaged, StorageIncompatible
from spawn.domain.projects.codec import encode_project
from spawn.domain.projects.project import CORE_FIELDS
from spawn.domain.query import Filter, Operator, Query
from spawn.domain.schemas.canonical_json import compute_fingerprint
from spawn.entrypoints.cli import main
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record


def build_document(column: str) -> bytes:
    return (
        b'{"id": "project_schema", "version": 1, "name": "Projects", "columns": ['
        + column.encode()
        + b"]}"
    )


COLUMN = '{"name": "country_code", "type": "string(3)"}'


async def open_at(path: Path) -> DuckDbStore:
    return await open_duckdb(path, clock=SystemClock(), options=StoreOptions())


async def write_store(path: Path, *, code: str = "ESP") -> None:
    store = await open_at(path)
    record = a_record(build_document(COLUMN))
    await store.adopt(record)
    harness = StorageHarness(store, ManualClock())
    project = harness.project()
    document = encode_project(project, record.schema).replace(b'"ESP"', f'"{code}"'.encode())
    write = Write("project", project.project_id, 0, EncodedState(document))
    await store.commit(harness.change(writes=(write,), events=()))
    await store.close()


def forget_name(path: Path, name: str = "country_code") -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("delete from core_names where name = ?", [name])


def replace_column(path: Path, column: str) -> None:
    with duckdb.connect(str(path)) as connection:
        document = build_document(column)
        connection.execute(
            "update schemas set document = ?, fingerprint = ?",
            [document, compute_fingerprint(document)],
        )


def recorded_names(path: Path) -> set[str]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return {
            name
            for (name,) in connection.execute(
                "select name from core_names where kind = 'project'"
            ).fetchall()
        }


async def test_a_column_that_fits_becomes_the_core_attribute(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    await write_store(path)
    forget_name(path)
    store = await open_at(path)
    record = await store.active()
    assert record is not None
    assert [column.name for column in record.schema.columns] == ["country_code"]
    await store.close()
    assert recorded_names(path) == set(CORE_FIELDS)


async def test_a_value_that_the_core_attribute_rejects_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    await write_store(path, code="???")
    forget_name(path)
    for _ in range(2):
        with pytest.raises(StorageDamaged, match=r"country_code.*version 1 of project.*export"):
            await open_at(path)
    assert "country_code" not in recorded_names(path)


@pytest.mark.parametrize(
    "column",
    [
        '{"name": "country_code", "type": "integer"}',
        '{"name": "country_code", "type": "string(3)", "default": "ESP"}',
        '{"name": "other", "type": "string(3)", "aliases": ["country_code"]}',
    ],
)
async def test_a_column_that_contradicts_the_core_attribute_stops_the_start(
    tmp_path: Path, column: str
) -> None:
    path = tmp_path / "store.duckdb"
    await write_store(path)
    replace_column(path, column)
    forget_name(path)
    with pytest.raises(StorageDamaged, match=r"governs a column country_code.*export") as error:
        await open_at(path)
    assert "\n" not in error.value.detail


async def test_an_adopted_version_that_this_release_cannot_read_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "store.duckdb"
    await write_store(path)
    replace_column(path, '{"name": "capacity", "type": "hyperdecimal"}')
    for _ in range(2):
        with pytest.raises(StorageIncompatible, match=r"1 .*/columns/0/type.*export") as error:
            await open_at(path)
    assert "\n" not in error.value.detail
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{path}")
    monkeypatch.setenv("SPAWN_PORT", str(free_port()))
    for name in ("URL", "SHARED", "ONTOLOGY_URL"):
        monkeypatch.delenv(f"SPAWN_{name}", raising=False)
    assert await asyncio.to_thread(main, ["doctor"]) == 1
    output = capsys.readouterr().out
    assert "FAIL  store     The store does not fit this release" in output
    assert "export the projects with the release that wrote the store" in output


async def test_an_adopted_version_without_columns_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    await write_store(path)
    replace_column(path, "")
    await (await open_at(path)).close()
    assert recorded_names(path) == set(CORE_FIELDS)


async def test_a_column_of_another_unit_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    await write_store(path)
    column = {"name": "maturity_years", "type": "integer", "unit": "mo"}
    replace_column(path, msgspec.json.encode(column).decode())
    forget_name(path, "maturity_years")
    with pytest.raises(StorageDamaged, match=r"maturity_years.*its unit is another"):
        await open_at(path)


async def test_a_name_that_no_schema_governs_is_only_recorded(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    await write_store(path)
    forget_name(path, "sector")
    await (await open_at(path)).close()
    assert recorded_names(path) == set(CORE_FIELDS)


async def test_a_file_of_an_earlier_release_has_the_first_core_names(tmp_path: Path) -> None:
    archive = next(path for path in ARCHIVES if path.name.startswith("format1"))
    path, _ = extract(archive, tmp_path)
    assert set(CORE_FIELDS) >= FIRST_CORE_NAMES
    await (await open_at(path)).close()
    assert recorded_names(path) == set(CORE_FIELDS)


async def test_the_governed_subdivision_of_an_earlier_release_is_the_core_one_now(
    tmp_path: Path,
) -> None:
    archive = next(path for path in ARCHIVES if path.name.startswith("today-subdivision"))
    path, expected = extract(archive, tmp_path)
    codes = {key: served["get"]["subdivision_code"] for key, served in expected.items()}
    assert any(codes.values())
    assert "subdivision_code" in CORE_FIELDS
    assert "subdivision_code" not in FIRST_CORE_NAMES
    store = await open_at(path)
    for project_id, code in codes.items():
        state = (await store.get("project", project_id)).state
        assert state.subdivision_code == code
        assert not {*state.attributes, *state.hidden_attributes} & {"subdivision_code"}
        if code is not None:
            condition = Filter("subdivision_code", Operator.EQ, (code,))
            page = await store.page(Query(filters=(condition,)))
            assert project_id in {item.id for item in page.items}
    await store.close()
