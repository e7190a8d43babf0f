"""Each command of the page on portfolios gets the response that the page shows."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
from tests.http.conftest import Service

PAGE = (Path(__file__).parents[2] / "docs" / "portfolios.md").read_text(encoding="utf-8")
BLOCKS = re.findall(
    r"^```sh\n(.*?)^```(?:\n\n^```json\n(.*?)^```)?", PAGE, re.DOTALL | re.MULTILINE
)
DECODER = msgspec.json.Decoder()


def split_documents(text: str) -> list[Any]:
    """Return the documents of a text, each of which begins at the start of a line."""
    return [DECODER.decode(part) for part in re.split(r"\n(?=[{\[])|(?<=\})(?=\{)", text.strip())]


def is_shown(shown: Any, actual: Any) -> bool:
    """Whether a response has what the page shows of it, where `...` stands for any value."""
    if isinstance(shown, dict):
        return isinstance(actual, dict) and all(
            name in actual and is_shown(value, actual[name]) for name, value in shown.items()
        )
    if isinstance(shown, list):
        return len(shown) == len(actual) and all(map(is_shown, shown, actual))
    return bool(shown in {"...", actual} if isinstance(shown, str) else shown == actual)


def test_every_command_of_the_page_gets_the_response_that_is_shown() -> None:
    assert len(BLOCKS) >= 5
    service = Service().start()
    environment = {**os.environ, "api": service.url}
    script = ["set -eu"]
    try:
        for commands, _ in BLOCKS[1:]:
            script.append(f"printf '\\1'\n{commands}")
        result = subprocess.run(
            ["bash", "-c", "\n".join(script)],  # noqa: S607 -- the shell of the page
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    finally:
        service.stop()
    outputs = result.stdout.split("\1")[1:]
    for (commands, shown), output in zip(BLOCKS[1:], outputs, strict=True):
        if not shown:
            assert output.strip() == "", commands
            continue
        expected, actual = split_documents(shown), split_documents(output)
        assert len(expected) == len(actual), (commands, output)
        for one, other in zip(expected, actual, strict=True):
            assert is_shown(one, other), (commands, one, other)
