"""A real service on a loopback port, in a thread of its own, and clients to talk to it."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import tenacity
import uvloop

from spawn.entrypoints.http.middleware.limits import Limits
from spawn.entrypoints.http.server import Server, serve_async
from spawn.entrypoints.settings import Settings

WIND: dict[str, Any] = {
    "project_name": "Sierra Wind II",
    "total_amount": "125000000.00",
    "currency_code": "EUR",
    "country_code": "ESP",
    "sector": "wind",
    "maturity_years": 18,
    "dscr": 1.35,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """The service as `serve` runs it, but in a thread."""

    def __init__(self, limits: Limits | None = None, **settings: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        chosen = {"storage_url": "memory://", "rate_limit": 0.0, **settings}
        self._settings = Settings(port=self.port, **chosen)
        self._limits = limits
        self._server: Server | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> "Service":
        self._thread.start()
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(httpx.TransportError),
            wait=tenacity.wait_fixed(0.02),
            stop=tenacity.stop_after_delay(20),
            reraise=True,
        ):
            with attempt:
                if self._failure is not None:
                    raise self._failure
                headers = {"host": "127.0.0.1"}
                httpx.get(f"{self.url}/monitoring/live", headers=headers).raise_for_status()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        def ready(server: Server) -> None:
            self._server = server

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve_async(self._settings, ready, limits=self._limits))
        except BaseException as failure:  # noqa: BLE001  # handed to whoever waits for it
            self._failure = failure

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20)

    def raw(self, request: bytes, *, shut: bool = True) -> bytes:
        """The whole answer to bytes sent as they are."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            if shut:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    answer += piece
            return answer


Start = Callable[..., Service]


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """Access lines of services in this process go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spawn.entrypoints.composition.STDOUT", nowhere)
        yield
    os.close(nowhere)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start services with settings and limits of the test's own."""
    services: list[Service] = []

    def begin(limits: Limits | None = None, **settings: Any) -> Service:
        services.append(Service(limits, **settings).start())
        return services[-1]

    yield begin
    for service in services:
        service.stop()


@pytest.fixture(scope="session")
def service(quiet: None) -> Iterator[Service]:  # noqa: ARG001  # it must come first
    """One service for the tests that need nothing special."""
    running = Service().start()
    yield running
    running.stop()


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture
def created(client: httpx.Client) -> httpx.Response:
    """A project that was just created."""
    answer = client.post("/v1/ops/projects", json=WIND)
    assert answer.status_code == 201, answer.text
    return answer
