"""Exposure over 10,000 facilities, and sums of 10 million flows against the bare engine.

    python -m benchmarks.portfolio [--only exposure,book,flows] [--facilities 10000]

Times are of the processor, all threads together; the load of the machine is printed with them. The
flows are generated in the engine, and their drill-down is compared with its total to the cent.
"""

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb

from spawn.adapters.factory import open_store
from spawn.adapters.local.clock import SystemClock
from spawn.adapters.local.ids import Uuid7Ids
from spawn.adapters.local.spool import DirectorySpool
from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.adapters.workers.subprocess_workers import SubprocessWorkers
from spawn.application.dependencies import Dependencies
from spawn.application.events.journal_watch import JournalWatch
from spawn.application.facilities.facility_commands import FinanceContext
from spawn.application.facilities.ledger_commands import record_entry
from spawn.application.portfolios.books.balance_histories import BalanceFollower
from spawn.application.portfolios.exposure_reports import ReportQuery, report_exposure
from spawn.application.schemas.activation import ensure_active_schemas
from spawn.domain.change import Change, Write
from spawn.domain.events.event import DomainEvent
from spawn.domain.facilities.facility import (
    FACILITY_CREATED_EVENT,
    FACILITY_KIND,
    Facility,
    FacilityKind,
    FacilityRepayment,
    LenderShare,
    RateBasis,
)
from spawn.domain.facilities.ledger import (
    ENTRY_KIND,
    ENTRY_RECORDED_EVENT,
    LEDGER_KIND,
    EntryFacts,
    EntryKind,
    FacilityLedger,
    LedgerEntry,
    build_entry_id,
)
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency
from spawn.domain.portfolios.exposure import HeldExposure, PortfolioExposure, convert_units
from spawn.domain.portfolios.flow_columns import FlowColumns
from spawn.domain.portfolios.holding import HOLDING_CREATED_EVENT, HOLDING_KIND, Holding
from spawn.domain.portfolios.holding import ExposureKind as HeldKind
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND, ExposureKey, Portfolio
from spawn.domain.principal import LOCAL_PRINCIPAL
from spawn.domain.projects.project import CREATED_EVENT, PROJECT_KIND, Project
from spawn.entrypoints.settings import Settings
from spawn.ports.analytics import FlowTotals

FACILITIES = 10_000
FLOWS = 10_000_000
ROUNDS = 5
COMMIT_WRITES = 1_000
START = date(2024, 3, 31)
DRAWN = (Decimal("30000000.00"), Decimal("30000000.00"))
COUNTRIES = ("ESP", "PRT", "FRA", "DEU", "GBR", "ITA")
SECTORS = ("wind", "solar", "road", "rail")
KEYS = (ExposureKey.COUNTRY, ExposureKey.SECTOR, ExposureKey.CURRENCY, ExposureKey.RATING)
RATES = {"EUR": Fraction(1), "USD": Fraction(10000, 10573), "GBP": Fraction(10000, 8312)}
CODES = tuple(sorted(RATES))
MONTHS = 240
GROUPS = (len(COUNTRIES), len(SECTORS), len(CODES), MONTHS)
"""Values of each key of a flow; the number of a cell counts their combinations."""


def build_exposures() -> list[HeldExposure]:
    """Return the parts of a portfolio with 10,000 facilities."""
    figures = random.Random(1)
    parts = []
    for number in range(FACILITIES):
        code = figures.choice(CODES)
        keys = {
            ExposureKey.COUNTRY: figures.choice(COUNTRIES),
            ExposureKey.SECTOR: figures.choice(SECTORS),
            ExposureKey.RATING: figures.choice(["BBB", "BB", "B", None]),
            ExposureKey.CURRENCY: code,
            ExposureKey.NAME: f"Project {number}",
            ExposureKey.KIND: "senior",
        }
        parts.append(
            HeldExposure(
                holding_id=str(number),
                exposure_id=str(number),
                project_id=str(number),
                currency_code=code,
                outstanding=figures.randrange(10**10),
                undrawn=figures.randrange(10**9),
                keys=keys,
            )
        )
    return parts


def measure_exposure() -> None:
    """Print the time of an exposure by four keys."""
    parts = build_exposures()
    seconds = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        exposure = PortfolioExposure(parts, "EUR", RATES.__getitem__)
        rows = exposure.drill_down(KEYS)
        seconds.append(time.thread_time() - start)
        assert sum(r.amounts.total for r in rows if len(r.values) == 1) == exposure.total.total
    print(f"exposure by 4 keys over {FACILITIES:,} facilities: {min(seconds) * 1000:.1f} ms")


async def open_dependencies(folder: Path) -> Dependencies:
    """Return the ports over a store in a folder, as a new process has them."""
    store = await open_store(f"duckdb:///{folder / 'store.duckdb'}", clock=SystemClock())
    dependencies = Dependencies(
        commands=store,
        reads=store,
        bookmarks=store,
        derived_documents=store,
        control=store,
        schemas=store,
        quality=store,
        registry=BundledRegistry(),
        spool=DirectorySpool(folder / "spool", reserve_bytes=0),
        workers=SubprocessWorkers(),
        clock=SystemClock(),
        ids=Uuid7Ids(),
    )
    await ensure_active_schemas(dependencies, Settings().schema_policies)
    return dependencies


def build_loan(facility_id: str, project_id: str) -> Facility:
    """Return a loan of twelve years with half-yearly payments."""
    end = date(2036, 3, 31)
    return Facility(
        facility_id=facility_id,
        project_id=project_id,
        name="Loan",
        kind=FacilityKind.SENIOR,
        currency_code="EUR",
        commitment=Decimal("90000000.00"),
        availability_start=START,
        availability_end=date(2027, 12, 31),
        lenders=(LenderShare(lender="Bank", share=Decimal(100)),),
        rate=RateBasis(fixed_rate=Decimal("0.045")),
        day_count="ACT/365F",
        payment_dates=PaymentDateTerms(
            start=START, end=end, frequency=PaymentFrequency.SEMI_ANNUAL
        ),
        repayment=FacilityRepayment(profile="straight_line"),
        maturity_date=end,
    )


Recorded = tuple[Write, DomainEvent | None]


def record(kind: str, key: str, state: Any, event: str | None, version: int = 0) -> Recorded:
    """Return a write with its event."""
    write = Write(kind, key, version, state)
    return write, None if event is None else DomainEvent(type=event, kind=kind, id=key, changed=())


class BookWriter:
    """Writer of a portfolio that holds facilities, two of each project, with two draws each."""

    def __init__(self, dependencies: Dependencies, facilities: int) -> None:
        self._dependencies = dependencies
        self._count = facilities
        self._figures = random.Random(1)
        self.portfolio_id = dependencies.ids.new()
        self.loans: list[tuple[str, str]] = []

    async def write(self) -> None:
        """Write the book, and derive its balance histories."""
        await self._commit(self._list_positions())
        for number in range(1, len(DRAWN) + 1):
            await self._commit(self._list_draws(number))
        watch = JournalWatch(self._dependencies.reads)
        await BalanceFollower(self._dependencies, watch).catch_up()

    async def _commit(self, records: Iterator[Recorded]) -> None:
        version = (await self._dependencies.active_schema()).schema.version
        while batch := [one for _, one in zip(range(COMMIT_WRITES), records, strict=False)]:
            change = Change(
                writes=tuple(write for write, _ in batch),
                events=tuple(event for _, event in batch if event is not None),
                actor="benchmark",
                schema_version=version,
            )
            await self._dependencies.commands.commit(change)

    def _list_positions(self) -> Iterator[Recorded]:
        new_id, choose = self._dependencies.ids.new, self._figures.choice
        key = self.portfolio_id
        portfolio = Portfolio(portfolio_id=key, name="Debt", currency_code="EUR")
        yield record(PORTFOLIO_KIND, key, portfolio, None)
        project_id = ""
        for number in range(self._count):
            if number % 2 == 0:
                project_id = new_id()
                project = Project(
                    project_id=project_id,
                    project_name=f"Project {number}",
                    total_amount=Decimal("125000000.00"),
                    currency_code="EUR",
                    country_code=choose(COUNTRIES),
                    sector=choose(SECTORS),
                )
                yield record(PROJECT_KIND, project_id, project, CREATED_EVENT)
            loan_id, holding_id = new_id(), new_id()
            self.loans.append((loan_id, project_id))
            loan = build_loan(loan_id, project_id)
            yield record(FACILITY_KIND, loan_id, loan, FACILITY_CREATED_EVENT)
            holding = Holding(
                holding_id=holding_id,
                portfolio_id=key,
                exposure_kind=HeldKind.FACILITY,
                exposure_id=loan_id,
                project_id=project_id,
                share=choose(["100", "50", "1/3"]),
                since=START,
            )
            yield record(HOLDING_KIND, holding_id, holding, HOLDING_CREATED_EVENT)

    def _list_draws(self, number: int) -> Iterator[Recorded]:
        for loan_id, project_id in self.loans:
            ledger = FacilityLedger(facility_id=loan_id, project_id=project_id, entries=number)
            yield record(LEDGER_KIND, loan_id, ledger, None, number - 1)
            entry_id = build_entry_id(loan_id, number)
            entry = LedgerEntry(
                entry_id=entry_id,
                facility_id=loan_id,
                project_id=project_id,
                number=number,
                currency_code="EUR",
                kind=EntryKind.DRAW,
                value_date=START + timedelta(days=90 * number),
                amount=DRAWN[number - 1],
            )
            yield record(ENTRY_KIND, entry_id, entry, ENTRY_RECORDED_EVENT)


async def measure_book(facilities: int) -> None:
    """Print the time of the first report of a process, and of those after it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dependencies = await open_dependencies(folder)
        book = BookWriter(dependencies, facilities)
        await book.write()
        await dependencies.control.close()
        dependencies = await open_dependencies(folder)
        day, other_day = date(2026, 3, 31), date(2026, 6, 30)
        print(f"stored book of {facilities:,} facilities, a report by 4 keys:")
        await report("the first of a process", dependencies, book.portfolio_id, day)
        await report("the same again", dependencies, book.portfolio_id, day)
        await report("of another day", dependencies, book.portfolio_id, other_day)
        facts = EntryFacts(
            kind=EntryKind.PREPAYMENT, value_date=date(2026, 1, 31), amount=Decimal("1000.00")
        )
        for loan_id, _ in book.loans[:2]:
            await record_entry(dependencies, LOCAL_PRINCIPAL, loan_id, facts, FinanceContext())
            await report("after a prepayment", dependencies, book.portfolio_id, day)
        await dependencies.control.close()


async def report(title: str, dependencies: Dependencies, portfolio_id: str, on: date) -> None:
    """Make a report and print its time: of all threads, and of the event loop alone."""
    process_s, loop_s = time.process_time(), time.thread_time()
    query = ReportQuery(on=on)
    one = await report_exposure(dependencies, LOCAL_PRINCIPAL, portfolio_id, KEYS, query)
    process_s, loop_s = time.process_time() - process_s, time.thread_time() - loop_s
    groups = [row.amounts.total for row in one.groups if len(row.values) == 1]
    assert sum(groups) == one.exposure.total.total
    print(f"  {title}: {process_s * 1000:.0f} ms, {loop_s * 1000:.0f} ms of the event loop")


def generate_flows(engine: duckdb.DuckDBPyConnection) -> FlowColumns:
    """Return flows of a book by country, sector, currency and month, generated in the engine."""
    cells = 1
    for count in GROUPS:
        cells *= count
    rows = engine.execute(
        "select (hash(i) % ?)::bigint cell, (hash(i + 1) % 11000000000)::bigint - 1000000000 units"
        " from range(?) r(i)",
        [cells, FLOWS],
    ).fetchnumpy()
    flows = FlowColumns()
    flows.cells.frombytes(rows["cell"].tobytes())
    flows.units.frombytes(rows["units"].tobytes())
    return flows


def check_drill_down(sums: dict[int, int], total: int) -> None:
    """Check that the groups of every level add up to the total, before and after conversion."""
    assert sum(sums.values()) == total
    cells = sorted(sums)
    natives = [(sums[cell], CODES[cell // MONTHS % len(CODES)]) for cell in cells]
    exact = sum((units * RATES[code] for units, code in natives), Fraction(0))
    converted = convert_units(natives, "EUR", RATES)
    assert sum(converted) == round(exact)
    divisor = 1
    for count in reversed(GROUPS):
        groups: dict[int, int] = {}
        for cell, units in zip(cells, converted, strict=True):
            groups[cell // divisor] = groups.get(cell // divisor, 0) + units
        assert sum(groups.values()) == round(exact)
        divisor *= count


async def measure_flows() -> None:
    """Print the time of exact sums over 10 million flows, and its ratio to the bare engine's."""
    bare = duckdb.connect(config={"threads": 1})  # as many as a query of the store
    flows = generate_flows(bare)
    import numpy as np

    columns = {
        "cell": np.frombuffer(flows.cells, dtype=np.int64),
        "units": np.frombuffer(flows.units, dtype=np.int64),
    }
    bare.register("flows", columns)
    total = int(bare.execute("select sum(units) from flows").fetchall()[0][0])
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(f"duckdb:///{Path(folder) / 'store.duckdb'}", clock=SystemClock())
        assert isinstance(store, FlowTotals)
        totals: FlowTotals = store

        async def sum_bare() -> dict[int, int]:
            query = "select cell, sum(units) from flows group by cell"
            return dict(bare.execute(query).fetchall())

        async def sum_store() -> dict[int, int]:
            return await totals.sum_flows(flows)

        ratios = []
        for _ in range(ROUNDS):
            bare_s, expected = await _time(sum_bare)
            store_s, sums = await _time(sum_store)
            assert sums == expected
            ratios.append((store_s / bare_s, store_s, bare_s))
        await store.close()
    check_drill_down(sums, total)
    ratio, store_s, bare_s = sorted(ratios)[len(ratios) // 2]
    print(
        f"sums of {FLOWS:,} flows in {len(sums):,} cells: {store_s * 1000:.0f} ms, bare engine "
        f"{bare_s * 1000:.0f} ms, ratio {ratio:.2f} (median of {ROUNDS}); every level of the "
        "drill-down adds up to the total to the cent"
    )


async def _time(work: Callable[[], Awaitable[dict[int, int]]]) -> tuple[float, dict[int, int]]:
    start = time.process_time()
    result = await work()
    return time.process_time() - start, result


def main() -> None:
    """Run the measurements that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="exposure,book,flows")
    parser.add_argument("--facilities", type=int, default=FACILITIES)
    arguments = parser.parse_args()
    names: list[str] = arguments.only.split(",")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; processor time")
    if "exposure" in names:
        measure_exposure()
    if "book" in names:
        asyncio.run(measure_book(arguments.facilities))
    if "flows" in names:
        asyncio.run(measure_flows())


if __name__ == "__main__":
    main()
