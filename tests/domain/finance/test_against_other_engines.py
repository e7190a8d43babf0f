"""Random cases beside independent engines: QuantLib, PySAM, pyxirr and numpy-financial.

They are test oracles, never dependencies. Where one is not installed its tests are skipped, with
the reason in the summary; in CI (environment variable CI) they fail instead.
"""

import random
import sys
from datetime import date, timedelta
from typing import Any

import pytest
from tests.domain.finance.oracle_engines import (
    QUANTLIB_RULES,
    import_oracle,
    last_of_month,
    random_day,
)

from spawn.domain.finance.debt_sizing import size_debt
from spawn.domain.finance.debt_sizing_case import FundingUses, RepaymentMethod, SizingCase
from spawn.domain.finance.loans.loan_schedule import build_loan_schedule
from spawn.domain.finance.loans.loan_terms import LoanTerms
from spawn.domain.finance.returns.rates_of_return import irr, mirr, xirr
from spawn.domain.finance.time_base.business_calendar import (
    BusinessCalendar,
    BusinessDayRule,
)
from spawn.domain.finance.time_base.day_count import (
    AccrualPeriod,
    DayCount,
    add_months,
    count_days,
)
from spawn.domain.finance.time_base.payment_dates import (
    PaymentDateTerms,
    PaymentFrequency,
    StubKind,
    roll_payment_dates,
)

pytestmark = [pytest.mark.core, pytest.mark.slow]


def test_day_counts_equal_quantlib() -> None:
    ql, rng = import_oracle("QuantLib"), random.Random(1)
    theirs = {
        DayCount.ACT_360: ql.Actual360(),
        DayCount.ACT_365F: ql.Actual365Fixed(),
        DayCount.THIRTY_360: ql.Thirty360(ql.Thirty360.BondBasis),
        DayCount.THIRTY_E_360: ql.Thirty360(ql.Thirty360.EurobondBasis),
        DayCount.THIRTY_U_360: ql.Thirty360(ql.Thirty360.USA),
        DayCount.ACT_ACT_ISDA: ql.ActualActual(ql.ActualActual.ISDA),
    }
    for _ in range(2_000):
        start = random_day(rng)
        end = max(random_day(rng), start)
        maturity = rng.choice([end, random_day(rng)])
        theirs[DayCount.THIRTY_E_360_ISDA] = ql.Thirty360(
            ql.Thirty360.ISDA, ql.Date.from_date(maturity)
        )
        period = AccrualPeriod(start=start, end=end, maturity=maturity)
        for convention, counter in theirs.items():
            ours = count_days(convention, period)
            dates = ql.Date.from_date(start), ql.Date.from_date(end)
            assert ours.days == counter.dayCount(*dates), (convention, start, end, maturity)
            assert ours.year_fraction == pytest.approx(counter.yearFraction(*dates), abs=1e-12)


def test_icma_fractions_of_stubs_equal_quantlib() -> None:
    ql, rng = import_oracle("QuantLib"), random.Random(6)
    counter = ql.ActualActual(ql.ActualActual.ISMA)
    for _ in range(1_000):
        frequency = rng.choice([1, 2, 4, 12])
        opens = random_day(rng)
        closes = add_months(opens, 12 // frequency)
        start = opens + timedelta(rng.randrange(-20, (closes - opens).days))
        end = closes
        if start >= opens:
            end = start + timedelta(rng.randrange(1, (closes - start).days + 1))
        period = AccrualPeriod(
            start=start,
            end=end,
            reference_start=opens,
            reference_end=closes,
            frequency=frequency,
        )
        dates = (ql.Date.from_date(day) for day in (start, end, opens, closes))
        ours = count_days(DayCount.ACT_ACT_ICMA, period).year_fraction
        assert ours == pytest.approx(counter.yearFraction(*dates), abs=1e-12), period


def test_payment_dates_equal_quantlib() -> None:
    ql, rng = import_oracle("QuantLib"), random.Random(2)
    for _ in range(1_500):
        start = random_day(rng)
        end = start + timedelta(rng.randrange(100, 6_000))
        frequency = rng.choice(list(PaymentFrequency))
        rule = rng.choice(list(BusinessDayRule))
        stub: StubKind = rng.choice(["short_back", "short_front"])
        month_end = rng.random() < 0.5
        if month_end and rng.random() < 0.7:
            start, end = (
                (last_of_month(start), end) if stub == "short_back" else (start, last_of_month(end))
            )
        terms = PaymentDateTerms(
            start=start,
            end=end,
            frequency=frequency,
            stub=stub,
            end_of_month=month_end,
            rule=rule,
            calendar=BusinessCalendar(base="target"),
        )
        convention = getattr(ql, QUANTLIB_RULES[rule])
        schedule = ql.Schedule(
            ql.Date.from_date(start),
            ql.Date.from_date(end),
            ql.Period(frequency.months, ql.Months),
            ql.TARGET(),
            convention,
            convention,
            ql.DateGeneration.Forward if stub == "short_back" else ql.DateGeneration.Backward,
            terms.end_of_month,
        )
        assert list(roll_payment_dates(terms).dates) == [day.to_date() for day in schedule], terms


def test_loan_interest_equals_quantlib_bonds() -> None:
    ql, rng = import_oracle("QuantLib"), random.Random(3)
    for _ in range(60):
        start = random_day(rng)
        months = rng.choice([1, 3, 6, 12])
        schedule = ql.Schedule(
            ql.Date.from_date(start),
            ql.Date.from_date(start) + ql.Period(months * rng.randrange(2, 40), ql.Months),
            ql.Period(months, ql.Months),
            ql.NullCalendar(),
            ql.Unadjusted,
            ql.Unadjusted,
            ql.DateGeneration.Forward,
            False,  # noqa: FBT003 - no month-end rule, by position in the wrapper
        )
        dates = tuple(day.to_date() for day in schedule)
        count = len(dates) - 1
        rates = tuple(rng.uniform(0.0, 0.12) for _ in range(count))
        ours = build_loan_schedule(
            LoanTerms(
                principal=1e8,
                annual_rates=rates,
                profile=rng.choice(["annuity", "straight_line", "bullet"]),
                dates=dates,
                day_count="ACT/360",
            )
        )
        bond = ql.AmortizingFixedRateBond(
            0,
            [row.opening_balance for row in ours.rows],
            schedule,
            rates,
            ql.Actual360(),
            ql.Unadjusted,
        )
        interest = [
            flow.amount() for flow in bond.cashflows() if ql.as_fixed_rate_coupon(flow) is not None
        ]
        assert [row.interest for row in ours.rows] == pytest.approx(interest, abs=1e-5)


def test_rates_of_return_equal_pyxirr_and_numpy_financial() -> None:
    pyxirr, npf, rng = import_oracle("pyxirr"), import_oracle("numpy_financial"), random.Random(4)
    for _ in range(200):
        spent, earned = rng.randrange(1, 10), rng.randrange(1, 60)
        flows = [-rng.uniform(1.0, 100.0) for _ in range(spent)]
        flows += [rng.uniform(0.0, 40.0) for _ in range(earned)]
        flows[-1] += 1.0
        ours = irr(flows).rate
        assert ours is not None
        guided = pyxirr.irr(flows, guess=ours)
        assert ours == pytest.approx(guided, rel=1e-8, abs=1e-9)
        if -0.5 < ours < 1.0:
            assert ours == pytest.approx(float(npf.irr(flows)), abs=1e-8)
        dates = [
            date(2026, 1, 1) + timedelta(91 * k + rng.randrange(60)) for k in range(len(flows))
        ]
        dated = xirr(dates, flows).rate
        assert dated is not None
        assert dated == pytest.approx(pyxirr.xirr(dates, flows, guess=dated), rel=1e-8, abs=1e-9)
        assert mirr(flows, 0.07, 0.03) == pytest.approx(pyxirr.mirr(flows, 0.07, 0.03), rel=1e-10)


def test_level_payments_equal_the_functions_of_a_spreadsheet() -> None:
    npf, rng = import_oracle("numpy_financial"), random.Random(7)
    for _ in range(100):
        count, rate = rng.randrange(1, 400), rng.uniform(-0.01, 0.05)
        loan = build_loan_schedule(
            LoanTerms(
                principal=1000.0, annual_rates=rate, profile="annuity", accruals=(1.0,) * count
            )
        )
        terms = (rate, count, -1000.0)
        assert loan.level_payment == pytest.approx(float(npf.pmt(*terms)), rel=1e-9)
        number = rng.randrange(1, count + 1)
        row = loan.rows[number - 1]
        interest, principal = (
            float(function(rate, number, count, -1000.0)) for function in (npf.ipmt, npf.ppmt)
        )
        assert (row.interest, row.principal) == pytest.approx((interest, principal), abs=1e-6)


BARE = {
    "months_working_reserve": 0.0,
    "insurance_rate": 0.0,
    "federal_tax_rate": [0.0],
    "state_tax_rate": [0.0],
    "inflation_rate": 0.0,
    "om_fuel_cost": [0.0],
    "salvage_percentage": 0.0,
    "ppa_price_input": [0.06],
}


def run_sam(repayment: str, cap: float | None, terms: dict[str, float]) -> Any:
    """Run SAM's single-owner model with a flat 40 MW of output."""
    if sys.version_info >= (3, 14):
        pytest.skip("PySAM has no wheel for this Python")
    model = import_oracle("PySAM.Singleowner").default("CustomGenerationProfileSingleOwner")
    model.SystemOutput.gen = [40_000.0] * 8_760
    model.SystemOutput.system_pre_curtailment_kwac = [40_000.0] * 8_760
    model.SystemOutput.annual_energy_pre_curtailment_ac = 40_000.0 * 8_760
    model.FinancialParameters.system_capacity = 100_000.0
    options = {
        "debt_option": 1.0 if repayment == "sculpted" else 0.0,
        "payment_option": 1.0 if repayment == "straight_line" else 0.0,
        "dscr_limit_debt_fraction": 1.0 if cap else 0.0,
        "dscr_maximum_debt_fraction": 100.0 * (cap or 1.0),
    }
    for name, value in (BARE | options | terms).items():
        model.value(name, value)
    model.execute()
    return model  # its outputs do not outlive it


def random_terms(rng: random.Random) -> dict[str, float]:
    return {
        "total_installed_cost": rng.uniform(150e6, 300e6),
        "term_tenor": rng.choice([5.0, 12.0, 18.0, 25.0]),
        "term_int_rate": rng.choice([0.5, 4.0, 6.5, 11.0]),
        "dscr": rng.uniform(1.1, 1.8),
        "debt_percent": rng.uniform(30.0, 80.0),
        "cost_debt_fee": rng.choice([0.0, 2.75]),
        "cost_debt_closing": rng.choice([0.0, 450_000.0]),
        "cost_other_financing": rng.choice([0.0, 1e6]),
        "construction_financing_cost": rng.choice([0.0, 3e6]),
        "dscr_reserve_months": rng.choice([0.0, 6.0, 12.0]),
        "reserves_interest": rng.choice([0.0, 1.75]),
        "loan_moratorium": rng.choice([0.0, 2.0]),
    }


def size_like_sam(
    repayment: RepaymentMethod, cap: float | None, terms: dict[str, float], out: Any
) -> Any:
    tenor = int(terms["term_tenor"])
    sculpted = repayment == "sculpted"
    return size_debt(
        SizingCase(
            cfads=tuple(out.cf_cash_for_ds[1 : tenor + 1]),
            annual_rates=terms["term_int_rate"] / 100.0,
            repayment=repayment,
            target_dscr=terms["dscr"] if sculpted else None,
            share_of_cost=None if sculpted else terms["debt_percent"] / 100.0,
            grace_periods=0 if sculpted else int(terms["loan_moratorium"]),
            uses=FundingUses(
                capex=terms["total_installed_cost"],
                closing_cost=terms["cost_debt_closing"],
                other_financing_cost=terms["cost_other_financing"],
                construction_financing_cost=terms["construction_financing_cost"],
                upfront_fee_share=terms["cost_debt_fee"] / 100.0,
                dsra_months=terms["dscr_reserve_months"],
            ),
            max_gearing=cap,
            cap_basis="pre_estimate",
            allow_negative_amortisation=True,
            reserve_interest_rate=terms["reserves_interest"] / 100.0,
            project_cash_flow=tuple(out.cf_ebitda[1:]),
        )
    )


def test_sizings_equal_the_system_advisor_model() -> None:
    rng = random.Random(5)
    profiles: list[RepaymentMethod] = ["sculpted", "sculpted", "annuity", "straight_line"]
    for _ in range(24):
        repayment, terms = rng.choice(profiles), random_terms(rng)
        cap = rng.choice([None, 0.4, 0.6]) if repayment == "sculpted" else None
        model = run_sam(repayment, cap, terms)
        out = model.Outputs
        ours = size_like_sam(repayment, cap, terms, out)
        money = 1e-9 * out.cost_installed
        assert ours.debt == pytest.approx(out.size_of_debt, abs=money)
        assert ours.total_uses == pytest.approx(out.cost_installed, abs=money)
        service = out.cf_debt_payment_total[1 : len(ours.rows) + 1]
        assert [row.debt_service for row in ours.rows] == pytest.approx(service, abs=money)
        assert ours.dsra_balance == pytest.approx(out.cf_reserve_debtservice, abs=money)
        assert ours.equity_cash_flow == pytest.approx(out.cf_project_return_pretax, abs=money)
        assert ours.min_dscr == pytest.approx(out.min_dscr, abs=1e-9)
