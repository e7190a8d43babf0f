"""Allowed values of the Host header."""

from typing import Final

_MAX_CACHE_ENTRIES: Final = 256


class AllowedHosts:
    """The host names of the service; `*` allows every name.

    `cache` has Host headers that were allowed before, so that most requests skip the parsing.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self.cache: set[bytes] = set()

    def is_allowed(self, host: bytes) -> bool:
        """Whether a Host header, with any port, names the service."""
        if not self._is_name_allowed(host):
            return False
        if len(self.cache) < _MAX_CACHE_ENTRIES:
            self.cache.add(host)
        return True

    def _is_name_allowed(self, host: bytes) -> bool:
        name, _, port = host.decode("latin-1").lower().partition(":")
        if host.startswith(b"["):
            name, _, port = host.decode("latin-1").lower().partition("]")
            name, port = name.removeprefix("["), port.removeprefix(":")
        if port and not port.isdecimal():
            return False
        return "*" in self._names or name in self._names
