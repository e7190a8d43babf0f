"""Stored balance histories: read instead of a fold, and never believed beyond their versions."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.application.portfolios.books import a_facility, a_holding, a_portfolio, a_project

from spawn.application.bounded_cache import BoundedCache
from spawn.application.dependencies import Dependencies
from spawn.application.events.journal_watch import JournalWatch
from spawn.application.facilities.facility_commands import FinanceContext
from spawn.application.facilities.ledger_commands import record_entry, reverse_entry
from spawn.application.portfolios.books.balance_histories import BalanceFollower
from spawn.application.portfolios.exposure_reports import ReportQuery, report_exposure
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import Unavailable
from spawn.domain.events.position import Position
from spawn.domain.facilities.ledger import ENTRY_KIND, EntryFacts, EntryKind
from spawn.domain.portfolios.portfolio import ExposureKey
from spawn.domain.principal import LOCAL_PRINCIPAL
from spawn.ports.storage import DerivedDocument

DRAWN_ON = date(2026, 6, 30)
CONTEXT = FinanceContext()
NAME = "balance_history"


class CountedReads:
    """Reads of a store that count the entries of ledgers."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._reads = dependencies.reads
        self.entries = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reads, name)

    async def get_many(self, kind: str, ids: Sequence[str]) -> dict[str, StoredAggregate[Any]]:
        self.entries += len(ids) if kind == ENTRY_KIND else 0
        return await self._reads.get_many(kind, ids)


class UnwritableDocuments:
    """Derived documents of a store that takes none."""

    async def load_derived(self, name: str, keys: Sequence[str]) -> dict[str, DerivedDocument]:
        del name, keys
        return {}

    async def save_derived(self, documents: Sequence[DerivedDocument]) -> None:
        raise Unavailable(f"The disk is full for {len(documents)} documents.")


def restart(dependencies: Dependencies) -> tuple[Dependencies, CountedReads]:
    """Return the dependencies of another process on the same store."""
    reads = CountedReads(dependencies)
    fresh = msgspec.structs.replace(
        dependencies,
        reads=reads,
        ledgers=BoundedCache(100),
        portfolio_books=BoundedCache(100),
        recorded_books=BoundedCache(100),
        balance_histories=BoundedCache(100),
    )
    return fresh, reads


async def record(
    dependencies: Dependencies, facility_id: str, kind: EntryKind, amount: str, day: date = DRAWN_ON
) -> int:
    facts = EntryFacts(kind=kind, value_date=day, amount=Decimal(amount))
    result = await record_entry(dependencies, LOCAL_PRINCIPAL, facility_id, facts, CONTEXT)
    assert result.stored_entry is not None
    return result.stored_entry.entry.number


async def measure(
    dependencies: Dependencies, portfolio_id: str, on: date = date(2026, 9, 30), **query: Any
) -> tuple[int, int]:
    one = await report_exposure(
        dependencies,
        LOCAL_PRINCIPAL,
        portfolio_id,
        (ExposureKey.COUNTRY,),
        ReportQuery(on=on, **query),
    )
    return one.exposure.total.outstanding, one.exposure.total.undrawn


def follow(dependencies: Dependencies) -> BalanceFollower:
    return BalanceFollower(dependencies, JournalWatch(dependencies.reads), pause_s=0)


@pytest.fixture
async def facility_id(dependencies: Dependencies) -> str:
    return await a_facility(dependencies, await a_project(dependencies))


@pytest.fixture
async def portfolio_id(dependencies: Dependencies, facility_id: str) -> str:
    portfolio_id = await a_portfolio(dependencies)
    await a_holding(dependencies, portfolio_id, facility_id=facility_id, share="100")
    return portfolio_id


async def test_a_process_reads_the_histories_that_its_predecessor_has_derived(
    dependencies: Dependencies, facility_id: str, portfolio_id: str
) -> None:
    await record(dependencies, facility_id, EntryKind.DRAW, "1000.00")
    position = await follow(dependencies).catch_up()
    next_process, reads = restart(dependencies)
    assert await measure(next_process, portfolio_id) == (100_000, 8_999_900_000)
    assert await measure(next_process, portfolio_id, DRAWN_ON - timedelta(1)) == (0, 9_000_000_000)
    assert reads.entries == 0

    before = await dependencies.reads.latest_recorded_at()
    await record(dependencies, facility_id, EntryKind.PREPAYMENT, "400.00", date(2026, 7, 1))
    assert await measure(next_process, portfolio_id) == (60_000, 8_999_900_000)
    assert reads.entries == 2
    assert await measure(next_process, portfolio_id, as_of=before) == (100_000, 8_999_900_000)
    assert await follow(dependencies).catch_up(position) > position


async def test_the_follower_derives_each_ledger_that_has_changed(
    dependencies: Dependencies, facility_id: str
) -> None:
    other_id = await a_facility(dependencies, await a_project(dependencies), name="Other")
    number = await record(dependencies, facility_id, EntryKind.DRAW, "1000.00")
    position = await follow(dependencies).catch_up()
    stored = await dependencies.derived_documents.load_derived(NAME, [facility_id, other_id])
    assert {key: one.basis[-1] for key, one in stored.items()} == {facility_id: 1}

    await record(dependencies, other_id, EntryKind.DRAW, "1.00")
    facts = EntryFacts(kind=EntryKind.REVERSAL, value_date=DRAWN_ON)
    await reverse_entry(dependencies, LOCAL_PRINCIPAL, facility_id, number, facts, CONTEXT)
    await follow(dependencies).catch_up(position)
    stored = await dependencies.derived_documents.load_derived(NAME, [facility_id, other_id])
    assert {key: one.basis[-1] for key, one in stored.items()} == {facility_id: 2, other_id: 1}


async def test_a_position_of_another_epoch_begins_again(
    dependencies: Dependencies, facility_id: str
) -> None:
    await record(dependencies, facility_id, EntryKind.DRAW, "1000.00")
    await follow(dependencies).catch_up(Position(0, 1))
    assert facility_id in await dependencies.derived_documents.load_derived(NAME, [facility_id])


async def test_a_report_stores_what_it_derives_but_nothing_over_later_versions(
    dependencies: Dependencies, facility_id: str, portfolio_id: str
) -> None:
    await record(dependencies, facility_id, EntryKind.DRAW, "1000.00")
    before = await dependencies.reads.latest_recorded_at()
    await record(dependencies, facility_id, EntryKind.DRAW, "500.00")
    assert await measure(dependencies, portfolio_id) == (150_000, 8_999_850_000)
    assert await measure(dependencies, portfolio_id, as_of=before) == (100_000, 8_999_900_000)
    stored = await dependencies.derived_documents.load_derived(NAME, [facility_id])
    assert stored[facility_id].basis[-1] == 2


async def test_a_store_that_takes_no_documents_serves_reports(
    dependencies: Dependencies, facility_id: str, portfolio_id: str
) -> None:
    await record(dependencies, facility_id, EntryKind.DRAW, "1000.00")
    full = msgspec.structs.replace(
        restart(dependencies)[0], derived_documents=UnwritableDocuments()
    )
    assert await measure(full, portfolio_id) == (100_000, 8_999_900_000)
