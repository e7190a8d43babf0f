"""Queries of ledgers: entries, and what they amount to on a date, as known at an instant."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from spawn.application.dependencies import Dependencies, require
from spawn.application.facilities.facility_queries import get_facility, query_facilities
from spawn.application.facilities.stored_ledgers import load_ledger
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import NotFound
from spawn.domain.facilities.facility import FACILITY_KIND, Facility
from spawn.domain.facilities.ledger import (
    LEDGER_KIND,
    EntryKind,
    LedgerEntry,
    RecordedEntry,
    StoredLedger,
    select_entries,
)
from spawn.domain.facilities.ledger_fold import (
    LedgerPosition,
    find_highest_debt,
    fold,
)
from spawn.domain.facilities.principal_arrears import find_principal_dues
from spawn.domain.facilities.repayment_schedule import build_repayment_schedule
from spawn.domain.facilities.statement import Statement, build_statement
from spawn.domain.finance.loans.loan_results import LoanSchedule
from spawn.domain.principal import Principal, Scope
from spawn.domain.query import MAX_LIMIT


class LedgerView(msgspec.Struct, frozen=True, kw_only=True):
    """A facility and the entries in effect on a date, as known at an instant."""

    facility: Facility
    entries: Sequence[LedgerEntry]
    on: date
    as_of: datetime
    ledger: StoredLedger


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a facility on a date, as known at an instant.

    `principal_arrears` is principal that fell due by the schedule and was not repaid. Without a
    schedule it may be unknown, which is None; `no_schedule_reason` says why there is none.
    """

    position: LedgerPosition
    principal_arrears: Decimal | None
    no_schedule_reason: str | None = None


class EntryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A selection of entries; `restated_since` takes restatements recorded from an instant on."""

    kind: EntryKind | None = None
    restated_since: datetime | None = None

    def meets(self, stored_entry: RecordedEntry) -> bool:
        """Whether an entry is selected."""
        entry = stored_entry.entry
        if self.kind is not None and entry.kind is not self.kind:
            return False
        if self.restated_since is None:
            return True
        return entry.is_restatement and stored_entry.recorded_at >= self.restated_since


async def list_entries(
    dependencies: Dependencies,
    principal: Principal,
    facility_id: str,
    *,
    selection: EntryFilter,
    after: int,
    limit: int,
) -> tuple[list[RecordedEntry], StoredLedger]:
    """Return the selected entries after a number, in the order of recording, and their ledger.

    Raises:
        NotFound: no such facility.
    """
    await get_facility(dependencies, principal, facility_id)
    ledger = await load_ledger(dependencies, facility_id)
    page: list[RecordedEntry] = []
    for stored_entry in ledger.entries[after:]:
        if len(page) == limit:
            break
        if selection.meets(stored_entry):
            page.append(stored_entry)
    return page, ledger


async def get_ledger(dependencies: Dependencies, facility_id: str) -> StoredLedger:
    """Return the ledger of a facility.

    Raises:
        NotFound: no such facility.
    """
    await dependencies.reads.head(FACILITY_KIND, facility_id)
    return await load_ledger(dependencies, facility_id)


class LedgerVersions(NamedTuple):
    """The versions that figures of a facility follow from."""

    facility: int
    ledger: int
    epoch: int


async def find_versions(dependencies: Dependencies, facility_id: str) -> LedgerVersions:
    """Return the versions of a facility and of its ledger; cheap.

    Raises:
        NotFound: no such facility.
    """
    facility = await dependencies.reads.head(FACILITY_KIND, facility_id)
    try:
        ledger = await dependencies.reads.head(LEDGER_KIND, facility_id)
    except NotFound:
        return LedgerVersions(facility.version, 0, facility.epoch)
    return LedgerVersions(facility.version, ledger.version, facility.epoch)


async def get_entry(
    dependencies: Dependencies, principal: Principal, facility_id: str, number: int
) -> tuple[RecordedEntry, int]:
    """Return an entry of a ledger, and the epoch of the store.

    Raises:
        NotFound: no such facility or entry.
    """
    require(principal, Scope.FINANCE_READ)
    ledger = await get_ledger(dependencies, facility_id)
    if not 1 <= number <= ledger.version:
        raise NotFound("The ledger has no entry of this number.")
    return ledger.entries[number - 1], ledger.epoch


async def view_ledger(
    dependencies: Dependencies,
    principal: Principal,
    facility_id: str,
    *,
    on: date | None = None,
    as_of: datetime | None = None,
) -> LedgerView:
    """Return a facility and its entries on a date (by default today), as known at an instant.

    Without an instant it is the time of the newest change, so that the same request gives the
    same result until the next one.

    Raises:
        NotFound: no such facility, or none yet at that instant.
        InvalidInput: the instant is not in the past.
    """
    require(principal, Scope.FINANCE_READ)
    aggregate = await get_facility(dependencies, principal, facility_id, as_of=as_of)
    ledger = await load_ledger(dependencies, facility_id)
    on = dependencies.clock.now().date() if on is None else on
    if as_of is None:
        as_of = max(aggregate.updated_at, ledger.recorded_at or aggregate.updated_at)
    return LedgerView(
        facility=aggregate.state,
        entries=select_entries(ledger.entries, on, as_of),
        on=on,
        as_of=as_of,
        ledger=ledger,
    )


def compute_balance(view: LedgerView) -> Balance:
    """Return what a facility amounts to on a date."""
    position = fold(view.facility, view.entries, view.on)
    dues = find_principal_dues(view.facility, view.entries, view.on)
    paid = position.repaid - position.prepaid
    return Balance(
        position=position,
        principal_arrears=dues.measure_arrears(view.on, paid, position.balance),
        no_schedule_reason=dues.no_schedule_reason,
    )


def compute_schedule(view: LedgerView) -> LoanSchedule | None:
    """Return the schedule of a facility, by what is known; None if nothing was drawn.

    Raises:
        Infeasible: the terms give no schedule.
    """
    return build_repayment_schedule(view.facility, view.entries, view.on)


def compute_statement(view: LedgerView, start: date) -> Statement:
    """Return the statement of a facility from a day through the date of the view.

    Raises:
        InvalidInput: the day is after that date.
    """
    return build_statement(view.facility, view.entries, start, view.on)


async def sum_outstanding_debt(
    dependencies: Dependencies, principal: Principal, project_id: str, *, on: date
) -> dict[str, Decimal]:
    """Return the debt of a project from a date on by currency; empty if all of it is repaid.

    It is the balance of each loan with its interest and fees, accrued or due: the highest of the
    day and of the later days that have entries. Without any it is the fees that fall due later.

    Raises:
        NotFound: no such project.
    """
    require(principal, Scope.FINANCE_READ, Scope.PROJECTS_WRITE)
    totals: dict[str, Decimal] = {}
    query = query_facilities(project_id, MAX_LIMIT)
    while True:
        page = await dependencies.reads.page(query)
        for aggregate in page.items:
            await _add_debt(dependencies, aggregate, on, totals)
        if page.next is None:
            return totals
        query = msgspec.structs.replace(query, after=page.next)


async def _add_debt(
    dependencies: Dependencies,
    aggregate: StoredAggregate[Facility],
    on: date,
    totals: dict[str, Decimal],
) -> None:
    facility = aggregate.state
    if not facility.kind.is_debt:
        return
    ledger = await load_ledger(dependencies, facility.facility_id)
    debt = find_highest_debt(facility, select_entries(ledger.entries), on)
    if debt:
        totals[facility.currency_code] = totals.get(facility.currency_code, Decimal(0)) + debt
