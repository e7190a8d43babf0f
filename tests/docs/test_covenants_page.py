"""Each command of the page on cases and covenants runs, and returns what the page shows."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND

from spawn.entrypoints.composition import open_composition
from spawn.entrypoints.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "covenants.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|json)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def split_commands(block: str) -> list[str]:
    """Return the commands of a block of shell, each on one or several lines."""
    return [part for part in re.split(r"\n(?=curl |\w+=\$\(curl )", block.strip()) if part]


class Walk:
    """A shell that knows curl, variables, and `jq -r` of one member."""

    def __init__(self, client: httpx.AsyncClient, **variables: str) -> None:
        self._client = client
        self._variables = variables
        self.newest: Any = None

    async def run(self, command: str) -> None:
        match = re.fullmatch(r"(\w+)=\$\((.*?)\|\s*jq -r \.(\w+)\)", command, re.DOTALL)
        curl = match[2] if match else command
        self.newest = await self._send(curl.replace("\\\n", " "))
        if match:
            self._variables[match[1]] = self.newest[match[3]]

    async def _send(self, command: str) -> Any:
        words = iter(shlex.split(command)[1:])
        method, headers, body, address = "GET", {}, None, ""
        for word in words:
            if word == "-X":
                method = next(words)
            elif word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            elif word == "-d":
                body = self._expand(next(words))
            elif not word.startswith("-"):
                address = self._expand(word)
        response = await self._client.request(method, address, headers=headers, content=body)
        return response.text if "html" in response.headers["content-type"] else response.json()

    def _expand(self, text: str) -> str:
        text = re.sub(r"'\"\$(\w+)\"'", lambda m: self._variables[m[1]], text)
        return re.sub(r"\$(\w+)", lambda m: self._variables[m[1]], text)


def find_difference(expected: Any, actual: Any, path: str = "") -> str:
    """Return where the expected members are not those of a response; empty if they are."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        parts = [
            find_difference(value, actual.get(name), f"{path}/{name}")
            for name, value in expected.items()
        ]
        return next(filter(None, parts), "")
    if isinstance(expected, list) and isinstance(actual, list):
        pairs = zip(expected, actual, strict=False)
        parts = [find_difference(one, other, f"{path}/{n}") for n, (one, other) in enumerate(pairs)]
        missing = f"{path}: {actual}" if len(actual) < len(expected) else ""
        return next(filter(None, parts), missing)
    return "" if expected == actual else f"{path}: {expected!r} is {actual!r}"


async def test_every_command_of_the_page_returns_what_it_shows() -> None:
    settings = Settings(storage_url="memory://", rate_limit=0, auth="off")
    async with open_composition(settings) as composition:
        transport = httpx.ASGITransport(composition.app)  # type: ignore[arg-type]  # ours is ASGI
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            created = await client.post("/v1/ops/projects", json=WIND)
            walk = Walk(client, api="/v1", project=created.json()["project_id"])
            shown = 0
            for language, block in BLOCKS:
                if language == "sh":
                    for command in split_commands(block):
                        await walk.run(command)
                else:
                    assert find_difference(json.loads(block), walk.newest) == "", block
                    shown += 1
    assert shown >= 3


@pytest.mark.parametrize(
    ("expected", "actual"),
    [({"a": 1}, {"a": 2}), ([1, 2], [1]), ({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]}), (1, None)],
)
def test_a_difference_is_found(expected: Any, actual: Any) -> None:
    assert find_difference(expected, actual)
    assert not find_difference(actual, actual)
