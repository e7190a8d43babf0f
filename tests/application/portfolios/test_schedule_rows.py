"""The dataset of schedules: flows to the minor unit, whose groups add up to the total."""

import random
from collections import Counter
from decimal import Decimal

from tests.application.portfolios.books import a_facility, a_project
from tests.application.portfolios.test_forecast_reports import record

from spawn.application.datasets.schedule_rows import read_schedule_rows
from spawn.application.dependencies import Dependencies
from spawn.domain.facilities.facility import FacilityRepayment
from spawn.domain.facilities.ledger import EntryKind
from spawn.domain.finance.loans.loan_terms import RepaymentProfile
from spawn.domain.portfolios.flow_columns import FlowColumns, sum_flows

UNITS = {"EUR": 2, "USD": 2, "JPY": 0}


async def test_rows_amortise_what_is_drawn_and_their_groups_add_up_to_the_total(
    dependencies: Dependencies,
) -> None:
    figures = random.Random(11)
    draws: dict[str, Decimal] = {}
    profiles: tuple[RepaymentProfile, ...] = ("straight_line", "annuity", "bullet")
    for number in range(6):
        facility_id = await a_facility(
            dependencies,
            await a_project(dependencies),
            currency_code=("EUR", "USD", "JPY")[number % 3],
            commitment=Decimal(90_000_000),
            repayment=FacilityRepayment(profile=profiles[number // 2]),
        )
        draws[facility_id] = Decimal(figures.randrange(10**6, 9 * 10**7))
        await record(dependencies, facility_id, kind=EntryKind.DRAW, amount=draws[facility_id])
    await a_facility(dependencies, await a_project(dependencies))
    rows = [row async for row in read_schedule_rows(dependencies)]
    assert {row["facility_id"] for row in rows} == set(draws)

    for facility_id, amount in draws.items():
        own = [row for row in rows if row["facility_id"] == facility_id]
        assert [row["day"] for row in own] == sorted({row["day"] for row in own})
        assert sum(row["amortisation"] for row in own) == own[-1]["balance"] == 0
        assert sum(row["principal"] for row in own) == amount
        assert own[0]["balance"] == amount
        assert all(row["ledger_version"] == 1 for row in own)

    # Summed by facility and year in columns, as reports do, the flows have the same total.
    flows = FlowColumns()
    cells: dict[tuple[str, str, int], int] = {}
    totals: Counter[str] = Counter()
    for row in rows:
        code = row["currency_code"]
        units = int(row["interest"].scaleb(UNITS[code]))
        totals[code] += units
        cell = (code, row["facility_id"], row["day"].year)
        flows.add(cells.setdefault(cell, len(cells)), units)
    sums = sum_flows(flows)
    if dependencies.flow_totals is not None:
        assert await dependencies.flow_totals.sum_flows(flows) == sums
    by_currency: Counter[str] = Counter()
    for (code, _, _), number in cells.items():
        by_currency[code] += sums[number]
    assert by_currency == totals
