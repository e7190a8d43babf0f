"""Bounded numbers of places, of which one client may hold a share of those that are free."""

from typing import Final

from spawn.application.traffic.client_sites import SITE_SUFFIX, find_network

FREE_MULTIPLE: Final = 3
"""Places that one client may hold for each that is free.

These are the dynamic thresholds of Choudhury and Hahne (IEEE/ACM ToN 6(2), 1998). A client alone
takes three quarters; n greedy ones that come and go leave one in 3 n + 1 to the next one. Places
that are never released go in order of arrival: each greedy client takes three quarters of what the
earlier ones left, so that 6 of them hold 2,048. Those that can be withdrawn are given to others:
`find_largest_holder` names whose.
"""


class SharedPlaces:
    """Places of one kind, such as connections or uploads.

    One client may hold `FREE_MULTIPLE` of them for each that is free, and so may all sites of an
    IPv6 network together. `in_use` counts those that are held, `rejections` the attempts that
    found none.
    """

    def __init__(self, places: int) -> None:
        self.resize(places)
        self.in_use = self.rejections = 0
        self._held: dict[str, int] = {}
        self._held_by_networks: dict[str, int] = {}

    def resize(self, places: int) -> None:
        """Change the number of places; those that are held stay held."""
        self.places = places

    def held_by(self, client: str) -> int:
        """Return the number of places that the client holds."""
        return self._held.get(client, 0)

    def held_with_network(self, client: str) -> int:
        """Return the number of places that the client holds, or its network if that has more."""
        network = _find_network(client)
        of_network = 0 if network is None else self._held_by_networks.get(network, 0)
        return max(self._held.get(client, 0), of_network)

    def find_largest_holder(self) -> tuple[str, int]:
        """Return the client or network with the most places, and how many; empty if none is held.

        A network is named before its only site, which it includes.
        """
        largest, most_places = "", 0
        for held in (self._held_by_networks, self._held):
            holder = max(held, key=held.__getitem__, default="")
            if held.get(holder, 0) > most_places:
                largest, most_places = holder, held[holder]
        return largest, most_places

    def may_follow(self, client: str) -> bool:
        """Whether the client could take a place if another one were released."""
        return self.held_with_network(client) < FREE_MULTIPLE * (self.places - self.in_use + 1)

    def take(self, client: str) -> bool:
        """Take a place; return False if none is left for the client."""
        own_places = self._held.get(client, 0)
        most_places = FREE_MULTIPLE * (self.places - self.in_use)
        if own_places >= most_places or (
            client.endswith(SITE_SUFFIX) and not self._take_of_network(client, most_places)
        ):
            self.rejections += 1
            return False
        self._held[client] = own_places + 1
        self.in_use += 1
        return True

    def release(self, client: str) -> None:
        """Release a place that was taken."""
        self.in_use -= 1
        _reduce(self._held, client)
        if network := _find_network(client):
            _reduce(self._held_by_networks, network)

    def _take_of_network(self, site: str, most_places: int) -> bool:
        """Count a place for the network of a site; return False if it holds too many."""
        network = find_network(site)
        if network is None:
            return True
        held_places = self._held_by_networks.get(network, 0)
        if held_places >= most_places:
            return False
        self._held_by_networks[network] = held_places + 1
        return True


def is_of(client: str, holder: str) -> bool:
    """Whether a holder of places is the client or its network."""
    return holder in (client, _find_network(client))


def _find_network(client: str) -> str | None:
    return find_network(client) if client.endswith(SITE_SUFFIX) else None


def _reduce(held: dict[str, int], holder: str) -> None:
    places = held[holder] - 1
    if places:
        held[holder] = places
    else:
        del held[holder]
