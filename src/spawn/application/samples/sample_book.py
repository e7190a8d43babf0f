"""The sample book: projects with their financing, and portfolios that hold it.

Everything is written through the use cases of clients, many commands at a time, so that commits
share transactions. The last project is written at the end, after the portfolios: a start that finds
it has the whole book, and one that was interrupted before is completed by the next.
"""

import asyncio
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from spawn.application.covenants.case_commands import create_case
from spawn.application.covenants.covenant_commands import (
    CovenantTestOrder,
    create_covenant,
    record_covenant_test,
    waive_covenant,
)
from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import FinanceContext, create_facility
from spawn.application.facilities.ledger_commands import record_entry
from spawn.application.facilities.stored_ledgers import load_ledger
from spawn.application.portfolios.holding_commands import HoldingInput, add_holding
from spawn.application.portfolios.portfolio_commands import create_portfolio
from spawn.application.projects.commands import CommandContext
from spawn.application.projects.sample_data import (
    SampleProject,
    generate_sample_projects,
    write_sample_project,
    write_transitions,
)
from spawn.application.samples.sample_financing import (
    OPERATING,
    SampleCover,
    SampleFinancing,
    build_loan_terms,
    generate_financing,
    get_status,
)
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.cfads_case import CASE_KIND
from spawn.domain.covenants.covenant_record import CovenantFigures
from spawn.domain.covenants.covenant_set import COVENANT_KIND, CovenantWaiver
from spawn.domain.errors import DeadlineExceeded, NotFound, Overloaded
from spawn.domain.facilities.facility import FACILITY_KIND, Facility, FacilityTermSheet
from spawn.domain.portfolios.holding import HOLDING_KIND
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND, ExposureKey, ExposureLimit
from spawn.domain.principal import Principal
from spawn.domain.projects.project import (
    PROJECT_KIND,
    RESERVATION_KIND,
    Project,
    build_reservation_id,
)
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Query

CONCURRENT_PROJECTS: Final = 128
"""Sample projects that are written at a time: their commands share the commits of a group."""

PORTFOLIOS: Final = (("Core infrastructure", "USD", "50"), ("Euro renewables", "EUR", "25"))
"""Name, currency and share of each facility of the sample portfolios."""

MAX_HOLDINGS: Final = 40
"""Holdings of one sample portfolio."""

_PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0)
_WAIVER_DAYS: Final = 364
_RENEWABLES: Final = frozenset({"Solar", "Wind", "Offshore wind", "Hydro"})
_CONTEXT: Final = FinanceContext()


class SampleHolding(msgspec.Struct, frozen=True):
    """A facility that a sample portfolio may hold."""

    facility: Facility
    sample: SampleProject


async def seed_missing_book(
    dependencies: Dependencies,
    principal: Principal,
    *,
    projects: int,
    seed: int,
    report: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the sample book that a store lacks, and return the number of its new projects.

    A store that has the last project has the others too: only the last one is then completed, which
    is quick. What a user has changed since is left alone.

    Args:
        dependencies: the ports.
        principal: the caller.
        projects: the number of projects.
        seed: of the random figures.
        report: takes the number of projects written so far, after each of them.
    """
    if not projects:
        return 0
    book = _BookWriter(dependencies, principal, report)
    return await book.write(projects, seed)


class _BookWriter:
    """The sample book on its way into a store."""

    def __init__(
        self, dependencies: Dependencies, principal: Principal, report: Callable[[int], None]
    ) -> None:
        self._dependencies = dependencies
        self._principal = principal
        self._report = report
        self._semaphore = asyncio.Semaphore(CONCURRENT_PROJECTS)
        self._count = 0
        self._holdings: list[SampleHolding] = []

    async def write(self, projects: int, seed: int) -> int:
        """Write projects with their financing, then the portfolios; return the new projects."""
        operating = 0
        orders = []
        for number, sample in enumerate(generate_sample_projects(projects, seed), start=1):
            operating += get_status(sample) in OPERATING
            orders.append((sample, f"{seed}:{number}", operating))
        *others, last = orders
        if await self._find_project(last[0]) is None:
            await asyncio.gather(*(self._queue(*order) for order in others))
            await self._write_portfolios()
        await self._queue(*last)
        return self._count

    async def _queue(self, sample: SampleProject, seed: str, operating: int) -> None:
        """Write a project, again from where it stopped if the store is too slow for so many."""
        async with self._semaphore:
            for pause_s in (*_PAUSES_S, None):
                try:
                    await self._write_project(sample, seed, operating)
                except (DeadlineExceeded, Overloaded):
                    if pause_s is None:
                        raise
                    await asyncio.sleep(pause_s)
                else:
                    break

    async def _find_project(self, sample: SampleProject) -> StoredAggregate[Project] | None:
        reference: Any = sample.attributes.core["external_ref"]
        reads = self._dependencies.reads
        try:
            reservation = await reads.get(RESERVATION_KIND, build_reservation_id(reference))
        except NotFound:
            return None
        project_id = reservation.state.project_id
        return None if project_id is None else await reads.get(PROJECT_KIND, project_id)

    async def _write_project(self, sample: SampleProject, seed: str, operating: int) -> None:
        """Write a project with its loan, or what an earlier start did not write of them."""
        dependencies, principal = self._dependencies, self._principal
        on = dependencies.clock.now().date()
        project_id = await write_sample_project(dependencies, principal, sample)
        is_new = project_id is not None
        if project_id is None:
            project = await self._find_project(sample)
            if project is None:
                return
            # The figures of an earlier day, which its ledger begins with.
            on, project_id = project.created_at.date(), project.id
            transitions = sample.transitions[project.version - 1 :]
            await write_transitions(dependencies, principal, project_id, transitions)
        else:
            self._count += 1
            self._report(self._count)
        terms = build_loan_terms(sample, seed, on)
        if terms is not None:
            loans = [] if is_new else await self._list(FACILITY_KIND, "project_id", project_id)
            facility = loans[0] if loans else await self._create_loan(project_id, terms)
            self._holdings.append(SampleHolding(facility, sample))
            financing = generate_financing(sample, facility, seed, on, operating)
            await self._write_financing(facility, financing, is_new=is_new)

    async def _list(self, kind: str, field: str, value: str) -> list[Any]:
        """Return the states of a kind whose field has a value, oldest first, one page of them."""
        condition = Filter(field, Operator.EQ, (value,))
        query = Query(kind=kind, filters=(condition,), limit=MAX_LIMIT)
        page = await self._dependencies.reads.page(query)
        return [one.state for one in page.items]

    async def _create_loan(self, project_id: str, terms: FacilityTermSheet) -> Facility:
        result = await create_facility(
            self._dependencies, self._principal, project_id, terms, _CONTEXT
        )
        if result.aggregate is None:
            raise RuntimeError("a command without an idempotency key is never replayed")
        return result.aggregate.state

    async def _write_financing(
        self, facility: Facility, financing: SampleFinancing, *, is_new: bool
    ) -> None:
        """Write what is missing of a financing; a new project lacks all of it.

        A list is as new as the journal, so each would wait for all tables to be level with it.
        """
        count = 0
        if not is_new:
            count = (await load_ledger(self._dependencies, facility.facility_id)).version
        for facts in financing.entries[count:]:
            await record_entry(
                self._dependencies, self._principal, facility.facility_id, facts, _CONTEXT
            )
        if financing.case is not None:
            await self._write_covenant(facility.project_id, financing, is_new=is_new)

    async def _write_covenant(
        self, project_id: str, financing: SampleFinancing, *, is_new: bool
    ) -> None:
        dependencies, principal = self._dependencies, self._principal
        case, covenant, tested_on = financing.case, financing.covenant, financing.tested_on
        if case is None or covenant is None or tested_on is None:
            return
        context = CommandContext()
        cases = [] if is_new else await self._list(CASE_KIND, "project_id", project_id)
        case_id = (
            cases[0].case_id
            if cases
            else _id_of(await create_case(dependencies, principal, project_id, case, context))
        )
        covenants = [] if is_new else await self._list(COVENANT_KIND, "project_id", project_id)
        covenant_id = (
            covenants[0].covenant_id
            if covenants
            else _id_of(
                await create_covenant(dependencies, principal, project_id, covenant, context)
            )
        )
        if not (covenants and covenants[0].tests):
            order = CovenantTestOrder(
                tested_on=tested_on, figures=CovenantFigures.CASE, case_id=case_id
            )
            await record_covenant_test(dependencies, principal, covenant_id, order, context)
        if financing.cover is SampleCover.WAIVED and not (covenants and covenants[0].waivers):
            await waive_covenant(
                dependencies,
                principal,
                covenant_id,
                lambda actor: _build_waiver(tested_on, actor),
                context,
            )

    async def _write_portfolios(self) -> None:
        """Write the portfolios with their holdings, the first facilities that each may hold."""
        if not self._holdings:
            return
        self._holdings.sort(key=lambda one: one.sample.attributes.core["external_ref"].id)  # type: ignore[attr-defined]  # of a sample
        for name, currency_code, share in PORTFOLIOS:
            terms: dict[str, Any] = {
                "name": name,
                "currency_code": currency_code,
                "limits": (ExposureLimit(by=ExposureKey.COUNTRY, max_share=Decimal(25)),),
            }
            portfolio_id = await self._find_portfolio(name) or _id_of(
                await create_portfolio(self._dependencies, self._principal, terms, _CONTEXT)
            )
            holdings = await self._list(HOLDING_KIND, "portfolio_id", portfolio_id)
            held_ids = {one.exposure_id for one in holdings}
            selection = [one for one in self._holdings if _may_hold(currency_code, one)]
            inputs = (
                HoldingInput(
                    share=share,
                    since=one.facility.availability_start,
                    facility_id=one.facility.facility_id,
                )
                for one in selection[:MAX_HOLDINGS]
                if one.facility.facility_id not in held_ids
            )
            await asyncio.gather(*(self._hold(portfolio_id, one) for one in inputs))

    async def _find_portfolio(self, name: str) -> str | None:
        portfolios = await self._list(PORTFOLIO_KIND, "name", name)
        return portfolios[0].portfolio_id if portfolios else None

    async def _hold(self, portfolio_id: str, holding: HoldingInput) -> None:
        await add_holding(self._dependencies, self._principal, portfolio_id, holding, _CONTEXT)


def _may_hold(currency_code: str, holding: SampleHolding) -> bool:
    core = holding.sample.attributes.core
    if core["currency_code"] != currency_code:
        return False
    return currency_code != "EUR" or core["sector"] in _RENEWABLES


def _build_waiver(tested_on: date, actor: str) -> CovenantWaiver:
    return CovenantWaiver(
        starts_on=tested_on,
        ends_on=tested_on + timedelta(days=_WAIVER_DAYS),
        reason="Insurers repay the outage of a transformer in the next period",
        granted_by="Majority lenders",
        recorded_by=actor,
        covers_lockup=False,
    )


def _id_of(result: Any) -> str:
    """Return the id of what a command has created; without an idempotency key it always has."""
    return str(result.aggregate.id)
