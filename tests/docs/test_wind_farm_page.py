"""The page of the wind farm contains the figures and the picture that the engine computes."""

import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def wind_page() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "wind_farm.py"))


def test_the_figures_of_the_page_equal_the_engine(wind_page: dict[str, Any]) -> None:
    page = (DOCS / "wind_farm.md").read_text()
    assert wind_page["render_page"](page, wind_page["WindFarm"]()) == page


def test_the_picture_of_the_page_equals_the_engine(wind_page: dict[str, Any]) -> None:
    ((name, picture),) = wind_page["render_pictures"](wind_page["WindFarm"]()).items()
    assert (DOCS / name).read_text() == picture
    svg = ET.fromstring(picture)  # noqa: S314 - drawn a line above
    assert len(list(svg)) > 10


def test_the_wind_farm_satisfies_the_sentences_on_the_page(wind_page: dict[str, Any]) -> None:
    sizing = wind_page["WindFarm"]().sizing
    p50, p99 = sizing.scenarios
    for row, ratio, low_ratio in zip(sizing.rows, p50.dscr, p99.dscr, strict=True):
        assert ratio >= 1.35 - 1e-9
        assert low_ratio >= 1.02 - 1e-9
        name, excess = row.binding_scenario, {"P50": ratio / 1.35, "P99": low_ratio / 1.02}
        assert excess[name] == pytest.approx(1.0, abs=1e-9)
    assert {row.binding_scenario for row in sizing.rows} == {"P50", "P99"}
    assert sizing.tax_residual < 1e-9
