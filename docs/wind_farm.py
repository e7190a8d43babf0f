"""The wind farm of `wind_farm.md`: computes every figure and the picture of that page.

`write_page()` writes them into the page and beside it, as `finance_deal.py` does for its page.
"""

import re
import runpy
from collections.abc import Callable
from pathlib import Path

from spawn.domain.finance.cash_flow.cash_flow_build_up import build_cash_flow
from spawn.domain.finance.cash_flow.cash_flow_case import CashFlowCase, WorkingCapital
from spawn.domain.finance.cash_flow.cash_flow_lines import OperatingCost, RevenueLine
from spawn.domain.finance.cash_flow.cash_flow_result import CashFlowResult
from spawn.domain.finance.cash_flow.price_index import PriceIndex
from spawn.domain.finance.debt_sizing import size_debt
from spawn.domain.finance.debt_sizing_case import FundingUses, SizingCase
from spawn.domain.finance.debt_sizing_scenarios import SizingScenario
from spawn.domain.finance.sizing.sizing_result import SizingResult
from spawn.domain.finance.tax.depreciation import DepreciableAsset
from spawn.domain.finance.tax.tax_terms import TaxTerms

HERE = Path(__file__).parent
PAGE = HERE / "wind_farm.md"
_PLOTS = runpy.run_path(str(HERE / "finance_plots.py"))
_DEAL = runpy.run_path(str(HERE / "finance_deal.py"))
draw_plot, Series = _PLOTS["draw_plot"], _PLOTS["Series"]
markdown_table: Callable[..., str] = _DEAL["markdown_table"]

FIRST_YEAR, YEARS, TENOR, TARIFF_YEARS = 2030, 25, 16, 15
P50_GWH = 302.0
YIELDS = {"P50": 1.0, "P90": 0.871, "P99": 0.766}
"""Yearly output over P50; P90 is exceeded in 90 % of the years."""

TARGETS = {"P50": 1.35, "P99": 1.02}


def build_case(output: float) -> CashFlowResult:
    """Build the cash flow at a share of the P50 output, in millions of euros."""
    cpi = PriceIndex(name="CPI", annual_rate=0.02, base_years=3.0, step="year")
    return build_cash_flow(
        CashFlowCase(
            period_count=YEARS,
            indices=(cpi,),
            revenues=(
                RevenueLine(
                    name="power",
                    volume=P50_GWH * output,
                    availability=0.97,
                    degradation_pa=0.003,
                    price=0.061,
                    index="CPI",
                    indexed_share=0.5,
                    contract_periods=TARIFF_YEARS,
                    merchant_price=0.042,
                    merchant_index="CPI",
                ),
            ),
            operating_costs=(
                OperatingCost(name="operation", amount=3.6, index="CPI"),
                OperatingCost(name="balancing", unit_cost=0.0021, volume_of="power"),
                OperatingCost(name="land lease", revenue_share=0.025),
            ),
            working_capital=WorkingCapital(receivable_days=45.0, payable_days=30.0),
        )
    )


TAX = TaxTerms(
    rate=0.25,
    assets=(
        DepreciableAsset(
            name="turbines",
            cost=104.0,
            method="declining_balance",
            life_years=16.0,
            declining_rate=0.125,
        ),
        DepreciableAsset(name="civil works", cost=26.0, life_years=25.0),
    ),
    loss_use_share=0.7,
)


class WindFarm:
    """A wind farm whose lenders size on two yields, after tax."""

    def __init__(self) -> None:
        self.cash_flows = {name: build_case(output) for name, output in YIELDS.items()}
        self.sizing = self.size(TARGETS)

    def size(self, targets: dict[str, float], tax: TaxTerms | None = TAX) -> SizingResult:
        """Size the debt on some yields with a target each."""
        p50 = self.cash_flows["P50"]
        scenarios = tuple(
            SizingScenario(
                name=name,
                target_dscr=target,
                cfads=self.cash_flows[name].cfads_before_tax,
                ebitda=_list_ebitda(self.cash_flows[name]) if tax else None,
            )
            for name, target in targets.items()
        )
        return size_debt(
            SizingCase(
                cfads=p50.cfads_before_tax,
                annual_rates=0.055,
                tenor_periods=TENOR,
                sizing_scenarios=scenarios,
                uses=FundingUses(capex=134.0, upfront_fee_share=0.02, dsra_months=6.0),
                max_gearing=0.8,
                tax=tax,
                ebitda=_list_ebitda(p50) if tax else None,
            )
        )


def _list_ebitda(cash_flow: CashFlowResult) -> tuple[float, ...]:
    return tuple(row.ebitda for row in cash_flow.rows)


def _render_cash(farm: WindFarm) -> str:
    lines = []
    for t in (0, 1, 2, 9, 14, 15, 24):
        row = farm.cash_flows["P50"].rows[t]
        price = row.revenue / (farm.cash_flows["P50"].lines[0].volumes or ())[t]
        amounts = (row.revenue, row.operating_costs, row.ebitda, row.working_capital_increase)
        others = (f"{farm.cash_flows[name].rows[t].ebitda:.3f}" for name in ("P90", "P99"))
        lines.append(
            (FIRST_YEAR + t, f"{1e3 * price:.2f}", *(f"{value:.3f}" for value in amounts), *others)
        )
    head = ("year", "EUR/MWh", "revenue", "costs", "EBITDA", "more capital", "P90", "P99")
    return markdown_table(head, lines)


def _render_sizing(farm: WindFarm) -> str:
    cases = {
        "P50 / 1.35 and P99 / 1.02, after tax": farm.sizing,
        "P50 / 1.35 alone": farm.size({"P50": 1.35}),
        "P99 / 1.02 alone": farm.size({"P99": 1.02}),
        "both, before tax": farm.size(TARGETS, tax=None),
    }
    lines = [
        (
            name,
            f"{sizing.debt:.3f}",
            f"{sizing.gearing:.1%}",
            f"{sizing.wal_years:.2f} years",
            "-" if sizing.total_tax is None else f"{sizing.total_tax:.3f}",
        )
        for name, sizing in cases.items()
    ]
    return markdown_table(("sized on", "debt", "gearing", "average life", "tax"), lines)


def _render_tax(farm: WindFarm) -> str:
    lines = []
    for t in (0, 1, 2, 7, 12, 15, 16):
        tax = (farm.sizing.tax_rows or ())[t]
        amounts = (tax.ebitda, tax.depreciation, tax.interest, tax.income, tax.losses_used)
        rest = (tax.loss_balance, tax.tax_paid)
        lines.append((FIRST_YEAR + t, *(f"{value:.3f}" for value in (*amounts, *rest))))
    head = ("year", "EBITDA", "depreciation", "interest", "income", "losses used", "left", "tax")
    return markdown_table(head, lines)


def _render_service(farm: WindFarm) -> str:
    p50, p99 = farm.sizing.scenarios or ()
    lines = []
    for t in (0, 1, 5, 10, 13, 14, 15):
        row = farm.sizing.rows[t]
        amounts = (p50.cfads[t], p99.cfads[t], row.debt_service, row.closing_balance)
        ratios = (p50.dscr[t] or 0.0, p99.dscr[t] or 0.0)
        numbers = (f"{value:.3f}" for value in (*amounts, *ratios))
        lines.append((FIRST_YEAR + t, *numbers, row.binding_scenario))
    head = ("year", "CFADS P50", "CFADS P99", "service", "balance", "DSCR P50", "DSCR P99", "binds")
    return markdown_table(head, lines)


SECTIONS: dict[str, Callable[[WindFarm], str]] = {
    "cash": _render_cash,
    "sizing": _render_sizing,
    "tax": _render_tax,
    "service": _render_service,
}


def render_pictures(farm: WindFarm) -> dict[str, str]:
    """Render the SVG file of the page, by its name."""
    rows = farm.sizing.rows
    limits = [
        Series(
            f"{each.name} / {each.target_dscr[0]:.2f}",
            [cash / target for cash, target in zip(each.cfads, each.target_dscr, strict=True)],
        )
        for each in farm.sizing.scenarios or ()
    ]
    picture = draw_plot(
        "Debt service below the CFADS of two yields after tax over their targets, EUR million",
        unit="EUR million a year",
        stacked=[
            Series("interest", [row.interest for row in rows]),
            Series("principal", [row.principal for row in rows]),
        ],
        lines=limits,
        labels=[str(FIRST_YEAR + row.period - 1) for row in rows],
    )
    return {"wind-farm-service.svg": picture}


def render_page(page: str, farm: WindFarm) -> str:
    """Return the page with each section between its markers computed again."""
    for name, section in SECTIONS.items():
        marker = re.compile(rf"(<!-- {name} -->)\n.*?(<!-- end -->)", re.DOTALL)
        page, count = marker.subn(lambda m, s=section: f"{m[1]}\n\n{s(farm)}\n\n{m[2]}", page)  # type: ignore[misc]  # s binds the section of this turn
        if count != 1:
            raise ValueError(f"the page must have one place for {name}, has {count}")
    return page


def write_page() -> None:
    """Write the page and its picture."""
    farm = WindFarm()
    PAGE.write_text(render_page(PAGE.read_text(), farm))
    for name, picture in render_pictures(farm).items():
        (HERE / name).write_text(picture)


if __name__ == "__main__":
    write_page()
