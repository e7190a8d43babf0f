"""Commands of ledgers: record an entry, and reverse one.

Each is one change. It writes the entry and the ledger, and guards the terms of the facility; an
entry that may raise the debt guards the project too, which may be closed, and whose milestones may
stop a draw.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

import msgspec

from spawn.application.commands import Decision, execute
from spawn.application.dependencies import Dependencies, require
from spawn.application.facilities.facility_commands import (
    FinanceContext,
    check_expected,
    check_is_open,
)
from spawn.application.facilities.stored_ledgers import load_ledger
from spawn.domain.change import (
    Guard,
    StoredAggregate,
    StoredResponse,
    VersionReference,
    Write,
)
from spawn.domain.errors import Conflict, Duplicate, StaleVersion
from spawn.domain.events.event import DomainEvent
from spawn.domain.facilities.facility import FACILITY_KIND, Facility
from spawn.domain.facilities.ledger import (
    ENTRY_KIND,
    ENTRY_RECORDED_EVENT,
    LEDGER_KIND,
    EntryFacts,
    EntryKind,
    FacilityLedger,
    LedgerEntry,
    RecordedEntry,
    StoredLedger,
)
from spawn.domain.facilities.ledger_rules import build_entry, build_reversal
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.projects.project import PROJECT_KIND, Project, list_draw_stops

_NEW_DEBT: Final = frozenset({EntryKind.OPENING, EntryKind.DRAW})
_RAISING_DEBT: Final = _NEW_DEBT | {
    EntryKind.FEE,
    EntryKind.CAPITALISATION,
    EntryKind.RATE_FIXING,
    EntryKind.REVERSAL,
}
"""Kinds of entries that may raise what is owed; a reversal may be that of a repayment."""


class EntryResult(msgspec.Struct, frozen=True):
    """The recorded entry, or the stored response of the same earlier request."""

    stored_entry: RecordedEntry | None
    replayed_response: StoredResponse | None = None


class _EntryDecision(Decision, frozen=True, kw_only=True):
    entry: LedgerEntry


async def record_entry(
    dependencies: Dependencies,
    principal: Principal,
    facility_id: str,
    facts: EntryFacts,
    context: FinanceContext,
) -> EntryResult:
    """Record a fact in the ledger of a facility.

    Raises:
        NotFound: no such facility.
        Forbidden: the entry is valued in a closed period, and the caller may not restate; or in an
            open one, and the caller may only restate.
        StaleVersion: the ledger is not at the expected version.
        InvalidInput, Duplicate, Conflict, Infeasible: a rule of the ledger is violated.
    """

    def build(facility: Facility, ledger: StoredLedger) -> LedgerEntry:
        today = dependencies.clock.now().date()
        return build_entry(facility, ledger.entries, facts, today=today)

    return await _record(dependencies, principal, facility_id, build, context)


async def reverse_entry(
    dependencies: Dependencies,
    principal: Principal,
    facility_id: str,
    number: int,
    facts: EntryFacts,
    context: FinanceContext,
) -> EntryResult:
    """Reverse an entry of a ledger.

    Raises:
        NotFound: no such facility or entry.
        Forbidden: as `record_entry`.
        StaleVersion: the ledger is not at the expected version.
        Conflict: the entry is a reversal, or reversed already.
        InvalidInput, Infeasible: a rule of the ledger is violated.
    """

    def build(facility: Facility, ledger: StoredLedger) -> LedgerEntry:
        return build_reversal(facility, ledger.entries, number, facts)

    return await _record(dependencies, principal, facility_id, build, context)


async def _record(
    dependencies: Dependencies,
    principal: Principal,
    facility_id: str,
    build: Callable[[Facility, StoredLedger], LedgerEntry],
    context: FinanceContext,
) -> EntryResult:
    require(principal, Scope.FINANCE_WRITE, Scope.RESTATE)

    async def decide() -> _EntryDecision:
        facility: StoredAggregate[Facility] = await dependencies.reads.get(
            FACILITY_KIND, facility_id
        )
        ledger = await load_ledger(dependencies, facility_id)
        check_expected(ledger.version, context.expected_version, "ledger")
        entry = build(facility.state, ledger)
        require(principal, Scope.RESTATE if entry.is_restatement else Scope.FINANCE_WRITE)
        guards = [Guard(FACILITY_KIND, facility_id, facility.version)]
        if entry.kind in _RAISING_DEBT:
            guards.append(await _guard_project(dependencies, entry))
        return _decide(entry, ledger, tuple(guards))

    async with _queue_for(dependencies, facility_id, context):
        return await _execute(dependencies, principal, decide, context)


async def _guard_project(dependencies: Dependencies, entry: LedgerEntry) -> Guard:
    """Return the guard of the project that an entry rests on.

    A project is completed without debt, and none comes back afterwards. The debt that a cancelled
    project has left is served until it is repaid: it bears interest and is corrected.

    Raises:
        Conflict: the project is closed, or a milestone stops a draw.
    """
    project_id = entry.project_id
    project: StoredAggregate[Project] = await dependencies.reads.get(PROJECT_KIND, project_id)
    if entry.kind in _NEW_DEBT or project.state.status is not ProjectStatus.CANCELLED:
        check_is_open(project.state)
    stops = list_draw_stops(project.state) if entry.kind is EntryKind.DRAW else ()
    if stops:
        names = ", ".join(f"'{stop.milestone_id}'" for stop in stops[:5])
        raise Conflict(f"Milestones that stop draws are open: {names}. Meet or waive them first.")
    return Guard(PROJECT_KIND, project_id, project.version)


def _decide(entry: LedgerEntry, ledger: StoredLedger, guards: tuple[Guard, ...]) -> _EntryDecision:
    state = FacilityLedger(
        facility_id=entry.facility_id, project_id=entry.project_id, entries=entry.number
    )
    event = DomainEvent(
        type=ENTRY_RECORDED_EVENT,
        kind=ENTRY_KIND,
        id=entry.entry_id,
        changed=tuple(n for n in EntryFacts.__struct_fields__ if getattr(entry, n) is not None),
        reason=entry.reason,
    )
    return _EntryDecision(
        entry=entry,
        writes=(
            Write(ENTRY_KIND, entry.entry_id, 0, entry),
            Write(LEDGER_KIND, entry.facility_id, ledger.version, state),
        ),
        guards=guards,
        events=(event,),
        subject=VersionReference(ENTRY_KIND, entry.entry_id, 1),
    )


def _queue_for(
    dependencies: Dependencies, facility_id: str, context: FinanceContext
) -> AbstractAsyncContextManager[None]:
    """Return the queue of a command that accepts any version; the others become stale at once."""
    if context.expected_version is not None:
        return nullcontext()
    return dependencies.command_queues.queue_for(facility_id)


async def _execute(
    dependencies: Dependencies,
    principal: Principal,
    decide: Callable[[], Awaitable[_EntryDecision]],
    context: FinanceContext,
) -> EntryResult:
    """Execute a command; who loses a race finds the number of the entry taken."""
    outcome = await execute(
        dependencies,
        principal.id,
        decide,
        receipt=context.receipt,
        traceparent=context.traceparent,
        lost_races=(StaleVersion, Duplicate),
        conflict="Other requests kept changing the ledger; read it and try again.",
    )
    result = outcome.result
    if result is None:
        raise RuntimeError("a recorded entry is always written")
    if result.replayed_response is not None:
        return EntryResult(None, result.replayed_response)
    return EntryResult(RecordedEntry(outcome.decision.entry, result.recorded_at))
