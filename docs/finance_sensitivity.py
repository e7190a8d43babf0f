"""Figures and pictures of `sensitivity.md` and `covenant-windows.md`, computed by the calculators.

`write_page()` writes them, as `finance_deal.py` does for its page; a test checks that pages and
pictures equal the computation.
"""

import json
import re
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spawn.application.analysis.calculation import Deadline
from spawn.application.analysis.calculators import CovenantCase, CovenantResult, calculate_covenants
from spawn.application.analysis.sensitivity.data_tables import TableAxis, TableCase, build_table
from spawn.domain.finance.covenants import to_exact_decimal
from spawn.domain.finance.coverage_ratios import CoverageCase
from spawn.domain.json_tokens import parse_object

HERE = Path(__file__).parent
_PLOTS = runpy.run_path(str(HERE / "finance_plots.py"))
draw_plot, draw_bars_from_centre = _PLOTS["draw_plot"], _PLOTS["draw_bars_from_centre"]
Series, Level = _PLOTS["Series"], _PLOTS["Level"]

SIZING = {
    "cfads": [9.8, 10.1, 10.05, 10.3, 9.9, 10.4, 10.2, 10.5, 10.1, 10.6, 10.3, 10.7],
    "annual_rates": 0.055,
    "target_dscr": 1.3,
    "months_per_period": 6,
    "tenor_periods": 10,
    "uses": {"capex": 90.0, "upfront_fee_share": 0.02, "dsra_months": 6},
}
INPUTS = {
    "CFADS": "/cfads",
    "capital cost": "/uses/capex",
    "target DSCR": "/target_dscr",
    "interest rate": "/annual_rates",
}
FACTORS = (0.9, 0.95, 1.0, 1.05, 1.1)
OUTPUT = "/equity_irr/effective_pa/0"


def tabulate(vary: str, factors: Sequence[float]) -> list[float]:
    """Return the equity IRR for each factor of an input, by the data table of the calculator."""
    axis = TableAxis(vary=vary, values=tuple(factors), change="factor")
    request = TableCase(
        case=parse_object(json.dumps(SIZING).encode()), rows=axis, outputs=(OUTPUT,)
    )
    steps = build_table("debt-sizing", request, deadline=Deadline())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return [cell.values[0] for (cell,) in end.value.cells]


def compute_rates() -> dict[str, list[float]]:
    """Return the equity IRR over the factors of each input."""
    return {name: tabulate(pointer, FACTORS) for name, pointer in INPUTS.items()}


CFADS = (30.0, 70.0, 29.0, 68.0, 27.0, 55.0, 30.0, 70.0, 33.0, 71.0)
"""Wind blows in the second half of each year; the third year is calm."""

INTEREST = (12.0, 11.2, 10.4, 9.5, 8.6, 7.7, 6.7, 5.7, 4.6, 3.5)
PRINCIPAL = (28.0, 28.8, 29.6, 30.5, 31.4, 32.3, 33.3, 34.3, 35.4, 36.5)


def run_window(back: int | None = None, ahead: int | None = None) -> CovenantResult:
    """Test the covenant over the ratios of one window or several."""
    coverage = CoverageCase(
        debt=sum(PRINCIPAL),
        cfads=CFADS,
        interest=INTEREST,
        principal=PRINCIPAL,
        period_rates=0.04,
        months_per_period=6,
        look_back_months=back,
        look_ahead_months=ahead,
    )
    case = CovenantCase(
        lockup_below=to_exact_decimal(1.15),
        coverage=coverage,
    )
    return calculate_covenants(case)


def list_states() -> dict[str, CovenantResult]:
    """Return the tests of the half year alone, of twelve months back, and ahead."""
    return {
        "half year": run_window(),
        "12 months back": run_window(back=12),
        "12 months ahead": run_window(ahead=12),
    }


def _render_rates() -> str:
    rates = compute_rates()
    lines = ["| input | " + " | ".join(f"{factor - 1:+.0%}" for factor in FACTORS) + " |"]
    lines.append("| --- " * (len(FACTORS) + 1) + "|")
    lines += [
        f"| {name} | " + " | ".join(f"{rate:.2%}" for rate in row) + " |"
        for name, row in rates.items()
    ]
    return "\n".join(lines)


def _render_windows() -> str:
    tests = {name: result.tests for name, result in list_states().items()}
    lines = ["| half year | CFADS | debt service | " + " | ".join(tests) + " |"]
    lines.append("| --- " * (len(tests) + 3) + "|")
    for index, cash in enumerate(CFADS):
        cells = [_format_test(each[index].ratio, each[index].state) for each in tests.values()]
        service = INTEREST[index] + PRINCIPAL[index]
        lines.append(f"| {index + 1} | {cash:g} | {service:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _format_test(ratio: Any, state: str) -> str:
    return "not tested" if ratio is None else f"{float(ratio):.3f} `{state}`"


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "sensitivity.md": {"rates": _render_rates},
    "covenant-windows.md": {"windows": _render_windows},
}


def render_page(page: str, sections: dict[str, Callable[[], str]]) -> str:
    """Return the page with each section between its markers computed again."""
    for name, section in sections.items():
        marker = re.compile(rf"(<!-- {name} -->)\n.*?(<!-- end -->)", re.DOTALL)
        text = section()
        page, count = marker.subn(lambda m, t=text: f"{m[1]}\n\n{t}\n\n{m[2]}", page)  # type: ignore[misc]  # t binds the text of this turn
        if count != 1:
            raise ValueError(f"the page must have one place for {name}, has {count}")
    return page


def render_pictures() -> dict[str, str]:
    """Return the tornado and the spider of the sizing, and the ratios of the covenant."""
    rates = compute_rates()
    percent = {name: [100.0 * rate for rate in row] for name, row in rates.items()}
    middle = percent["CFADS"][len(FACTORS) // 2]
    bars = sorted(
        ((name, row[0], row[-1]) for name, row in percent.items()),
        key=lambda bar: -abs(bar[2] - bar[1]),
    )
    states = list_states()
    return {
        "sensitivity-tornado.svg": draw_bars_from_centre(
            "Equity IRR at 90 % and 110 % of each input",
            unit="equity IRR, %",
            centre=middle,
            bars=bars,
        ),
        "sensitivity-spider.svg": draw_plot(
            "Equity IRR over the change of each input",
            unit="equity IRR, %",
            lines=[Series(name, row) for name, row in percent.items()],
            labels=[f"{factor - 1:+.0%}" for factor in FACTORS],
        ),
        "covenant-windows.svg": draw_plot(
            "DSCR of half years, and of twelve months back and ahead",
            unit="DSCR",
            lines=[
                Series(name, [None if t.ratio is None else float(t.ratio) for t in result.tests])
                for name, result in states.items()
            ],
            levels=[Level("lock-up", 1.15)],
            labels=[str(number) for number in range(1, len(CFADS) + 1)],
        ),
    }


def write_page() -> None:
    """Write the pages and their pictures."""
    for name, sections in PAGES.items():
        path = HERE / name
        path.write_text(render_page(path.read_text(), sections))
    for name, picture in render_pictures().items():
        (HERE / name).write_text(picture)


if __name__ == "__main__":
    write_page()
