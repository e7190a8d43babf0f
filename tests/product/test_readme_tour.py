"""The commands of the README's tour print the output that the README shows."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.product.service import Service

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
TOUR = ROOT.joinpath("README.md").read_text().split("## A tour", 1)[1].split("\n## ", 1)[0]
MARK = "== step =="


def steps() -> list[tuple[str, str]]:
    """Return each command of the tour with its documented output."""
    steps_of_tour: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", TOUR, re.DOTALL):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = step.splitlines()
            length = next(n for n in range(1, len(lines) + 1) if is_complete("\n".join(lines[:n])))
            steps_of_tour.append(("\n".join(lines[:length]), "\n".join(lines[length:])))
    return steps_of_tour


def is_complete(command: str) -> bool:
    """Whether all quotes are closed, so that the shell would run the command."""
    return command.count("'") % 2 == 0


def build_pattern(expected: str) -> str:
    """Return a pattern in which `…` stands for any text, and alone on a line for any lines."""
    return ".*".join(re.escape(part) for part in expected.strip().split("…"))


def test_the_tour_prints_the_documented_output(service_in: Callable[..., Service]) -> None:
    service = service_in(command="demo")
    service.start()
    tour = steps()
    assert len(tour) > 15
    script = "\n".join(f"{command}\necho; echo '{MARK}'" for command, _ in tour)
    script = script.replace("http://127.0.0.1:8000", service.url)
    script = script.replace(".venv/bin/spawn", str(ROOT / ".venv/bin/spawn"))
    run = subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=service.folder,
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    outputs = run.stdout.replace(service.url, "http://127.0.0.1:8000").split(MARK)
    assert outputs.pop().strip() == ""  # after the last mark
    for (command, expected), output in zip(tour, outputs, strict=True):
        match = re.fullmatch(build_pattern(expected), output.strip(), re.DOTALL)
        assert match, f"{command}\nprinted\n{output.strip()}\nnot\n{expected}"
