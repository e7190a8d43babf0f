"""Fixtures of archives: one server for all tests of a process, a prefix for each."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.adapters.archives.s3_server import FailingProxy, serve_s3, skip_or_fail


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serve_s3(tmp_path_factory.mktemp("s3")) as port:
        yield port


@pytest.fixture(autouse=True)
def certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client load certificates of authorities; without any it does not start."""
    if importlib.util.find_spec("obstore") is None:
        skip_or_fail("obstore is not installed (make .venv/dev.stamp)")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@pytest.fixture
def proxy(s3_port: int) -> Iterator[FailingProxy]:
    with FailingProxy(s3_port) as proxy:
        yield proxy


@pytest.fixture
def prefix() -> str:
    return f"finance/{uuid4().hex}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "local"
    path.mkdir()
    return path
