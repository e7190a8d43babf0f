"""A registry over a transport that the test scripts, under clocks that the test moves."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest


class Time:
    """Both clocks, moved by hand; sleeping moves them too."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def monotonic(self) -> float:
        return self.elapsed_s

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed_s)

    async def sleep(self, seconds: float) -> None:
        self.elapsed_s += seconds


async def arriving(content: bytes) -> AsyncIterator[bytes]:
    """A body that comes in over a wire, unlike one that is simply there."""
    for at in range(0, len(content), 1000):
        yield content[at : at + 1000]


class Script:
    """An ontology server as a function; it remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(404)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)

    def says(self, status: int, content: bytes = b"", **headers: str) -> None:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda _: httpx.Response(status, content=arriving(content), headers=fields)

    def is_unreachable(self) -> None:
        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("no route", request=request)

        self.answer = refuse


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def server() -> Script:
    return Script()
