"""The notebook of the examples has the results that a service gives."""

import json
import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tests.http.conftest import Service, discard_access_log

from spawn.client import SpawnClient

__all__ = ["discard_access_log"]

ROOT = Path(__file__).parents[2]


def test_the_notebook_has_the_results_of_its_cells() -> None:
    notebook = runpy.run_path(str(ROOT / "docs" / "notebook.py"))
    service = Service().start()
    try:
        rendered = notebook["render_notebook"](service.url)
    finally:
        service.stop()
    written = (ROOT / "examples" / "register_to_debt.ipynb").read_text("utf-8")
    assert list_outputs(json.loads(rendered)) == list_outputs(json.loads(written))
    assert rendered == written, "python docs/build.py writes it"


def test_the_notebook_goes_from_the_register_to_the_export() -> None:
    written = json.loads((ROOT / "examples" / "register_to_debt.ipynb").read_text("utf-8"))
    cells = written["cells"]
    assert (written["nbformat"], written["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert cells[0]["source"][0].startswith("# ")
    texts = "".join(list_outputs(written))
    assert "5 accepted, 2 quarantined" in texts
    assert "bound by gearing" in texts
    assert "Cabo Norte Wind, 184500000.00, EUR, 2028-06-30" in texts
    (picture,) = (text for text in list_outputs(written) if text.startswith("<svg"))
    assert len(list(ET.fromstring(picture))) == 2 + 2 * 15 + 1  # noqa: S314 - drawn by the notebook


def list_outputs(notebook: dict[str, Any]) -> list[str]:
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    return ["".join(one.get("text") or one["data"]["image/svg+xml"]) for one in outputs]


def test_the_docs_build_runs_the_notebook_against_a_service_of_its_own() -> None:
    notebook = runpy.run_path(str(ROOT / "docs" / "notebook.py"))
    with notebook["run_service"]() as url, SpawnClient(url) as client:
        assert client.count_projects() == 0
