"""The dashboards are those that the program builds, and Grafana can place every panel."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.infra.monitoring.expressions import DASHBOARDS, list_panels
from tests.infra.monitoring.servers import skip_or_fail

PANELS = [pytest.param(p, id=f"{board}: {p['title']}") for board, p in list_panels()]


def test_the_files_are_those_that_the_program_writes(tmp_path: Path) -> None:
    try:
        from monitoring.dashboards import write_files
    except ImportError:
        skip_or_fail("grafana-foundation-sdk is not installed (make .venv/dev.stamp)")
    write_files(tmp_path)
    written = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert written == {file.name: file.read_text() for file in DASHBOARDS}


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_panels_have_places_and_ids_of_their_own(file: Path) -> None:
    document = json.loads(file.read_text())
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    assert document["uid"] == f"spawn-{file.stem}"
    cells: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in own) < 24
        assert cells.isdisjoint(own), panel["title"]
        cells |= own


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references) > 0
    for target in panel["targets"]:
        assert target["legendFormat"]
        assert (
            "$instance" in target["expr"] or "spawn:" in target["expr"] or "up{" in target["expr"]
        )
