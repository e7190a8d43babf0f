"""A secret that is sent in every way appears in no log, metric, error or stored document."""

import os
from pathlib import Path

import httpx
import pytest
from loguru import logger
from tests.http.access.conftest import bearer, list_operations
from tests.loopback import free_port

from spawn.application.access.api_clients import create_first_key
from spawn.entrypoints import composition
from spawn.entrypoints.settings import Settings


async def test_canary_secret_appears_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access_log = os.open(tmp_path / "access.log", os.O_WRONLY | os.O_CREAT)
    monkeypatch.setattr(composition, "STDOUT", access_log)
    log_lines: list[str] = []
    sink = logger.add(log_lines.append, level="TRACE", format="{message} {extra} {exception}")
    settings = Settings(
        port=free_port(), storage_url=f"duckdb:///{tmp_path}/spawn.duckdb", rate_limit=0.0
    )
    texts: list[str] = []
    async with composition.open_composition(settings) as opened:
        key = await create_first_key(opened.dependencies, "test")
        assert key is not None
        secret = key.text.split("_")[3]
        assert secret not in repr(key)
        transport = httpx.ASGITransport(opened.app)  # type: ignore[arg-type]  # an ASGI application
        async with httpx.AsyncClient(transport=transport, base_url=settings.base_url) as client:
            wrong = (
                {"Authorization": f"Basic {key.text}"},
                {"Authorization": f"Bearer {key.text} more"},
                {"Authorization": f"Bearer {key.text[:-1]}"},
                {"Authorization": key.text},
                {"X-Api-Key": key.text},
            )
            for method, address, _ in await list_operations(client):
                if address.endswith(("/stream", "/clients/x", "/keys/x")):
                    continue  # a stream has no end, and the others would revoke keys
                for headers in (bearer(key.text), *wrong):
                    response = await client.request(method, address, headers=headers)
                    texts.append(f"{response.headers} {response.text}")
    logger.remove(sink)
    os.close(access_log)
    assert not any(secret in text for text in (*texts, *log_lines))
    assert_in_no_file(secret, tmp_path)


def assert_in_no_file(secret: str, folder: Path) -> None:
    """Assert that neither the access log nor the store has a secret."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {"access.log", "spawn.duckdb"} <= {file.name for file in files}
    for file in files:
        assert secret.encode() not in file.read_bytes(), file
