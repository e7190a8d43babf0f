"""The service of the HTTP tests, and both clients behind one interface."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from tests.http.conftest import discard_access_log, service

from spawn.client import AsyncSpawnClient, ClientRetries, SpawnClient

__all__ = ["discard_access_log", "service"]

FAST = ClientRetries(attempts=3, first_wait_s=0.001, max_wait_s=1.0)


class Blocking:
    """An asynchronous client with the methods of the synchronous one, run to their end."""

    def __init__(self, client: AsyncSpawnClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __repr__(self) -> str:
        return repr(self._client)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            # A method that is an argument is that of the asynchronous client.
            result = method(*(getattr(arg, "__wrapped__", arg) for arg in args), **kwargs)
            if inspect.isasyncgen(result):
                return self._iterate(result)
            return self._runner.run(result)

        call.__wrapped__ = method  # type: ignore[attr-defined]
        return call

    def _iterate(self, items: Any) -> Iterator[Any]:
        try:
            while True:
                yield self._runner.run(anext(items))
        except StopAsyncIteration:
            return
        finally:
            self._runner.run(items.aclose())


Build = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def build(request: pytest.FixtureRequest) -> Iterator[Build]:
    """Build either client, with the same arguments."""
    with asyncio.Runner() as runner:
        closers: list[Callable[[], object]] = []

        def build_client(url: str = "http://service", **options: Any) -> Any:
            options = {"retries": FAST, **options}
            if request.param == "sync":
                client = SpawnClient(url, **options)
                closers.append(client.close)
                return client
            aclient = AsyncSpawnClient(url, **options)
            closers.append(lambda: runner.run(aclient.close()))
            return Blocking(aclient, runner)

        yield build_client
        for close in closers:
            close()


def answering(*responses: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[Any]]:
    """Return a transport that gives these responses in turn, and the requests that it got."""
    requests: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        outcome = responses[min(len(requests), len(responses)) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return httpx.Response(outcome.status_code, headers=outcome.headers, content=outcome.content)

    return httpx.MockTransport(respond), requests


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"code": code, "detail": code})
