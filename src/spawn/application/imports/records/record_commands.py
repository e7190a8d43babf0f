"""The command of each imported record: create a facility, or record an entry.

They are the commands of the API, with the same guards. A row that a store has already changes
nothing: a facility has its name in its project, an entry its external key in its ledger.
"""

from collections.abc import Iterator

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import (
    FinanceContext,
    amend_facility_terms,
    create_facility,
)
from spawn.application.facilities.facility_queries import query_facilities
from spawn.application.facilities.ledger_commands import record_entry
from spawn.application.facilities.stored_ledgers import load_ledger
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import Conflict, InvalidInput, NotFound
from spawn.domain.facilities.facility import FACILITY_KIND, Facility
from spawn.domain.facilities.facility_rules import (
    amend_facility,
    list_changed_terms,
    set_governed_attributes,
)
from spawn.domain.facilities.ledger import EntryFacts, LedgerEntry
from spawn.domain.imports.mapping import OnExisting
from spawn.domain.imports.records.exported_records import ExportedRecord
from spawn.domain.imports.records.record_kinds import (
    ENTRY_FACTS,
    EntryRecord,
    FacilityRecord,
    to_entry_facts,
    to_term_sheet,
)
from spawn.domain.principal import Principal
from spawn.domain.projects.project import (
    PROJECT_KIND,
    RESERVATION_KIND,
    ExternalRef,
    ExternalRefReservation,
    build_reservation_id,
)
from spawn.domain.query import MAX_LIMIT, Page
from spawn.domain.schemas.validator import ProjectInput

_NOT_IN_STORE = (
    "the store has none of this id, and an export is not all of it: import a file with its terms or"
    " facts, without from_export"
)


class RecordCommands:
    """Commands of the rows of one import."""

    def __init__(
        self, dependencies: Dependencies, principal: Principal, on_existing: OnExisting
    ) -> None:
        self._dependencies = dependencies
        self._principal = principal
        self._on_existing = on_existing

    async def run(
        self,
        record: FacilityRecord | EntryRecord | ExportedRecord,
        governed_input: ProjectInput | None,
    ) -> bool:
        """Run the command of a record.

        Returns:
            Whether it changed anything; False if the store has the record already.

        Raises:
            InvalidInput, NotFound, Forbidden, Conflict: a rule is violated, as in the API.
        """
        if isinstance(record, ExportedRecord):
            return await self._compare(record)
        if isinstance(record, FacilityRecord):
            return await self._save_facility(record, governed_input)
        return await self._record_entry(record)

    async def _compare(self, record: ExportedRecord) -> bool:
        """Return False if the store has what an export shows.

        Raises:
            InvalidInput: it has nothing of this id, or with other values.
        """
        pointer = f"/{record.id_column}"
        try:
            aggregate = await self._dependencies.reads.get(record.kind, record.record_id)
        except NotFound:
            raise InvalidInput.at(pointer, "not_found", _NOT_IN_STORE) from None
        read_column = AGGREGATE_TYPES[aggregate.kind].read_column
        state, values = aggregate.state, record.values
        others = [name for name, value in values.items() if read_column(state, name) != value]
        if others:
            detail = f"the store has other values of {', '.join(others)}"[:500]
            raise InvalidInput.at(pointer, "differs_from_existing", detail)
        return False

    async def _save_facility(
        self, record: FacilityRecord, governed_input: ProjectInput | None
    ) -> bool:
        project_id = await self._find_project(record.project_id, record.project_ref)
        # Two imports at a time do not both miss a name.
        async with self._dependencies.command_queues.queue_for(project_id):
            existing = await self._list_named(project_id, record.name)
            if len(existing) > 1:
                raise Conflict(f"The project has {len(existing)} facilities of this name.")
            terms, context = to_term_sheet(record), FinanceContext()
            if not existing:
                await create_facility(
                    self._dependencies, self._principal, project_id, terms, context, governed_input
                )
                return True
            differences = _list_differences(existing[0].state, record, governed_input)
            if differences:
                self._require_update(existing[0].id, differences)
                await amend_facility_terms(
                    self._dependencies,
                    self._principal,
                    existing[0].id,
                    lambda _: terms,
                    context,
                    governed_input,
                )
            return bool(differences)

    def _require_update(self, facility_id: str, differences: tuple[str, ...]) -> None:
        """Check that the import may change what the store has.

        Raises:
            InvalidInput: it may not.
        """
        if self._on_existing is not OnExisting.UPDATE:
            detail = f"facility {facility_id} has other values of {', '.join(differences)}"[:500]
            raise InvalidInput.at("/name", "differs_from_existing", detail)

    async def _record_entry(self, record: EntryRecord) -> bool:
        if record.external_key is None:
            detail = "is required: it tells a row that is imported again"
            raise InvalidInput.at("/external_key", "missing", detail)
        facility_id = await self._find_facility(record)
        facts = to_entry_facts(record)
        if await self._has_entry(facility_id, facts):
            return False
        try:
            await record_entry(
                self._dependencies, self._principal, facility_id, facts, FinanceContext()
            )
        except Conflict:
            # Another import of the file may have recorded the same entry meanwhile.
            if await self._has_entry(facility_id, facts):
                return False
            raise
        return True

    async def _has_entry(self, facility_id: str, facts: EntryFacts) -> bool:
        """Whether the ledger has the entry.

        Raises:
            InvalidInput: it has another one of the same external key.
        """
        ledger = await load_ledger(self._dependencies, facility_id)
        entry = next(
            (e.entry for e in ledger.entries if e.entry.external_key == facts.external_key), None
        )
        if entry is None:
            return False
        differences = ", ".join(_list_other_facts(entry, facts))
        if differences:
            detail = f"entry {entry.number} has other values of {differences}; reverse it"
            raise InvalidInput.at("/external_key", "differs_from_existing", detail)
        return True

    async def _find_facility(self, record: EntryRecord) -> str:
        """Return the id of the facility that an entry names.

        Raises:
            InvalidInput: it names none, or several.
            NotFound: there is no such facility.
        """
        if (record.facility_id is None) == (record.facility_name is None):
            detail = "name the facility by facility_id, or by facility_name and its project"
            raise InvalidInput.at("/facility_id", "missing", detail)
        if record.facility_id is not None:
            try:
                await self._dependencies.reads.head(FACILITY_KIND, record.facility_id)
            except NotFound:
                raise InvalidInput.at("/facility_id", "not_found", "no such facility") from None
            return record.facility_id
        project_id = await self._find_project(record.project_id, record.project_ref)
        existing = await self._list_named(project_id, record.facility_name or "")
        if len(existing) != 1:
            detail = f"the project has {len(existing)} facilities of this name"
            code = "ambiguous" if existing else "not_found"
            raise InvalidInput.at("/facility_name", code, detail)
        return existing[0].id

    async def _find_project(self, project_id: str | None, reference: ExternalRef | None) -> str:
        """Return the id of the project that a record names.

        Raises:
            InvalidInput: it names none, or one that does not exist.
        """
        if (project_id is None) == (reference is None):
            detail = "name the project by project_id or by project_ref, one of both"
            raise InvalidInput.at("/project_id", "missing", detail)
        if reference is not None:
            project_id = await self._find_reserved(reference)
        if project_id is None:
            detail = "no project has this external reference"
            raise InvalidInput.at("/project_ref/id", "not_found", detail)
        try:
            await self._dependencies.reads.head(PROJECT_KIND, project_id)
        except NotFound:
            raise InvalidInput.at("/project_id", "not_found", "no such project") from None
        return project_id

    async def _find_reserved(self, reference: ExternalRef) -> str | None:
        reservation_id = build_reservation_id(reference)
        try:
            reservation: StoredAggregate[
                ExternalRefReservation
            ] = await self._dependencies.reads.get(RESERVATION_KIND, reservation_id)
        except NotFound:
            return None
        return reservation.state.project_id

    async def _list_named(self, project_id: str, name: str) -> list[StoredAggregate[Facility]]:
        """Return the facilities of a project that have a name."""
        facilities: list[StoredAggregate[Facility]] = []
        query = query_facilities(project_id, MAX_LIMIT)
        while True:
            page: Page[StoredAggregate[Facility]] = await self._dependencies.reads.page(query)
            facilities += [one for one in page.items if one.state.name == name]
            if page.next is None:
                return facilities
            query = msgspec.structs.replace(query, after=page.next)


def _list_differences(
    before: Facility, record: FacilityRecord, governed_input: ProjectInput | None
) -> tuple[str, ...]:
    """Return the names of the terms and attributes that a record would change."""
    after = amend_facility(before, to_term_sheet(record))
    if governed_input is not None:
        after = set_governed_attributes(after, governed_input.governed, governed_input.extensions)
    return list_changed_terms(before, after)


def _list_other_facts(entry: LedgerEntry, facts: EntryFacts) -> Iterator[str]:
    for name in ENTRY_FACTS:
        if getattr(entry, name) != getattr(facts, name):
            yield name
