"""Queries of projects: get one, list pages, list its history."""

from datetime import datetime
from typing import Any, Final

from spawn.application.dependencies import Dependencies, require
from spawn.domain.change import StoredAggregate
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.principal import Principal
from spawn.domain.projects.codec import render_project
from spawn.domain.projects.project import PROJECT_KIND, Project
from spawn.domain.query import Page, Query
from spawn.domain.schema_version import Schema

MANDATORY_FIELDS: Final = ("project_id", "version")
"""Fields of every selection."""


async def get_project(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    *,
    as_of: datetime | None = None,
) -> StoredAggregate[Project]:
    """Return the current project, or its state as recorded at an instant.

    Raises:
        NotFound: no such project, or none yet at that instant.
    """
    require(principal, "read")
    return await dependencies.reads.get(PROJECT_KIND, project_id, as_of=as_of)


async def list_projects(
    dependencies: Dependencies, principal: Principal, query: Query
) -> Page[StoredAggregate[Project]]:
    """Return one page of projects."""
    require(principal, "read")
    return await dependencies.reads.page(query)


async def list_project_history(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    *,
    after_version: int,
    limit: int,
) -> list[JournalEntry]:
    """Return a project's journal entries after a version, oldest first."""
    require(principal, "read")
    return await dependencies.reads.history(
        PROJECT_KIND, project_id, after_version=after_version, limit=limit
    )


def project_fields(
    aggregate: StoredAggregate[Project], schema: Schema, names: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the fields of a stored project in document order.

    Args:
        aggregate: the project.
        schema: the schema version whose fields it has.
        names: fields to return beside id and version, empty for all; `x_` fields that the project
            lacks are omitted.
    """
    rendered = render_project(aggregate.state, schema)
    fields: dict[str, Any] = {
        "project_id": rendered.pop("project_id"),
        "version": aggregate.version,
    }
    fields.update(rendered)
    fields["created_at"] = aggregate.created_at
    fields["updated_at"] = aggregate.updated_at
    if not names:
        return fields
    selection = {*MANDATORY_FIELDS, *names}
    return {name: value for name, value in fields.items() if name in selection}
