"""Bounded numbers of places, of which one client may hold a share."""

from math import ceil
from typing import Final

CLIENT_SHARE: Final = 0.75
"""Share of the places of one kind that one client may hold, so that others find some."""


class SharedPlaces:
    """Places of one kind, such as connections or uploads.

    One client may hold `client_places` of them. `in_use` counts those that are held, `rejections`
    the attempts that found none.
    """

    def __init__(self, places: int) -> None:
        self.resize(places)
        self.in_use = self.rejections = 0
        self._held: dict[str, int] = {}

    def resize(self, places: int) -> None:
        """Change the number of places; those that are held stay held."""
        self.places = places
        self.client_places = ceil(places * CLIENT_SHARE)

    def held_by(self, client: str) -> int:
        """Return the number of places that the client holds."""
        return self._held.get(client, 0)

    def take(self, client: str) -> bool:
        """Take a place; return False if none is left for the client."""
        own_places = self._held.get(client, 0)
        if self.in_use >= self.places or own_places >= self.client_places:
            self.rejections += 1
            return False
        self._held[client] = own_places + 1
        self.in_use += 1
        return True

    def release(self, client: str) -> None:
        """Release a place that was taken."""
        own_places = self._held[client] - 1
        self.in_use -= 1
        if own_places:
            self._held[client] = own_places
        else:
            del self._held[client]
