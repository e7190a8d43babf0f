"""Projects of a source that a file does not have: found by comparing its reservations."""

from collections.abc import AsyncIterator

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.domain.change import StoredAggregate
from spawn.domain.imports.import_state import KeySet, VanishedProject
from spawn.domain.projects.project import (
    PROJECT_KIND,
    RESERVATION_KIND,
    ExternalRef,
    ExternalRefReservation,
    Project,
    build_reservation_id,
)
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Page, Query, Sort


class VanishedBatch(msgspec.Struct, frozen=True):
    """Some vanished projects, and the last reservation that was compared."""

    projects: tuple[VanishedProject, ...]
    last_id: str


async def find_vanished_projects(
    dependencies: Dependencies, source: str, present_keys: KeySet, after: str | None
) -> AsyncIterator[VanishedBatch]:
    """Yield the projects of a source whose keys are not present, in the order of their keys.

    `after` is the last reservation of an earlier batch; without one all are compared.
    """
    # The id of a reservation begins with its source and a colon; a semicolon follows the colon.
    first = build_reservation_id(ExternalRef(source=source, id=""))
    last = f"{first[:-1]};"
    last_id = after or first
    while True:
        bounds = (Filter("id", Operator.GT, (last_id,)), Filter("id", Operator.LT, (last,)))
        query = Query(kind=RESERVATION_KIND, filters=bounds, sort=(Sort("id"),), limit=MAX_LIMIT)
        page: Page[StoredAggregate[ExternalRefReservation]] = await dependencies.reads.page(query)
        if not page.items:
            return
        last_id = page.items[-1].id
        missing = {
            item.state.project_id: item.id.removeprefix(first)
            for item in page.items
            if item.state.project_id is not None
            and f"{source}\n{item.id.removeprefix(first)}" not in present_keys
        }
        if missing:
            projects = await _load_projects(dependencies, source, missing)
            yield VanishedBatch(projects, last_id)


async def _load_projects(
    dependencies: Dependencies, source: str, ids: dict[str, str]
) -> tuple[VanishedProject, ...]:
    """Return the projects with these ids, which map to the ids in the source."""
    stored = await dependencies.reads.get_many(PROJECT_KIND, list(ids))
    projects: list[Project] = [stored[key].state for key in ids if key in stored]
    return tuple(
        VanishedProject(
            project_id=project.project_id,
            source=source,
            id=ids[project.project_id],
            project_name=project.project_name,
            status=project.status,
        )
        for project in projects
    )
