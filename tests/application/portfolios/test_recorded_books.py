"""A book that was advanced by the feed is the one that a new process reads."""

import json
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.application.portfolios.books import a_facility, a_holding, a_portfolio, a_project

from spawn.application.bounded_cache import BoundedCache
from spawn.application.commands import Decision, commit
from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import FinanceContext, amend_facility_terms
from spawn.application.facilities.ledger_commands import record_entry
from spawn.application.portfolios.books import recorded_books
from spawn.application.portfolios.exposure_reports import ReportQuery, report_exposure
from spawn.application.portfolios.holding_commands import amend_holding, remove_holding
from spawn.application.projects.commands import amend_project
from spawn.domain.change import StoredAggregate, Write
from spawn.domain.errors import InvalidInput
from spawn.domain.facilities.facility import Facility, FacilityKind, FacilityTermSheet
from spawn.domain.facilities.ledger import EntryFacts, EntryKind
from spawn.domain.json_tokens import parse_object
from spawn.domain.portfolios.exposure import ExposureGroup
from spawn.domain.portfolios.portfolio import ExposureKey
from spawn.domain.principal import LOCAL_PRINCIPAL
from spawn.domain.projects.project import PROJECT_KIND

DAYS = (date(2026, 4, 30), date(2026, 9, 30), date(2028, 6, 30))
KEYS = (ExposureKey.NAME, ExposureKey.COUNTRY, ExposureKey.KIND)
CONTEXT = FinanceContext()
STEPS = 24
Command = Callable[["Desk"], Awaitable[None]]


class CountedReads:
    """Reads of a store that count the aggregates and the pages."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._reads = dependencies.reads
        self.aggregates = 0
        self.pages = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reads, name)

    async def get_many(self, kind: str, ids: Sequence[str]) -> dict[str, StoredAggregate[Any]]:
        self.aggregates += len(ids)
        return await self._reads.get_many(kind, ids)

    async def page(self, query: Any) -> Any:
        self.pages += 1
        return await self._reads.page(query)


def without_books(dependencies: Dependencies) -> tuple[Dependencies, CountedReads]:
    """Return the dependencies as a new process has them, with counted reads."""
    reads = CountedReads(dependencies)
    fresh = msgspec.structs.replace(
        dependencies,
        reads=reads,
        portfolio_books=BoundedCache(100),
        recorded_books=BoundedCache(100),
        balance_histories=BoundedCache(100),
    )
    return fresh, reads


async def groups_on(
    dependencies: Dependencies, portfolio_id: str, on: date, **query: Any
) -> list[ExposureGroup]:
    one = await report_exposure(
        dependencies, LOCAL_PRINCIPAL, portfolio_id, KEYS, ReportQuery(on=on, **query)
    )
    return list(one.groups)


class Desk:
    """Random commands on what two portfolios hold, and beside it."""

    def __init__(self, dependencies: Dependencies, seed: int) -> None:
        self.dependencies = dependencies
        self.rng = random.Random(seed)
        self.portfolios: list[str] = []
        self.projects: list[str] = []
        self.loans: list[str] = []
        self.shares: list[str] = []
        self.holdings: list[tuple[str, str]] = []

    async def open(self) -> None:
        self.portfolios = [await a_portfolio(self.dependencies) for _ in range(2)]
        for _ in range(3):
            await self.add_project()
            await self.add_loan()
            await self.hold_loan()

    async def add_project(self) -> None:
        country = self.rng.choice(["ESP", "PRT", "FRA"])
        self.projects.append(await a_project(self.dependencies, country_code=country))

    async def add_loan(self) -> None:
        project_id = self.rng.choice(self.projects)
        self.loans.append(await a_facility(self.dependencies, project_id))

    async def add_equity(self) -> None:
        project_id = self.rng.choice(self.projects)
        key = await a_facility(self.dependencies, project_id, kind=FacilityKind.EQUITY)
        self.shares.append(key)

    async def change_kind(self) -> None:
        """Change what is equity to a grant, or back."""
        if not self.shares:
            return
        kind = self.rng.choice([FacilityKind.EQUITY, FacilityKind.GRANT])

        def change(facility: Facility) -> FacilityTermSheet:
            return msgspec.structs.replace(facility, kind=kind)

        key = self.rng.choice(self.shares)
        await amend_facility_terms(self.dependencies, LOCAL_PRINCIPAL, key, change, CONTEXT)

    async def hold_share(self) -> None:
        if self.shares:
            # What is equity at present is held by its project.
            with suppress(InvalidInput):
                await self._hold(facility_id=self.rng.choice(self.shares))

    async def draw(self) -> None:
        day = date(2026, 4, 1) + timedelta(days=self.rng.randrange(200))
        facts = EntryFacts(kind=EntryKind.DRAW, value_date=day, amount=Decimal("1000.00"))
        facility_id = self.rng.choice(self.loans)
        await record_entry(self.dependencies, LOCAL_PRINCIPAL, facility_id, facts, CONTEXT)

    async def hold_loan(self) -> None:
        await self._hold(facility_id=self.rng.choice(self.loans))

    async def hold_equity(self) -> None:
        await self._hold(project_id=self.rng.choice(self.projects))

    async def _hold(self, **exposure: str) -> None:
        portfolio_id = self.rng.choice(self.portfolios)
        # So little that nothing is ever allocated in full.
        holding_id = await a_holding(self.dependencies, portfolio_id, share="1/3000", **exposure)
        self.holdings.append((portfolio_id, holding_id))

    async def end_holding(self) -> None:
        holding = self.rng.choice(self.holdings)
        until = self.rng.choice(["2026-06-30", "2027-06-30"])
        terms = {"until": date.fromisoformat(until)}
        await amend_holding(self.dependencies, LOCAL_PRINCIPAL, *holding, terms, CONTEXT)

    async def remove_holding(self) -> None:
        if len(self.holdings) > 2:
            holding = self.holdings.pop(self.rng.randrange(len(self.holdings)))
            await remove_holding(self.dependencies, LOCAL_PRINCIPAL, *holding, CONTEXT)

    async def rename_project(self) -> None:
        name = self.rng.choice(["Sierra Wind", "Cala Solar", "Costa Road"])
        body = parse_object(json.dumps({"project_name": name}).encode())
        validator = await self.dependencies.validator()
        today = self.dependencies.clock.now().date()
        await amend_project(
            self.dependencies,
            LOCAL_PRINCIPAL,
            self.rng.choice(self.projects),
            attributes=validator.read(body, partial=True, on_date=today),
        )


COMMANDS: tuple[Command, ...] = (
    *(Desk.add_project, Desk.add_loan, Desk.add_equity, Desk.draw, Desk.draw, Desk.hold_loan),
    *(Desk.hold_equity, Desk.end_holding, Desk.remove_holding, Desk.rename_project),
    *(Desk.change_kind, Desk.change_kind, Desk.hold_share),
)


@pytest.mark.parametrize("seed", range(2))
async def test_an_advanced_book_is_the_one_that_a_new_process_reads(
    dependencies: Dependencies, seed: int
) -> None:
    desk = Desk(dependencies, seed)
    await desk.open()
    earlier: list[tuple[Any, str, list[list[ExposureGroup]]]] = []
    for _ in range(STEPS):
        for _ in range(desk.rng.randrange(1, 4)):
            await desk.rng.choice(COMMANDS)(desk)
        portfolio_id = desk.rng.choice(desk.portfolios)
        fresh, _ = without_books(dependencies)
        advanced = [await groups_on(dependencies, portfolio_id, on) for on in DAYS]
        assert advanced == [await groups_on(fresh, portfolio_id, on) for on in DAYS]
        as_of = await dependencies.reads.latest_recorded_at()
        earlier.append((as_of, portfolio_id, advanced))
    for as_of, portfolio_id, groups in earlier[::5]:
        for one in (dependencies, without_books(dependencies)[0]):
            again = [await groups_on(one, portfolio_id, on, as_of=as_of) for on in DAYS]
            assert again == groups


async def test_an_advanced_book_reads_only_what_has_changed(dependencies: Dependencies) -> None:
    portfolio_id = await a_portfolio(dependencies)
    ids = [await a_facility(dependencies, await a_project(dependencies)) for _ in range(20)]
    for facility_id in ids:
        await a_holding(dependencies, portfolio_id, facility_id=facility_id, share="50")
    process, reads = without_books(dependencies)
    await groups_on(process, portfolio_id, DAYS[1])
    assert reads.aggregates >= 60
    assert reads.pages == 1

    facts = EntryFacts(kind=EntryKind.DRAW, value_date=DAYS[0], amount=Decimal("1000.00"))
    await record_entry(dependencies, LOCAL_PRINCIPAL, ids[3], facts, CONTEXT)
    await a_project(dependencies)
    reads.aggregates = 0
    await groups_on(process, portfolio_id, DAYS[1])
    await groups_on(process, portfolio_id, DAYS[2])
    # The portfolio twice, the ledger, and its one entry.
    assert (reads.aggregates, reads.pages) == (4, 1)


async def test_equity_that_a_project_gets_later_is_in_its_stake(
    dependencies: Dependencies,
) -> None:
    portfolio_id, project_id = await a_portfolio(dependencies), await a_project(dependencies)
    await a_holding(dependencies, portfolio_id, project_id=project_id, share="50")
    assert await groups_on(dependencies, portfolio_id, DAYS[1]) == []
    for number in (1, 2):
        await a_facility(dependencies, await a_project(dependencies), kind=FacilityKind.EQUITY)
        await a_facility(dependencies, project_id, kind=FacilityKind.EQUITY)
        groups = await groups_on(dependencies, portfolio_id, DAYS[1])
        assert groups[0].amounts.total == number * 4_500_000_000


async def test_a_book_is_read_anew_after_many_changes(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_books, "MAX_CHANGES", 2)
    portfolio_id = await a_portfolio(dependencies)
    facility_id = await a_facility(dependencies, await a_project(dependencies))
    await a_holding(dependencies, portfolio_id, facility_id=facility_id, share="100")
    process, reads = without_books(dependencies)
    before = await groups_on(process, portfolio_id, DAYS[1])
    for amount in ("1.00", "2.00", "3.00"):
        facts = EntryFacts(kind=EntryKind.DRAW, value_date=DAYS[0], amount=Decimal(amount))
        await record_entry(dependencies, LOCAL_PRINCIPAL, facility_id, facts, CONTEXT)
    after = await groups_on(process, portfolio_id, DAYS[1])
    assert reads.pages == 2
    assert after[0].amounts.outstanding - before[0].amounts.outstanding == 600


async def test_every_write_that_books_follow_has_an_event(dependencies: Dependencies) -> None:
    project_id = await a_project(dependencies)
    stored = await dependencies.reads.get(PROJECT_KIND, project_id)
    write = Write(PROJECT_KIND, project_id, stored.version, stored.state)
    with pytest.raises(ValueError, match="project is written without an event"):
        await commit(dependencies, "somebody", Decision(writes=(write,)))


async def test_a_facility_that_is_no_longer_equity_leaves_the_holding_of_its_project(
    dependencies: Dependencies,
) -> None:
    project_id, portfolio_id = await a_project(dependencies), await a_portfolio(dependencies)
    key = await a_facility(dependencies, project_id, kind=FacilityKind.EQUITY)
    await a_holding(dependencies, portfolio_id, project_id=project_id, share="100")
    assert await groups_on(dependencies, portfolio_id, DAYS[0])
    for kind, is_held in ((FacilityKind.GRANT, False), (FacilityKind.EQUITY, True)):

        def change(facility: Facility, kind: FacilityKind = kind) -> FacilityTermSheet:
            return msgspec.structs.replace(facility, kind=kind)

        await amend_facility_terms(dependencies, LOCAL_PRINCIPAL, key, change, CONTEXT)
        groups = await groups_on(dependencies, portfolio_id, DAYS[0])
        fresh, _ = without_books(dependencies)
        assert (bool(groups), groups) == (is_held, await groups_on(fresh, portfolio_id, DAYS[0]))
