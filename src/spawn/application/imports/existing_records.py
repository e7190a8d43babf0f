"""Stored records under the references and ids of a chunk's rows."""

from collections.abc import Mapping

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.imports.chunks import Chunk, ExistingRecords
from spawn.application.projects.completion import OutstandingDebt, read_outstanding_debt
from spawn.application.projects.versioned_views import convert_to_version
from spawn.domain.change import StoredAggregate
from spawn.domain.facilities.facility import FACILITY_KIND, Facility
from spawn.domain.principal import SERVICE_PRINCIPAL
from spawn.domain.projects.lifecycle import ProjectStatus, get_next_statuses
from spawn.domain.projects.project import PROJECT_KIND, RESERVATION_KIND, Project
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Page, Query


async def load_existing_records(
    dependencies: Dependencies, chunk: Chunk, schema_version: int
) -> ExistingRecords:
    """Load the stored records of a chunk, in the schema version that its rows were read under."""
    drafts = [row.draft.project_draft for row in chunk.rows if row.draft.project_draft is not None]
    references = [draft.reference for draft in drafts if draft.reference is not None]
    reads = dependencies.reads
    reservations = await reads.get_many(RESERVATION_KIND, references)
    ids = [item.state.project_id for item in reservations.values() if item.state.project_id]
    if chunk.layout.from_export:
        # Exported projects without a reference are identified by their own ids.
        ids += [draft.project_id for draft in drafts if draft.reference is None]
    stored: Mapping[str, StoredAggregate[Project]] = await reads.get_many(PROJECT_KIND, ids)
    projects = {
        key: await convert_to_version(dependencies, aggregate, schema_version)
        for key, aggregate in stored.items()
    }
    debts = await _load_debts(dependencies, projects)
    return ExistingRecords(reservations, projects, debts)


async def _load_debts(
    dependencies: Dependencies, projects: Mapping[str, StoredAggregate[Project]]
) -> dict[str, OutstandingDebt]:
    """Return the debts of the projects that a row may complete and that have facilities."""
    on = dependencies.clock.now().date()
    ids = [key for key, one in projects.items() if _may_complete(one.state)]
    indebted: dict[str, None] = {}
    for start in range(0, len(ids), MAX_LIMIT):
        condition = Filter("project_id", Operator.IN, tuple(ids[start : start + MAX_LIMIT]))
        query: Query | None = Query(kind=FACILITY_KIND, filters=(condition,), limit=MAX_LIMIT)
        while query is not None:
            page: Page[StoredAggregate[Facility]] = await dependencies.reads.page(query)
            indebted |= dict.fromkeys(facility.state.project_id for facility in page.items)
            query = msgspec.structs.replace(query, after=page.next) if page.next else None
    return {
        key: await read_outstanding_debt(dependencies, SERVICE_PRINCIPAL, key, on)
        for key in indebted
    }


def _may_complete(project: Project) -> bool:
    next_statuses = get_next_statuses(project.status, project.suspended_from)
    return ProjectStatus.COMPLETED in next_statuses
