"""The finance page contains the figures and pictures that the engine computes."""

import re
import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def deal_page() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "finance_deal.py"))


def test_the_figures_of_the_page_equal_the_engine(deal_page: dict[str, Any]) -> None:
    page = (DOCS / "finance.md").read_text()
    assert deal_page["render_page"](page, deal_page["Deal"]()) == page


def test_the_program_on_the_page_prints_its_stated_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (DOCS / "finance.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(program, {})  # noqa: S102 - our own page
    assert f"# {capsys.readouterr().out}" == program.splitlines(keepends=True)[-1]


def test_the_pictures_of_the_page_equal_the_engine(deal_page: dict[str, Any]) -> None:
    pictures = deal_page["render_pictures"](deal_page["Deal"]())
    assert len(pictures) == 3
    for name, picture in pictures.items():
        assert (DOCS / name).read_text() == picture
        svg = ET.fromstring(picture)  # noqa: S314 - drawn a line above
        assert len(list(svg)) > 10


def test_the_deal_satisfies_the_identities_on_the_page(deal_page: dict[str, Any]) -> None:
    deal = deal_page["Deal"]()
    result = deal.result
    assert result.llcr == pytest.approx(1.30, abs=1e-9)
    assert {round(row.dscr, 9) for row in deal.tenor} == {1.3}
    for row in result.construction:
        assert row.uses == pytest.approx(row.debt_draw + row.equity_draw)
    assert sum(row.debt_draw for row in result.construction) == pytest.approx(result.debt)
    assert sum(row.senior_principal for row in deal.tenor) == pytest.approx(result.debt)
    fees = sum(row.upfront_fee + row.commitment_fee for row in result.construction)
    assert fees == pytest.approx(result.fees_total)
    cost = sum(deal_page["CAPEX"]) + fees + result.idc_total + result.initial_dsra
    assert cost == pytest.approx(result.total_uses)
    assert result.debt + result.equity == pytest.approx(result.total_uses)
    assert any(test.waived for test in deal.covenant.tests)
