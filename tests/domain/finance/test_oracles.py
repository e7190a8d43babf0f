"""Every oracle case, reproduced from its inputs inside its stated tolerance.

`oracles/README.md` and each file's `provenance` say which independent engine gave the figures.
"""

import math
import re

import msgspec
import pytest
from tests.domain.finance.oracle_cases import (
    CASES,
    Case,
    accrual_periods,
    annual_sizing,
    covenant_ratios,
    covenant_terms,
    dated_sizing,
    loan_terms,
    of_kind,
    parse_date,
    payment_date_terms,
)

from spawn.domain.finance.construction.construction_case import ConstructionCase
from spawn.domain.finance.construction.construction_funding import fund_construction
from spawn.domain.finance.covenants import run_covenant_tests
from spawn.domain.finance.debt_sizing import size_debt
from spawn.domain.finance.loans.annuity import cumipmt, cumprinc, ipmt, pmt, ppmt
from spawn.domain.finance.loans.loan_schedule import build_loan_schedule
from spawn.domain.finance.returns.rates_of_return import RateOutcome, irr, mirr, npv, xirr, xnpv
from spawn.domain.finance.time_base.day_count import count_days
from spawn.domain.finance.time_base.payment_dates import roll_payment_dates
from spawn.domain.finance.waterfall.cash_waterfall import run_waterfall
from spawn.domain.finance.waterfall.waterfall_case import WaterfallCase

pytestmark = pytest.mark.core


def test_every_oracle_file_is_run() -> None:
    kinds = {
        "cash_waterfall",
        "constant_payment_debt",
        "construction_funding_circularity",
        "covenant",
        "day_count",
        "irr_periodic",
        "loan_schedule",
        "payment_schedule",
        "published_examples",
        "sculpted_debt",
        "sculpted_debt_dated",
        "straight_line_debt",
        "xirr",
    }
    assert {case["kind"] for case in CASES} == kinds
    assert len(CASES) == 52


def assert_rates(outcome: RateOutcome, case: Case) -> None:
    expected = case["expected"]["all_real_roots_above_minus_1"]
    tolerance = case["tolerance"]
    assert (outcome.status == "unique") == case["expected"]["unique_root"]
    assert len(outcome.rates) == len(expected)
    for rate, expected_row in zip(outcome.rates, expected, strict=True):
        absolute = abs(rate - expected_row) <= tolerance["rate_abs"]
        assert absolute or abs(rate - expected_row) <= tolerance.get("rate_rel", 0.0) * abs(
            expected_row
        )


@of_kind("xirr")
def test_xirr_lists_every_root(case: Case) -> None:
    flows = case["inputs"]["flows"]
    assert_rates(xirr([parse_date(on) for on, _ in flows], [amount for _, amount in flows]), case)


@of_kind("irr_periodic")
def test_irr_lists_every_root_with_effective_rates(case: Case) -> None:
    outcome = irr(case["inputs"]["cash_flows"], case["inputs"]["periods_per_year"])
    assert_rates(outcome, case)
    effective = case["expected"]["effective_annual"]
    assert outcome.effective_pa == pytest.approx(effective, rel=1e-9, abs=1e-9)


@of_kind("day_count")
def test_day_counts(case: Case) -> None:
    for period, row in zip(accrual_periods(case), case["expected"], strict=True):
        counted = count_days(case["inputs"]["convention"], period)
        assert abs(counted.year_fraction - row["year_fraction"]) <= case["tolerance"]["abs"]
        assert counted.days == row.get("days", counted.days)


@of_kind("payment_schedule")
def test_payment_schedules(case: Case) -> None:
    dates = roll_payment_dates(payment_date_terms(case)).dates
    assert list(dates) == [parse_date(text) for text in case["expected"]["dates"]]


@of_kind("loan_schedule")
def test_loan_schedules(case: Case) -> None:
    schedule = build_loan_schedule(loan_terms(case))
    expected = case["expected"]
    money = case["tolerance"]["money_abs_per_100m"] * case["inputs"]["principal"] / 1e8
    for row, expected_row in zip(schedule.rows, expected["rows"], strict=True):
        assert row.date == parse_date(expected_row["date"])
        assert abs(row.accrual_fraction - expected_row["accrual_fraction"]) <= 1e-12
        assert abs(row.interest - expected_row["interest"]) <= money
        assert abs(row.principal - expected_row["principal"]) <= money
        assert abs(row.opening_balance - expected_row["opening_balance"]) <= money
    assert abs(schedule.total_interest - expected["total_interest"]) <= money
    assert abs(schedule.total_principal - expected["total_principal"]) <= money
    assert schedule.rows[-1].closing_balance == 0.0
    if "level_payment_numpy_financial" in expected:
        assert schedule.level_payment is not None
        assert abs(schedule.level_payment - expected["level_payment_numpy_financial"]) <= money


@of_kind("sculpted_debt_dated")
def test_dated_sculpting(case: Case) -> None:
    sizing, expected = size_debt(dated_sizing(case)), case["expected"]
    money = case["tolerance"]["money_abs_per_100m"] * expected["debt_size"] / 1e8
    assert abs(sizing.debt - expected["debt_size"]) <= money
    for row, expected_row in zip(sizing.rows, expected["rows"], strict=True):
        assert row.date == parse_date(expected_row["date"])
        assert abs(row.accrual_fraction - expected_row["accrual_fraction"]) <= 1e-12
        for name in ("interest", "principal", "opening_balance"):
            assert abs(getattr(row, name) - expected_row[name]) <= money, name
    for row, due in zip(sizing.rows, expected["debt_service"], strict=True):
        assert abs(row.debt_service - due) <= money
    assert abs(sizing.total_interest - expected["total_interest"]) <= money
    assert sizing.llcr == pytest.approx(expected["llcr_t0"], abs=1e-12)
    assert sizing.wal_years == pytest.approx(expected["wal_years_act365"], abs=1e-12)


@of_kind("sculpted_debt", "constant_payment_debt", "straight_line_debt")
def test_annual_debt_sizing(case: Case) -> None:
    sizing, expected = size_debt(annual_sizing(case)), case["expected"]
    money = case["tolerance"]["money_rel"] * expected["total_cost_funded"]
    ratio, rate = case["tolerance"]["ratio_abs"], case["tolerance"]["irr_abs"]
    series = {
        "closing_balance": [row.closing_balance for row in sizing.rows],
        "interest": [row.interest for row in sizing.rows],
        "principal": [row.principal for row in sizing.rows],
        "debt_service": [row.debt_service for row in sizing.rows],
        "dsra_balance_t0_onward": list(sizing.dsra_balance),
        "equity_cash_flow_pretax": list(sizing.equity_cash_flow),
        "equity_cash_flow_aftertax": list(sizing.equity_cash_flow_after_tax),
        "debt_size": [sizing.debt],
        "total_cost_funded": [sizing.total_uses],
        "equity": [sizing.equity],
        "upfront_fee": [sizing.upfront_fee],
        "opening_balance_t0": [sizing.rows[0].opening_balance],
    }
    for name, values in series.items():
        expected_row = expected[name] if isinstance(expected[name], list) else [expected[name]]
        assert values == pytest.approx(expected_row, rel=0, abs=money), name
    ratios = {
        "gearing": sizing.gearing,
        "min_dscr": sizing.min_dscr,
        "avg_dscr": sizing.avg_dscr,
        "llcr_t0": sizing.llcr,
        "plcr_t0": sizing.plcr,
        "wal_years": sizing.wal_years,
    }
    for name, value in ratios.items():
        assert value == pytest.approx(expected[name], rel=0, abs=ratio), name
    assert [row.dscr for row in sizing.rows] == pytest.approx(expected["dscr"], rel=0, abs=ratio)
    for outcome, name in (
        (sizing.equity_irr, "equity_irr_pretax"),
        (sizing.equity_irr_after_tax, "equity_irr_aftertax"),
    ):
        assert outcome is not None
        assert outcome.rate == pytest.approx(expected[name], rel=0, abs=rate), name


@of_kind("construction_funding_circularity")
def test_construction_funding(case: Case) -> None:
    expected = case["expected"]
    funding = fund_construction(msgspec.convert(case["inputs"], ConstructionCase))
    money = case["tolerance"]["money_rel"] * expected["total_uses"]
    for name in ("debt_commitment", "total_uses", "equity", "idc_total", "fees_total"):
        assert abs(getattr(funding, name) - expected[name]) <= money, name
    for row, expected_row in zip(funding.rows, expected["rows"], strict=True):
        for name, value in expected_row.items():
            assert abs(getattr(row, name) - value) <= money, name


@of_kind("cash_waterfall")
def test_waterfalls(case: Case) -> None:
    rows = run_waterfall(msgspec.convert(case["inputs"], WaterfallCase)).rows
    for row, expected_row in zip(rows, case["expected"]["rows"], strict=True):
        for name, value in expected_row.items():
            assert abs(getattr(row, name) - value) <= case["tolerance"]["amount_abs"], name


@of_kind("covenant")
def test_covenants(case: Case) -> None:
    result = run_covenant_tests(covenant_terms(case), covenant_ratios(case))
    assert [test.state for test in result.tests] == case["expected"]["state"]


def published_value(function: str, args: str) -> float:
    """Evaluate one line of the spreadsheet's documentation."""
    lines: dict[str, list[float]] = {}
    numbers = [
        float(text) / (12.0 if slash else 1.0)
        for text, slash in re.findall(r"(-?\d+(?:\.\d+)?)(/12)?(?=[,\]\.]|$)", args)
    ]
    lines[function] = numbers
    if function == "PMT":
        return pmt(numbers[0], int(numbers[1]), numbers[2])
    if function in {"IPMT", "PPMT"}:
        part = ipmt if function == "IPMT" else ppmt
        return part(numbers[0], int(numbers[1]), int(numbers[2]), numbers[3])
    if function in {"CUMIPMT", "CUMPRINC"}:
        total = cumipmt if function == "CUMIPMT" else cumprinc
        return total(0.09 / 12, 360, 125_000.0, 13, 24)
    if function.startswith("NPV"):
        return npv(numbers[0], numbers[1:], first_discounted=True)
    if function == "XNPV":
        flows = next(case for case in CASES if case["case_id"] == "xirr_01_excel_doc")
        rows = flows["inputs"]["flows"]
        return xnpv(0.09, [parse_date(on) for on, _ in rows], [amount for _, amount in rows])
    return mirr(numbers[:6], numbers[6], numbers[7])


@of_kind("published_examples")
def test_published_spreadsheet_examples(case: Case) -> None:
    for row in case["expected"]:
        value = published_value(row["function"], row["args"])
        relative = case["tolerance"]["computed_independently_rel"]
        assert math.isclose(value, row["computed_independently"], rel_tol=relative), row
        decimals = len(str(row["published"]).partition(".")[2])
        assert abs(value - row["published"]) <= 0.5000001 * 10.0**-decimals, row
