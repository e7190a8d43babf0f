"""Rows of the datasets of portfolios and exchange rates."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.domain.change import StoredAggregate
from spawn.domain.portfolios.fx_rate_set import FX_RATE_SET_KIND
from spawn.domain.projects.codec import to_json_number
from spawn.domain.query import MAX_LIMIT, Query


async def read_fx_rates(dependencies: Dependencies) -> AsyncIterator[dict[str, Any]]:
    """Yield the rates of the newest revision of every set, a row each."""
    async for aggregate in _iterate(dependencies, FX_RATE_SET_KIND):
        rate_set = aggregate.state
        for one in rate_set.rates:
            yield {
                "set_id": aggregate.id,
                "on": rate_set.on,
                "source": rate_set.source,
                "revision": aggregate.version,
                "base_currency": rate_set.base_currency,
                "currency_code": one.currency_code,
                "rate": to_json_number(one.rate),
                "reason": rate_set.reason,
                "recorded_at": aggregate.updated_at,
            }


async def _iterate(dependencies: Dependencies, kind: str) -> AsyncIterator[StoredAggregate[Any]]:
    """Yield the aggregates of a kind in order of creation."""
    query: Query | None = Query(kind=kind, limit=MAX_LIMIT)
    while query is not None:
        page = await dependencies.reads.page(query)
        for aggregate in page.items:
            yield aggregate
        query = msgspec.structs.replace(query, after=page.next) if page.next else None
