"""Queries of projects: get one, list pages, count, list its history."""

from datetime import datetime
from typing import Any, Final

import msgspec

from spawn.application.dependencies import Dependencies, require, require_past
from spawn.domain.change import StoredAggregate
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.imports.export_reader import EXTENSIONS_COLUMN
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.codec import render_project
from spawn.domain.projects.project import (
    PROJECT_KIND,
    RESERVATION_KIND,
    ExternalRef,
    Project,
    build_reservation_id,
)
from spawn.domain.query import WHOLE_HISTORY, Filter, HistoryBounds, Operator, Page, Query
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX

MANDATORY_FIELDS: Final = ("project_id", "version")
"""Fields of every selection."""
_MAX_RESERVATIONS: Final = 1_000
"""References that are looked up by their reservations; more are searched in the documents."""


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
        InvalidInput: the instant is not in the past.
    """
    require(principal, Scope.PROJECTS_READ)
    await require_past(dependencies, as_of)
    return await dependencies.reads.get(PROJECT_KIND, project_id, as_of=as_of)


async def list_projects(
    dependencies: Dependencies, principal: Principal, query: Query
) -> Page[StoredAggregate[Project]]:
    """Return one page of projects, now or as recorded at an instant.

    Raises:
        InvalidInput: the instant is not in the past.
    """
    require(principal, Scope.PROJECTS_READ)
    await require_past(dependencies, query.as_of)
    located_query = await _locate_references(dependencies, principal, query)
    return Page(()) if located_query is None else await dependencies.reads.page(located_query)


async def count_projects(dependencies: Dependencies, principal: Principal, query: Query) -> int:
    """Return the number of projects that match a query, now or as recorded at an instant.

    Raises:
        InvalidInput: the instant is not in the past.
    """
    require(principal, Scope.PROJECTS_READ)
    await require_past(dependencies, query.as_of)
    located_query = await _locate_references(dependencies, principal, query)
    return 0 if located_query is None else await dependencies.reads.count(located_query)


async def _locate_references(
    dependencies: Dependencies, principal: Principal, query: Query
) -> Query | None:
    """Return the query with the ids of the projects that own its references; None if none does.

    Reservations are found by their ids; otherwise every document would be read. With a row scope
    every document is read: the time of a look-up would tell of references outside.
    """
    condition = next((f for f in query.filters if f.field == "external_ref"), None)
    if condition is None or query.as_of is not None or principal.row_scope is not None:
        return query
    if condition.operator not in (Operator.EQ, Operator.IN):
        return query
    names = [name for value in condition.values for name in _reservation_ids(str(value))]
    if len(names) > _MAX_RESERVATIONS:
        return query
    reservations = await dependencies.reads.get_many(RESERVATION_KIND, names)
    owners = {aggregate.state.project_id for aggregate in reservations.values()} - {None}
    if not owners:
        return None
    by_id = Filter("project_id", Operator.IN, tuple(sorted(owners)))
    return msgspec.structs.replace(query, filters=(by_id, *query.filters))


def _reservation_ids(text: str) -> list[str]:
    """Return the ids of the reservations of a reference; its source may hold a colon too."""
    parts = text.split(":")
    references = [
        ExternalRef(source=":".join(parts[:count]), id=":".join(parts[count:]))
        for count in range(1, len(parts))
    ]
    return [build_reservation_id(reference) for reference in references]


async def list_project_history(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    *,
    after_version: int,
    limit: int,
    bounds: HistoryBounds = WHOLE_HISTORY,
) -> list[JournalEntry]:
    """Return a project's journal entries after a version and within bounds."""
    require(principal, Scope.PROJECTS_READ)
    return await dependencies.reads.history(
        PROJECT_KIND, project_id, after_version=after_version, limit=limit, bounds=bounds
    )


def project_fields(
    aggregate: StoredAggregate[Project], schema: Schema, names: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the fields of a stored project in document order.

    Args:
        aggregate: the project.
        schema: the schema version whose fields it has.
        names: fields to return beside id and version, empty for all; `x_` fields that the project
            lacks are omitted. `extensions` stands for all of them.
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
    if EXTENSIONS_COLUMN in selection:
        selection |= {name for name in fields if name.startswith(EXTENSION_PREFIX)}
    return {name: value for name, value in fields.items() if name in selection}
