"""Operators have a listener of their own; clients of the other find nothing of it."""

from collections.abc import Iterator

import httpx
import pytest
from tests.http.conftest import Service
from tests.loopback import free_port

from spawn.application.web_addresses import ListenAddress

HIDDEN = ("/v1/admin/tables", "/v1/admin/clients", "/admin/tables", "/monitoring/metrics")
PROBES = ("/monitoring/live", "/monitoring/ready", "/monitoring/health")


@pytest.fixture(scope="module")
def apart() -> Iterator[Service]:
    admin = ListenAddress(host="127.0.0.1", port=free_port())
    service = Service(auth="keys", admin_listen=admin).start()
    yield service
    service.stop()


def admin_client(service: Service) -> httpx.Client:
    admin = service.settings.admin_listen
    assert admin is not None
    headers = {"authorization": f"Bearer {service.key}"}
    return httpx.Client(base_url=f"http://{admin}", headers=headers, timeout=20)


def public_client(service: Service) -> httpx.Client:
    headers = {"authorization": f"Bearer {service.key}"}
    return httpx.Client(base_url=service.url, headers=headers, timeout=20)


@pytest.mark.parametrize("path", HIDDEN)
def test_paths_of_operators_are_unknown_to_clients(apart: Service, path: str) -> None:
    with public_client(apart) as client, admin_client(apart) as admin:
        unknown = client.get("/v1/nowhere").json()
        for method in ("GET", "POST", "OPTIONS", "HEAD"):
            response = client.request(method, path)
            assert response.status_code == 404, method
        hidden = client.get(path).json()
        members = ("type", "title", "status", "detail", "code")
        assert [hidden[name] for name in members] == [unknown[name] for name in members]
        assert admin.get(path).status_code == 200


@pytest.mark.parametrize(
    "target", ["/monitoring/metrics/", "/monitoring/%6detrics", "/v1//admin/tables"]
)
def test_other_spellings_do_not_reach_them(apart: Service, target: str) -> None:
    request = (
        f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {apart.key}\r\n"
        "Connection: close\r\n\r\n"
    )
    assert int(apart.send_raw(request.encode())[9:12]) in {400, 404}


def test_operators_need_the_same_scopes(apart: Service) -> None:
    with admin_client(apart) as admin:
        del admin.headers["authorization"]
        assert admin.get("/v1/admin/tables").status_code == 401
        assert admin.get("/monitoring/metrics").status_code == 401


def test_probes_are_on_both_and_resources_on_one(apart: Service) -> None:
    with public_client(apart) as client, admin_client(apart) as admin:
        for path in PROBES:
            assert client.get(path).status_code == admin.get(path).status_code == 200
        assert client.get("/v1/ops/projects").status_code == 200
        for path in ("/v1/ops/projects", "/", "/openapi.json", "/docs"):
            assert admin.get(path).status_code == 404


def test_without_a_listener_of_their_own_all_is_on_one(client: httpx.Client) -> None:
    for path in HIDDEN:
        assert client.get(path).status_code == 200
