"""Guard against server-side request forgery: webhooks reach public or allowed addresses only.

Through a URL its author can make the service connect to hosts that only the service can reach: its
own ports, neighbours, the metadata service of a cloud. So the host name is resolved here, every
address is checked, and the connection is made to the very address that was checked: what the name
means a moment later makes no difference. A checked address is used for seconds, unless it fails.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Final

from spawn.adapters.publishers.webhook.special_addresses import (
    Address,
    Network,
    find_ipv4,
    is_special_purpose,
)
from spawn.domain.errors import InvalidInput, Unavailable

RESOLUTION_S: Final = 5.0
"""Time in seconds for which an address of a host is used without another resolution."""


class AddressGuard:
    """Resolver of host names to addresses that webhooks may reach."""

    def __init__(self, allowed_networks: Sequence[str]) -> None:
        self._allowed_networks = parse_networks(allowed_networks)
        self._checked: dict[tuple[str, int], tuple[str, float]] = {}

    async def resolve(self, host: str, port: int) -> str:
        """Return an address of the host that webhooks may reach.

        Raises:
            Unavailable: the host has no address, or none that webhooks may reach.
        """
        now_s = asyncio.get_running_loop().time()
        checked, until_s = self._checked.get((host, port), ("", now_s))
        if now_s < until_s:
            return checked
        for text in await _resolve_addresses(host, port):
            if self.permits(ip_address(text)):
                self._checked[host, port] = (text, now_s + RESOLUTION_S)
                return text
        raise Unavailable(
            f"The name {host} has no address that webhooks may reach: it is private, loopback or"
            " reserved; SPAWN_WEBHOOK_ALLOWED_NETWORKS can allow it.",
            retry_after_s=0,
        )

    def forget(self, host: str, port: int) -> None:
        """Resolve the host again before its next delivery; its address has failed."""
        self._checked.pop((host, port), None)

    def permits(self, address: Address) -> bool:
        """Return whether webhooks may reach the address, and the IPv4 address it stands for."""
        if any(
            address.version == network.version and address in network
            for network in self._allowed_networks
        ):
            return True
        ipv4 = find_ipv4(address)
        return not is_special_purpose(address) and (ipv4 is None or self.permits(ipv4))


async def _resolve_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host name; a literal address is returned unchanged."""
    try:
        return [str(ip_address(host))]
    except ValueError:
        loop = asyncio.get_running_loop()
    try:
        records = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unavailable(f"The name {host} cannot be resolved.", retry_after_s=0) from None
    return [str(record[4][0]) for record in records]


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Parse networks in CIDR notation.

    Raises:
        InvalidInput: one is malformed.
    """
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as failure:
        raise InvalidInput.at("", "network_malformed", str(failure)) from None
