"""Exposures that a portfolio held on a day, as recorded at an instant."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.portfolios.books.project_debt import see_whole_portfolio
from spawn.application.portfolios.books.recorded_books import load_recorded_book, read_book_key
from spawn.domain.events.position import Position
from spawn.domain.facilities.balance_history import BalanceHistory
from spawn.domain.portfolios.exposure import HeldExposure, take_share
from spawn.domain.portfolios.held_facility import HeldFacility, PortfolioBook, RecordedBook
from spawn.domain.portfolios.portfolio import ExposureKey
from spawn.domain.projects.project import Project

_RATING: Final = "rating"
_HUNDRED: Final = 100
_CACHED_RATIOS: Final = 4_096
_PARTS_PER_TURN: Final = 200
"""Parts that are built before other tasks run."""


async def load_book(
    dependencies: Dependencies,
    portfolio_id: str,
    on: date,
    as_of: datetime,
    position: Position | None = None,
) -> PortfolioBook:
    """Return what a portfolio held on a day, as recorded at an instant that has passed.

    Such a book never changes, so that a few of them are cached.

    Args:
        dependencies: the ports.
        portfolio_id: the portfolio.
        on: the day.
        as_of: the instant.
        position: one that was read before the instant, if that is the newest change; else None.
    """
    dependencies = see_whole_portfolio(dependencies)
    key = await read_book_key(dependencies, portfolio_id)
    books = dependencies.portfolio_books
    book = books.get((key, on, as_of))
    if book is None:
        recorded = await load_recorded_book(dependencies, key, as_of, position)
        other = books.get((key, on)) or books.get(key)
        book = await _view_book(recorded, on, other)
        for name in ((key, on, as_of), (key, on), key):
            books.put(name, book)
    return book


async def _view_book(
    recorded: RecordedBook, on: date, other: PortfolioBook | None
) -> PortfolioBook:
    """Return a book on a day; what has not changed since another book is taken from it."""
    if other is not None and other.on == on and other.parts is recorded.parts:
        return other
    facilities = tuple(one for one in recorded.parts if one.holding.is_held(on))
    shared_names = _find_shared_names(facilities)
    earlier_parts: dict[int, HeldExposure] = {}
    is_same_day = other is not None and other.on == on
    if other is not None and other.shared_names == shared_names:
        pairs = zip(other.facilities, other.exposures, strict=True)
        earlier_parts = {id(one): part for one, part in pairs}
    parts: list[HeldExposure] = []
    for number, one in enumerate(facilities, start=1):
        part = earlier_parts.get(id(one))
        if part is None or not is_same_day:
            history = recorded.histories[one.facility.facility_id]
            part = _build_part(one, history, on, shared_names, part)
            if number % _PARTS_PER_TURN == 0:
                await asyncio.sleep(0)
        parts.append(part)
    return PortfolioBook(
        on=on,
        facilities=facilities,
        exposures=tuple(parts),
        shared_names=shared_names,
        parts=recorded.parts,
    )


def _find_shared_names(facilities: Iterable[HeldFacility]) -> frozenset[str]:
    """Return the names that several projects have."""
    projects = {one.project.project_id: one.project for one in facilities}
    counts = Counter(project.project_name for project in projects.values())
    return frozenset(name for name, count in counts.items() if count > 1)


def _build_part(
    one: HeldFacility,
    history: BalanceHistory,
    on: date,
    shared_names: AbstractSet[str],
    other: HeldExposure | None,
) -> HeldExposure:
    """Return the part of a holding on a day, from that of another day if there is one.

    A name that several projects have gets the id of its own.
    """
    facility, project, share = one.facility, one.project, one.holding.ratio
    outstanding, undrawn = (take_share(units, share) for units in history.measure(facility, on))
    if other is not None:
        return msgspec.structs.replace(other, outstanding=outstanding, undrawn=undrawn)
    name = project.project_name
    if name in shared_names:
        name = f"{name} ({project.project_id})"
    return HeldExposure(
        holding_id=one.holding.holding_id,
        exposure_id=facility.facility_id,
        project_id=project.project_id,
        currency_code=facility.currency_code,
        outstanding=outstanding,
        undrawn=undrawn,
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
