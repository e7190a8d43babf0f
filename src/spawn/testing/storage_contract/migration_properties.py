# ruff: noqa: D102 -- a test's name is its sentence
"""Storage contract: migration properties, for random schema versions and projects.

See `spawn.testing.storage_contract.harness` for how to run it against an adapter.
Needs hypothesis.
"""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawn.adapters.embedded import query_evaluation
from spawn.adapters.factory import Store, open_store
from spawn.adapters.memory.store import MemoryStore
from spawn.domain.aggregates import decode_state, encode_state
from spawn.domain.change import EncodedState, StoredAggregate, Write
from spawn.domain.errors import InvalidInput
from spawn.domain.projects.codec import to_json_value
from spawn.domain.projects.project import Project
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName
from spawn.domain.schemas.document_parser import read_schema
from spawn.domain.schemas.evolution.compatibility import Compatibility
from spawn.domain.schemas.evolution.diff import compare_schemas
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.domain.schemas.evolution.version_conversion import upgrade_state
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.schemas import MigrationRejected, SchemaState
from spawn.testing.intensity import rounds
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record
from spawn.testing.storage_contract.properties import url_suffix
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


def _wider(type_: ColumnType) -> list[ColumnType]:
    """Return types that hold every value of a type."""
    if type_.name is TypeName.STRING:
        return [
            ColumnType(type_.name, max_length=(type_.max_length or 0) + 20),
            ColumnType(type_.name),
        ]
    if type_.name is TypeName.DECIMAL:
        precision, scale = type_.precision or 0, type_.scale or 0
        spare_digits = 38 - precision
        return [
            ColumnType(
                type_.name, precision=precision + spare_digits, scale=scale + spare_digits // 2
            )
        ]
    return list(_WIDER.get(type_.name, ()))


def _document(version: int, governed: list[Column]) -> bytes:
    """Build a registry's document of these columns."""
    columns_json = [
        {
            "name": column.name,
            "type": str(column.type),
            "required": column.required,
            "default": None
            if column.default is None
            else to_json_value(column.name, column.default),
            "aliases": column.aliases,
        }
        for column in governed
    ]
    document = {
        "id": "project_schema",
        "version": version,
        "name": "Grown",
        "columns": columns_json,
    }
    return msgspec.json.encode(document)


class _HistoryGenerator:
    """Draws successive schema versions, and projects under any of them."""

    def __init__(self, data: st.DataObject) -> None:
        self._draw = data.draw

    def first(self) -> list[Column]:
        names = self._draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=4))
        return [self._draw(columns(name)) for name in names]

    def next(self, schema: Schema) -> list[Column]:
        """Draw successor columns of a schema: changed, removed, new or restored ones."""
        columns_kept: list[Column] = []
        for column in schema.governed:
            edit = self._draw(st.sampled_from(("keep", "keep", "widen", "rename", "fill", "drop")))
            columns_kept += self._edit(column, edit)
        used_names = {column.name for column in columns_kept} | {c.name for c in schema.governed}
        free_names = [name for name in _NAMES if name not in used_names]
        for name in (
            self._draw(st.sets(st.sampled_from(free_names), max_size=2)) if free_names else ()
        ):
            retired = next((r.column for r in schema.retired if r.name == name), None)
            column = retired or self._draw(columns(name))
            bare = msgspec.structs.replace(column, required=False, aliases=())
            columns_kept.append(self._with_random_default(bare))
        return columns_kept

    def _edit(self, column: Column, edit: str) -> list[Column]:
        if edit == "drop":
            return []
        if edit == "widen":
            types = _wider(column.type) or [column.type]
            return [msgspec.structs.replace(column, type=self._draw(st.sampled_from(types)))]
        if edit == "rename":
            name = f"{column.name}x"[:20]
            return [msgspec.structs.replace(column, name=name, aliases=(column.name,))]
        if edit == "fill" and not column.required:
            default = self._draw(values(column.type))
            return [msgspec.structs.replace(column, required=True, default=default)]
        return [column]

    def _with_random_default(self, column: Column) -> Column:
        default = self._draw(st.none() | values(column.type))
        return msgspec.structs.replace(column, default=default)

    def project(self, schema: Schema, project_id: str) -> Project:
        """Draw a project under a schema, with extensions that later columns may take."""
        project = self._draw(projects(schema))
        names = self._draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=2))
        promotable = {f"x_{name}": msgspec.Raw(self._draw(_PROMOTABLE_VALUES)) for name in names}
        return msgspec.structs.replace(
            project, project_id=project_id, extensions={**project.extensions, **promotable}
        )


_PROMOTABLE_VALUES = st.sampled_from(
    [b"7", b"7.50", b"true", b'"2020-02-29"', b'"a"', b"0", b'""', b"1e3"]
)


class TestMigrationProperties:
    """Properties of any versions and projects."""

    @given(data=st.data())
    @settings(
        max_examples=rounds(5, 25),
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.differing_executors,
        ],
    )
    def test_every_store_reads_projects_as_upgraded(
        self, store_url: str, data: st.DataObject
    ) -> None:
        asyncio.run(run_history(f"{store_url}{url_suffix(store_url)}", data))


async def run_history(
    url: str, data: st.DataObject, before_reopening: Callable[[], None] = lambda: None
) -> None:
    """Run random versions and writes, and compare the store with a reference throughout.

    `before_reopening` is called while the store is closed, before its last comparison.
    """
    generator, clock = _HistoryGenerator(data), ManualClock()
    store, reference = await open_store(url, clock=clock), MemoryStore(clock)
    try:
        harness = StorageHarness(store, clock)
        document = _document(1, generator.first())
        for either in (store, reference):
            await either.adopt(a_record(document))
        projects_written: list[Project] = []
        for _ in range(data.draw(st.integers(1, 4))):
            await _write(generator, data, harness, reference, projects_written)
            await _migrate_both(generator, store, reference)
            await _compare(data, store, reference, projects_written)
        await _write(generator, data, harness, reference, projects_written)
        await _compare(data, store, reference, projects_written)
    finally:
        await store.close()
    if not url.endswith("//"):
        before_reopening()
        again = await open_store(url, clock=clock)
        try:
            await _compare(data, again, reference, projects_written)
        finally:
            await again.close()


async def _write(
    generator: _HistoryGenerator,
    data: st.DataObject,
    harness: StorageHarness,
    reference: MemoryStore,
    projects_written: list[Project],
) -> None:
    """Write new projects and new versions, decided under any version of the history."""
    for _ in range(data.draw(st.integers(0, 3))):
        schema = data.draw(st.sampled_from(await reference.version_history()))
        before = data.draw(st.sampled_from([None, *projects_written]))
        name = harness.project().project_id if before is None else before.project_id
        version = 0 if before is None else (await reference.head("project", name)).version
        state = generator.project(schema, name)
        write = Write("project", name, version, state)
        if version == 0 and data.draw(st.booleans()):
            encoded_state = EncodedState(encode_state("project", state, schema))
            write = Write("project", name, 0, encoded_state)
        change = harness.change(writes=(write,), events=(), schema_version=schema.version)
        for either in (harness.store, reference):
            await either.commit(change)
        if before is None:
            projects_written.append(state)


async def _migrate_both(generator: _HistoryGenerator, store: Store, reference: MemoryStore) -> None:
    """Migrate both stores to a random next version, with equal results."""
    active = (await reference.version_history())[0]
    document = _document(active.version + 1, generator.next(active))
    try:
        schema = read_schema(document)
    except InvalidInput:
        # An alias is another column's name, which no schema document may have.
        return
    if compare_schemas(active, schema, on_date=_TODAY).rows is Compatibility.NO:
        return
    record = a_record(document, SchemaState.CANDIDATE)
    plan = plan_migration(active, schema)
    results: list[Any] = []
    for either in (store, reference):
        try:
            results.append((await either.migrate(record, plan, actor="steward")).rows)
        except MigrationRejected as error:
            results.append([(f.proof, f.row_count) for f in error.violations])
    assert results[0] == results[1]
    assert await store.version_history() == await reference.version_history()


_TODAY = ManualClock().now().date()


async def _compare(
    data: st.DataObject, store: Store, reference: MemoryStore, projects_written: list[Project]
) -> None:
    """Check that projects match their documents, and that filters match in both stores."""
    active, *_ = history = await reference.version_history()
    schemas = {schema.version: schema for schema in history}
    current_projects: list[tuple[StoredAggregate[Any], int]] = []
    for index, project in enumerate(projects_written):
        name = project.project_id
        entry = (await store.history("project", name, after_version=0, limit=100))[-1]
        document_state = decode_state("project", entry.document, schemas[entry.schema_version])
        assert isinstance(document_state, Project)
        path = [s for s in reversed(history) if s.version >= entry.schema_version]
        plans = [plan_migration(a, b) for a, b in pairwise(path)]
        aggregate = await store.get("project", name)
        assert aggregate.state == upgrade_state(document_state, plans)
        assert aggregate == await reference.get("project", name)
        current_projects.append((aggregate, index))
    if not current_projects:
        return
    fields = sorted(compile_schema(active).fields)
    for field in data.draw(st.sets(st.sampled_from(fields), max_size=3)):
        await _compare_filter(data, store, current_projects, field)


async def _compare_filter(
    data: st.DataObject,
    store: Store,
    current_projects: list[tuple[StoredAggregate[Any], int]],
    field: str,
) -> None:
    stored_project, _ = data.draw(st.sampled_from(current_projects))
    value = query_evaluation.field_value(stored_project, field)
    filter_ = Filter(field, Operator.EXISTS, (False,))
    if value is not None:
        filter_ = Filter(field, data.draw(st.sampled_from((Operator.EQ, Operator.GTE))), (value,))
    query = Query(filters=(filter_,), sort=(Sort(field),), limit=100)
    page = await store.page(query)
    assert page.items == query_evaluation.evaluate_page(current_projects, query).items
