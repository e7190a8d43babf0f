"""Queries of facilities."""

from datetime import datetime

from spawn.application.dependencies import Dependencies, require, require_past
from spawn.domain.change import StoredAggregate
from spawn.domain.facilities.facility import FACILITY_KIND, Facility
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import Filter, Operator, Page, Query, Sort


async def get_facility(
    dependencies: Dependencies,
    principal: Principal,
    facility_id: str,
    *,
    as_of: datetime | None = None,
) -> StoredAggregate[Facility]:
    """Return a facility now, or as recorded at an instant.

    Raises:
        NotFound: no such facility, or none yet at that instant.
        InvalidInput: the instant is not in the past.
    """
    require(principal, Scope.FINANCE_READ)
    await require_past(dependencies, as_of)
    aggregate: StoredAggregate[Facility] = await dependencies.reads.get(
        FACILITY_KIND, facility_id, as_of=as_of
    )
    return aggregate


async def list_facilities(
    dependencies: Dependencies, principal: Principal, project_id: str, query: Query
) -> Page[StoredAggregate[Facility]]:
    """Return a page of the facilities of a project, by rank and then as created.

    Raises:
        NotFound: no such project.
    """
    require(principal, Scope.FINANCE_READ)
    await dependencies.reads.head(PROJECT_KIND, project_id)
    page: Page[StoredAggregate[Facility]] = await dependencies.reads.page(query)
    return page


def query_facilities(project_id: str, limit: int, after: tuple[object, ...] | None = None) -> Query:
    """Return the query of a project's facilities, by rank and then as created."""
    return Query(
        kind=FACILITY_KIND,
        filters=(Filter("project_id", Operator.EQ, (project_id,)),),
        sort=(Sort("rank"),),
        limit=limit,
        after=after,  # type: ignore[arg-type]  # the keys of a cursor are values
    )
