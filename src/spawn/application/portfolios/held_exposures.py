"""Exposures that a portfolio held on a day, as recorded at an instant."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.portfolios.balance_histories import (
    Basis,
    build_basis,
    derive_history,
    find_histories,
    keep_histories,
    split_keys,
)
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.cfads_case import CASE_KIND, CfadsCase
from spawn.domain.facilities.balance_history import BalanceHistory
from spawn.domain.facilities.facility import FACILITY_KIND, Facility, FacilityKind
from spawn.domain.facilities.ledger import (
    ENTRY_KIND,
    LEDGER_KIND,
    MAX_ENTRIES,
    LedgerEntry,
    RecordedEntry,
    build_entry_id,
)
from spawn.domain.portfolios.exposure import HeldExposure, take_share
from spawn.domain.portfolios.held_facility import (
    FacilityAmounts,
    HeldFacility,
    PortfolioBook,
)
from spawn.domain.portfolios.holding import HOLDING_KIND, ExposureKind, Holding
from spawn.domain.portfolios.portfolio import ExposureKey
from spawn.domain.projects.project import PROJECT_KIND, Project
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Query

_RATING: Final = "rating"
_HUNDRED: Final = 100
_CACHED_RATIOS: Final = 4_096
_READS_PER_TURN: Final = 500
"""Aggregates that are read, or entries that are folded, before other tasks run."""

_PARTS_PER_TURN: Final = 200


async def load_book(
    dependencies: Dependencies, portfolio_id: str, on: date, as_of: datetime
) -> PortfolioBook:
    """Return what a portfolio held on a day, as recorded at an instant that has passed.

    Such a book never changes, so that a few of them are cached.
    """
    dependencies = _see_whole_portfolio(dependencies)
    epoch = (await dependencies.reads.position()).epoch
    schema_version = (await dependencies.active_schema()).schema.version
    key = (portfolio_id, on, as_of, epoch, schema_version)
    book = dependencies.portfolio_books.get(key)
    if book is None:
        facilities = await _load_held_facilities(dependencies, portfolio_id, on, as_of)
        book = PortfolioBook(
            facilities, await _measure_exposures(dependencies, facilities, on, epoch)
        )
        dependencies.portfolio_books.put(key, book)
    return book


def _see_whole_portfolio(dependencies: Dependencies) -> Dependencies:
    """Return the ports of a caller who may see a portfolio, with all that it holds."""
    reads = dependencies.portfolio_reads
    return dependencies if reads is None else msgspec.structs.replace(dependencies, reads=reads)


async def _load_held_facilities(
    dependencies: Dependencies, portfolio_id: str, on: date, as_of: datetime
) -> tuple[HeldFacility, ...]:
    """Return the facilities that a portfolio held on a day, in the order of the holdings.

    The stake in a project's equity is one of each of its facilities of kind `equity`.
    """
    current = _iterate(dependencies, HOLDING_KIND, "portfolio_id", [portfolio_id])
    aggregates = await _restore(dependencies, [one async for one in current], as_of)
    # In order of creation, as the holdings of a portfolio are listed.
    states = [one.state for one in sorted(aggregates, key=lambda one: (one.created_at, one.id))]
    holdings = [holding for holding in states if holding.is_held(on)]
    facilities = await _load_facilities(dependencies, holdings, as_of)
    project_ids = dict.fromkeys(holding.project_id for holding in holdings)
    projects = await _read_past(dependencies, PROJECT_KIND, project_ids, as_of)
    ids = dict.fromkeys(one.id for held in facilities.values() for one in held)
    ledgers = await _read_past(dependencies, LEDGER_KIND, ids, as_of)
    return tuple(
        HeldFacility(
            holding=holding,
            facility=facility.state,
            project=projects[facility.state.project_id].state,
            version=facility.version,
            entry_count=ledgers[facility.id].state.entries if facility.id in ledgers else 0,
        )
        for holding in holdings
        for facility in facilities.get(holding.allocation_id, ())
    )


async def _load_facilities(
    dependencies: Dependencies, holdings: Sequence[Holding], as_of: datetime
) -> Mapping[str, list[StoredAggregate[Facility]]]:
    """Return the facilities of each exposure by the id of its allocation."""
    facility_ids = _exposures_of(holdings, ExposureKind.FACILITY)
    by_id = await _read_past(dependencies, FACILITY_KIND, facility_ids, as_of)
    facilities = {f"{ExposureKind.FACILITY}.{key}": [one] for key, one in by_id.items()}
    project_ids = _exposures_of(holdings, ExposureKind.EQUITY)
    is_equity = Filter("kind", Operator.EQ, (FacilityKind.EQUITY.value,))
    async for aggregate in _iterate(
        dependencies, FACILITY_KIND, "project_id", project_ids, as_of, is_equity
    ):
        key = f"{ExposureKind.EQUITY}.{aggregate.state.project_id}"
        facilities.setdefault(key, []).append(aggregate)
    return facilities


async def load_project_debt(
    dependencies: Dependencies, parts: Sequence[HeldFacility], as_of: datetime
) -> list[HeldFacility]:
    """Return all debt facilities of the projects of which something is held, each once.

    Those of which the portfolio has no part stand beside a holding of their project.
    """
    by_project = {one.project.project_id: one for one in parts}
    facilities = [
        one
        async for one in _iterate(dependencies, FACILITY_KIND, "project_id", by_project, as_of)
        if one.state.kind.is_debt
    ]
    facilities.sort(key=lambda one: (one.created_at, one.id))
    ledgers = await _read_past(dependencies, LEDGER_KIND, [one.id for one in facilities], as_of)
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
    async for one in _iterate(dependencies, CASE_KIND, "project_id", project_ids, as_of):
        yield one


def _exposures_of(holdings: Iterable[Holding], kind: ExposureKind) -> dict[str, None]:
    return dict.fromkeys(one.exposure_id for one in holdings if one.exposure_kind is kind)


async def _read_past(
    dependencies: Dependencies, kind: str, ids: Iterable[str], as_of: datetime
) -> dict[str, StoredAggregate[Any]]:
    """Return the aggregates of a kind that existed at an instant, as they were then, by id."""
    current: list[StoredAggregate[Any]] = []
    for batch in split_keys(list(ids), _READS_PER_TURN):
        current += (await dependencies.reads.get_many(kind, batch)).values()
    return {one.id: one for one in await _restore(dependencies, current, as_of)}


async def _restore(
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
        one
        async for one in _iterate(dependencies, aggregate_type.kind, id_column, later_ids, as_of)
    ]


async def _iterate(
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


async def load_entries(
    dependencies: Dependencies, facilities: Iterable[HeldFacility]
) -> AsyncIterator[tuple[HeldFacility, tuple[RecordedEntry, ...]]]:
    """Yield facilities with the entries of their ledgers, some ledgers at a time.

    Other tasks run in between: a ledger takes up to some milliseconds.
    """
    dependencies = _see_whole_portfolio(dependencies)
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


async def _measure_exposures(
    dependencies: Dependencies, positions: Sequence[HeldFacility], on: date, epoch: int
) -> tuple[HeldExposure, ...]:
    """Return the parts of the holdings on a day, in the currencies of the facilities."""
    amounts = await _measure_facilities(dependencies, positions, on, epoch)
    projects = {one.project.project_id: one.project for one in positions}
    names = Counter(project.project_name for project in projects.values())
    parts = []
    for number, one in enumerate(positions):
        if number % _PARTS_PER_TURN == 0:
            await asyncio.sleep(0)
        is_unique = names[one.project.project_name] == 1
        parts.append(_build_part(one, amounts[one.facility.facility_id], is_unique=is_unique))
    return tuple(parts)


async def _measure_facilities(
    dependencies: Dependencies, positions: Sequence[HeldFacility], on: date, epoch: int
) -> dict[str, FacilityAmounts]:
    """Return the amounts of each facility on a day by its id, from their balance histories."""
    histories, missing = await find_histories(dependencies, positions, epoch)
    new_histories: dict[str, tuple[Basis, BalanceHistory]] = {}
    async for one, entries in load_entries(dependencies, missing.values()):
        history = derive_history(one.facility, entries)
        basis = build_basis(epoch, one.version, one.entry_count)
        new_histories[one.facility.facility_id] = basis, history
        if len(new_histories) == _READS_PER_TURN:
            await keep_histories(dependencies, new_histories)
            new_histories = {}
        histories[one.facility.facility_id] = history
    if new_histories:
        await keep_histories(dependencies, new_histories)
    return {
        one.facility.facility_id: FacilityAmounts(
            *histories[one.facility.facility_id].measure(one.facility, on)
        )
        for one in positions
    }


def _build_part(one: HeldFacility, amounts: FacilityAmounts, *, is_unique: bool) -> HeldExposure:
    """Return the part of a holding; a name that several projects have gets the id of its own."""
    facility, project, share = one.facility, one.project, one.holding.ratio
    name = project.project_name if is_unique else f"{project.project_name} ({project.project_id})"
    return HeldExposure(
        holding_id=one.holding.holding_id,
        exposure_id=facility.facility_id,
        project_id=project.project_id,
        currency_code=facility.currency_code,
        outstanding=take_share(amounts.outstanding, share),
        undrawn=take_share(amounts.undrawn, share),
        keys={
            ExposureKey.COUNTRY: project.country_code,
            ExposureKey.SECTOR: project.sector,
            ExposureKey.RATING: read_rating(project),
            ExposureKey.CURRENCY: facility.currency_code,
            ExposureKey.NAME: name,
            ExposureKey.KIND: facility.kind.value,
        },
        sponsors=list_sponsor_ratios(project),
    )


def read_rating(project: Project) -> str | None:
    """Return the rating of a project: its attribute of that name, or its extension `x_rating`."""
    value = project.attributes.get(_RATING)
    if value is None and f"x_{_RATING}" in project.extensions:
        value = msgspec.json.decode(project.extensions[f"x_{_RATING}"])
    return None if value is None else str(value)


def list_sponsor_ratios(project: Project) -> tuple[tuple[str, Fraction], ...]:
    """Return the sponsors with their ratios, which add up to at most the whole.

    Shares that were rounded, such as three of 33.34, are ratios of their sum if that exceeds 100.
    """
    known = [one for one in project.sponsors if one.share is not None]
    shares = tuple(one.share for one in known if one.share is not None)
    ratios = _find_ratios(shares, has_unknown=len(known) < len(project.sponsors))
    return tuple((one.name, ratio) for one, ratio in zip(known, ratios, strict=False))


@lru_cache(_CACHED_RATIOS)
def _find_ratios(shares: tuple[Decimal, ...], *, has_unknown: bool) -> tuple[Fraction, ...]:
    """Return shares in per cent as ratios; none if they are all 0."""
    total = sum(map(Fraction, shares), Fraction(0))
    whole = total if total > _HUNDRED or not has_unknown else Fraction(_HUNDRED)
    return tuple(Fraction(share) / whole for share in shares) if total else ()
