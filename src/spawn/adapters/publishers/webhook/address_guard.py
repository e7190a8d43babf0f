"""Which addresses a webhook may reach: none inside the network, unless it is allowed by name.

A URL is a way for its author to make the service speak to hosts that only it can reach: its own
ports, neighbours, the metadata service of a cloud. So a name is resolved here, once for each
delivery, every address is judged, and the connection is made to the very address that was judged:
what the name means a moment later makes no difference.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from spawn.domain.errors import InvalidInput, Unavailable

_TRANSLATED = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class AddressGuard:
    """Resolves names to addresses that may be reached."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = read_networks(allowed)

    async def resolve(self, host: str, port: int) -> str:
        """An address of the host that may be reached.

        Raises:
            Unavailable: the name has none, or none that may be reached.
        """
        for text in await _addresses(host, port):
            if self.permits(ip_address(text)):
                return text
        raise Unavailable(
            f"The name {host} has no address that webhooks may reach: it is private, loopback or"
            " reserved; SPAWN_WEBHOOK_ALLOWED_NETWORKS can allow it.",
            retry_after_s=0,
        )

    def permits(self, address: Address) -> bool:
        """Whether the address is public, whatever it is wrapped in, or of an allowed network."""
        inner = _unwrapped(address)
        if any(inner.version == network.version and inner in network for network in self._allowed):
            return True
        return inner.is_global and not inner.is_multicast


async def _addresses(host: str, port: int) -> list[str]:
    """The addresses of a name; of one in plain notation, itself."""
    try:
        return [str(ip_address(host))]
    except ValueError:
        loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unavailable(f"The name {host} cannot be resolved.", retry_after_s=0) from None
    return [str(entry[4][0]) for entry in found]


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    embedded = address.ipv4_mapped or address.sixtofour
    if embedded is None and address.teredo is not None:
        embedded = address.teredo[1]
    if embedded is None and (address in _TRANSLATED or address in _COMPATIBLE) and int(address) > 1:
        embedded = IPv4Address(int(address) & 0xFFFFFFFF)
    return address if embedded is None else embedded


def read_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks in CIDR notation.

    Raises:
        InvalidInput: one is malformed.
    """
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as failure:
        raise InvalidInput.at("", "network_malformed", str(failure)) from None
