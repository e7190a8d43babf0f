"""The sample book: loans with plausible ledgers, covenants in each state, portfolios that hold."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.application.conftest import open_test_dependencies

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.ledger_queries import compute_balance, view_ledger
from spawn.application.samples import sample_book, sample_financing
from spawn.application.samples.sample_book import seed_missing_book
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.covenant_record import COVENANT_TEST_KIND
from spawn.domain.covenants.covenant_set import COVENANT_KIND, CovenantStanding, fold_standing
from spawn.domain.errors import DeadlineExceeded
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.facilities.ledger import ENTRY_KIND
from spawn.domain.portfolios.holding import HOLDING_KIND
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND
from spawn.domain.principal import Principal
from spawn.domain.projects.project import PROJECT_KIND, ProjectStatus
from spawn.domain.query import Query

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("sample book")]

DEMO = Principal(id="demo")
PROJECTS = 90
SMALL_BOOK = 24


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def book(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dependencies]:
    """The dependencies over a store with a sample book."""
    folder: Path = tmp_path_factory.mktemp("book")
    async with open_test_dependencies(folder) as dependencies:
        counts: list[int] = []
        count = await seed_missing_book(
            dependencies, DEMO, projects=PROJECTS, seed=1, report=counts.append
        )
        assert count == PROJECTS
        assert counts == list(range(1, PROJECTS + 1))
        yield dependencies


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [
        ("123456789.12", "123000000"),
        ("99999", "99900"),
        ("1000", "1000"),
        ("987.9", "987"),
        ("7.5", "7"),
    ],
)
async def test_a_commitment_has_three_significant_digits(amount: str, rounded: str) -> None:
    assert sample_financing._round_down(Decimal(amount)) == Decimal(rounded)


async def read_all(dependencies: Dependencies, kind: str) -> list[StoredAggregate[Any]]:
    page = await dependencies.reads.page(Query(kind=kind, limit=500))
    assert page.next is None
    return list(page.items)


async def test_loans_follow_their_projects_and_only_a_default_leaves_arrears(
    book: Dependencies,
) -> None:
    projects = {one.id: one.state for one in await read_all(book, PROJECT_KIND)}
    facilities = await read_all(book, FACILITY_KIND)
    in_arrears = set()
    for stored in facilities:
        project = projects[stored.state.project_id]
        equity = 1 - stored.state.commitment / project.total_amount
        assert Decimal("0.19") < equity < Decimal("0.42")
        assert stored.state.currency_code == project.currency_code
        assert stored.state.availability_start == project.financial_close_date
        balance = compute_balance(await view_ledger(book, DEMO, stored.id))
        position = balance.position
        assert 0 <= position.balance <= stored.state.commitment
        if project.status is ProjectStatus.FINANCIAL_CLOSE:
            assert position.balance == 0
        elif position.interest_overdue or balance.principal_arrears:
            in_arrears.add(project.status)
    assert in_arrears == {ProjectStatus.DEFAULTED}
    with_loan = {one.state.project_id for one in facilities}
    for key, project in projects.items():
        if project.status is ProjectStatus.CONSTRUCTION:
            assert key in with_loan
        if project.status in {ProjectStatus.PROPOSED, ProjectStatus.MANDATED}:
            assert key not in with_loan


async def test_covenants_are_sound_near_lockup_locked_up_in_default_and_waived(
    book: Dependencies,
) -> None:
    today = book.clock.now().date()
    covenants = {one.id: one.state for one in await read_all(book, COVENANT_KIND)}
    tests = [one.state for one in await read_all(book, COVENANT_TEST_KIND)]
    assert len(tests) == len(covenants)
    standings = Counter(fold_standing(one, today) for one in covenants.values())
    assert set(standings) == set(CovenantStanding)
    assert standings[CovenantStanding.OK] > 0.8 * len(covenants)
    assert sum(bool(one.waivers) for one in covenants.values()) == 1
    headroom = [
        Decimal(one.printed_ratio) - one.lockup_level
        for one in tests
        if one.printed_ratio is not None and one.lockup_level is not None
    ]
    assert len(headroom) == len(tests)
    assert any(0 < one < Decimal("0.03") for one in headroom)
    assert all(one.tested_on <= today for one in tests)


async def test_portfolios_hold_facilities_and_a_second_start_adds_nothing(
    book: Dependencies,
) -> None:
    names = {one.id: one.state.name for one in await read_all(book, PORTFOLIO_KIND)}
    assert sorted(names.values()) == ["Core infrastructure", "Euro renewables"]
    holdings = await read_all(book, HOLDING_KIND)
    assert {names[one.state.portfolio_id] for one in holdings} == set(names.values())
    position = await book.reads.position()
    assert await seed_missing_book(book, DEMO, projects=PROJECTS, seed=1) == 0
    assert await book.reads.position() == position


@pytest.mark.parametrize("commits", [1, 3, 40, 150, 260])
async def test_a_start_completes_the_book_of_one_that_was_interrupted(
    tmp_path: Path, commits: int
) -> None:
    async with open_test_dependencies(tmp_path) as dependencies:
        seeding = asyncio.ensure_future(
            seed_missing_book(dependencies, DEMO, projects=SMALL_BOOK, seed=1)
        )
        position = await dependencies.reads.position()
        while not seeding.done() and await count_journal(dependencies) < commits:
            position = await dependencies.reads.wait_for_change(position, 1.0)
        seeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await seeding
        await seed_missing_book(dependencies, DEMO, projects=SMALL_BOOK, seed=1)
        second_book = await summarize(dependencies)
        position = await dependencies.reads.position()
        assert await seed_missing_book(dependencies, DEMO, projects=SMALL_BOOK, seed=1) == 0
        assert await dependencies.reads.position() == position
    async with open_test_dependencies(tmp_path / "whole") as dependencies:
        await seed_missing_book(dependencies, DEMO, projects=SMALL_BOOK, seed=1)
        assert second_book == await summarize(dependencies)


class SlowReads:
    """Reads of a store, of which each fortieth takes too long."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._reads = dependencies.reads
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reads, name)

    async def get(self, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        if self.count % 40 == 0:
            raise DeadlineExceeded("The query waited longer than its time limit.")
        return await self._reads.get(*arguments, **options)


async def test_a_store_that_is_too_slow_gets_the_whole_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_book, "_PAUSES_S", (0.0,) * 50)
    books = []
    for name in ("slow", "quick"):
        async with open_test_dependencies(tmp_path / name) as dependencies:
            reads = SlowReads(dependencies)
            slow = msgspec.structs.replace(dependencies, reads=reads)
            chosen = slow if name == "slow" else dependencies
            assert await seed_missing_book(chosen, DEMO, projects=5, seed=1) == 5
            books.append(await summarize(dependencies))
    assert books[0] == books[1]


async def count_journal(dependencies: Dependencies) -> int:
    return await dependencies.reads.count_rows_after(None)


async def summarize(dependencies: Dependencies) -> list[Any]:
    """Return what a book has: versions of projects and ledgers, and the number of each kind."""
    projects = await read_all(dependencies, PROJECT_KIND)
    ledgers = Counter(one.state.facility_id for one in await read_all(dependencies, ENTRY_KIND))
    kinds = (FACILITY_KIND, COVENANT_KIND, COVENANT_TEST_KIND, PORTFOLIO_KIND, HOLDING_KIND)
    counts = [len(await read_all(dependencies, kind)) for kind in kinds]
    return [
        sorted((one.state.project_name, one.version) for one in projects),
        sorted(ledgers.values()),
        counts,
    ]
