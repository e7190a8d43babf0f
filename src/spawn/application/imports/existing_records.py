"""Stored records under the references and ids of a chunk's rows."""

from collections.abc import Mapping

from spawn.application.dependencies import Dependencies
from spawn.application.imports.chunks import Chunk, ExistingRecords
from spawn.application.projects.versioned_views import convert_to_version
from spawn.domain.change import StoredAggregate
from spawn.domain.projects.project import PROJECT_KIND, RESERVATION_KIND, Project


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
    return ExistingRecords(reservations, projects)
