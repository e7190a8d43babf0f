"""A real service on a loopback port, in a thread, and HTTP clients for it."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
import tenacity
import uvloop
from tests.loopback import free_port

from spawn.application.access.api_clients import create_first_key
from spawn.application.analysis.calculation import CalculationPool
from spawn.entrypoints.composition import Composition
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.server import DrainingServer
from spawn.entrypoints.service import run_async
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


class Service:
    """The service of `serve`, run in a thread."""

    def __init__(self, limits: HttpLimits | None = None, **settings: Any) -> None:
        self.port: int = settings.pop("port", None) or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        options = {"storage_url": "memory://", "rate_limit": 0.0, "auth": "off", **settings}
        self.settings = Settings(port=self.port, **options)
        self._limits = limits
        self.key = ""
        """The first API key, with every scope, of a service with access control."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.failure_reason = ""
        self._server: DrainingServer | None = None
        self._error: BaseException | None = None
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> "Service":
        """Start, and wait until it listens: requests until then would cost more than it.

        Its calculations have a minute instead of 10 s, which a busy machine may need.
        """
        with pytest.MonkeyPatch.context() as patch:
            pool = partial(CalculationPool, deadline_s=60.0)
            patch.setattr("spawn.entrypoints.composition.CalculationPool", pool)
            self._thread.start()
            assert self._is_ready.wait(60), "the service does not start"
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(AssertionError),
            wait=tenacity.wait_fixed(0.002),
            stop=tenacity.stop_after_delay(60),
            reraise=True,
        ):
            with attempt:
                if self._error is not None:
                    raise self._error
                assert self._server is not None
                assert self._server.started
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self.join()

    def join(self) -> None:
        """Wait until the service has ended."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        def ready(server: DrainingServer) -> None:
            self._server = server
            self._is_ready.set()

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                self.loop = runner.get_loop()
                self.failure_reason = runner.run(
                    run_async(self.settings, ready, self._create_key, limits=self._limits)
                )
        except BaseException as error:  # noqa: BLE001  # raised by start or stop
            self._error = error
            self._is_ready.set()

    async def _create_key(self, composition: Composition) -> None:
        if composition.settings.auth != "off":
            issued = await create_first_key(composition.dependencies, "test")
            self.key = "" if issued is None else issued.text

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20)

    def send_raw(self, request: bytes, *, shut: bool = True) -> bytes:
        """Send bytes unchanged and return the whole response."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            if shut:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            response = b""
            with contextlib.suppress(ConnectionResetError):
                while chunk := connection.recv(65536):
                    response += chunk
            return response


Start = Callable[..., Service]


@pytest.fixture(scope="session", autouse=True)
def discard_access_log() -> Iterator[None]:
    """Discard the access logs of services in this process."""
    null_device = os.open(os.devnull, os.O_WRONLY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spawn.entrypoints.composition.STDOUT", null_device)
        yield
    os.close(null_device)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start services with given settings and limits."""
    services: list[Service] = []

    def start_service(limits: HttpLimits | None = None, **settings: Any) -> Service:
        services.append(Service(limits, **settings).start())
        return services[-1]

    yield start_service
    for service in services:
        service.stop()


@pytest.fixture(scope="session")
def service(discard_access_log: None) -> Iterator[Service]:  # noqa: ARG001  # set up first
    """One service for all tests without settings of their own."""
    service = Service().start()
    yield service
    service.stop()


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture
def created(client: httpx.Client) -> httpx.Response:
    """A project that was just created."""
    response = client.post("/v1/ops/projects", json=WIND)
    assert response.status_code == 201, response.text
    return response
