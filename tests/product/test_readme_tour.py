"""The README's tour, run as a reader would type it, answers what the README shows."""

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
    """Each command of the tour with the output shown under it."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", TOUR, re.DOTALL):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = step.splitlines()
            length = next(n for n in range(1, len(lines) + 1) if is_whole("\n".join(lines[:n])))
            found.append(("\n".join(lines[:length]), "\n".join(lines[length:])))
    return found


def is_whole(command: str) -> bool:
    """Whether the shell would run it, rather than wait for a quote to be closed."""
    return command.count("'") % 2 == 0


def pattern(shown: str) -> str:
    """`…` stands for anything within the output, a line of it alone for any lines."""
    return ".*".join(re.escape(part) for part in shown.strip().split("…"))


def test_the_tour_is_true_to_the_letter(service_in: Callable[..., Service]) -> None:
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
    answers = run.stdout.replace(service.url, "http://127.0.0.1:8000").split(MARK)
    for (command, shown), answer in zip(tour, answers, strict=False):
        matched = re.fullmatch(pattern(shown), answer.strip(), re.DOTALL)
        assert matched, f"{command}\nanswered\n{answer.strip()}\nnot\n{shown}"
