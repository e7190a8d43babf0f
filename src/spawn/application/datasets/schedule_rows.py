"""Rows of the dataset of schedules: the cash flows of every facility that has one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.stored_ledgers import load_ledger
from spawn.domain.change import StoredAggregate
from spawn.domain.facilities.facility import FACILITY_KIND, Facility
from spawn.domain.facilities.ledger import select_entries
from spawn.domain.facilities.principal_arrears import find_principal_dues
from spawn.domain.money import get_exponent
from spawn.domain.portfolios.cash_flows import ScheduledFlow, list_schedule_flows
from spawn.domain.query import MAX_LIMIT, Page, Query


async def read_schedule_rows(dependencies: Dependencies) -> AsyncIterator[dict[str, Any]]:
    """Yield a row for each day of each schedule, oldest facility first, a page in memory at most.

    A facility has no rows before its first draw, and while its terms give no schedule.
    """
    query: Query | None = Query(kind=FACILITY_KIND, limit=MAX_LIMIT)
    while query is not None:
        page: Page[StoredAggregate[Facility]] = await dependencies.reads.page(query)
        for aggregate in page.items:
            ledger = await load_ledger(dependencies, aggregate.id)
            if not ledger.entries:
                continue
            await asyncio.sleep(0)  # a schedule takes a millisecond or more
            dues = find_principal_dues(aggregate.state, select_entries(ledger.entries))
            if dues.schedule is None:
                continue
            flows = list_schedule_flows(dues.schedule, aggregate.state.currency_code)
            versions = {"facility_version": aggregate.version, "ledger_version": ledger.version}
            for row in _build_rows(aggregate.state, flows):
                yield row | versions
        query = msgspec.structs.replace(query, after=page.next) if page.next else None


def _build_rows(facility: Facility, flows: tuple[ScheduledFlow, ...]) -> Iterator[dict[str, Any]]:
    balance = 0
    exponent = get_exponent(facility.currency_code)
    for flow in flows:
        balance -= flow.amortisation
        amounts = {
            "amortisation": flow.amortisation,
            "principal": flow.principal,
            "interest": flow.interest,
            "balance": balance,
        }
        yield {
            "facility_id": facility.facility_id,
            "project_id": facility.project_id,
            "kind": facility.kind,
            "currency_code": facility.currency_code,
            "day": flow.day,
            **{name: Decimal(units).scaleb(-exponent) for name, units in amounts.items()},
        }
