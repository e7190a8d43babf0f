# ruff: noqa: D102 -- a test's name is its sentence
"""Storage contract: every kind of aggregate, its fields, and typed filters and sorts of each.

See `spawn.testing.storage_contract.harness` for how to run it against an adapter.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from spawn.domain.aggregates import AGGREGATE_TYPES, AggregateType
from spawn.domain.change import StoredAggregate, Write
from spawn.domain.errors import InvalidInput
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schema_version import Column, TypeName
from spawn.testing.intensity import is_thorough
from spawn.testing.sample_states import SAMPLE_COUNT, a_sample_id, a_state
from spawn.testing.storage_contract.harness import (
    ReopenStore,
    StorageHarness,
    adopt_every_schema,
    schema_of,
)
from spawn.testing.storage_contract.reads import iterate_items

_COMPARISONS: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: lambda value, operand: value == operand,
    Operator.NE: lambda value, operand: value != operand,
    Operator.LT: lambda value, operand: value < operand,
    Operator.LTE: lambda value, operand: value <= operand,
    Operator.GT: lambda value, operand: value > operand,
    Operator.GTE: lambda value, operand: value >= operand,
    Operator.IN: lambda value, operand: value == operand,
    Operator.LIKE: lambda value, operand: operand.lower() in value.lower(),
}


def build_write(aggregate_type: AggregateType, number: int, version: int = 0) -> Write:
    """Build the write of a sample; a project has the id of its state."""
    aggregate_id = a_sample_id(aggregate_type, number)
    state = a_state(aggregate_type.kind, number)
    if aggregate_type.is_governed:
        state = msgspec.structs.replace(state, **{aggregate_type.id_column: aggregate_id})
    return Write(aggregate_type.kind, aggregate_id, version, state)


async def write_samples(
    harness: StorageHarness, aggregate_type: AggregateType
) -> list[StoredAggregate[Any]]:
    """Write samples of a kind, the first of them twice, and return them in order of creation."""
    writes = [build_write(aggregate_type, number) for number in range(SAMPLE_COUNT)]
    await harness.store.commit(harness.change(writes=(*writes[:2],), events=()))
    for write in writes[2:]:
        await harness.store.commit(harness.change(writes=(write,), events=()))
    again = build_write(aggregate_type, 0, 1)
    await harness.store.commit(harness.change(writes=(again,), events=()))
    ids = [write.id for write in writes]
    stored = await harness.store.get_many(aggregate_type.kind, ids)
    return [stored[aggregate_id] for aggregate_id in ids]


def column_value(aggregate: StoredAggregate[Any], name: str) -> Any:
    """Return the value of an indexed column, without the help of the code under test."""
    if name in {"version", "created_at", "updated_at"}:
        return getattr(aggregate, name)
    if name == AGGREGATE_TYPES[aggregate.kind].id_column:
        return aggregate.id
    attributes = getattr(aggregate.state, "attributes", {})
    return attributes[name] if name in attributes else getattr(aggregate.state, name, None)


def conditions_of(column: Column, operand: Any) -> list[Filter]:
    """Return a filter of each operator that suits the column's type."""
    operators = [Operator.EQ, Operator.NE, Operator.IN]
    if column.type.name is not TypeName.BOOLEAN:
        operators += [Operator.LT, Operator.LTE, Operator.GT, Operator.GTE]
    conditions = [Filter(column.name, operator, (operand,)) for operator in operators]
    conditions += [Filter(column.name, Operator.EXISTS, (flag,)) for flag in (True, False)]
    if column.type.name is TypeName.STRING:
        conditions.append(Filter(column.name, Operator.LIKE, (str(operand)[:3].upper(),)))
    return conditions


def choose_conditions(
    aggregate_type: AggregateType, conditions: list[Filter], turn: int
) -> list[Filter]:
    """Return the filters of a column to try: in a usual run a third of them, in turn.

    A governed kind has columns of every type, and tries them all.
    """
    if aggregate_type.is_governed or is_thorough():
        return conditions
    return conditions[turn % 3 :: 3]


def holds(condition: Filter, value: Any) -> bool:
    """Return whether a value satisfies a filter."""
    operand = condition.values[0]
    if condition.operator is Operator.EXISTS:
        return (value is not None) is operand
    if value is None:
        return condition.operator is Operator.NE
    return _COMPARISONS[condition.operator](value, operand)


def sort_ids(aggregates: list[StoredAggregate[Any]], name: str, *, descending: bool) -> list[str]:
    """Return the ids in the order of a column; absent values come last, equal ones as created."""
    values = {a.id: column_value(a, name) for a in aggregates}
    present = [a.id for a in aggregates if values[a.id] is not None]
    absent = [a.id for a in aggregates if values[a.id] is None]
    return [*sorted(present, key=values.__getitem__, reverse=descending), *absent]


class TestEveryKind:
    """Every kind has the same promises: exact states, typed filters, sorts and pages.

    Kinds share the store of a test, so that none may see the aggregates of another.
    """

    @pytest.fixture(autouse=True)
    async def _adopt_every_schema(self, harness: StorageHarness) -> None:
        await adopt_every_schema(harness.store)

    async def test_each_field_is_read_as_it_was_written(
        self, harness: StorageHarness, subtests: pytest.Subtests
    ) -> None:
        for aggregate_type in AGGREGATE_TYPES.values():
            with subtests.test(kind=aggregate_type.kind):
                for number in range(SAMPLE_COUNT):
                    write = build_write(aggregate_type, number)
                    await harness.store.commit(harness.change(writes=(write,), events=()))
                    stored = await harness.store.get(aggregate_type.kind, write.id)
                    assert stored.state == write.state
                page = await harness.store.page(Query(kind=aggregate_type.kind))
                assert [item.state for item in page.items] == [
                    build_write(aggregate_type, number).state for number in range(SAMPLE_COUNT)
                ]

    async def test_each_kind_with_a_table_has_past_pages(
        self, harness: StorageHarness, subtests: pytest.Subtests
    ) -> None:
        for aggregate_type in AGGREGATE_TYPES.values():
            if aggregate_type.table is None:
                continue
            with subtests.test(kind=aggregate_type.kind):
                await check_past_pages(harness, aggregate_type)

    async def test_an_unknown_column_of_any_kind_is_rejected(
        self, harness: StorageHarness, subtests: pytest.Subtests
    ) -> None:
        unknown = Filter("state_of_mind", Operator.EQ, ("x",))
        for kind in AGGREGATE_TYPES:
            for query in (
                Query(kind=kind, sort=(Sort("state_of_mind"),)),
                Query(kind=kind, filters=(unknown,)),
                Query(kind=kind, filters=(Filter("version", Operator.EQ, ("x",)),)),
            ):
                with subtests.test(query=str(query)), pytest.raises(InvalidInput):
                    await harness.store.page(query)

    async def test_a_write_moves_an_aggregate_between_filters(
        self, harness: StorageHarness, subtests: pytest.Subtests
    ) -> None:
        for aggregate_type in AGGREGATE_TYPES.values():
            with subtests.test(kind=aggregate_type.kind):
                await check_move(harness, aggregate_type)

    async def test_filters_hold_after_reopening(
        self,
        harness: StorageHarness,
        reopen_store: ReopenStore,
        subtests: pytest.Subtests,
        request: pytest.FixtureRequest,
    ) -> None:
        if not getattr(request.module, "DURABLE", False):
            pytest.skip("the store lives as long as its process")
        written = {
            kind: await write_samples(harness, each) for kind, each in AGGREGATE_TYPES.items()
        }
        await harness.store.close()
        harness.store = await reopen_store()
        for kind, aggregates in written.items():
            for name in AGGREGATE_TYPES[kind].indexed_columns(schema_of(AGGREGATE_TYPES[kind])):
                with subtests.test(kind=kind, column=name):
                    await check_equal(harness, AGGREGATE_TYPES[kind], name, aggregates)


class TestEveryColumn:
    """Every indexed column of every kind has a filter of each operator, and sorts.

    A usual run tries all of them for governed kinds, and for another kind a part of each column's.
    """

    @pytest.fixture(autouse=True)
    async def _adopt_every_schema(self, harness: StorageHarness) -> None:
        await adopt_every_schema(harness.store)

    async def test_each_indexed_column_filters_by_its_type(
        self, harness: StorageHarness, subtests: pytest.Subtests
    ) -> None:
        for aggregate_type in AGGREGATE_TYPES.values():
            aggregates = await write_samples(harness, aggregate_type)
            columns = aggregate_type.indexed_columns(schema_of(aggregate_type))
            for turn, (name, column) in enumerate(columns.items()):
                with subtests.test(kind=aggregate_type.kind, column=name):
                    await check_filters(harness, aggregate_type, column, aggregates, turn)

    @pytest.mark.parametrize("descending", [False, True])
    async def test_each_indexed_column_sorts_across_pages(
        self, harness: StorageHarness, subtests: pytest.Subtests, *, descending: bool
    ) -> None:
        for aggregate_type in AGGREGATE_TYPES.values():
            aggregates = await write_samples(harness, aggregate_type)
            columns = aggregate_type.indexed_columns(schema_of(aggregate_type))
            for turn, name in enumerate(columns):
                is_next = turn % 2 == descending
                if not (aggregate_type.is_governed or is_next or is_thorough()):
                    continue  # a usual run sorts it in the other direction
                with subtests.test(kind=aggregate_type.kind, column=name):
                    sort = (Sort(name, descending),)
                    query = Query(kind=aggregate_type.kind, sort=sort, limit=2)
                    ids = [item.id async for item in iterate_items(harness, query)]
                    assert ids == sort_ids(aggregates, name, descending=descending)


async def check_filters(
    harness: StorageHarness,
    aggregate_type: AggregateType,
    column: Column,
    aggregates: list[StoredAggregate[Any]],
    turn: int,
) -> None:
    """Check that filters of a column find the aggregates for which they hold, in order."""
    values = {a.id: column_value(a, column.name) for a in aggregates}
    operand = next(value for value in values.values() if value is not None)
    for condition in choose_conditions(aggregate_type, conditions_of(column, operand), turn):
        query = Query(kind=aggregate_type.kind, filters=(condition,), limit=4)
        ids = [item.id async for item in iterate_items(harness, query)]
        assert ids == [key for key, value in values.items() if holds(condition, value)]


async def check_move(harness: StorageHarness, aggregate_type: AggregateType) -> None:
    """Check that an aggregate leaves the filters of its former version."""
    first = build_write(aggregate_type, 0)
    await harness.store.commit(harness.change(writes=(first,), events=()))
    version = Filter("version", Operator.EQ, (1,))
    query = Query(kind=aggregate_type.kind, filters=(version,))
    assert [item.id for item in (await harness.store.page(query)).items] == [first.id]
    second = msgspec.structs.replace(build_write(aggregate_type, 1, 1), id=first.id)
    await harness.store.commit(harness.change(writes=(second,), events=()))
    assert not (await harness.store.page(query)).items
    for name in [column.name for column in aggregate_type.columns]:
        if (value := getattr(second.state, name)) is not None:
            assert await find_equal(harness, aggregate_type, name, value) == [first.id]


async def check_equal(
    harness: StorageHarness,
    aggregate_type: AggregateType,
    name: str,
    aggregates: list[StoredAggregate[Any]],
) -> None:
    """Check that the first value of a column finds the aggregates that have it."""
    operand = next(v for a in aggregates if (v := column_value(a, name)) is not None)
    assert await find_equal(harness, aggregate_type, name, operand) == [
        a.id for a in aggregates if column_value(a, name) == operand
    ]


async def find_equal(
    harness: StorageHarness, aggregate_type: AggregateType, name: str, value: Any
) -> list[str]:
    """Return the ids of the aggregates of a kind that have a value in a column."""
    condition = Filter(name, Operator.EQ, (value,))
    query = Query(kind=aggregate_type.kind, filters=(condition,), limit=4)
    return [item.id async for item in iterate_items(harness, query)]


async def check_past_pages(harness: StorageHarness, aggregate_type: AggregateType) -> None:
    """Check that a page as of an instant has the states, and the columns, of then."""
    kind, writes = aggregate_type.kind, [build_write(aggregate_type, n) for n in range(2)]
    await harness.store.commit(harness.change(writes=tuple(writes), events=()))
    first = (await harness.store.get(kind, writes[0].id)).updated_at
    changed_state = build_write(aggregate_type, 3).state
    if aggregate_type.is_governed:
        name = aggregate_type.id_column
        changed_state = msgspec.structs.replace(changed_state, **{name: writes[0].id})
    change = harness.change(writes=(Write(kind, writes[0].id, 1, changed_state),), events=())
    await harness.store.commit(change)
    past = await harness.store.page(Query(kind=kind, as_of=first))
    assert [item.state for item in past.items] == [write.state for write in writes]
    now = await harness.store.page(Query(kind=kind))
    assert now.items[0].state == changed_state
    for column in aggregate_type.columns:
        operand = column_value(past.items[0], column.name)
        if operand is None:
            continue
        condition = Filter(column.name, Operator.EQ, (operand,))
        query = Query(kind=kind, filters=(condition,), as_of=first)
        expected = [a.id for a in past.items if column_value(a, column.name) == operand]
        assert [item.id for item in (await harness.store.page(query)).items] == expected
