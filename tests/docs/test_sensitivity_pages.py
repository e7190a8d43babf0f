"""The pages of sensitivities and covenant windows have what the calculators compute."""

import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "finance_sensitivity.py"))


def test_the_figures_of_the_pages_equal_the_calculators(script: dict[str, Any]) -> None:
    assert len(script["PAGES"]) == 2
    for name, sections in script["PAGES"].items():
        page = (DOCS / name).read_text()
        assert script["render_page"](page, sections) == page


def test_the_pictures_of_the_pages_equal_the_calculators(script: dict[str, Any]) -> None:
    pictures = script["render_pictures"]()
    assert len(pictures) == 3
    for name, picture in pictures.items():
        assert (DOCS / name).read_text() == picture
        assert len(list(ET.fromstring(picture))) > 10  # noqa: S314 - drawn a line above


def test_the_page_states_the_lock_ups_of_the_covenant(script: dict[str, Any]) -> None:
    states = script["list_states"]()
    half, back, ahead = (
        [test.state for test in states[name].tests]
        for name in ("half year", "12 months back", "12 months ahead")
    )
    assert half == ["LOCKUP", "OK"] * 5
    assert [number for number, state in enumerate(back, 1) if state == "LOCKUP"] == [6, 7]
    assert [number for number, state in enumerate(ahead, 1) if state == "LOCKUP"] == [4, 5]
    assert (back[0], ahead[-2:]) == ("NOT_TESTED", ["NOT_TESTED"] * 2)
