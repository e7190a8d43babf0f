"""Lookups of host names on threads of their own, so that names that hang delay no others.

The lookups of an event loop share a few threads, each of which a name server that does not respond
holds for half a minute, and the process waits for them at its end. Here each name has a daemon
thread while its lookup is under way, and all deliveries to the name wait for that one lookup.
"""

import asyncio
import socket
import threading
from concurrent.futures import Future
from time import monotonic
from typing import Final

MAX_LOOKUPS: Final = 256
"""Lookups under way at once; names whose last lookup was slow have half of them."""

SLOW_LOOKUP_S: Final = 1.0
"""Time in seconds from which a lookup counts as slow."""


class LookupsExhausted(Exception):
    """Too many lookups are under way."""


class NameLookups:
    """Lookups under way, one for each name, shared by all event loops of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[tuple[str, ...]]] = {}
        self._slow_names: set[str] = set()

    async def look_up(self, name: str) -> tuple[str, ...]:
        """Return the addresses of a name; a caller that gives up ends no lookup.

        Args:
            name: The name as a resolver gets it, in ASCII.

        Raises:
            OSError: the name has no address.
            LookupsExhausted: too many lookups are under way.
        """
        return await asyncio.wrap_future(self._start(name))

    def _start(self, name: str) -> Future[tuple[str, ...]]:
        """Return the lookup of the name that is under way, or a new one."""
        with self._lock:
            lookup = self._under_way.get(name)
            if lookup is not None:
                return lookup
            limit = MAX_LOOKUPS // 2 if name in self._slow_names else MAX_LOOKUPS
            if len(self._under_way) >= limit:
                raise LookupsExhausted
            lookup = Future()
            # A running future is not cancelled by those who wait for it.
            lookup.set_running_or_notify_cancel()
            thread = threading.Thread(
                target=self._run, args=(name, lookup), name="spawn-lookup", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the machine has no further thread
                raise LookupsExhausted from None
            self._under_way[name] = lookup
            return lookup

    def _run(self, name: str, lookup: Future[tuple[str, ...]]) -> None:
        started_s = monotonic()
        addresses: tuple[str, ...] = ()
        failure: BaseException | None = None
        try:
            # As bytes: Python would encode a text once more, by other rules.
            records = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
            addresses = tuple(dict.fromkeys(str(record[4][0]) for record in records))
        except BaseException as error:  # noqa: BLE001 -- else the name would be under way for ever
            failure = error
        with self._lock:
            del self._under_way[name]
            if monotonic() - started_s >= SLOW_LOOKUP_S:
                self._slow_names.add(name)
            else:
                self._slow_names.discard(name)
        if failure is None:
            lookup.set_result(addresses)
        else:
            lookup.set_exception(failure)
