"""The walk of a loan by command runs, and the pages have its figures after each step."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.docs.test_tutorial_page import write_command
from tests.http.conftest import Service, discard_access_log

__all__ = ["discard_access_log"]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "loan-by-command.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|text)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
END = "-- end of block"
READ_PAGES = """
for day in 2026-12-31 2027-04-30 2027-12-31 2043-03-31; do
  if [ -n "${facility:-}" ]; then
    curl -sf -H 'Accept: text/html' \\
      "$SPAWN_URL/v1/ops/facilities/$facility/statement?from=2026-03-31&to=$day"
    curl -sf "$SPAWN_URL/pages/projects/$project"
  fi
done > "pages-$step.html"
step=$((step + 1))
"""
FIGURES = {
    1: "90,000,000.00",
    2: "12,500,000.00",
    3: "1,700,000.00",
    5: "waiver",
    6: "2,000,000.00",
}
"""Text that the pages have after a block of commands, by its number, and not before it."""


@pytest.mark.real
def test_the_walk_prints_what_the_page_shows_and_the_pages_follow_it(tmp_path: Path) -> None:
    assert shutil.which("curl")
    write_command(tmp_path)
    commands = [
        block.replace("alias spawn=", "PATH=$PWD/.venv/bin:$PATH #")
        for kind, block in BLOCKS
        if kind == "sh"
    ]
    service = Service().start()
    try:
        script = "step=0\n" + "".join(f"{one}{READ_PAGES}echo '{END}'\n" for one in commands)
        result = subprocess.run(
            ["/bin/bash", "-ec", script.replace("http://127.0.0.1:8000", service.url)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    finally:
        service.stop()
    assert result.returncode == 0, result.stderr
    outputs, output = iter(result.stdout.split(END)), ""
    for kind, block in BLOCKS:
        if kind == "sh":
            output = next(outputs)
        else:
            assert block in output, (block, output)
    assert '"12500000.00"' in (tmp_path / "changes.txt").read_text()
    pages = [(tmp_path / f"pages-{step}.html").read_text() for step in range(len(commands))]
    for step, figure in FIGURES.items():
        assert figure in pages[step], step
        assert figure not in pages[step - 1], step
    # Nothing is recorded of the missed payment, whose interest the statement shows overdue.
    assert "261,416.87" in pages[4]
    assert pages[7].count("payment") > pages[6].count("payment")
