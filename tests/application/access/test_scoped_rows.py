"""Row scopes over projects that were recorded under earlier schema versions."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.application.conftest import open_test_dependencies

from spawn.application.access.row_access import limit_to_rows
from spawn.application.access.scoped_rows import normalize_row_scope
from spawn.application.dependencies import Dependencies
from spawn.application.projects.commands import amend_project, create_project
from spawn.domain.errors import Forbidden, InvalidInput, NotFound
from spawn.domain.principal import LOCAL_PRINCIPAL, Principal, RowScope, Scope
from spawn.domain.query import Query
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import read_schema
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.domain.schemas.validator import ProjectInput, compile_schema
from spawn.ports.schemas import Provenance, SchemaRecord, SchemaState


def limited(dependencies: Dependencies, **row_scope: list[str]) -> Dependencies:
    principal = Principal(id="x", scopes=frozenset(Scope), row_scope=RowScope.of(row_scope))
    return limit_to_rows(dependencies, principal)


async def migrate(dependencies: Dependencies, document: bytes) -> Schema:
    schema = read_schema(document)
    active = (await dependencies.active_schema()).schema
    record = SchemaRecord(
        schema=schema,
        document=document,
        state=SchemaState.ACTIVE,
        provenance=Provenance.LIVE,
        recorded_at=dependencies.clock.now(),
    )
    await dependencies.schemas.migrate(record, plan_migration(active, schema), actor="test")
    return schema


async def create(dependencies: Dependencies, **fields: Any) -> str:
    core: dict[str, object] = {"project_name": "Sierra", "total_amount": Decimal(1)}
    attributes = ProjectInput(core=core, governed=fields, extensions={})
    result = await create_project(dependencies, LOCAL_PRINCIPAL, attributes=attributes)
    assert result.aggregate is not None
    return result.aggregate.id


async def seen(dependencies: Dependencies, key: str) -> tuple[bool, int, int, int]:
    """Return whether a project is found, and how often it is listed, recorded and in the feed."""
    reads = dependencies.reads
    try:
        await reads.get("project", key)
        history = len(await reads.history("project", key, after_version=0, limit=9))
        is_found = True
    except NotFound:
        is_found, history = False, 0
    page = await reads.page(Query())
    feed = await reads.feed(after=None, limit=9)
    return is_found, len(page.items), history, len(feed.entries)


def document(version: int, *columns: dict[str, Any]) -> bytes:
    return json.dumps(
        {"id": "project_schema", "version": version, "name": "Projects", "columns": columns}
    ).encode()


DESK = {"name": "desk", "type": "string(20)"}
BOOK = {"name": "book", "type": "string(20)", "aliases": ["desk"]}


@pytest.fixture
async def dependencies(tmp_path: Path) -> AsyncIterator[Dependencies]:
    async with open_test_dependencies(tmp_path) as opened:
        await migrate(opened, document(1, DESK))
        yield opened


async def test_scope_follows_a_renamed_column(dependencies: Dependencies) -> None:
    """Reads, lists, histories and the feed agree before and after."""
    mine, other = [await create(dependencies, desk=desk) for desk in ("iberia", "nordics")]
    scoped = limited(dependencies, desk=["iberia"])
    assert await seen(scoped, mine) == (True, 1, 1, 1)
    assert await seen(scoped, other) == (False, 1, 0, 1)
    await migrate(dependencies, document(2, BOOK))
    for scope in (limited(dependencies, desk=["iberia"]), limited(dependencies, book=["iberia"])):
        assert await seen(scope, mine) == (True, 1, 1, 1)
        assert await seen(scope, other) == (False, 1, 0, 1)
    # The same stream of a request that began before the change.
    assert await seen(scoped, mine) == (True, 1, 1, 1)


async def test_scope_of_a_removed_column_reads_its_values(dependencies: Dependencies) -> None:
    mine, other = [await create(dependencies, desk=desk) for desk in ("iberia", "nordics")]
    await migrate(dependencies, document(2))
    scoped = limited(dependencies, desk=["iberia"])
    assert await seen(scoped, mine) == (True, 1, 1, 1)
    assert await seen(scoped, other) == (False, 1, 0, 1)
    new = await create(dependencies)
    assert await seen(scoped, new) == (False, 1, 0, 1)


async def test_change_of_a_renamed_column_is_checked(dependencies: Dependencies) -> None:
    mine = await create(dependencies, desk="iberia")
    await migrate(dependencies, document(2, BOOK))
    scoped = limited(dependencies, desk=["iberia"])
    leave = ProjectInput(core={}, governed={"book": "nordics"}, extensions={})
    with pytest.raises(Forbidden, match="book"):
        await amend_project(scoped, LOCAL_PRINCIPAL, mine, attributes=leave)
    stay = ProjectInput(core={"description": "more"}, governed={}, extensions={})
    assert (await amend_project(scoped, LOCAL_PRINCIPAL, mine, attributes=stay)).aggregate


async def test_governed_field_of_a_scope_is_a_text_of_the_schema(
    dependencies: Dependencies,
) -> None:
    schema = await migrate(dependencies, document(2, BOOK, {"name": "units", "type": "integer"}))
    validator = compile_schema(schema)
    assert normalize_row_scope(RowScope.of({"desk": ["a"]}), validator).to_mapping() == {
        "book": ("a",)
    }
    with pytest.raises(InvalidInput):
        normalize_row_scope(RowScope.of({"units": ["3"]}), validator)
