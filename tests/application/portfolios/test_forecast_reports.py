"""Forecasts: the ladder adds up to what is outstanding, and averages are those of the schedules."""

import random
from collections import Counter
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from tests.application.portfolios.books import a_facility, a_holding, a_portfolio, a_project

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import FinanceContext
from spawn.application.facilities.ledger_commands import record_entry
from spawn.application.portfolios.exposure_reports import ReportQuery, report_exposure
from spawn.application.portfolios.forecast_reports import (
    ForecastReport,
    PeriodFlows,
    report_forecast,
)
from spawn.application.portfolios.fx_rate_sets import RateSetInput, publish_rate_set
from spawn.domain.facilities.facility import FacilityKind, FacilityRepayment, RateBasis
from spawn.domain.facilities.ledger import EntryFacts, EntryKind
from spawn.domain.finance.loans.loan_terms import RepaymentProfile
from spawn.domain.portfolios.cash_flows import FlowInterval, measure_average_life
from spawn.domain.portfolios.flow_columns import FlowColumns, sum_flows
from spawn.domain.portfolios.portfolio import ExposureKey
from spawn.domain.principal import LOCAL_PRINCIPAL

START = date(2026, 3, 31)
ON = date(2026, 9, 30)


async def record(dependencies: Dependencies, facility_id: str, **facts: object) -> None:
    fields = {"value_date": START, **facts}
    await record_entry(
        dependencies,
        LOCAL_PRINCIPAL,
        facility_id,
        EntryFacts(**fields),  # type: ignore[arg-type]  # a dict of fields
        FinanceContext(),
    )


async def forecast(
    dependencies: Dependencies,
    portfolio_id: str,
    interval: FlowInterval = FlowInterval.YEAR,
    by: ExposureKey | None = None,
) -> ForecastReport:
    return await report_forecast(
        dependencies, LOCAL_PRINCIPAL, portfolio_id, interval, ReportQuery(on=ON), by
    )


async def test_a_straight_line_is_repaid_in_equal_parts_after_the_day(
    dependencies: Dependencies,
) -> None:
    facility_id = await a_facility(dependencies, await a_project(dependencies))
    await record(dependencies, facility_id, kind=EntryKind.DRAW, amount=Decimal("90000000.00"))
    portfolio_id = await a_portfolio(dependencies)
    await a_holding(dependencies, portfolio_id, facility_id=facility_id, share="1/3")
    unpaid = await forecast(dependencies, portfolio_id)
    # 20 payments of 1.5 million each; the first of them is due on the day and was not paid.
    assert (unpaid.outstanding, unpaid.overdue, unpaid.unscheduled) == (3 * 10**9, 15 * 10**7, 0)
    years = {one.start.year: one.amortisation for one in unpaid.periods}
    assert years == {**dict.fromkeys(range(2027, 2036), 3 * 10**8), 2036: 15 * 10**7}
    assert unpaid.periods[-1].fixed == 3 * 10**9
    assert unpaid.average_rate == Fraction("0.045")
    assert unpaid.average_margin is None
    months = await forecast(dependencies, portfolio_id, FlowInterval.MONTH)
    assert sum(one.amortisation for one in months.periods) == 3 * 10**9 - 15 * 10**7
    assert {one.start.month for one in months.periods} == {3, 9}
    dates = [one.end.replace(day=30 if one.end.month == 9 else 31) for one in months.periods]
    expected = measure_average_life([(day, Fraction(1)) for day in dates], ON)
    assert months.average_life_years == expected


async def test_a_facility_without_a_schedule_does_not_hide_the_others(
    dependencies: Dependencies,
) -> None:
    project_id = await a_project(dependencies)
    portfolio_id = await a_portfolio(dependencies)
    repaid_id = await a_facility(dependencies, project_id)
    await record(dependencies, repaid_id, kind=EntryKind.DRAW, amount=Decimal("60000000.00"))
    taken_id = await a_facility(
        dependencies,
        project_id,
        name="Taken over",
        repayment=FacilityRepayment(profile="annuity"),
    )
    await record(
        dependencies,
        taken_id,
        kind=EntryKind.OPENING,
        amount=Decimal("40000000.00"),
        accrued_interest=Decimal("9000000.00"),
    )
    for facility_id, share in ((repaid_id, "1/2"), (taken_id, "1/4"), (taken_id, "1/8")):
        await a_holding(dependencies, portfolio_id, facility_id=facility_id, share=share)
    report = await forecast(dependencies, portfolio_id)
    # Half of 60 million, of which a twentieth is overdue; three eighths of 40 million.
    assert (report.outstanding, report.overdue) == (45 * 10**8, 15 * 10**7)
    assert report.unscheduled == 15 * 10**8
    (named,) = report.without_schedule
    assert (named.facility_id, named.name) == (taken_id, "Taken over")
    assert "does not cover its interest" in named.reason


async def test_fixed_and_floating_balances_add_up_to_what_is_outstanding(
    dependencies: Dependencies,
) -> None:
    project_id = await a_project(dependencies)
    portfolio_id = await a_portfolio(dependencies, fx_source="ecb")
    for rate in (RateBasis(fixed_rate=Decimal("0.05")), RateBasis(curve="SOFR")):
        facility_id = await a_facility(
            dependencies,
            project_id,
            name=f"Loan {rate.curve}",
            currency_code="USD",
            rate=rate,
            repayment=FacilityRepayment(profile="bullet"),
        )
        if rate.curve:
            await record(dependencies, facility_id, kind=EntryKind.RATE_FIXING, rate=Decimal(0))
        await record(dependencies, facility_id, kind=EntryKind.DRAW, amount=Decimal("100.01"))
        await a_holding(dependencies, portfolio_id, facility_id=facility_id, share="100")
    rates = RateSetInput(on=ON, source="ecb", base_currency="EUR", rates={"USD": Decimal(3)})
    await publish_rate_set(dependencies, LOCAL_PRINCIPAL, rates)
    report = await forecast(dependencies, portfolio_id)
    # Each is 33.336..., and both are 66.67.
    assert report.outstanding == 6_667
    assert sum(one.fixed + one.floating for one in report.periods) == 6_667


async def test_floating_rates_are_repriced_on_their_next_date_and_equity_has_no_schedule(
    dependencies: Dependencies,
) -> None:
    project_id = await a_project(dependencies)
    floating_id = await a_facility(
        dependencies,
        project_id,
        currency_code="USD",
        rate=RateBasis(curve="SOFR", margin=Decimal("0.02")),
        repayment=FacilityRepayment(profile="bullet"),
    )
    await record(dependencies, floating_id, kind=EntryKind.RATE_FIXING, rate=Decimal("0.03"))
    await record(dependencies, floating_id, kind=EntryKind.DRAW, amount=Decimal("1000.00"))
    equity_id = await a_facility(dependencies, project_id, kind=FacilityKind.EQUITY)
    await record(dependencies, equity_id, kind=EntryKind.DRAW, amount=Decimal("500.00"))
    portfolio_id = await a_portfolio(dependencies, fx_source="ecb")
    await a_holding(dependencies, portfolio_id, facility_id=floating_id, share="100")
    await a_holding(dependencies, portfolio_id, project_id=project_id, share="50")
    rates = RateSetInput(on=ON, source="ecb", base_currency="EUR", rates={"USD": Decimal(2)})
    await publish_rate_set(dependencies, LOCAL_PRINCIPAL, rates)
    one = await forecast(dependencies, portfolio_id)
    assert (one.outstanding, one.unscheduled) == (75_000, 25_000)
    floating = [(period.start.year, period.floating) for period in one.periods if period.floating]
    assert floating == [(2027, 50_000)]
    assert one.periods[-1].amortisation == 50_000
    assert one.average_margin == Fraction("0.02")
    assert one.average_rate == Fraction("0.05") * 50_000 / 75_000
    assert one.average_life_years == Fraction((date(2036, 3, 31) - ON).days, 365)


async def test_the_ladder_of_a_mixed_book_adds_up_to_its_exposure(
    dependencies: Dependencies,
) -> None:
    draw_figures = random.Random(7)
    portfolio_id = await a_portfolio(dependencies, fx_source="ecb")
    rates = {"USD": Decimal("1.0573"), "JPY": Decimal("160.94")}
    rate_input = RateSetInput(on=ON, source="ecb", base_currency="EUR", rates=rates)
    await publish_rate_set(dependencies, LOCAL_PRINCIPAL, rate_input)
    profiles: tuple[RepaymentProfile, ...] = ("straight_line", "annuity", "bullet")
    for number in range(9):
        code = ("EUR", "USD", "JPY")[number % 3]
        facility_id = await a_facility(
            dependencies,
            await a_project(dependencies),
            currency_code=code,
            commitment=Decimal(90_000_000),
            repayment=FacilityRepayment(profile=profiles[number // 3]),
        )
        amount = Decimal(draw_figures.randrange(10**6, 9 * 10**7))
        await record(dependencies, facility_id, kind=EntryKind.DRAW, amount=amount)
        share = f"{draw_figures.randrange(1, 97)}/97"
        await a_holding(dependencies, portfolio_id, facility_id=facility_id, share=share)
    exposure = await report_exposure(
        dependencies, LOCAL_PRINCIPAL, portfolio_id, (ExposureKey.KIND,), ReportQuery(on=ON)
    )
    for interval in FlowInterval:
        one = await forecast(dependencies, portfolio_id, interval)
        assert one.outstanding == exposure.exposure.total.outstanding
        ladder = sum(period.amortisation for period in one.periods)
        assert ladder + one.overdue + one.unscheduled == one.outstanding
        assert one.unscheduled == 0
        assert sum(period.fixed for period in one.periods) == one.outstanding
        for key in (ExposureKey.CURRENCY, ExposureKey.NAME, ExposureKey.KIND):
            detailed_report = await forecast(dependencies, portfolio_id, interval, key)
            assert detailed_report.periods == one.periods
            assert_adds_up(detailed_report)
    by_currency = await forecast(dependencies, portfolio_id, by=ExposureKey.CURRENCY)
    assert {group.value for group in by_currency.groups} == {"EUR", "USD", "JPY"}
    balances = [group.outstanding for group in by_currency.groups]
    assert balances == sorted(balances, reverse=True)


def assert_adds_up(report: ForecastReport) -> None:
    """Assert that each amount of a report is the sum of those of its groups."""
    for name in ("outstanding", "overdue", "unscheduled"):
        assert sum(getattr(one, name) for one in report.groups) == getattr(report, name)
    names = PeriodFlows.__struct_fields__[2:]
    sums: Counter[tuple[date, str]] = Counter()
    for group in report.groups:
        for period in group.periods:
            sums.update({(period.start, name): getattr(period, name) for name in names})
    assert {key: units for key, units in sums.items() if units} == {
        (period.start, name): getattr(period, name)
        for period in report.periods
        for name in names
        if getattr(period, name)
    }


@pytest.mark.parametrize("count", [0, 1, 5_000])
async def test_the_sums_of_flows_are_those_of_plain_python(
    dependencies: Dependencies, count: int
) -> None:
    figures, flows = random.Random(count), FlowColumns()
    for _ in range(count):
        flows.add(figures.randrange(7), figures.randrange(-(10**18), 10**18))
    for cell in (3, 99) if count else ():
        flows.add(cell, 2**63)
        flows.add(cell, -(2**63) - 1)
        flows.add(cell, 2**63 - 1)
    totals = dependencies.flow_totals
    assert totals is not None
    assert await totals.sum_flows(flows) == sum_flows(flows)
