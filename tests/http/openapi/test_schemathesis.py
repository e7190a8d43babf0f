"""Schemathesis against the OpenAPI document: every check, a bounded number of examples.

`make schemathesis` runs five seeds at full length; this is the short form for each change.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.http.conftest import Start

from spawn.testing.intensity import rounds

EXAMPLES = str(rounds(1, 8))
ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11])
def test_every_check_of_schemathesis_passes(start: Start, seed: int) -> None:
    service = start()
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{service.url}/openapi.json",
        *("--checks", "all", "--seed", str(seed), "--max-examples", EXAMPLES),
        *("--phases", "examples,fuzzing,stateful", "--no-color"),
    ]
    # Run at the root, where `schemathesis.toml` has the rules that no JSON Schema can express.
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )  # our own tool
    assert run.returncode == 0, run.stdout[-8000:]
