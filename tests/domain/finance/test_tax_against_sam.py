"""Taxes beside the System Advisor Model, with its federal tax on."""

import random
from operator import sub
from typing import Any

import pytest
from tests.domain.finance.test_against_other_engines import random_terms, run_sam

from spawn.domain.finance.debt_sizing import size_debt
from spawn.domain.finance.debt_sizing_case import FundingUses, RepaymentMethod, SizingCase
from spawn.domain.finance.tax.depreciation import DepreciableAsset
from spawn.domain.finance.tax.tax_terms import TaxTerms
from spawn.testing.intensity import rounds

pytestmark = [pytest.mark.core, pytest.mark.slow]

CLASSES = ("macrs_5", "macrs_15", "sl_5", "sl_15", "sl_20", "sl_39", "custom")
TABLES = {
    "macrs_5": (0.2, 0.32, 0.192, 0.1152, 0.1152, 0.0576),
    "sl_20": (0.025, *[0.05] * 19, 0.025),
    "sl_5": (0.1, 0.2, 0.2, 0.2, 0.2, 0.1),
}
"""Shares of the cost by year: MACRS of five years, and straight lines with a half first year."""


def run_taxed(source: random.Random, repayment: RepaymentMethod, table: str) -> Any:
    """Run SAM with a federal tax, one depreciation class, and an income that is never negative."""
    terms = random_terms(source) | {"loan_moratorium": 0.0}
    tax: dict[str, Any] = {
        "federal_tax_rate": [source.choice([21.0, 28.0])],
        "ppa_price_input": [0.6],
        "depr_bonus_fed": 0.0,
        "itc_fed_percent": [0.0],
        "ptc_fed_amount": [0.0],
    }
    tax |= {f"depr_alloc_{name}_percent": 100.0 * (name == table) for name in CLASSES}
    model = run_sam(repayment, None, terms | tax)
    assert min(model.Outputs.cf_fedtax_income_prior_incentives[1:]) > 0.0
    return model, terms, tax["federal_tax_rate"][0] / 100.0


def size_taxed(model: Any, terms: Any, rate: float, repayment: RepaymentMethod, table: str) -> Any:
    """Size the same debt, with the tax that its interest leaves."""
    out = model.Outputs
    plant = DepreciableAsset(
        name="plant",
        cost=sum(out.cf_feddepr_total),
        method="table",
        shares_by_year=TABLES[table],
    )
    income = zip(out.cf_ebitda[1:], out.cf_reserve_interest[1:], strict=True)
    case = SizingCase(
        cfads=tuple(out.cf_ebitda[1:]),
        tenor_periods=int(terms["term_tenor"]),
        annual_rates=terms["term_int_rate"] / 100.0,
        repayment=repayment,
        share_of_cost=terms["debt_percent"] / 100.0,
        uses=FundingUses(
            capex=terms["total_installed_cost"],
            closing_cost=terms["cost_debt_closing"],
            other_financing_cost=terms["cost_other_financing"],
            construction_financing_cost=terms["construction_financing_cost"],
            upfront_fee_share=terms["cost_debt_fee"] / 100.0,
            dsra_months=terms["dscr_reserve_months"],
        ),
        cap_basis="pre_estimate",
        reserve_interest_rate=terms["reserves_interest"] / 100.0,
        tax=TaxTerms(rate=rate, assets=(plant,)),
        ebitda=tuple(ebitda + interest for ebitda, interest in income),
    )
    return size_debt(case)


def test_taxes_on_debt_equal_the_system_advisor_model() -> None:
    """Compare cases, in parts of the cost.

    SAM ends the iteration of its debt with up to 6e-9 of the cost left, as its own outputs show
    where the debt bears no fee; nothing is left of ours. So a few cases differ by more than 1e-9.
    """
    source, close, count = random.Random(11), 0, rounds(100, 300)
    for _ in range(count):
        repayment: RepaymentMethod = source.choice(["annuity", "straight_line"])
        table = source.choice(sorted(TABLES))
        model, terms, rate = run_taxed(source, repayment, table)
        out, ours = model.Outputs, size_taxed(model, terms, rate, repayment, table)
        differences = [
            ours.debt - out.size_of_debt,
            *(
                row.tax_paid + tax
                for row, tax in zip(ours.tax_rows, out.cf_fedtax[1:], strict=True)
            ),
            *map(sub, [row.depreciation for row in ours.tax_rows], out.cf_feddepr_total[1:]),
            *map(sub, ours.equity_cash_flow_after_tax, out.cf_project_return_aftertax),
        ]
        largest = max(map(abs, differences)) / out.cost_installed
        assert largest < 2e-8
        close += largest < 1e-9
    assert close >= count * 0.97
