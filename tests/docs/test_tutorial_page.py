"""The commands of the tutorial run in a shell, and print what the page shows."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.test_covenants_page import find_difference
from tests.http.conftest import Service, discard_access_log

__all__ = ["discard_access_log"]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|json|text)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
END = "-- end of block"


def write_command(folder: Path) -> None:
    """Write the command `spawn` where the page expects it, and link the examples."""
    command = folder / ".venv" / "bin" / "spawn"
    command.parent.mkdir(parents=True)
    python = shlex.quote(sys.executable)
    command.write_text(f'#!/bin/sh\nexec {python} -m spawn.entrypoints.cli "$@"\n')
    command.chmod(0o755)
    (folder / "examples").symlink_to(ROOT / "examples")


@pytest.mark.real
def test_the_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    write_command(tmp_path)
    service = Service().start()
    try:
        script = "".join(f"{block}echo; echo '{END}'\n" for kind, block in BLOCKS if kind == "sh")
        result = subprocess.run(
            ["/bin/sh", "-ec", script.replace("http://127.0.0.1:8000", service.url)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    finally:
        service.stop()
    assert result.returncode == 0, result.stderr
    outputs = iter(result.stdout.split(END))
    shown, output = 0, ""
    for kind, block in BLOCKS:
        if kind == "sh":
            output = next(outputs)
        elif kind == "text":
            assert block in output
            shown += 1
        else:
            printed = json.loads(output)
            assert find_difference(json.loads(block), printed) == "", (block, printed)
            shown += 1
    assert shown == 6
    assert (tmp_path / "aside.csv").exists()
