"""Ledgers of the facilities that a portfolio holds, and the debt and cases of their projects."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.portfolios.books.balance_histories import split_keys
from spawn.application.portfolios.books.past_states import iterate, read_past
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.cfads_case import CASE_KIND, CfadsCase
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.facilities.ledger import (
    ENTRY_KIND,
    LEDGER_KIND,
    MAX_ENTRIES,
    LedgerEntry,
    RecordedEntry,
    build_entry_id,
)
from spawn.domain.portfolios.held_facility import HeldFacility

_READS_PER_TURN: Final = 500
"""Entries that are folded before other tasks run."""


def see_whole_portfolio(dependencies: Dependencies) -> Dependencies:
    """Return the ports of a caller who may see a portfolio, with all that it holds."""
    reads = dependencies.portfolio_reads
    return dependencies if reads is None else msgspec.structs.replace(dependencies, reads=reads)


async def load_project_debt(
    dependencies: Dependencies, parts: Sequence[HeldFacility], as_of: datetime
) -> list[HeldFacility]:
    """Return all debt facilities of the projects of which something is held, each once.

    Those of which the portfolio has no part stand beside a holding of their project.
    """
    by_project = {one.project.project_id: one for one in parts}
    facilities = [
        one
        async for one in iterate(dependencies, FACILITY_KIND, "project_id", by_project, as_of)
        if one.state.kind.is_debt
    ]
    facilities.sort(key=lambda one: (one.created_at, one.id))
    ledgers = await read_past(dependencies, LEDGER_KIND, [one.id for one in facilities], as_of)
    return [
        msgspec.structs.replace(
            by_project[one.state.project_id],
            facility=one.state,
            version=one.version,
            entry_count=ledgers[one.id].state.entries if one.id in ledgers else 0,
        )
        for one in facilities
    ]


async def load_project_cases(
    dependencies: Dependencies, project_ids: Iterable[str], as_of: datetime
) -> AsyncIterator[StoredAggregate[CfadsCase]]:
    """Yield the cases of projects as they were at an instant."""
    async for one in iterate(dependencies, CASE_KIND, "project_id", project_ids, as_of):
        yield one


async def load_entries(
    dependencies: Dependencies, facilities: Iterable[HeldFacility]
) -> AsyncIterator[tuple[HeldFacility, tuple[RecordedEntry, ...]]]:
    """Yield facilities with the entries of their ledgers, some ledgers at a time.

    Other tasks run in between: a ledger takes up to some milliseconds.
    """
    dependencies = see_whole_portfolio(dependencies)
    batch: list[HeldFacility] = []
    count = 0
    for one in facilities:
        if batch and count + one.entry_count > _READS_PER_TURN:
            for pair in await _read_entries(dependencies, batch):
                yield pair
            batch, count = [], 0
        batch.append(one)
        count += one.entry_count
    for pair in await _read_entries(dependencies, batch):
        yield pair


async def _read_entries(
    dependencies: Dependencies, facilities: Sequence[HeldFacility]
) -> list[tuple[HeldFacility, tuple[RecordedEntry, ...]]]:
    await asyncio.sleep(0)
    ids = {
        one.facility.facility_id: [
            build_entry_id(one.facility.facility_id, number + 1)
            for number in range(one.entry_count)
        ]
        for one in facilities
    }
    by_id: dict[str, StoredAggregate[LedgerEntry]] = {}
    for batch in split_keys([key for keys in ids.values() for key in keys], MAX_ENTRIES):
        by_id |= await dependencies.reads.get_many(ENTRY_KIND, batch)
    return [
        (
            one,
            tuple(
                RecordedEntry(by_id[key].state, by_id[key].created_at)
                for key in ids[one.facility.facility_id]
            ),
        )
        for one in facilities
    ]
