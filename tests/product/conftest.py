"""End-to-end tests: a real process, a real file, real requests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.product.service import Service


@pytest.fixture
def service_in(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Yield a factory of services in the test's folder; all are stopped at the end."""
    services: list[Service] = []

    def make(**settings: str) -> Service:
        service = Service(tmp_path, **settings)
        services.append(service)
        return service

    yield make
    for service in services:
        service.stop()
