"""The financing of visible projects, and the portfolios that a row scope names.

Facilities, ledgers, cases, covenants and reserves belong to a project and are visible with it. Of a
scope by portfolio, only the facilities that a portfolio holds are.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from spawn.application.access.held_rows import HeldRows
from spawn.application.access.scoped_rows import forbid_part
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.change import StoredAggregate, Write
from spawn.domain.covenants.cfads_actuals import ACTUALS_KIND
from spawn.domain.covenants.cfads_case import CASE_KIND
from spawn.domain.covenants.covenant_record import COVENANT_TEST_KIND, RecordedCovenantTest
from spawn.domain.covenants.covenant_set import COVENANT_KIND
from spawn.domain.covenants.project_reserve import RESERVE_KIND
from spawn.domain.errors import Forbidden, InvalidInput, NotFound
from spawn.domain.facilities.facility import FACILITY_KIND, FacilityKind
from spawn.domain.facilities.ledger import ENTRY_KIND, LEDGER_KIND
from spawn.domain.portfolios.fx_rate_set import FX_RATE_SET_KIND
from spawn.domain.portfolios.holding import HOLDING_KIND
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND
from spawn.domain.principal import RowScope
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Page, Query
from spawn.ports.storage import ReadStore

FINANCING_KINDS: Final = frozenset(
    {
        *(FACILITY_KIND, LEDGER_KIND, ENTRY_KIND, CASE_KIND, ACTUALS_KIND),
        *(COVENANT_KIND, COVENANT_TEST_KIND, RESERVE_KIND),
    }
)
"""Kinds whose aggregates belong to one project, which their state names."""

PORTFOLIO_KINDS: Final = frozenset({PORTFOLIO_KIND, HOLDING_KIND})
"""Kinds that a row scope by portfolio alone shows: those of its portfolios."""

OPEN_KINDS: Final = frozenset({FX_RATE_SET_KIND})
"""Kinds that are no rows of a project or portfolio: every caller reads all of them."""

READABLE_KINDS: Final = FINANCING_KINDS | PORTFOLIO_KINDS | OPEN_KINDS

MAX_LISTED_PROJECTS: Final = 2_000
"""Visible projects over which the financing is listed together."""

NOT_HELD: Final = (
    "The facility would be outside the rows of your credentials: a portfolio of theirs must hold"
    " it."
)
OTHER_PORTFOLIOS: Final = (
    "A portfolio has rows of any project, and your credentials are limited by a field of projects:"
    " use credentials that are limited to portfolios alone."
)
_MISSING: Final = "There is no such resource, or none at that time or version."
_TOO_MANY: Final = (
    f"your credentials show more than {MAX_LISTED_PROJECTS} projects: state a project_id"
)
_FACILITY_KINDS: Final = frozenset({FACILITY_KIND, LEDGER_KIND, ENTRY_KIND})

CheckProject = Callable[[str, datetime | None], Awaitable[object]]
"""Raises NotFound unless a project is visible, now or as of an instant."""

ListProjects = Callable[[datetime | None, int], Awaitable[list[str]]]
"""Returns the ids of visible projects, now or as of an instant, up to a number."""


class ScopedFinancing:
    """Reads and checks of the kinds above for one row scope."""

    def __init__(
        self,
        reads: ReadStore,
        row_scope: RowScope,
        find_held: Callable[[], Awaitable[HeldRows | None]],
        check_project: CheckProject,
        list_projects: ListProjects,
    ) -> None:
        self._reads = reads
        self._row_scope = row_scope
        self._find_held = find_held
        self._check_project = check_project
        self._list_projects = list_projects

    async def get(
        self, kind: str, key: str, version: int | None, as_of: datetime | None
    ) -> StoredAggregate[Any]:
        """Return a visible aggregate; see `ReadStore.get`."""
        self._check_kind(kind)
        if kind in OPEN_KINDS:
            return await self._reads.get(kind, key, version=version, as_of=as_of)
        try:
            aggregate = await self._reads.get(kind, key, version=version, as_of=as_of)
        except NotFound:
            aggregate = None
        if aggregate is None or not await self._is_visible(kind, aggregate, as_of):
            # One text for both, so that neither tells of the other.
            raise NotFound(_MISSING)
        return _hide_aggregate_positions(aggregate)

    async def get_many(self, kind: str, ids: Sequence[str]) -> dict[str, StoredAggregate[Any]]:
        """Return the visible aggregates among the ids; see `ReadStore.get_many`."""
        self._check_kind(kind)
        aggregates = await self._reads.get_many(kind, ids)
        if kind in OPEN_KINDS:
            return aggregates
        visible: dict[object, bool] = {}
        for aggregate in aggregates.values():
            parent = _name_parent(kind, aggregate)
            if parent not in visible:
                visible[parent] = await self._is_visible(kind, aggregate, None)
        return {
            key: _hide_aggregate_positions(one)
            for key, one in aggregates.items()
            if visible[_name_parent(kind, one)]
        }

    async def page(self, query: Query) -> Page[StoredAggregate[Any]]:
        """Return a page of visible aggregates; the query is one that `list_filters` has limited."""
        page: Page[StoredAggregate[Any]] = await self._reads.page(query)
        return Page(tuple(map(_hide_aggregate_positions, page.items)), page.next)

    async def list_filters(self, query: Query) -> tuple[Filter, ...] | None:
        """Return the filters of the visible aggregates; None if there are none.

        Raises:
            Forbidden: nothing of this kind is visible to any caller of the row scope.
            InvalidInput: too many projects are visible.
        """
        kind = query.kind
        self._check_kind(kind)
        if kind in OPEN_KINDS:
            return query.filters
        if kind in PORTFOLIO_KINDS:
            name = "portfolio_id" if kind == HOLDING_KIND else AGGREGATE_TYPES[kind].id_column
            portfolio_ids = self._row_scope.portfolio_ids
            return _add_filter(query, name, portfolio_ids or ())
        project_ids = await self._list_parents(query)
        if kind in _FACILITY_KINDS and (held_rows := await self._find_held()) is not None:
            facility_ids = await self._list_facilities(project_ids, held_rows, query.as_of)
            return _add_filter(query, "facility_id", facility_ids)
        return _add_filter(query, "project_id", project_ids)

    async def check_write(self, write: Write) -> None:
        """Check that a write is of a visible project, before and after it.

        Raises:
            NotFound: the aggregate or its project is outside.
            Forbidden: it would be outside, or the write is one of the whole store.
        """
        if write.kind not in FINANCING_KINDS:
            forbid_part()
        state: Any = write.state
        if write.expected_version:
            await self.get(write.kind, write.id, None, None)
        await self._check_project(state.project_id, None)
        if not await self._is_held(write.kind, state):
            raise Forbidden(NOT_HELD)

    def _check_kind(self, kind: str) -> None:
        if kind not in READABLE_KINDS:
            forbid_part()
        if kind in PORTFOLIO_KINDS and not self._row_scope.is_by_portfolio_alone:
            raise Forbidden(OTHER_PORTFOLIOS)

    async def _is_visible(
        self, kind: str, aggregate: StoredAggregate[Any], as_of: datetime | None
    ) -> bool:
        if kind in PORTFOLIO_KINDS:
            return _name_parent(kind, aggregate) in (self._row_scope.portfolio_ids or ())
        try:
            await self._check_project(aggregate.state.project_id, as_of)
        except NotFound:
            return False
        return await self._is_held(kind, aggregate.state)

    async def shows(self, kind: str, facility_id: str, project_id: str) -> bool:
        """Whether an aggregate of a visible project is visible: its facility must be held."""
        held_rows = await self._find_held()
        if held_rows is None or kind not in _FACILITY_KINDS or facility_id in held_rows.facilities:
            return True
        if project_id not in held_rows.equities:
            return False
        try:
            facility = await self._reads.get(FACILITY_KIND, facility_id)
        except NotFound:
            return False
        return facility.state.kind is FacilityKind.EQUITY

    async def _is_held(self, kind: str, state: Any) -> bool:
        """Whether a facility is held, alone or as equity; the rest of a project is with it."""
        held_rows = await self._find_held()
        if (
            held_rows is None
            or kind not in _FACILITY_KINDS
            or state.facility_id in held_rows.facilities
        ):
            return True
        if state.project_id not in held_rows.equities:
            return False
        if kind == FACILITY_KIND:
            return state.kind is FacilityKind.EQUITY
        facility = await self._reads.get(FACILITY_KIND, state.facility_id)
        return facility.state.kind is FacilityKind.EQUITY

    async def _list_parents(self, query: Query) -> list[str]:
        """Return the visible projects that a query is about."""
        for condition in query.filters:
            if condition.field == "project_id" and condition.operator is Operator.EQ:
                project_id = str(condition.values[0])
                try:
                    await self._check_project(project_id, query.as_of)
                except NotFound:
                    return []
                return [project_id]
        project_ids = await self._list_projects(query.as_of, MAX_LISTED_PROJECTS + 1)
        if len(project_ids) > MAX_LISTED_PROJECTS:
            raise InvalidInput.at("/project_id", "required", _TOO_MANY)
        return project_ids

    async def _list_facilities(
        self, project_ids: Sequence[str], held_rows: HeldRows, as_of: datetime | None
    ) -> list[str]:
        """Return the facilities of projects that are held, alone or as equity."""
        if not project_ids:
            return []
        filters = (Filter("project_id", Operator.IN, tuple(project_ids)),)
        query: Query | None = Query(
            kind=FACILITY_KIND, filters=filters, limit=MAX_LIMIT, as_of=as_of
        )
        ids: list[str] = []
        while query is not None:
            page: Page[StoredAggregate[Any]] = await self._reads.page(query)
            for one in page.items:
                is_equity = one.state.kind is FacilityKind.EQUITY
                if one.id in held_rows.facilities or (
                    is_equity and one.state.project_id in held_rows.equities
                ):
                    ids.append(one.id)
            query = msgspec.structs.replace(query, after=page.next) if page.next else None
        return ids


def _add_filter(query: Query, field: str, values: Sequence[str]) -> tuple[Filter, ...] | None:
    return (Filter(field, Operator.IN, tuple(values)), *query.filters) if values else None


def _name_parent(kind: str, aggregate: StoredAggregate[Any]) -> str:
    """Return the id of what the aggregate is visible with."""
    if kind == PORTFOLIO_KIND:
        return aggregate.id
    if kind == HOLDING_KIND:
        return str(aggregate.state.portfolio_id)
    if kind in _FACILITY_KINDS:
        return str(aggregate.state.facility_id)
    return str(aggregate.state.project_id)


def _hide_aggregate_positions(aggregate: StoredAggregate[Any]) -> StoredAggregate[Any]:
    if not isinstance(aggregate.state, RecordedCovenantTest):
        return aggregate
    return msgspec.structs.replace(aggregate, state=hide_positions(aggregate.state))


def hide_positions(state: msgspec.Struct) -> msgspec.Struct:
    """Return a covenant test whose inputs have no positions, which count hidden rows.

    A version is named as the cursors of a row scope name it: `epoch.version.id`. A state of
    another kind is returned as it is.
    """
    if not isinstance(state, RecordedCovenantTest):
        return state
    references = tuple(
        msgspec.structs.replace(
            one, position=f"{one.position.partition('.')[0]}.{one.version}.{one.id}"
        )
        for one in state.references
    )
    return msgspec.structs.replace(state, references=references)
