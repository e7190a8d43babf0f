"""The documented configurations of proxies, with a service behind each of them."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import tenacity
from tests.http.conftest import WIND, Service
from tests.loopback import free_port

PAGE = Path(__file__).parents[2] / "docs" / "proxies.md"
UPLOAD_BYTES = 3 * 1024 * 1024
HOST = {"host": "data.example:8080"}

pytestmark = [pytest.mark.real]


def documented(language: str, folder: Path, listening: int, served: int) -> str:
    """Return the configuration of the page, with the ports of this test."""
    block = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    text = block[1].replace("8000", str(served)).replace("8080", str(listening))
    return text.replace("data.example:" + str(listening), f"data.example:{listening}").replace(
        "FOLDER", str(folder)
    )


def nginx(folder: Path, listening: int, served: int) -> list[str]:
    block = documented("nginx", folder, listening, served)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off;\npid {folder}/nginx.pid;\nerror_log stderr;\nworker_processes 1;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{block}}}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(file), "-e", "stderr"]


def haproxy(folder: Path, listening: int, served: int) -> list[str]:
    file = folder / "haproxy.cfg"
    file.write_text(documented("haproxy", folder, listening, served))
    return ["haproxy", "-f", str(file), "-db"]


def caddy(folder: Path, listening: int, served: int) -> list[str]:
    file = folder / "Caddyfile"
    block = documented("caddy", folder, listening, served)
    file.write_text(
        block.replace("{\n", "{\n    admin off\n    auto_https off\n", 1).replace("10s", "1s")
    )
    return ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"]


Configure = Callable[[Path, int, int], list[str]]


class Published:
    """A service behind a proxy."""

    def __init__(self, name: str, url: str, service: Service) -> None:
        self.name, self.url, self.service = name, url, service

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=HOST, timeout=20)


def start_service(port: int) -> Service:
    return Service(
        port=port,
        public_url="http://data.example:8080",
        trusted_proxies=("127.0.0.0/8",),
    ).start()


@pytest.fixture(scope="module", params=[nginx, haproxy, caddy], ids=lambda one: one.__name__)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Published]:
    configure: Configure = request.param
    name = configure.__name__
    if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip(f"{name} is not installed")
    folder, listening, served = tmp_path_factory.mktemp(name), free_port(), free_port()
    service = start_service(served)
    command = configure(folder, listening, served)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin", "HOME": str(folder)},
        )
    here = Published(name, f"http://127.0.0.1:{listening}", service)
    try:
        await_status(here, 200)
        yield here
    finally:
        process.terminate()
        process.wait(20)
        here.service.stop()


@tenacity.retry(wait=tenacity.wait_fixed(0.1), stop=tenacity.stop_after_delay(30), reraise=True)
def await_status(published: Published, status: int) -> None:
    with published.client() as client:
        assert client.get("/monitoring/live").status_code == status


def test_reads_and_commands_pass(published: Published) -> None:
    with published.client() as client:
        created = client.post("/v1/ops/projects", json=WIND)
        assert created.status_code == 201
        assert created.headers["location"].startswith("/v1/ops/projects/")
        read = client.get(created.headers["location"])
        assert read.headers["etag"] == created.headers["etag"]
        tag = {"if-none-match": read.headers["etag"]}
        assert client.get(created.headers["location"], headers=tag).status_code == 304
        assert client.get("/", headers={"accept": "text/html"}).status_code == 200
        assert client.get("/v1/ops//projects").status_code in {200, 400}  # some merge slashes


def test_a_large_upload_passes_and_a_large_command_gets_the_problem_of_the_service(
    published: Published,
) -> None:
    content = json.dumps({**WIND, "unknown": "x" * 100_000}).encode() + b"\n"
    content *= UPLOAD_BYTES // len(content) + 1
    types = {"content-type": "application/x-ndjson"}
    with published.client() as client:
        uploaded = client.post("/v1/ops/imports?dry_run=true", content=content, headers=types)
        assert uploaded.status_code in {200, 202}, uploaded.text
        large = client.post("/v1/ops/projects", json={"project_name": "x" * 2 * 1024 * 1024})
        assert (large.status_code, large.json()["code"]) == (413, "body_too_large")


async def test_events_arrive_while_the_stream_is_open(published: Published) -> None:
    async with (
        httpx.AsyncClient(base_url=published.url, headers=HOST, timeout=20) as client,
        client.stream("GET", "/v1/events/stream") as stream,
        asyncio.timeout(15),
    ):
        lines = stream.aiter_lines()
        assert (await anext(lines)).startswith("retry:")
        created = await client.post("/v1/ops/projects", json=WIND)
        project_id = created.json()["project_id"]
        async for line in lines:
            if line.startswith("data:") and project_id in line:
                return


def test_a_service_that_comes_back_is_served_again(published: Published) -> None:
    port = published.service.port
    published.service.stop()
    with published.client() as client:
        assert client.get("/v1/ops/projects").status_code in {502, 503}
    published.service = start_service(port)
    await_status(published, 200)
    with published.client() as client:
        assert client.post("/v1/ops/projects", json=WIND).status_code == 201
        listed = client.get("/v1/ops/projects").json()
        assert len(listed["items"]) == 1  # in memory, and nothing was sent twice
