"""Queries of projects: get one, list pages, list its history."""

from datetime import datetime

from spawn.application.dependencies import Dependencies, require
from spawn.domain.change import StoredAggregate
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.principal import Principal
from spawn.domain.projects.project import PROJECT_KIND, Project
from spawn.domain.query import Page, Query


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
