"""Aggregates as they were at an instant that has passed."""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.portfolios.books.balance_histories import split_keys
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.change import StoredAggregate
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Query

_READS: Final = 2_000
"""Aggregates of one read; each read searches the whole store."""


async def read_past(
    dependencies: Dependencies, kind: str, ids: Iterable[str], as_of: datetime
) -> dict[str, StoredAggregate[Any]]:
    """Return the aggregates of a kind that existed at an instant, as they were then, by id."""
    current: list[StoredAggregate[Any]] = []
    for batch in split_keys(list(ids), _READS):
        current += (await dependencies.reads.get_many(kind, batch)).values()
    return {one.id: one for one in await restore(dependencies, current, as_of)}


async def restore(
    dependencies: Dependencies, current: Sequence[StoredAggregate[Any]], as_of: datetime
) -> list[StoredAggregate[Any]]:
    """Return aggregates of one kind as they were at an instant, those that existed then.

    Reading what is current needs no search of the past; the few that were written since the
    instant are read again.
    """
    past = [one for one in current if one.updated_at <= as_of]
    later_ids = [one.id for one in current if one.created_at <= as_of < one.updated_at]
    if not later_ids:
        return past
    aggregate_type = AGGREGATE_TYPES[current[0].kind]
    if aggregate_type.table is None:
        reads = dependencies.reads
        return past + [await reads.get(aggregate_type.kind, key, as_of=as_of) for key in later_ids]
    id_column = aggregate_type.id_column
    return past + [
        one async for one in iterate(dependencies, aggregate_type.kind, id_column, later_ids, as_of)
    ]


async def iterate(
    dependencies: Dependencies,
    kind: str,
    field: str,
    values: Iterable[str],
    as_of: datetime | None = None,
    *conditions: Filter,
) -> AsyncIterator[StoredAggregate[Any]]:
    """Yield the aggregates of a kind whose field has one of the values, now or as of an instant."""
    ids = sorted(values)
    for start in range(0, len(ids), MAX_LIMIT):
        batch = Filter(field, Operator.IN, tuple(ids[start : start + MAX_LIMIT]))
        query: Query | None = Query(
            kind=kind, filters=(batch, *conditions), limit=MAX_LIMIT, as_of=as_of
        )
        while query is not None:
            page = await dependencies.reads.page(query)
            for aggregate in page.items:
                yield aggregate
            query = msgspec.structs.replace(query, after=page.next) if page.next else None
