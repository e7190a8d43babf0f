"""Addresses of special purpose, which no webhook reaches unless a network is allowed.

The lists are IANA's registries of special-purpose addresses (RFC 6890 and its successors), with
multicast, former site-local and tunnel addresses. They are kept here because those of an
interpreter differ from release to release.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

IPV4_NETWORKS: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network (RFC 791)
            "10.0.0.0/8",  # private use (RFC 1918)
            "100.64.0.0/10",  # shared address space of carriers (RFC 6598)
            "127.0.0.0/8",  # loopback (RFC 1122)
            "169.254.0.0/16",  # link-local, metadata services of clouds (RFC 3927)
            "172.16.0.0/12",  # private use (RFC 1918)
            "192.0.0.0/24",  # protocol assignments (RFC 6890)
            "192.0.2.0/24",  # documentation (RFC 5737)
            "192.31.196.0/24",  # AS112 (RFC 7535)
            "192.52.193.0/24",  # automatic multicast tunnelling (RFC 7450)
            "192.88.99.0/24",  # former 6to4 relays (RFC 7526)
            "192.168.0.0/16",  # private use (RFC 1918)
            "192.175.48.0/24",  # AS112 (RFC 7534)
            "198.18.0.0/15",  # benchmarking (RFC 2544)
            "198.51.100.0/24",  # documentation (RFC 5737)
            "203.0.113.0/24",  # documentation (RFC 5737)
            "224.0.0.0/4",  # multicast (RFC 5771)
            "240.0.0.0/4",  # reserved, and the broadcast address (RFC 1112, RFC 8190)
        ),
    )
)
"""IPv4 networks of special purpose."""

IPV6_NETWORKS: Final = tuple(
    map(
        IPv6Network,
        (
            "::/96",  # unspecified, loopback, former IPv4-compatible addresses (RFC 4291)
            "64:ff9b:1::/48",  # translation within a network (RFC 8215)
            "100::/64",  # discard only (RFC 6666)
            "100:0:0:1::/64",  # dummy prefix (RFC 9780)
            "2001::/23",  # protocol assignments, such as Teredo, benchmarking, ORCHID (RFC 2928)
            "2001:db8::/32",  # documentation (RFC 3849)
            "2002::/16",  # 6to4 tunnels to any IPv4 address (RFC 3056)
            "2620:4f:8000::/48",  # AS112 (RFC 7534)
            "3fff::/20",  # documentation (RFC 9637)
            "5f00::/16",  # segment routing (RFC 9602)
            "fc00::/7",  # unique local (RFC 4193)
            "fe80::/10",  # link-local (RFC 4291)
            "fec0::/10",  # former site-local (RFC 3879)
            "ff00::/8",  # multicast (RFC 4291)
        ),
    )
)
"""IPv6 networks of special purpose, beside everything outside global unicast."""

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_PREFIXES_BEFORE_IPV4: Final = tuple(
    map(
        IPv6Network,
        (
            "::ffff:0:0/96",  # IPv4-mapped (RFC 4291)
            "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
            "64:ff9b::/96",  # NAT64 (RFC 6052)
        ),
    )
)
_ISATAP_IDS: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
_LOW_32_BITS: Final = 0xFFFF_FFFF


def is_special_purpose(address: Address) -> bool:
    """Whether the address is of special purpose; one that stands for an IPv4 address is not."""
    if isinstance(address, IPv4Address):
        return any(address in network for network in IPV4_NETWORKS)
    if address.scope_id is not None:
        return True
    if find_ipv4(address) is not None:
        return False
    is_isatap = int(address) >> 32 & _LOW_32_BITS in _ISATAP_IDS
    is_listed = any(address in network for network in IPV6_NETWORKS)
    return is_isatap or is_listed or address not in _GLOBAL_UNICAST


def find_ipv4(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for; None if it stands for none."""
    if isinstance(address, IPv6Address) and any(address in one for one in _PREFIXES_BEFORE_IPV4):
        return IPv4Address(int(address) & _LOW_32_BITS)
    return None
