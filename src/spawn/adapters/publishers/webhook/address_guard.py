"""Guard against server-side request forgery: webhooks reach public or allowed addresses only.

Through a URL its author can make the service connect to hosts that only the service can reach: its
own ports, neighbours, the metadata service of a cloud. So the host name is resolved here, every
address is checked, and the connection is made to the very address that was checked: what the name
means a moment later makes no difference. Checked addresses are used for seconds, unless they fail,
or until the next lookup ends.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

from spawn.adapters.publishers.webhook.name_lookup import LookupsExhausted, NameLookups
from spawn.adapters.publishers.webhook.special_addresses import (
    Address,
    Network,
    find_ipv4,
    is_special_purpose,
)
from spawn.domain.errors import InvalidInput, Unavailable

RESOLUTION_S: Final = 5.0
"""Time in seconds for which addresses of a host are used without another lookup."""

PATIENCE_S: Final = 0.5
"""Time in seconds to wait for a lookup before the addresses of the last one are used again."""

MAX_AGE_S: Final = 3_600.0
"""Time in seconds for which addresses may be used while lookups do not end."""

_ABSENCES: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})
"""Errors of a lookup that say that the name has no address; others say nothing about it."""

_lookups = NameLookups()


class _CheckedAddresses(NamedTuple):
    """Permitted addresses of a host, the times of their lookup and of the next."""

    addresses: tuple[str, ...]
    checked_at_s: float
    due_at_s: float


class AddressGuard:
    """Resolver of host names to addresses that webhooks may reach."""

    def __init__(self, allowed_networks: Sequence[str]) -> None:
        self._allowed_networks = parse_networks(allowed_networks)
        self._checked: dict[str, _CheckedAddresses] = {}
        self._renewals: dict[str, asyncio.Task[str]] = {}

    async def resolve(self, host: str) -> tuple[str, ...]:
        """Return all addresses of the host that webhooks may reach.

        The addresses of the last lookup are used until the next one ends.

        Args:
            host: An address, or a name in ASCII: the A-labels of an international one.

        Raises:
            Unavailable: the host has no address, or none that webhooks may reach.
        """
        now_s = asyncio.get_running_loop().time()
        checked = self._checked.get(host)
        if checked is not None and now_s < checked.due_at_s:
            return checked.addresses
        if checked is not None and now_s >= checked.checked_at_s + MAX_AGE_S:
            del self._checked[host]
            checked = None
        renewal = self._renewals.get(host) or self._start_renewal(host)
        # A caller that gives up does not end it: its result counts as soon as it is there.
        await asyncio.wait({renewal}, timeout=PATIENCE_S if checked else None)
        if renewal.done():
            checked = self._checked.get(host)
        if checked is None:
            raise Unavailable(renewal.result(), retry_after_s=0)
        if checked.due_at_s <= now_s:
            self._checked[host] = checked._replace(due_at_s=now_s + RESOLUTION_S)
        return checked.addresses

    def _start_renewal(self, host: str) -> asyncio.Task[str]:
        renewal = asyncio.create_task(self._renew(host))
        self._renewals[host] = renewal
        renewal.add_done_callback(lambda _: self._renewals.pop(host))
        return renewal

    async def _renew(self, host: str) -> str:
        """Store the permitted addresses of the host; return why there are none, or nothing.

        The last addresses stay unless a name server says that there are none.
        """
        unresolved = f"The name {host} cannot be resolved."
        try:
            addresses = await _resolve_addresses(host)
        except LookupsExhausted:
            return unresolved
        except OSError as failure:
            if isinstance(failure, socket.gaierror) and failure.errno in _ABSENCES:
                self._checked.pop(host, None)
            return unresolved
        permitted = tuple(text for text in addresses if self.permits(ip_address(text)))
        if not permitted:
            self._checked.pop(host, None)
            return (
                f"The name {host} has no address that webhooks may reach: it is private, loopback"
                " or reserved; SPAWN_WEBHOOK_ALLOWED_NETWORKS can allow it."
            )
        now_s = asyncio.get_running_loop().time()
        self._checked[host] = _CheckedAddresses(permitted, now_s, now_s + RESOLUTION_S)
        return ""

    def forget(self, host: str) -> None:
        """Resolve the host again before its next delivery; its addresses have failed."""
        checked = self._checked.get(host)
        if checked is not None:
            self._checked[host] = checked._replace(due_at_s=0.0)

    def permits(self, address: Address) -> bool:
        """Return whether webhooks may reach the address, and the IPv4 address it stands for."""
        if any(
            address.version == network.version and address in network
            for network in self._allowed_networks
        ):
            return True
        ipv4 = find_ipv4(address)
        return not is_special_purpose(address) and (ipv4 is None or self.permits(ipv4))


async def _resolve_addresses(host: str) -> tuple[str, ...]:
    """Return the addresses of a host name, or the literal address.

    Raises:
        OSError: the name has no address.
        LookupsExhausted: too many lookups are under way.
    """
    try:
        return (str(ip_address(host)),)
    except ValueError:
        return await _lookups.look_up(host)


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Parse networks in CIDR notation.

    Raises:
        InvalidInput: one is malformed.
    """
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as failure:
        raise InvalidInput.at("", "network_malformed", str(failure)) from None
