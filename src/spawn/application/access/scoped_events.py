"""Events that a row scope shows: of visible projects, of their financing, of its portfolios."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from spawn.application.access.project_versions import ProjectVersions
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
from spawn.domain.covenants.covenant_record import COVENANT_TEST_KIND
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND
from spawn.domain.principal import RowScope
from spawn.domain.projects.project import PROJECT_KIND

_SHOWN_KINDS: Final = FINANCING_KINDS | OPEN_KINDS | {PROJECT_KIND}


class _Parents(msgspec.Struct, frozen=True):
    """The members of a document that name what an aggregate belongs to."""

    project_id: str = ""
    facility_id: str = ""
    portfolio_id: str = ""


_read_parents: Final = msgspec.json.Decoder(_Parents).decode


class ScannedPage(msgspec.Struct, frozen=True):
    """A page of the journal, with look-ups that the visibility of its events rests on."""

    versions: ProjectVersions
    parents: Mapping[Position, _Parents]
    rows: VisibleRows
    facilities: dict[tuple[str, str, str], bool] = msgspec.field(default_factory=dict)


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
        kinds = _SHOWN_KINDS
        if row_scope.is_by_portfolio_alone:
            kinds |= PORTFOLIO_KINDS
        self._types_by_kind = {kind: AGGREGATE_TYPES[kind].event_types for kind in kinds}
        self.types: Final = frozenset[str]().union(*self._types_by_kind.values())
        """The types of events that can be visible."""

    def can_show(self, kind: str) -> bool:
        """Whether any event of a kind can be visible."""
        return kind in self._types_by_kind

    async def read_page(
        self, entries: Sequence[JournalEntry], versions: ProjectVersions
    ) -> "ScannedPage":
        """Return a page of the journal with what the visibility of its events rests on."""
        # A document of another kind has other members, and nothing of it may show.
        parents = {
            entry.position: _read_parents(entry.document)
            for entry in entries
            if entry.kind in FINANCING_KINDS | PORTFOLIO_KINDS and self._has_shown_type(entry)
        }
        await versions.load({one.project_id for one in parents.values() if one.project_id})
        return ScannedPage(versions, parents, await self._find_rows())

    def _has_shown_type(self, entry: JournalEntry) -> bool:
        return entry.type in self._types_by_kind.get(entry.kind, ())

    async def has(self, entry: JournalEntry, page: "ScannedPage") -> bool:
        """Whether the event of an entry of a page is visible."""
        if not self._has_shown_type(entry):
            return False
        if entry.kind == PROJECT_KIND:
            return await self._versions.has(entry)
        if entry.kind in OPEN_KINDS:
            return True
        parents = page.parents[entry.position]
        if entry.kind in PORTFOLIO_KINDS:
            portfolio_id = entry.id if entry.kind == PORTFOLIO_KIND else parents.portfolio_id
            return portfolio_id in (self._row_scope.portfolio_ids or ())
        project = await page.versions.find(parents.project_id, entry.recorded_at)
        if project is None or not page.rows.has_project(project.state):
            return False
        facility_id = entry.id if entry.kind == FACILITY_KIND else parents.facility_id
        return await self._shows_facility(entry.kind, facility_id, parents.project_id, page)

    async def _shows_facility(
        self, kind: str, facility_id: str, project_id: str, page: "ScannedPage"
    ) -> bool:
        key = (kind, facility_id, project_id)
        if key not in page.facilities:
            page.facilities[key] = await self._financing.shows(kind, facility_id, project_id)
        return page.facilities[key]

    async def mask(self, entry: JournalEntry) -> JournalEntry:
        """Return an entry whose document has no positions, which count hidden rows."""
        if entry.kind != COVENANT_TEST_KIND:
            return entry
        schema = (await self._dependencies.active_schema()).schema
        state = hide_positions(decode_state(entry.kind, entry.document, schema))
        return msgspec.structs.replace(entry, document=encode_state(entry.kind, state, schema))
