"""The page of the deal shows what the engine computes today, in figures and in pictures."""

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


def test_the_figures_of_the_page_are_those_of_the_engine(deal_page: dict[str, Any]) -> None:
    page = (DOCS / "finance.md").read_text()
    assert deal_page["computed"](page, deal_page["Deal"]()) == page


def test_the_program_on_the_page_prints_what_the_page_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (DOCS / "finance.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(program, {})  # noqa: S102 - our own page
    assert f"# {capsys.readouterr().out}" == program.splitlines(keepends=True)[-1]


def test_the_pictures_of_the_page_are_those_of_the_engine(deal_page: dict[str, Any]) -> None:
    pictures = deal_page["pictures"](deal_page["Deal"]())
    assert len(pictures) == 3
    for name, picture in pictures.items():
        assert (DOCS / name).read_text() == picture
        drawn = ET.fromstring(picture)  # noqa: S314 - drawn a line above
        assert len(list(drawn)) > 10


def test_the_deal_holds_the_laws_that_it_tells(deal_page: dict[str, Any]) -> None:
    deal = deal_page["Deal"]()
    sizing = deal.sizing
    assert sizing.llcr == pytest.approx(1.30, abs=1e-9)
    assert {round(row.dscr, 9) for row in sizing.rows} == {1.3}
    for row in deal.construction.rows:
        assert row.uses == pytest.approx(row.debt_draw + row.equity_draw)
    assert any(test.waived for test in deal.covenant.tests)
