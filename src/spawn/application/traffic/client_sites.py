"""Names of clients without credentials: the site of an address, and the network of a site."""

import ipaddress
import re
from functools import lru_cache
from typing import Final

SITE_BITS: Final = 64
"""Bits of an IPv6 address that a network gives to one site, which chooses the others itself."""

NETWORK_BITS: Final = 48
"""Bits of an IPv6 address that a provider gives to one customer at most (RFC 6177, BCP 157)."""

SITE_SUFFIX: Final = f"/{SITE_BITS}"
_MAX_CACHE_ENTRIES: Final = 4096
_WITH_PORT: Final = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(text: str) -> _Address:
    """Parse an address, with or without the port that some proxies append.

    An IPv4 client of a socket for both families is one of IPv4.

    Raises:
        ValueError: the text is no address.
    """
    match = _WITH_PORT.fullmatch(text)
    address = ipaddress.ip_address(text if match is None else match[1] or match[2])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(_MAX_CACHE_ENTRIES)
def name_site(address: str) -> str:
    """Return the name under which limits count an address.

    A client of IPv6 has 2^64 addresses of its own, and would have the limits of each.
    """
    try:
        parsed_address = parse_address(address)
    except ValueError:
        return address
    if isinstance(parsed_address, ipaddress.IPv4Address):
        return str(parsed_address)
    return str(ipaddress.ip_network((parsed_address, SITE_BITS), strict=False))


@lru_cache(_MAX_CACHE_ENTRIES)
def find_network(client: str) -> str | None:
    """Return the network of a site; None for a principal, whose name may end like that of one."""
    try:
        return str(ipaddress.IPv6Network(client).supernet(new_prefix=NETWORK_BITS))
    except ValueError:
        return None
