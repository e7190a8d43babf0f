"""All that a portfolio has held, as recorded at an instant, for any day.

The newest book of a portfolio is cached. A later one takes from it what has not changed since, and
reads only the aggregates of which the feed has an event: each write of them has one.
"""

from collections.abc import Container, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from spawn.application.commands import EVENTFUL_KINDS
from spawn.application.dependencies import Dependencies
from spawn.application.portfolios.books.balance_histories import (
    Basis,
    build_basis,
    derive_history,
    find_histories,
    keep_histories,
)
from spawn.application.portfolios.books.past_states import iterate, read_past, restore
from spawn.application.portfolios.books.project_debt import load_entries
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import CursorExpired, CursorInvalid
from spawn.domain.events.position import Position
from spawn.domain.facilities.balance_history import BalanceHistory
from spawn.domain.facilities.facility import FACILITY_KIND, Facility, FacilityKind
from spawn.domain.facilities.ledger import ENTRY_KIND, LEDGER_KIND, find_facility_of_entry
from spawn.domain.portfolios.held_facility import HeldFacility, RecordedBook
from spawn.domain.portfolios.holding import HOLDING_KIND, ExposureKind, Holding
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import Filter, Operator

MAX_CHANGES: Final = 5_000
"""Events after which a book is read anew."""

_EVENTS: Final = frozenset[str]().union(
    *(AGGREGATE_TYPES[kind].event_types for kind in EVENTFUL_KINDS)
)
_FEED_ROWS: Final = 1_000
_HISTORIES_PER_SAVE: Final = 500
_EQUITY: Final = Filter("kind", Operator.EQ, (FacilityKind.EQUITY.value,))


class BookKey(NamedTuple):
    """A portfolio, with the epoch and the versions of the schemas under which it was read."""

    portfolio_id: str
    epoch: int
    project_schema: int
    facility_schema: int


Holdings = Mapping[str, StoredAggregate[Holding]]
Changes = Mapping[str, AbstractSet[str]]
"""Ids of the aggregates of each kind that have changed."""


async def load_recorded_book(
    dependencies: Dependencies, key: BookKey, as_of: datetime, position: Position | None
) -> RecordedBook:
    """Return all that a portfolio has held, as recorded at an instant that has passed.

    Args:
        dependencies: the ports of a caller who sees the whole portfolio.
        key: the portfolio, from `read_book_key`.
        as_of: the instant.
        position: one that was read before the instant, if that is the newest change; else None.
    """
    cached_book = dependencies.recorded_books.get(key)
    if cached_book is not None and cached_book.as_of == as_of:
        return cached_book
    book = None
    if cached_book is not None and cached_book.as_of < as_of:
        book = await _advance(dependencies, key.portfolio_id, cached_book, as_of)
    if book is None:
        book = await _load(dependencies, key, as_of, position)
    newest = dependencies.recorded_books.get(key)
    if book.position is not None and (newest is None or newest.as_of < book.as_of):
        dependencies.recorded_books.put(key, book)
    return book


async def read_book_key(dependencies: Dependencies, portfolio_id: str) -> BookKey:
    """Return the key of the books of a portfolio under the epoch and the schemas of now."""
    project_schema, facility_schema = [
        (await dependencies.active_schema(kind)).schema.version
        for kind in (PROJECT_KIND, FACILITY_KIND)
    ]
    epoch = (await dependencies.reads.position()).epoch
    return BookKey(portfolio_id, epoch, project_schema, facility_schema)


async def _load(
    dependencies: Dependencies, key: BookKey, as_of: datetime, position: Position | None
) -> RecordedBook:
    current = iterate(dependencies, HOLDING_KIND, "portfolio_id", [key.portfolio_id])
    aggregates = await restore(dependencies, [one async for one in current], as_of)
    # In order of creation, as the holdings of a portfolio are listed.
    aggregates.sort(key=lambda one: (one.created_at, one.id))
    empty = RecordedBook(as_of=as_of, position=position, epoch=key.epoch)
    return await _complete(dependencies, empty, {one.id: one for one in aggregates}, {})


async def _advance(
    dependencies: Dependencies, portfolio_id: str, book: RecordedBook, as_of: datetime
) -> RecordedBook | None:
    """Return a book as of a later instant; None if it is to be read anew."""
    if book.position is None:
        return None
    listing = await _list_changes(dependencies, book.position, as_of)
    if listing is None:
        return None
    changes, position = listing
    later_book = msgspec.structs.replace(book, as_of=as_of, position=position)
    states = await read_past(dependencies, HOLDING_KIND, changes[HOLDING_KIND], as_of)
    own = {key: one for key, one in states.items() if one.state.portfolio_id == portfolio_id}
    holdings = {**book.holdings, **own} if own else book.holdings
    return await _complete(dependencies, later_book, holdings, changes)


async def _list_changes(
    dependencies: Dependencies, position: Position, as_of: datetime
) -> tuple[Changes, Position] | None:
    """Return what has changed after a position up to an instant, and the position behind it.

    None if too much has changed, or the feed does not reach back to the position.
    """
    changes: dict[str, set[str]] = {kind: set() for kind in (*EVENTFUL_KINDS, LEDGER_KIND)}
    newest, count = await dependencies.reads.position(), 0
    while position < newest:
        try:
            page = await dependencies.reads.feed(after=position, limit=_FEED_ROWS, types=_EVENTS)
        except (CursorExpired, CursorInvalid):
            return None
        for entry in page.entries:
            if entry.recorded_at > as_of:
                return changes, position
            if entry.kind == ENTRY_KIND:
                changes[LEDGER_KIND].add(find_facility_of_entry(entry.id))
            else:
                changes[entry.kind].add(entry.id)
            position = entry.position
        position = page.next
        count += len(page.entries)
        if count > MAX_CHANGES:
            return None
    return changes, position


async def _complete(
    dependencies: Dependencies, book: RecordedBook, holdings: Holdings, changes: Changes
) -> RecordedBook:
    """Return a book with these holdings, after reading what it lacks and what has changed."""
    active = () if holdings is book.holdings else _list_active(holdings)
    facilities = await _read_facilities(dependencies, book, holdings, changes)
    lacking = _select((one.project_id for one in active), book.projects, changes, PROJECT_KIND)
    projects = await read_past(dependencies, PROJECT_KIND, lacking, book.as_of)
    lacking = _select(facilities, book.entry_counts, changes, LEDGER_KIND)
    ledgers = await read_past(dependencies, LEDGER_KIND, lacking, book.as_of)
    if holdings is book.holdings and not (facilities or projects or ledgers):
        return book
    counts = {key: ledgers[key].state.entries if key in ledgers else 0 for key in lacking}
    changed_book = msgspec.structs.replace(
        book,
        holdings=holdings,
        facilities={**book.facilities, **facilities},
        projects={**book.projects, **projects},
        entry_counts={**book.entry_counts, **counts},
    )
    if holdings is book.holdings and _is_paired_alike(book, facilities):
        changed_ids = facilities.keys() | projects.keys() | counts.keys()
        parts = _replace_parts(changed_book, changed_ids)
    else:
        parts = _list_parts(changed_book)
    histories = await _read_histories(dependencies, book, parts)
    return msgspec.structs.replace(changed_book, parts=parts, histories=histories)


def _is_paired_alike(
    book: RecordedBook, facilities: Mapping[str, StoredAggregate[Facility]]
) -> bool:
    """Whether changed facilities are in the same holdings: the kind decides what is equity."""
    return all(
        key in book.facilities and book.facilities[key].state.kind is one.state.kind
        for key, one in facilities.items()
    )


def _list_active(holdings: Holdings) -> list[Holding]:
    return [one.state for one in holdings.values() if one.state.is_active]


def _select(
    ids: Iterable[str], earlier: Mapping[str, Any], changes: Changes, kind: str
) -> list[str]:
    """Return the ids of what a book had and has changed, and of these ids those it had not."""
    changed_ids = changes.get(kind, frozenset()) & earlier.keys()
    return [*changed_ids, *(key for key in dict.fromkeys(ids) if key not in earlier)]


async def _read_facilities(
    dependencies: Dependencies, book: RecordedBook, holdings: Holdings, changes: Changes
) -> dict[str, StoredAggregate[Facility]]:
    """Return the facilities of holdings that a book lacks or that have changed.

    The stake in a project's equity is one of each of its facilities of kind `equity`.
    """
    others = changes.get(FACILITY_KIND, frozenset()) - book.facilities.keys()
    is_same = holdings is book.holdings
    active = _list_active(holdings) if others or not is_same else []
    loan_ids = () if is_same else _list_exposures(active, ExposureKind.FACILITY)
    lacking = _select(loan_ids, book.facilities, changes, FACILITY_KIND)
    facilities = await read_past(dependencies, FACILITY_KIND, lacking, book.as_of)
    equities = _list_exposures(active, ExposureKind.EQUITY)
    if not equities:
        return facilities
    before = _list_exposures(_list_active(book.holdings), ExposureKind.EQUITY)
    new_ids = equities.keys() - before.keys()
    async for one in iterate(
        dependencies, FACILITY_KIND, "project_id", new_ids, book.as_of, _EQUITY
    ):
        facilities[one.id] = one
    new_facilities = (await read_past(dependencies, FACILITY_KIND, others, book.as_of)).values()
    return facilities | {
        one.id: one for one in new_facilities if _is_equity_of(one.state, equities)
    }


def _list_exposures(holdings: Iterable[Holding], kind: ExposureKind) -> dict[str, None]:
    return dict.fromkeys(one.exposure_id for one in holdings if one.exposure_kind is kind)


def _is_equity_of(facility: Facility, project_ids: Container[str]) -> bool:
    return facility.kind is FacilityKind.EQUITY and facility.project_id in project_ids


def _replace_parts(book: RecordedBook, ids: AbstractSet[str]) -> tuple[HeldFacility, ...]:
    """Return the parts of a book, new ones of these facilities and projects."""
    return tuple(
        _build_part(book, one.holding, one.facility.facility_id)
        if one.facility.facility_id in ids or one.project.project_id in ids
        else one
        for one in book.parts
    )


def _build_part(book: RecordedBook, holding: Holding, facility_id: str) -> HeldFacility:
    facility = book.facilities[facility_id]
    return HeldFacility(
        holding=holding,
        facility=facility.state,
        project=book.projects[facility.state.project_id].state,
        version=facility.version,
        entry_count=book.entry_counts[facility_id],
    )


def _list_parts(book: RecordedBook) -> tuple[HeldFacility, ...]:
    """Return the facilities of each holding; a part that has not changed is the one of the book."""
    equities = _list_equities(book.facilities.values())
    earlier_parts = {(one.holding.holding_id, one.facility.facility_id): one for one in book.parts}
    parts: list[HeldFacility] = []
    for holding in _list_active(book.holdings):
        key = holding.exposure_id
        is_equity = holding.exposure_kind is ExposureKind.EQUITY
        for facility_id in equities.get(key, ()) if is_equity else (key,):
            if facility_id not in book.facilities:
                continue
            part = earlier_parts.get((holding.holding_id, facility_id))
            if part is None or part.holding is not holding or not _is_current(book, part):
                part = _build_part(book, holding, facility_id)
            parts.append(part)
    return tuple(parts)


def _is_current(book: RecordedBook, part: HeldFacility) -> bool:
    facility_id = part.facility.facility_id
    return (
        part.facility is book.facilities[facility_id].state
        and part.project is book.projects[part.project.project_id].state
        and part.entry_count == book.entry_counts[facility_id]
    )


def _list_equities(facilities: Iterable[StoredAggregate[Facility]]) -> dict[str, list[str]]:
    """Return the facilities of kind `equity` of each project, oldest first."""
    aggregates = [one for one in facilities if one.state.kind is FacilityKind.EQUITY]
    equities: dict[str, list[str]] = {}
    for one in sorted(aggregates, key=lambda one: (one.created_at, one.id)):
        equities.setdefault(one.state.project_id, []).append(one.id)
    return equities


async def _read_histories(
    dependencies: Dependencies, book: RecordedBook, parts: Iterable[HeldFacility]
) -> dict[str, BalanceHistory]:
    """Return the balance histories of the facilities; those that are not stored are derived."""
    histories = dict(book.histories)
    ids = set(map(id, book.parts))
    lacking = {one.facility.facility_id: one for one in parts if id(one) not in ids}
    if not lacking:
        return histories
    stored_histories, missing = await find_histories(dependencies, lacking.values(), book.epoch)
    histories |= stored_histories
    new_histories: dict[str, tuple[Basis, BalanceHistory]] = {}
    async for one, entries in load_entries(dependencies, missing.values()):
        history = derive_history(one.facility, entries)
        basis = build_basis(book.epoch, one.version, one.entry_count)
        new_histories[one.facility.facility_id] = basis, history
        if len(new_histories) == _HISTORIES_PER_SAVE:
            await keep_histories(dependencies, new_histories)
            new_histories = {}
        histories[one.facility.facility_id] = history
    if new_histories:
        await keep_histories(dependencies, new_histories)
    return histories
