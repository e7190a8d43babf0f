"""The addresses of clients behind trusted proxies."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from spawn.application.traffic.client_sites import parse_address
from spawn.application.web_addresses import UNIX

_MAX_CACHE_ENTRIES: Final = 4096
_MAPPED_PREFIX: Final = 96
"""Bits of an IPv6 address before an IPv4 address that it maps (RFC 4291, 2.5.5.2)."""


def _parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Parse a network; one of IPv4 addresses in the form of IPv6 is that of the IPv4 addresses."""
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_PREFIX:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))
    return network


class TrustedProxies:
    """The networks whose `X-Forwarded-For` is believed; `unix` is a client of a Unix socket."""

    def __init__(self, networks: Iterable[str]) -> None:
        names = tuple(networks)
        self._is_unix_trusted = UNIX in names
        self._networks = tuple(map(_parse_network, (name for name in names if name != UNIX)))
        self.client_of = lru_cache(_MAX_CACHE_ENTRIES)(self._find_client)

    def _find_client(self, peer: str, forwarded_for: bytes) -> str:
        """Return the address of a client.

        Each proxy appends the address that it saw. So the last one that is not of a trusted proxy
        is the client's; what is before it can be invented.

        Args:
            peer: the address of the connection, or `unix`.
            forwarded_for: the header, joined if it is repeated.
        """
        client = peer
        for text in reversed(forwarded_for.decode("latin-1").split(",")):
            if not self.is_trusted(client):
                break
            try:
                client = str(parse_address(text.strip()))
            except ValueError:
                break
        return client

    def is_trusted(self, text: str) -> bool:
        """Whether an address is that of a trusted proxy."""
        if text == UNIX:
            return self._is_unix_trusted
        if not self._networks:
            return False
        try:
            address = parse_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._networks)
