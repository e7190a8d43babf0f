"""Queries of covenants: one, lists, tests, the state on a day, headroom over the test dates."""

from datetime import date, datetime
from typing import Any

import msgspec

from spawn.application.covenants.figure_sources import RatioComputer, load_case_figures
from spawn.application.covenants.state_saving import query_of_project, require_project
from spawn.application.dependencies import Dependencies, require, require_past
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.covenant_record import (
    COVENANT_TEST_KIND,
    CovenantHeadroom,
    RecordedCovenantTest,
    measure_headroom,
    restore_ratio,
)
from spawn.domain.covenants.covenant_set import (
    COVENANT_KIND,
    CovenantBand,
    CovenantSet,
    CovenantStanding,
    CovenantWaiver,
    compare_with_levels,
    fold_standing,
    list_active_waivers,
    list_newest_tests,
)
from spawn.domain.covenants.exact_ratios import ExactRatio, UntestedReason, format_ratio
from spawn.domain.principal import Principal, Scope
from spawn.domain.query import Filter, Operator, Page, Query, Sort


class LevelHeadroom(msgspec.Struct, frozen=True, kw_only=True):
    """The distance of a ratio from the lock-up and the default level; None without a level."""

    lockup: CovenantHeadroom | None
    default: CovenantHeadroom | None


class StandingOnDay(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a covenant on a day.

    `newest_test` is the last one of a date up to the day. `headroom` is the distance of its ratio
    from the levels of the covenant as they are now, None where it was not tested. `next_test_on` is
    the next test date, `overdue_since` the first test date up to the day without a test.
    """

    on: date
    standing: CovenantStanding
    waivers: tuple[CovenantWaiver, ...]
    newest_test: StoredAggregate[RecordedCovenantTest] | None
    headroom: LevelHeadroom | None
    next_test_on: date | None
    overdue_since: date | None


class HeadroomAtDate(msgspec.Struct, frozen=True, kw_only=True):
    """The ratio of a case at a test date, with its distance from the levels of the covenant."""

    tested_on: date
    band: CovenantBand
    printed_ratio: str | None
    untested_reason: UntestedReason | None
    headroom: LevelHeadroom


class CovenantOutlook(msgspec.Struct, frozen=True, kw_only=True):
    """The headroom of a covenant at each of its test dates on the figures of one case."""

    covenant: StoredAggregate[CovenantSet]
    case_id: str
    case_version: int
    currency_code: str
    dates: tuple[HeadroomAtDate, ...]


async def get_covenant(
    dependencies: Dependencies,
    principal: Principal,
    covenant_id: str,
    *,
    as_of: datetime | None = None,
) -> StoredAggregate[CovenantSet]:
    """Return a covenant now, or as recorded at an instant.

    Raises:
        NotFound: no such covenant, or none yet at that instant.
        InvalidInput: the instant is not in the past.
    """
    require(principal, Scope.FINANCE_READ)
    await require_past(dependencies, as_of)
    covenant: StoredAggregate[CovenantSet] = await dependencies.reads.get(
        COVENANT_KIND, covenant_id, as_of=as_of
    )
    return covenant


async def get_covenant_test(
    dependencies: Dependencies, principal: Principal, test_id: str
) -> StoredAggregate[RecordedCovenantTest]:
    """Return a test.

    Raises:
        NotFound: no such test.
    """
    require(principal, Scope.FINANCE_READ)
    test: StoredAggregate[RecordedCovenantTest] = await dependencies.reads.get(
        COVENANT_TEST_KIND, test_id
    )
    return test


async def list_covenant_tests(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    limit: int,
    after: tuple[Any, ...] | None,
    covenant_id: str | None = None,
) -> Page[StoredAggregate[RecordedCovenantTest]]:
    """Return a page of the tests of a project, or of one covenant, by test date.

    Raises:
        NotFound: no such project.
    """
    require(principal, Scope.FINANCE_READ)
    await require_project(dependencies, project_id)
    query = query_of_project(COVENANT_TEST_KIND, project_id, limit, after)
    if covenant_id is not None:
        condition = Filter("covenant_id", Operator.EQ, (covenant_id,))
        query = msgspec.structs.replace(query, filters=(*query.filters, condition))
    by_date: Query = msgspec.structs.replace(query, sort=(Sort("tested_on"),))
    page: Page[StoredAggregate[RecordedCovenantTest]] = await dependencies.reads.page(by_date)
    return page


async def read_covenant_state(
    dependencies: Dependencies,
    principal: Principal,
    covenant_id: str,
    *,
    on: date | None = None,
    as_of: datetime | None = None,
) -> StandingOnDay:
    """Return the state of a covenant on a day, by default today, as it was known at an instant.

    Raises:
        NotFound: no such covenant, or none yet at that instant.
        InvalidInput: the instant is not in the past.
    """
    stored = await get_covenant(dependencies, principal, covenant_id, as_of=as_of)
    day = on or dependencies.clock.now().date()
    return await describe_state(dependencies, stored.state, day)


async def describe_state(
    dependencies: Dependencies, covenant: CovenantSet, on: date
) -> StandingOnDay:
    """Return the state of a covenant on a day with its newest test."""
    tests = [test for test in list_newest_tests(covenant) if test.tested_on <= on]
    newest_test = None
    if tests:
        newest_test = await dependencies.reads.get(COVENANT_TEST_KIND, tests[-1].test_id)
    tested_days = {test.tested_on for test in tests}
    due_days = [day for day in covenant.test_dates if day <= on and day not in tested_days]
    return StandingOnDay(
        on=on,
        standing=fold_standing(covenant, on),
        waivers=list_active_waivers(covenant, on),
        newest_test=newest_test,
        headroom=None if newest_test is None else measure_recorded(covenant, newest_test.state),
        next_test_on=next((day for day in covenant.test_dates if day > on), None),
        overdue_since=due_days[0] if due_days else None,
    )


async def read_outlook(
    dependencies: Dependencies,
    principal: Principal,
    covenant_id: str,
    case_id: str,
    case_version: int | None,
) -> CovenantOutlook:
    """Return the headroom of a covenant at each test date on a case of its project.

    It records nothing: the case stays a draft.

    Raises:
        NotFound: no such covenant.
        InvalidInput: the project has no such case, or the case lacks what the metric needs.
    """
    stored = await get_covenant(dependencies, principal, covenant_id)
    covenant = stored.state
    source = await load_case_figures(dependencies, covenant.project_id, case_id, case_version)
    computer = RatioComputer(covenant, source)
    dates = []
    for day in covenant.test_dates:
        ratio = computer.compute(day)
        dates.append(
            HeadroomAtDate(
                tested_on=day,
                band=compare_with_levels(covenant, ratio.value),
                printed_ratio=None if ratio.value is None else format_ratio(ratio.value),
                untested_reason=ratio.untested_reason,
                headroom=_measure(covenant, ratio, source.currency_code),
            )
        )
    return CovenantOutlook(
        covenant=stored,
        case_id=source.stored.id,
        case_version=source.stored.version,
        currency_code=source.currency_code,
        dates=tuple(dates),
    )


def _measure(covenant: CovenantSet, ratio: ExactRatio, currency_code: str) -> LevelHeadroom:
    return LevelHeadroom(
        lockup=measure_headroom(covenant.metric, ratio, covenant.lockup_level, currency_code),
        default=measure_headroom(covenant.metric, ratio, covenant.default_level, currency_code),
    )


def measure_recorded(covenant: CovenantSet, test: RecordedCovenantTest) -> LevelHeadroom | None:
    """Return the headroom of a recorded ratio to the levels of a covenant; None without one."""
    ratio = restore_ratio(test)
    return None if ratio is None else _measure(covenant, ratio, test.currency_code)
