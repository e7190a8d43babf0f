"""Projects and facilities that the portfolios of a row scope hold today."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.domain.change import StoredAggregate
from spawn.domain.events.position import Position
from spawn.domain.portfolios.holding import HOLDING_KIND, ExposureKind, Holding
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Page, Query


class HeldRows(msgspec.Struct, frozen=True):
    """Projects and facilities that some portfolios hold on a day.

    `equities` are the projects whose equity is held, `projects` those of which anything is held.
    """

    facilities: frozenset[str] = frozenset()
    equities: frozenset[str] = frozenset()
    projects: frozenset[str] = frozenset()


NOTHING_HELD: Final = HeldRows()


class HeldRowLookup:
    """Look-up of what the portfolios of a row scope hold; a commit makes it look again.

    Args:
        dependencies: the ports.
        portfolio_ids: the portfolios; None for a row scope that names none.
    """

    def __init__(self, dependencies: Dependencies, portfolio_ids: Sequence[str] | None) -> None:
        self._dependencies = dependencies
        self._portfolio_ids = portfolio_ids
        self._key: tuple[Position, date] | None = None
        self._held_rows = NOTHING_HELD

    async def find(self) -> HeldRows | None:
        """Return what the portfolios hold today; None for a row scope that names none."""
        if self._portfolio_ids is None:
            return None
        if not self._portfolio_ids:
            return NOTHING_HELD
        # The position comes first: a commit meanwhile makes the next call look again.
        position = await self._dependencies.reads.position()
        today = self._dependencies.clock.now().date()
        if self._key != (position, today):
            self._held_rows = await self._load(self._portfolio_ids, today)
            self._key = (position, today)
        return self._held_rows

    async def _load(self, portfolio_ids: Sequence[str], today: date) -> HeldRows:
        filters = (
            Filter("portfolio_id", Operator.IN, tuple(portfolio_ids)),
            Filter("is_active", Operator.EQ, (True,)),
        )
        holdings: list[Holding] = []
        query: Query | None = Query(kind=HOLDING_KIND, filters=filters, limit=MAX_LIMIT)
        while query is not None:
            page: Page[StoredAggregate[Any]] = await self._dependencies.reads.page(query)
            holdings += [one.state for one in page.items if one.state.is_held(today)]
            query = msgspec.structs.replace(query, after=page.next) if page.next else None
        return HeldRows(
            facilities=_list_exposures(holdings, ExposureKind.FACILITY),
            equities=_list_exposures(holdings, ExposureKind.EQUITY),
            projects=frozenset(holding.project_id for holding in holdings),
        )


def _list_exposures(holdings: Sequence[Holding], kind: ExposureKind) -> frozenset[str]:
    return frozenset(one.exposure_id for one in holdings if one.exposure_kind is kind)
