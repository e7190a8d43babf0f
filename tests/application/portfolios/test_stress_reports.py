"""Stress of a portfolio: figures by hand without shocks, by integrals with one, and exact sums."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from tests.application.portfolios.books import a_facility, a_holding, a_portfolio, a_project
from tests.application.portfolios.test_forecast_reports import record

from spawn.application.analysis.calculation import CalculationPool
from spawn.application.covenants.case_commands import create_case
from spawn.application.dependencies import Dependencies
from spawn.application.portfolios.exposure_reports import ReportQuery
from spawn.application.portfolios.forecast_reports import report_forecast
from spawn.application.portfolios.fx_rate_sets import RateSetInput, publish_rate_set
from spawn.application.portfolios.stress_reports import StressReport, report_stress
from spawn.application.projects.commands import CommandContext
from spawn.domain.covenants.cash_periods import CashPeriod
from spawn.domain.covenants.cfads_case import CaseKind, CaseTerms
from spawn.domain.errors import InvalidInput
from spawn.domain.facilities.facility import FacilityRepayment, RateBasis
from spawn.domain.facilities.ledger import EntryKind
from spawn.domain.finance.loans.loan_terms import RepaymentProfile
from spawn.domain.finance.simulation.monte_carlo_case import Loadings, Shock
from spawn.domain.portfolios.cash_flows import FlowInterval
from spawn.domain.portfolios.debt_service_stress import (
    StressShocks,
    StressTerms,
    build_stress_case,
)
from spawn.domain.principal import LOCAL_PRINCIPAL

ON = date(2026, 3, 31)
NO_INTEREST: dict[str, Any] = {"rate": RateBasis(fixed_rate=Decimal(0))}
UNIFORM = StressShocks(cfads=Shock(distribution="uniform", low=0.5, high=1.5))


@pytest.fixture
async def pool() -> AsyncIterator[CalculationPool]:
    pool = CalculationPool(deadline_s=60)
    yield pool
    pool.close()


def half_years(cfads: str, years: int = 10, first: int = 2026) -> tuple[CashPeriod, ...]:
    """Return periods that end with March and September."""
    starts = [
        date(first + number // 2, 4 if number % 2 == 0 else 10, 1)
        for number in range(2 * years + 1)
    ]
    return tuple(
        CashPeriod(
            starts_on=start,
            ends_on=date(start.year + (start.month == 10), 3 if start.month == 10 else 9, 30)
            + timedelta(days=start.month == 10),
            cfads=Decimal(cfads),
        )
        for start in starts[:-1]
    )


async def a_case(dependencies: Dependencies, project_id: str, cfads: str, **terms: Any) -> str:
    fields = {
        "name": "Base",
        "kind": CaseKind.BASE,
        "currency_code": "EUR",
        "periods": half_years(cfads),
        **terms,
    }
    saved = await create_case(
        dependencies, LOCAL_PRINCIPAL, project_id, CaseTerms(**fields), CommandContext()
    )
    assert saved.aggregate is not None
    return saved.aggregate.id


async def a_drawn_loan(
    dependencies: Dependencies, project_id: str, amount: str, **terms: Any
) -> str:
    facility_id = await a_facility(dependencies, project_id, **terms)
    await record(dependencies, facility_id, kind=EntryKind.DRAW, amount=Decimal(amount))
    return facility_id


async def stress(
    dependencies: Dependencies,
    pool: CalculationPool,
    portfolio_id: str,
    terms: StressTerms = StressTerms(),  # noqa: B008 -- frozen
    **query: Any,
) -> StressReport:
    return await report_stress(
        dependencies,
        pool,
        LOCAL_PRINCIPAL,
        portfolio_id,
        terms,
        ReportQuery(**{"on": ON, **query}),
    )


async def test_without_shocks_the_dscr_is_that_of_the_case_and_the_schedules(
    dependencies: Dependencies, pool: CalculationPool
) -> None:
    project_id = await a_project(dependencies)
    held_id = await a_drawn_loan(dependencies, project_id, "60000000.00")
    portfolio_id = await a_portfolio(dependencies)
    await a_holding(dependencies, portfolio_id, facility_id=held_id, share="100")
    await a_case(dependencies, project_id, "9999999.00", name="Older")
    case_id = await a_case(dependencies, project_id, "4000000.00")
    await a_case(dependencies, project_id, "1.00", kind=CaseKind.P90)
    flows = await report_forecast(
        dependencies, LOCAL_PRINCIPAL, portfolio_id, FlowInterval.MONTH, ReportQuery(on=ON)
    )
    service = [one.principal + one.interest for one in flows.periods if one.principal]
    assert len(service) == 20
    assert service[0] > 3 * 10**8

    report = await stress(dependencies, pool, portfolio_id)
    (project,) = report.projects
    assert (project.input.case.id, report.left_out) == (case_id, [])
    expected_dscr = 4 * 10**8 / max(service)
    assert project.figures.base_min_dscr == pytest.approx(expected_dscr, rel=1e-12)
    assert project.figures.min_dscr.p1 == project.figures.min_dscr.p99
    assert project.figures.min_dscr.p50 == project.figures.base_min_dscr
    unpaid = sum(max(one - 4 * 10**8, 0) for one in service)
    assert unpaid > 0
    assert project.figures.base_shortfall == project.figures.mean_shortfall == unpaid
    assert project.figures.uncovered_probability == 1.0
    assert report.total == project.figures

    # 20 periods of 10,000 scenarios: a hundred such projects are the most.
    terms = StressTerms(scenarios=10_000)
    assert len(build_stress_case(terms, [project.input] * 100).projects) == 100
    with pytest.raises(InvalidInput, match="use at most 20000000") as failure:
        build_stress_case(terms, [project.input] * 101)
    assert failure.value.errors[0].pointer == "/scenarios"


async def test_a_part_of_one_loan_bears_its_part_of_the_shortfall_of_all(
    dependencies: Dependencies, pool: CalculationPool
) -> None:
    project_id = await a_project(dependencies)
    held_id = await a_drawn_loan(dependencies, project_id, "40000000.00", **NO_INTEREST)
    await a_drawn_loan(dependencies, project_id, "20000000.00", name="Second", **NO_INTEREST)
    portfolio_id = await a_portfolio(dependencies)
    await a_holding(dependencies, portfolio_id, facility_id=held_id, share="1/2")
    await a_case(dependencies, project_id, "2000000.00")
    report = await stress(dependencies, pool, portfolio_id)
    (project,) = report.projects
    # 2 + 1 million of principal a half-year against 2 of CFADS; a third of the rest is held.
    assert project.figures.base_min_dscr == pytest.approx(2 / 3, rel=1e-12)
    assert project.figures.base_shortfall == round(Fraction(20 * 10**8, 3))
    assert (project.input.tested_from, project.input.tested_to) == (
        date(2026, 4, 1),
        date(2036, 3, 31),
    )


async def test_a_shock_gives_the_probability_and_the_mean_of_its_integral(
    dependencies: Dependencies, pool: CalculationPool
) -> None:
    project_id = await a_project(dependencies)
    facility_id = await a_drawn_loan(dependencies, project_id, "60000000.00", **NO_INTEREST)
    portfolio_id = await a_portfolio(dependencies)
    await a_holding(dependencies, portfolio_id, facility_id=facility_id, share="1/3")
    await a_case(dependencies, project_id, "4000000.00")
    terms = StressTerms(shocks=UNIFORM, scenarios=10_000, seed=3)
    report = await stress(dependencies, pool, portfolio_id, terms)
    assert report.total is not None
    # CFADS is 4f on 3 of debt service, f uniform on 0.5..1.5: uncovered if f < 0.75; the mean
    # shortfall of a half-year is the integral of 3 - 4f from 0.5 to 0.75: 0.125.
    assert report.total.uncovered_probability == pytest.approx(0.25, abs=0.015)
    assert report.total.mean_shortfall / 10**8 == pytest.approx(20 * 0.125 / 3, rel=0.05)
    assert report.total.min_dscr.p50 == pytest.approx(4 / 3, rel=0.02)
    assert report.total.shortfall.p50 == 0.0
    assert await stress(dependencies, pool, portfolio_id, terms) == report
    other = StressTerms(shocks=UNIFORM, scenarios=10_000, seed=4)
    assert (await stress(dependencies, pool, portfolio_id, other)).total != report.total


async def test_projects_add_up_to_the_total_and_move_together_by_their_loadings(
    dependencies: Dependencies, pool: CalculationPool
) -> None:
    portfolio_id = await a_portfolio(dependencies)
    for number in range(3):
        project_id = await a_project(dependencies, project_name=f"Farm {number}")
        facility_id = await a_drawn_loan(dependencies, project_id, "60000000.00", **NO_INTEREST)
        await a_holding(dependencies, portfolio_id, facility_id=facility_id, share="1/7")
        await a_case(dependencies, project_id, "4000000.00")

    def terms(loading: float) -> StressTerms:
        shock = Shock(distribution="uniform", low=0.5, high=1.5, loadings=Loadings(global_=loading))
        return StressTerms(shocks=StressShocks(cfads=shock), scenarios=4_000)

    own = await stress(dependencies, pool, portfolio_id, terms(0.0))
    common = await stress(dependencies, pool, portfolio_id, terms(1.0))
    for report in (own, common):
        assert report.total is not None
        parts = [one.figures for one in report.projects]
        assert sum(one.mean_shortfall for one in parts) == report.total.mean_shortfall
        assert sum(one.base_shortfall for one in parts) == report.total.base_shortfall
        assert report.total.base_min_dscr == min(one.base_min_dscr for one in parts)
    assert own.total is not None
    assert common.total is not None
    assert own.total.uncovered_probability == pytest.approx(1 - 0.75**3, abs=0.03)
    assert common.total.uncovered_probability == pytest.approx(0.25, abs=0.03)


async def test_a_rise_of_rates_costs_the_floating_part_alone(
    dependencies: Dependencies, pool: CalculationPool
) -> None:
    portfolio_id = await a_portfolio(dependencies)
    rates = StressShocks(rates=Shock(distribution="uniform", low=0.01, high=0.01))
    for rate in (RateBasis(fixed_rate=Decimal("0.04")), RateBasis(curve="EURIBOR")):
        project_id = await a_project(dependencies, project_name=f"Farm {rate.curve}")
        facility_id = await a_facility(dependencies, project_id, rate=rate)
        if rate.curve is not None:
            await record(
                dependencies, facility_id, kind=EntryKind.RATE_FIXING, rate=Decimal("0.04")
            )
        await record(dependencies, facility_id, kind=EntryKind.DRAW, amount=Decimal("60000000.00"))
        await a_holding(dependencies, portfolio_id, facility_id=facility_id, share="100")
        await a_case(dependencies, project_id, "9000000.00")
    report = await stress(dependencies, pool, portfolio_id, StressTerms(shocks=rates))
    figures = [one.figures for one in report.projects]
    assert figures[0].min_dscr.p50 == figures[0].base_min_dscr
    # 100 basis points on 60 million for half a year are 0.3 million more in the first period.
    service = 9 / figures[1].base_min_dscr
    assert 9 / figures[1].min_dscr.p50 == pytest.approx(service + 0.3, abs=0.001)


async def test_projects_that_cannot_be_tested_are_left_out_with_the_reason(
    dependencies: Dependencies, pool: CalculationPool
) -> None:
    portfolio_id = await a_portfolio(dependencies, fx_source="desk")
    reasons = {
        "tested": None,
        "no case": "no_case",
        "short": "case_too_short",
        "late": "case_too_late",
        "dollar": "missing_rate",
        "undrawn": "no_facility",
        "taken": "no_schedule",
    }
    for name in reasons:
        project_id = await a_project(dependencies, project_name=name)
        code = "USD" if name == "dollar" else "EUR"
        profile: RepaymentProfile = "annuity" if name == "taken" else "straight_line"
        facility_id = await a_facility(
            dependencies,
            project_id,
            currency_code=code,
            repayment=FacilityRepayment(profile=profile),
        )
        if name == "taken":
            await record(
                dependencies,
                facility_id,
                kind=EntryKind.OPENING,
                amount=Decimal("40000000.00"),
                accrued_interest=Decimal("9000000.00"),
            )
        elif name != "undrawn":
            amount = Decimal("60000000.00")
            await record(dependencies, facility_id, kind=EntryKind.DRAW, amount=amount)
        await a_holding(dependencies, portfolio_id, facility_id=facility_id, share="10")
        years = {"short": (9, 2026), "late": (10, 2027)}.get(name, (10, 2026))
        if name != "no case":
            periods = half_years("9000000.00", *years)
            await a_case(dependencies, project_id, "0", currency_code=code, periods=periods)
    report = await stress(dependencies, pool, portfolio_id)
    assert [one.input.project.project_name for one in report.projects] == ["tested"]
    found = {one.name: one.reason.value for one in report.left_out}
    assert found == {name: reason for name, reason in reasons.items() if reason is not None}

    await publish_rate_set(
        dependencies,
        LOCAL_PRINCIPAL,
        RateSetInput(on=ON, source="desk", base_currency="EUR", rates={"USD": Decimal("1.25")}),
    )
    report = await stress(dependencies, pool, portfolio_id)
    names = [one.input.project.project_name for one in report.projects]
    assert names == ["tested", "dollar"]
    # A ratio does not depend on the currency; what is not covered is worth a fifth less.
    tested, dollar = (one.figures for one in report.projects)
    assert dollar.base_min_dscr == pytest.approx(tested.base_min_dscr, rel=1e-9)


@pytest.mark.parametrize(
    ("terms", "pointer", "code"),
    [
        (StressTerms(scenarios=0), "/scenarios", "out_of_range"),
        (StressTerms(scenarios=10_001), "/scenarios", "out_of_range"),
        (StressTerms(seed=-1), "/seed", "out_of_range"),
        (
            StressTerms(shocks=StressShocks(cfads=Shock(distribution="uniform", low=1.0))),
            "/shocks/cfads/high",
            "required",
        ),
        (StressTerms(shocks=StressShocks(cfads_noise_sigma=9.0)), "/shocks/cfads_noise_sigma", ""),
    ],
)
async def test_terms_outside_their_limits_are_named(
    dependencies: Dependencies, pool: CalculationPool, terms: StressTerms, pointer: str, code: str
) -> None:
    portfolio_id = await a_portfolio(dependencies)
    with pytest.raises(InvalidInput) as failure:
        await stress(dependencies, pool, portfolio_id, terms)
    (error,) = failure.value.errors
    assert error.pointer == pointer
    assert code in {"", error.code}


async def test_a_portfolio_without_debt_has_no_total(
    dependencies: Dependencies, pool: CalculationPool
) -> None:
    report = await stress(dependencies, pool, await a_portfolio(dependencies))
    assert (report.total, report.projects, report.left_out) == (None, [], [])
