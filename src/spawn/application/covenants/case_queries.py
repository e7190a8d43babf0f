"""Queries of CFADS cases and actuals: versions, lists, comparison and variance."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from spawn.application.covenants.state_saving import require_project
from spawn.application.dependencies import Dependencies, require, require_past
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.case_comparison import (
    ComparedPeriod,
    PeriodVariance,
    compare_cases,
    measure_variance,
)
from spawn.domain.covenants.cfads_actuals import (
    ACTUALS_KIND,
    ActualPeriod,
    CfadsActuals,
    select_known,
)
from spawn.domain.covenants.cfads_case import CASE_KIND, CfadsCase
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.principal import Principal, Scope
from spawn.domain.query import MAX_LIMIT


class CaseReference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case, at a version or the current one."""

    case_id: str
    version: int | None = None


class KnownPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """An actual period, and the time at which it was recorded."""

    period: ActualPeriod
    recorded_at: datetime


class KnownActuals(msgspec.Struct, frozen=True, kw_only=True):
    """The actuals of a project as they were known: `version` is 0 before the first fact."""

    project_id: str
    version: int
    currency_code: str | None
    periods: tuple[KnownPeriod, ...] = ()


class CaseVariance(msgspec.Struct, frozen=True, kw_only=True):
    """A case beside the actuals of a version."""

    case: StoredAggregate[CfadsCase]
    actuals: KnownActuals
    periods: tuple[PeriodVariance, ...]


async def get_case(
    dependencies: Dependencies,
    principal: Principal,
    case_id: str,
    *,
    version: int | None = None,
    as_of: datetime | None = None,
) -> StoredAggregate[CfadsCase]:
    """Return a case now, at a version, or as recorded at an instant.

    Raises:
        NotFound: no such case, version, or none yet at that instant.
        InvalidInput: the instant is not in the past.
    """
    require(principal, Scope.FINANCE_READ)
    await require_past(dependencies, as_of)
    case: StoredAggregate[CfadsCase] = await dependencies.reads.get(
        CASE_KIND, case_id, version=version, as_of=as_of
    )
    return case


async def compare_stored_cases(
    dependencies: Dependencies, principal: Principal, references: Sequence[CaseReference]
) -> tuple[tuple[StoredAggregate[CfadsCase], ...], tuple[ComparedPeriod, ...]]:
    """Return the cases, and their figures side by side for each period.

    Raises:
        InvalidInput: no such case or version, too many, or several currencies.
    """
    require(principal, Scope.FINANCE_READ)
    cases: list[StoredAggregate[CfadsCase]] = []
    for index, reference in enumerate(references):
        try:
            stored = await dependencies.reads.get(
                CASE_KIND, reference.case_id, version=reference.version
            )
        except NotFound as error:
            pointer = f"/cases/{index}/case_id"
            raise InvalidInput.at(pointer, "not_found", error.detail) from error
        cases.append(stored)
    return tuple(cases), compare_cases([case.state for case in cases])


async def read_known_actuals(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    *,
    on: date | None = None,
    as_of: datetime | None = None,
) -> KnownActuals:
    """Return the periods that had ended by a day, as they were known at an instant.

    Raises:
        NotFound: no such project.
        InvalidInput: the instant is not in the past.
    """
    require(principal, Scope.FINANCE_READ)
    await require_past(dependencies, as_of)
    await require_project(dependencies, project_id)
    try:
        stored: StoredAggregate[CfadsActuals] = await dependencies.reads.get(
            ACTUALS_KIND, project_id, as_of=as_of
        )
    except NotFound:
        return KnownActuals(project_id=project_id, version=0, currency_code=None)
    times = await _list_recorded_times(dependencies, project_id)
    return KnownActuals(
        project_id=project_id,
        version=stored.version,
        currency_code=stored.state.currency_code,
        periods=tuple(
            KnownPeriod(period=period, recorded_at=times[period.recorded_version])
            for period in select_known(stored.state, on or date.max)
        ),
    )


async def _list_recorded_times(dependencies: Dependencies, project_id: str) -> dict[int, datetime]:
    """Return the time of each version of the actuals."""
    times: dict[int, datetime] = {}
    version = 0
    while True:
        entries = await dependencies.reads.history(
            ACTUALS_KIND, project_id, after_version=version, limit=MAX_LIMIT
        )
        times |= {entry.version: entry.recorded_at for entry in entries}
        if len(entries) < MAX_LIMIT:
            return times
        version = entries[-1].version


async def read_variance(
    dependencies: Dependencies,
    principal: Principal,
    case_id: str,
    *,
    version: int | None = None,
    on: date | None = None,
    as_of: datetime | None = None,
) -> CaseVariance:
    """Return actual figures less those of a case, for each period of the case.

    Raises:
        NotFound: no such case or version.
        InvalidInput: the actuals have another currency than the case, or the instant is not in the
            past.
    """
    case = await get_case(dependencies, principal, case_id, version=version)
    actuals = await read_known_actuals(
        dependencies, principal, case.state.project_id, on=on, as_of=as_of
    )
    currency = case.state.currency_code
    if actuals.currency_code not in {None, currency}:
        detail = f"the case is in {currency}, and the actuals are in {actuals.currency_code}"
        raise InvalidInput.at("", "currency_mismatch", detail)
    periods = measure_variance(case.state, [known.period for known in actuals.periods])
    return CaseVariance(case=case, actuals=actuals, periods=periods)
