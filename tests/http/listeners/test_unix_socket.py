"""A Unix socket as listener: permissions, stale files, clients behind a proxy."""

import contextlib
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.conftest import Service
from tests.loopback import free_port

from spawn.adapters.local.listening_sockets import AddressError, bind_unix_socket
from spawn.adapters.service_client import ServiceError, open_service_client
from spawn.application.web_addresses import ListenAddress


def unix_client(path: Path) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(path))
    return httpx.Client(base_url="http://localhost", transport=transport, timeout=20)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


@contextlib.contextmanager
def unix_service(path: Path, **settings: Any) -> Iterator[Service]:
    """Run a service on a Unix socket; its operators have a port, for the tests to await it."""
    admin = ListenAddress(host="127.0.0.1", port=(port := free_port()))
    service = Service(
        port=port, listen=ListenAddress(path=str(path)), admin_listen=admin, **settings
    )
    service.start()
    try:
        yield service
    finally:
        service.stop()


def test_the_socket_is_private_and_ends_with_the_service(folder: Path) -> None:
    path = folder / "http.sock"
    with unix_service(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with unix_client(path) as client:
            assert client.get("/v1/ops/projects").status_code == 200
            assert client.get("/monitoring/metrics").status_code == 404
    assert not path.exists()


def test_the_permissions_are_those_of_the_setting(folder: Path) -> None:
    with bind_unix_socket(folder / "http.sock", 0o660):
        assert stat.S_IMODE((folder / "http.sock").stat().st_mode) == 0o660


def test_a_socket_that_nobody_listens_on_is_replaced(folder: Path) -> None:
    path = folder / "http.sock"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    with bind_unix_socket(path, 0o600) as listener:
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_socket_in_use_is_left_alone(folder: Path) -> None:
    path = folder / "http.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(AddressError, match="another process uses it"):  # noqa: SIM117
            with bind_unix_socket(path, 0o600):
                pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_process_that_has_bound_and_does_not_listen_yet_keeps_its_socket(folder: Path) -> None:
    path = folder / "http.sock"
    with bind_unix_socket(path, 0o600) as starting:
        with pytest.raises(AddressError, match="another process uses it"):  # noqa: SIM117
            with bind_unix_socket(path, 0o600):
                pass
        starting.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_is_no_socket_is_not_removed(folder: Path, kind: str) -> None:
    path, target = folder / "http.sock", folder / "target"
    if kind == "file":
        path.write_text("data")
    elif kind == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(target))
        path.symlink_to(target)
    with pytest.raises(AddressError, match="no socket"):  # noqa: SIM117
        with bind_unix_socket(path, 0o600):
            pass
    assert path.is_symlink() or path.exists()


def test_a_socket_of_another_process_is_not_removed_at_the_end(folder: Path) -> None:
    path = folder / "http.sock"
    with bind_unix_socket(path, 0o600):
        path.unlink()
        path.write_text("other")
    assert path.read_text() == "other"


def limited(client: httpx.Client, address: str) -> int:
    headers = {"x-forwarded-for": address}
    return [client.get("/v1/ops/projects", headers=headers).status_code for _ in range(2)][-1]


def test_a_proxy_at_the_socket_names_its_clients_if_it_is_trusted(folder: Path) -> None:
    path = folder / "http.sock"
    with unix_service(path, rate_limit=0.5, trusted_proxies=("unix",)), unix_client(path) as client:
        assert limited(client, "192.0.2.1") == 429
    with unix_service(path, rate_limit=0.5, trusted_proxies=("unix",)), unix_client(path) as client:
        first = client.get("/v1/ops/projects", headers={"x-forwarded-for": "192.0.2.1"})
        second = client.get("/v1/ops/projects", headers={"x-forwarded-for": "192.0.2.2"})
        assert (first.status_code, second.status_code) == (200, 200)


def test_an_invented_address_has_no_effect_at_an_untrusted_socket(folder: Path) -> None:
    path = folder / "http.sock"
    with unix_service(path, rate_limit=0.5), unix_client(path) as client:
        first = client.get("/v1/ops/projects", headers={"x-forwarded-for": "192.0.2.1"})
        second = client.get("/v1/ops/projects", headers={"x-forwarded-for": "192.0.2.2"})
        assert (first.status_code, second.status_code) == (200, 429)


async def test_commands_find_operators_at_their_own_socket(folder: Path) -> None:
    path = folder / "admin.sock"
    service = Service(auth="keys", admin_listen=ListenAddress(path=str(path))).start()
    try:
        admin_url = f"unix:{path}"
        async with open_service_client(service.url, service.key, admin_url=admin_url) as client:
            assert (await client.list_api_clients()).startswith(b"[{")
            assert b"project_schema" in await client.get_schema()
            assert b"listApiClients" in await client.read_audit_log({})
            with pytest.raises(ServiceError, match="conflict"):  # it has no backups to take
                await client.take_backup()
        async with open_service_client(admin_url, service.key) as client:
            assert (await client.list_api_clients()).startswith(b"[{")
        with pytest.raises(ServiceError, match="not_found"):
            async with open_service_client(service.url, service.key) as client:
                await client.list_api_clients()
    finally:
        service.stop()
