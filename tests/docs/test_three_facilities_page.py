"""The page of the three facilities contains the figures and the picture of the engine."""

import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def page_script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "three_facilities.py"))


@pytest.fixture(scope="module")
def deal(page_script: dict[str, Any]) -> Any:
    return page_script["model_deal"](page_script["build_case"]())


def test_the_figures_of_the_page_equal_the_engine(page_script: dict[str, Any], deal: Any) -> None:
    page = (DOCS / "three-facilities.md").read_text()
    assert page_script["render_page"](page, deal) == page


def test_the_picture_of_the_page_equals_the_engine(page_script: dict[str, Any], deal: Any) -> None:
    ((name, picture),) = page_script["render_pictures"](deal).items()
    assert (DOCS / name).read_text() == picture
    svg = ET.fromstring(picture)  # noqa: S314 - drawn a line above
    assert len(list(svg)) > 10


def test_the_deal_satisfies_the_sentences_on_the_page(deal: Any) -> None:
    term, bank, mezzanine = deal.facilities
    for each in deal.facilities:
        assert each.repaid_total == pytest.approx(each.drawn_total + each.capitalised_total)
        assert each.closing_balance == pytest.approx(0.0, abs=1e-9)
    assert bank.commitment == 32.0
    assert mezzanine.commitment == pytest.approx(0.06 * deal.total_uses)
    payments = {row.period: row.interest + row.repaid for row in bank.rows[5:]}
    for row in term.rows[5:]:
        cash = deal.rows[row.period].cfads - payments.get(row.period, 0.0)
        assert row.interest + row.repaid == pytest.approx(cash / 1.30)
    assert mezzanine.capitalised_total > 0.0
    assert deal.binding == "dscr"
    for row in deal.construction:
        assert row.debt_draw / row.uses == pytest.approx(deal.gearing)
    assert deal.min_dscr < 1.30
    assert deal.tax_rows is not None
