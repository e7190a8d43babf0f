"""The product as its users meet it: a real process, a real file, real requests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.product.service import Service


@pytest.fixture
def service_in(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """A factory of services whose files lie in the test's folder; all are stopped at the end."""
    started: list[Service] = []

    def make(**settings: str) -> Service:
        service = Service(tmp_path, **settings)
        started.append(service)
        return service

    yield make
    for service in started:
        service.stop()
