"""The deal of `finance.md`: computes every figure and picture of that page.

`write_page()` writes the figures into the page, between its `<!-- name -->` and `<!-- end -->`
markers, and the pictures beside it. The documentation's build calls it; a test checks that the page
equals the computation.
"""

import math
import re
import runpy
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from spawn.domain.finance.covenants import (
    CovenantTerms,
    WaiverRange,
    run_covenant_tests,
    to_exact_decimal,
    to_exact_decimals,
)
from spawn.domain.finance.deal.deal_case import DealCase, DealFacility, SponsorShare
from spawn.domain.finance.deal.deal_result import DealResult
from spawn.domain.finance.deal.joined_deal import model_deal
from spawn.domain.finance.facilities.rate_terms import RateTerms
from spawn.domain.finance.simulation.monte_carlo import simulate_portfolio
from spawn.domain.finance.simulation.monte_carlo_case import (
    CovenantLevel,
    Loadings,
    Shock,
    Shocks,
    SimulatedProject,
    SimulationCase,
    SimulationResult,
)
from spawn.domain.finance.time_base.business_calendar import (
    BusinessCalendar,
    BusinessDayRule,
)
from spawn.domain.finance.time_base.payment_dates import (
    PaymentDateTerms,
    PaymentFrequency,
    roll_payment_dates,
)
from spawn.domain.finance.waterfall.cash_waterfall import run_waterfall
from spawn.domain.finance.waterfall.waterfall_case import WaterfallCase
from spawn.domain.finance.waterfall.waterfall_result import WaterfallResult

HERE = Path(__file__).parent
PAGE = HERE / "finance.md"
_PLOTS = runpy.run_path(str(HERE / "finance_plots.py"))
_LOAN = runpy.run_path(str(HERE / "finance_loan.py"))
draw_plot, Series, Level = _PLOTS["draw_plot"], _PLOTS["Series"], _PLOTS["Level"]

START, END = date(2027, 3, 31), date(2054, 3, 31)
"""Financial close and the end of the project; operation begins after four half years."""

TENOR = 36
RATE, TARGET, FEE, MAX_GEARING = 0.055, 1.30, 0.02, 0.75
LOCKUP, RELEASE, DEFAULT = 1.15, 1.20, 1.05
REPAIR = 21
"""Half year of the repair, whose default the lenders waive."""

CAPEX = (22.0, 38.0, 41.0, 27.0)


class Deal:
    """Sierra Wind II, from its costs to its covenant, in millions of euros."""

    def __init__(self) -> None:
        dates = roll_payment_dates(
            PaymentDateTerms(
                start=START,
                end=END,
                frequency=PaymentFrequency.SEMI_ANNUAL,
                end_of_month=True,
                rule=BusinessDayRule.MODIFIED_FOLLOWING,
                calendar=BusinessCalendar(base="target"),
            )
        ).dates
        self.first = len(CAPEX)
        self.cfads = tuple(_p50(number) for number in range(len(dates) - 1 - self.first))
        self.result: DealResult = model_deal(
            DealCase(
                construction_cost=CAPEX,
                cfads=self.cfads,
                dates=dates,
                day_count="ACT/360",
                facilities=(
                    DealFacility(
                        name="term loan",
                        target_dscr=TARGET,
                        tenor_periods=TENOR,
                        rate=RateTerms(base_rate=RATE),
                        commitment_fee=0.008,
                        upfront_fee=FEE,
                    ),
                ),
                max_gearing=MAX_GEARING,
                dsra_months=6,
                sponsors=(
                    SponsorShare(name="Developer", share=0.6),
                    SponsorShare(name="Fund", share=0.4),
                ),
            )
        )
        self.operation = self.result.rows[self.first + 1 :]
        self.tenor = self.operation[:TENOR]
        self.downside = tuple(_downside(n, cash) for n, cash in enumerate(self.cfads[:TENOR]))
        self.waterfall: WaterfallResult = run_waterfall(
            WaterfallCase(
                cfads=self.downside,
                senior_interest=tuple(row.senior_interest for row in self.tenor),
                senior_principal=tuple(row.senior_principal for row in self.tenor),
                dsra_target=tuple(row.dsra_balance for row in self.tenor),
                dsra_open=self.result.initial_dsra,
                lockup_below=LOCKUP,
                lockup_release_at_or_above=RELEASE,
            )
        )
        ratios = to_exact_decimals(row.dscr for row in self.waterfall.rows)
        terms = CovenantTerms(
            lockup_below=to_exact_decimal(LOCKUP),
            lockup_release_at_or_above=to_exact_decimal(RELEASE),
            default_below=to_exact_decimal(DEFAULT),
            waivers=(WaiverRange(first=REPAIR, last=REPAIR),),
        )
        self.covenant = run_covenant_tests(terms, ratios)
        self.simulation: SimulationResult = simulate_portfolio(self._simulation_case())

    def _simulation_case(self) -> SimulationCase:
        before = (0.0,) * self.first
        project = SimulatedProject(
            name="Sierra Wind II",
            sector="wind",
            country_code="ESP",
            equity=tuple(row.equity_draw for row in self.result.construction),
            cfads=(*before, *self.cfads),
            interest=(*before, *(row.senior_interest for row in self.tenor)),
            principal=(*before, *(row.senior_principal for row in self.tenor)),
            hedged_share=0.8,
        )
        wind = Loadings(global_=0.2, sector=0.6, country=0.3)
        shocks = Shocks(
            cfads=Shock(distribution="lognormal", median=1.0, sigma=0.08, loadings=wind),
            cfads_noise_sigma=0.05,
            rates=Shock(distribution="normal", mean=0.0, standard_deviation=0.01),
        )
        return SimulationCase(
            projects=(project,),
            shocks=shocks,
            covenants=(
                CovenantLevel(name="lock-up", below=LOCKUP),
                CovenantLevel(name="default", below=DEFAULT),
            ),
            discount_rate=0.08,
            periods_per_year=2,
            scenarios=5_000,
            seed=2029,
        )


def _p50(number: int) -> float:
    """Return the CFADS of a half year: windy winters, slow growth, rounded to a thousand."""
    season = 0.46 * math.cos(math.pi * (number + 1))
    return round((5.55 + season) * 1.004**number, 3)


def _downside(number: int, cash: float) -> float:
    """Reduce CFADS for two years of low wind and a repair that costs a quarter of a summer."""
    factor = {6: 0.93, 7: 0.86, 8: 0.9, 9: 0.84, 20: 0.75}.get(number, 0.97)
    return round(cash * factor, 3)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _format_millions(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3f}"


def _format_share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _format_ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _render_construction(deal: Deal) -> str:
    rows = (
        (
            row.period,
            *map(_format_millions, (row.cost, row.interest, row.upfront_fee + row.commitment_fee)),
            *map(_format_millions, (row.dsra_funding, row.uses, row.debt_draw, row.equity_draw)),
        )
        for row in deal.result.construction
    )
    head = ("half year", "cost", "interest", "fees", "DSRA", "uses", "debt", "equity")
    return markdown_table(head, rows)


def _render_headline(deal: Deal) -> str:
    result = deal.result
    wal = f"{result.wal_years:.2f} years"
    rows = (
        ("debt", _format_millions(result.debt), f"binding: {result.binding}"),
        ("funded cost", _format_millions(result.total_uses), "costs, interest, fees, initial DSRA"),
        ("interest during construction", _format_millions(result.idc_total), "on what is drawn"),
        ("fees", _format_millions(result.fees_total), "upfront and commitment fee"),
        ("initial DSRA", _format_millions(result.initial_dsra), "the next six months"),
        ("gearing", _format_share(result.gearing), "debt / funded cost"),
        ("equity", _format_millions(result.equity), "funded cost - debt"),
        ("minimum DSCR", _format_ratio(result.min_dscr), "sculpted: equal in every period"),
        ("LLCR", _format_ratio(result.llcr), "equals the DSCR of sculpted debt"),
        ("PLCR", _format_ratio(result.plcr), "includes seven years after maturity"),
        ("average life", wal, "sum t P / sum P, from the end of construction"),
        ("project IRR", _format_share(result.project_irr.rate), "costs and CFADS, XIRR"),
        ("equity IRR", _format_share(result.equity_irr.rate), "all flows of sponsors, XIRR"),
    )
    return markdown_table(("figure", "EUR million", "how"), rows)


def _render_sponsors(deal: Deal) -> str:
    rows = (
        (each.name, f"{each.share:.0%}", *map(_format_millions, (each.paid_in, each.received)))
        for each in deal.result.sponsors
    )
    return markdown_table(("sponsor", "share", "paid in", "received"), rows)


def _render_schedule(deal: Deal) -> str:
    rows = deal.tenor
    balances = [deal.result.debt, *(row.senior_balance for row in rows)]
    sample = [*range(3), *range(17, 19), *range(TENOR - 2, TENOR)]
    lines = (
        (
            rows[t].date,
            *map(_format_millions, (rows[t].cfads, balances[t], rows[t].senior_interest)),
            *map(_format_millions, (rows[t].senior_principal, rows[t].debt_service)),
            _format_millions(balances[t + 1]),
            _format_ratio(rows[t].dscr),
        )
        for t in sample
    )
    head = ("date", "CFADS", "opening", "interest", "principal", "service", "closing", "DSCR")
    return markdown_table(head, lines)


def _render_tests(deal: Deal) -> str:
    pairs = list(zip(deal.waterfall.rows, deal.covenant.tests, strict=True))
    lines = (
        (
            deal.tenor[flow.period - 1].date,
            _format_millions(flow.cfads),
            _format_ratio(flow.dscr),
            f"`{test.state}`" + (", waived" if test.waived else ""),
            _format_millions(flow.dsra_draw),
            _format_millions(flow.distribution),
            _format_millions(flow.trapped_close),
        )
        for flow, test in pairs
        if test.state != "OK" or flow.dsra_draw or flow.trapped_close
    )
    head = ("date", "CFADS", "DSCR", "state", "DSRA drawn", "distributed", "trapped")
    return markdown_table(head, list(lines)[:12])


def _render_simulation(deal: Deal) -> str:
    portfolio = deal.simulation.portfolio
    spreads = (
        ("equity IRR", portfolio.irr, _format_share),
        ("NPV at 8 %", portfolio.npv, _format_millions),
    )
    lines = [
        (name, *(format_value(getattr(spread, f"p{level}")) for level in (5, 25, 50, 75, 95)))
        for name, spread, format_value in (
            *spreads,
            ("minimum DSCR", portfolio.min_dscr, _format_ratio),
        )
        if spread is not None
    ]
    probabilities = [
        (f"DSCR below {level.below:g} ({level.name})", _format_share(level.expected_share))
        for level in portfolio.breaches
    ]
    bars = [
        (
            bar.shock,
            f"{bar.low_value:.4g} … {bar.high_value:.4g}",
            _format_millions(bar.npv_low),
            _format_millions(bar.npv_high),
        )
        for bar in deal.simulation.tornado
    ]
    return "\n\n".join(
        (
            markdown_table(("", "P5", "P25", "P50", "P75", "P95"), lines),
            markdown_table(("in any half year", "probability"), probabilities),
            markdown_table(("shock", "P10 … P90", "NPV at P10", "NPV at P90"), bars),
        )
    )


def _render_loan(_: Deal) -> str:
    return markdown_table(
        _LOAN["LOAN_HEAD"], _LOAN["list_loan_lines"](_LOAN["build_bridge_loan"]())
    )


SECTIONS: dict[str, Callable[[Deal], str]] = {
    "loan": _render_loan,
    "construction": _render_construction,
    "headline": _render_headline,
    "sponsors": _render_sponsors,
    "schedule": _render_schedule,
    "tests": _render_tests,
    "simulation": _render_simulation,
}


def render_pictures(deal: Deal) -> dict[str, str]:
    """Render the SVG files of the page, by name."""
    rows = deal.tenor
    labels = [str(row.date.year) if row.date else "" for row in rows]
    balances = [deal.result.debt, *(row.senior_balance for row in rows[:-1])]
    return {
        "finance-service.svg": draw_plot(
            "CFADS and debt service by half year, EUR million",
            unit="EUR million a half year",
            stacked=[
                Series("interest", [row.senior_interest for row in rows]),
                Series("principal", [row.senior_principal for row in rows]),
            ],
            lines=[Series("CFADS", [row.cfads for row in rows])],
            labels=labels,
        ),
        "finance-balance.svg": draw_plot(
            "Debt outstanding by half year, EUR million",
            unit="EUR million",
            stacked=[Series("opening balance", balances)],
            labels=labels,
        ),
        "finance-dscr.svg": draw_plot(
            "DSCR of the base case and of the downside against the covenant levels",
            unit="DSCR",
            lines=[
                Series("base", [row.dscr for row in rows]),
                Series("downside", [row.dscr for row in deal.waterfall.rows]),
            ],
            levels=[Level("lock-up", LOCKUP), Level("default", DEFAULT)],
            low=0.9,
            labels=labels,
        ),
    }


def render_page(page: str, deal: Deal) -> str:
    """Return the page with each section between its markers computed again."""
    for name, section in SECTIONS.items():
        marker = re.compile(rf"(<!-- {name} -->)\n.*?(<!-- end -->)", re.DOTALL)
        page, count = marker.subn(lambda m, s=section: f"{m[1]}\n\n{s(deal)}\n\n{m[2]}", page)  # type: ignore[misc]  # s binds the section of this turn
        if count != 1:
            raise ValueError(f"the page must have one place for {name}, has {count}")
    return page


def write_page() -> None:
    """Write the page and its pictures."""
    deal = Deal()
    PAGE.write_text(render_page(PAGE.read_text(), deal))
    for name, picture in render_pictures(deal).items():
        (HERE / name).write_text(picture)


if __name__ == "__main__":
    write_page()
