"""A secret that is sent in every way appears in no log, metric, error or stored document."""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from loguru import logger
from tests.http.access.conftest import METHODS, bearer, list_operations
from tests.loopback import free_port

from spawn.application.access.api_clients import create_first_key
from spawn.entrypoints import composition
from spawn.entrypoints.settings import Settings

HEADERS = (
    "Accept",
    "Accept-Encoding",
    "If-Match",
    "If-None-Match",
    "Idempotency-Key",
    "Origin",
    "Range",
    "Referer",
    "Traceparent",
    "User-Agent",
    "X-Forwarded-For",
    "X-Request-Id",
)


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
            texts += [
                f"{response.headers} {response.text}"
                async for response in send_everywhere(client, key.text)
            ]
            project = {"project_name": "A", "total_amount": "1.00", "currency_code": "EUR"}
            for text in (key.text, f"retry-{key.text}"):
                headers = bearer(key.text) | {"Idempotency-Key": text}
                response = await client.post("/v1/ops/projects", json=project, headers=headers)
                assert response.status_code == 422
            metrics = await client.get("/monitoring/metrics", headers=bearer(key.text))
            assert metrics.status_code == 200
            texts.append(metrics.text)
    logger.remove(sink)
    os.close(access_log)
    assert not any(secret in text for text in (*texts, *log_lines))
    assert_in_no_file(secret, tmp_path)


async def send_everywhere(client: httpx.AsyncClient, key: str) -> AsyncIterator[httpx.Response]:
    """Send a key in the path, the query, the headers and the body of every operation."""
    encoded_once = key.replace("_", "%5f")
    encoded_twice = key.replace("_", "%255F")
    paths = (await client.get("/openapi.json")).json()["paths"]
    for template, item in paths.items():
        plain = re.sub(r"\{[^}]+\}", "x", template)
        for method in METHODS:
            if method not in item or plain.endswith(("/stream", "/clients/x", "/keys/x")):
                continue
            for text in (key, encoded_once, encoded_twice):
                path = re.sub(r"\{[^}]+\}", text, template)
                if path != template:
                    yield await client.request(method, path, headers=bearer(key))
                yield await client.request(method, f"{plain}?canary={text}", headers=bearer(key))
                yield await client.request(method, f"{plain}?actor={text}&{text}=1")
            yield await client.request(
                method, plain, headers=bearer(key) | dict.fromkeys(HEADERS, key)
            )
            if not template.endswith("/imports"):  # a file of any form is stored as it is
                body = {key: key, "name": key, "project_name": [key]}
                yield await client.request(method, plain, json=body, headers=bearer(key))
    for path in (f"/{key}", f"/v1/ops/{encoded_once}", f"/v1/ops/x%2F{encoded_once}", f"//{key}"):
        yield await client.get(path, headers=bearer(key))


def assert_in_no_file(secret: str, folder: Path) -> None:
    """Assert that neither the access log nor the store has a secret."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {"access.log", "spawn.duckdb"} <= {file.name for file in files}
    for file in files:
        assert secret.encode() not in file.read_bytes(), file
