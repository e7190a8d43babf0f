# ruff: noqa: D102 -- a test's name is its sentence
"""The storage contract's laws, continued: whatever versions come, projects read as they should.

See `spawn.testing.storage_contract.commands` for how to run it against an adapter.
Needs hypothesis.
"""

import asyncio
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawn.adapters.embedded import query_evaluation
from spawn.adapters.factory import Store, open_store
from spawn.adapters.memory.store import MemoryStore
from spawn.domain import serialization
from spawn.domain.change import Encoded, Stored, Write
from spawn.domain.errors import InvalidInput
from spawn.domain.projects.project import Project
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schemas.document_parser import read_schema
from spawn.domain.schemas.evolution.compatibility import Relation
from spawn.domain.schemas.evolution.diff import compare
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.domain.schemas.evolution.version_conversion import upgrade
from spawn.domain.schemas.model import Column, ColumnType, Schema, TypeName
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.schemas import Disproved, SchemaState
from spawn.testing.storage_contract.commands import Desk, ManualClock, a_record
from spawn.testing.storage_contract.properties import suffix
from spawn.testing.strategies import columns, projects, values

_NAMES = [f"g_{letter}" for letter in "abcdefg"]
_WIDER: dict[TypeName, tuple[ColumnType, ...]] = {
    TypeName.INTEGER: (
        ColumnType(TypeName.BIGINT),
        ColumnType(TypeName.DOUBLE),
        ColumnType(TypeName.DECIMAL, precision=12, scale=2),
    ),
    TypeName.BIGINT: (ColumnType(TypeName.DECIMAL, precision=25, scale=5),),
}


def _wider(of: ColumnType) -> list[ColumnType]:
    """Types that hold every value of a type."""
    if of.name is TypeName.STRING:
        return [ColumnType(of.name, max_length=(of.max_length or 0) + 20), ColumnType(of.name)]
    if of.name is TypeName.DECIMAL:
        precision, scale = of.precision or 0, of.scale or 0
        room = 38 - precision
        return [ColumnType(of.name, precision=precision + room, scale=scale + room // 2)]
    return list(_WIDER.get(of.name, ()))


def _document(version: int, governed: list[Column]) -> bytes:
    """The registry's document of these columns."""
    shown = [
        {
            "name": column.name,
            "type": str(column.type),
            "required": column.required,
            "default": None
            if column.default is None
            else serialization.plain(column.name, column.default),
            "aliases": column.aliases,
        }
        for column in governed
    ]
    document = {"id": "project_schema", "version": version, "name": "Grown", "columns": shown}
    return msgspec.json.encode(document)


class _Growth:
    """Draws what happens: versions that may follow one another, and projects under any of them."""

    def __init__(self, data: st.DataObject) -> None:
        self._draw = data.draw

    def first(self) -> list[Column]:
        names = self._draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=4))
        return [self._draw(columns(name)) for name in names]

    def next(self, schema: Schema) -> list[Column]:
        """Columns that follow a schema's: some changed, some gone, some new or returned."""
        kept: list[Column] = []
        for column in schema.governed:
            what = self._draw(st.sampled_from(("keep", "keep", "widen", "rename", "fill", "drop")))
            kept += self._changed(column, what)
        taken = {column.name for column in kept} | {c.name for c in schema.governed}
        free = [name for name in _NAMES if name not in taken]
        for name in self._draw(st.sets(st.sampled_from(free), max_size=2)) if free else ():
            retired = next((r.column for r in schema.retired if r.name == name), None)
            column = retired or self._draw(columns(name))
            bare = msgspec.structs.replace(column, required=False, aliases=())
            kept.append(self._defaulted(bare))
        return kept

    def _changed(self, column: Column, what: str) -> list[Column]:
        if what == "drop":
            return []
        if what == "widen":
            types = _wider(column.type) or [column.type]
            return [msgspec.structs.replace(column, type=self._draw(st.sampled_from(types)))]
        if what == "rename":
            name = f"{column.name}x"[:20]
            return [msgspec.structs.replace(column, name=name, aliases=(column.name,))]
        if what == "fill" and not column.required:
            default = self._draw(values(column.type))
            return [msgspec.structs.replace(column, required=True, default=default)]
        return [column]

    def _defaulted(self, column: Column) -> Column:
        default = self._draw(st.none() | values(column.type))
        return msgspec.structs.replace(column, default=default)

    def project(self, schema: Schema, project_id: str) -> Project:
        """A project under a schema; some of what it carries may be promoted one day."""
        project = self._draw(projects(schema))
        names = self._draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=2))
        held = {f"x_{name}": msgspec.Raw(self._draw(_HELD)) for name in names}
        return msgspec.structs.replace(
            project, project_id=project_id, extensions={**project.extensions, **held}
        )


_HELD = st.sampled_from([b"7", b"7.50", b"true", b'"2020-02-29"', b'"a"', b"0", b'""', b"1e3"])


class TestEvolutionLaws:
    """Laws that hold for any versions and projects."""

    @given(data=st.data())
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.differing_executors,
        ],
    )
    def test_projects_read_as_upgrading_them_says_in_any_store(
        self, store_url: str, data: st.DataObject
    ) -> None:
        asyncio.run(_grow(f"{store_url}{suffix(store_url)}", data))


async def _grow(url: str, data: st.DataObject) -> None:
    growth, clock = _Growth(data), ManualClock()
    store, model = await open_store(url, clock=clock), MemoryStore(clock)
    try:
        desk = Desk(store, clock)
        document = _document(1, growth.first())
        for one in (store, model):
            await one.adopt(a_record(document))
        written: list[Project] = []
        for _ in range(data.draw(st.integers(1, 4))):
            await _write(growth, data, desk, model, written)
            await _evolve(growth, store, model)
            await _compare(data, store, model, written)
        await _write(growth, data, desk, model, written)
        await _compare(data, store, model, written)
    finally:
        await store.close()
    if not url.endswith("//"):
        again = await open_store(url, clock=clock)
        try:
            await _compare(data, again, model, written)
        finally:
            await again.close()


async def _write(
    growth: _Growth, data: st.DataObject, desk: Desk, model: MemoryStore, written: list[Project]
) -> None:
    """New projects and new versions of old ones, decided under any version of the lineage."""
    for _ in range(data.draw(st.integers(0, 3))):
        schema = data.draw(st.sampled_from(await model.lineage()))
        before = data.draw(st.sampled_from([None, *written]))
        name = desk.project().project_id if before is None else before.project_id
        version = 0 if before is None else (await model.head("project", name)).version
        state = growth.project(schema, name)
        write = Write("project", name, version, state)
        if version == 0 and data.draw(st.booleans()):
            encoded = Encoded(serialization.encode("project", state, schema))
            write = Write("project", name, 0, encoded)
        change = desk.change(writes=(write,), events=(), schema_version=schema.version)
        for one in (desk.store, model):
            await one.commit(change)
        if before is None:
            written.append(state)


async def _evolve(growth: _Growth, store: Store, model: MemoryStore) -> None:
    """The next version, if stored data can be read under it; both stores agree that they can."""
    active = (await model.lineage())[0]
    document = _document(active.version + 1, growth.next(active))
    try:
        schema = read_schema(document)
    except InvalidInput:
        # An alias that is another column's name: no registry's document is allowed that.
        return
    if compare(active, schema, on=_TODAY).rows is Relation.NO:
        return
    record = a_record(document, SchemaState.CANDIDATE)
    plan = plan_migration(active, schema)
    found: list[Any] = []
    for one in (store, model):
        try:
            found.append((await one.migrate(record, plan, actor="steward")).rows)
        except Disproved as refusal:
            found.append([(f.proof, f.projects) for f in refusal.failures])
    assert found[0] == found[1]
    assert await store.lineage() == await model.lineage()


_TODAY = ManualClock().now().date()


async def _compare(
    data: st.DataObject, store: Store, model: MemoryStore, written: list[Project]
) -> None:
    """Every project is as its documents say, and every column finds the same in both stores."""
    active, *_ = lineage = await model.lineage()
    schemas = {schema.version: schema for schema in lineage}
    newest: list[tuple[Stored[Any], int]] = []
    for number, project in enumerate(written):
        name = project.project_id
        entry = (await store.history("project", name, after_version=0, limit=100))[-1]
        kept = serialization.decode("project", entry.document, schemas[entry.schema_version])
        assert isinstance(kept, Project)
        path = [s for s in reversed(lineage) if s.version >= entry.schema_version]
        plans = [plan_migration(a, b) for a, b in pairwise(path)]
        stored = await store.get("project", name)
        assert stored.state == upgrade(kept, plans)
        assert stored == await model.get("project", name)
        newest.append((stored, number))
    if not newest:
        return
    fields = sorted(compile_schema(active).fields)
    for field in data.draw(st.sets(st.sampled_from(fields), max_size=3)):
        await _find(data, store, newest, field)


async def _find(
    data: st.DataObject, store: Store, newest: list[tuple[Stored[Any], int]], field: str
) -> None:
    chosen, _ = data.draw(st.sampled_from(newest))
    value = query_evaluation.value_of(chosen, field)
    wanted = Filter(field, Operator.EXISTS, (False,))
    if value is not None:
        wanted = Filter(field, data.draw(st.sampled_from((Operator.EQ, Operator.GTE))), (value,))
    query = Query(filters=(wanted,), sort=(Sort(field),), limit=100)
    page = await store.page(query)
    assert page.items == query_evaluation.page_of(newest, query).items
