"""The debt that stops a project from being completed, and the ledgers that say so."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from spawn.application.access.row_access import require_all_facilities
from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_queries import query_facilities
from spawn.application.facilities.ledger_queries import sum_outstanding_debt
from spawn.domain.change import Guard, StoredAggregate
from spawn.domain.errors import NotFound
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.facilities.ledger import LEDGER_KIND
from spawn.domain.principal import Principal, Scope
from spawn.domain.query import MAX_LIMIT, Page, Query


class OutstandingDebt(msgspec.Struct, frozen=True, kw_only=True):
    """The debt of a project by currency, and guards of every ledger that it was added up from.

    `is_stated` is whether the caller may read its amount.
    """

    by_currency: Mapping[str, Decimal] = msgspec.field(default_factory=dict)
    is_stated: bool = True
    guards: tuple[Guard, ...] = ()


async def read_outstanding_debt(
    dependencies: Dependencies, principal: Principal, project_id: str, on: date
) -> OutstandingDebt:
    """Return the debt of a project on a day.

    The versions are read before the balances, so that an entry in between makes the decision
    stale. A new facility guards the project, which the decision writes.

    Raises:
        Forbidden: the principal sees only some facilities of the project.
    """
    require_all_facilities(principal)
    guards: list[Guard] = []
    query: Query | None = query_facilities(project_id, MAX_LIMIT)
    while query is not None:
        page: Page[StoredAggregate[Any]] = await dependencies.reads.page(query)
        for facility in page.items:
            version = await _find_ledger_version(dependencies, facility.id)
            guards.append(Guard(FACILITY_KIND, facility.id, facility.version))
            guards.append(Guard(LEDGER_KIND, facility.id, version))
        query = msgspec.structs.replace(query, after=page.next) if page.next else None
    totals = await sum_outstanding_debt(dependencies, principal, project_id, on=on)
    is_stated = not principal.scopes.isdisjoint((Scope.FINANCE_READ, Scope.FINANCE_WRITE))
    return OutstandingDebt(by_currency=totals, is_stated=is_stated, guards=tuple(guards))


async def _find_ledger_version(dependencies: Dependencies, facility_id: str) -> int:
    """Return the version of a ledger; 0 before its first entry."""
    try:
        head = await dependencies.reads.head(LEDGER_KIND, facility_id)
    except NotFound:
        return 0
    return head.version
