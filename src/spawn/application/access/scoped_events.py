"""Events that a row scope shows: of visible projects, of their financing, of its portfolios."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import msgspec

from spawn.application.access.scoped_financing import (
    FINANCING_KINDS,
    OPEN_KINDS,
    PORTFOLIO_KINDS,
    ScopedFinancing,
    hide_positions,
)
from spawn.application.access.scoped_rows import ScopedEntries, VisibleRows
from spawn.application.dependencies import Dependencies
from spawn.domain.aggregates import AGGREGATE_TYPES, decode_state, encode_state
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.covenant_record import COVENANT_TEST_KIND
from spawn.domain.errors import NotFound
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND
from spawn.domain.principal import RowScope
from spawn.domain.projects.project import PROJECT_KIND, Project

_SHOWN_KINDS: Final = FINANCING_KINDS | OPEN_KINDS | {PROJECT_KIND}


class _Parents(msgspec.Struct, frozen=True):
    """The members of a document that name what an aggregate belongs to."""

    project_id: str = ""
    facility_id: str = ""
    portfolio_id: str = ""


_read_parents: Final = msgspec.json.Decoder(_Parents).decode


class ScopedEvents:
    """The journal entries that the events of a row scope may show.

    An event of the financing is visible if its project was visible as of the event, so that a
    project that leaves the scope takes none of its earlier events away.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        row_scope: RowScope,
        versions: ScopedEntries,
        financing: ScopedFinancing,
        find_rows: Callable[[], Awaitable[VisibleRows]],
    ) -> None:
        self._dependencies = dependencies
        self._row_scope = row_scope
        self._versions = versions
        self._financing = financing
        self._find_rows = find_rows

    @property
    def types(self) -> frozenset[str]:
        """The types of events that can be visible."""
        kinds = _SHOWN_KINDS
        if self._row_scope.is_by_portfolio_alone:
            kinds |= PORTFOLIO_KINDS
        return frozenset().union(*(AGGREGATE_TYPES[kind].event_types for kind in kinds))

    async def has(self, entry: JournalEntry) -> bool:
        """Whether the event of an entry is visible."""
        if entry.kind == PROJECT_KIND:
            return await self._versions.has(entry)
        if entry.kind in OPEN_KINDS:
            return True
        parents = _read_parents(entry.document)
        if entry.kind in PORTFOLIO_KINDS:
            portfolio_id = entry.id if entry.kind == PORTFOLIO_KIND else parents.portfolio_id
            scope = self._row_scope
            return scope.is_by_portfolio_alone and portfolio_id in (scope.portfolio_ids or ())
        if entry.kind not in FINANCING_KINDS:
            return False
        if not await self._has_project(parents.project_id, entry.recorded_at):
            return False
        facility_id = entry.id if entry.kind == FACILITY_KIND else parents.facility_id
        return await self._financing.shows(entry.kind, facility_id, parents.project_id)

    async def _has_project(self, project_id: str, recorded_at: datetime) -> bool:
        """Whether the scope has a project as of an instant."""
        reads = self._dependencies.reads
        try:
            project: StoredAggregate[Project] = await reads.get(PROJECT_KIND, project_id)
            if project.updated_at > recorded_at:
                project = await reads.get(PROJECT_KIND, project_id, as_of=recorded_at)
        except NotFound:
            return False
        return (await self._find_rows()).has_project(project.state)

    async def mask(self, entry: JournalEntry) -> JournalEntry:
        """Return an entry whose document has no positions, which count hidden rows."""
        if entry.kind != COVENANT_TEST_KIND:
            return entry
        schema = (await self._dependencies.active_schema()).schema
        state = hide_positions(decode_state(entry.kind, entry.document, schema))
        return msgspec.structs.replace(entry, document=encode_state(entry.kind, state, schema))
