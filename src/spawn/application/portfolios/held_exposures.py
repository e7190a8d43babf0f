"""Exposures that a portfolio held on a day, as recorded at an instant."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.change import StoredAggregate
from spawn.domain.facilities.facility import FACILITY_KIND, Facility, FacilityKind
from spawn.domain.facilities.ledger import ENTRY_KIND, RecordedEntry, select_entries
from spawn.domain.facilities.ledger_fold import fold
from spawn.domain.portfolios.exposure import HeldExposure, round_part
from spawn.domain.portfolios.held_facility import HeldFacility, PortfolioBook
from spawn.domain.portfolios.holding import HOLDING_KIND, ExposureKind, Holding
from spawn.domain.portfolios.portfolio import ExposureKey
from spawn.domain.projects.project import PROJECT_KIND, Project
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Query

_RATING: Final = "rating"
_FACILITY_ID: Final = AGGREGATE_TYPES[FACILITY_KIND].id_column
_HUNDRED: Final = 100
_FOLDS_PER_TURN: Final = 32
"""Ledgers that are folded before other tasks run: a few milliseconds of work."""


class FacilityAmounts(msgspec.Struct, frozen=True):
    """Amounts of a facility that are outstanding and that can still be drawn, in its currency."""

    outstanding: Decimal
    undrawn: Decimal


async def load_book(
    dependencies: Dependencies, portfolio_id: str, on: date, as_of: datetime
) -> PortfolioBook:
    """Return what a portfolio held on a day, as recorded at an instant that has passed.

    Such a book never changes, so that a few of them are cached.
    """
    epoch = (await dependencies.reads.position()).epoch
    schema_version = (await dependencies.active_schema()).schema.version
    key = (portfolio_id, on, as_of, epoch, schema_version)
    book = dependencies.portfolio_books.get(key)
    if book is None:
        facilities = await _load_held_facilities(dependencies, portfolio_id, on, as_of)
        book = PortfolioBook(facilities, await _measure_exposures(facilities, on))
        dependencies.portfolio_books.put(key, book)
    return book


async def _load_held_facilities(
    dependencies: Dependencies, portfolio_id: str, on: date, as_of: datetime
) -> tuple[HeldFacility, ...]:
    """Return the facilities that a portfolio held on a day, in the order of the holdings.

    The stake in a project's equity is one of each of its facilities of kind `equity`.
    """
    holdings = [
        aggregate.state
        async for aggregate in _iterate(
            dependencies, HOLDING_KIND, "portfolio_id", [portfolio_id], as_of
        )
        if aggregate.state.is_held(on)
    ]
    facilities = await _load_facilities(dependencies, holdings, as_of)
    project_ids = dict.fromkeys(holding.project_id for holding in holdings)
    projects = {
        aggregate.id: aggregate.state
        async for aggregate in _iterate(
            dependencies, PROJECT_KIND, "project_id", project_ids, as_of
        )
    }
    ids = {facility.facility_id for held in facilities.values() for facility in held}
    entries: dict[str, list[RecordedEntry]] = defaultdict(list)
    async for aggregate in _iterate(dependencies, ENTRY_KIND, "facility_id", ids, as_of):
        entry = RecordedEntry(aggregate.state, aggregate.created_at)
        entries[aggregate.state.facility_id].append(entry)
    return tuple(
        HeldFacility(
            holding=holding,
            facility=facility,
            project=projects[facility.project_id],
            entries=tuple(entries.get(facility.facility_id, ())),
        )
        for holding in holdings
        for facility in facilities.get(holding.allocation_id, ())
    )


async def _load_facilities(
    dependencies: Dependencies, holdings: Sequence[Holding], as_of: datetime
) -> Mapping[str, list[Facility]]:
    """Return the facilities of each exposure by the id of its allocation."""
    facilities: dict[str, list[Facility]] = defaultdict(list)
    facility_ids = _exposures_of(holdings, ExposureKind.FACILITY)
    async for aggregate in _iterate(dependencies, FACILITY_KIND, _FACILITY_ID, facility_ids, as_of):
        facilities[f"{ExposureKind.FACILITY}.{aggregate.id}"].append(aggregate.state)
    project_ids = _exposures_of(holdings, ExposureKind.EQUITY)
    is_equity = Filter("kind", Operator.EQ, (FacilityKind.EQUITY.value,))
    async for aggregate in _iterate(
        dependencies, FACILITY_KIND, "project_id", project_ids, as_of, is_equity
    ):
        facilities[f"{ExposureKind.EQUITY}.{aggregate.state.project_id}"].append(aggregate.state)
    return facilities


def _exposures_of(holdings: Iterable[Holding], kind: ExposureKind) -> dict[str, None]:
    return dict.fromkeys(one.exposure_id for one in holdings if one.exposure_kind is kind)


async def _iterate(
    dependencies: Dependencies,
    kind: str,
    field: str,
    values: Iterable[str],
    as_of: datetime,
    *conditions: Filter,
) -> AsyncIterator[StoredAggregate[Any]]:
    """Yield the aggregates of a kind whose field has one of the values, as of an instant."""
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


async def _measure_exposures(
    positions: Sequence[HeldFacility], on: date
) -> tuple[HeldExposure, ...]:
    """Return the parts of the holdings on a day, in the currencies of the facilities."""
    projects = {one.project.project_id: one.project for one in positions}
    names = Counter(project.project_name for project in projects.values())
    exposures = []
    for number, one in enumerate(positions):
        if number % _FOLDS_PER_TURN == 0:
            await asyncio.sleep(0)
        facility, project, share = one.facility, one.project, one.holding.ratio
        amounts = measure_facility(facility, one.entries, on)
        is_unique = names[project.project_name] == 1
        name = (
            project.project_name if is_unique else f"{project.project_name} ({project.project_id})"
        )
        exposures.append(
            HeldExposure(
                holding_id=one.holding.holding_id,
                exposure_id=facility.facility_id,
                project_id=project.project_id,
                currency_code=facility.currency_code,
                outstanding=round_part(amounts.outstanding, share, facility.currency_code),
                undrawn=round_part(amounts.undrawn, share, facility.currency_code),
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
        )
    return tuple(exposures)


def measure_facility(
    facility: Facility, entries: Sequence[RecordedEntry], on: date
) -> FacilityAmounts:
    """Return what is outstanding of a facility on a day, and what can still be drawn.

    Nothing can be drawn after the availability period.
    """
    position = None
    if entries:
        position = fold(facility, select_entries(entries, on), on)
    undrawn = facility.commitment if position is None else position.undrawn
    if on > facility.availability_end:
        undrawn = Decimal(0)
    return FacilityAmounts(Decimal(0) if position is None else position.balance, undrawn)


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
    shares = [(one.name, Fraction(one.share)) for one in project.sponsors if one.share is not None]
    has_unknown = len(shares) < len(project.sponsors)
    total = sum((share for _, share in shares), Fraction(0))
    whole = total if total > _HUNDRED or not has_unknown else Fraction(_HUNDRED)
    return tuple((name, share / whole) for name, share in shares) if total else ()
