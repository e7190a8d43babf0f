"""The deal of `three-facilities.md`: computes every figure and the picture of that page.

`write_page()` writes them into the page and beside it, as `finance_deal.py` does for its page.
"""

import re
import runpy
from collections.abc import Callable
from pathlib import Path

from spawn.domain.finance.deal.deal_case import DealCase, DealFacility
from spawn.domain.finance.deal.deal_result import DealFacilityResult, DealResult
from spawn.domain.finance.deal.joined_deal import model_deal
from spawn.domain.finance.facilities.rate_terms import MarginStep, RateTerms
from spawn.domain.finance.tax.depreciation import DepreciableAsset
from spawn.domain.finance.tax.tax_terms import TaxTerms

HERE = Path(__file__).parent
PAGE = HERE / "three-facilities.md"
_PLOTS = runpy.run_path(str(HERE / "finance_plots.py"))
_DEAL = runpy.run_path(str(HERE / "finance_deal.py"))
draw_plot, Series = _PLOTS["draw_plot"], _PLOTS["Series"]
markdown_table: Callable[..., str] = _DEAL["markdown_table"]

CONSTRUCTION, OPERATION, TENOR, TARGET = 4, 40, 30, 1.30
COSTS = (30.0, 46.0, 44.0, 30.0)


def _cfads(number: int) -> float:
    """Return the CFADS before tax of a half year, a windy winter after a calm summer."""
    season = 0.6 if number % 2 else -0.6
    return round((7.1 + season) * 1.006**number, 3)


def build_case() -> DealCase:
    """Build the deal, in millions of euros and half years."""
    term = DealFacility(
        name="term loan",
        target_dscr=TARGET,
        tenor_periods=TENOR,
        rate=RateTerms(
            base_rate=0.028,
            floor=0.0,
            hedged_share=0.75,
            swap_rate=0.030,
            margin=0.019,
            margin_steps=(MarginStep(from_period=15, margin=0.0215),),
        ),
        commitment_fee=0.0075,
        upfront_fee=0.02,
    )
    bank = DealFacility(
        name="development bank",
        commitment=32.0,
        profile="annuity",
        tenor_periods=26,
        rate=RateTerms(base_rate=0.034),
        commitment_fee=0.0025,
        upfront_fee=0.005,
    )
    mezzanine = DealFacility(
        name="mezzanine",
        kind="mezzanine",
        share=0.06,
        profile="straight_line",
        tenor_periods=34,
        rate=RateTerms(base_rate=0.085),
        capitalises_interest=True,
    )
    turbines = DepreciableAsset(name="plant", cost=150.0, life_years=20.0)
    return DealCase(
        construction_cost=COSTS,
        cfads=tuple(_cfads(number) for number in range(OPERATION)),
        months_per_period=6,
        facilities=(term, bank, mezzanine),
        max_gearing=0.85,
        dsra_months=6.0,
        lockup_below=1.10,
        tax=TaxTerms(rate=0.25, assets=(turbines,)),
    )


def _render_facilities(deal: DealResult) -> str:
    lines = [
        (
            each.name,
            f"{each.commitment:.3f}",
            f"{each.commitment / deal.total_uses:.1%}",
            f"{each.fees_total:.3f}",
            f"{each.capitalised_total:.3f}",
            f"{each.interest_total:.3f}",
            f"{each.repaid_total:.3f}",
        )
        for each in deal.facilities
    ]
    head = ("facility", "drawn", "of cost", "fees", "capitalised", "interest", "repaid")
    return markdown_table(head, lines)


def _render_construction(deal: DealResult) -> str:
    draws = [each.rows for each in deal.facilities]
    lines = [
        (
            row.period,
            *(f"{value:.3f}" for value in (row.cost, row.interest)),
            f"{row.upfront_fee + row.commitment_fee:.3f}",
            *(f"{value:.3f}" for value in (row.dsra_funding, row.uses)),
            *(f"{rows[row.period].draw:.3f}" for rows in draws),
            f"{row.equity_draw:.3f}",
        )
        for row in deal.construction
    ]
    names = ("term loan", "bank", "mezzanine", "equity")
    head = ("half year", "cost", "interest", "fees", "DSRA", "uses", *names)
    return markdown_table(head, lines)


def _render_figures(deal: DealResult) -> str:
    lines = (
        ("funded cost", f"{deal.total_uses:.3f}"),
        ("gearing", f"{deal.gearing:.2%}"),
        ("equity", f"{deal.equity:.3f}"),
        ("lowest DSCR", f"{deal.min_dscr:.3f} in half year {deal.min_dscr_period}"),
        ("LLCR", f"{deal.llcr:.3f}"),
        ("tax", f"{deal.total_tax:.3f}"),
        ("project IRR before tax", f"{deal.project_irr.effective_pa[0]:.2%}"),
        ("equity IRR", f"{deal.equity_irr.effective_pa[0]:.2%}"),
    )
    return markdown_table(("figure", ""), lines)


SECTIONS: dict[str, Callable[[DealResult], str]] = {
    "facilities": _render_facilities,
    "construction": _render_construction,
    "figures": _render_figures,
}


def _list_payments(each: DealFacilityResult) -> list[float]:
    """Return the payments of a facility in operation, and zero after its end."""
    rows = each.rows[CONSTRUCTION + 1 :]
    payments = [row.interest - row.capitalised + row.repaid for row in rows]
    return payments + [0.0] * (OPERATION - len(payments))


def render_pictures(deal: DealResult) -> dict[str, str]:
    """Render the SVG file of the page, by its name."""
    rows = deal.rows[CONSTRUCTION + 1 :]
    picture = draw_plot(
        "Payments to three facilities below the CFADS after tax, EUR million",
        unit="EUR million a half year",
        stacked=[Series(each.name, _list_payments(each)) for each in deal.facilities],
        lines=[Series("CFADS", [row.cfads for row in rows])],
        labels=[str(row.period) for row in rows],
    )
    return {"three-facilities-service.svg": picture}


def render_page(page: str, deal: DealResult) -> str:
    """Return the page with each section between its markers computed again."""
    for name, section in SECTIONS.items():
        marker = re.compile(rf"(<!-- {name} -->)\n.*?(<!-- end -->)", re.DOTALL)
        page, count = marker.subn(lambda m, s=section: f"{m[1]}\n\n{s(deal)}\n\n{m[2]}", page)  # type: ignore[misc]  # s binds the section of this turn
        if count != 1:
            raise ValueError(f"the page must have one place for {name}, has {count}")
    return page


def write_page() -> None:
    """Write the page and its picture."""
    deal = model_deal(build_case())
    PAGE.write_text(render_page(PAGE.read_text(), deal))
    for name, picture in render_pictures(deal).items():
        (HERE / name).write_text(picture)


if __name__ == "__main__":
    write_page()
