"""The address of a client behind trusted proxies."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from spawn.application.web_addresses import UNIX

_MAX_CACHE_ENTRIES: Final = 4096


class TrustedProxies:
    """The networks whose `X-Forwarded-For` is believed; `unix` is a client of a Unix socket."""

    def __init__(self, networks: Iterable[str]) -> None:
        names = tuple(networks)
        self._is_unix_trusted = UNIX in names
        self._networks = tuple(ipaddress.ip_network(name) for name in names if name != UNIX)
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
                client = str(ipaddress.ip_address(text.strip().strip("[]")))
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
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._networks)
