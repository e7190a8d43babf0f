"""Rows of the dataset of CFADS cases, of all projects."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.cfads_case import CASE_KIND, CfadsCase
from spawn.domain.query import MAX_LIMIT, Page, Query


async def read_case_rows(dependencies: Dependencies) -> AsyncIterator[dict[str, Any]]:
    """Yield a row for each period of each case, oldest case first, a page in memory at most."""
    query: Query | None = Query(kind=CASE_KIND, limit=MAX_LIMIT)
    while query is not None:
        page: Page[StoredAggregate[CfadsCase]] = await dependencies.reads.page(query)
        for aggregate in page.items:
            for row in _build_case_rows(aggregate):
                yield row
        query = msgspec.structs.replace(query, after=page.next) if page.next else None


def _build_case_rows(aggregate: StoredAggregate[CfadsCase]) -> Iterator[dict[str, Any]]:
    """Yield a row for each period of a case."""
    case = aggregate.state
    for period in case.periods:
        yield {
            "case_id": case.case_id,
            "project_id": case.project_id,
            "name": case.name,
            "kind": case.kind,
            "currency_code": case.currency_code,
            "status": case.status,
            "revision": case.revision,
            "version": aggregate.version,
            "engine_version": case.engine_version,
            "starts_on": period.starts_on,
            "ends_on": period.ends_on,
            "cfads": period.cfads,
            "interest": period.interest,
            "principal": period.principal,
            "created_at": aggregate.created_at,
            "updated_at": aggregate.updated_at,
        }
