"""Addresses of clients, as proxies write them and as limits count them."""

import httpx
import pytest
from tests.loopback import free_port

from spawn.application.traffic.client_sites import name_site
from spawn.entrypoints.composition import open_composition
from spawn.entrypoints.http.middleware.trusted_proxies import TrustedProxies
from spawn.entrypoints.settings import Settings


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7:41234", "198.51.100.7"),  # as Azure's gateways append it
        ("10.0.0.1", "[2001:db8::7]:443, 10.0.0.2:80", "2001:db8::7"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.7", "198.51.100.7"),  # the first one is invented
        ("10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),  # a socket of both families
        ("198.51.100.9", "198.51.100.7", "198.51.100.9"),
        ("10.0.0.1", "198.51.100.7:x", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
    ],
)
def test_client_is_the_last_address_that_is_no_proxy(peer: str, header: str, client: str) -> None:
    for network in ("10.0.0.0/8", "::ffff:10.0.0.0/104"):
        assert TrustedProxies([network]).client_of(peer, header.encode()) == client


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_limits_count_a_site_of_ipv6_as_one_client(address: str, site: str) -> None:
    assert name_site(address) == site


async def test_addresses_of_one_site_share_a_budget() -> None:
    """Each client of IPv6 has 2^64 addresses."""
    settings = Settings(
        port=free_port(), storage_url="memory://", rate_limit=2.0, trusted_proxies=("127.0.0.0/8",)
    )
    async with open_composition(settings) as opened:
        transport = httpx.ASGITransport(opened.app)  # type: ignore[arg-type]  # an ASGI application
        async with httpx.AsyncClient(transport=transport, base_url=settings.base_url) as client:

            async def request(address: str) -> int:
                headers = {"x-forwarded-for": address}
                return (await client.get("/v1/ops/projects", headers=headers)).status_code

            statuses = [await request(f"2001:db8::{n}") for n in range(1, 40)]
            assert statuses[0] == 401
            assert 429 in statuses
            assert await request("2001:db8:0:1::1") == 401
