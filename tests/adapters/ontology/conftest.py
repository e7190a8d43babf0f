"""A scripted ontology server and manual clocks."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest


class ManualTime:
    """Both clocks, advanced by the test and by sleeping."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def monotonic(self) -> float:
        return self.elapsed_s

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed_s)

    def jump_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.elapsed_s += seconds


async def stream_body(content: bytes) -> AsyncIterator[bytes]:
    """Yield a body in chunks, as a network does."""
    for at in range(0, len(content), 1000):
        yield content[at : at + 1000]


class ScriptedServer:
    """Ontology server as a function that records its requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.respond: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(404)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.respond(request)

    def set_response(self, status: int, content: bytes = b"", **headers: str) -> None:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.respond = lambda _: httpx.Response(
            status, content=stream_body(content), headers=fields
        )

    def disconnect(self) -> None:
        def fail(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("no route", request=request)

        self.respond = fail


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()
