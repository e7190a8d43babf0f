"""A listener with TLS that limits connections before their handshake."""

import asyncio
import socket
import ssl
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from spawn.application.traffic.traffic_control import HandshakeOutcome

FLUSH_TIMEOUT_S: Final = 600.0
"""Time in which a client reads what waits on a TLS connection that is closed.

The event loop counts it from the end of the last write: a client that was still reading lost the
rest of a response after 3 s.
"""

_ACCEPT_PAUSE_S: Final = 0.5
"""Pause after a connection could not be accepted, because descriptors ran out for example."""


class AdmittedProtocol(asyncio.Protocol, ABC):
    """A protocol that takes a place for a connection before it begins."""

    @abstractmethod
    def admit(self, address: str) -> bool:
        """Take a place for a connection of an address; return False if none is left."""

    @abstractmethod
    def release_place(self) -> None:
        """Release the place of a connection that never began."""


class TlsListener:
    """Accepts connections, gives each a place, and serves it once its handshake is complete.

    An event loop that does the handshake itself calls no protocol before it is complete:
    connections that never finish it would escape the limits. A handshake costs the service more
    than a request, and its client next to nothing, so that each address has a rate of them.
    """

    def __init__(
        self,
        bound: socket.socket,
        create_protocol: Callable[[], AdmittedProtocol],
        get_context: Callable[[], ssl.SSLContext],
        timeout_s: float,
        is_within_rate: Callable[[str], bool],
        outcomes: Counter[HandshakeOutcome],
    ) -> None:
        """Accept nothing yet.

        `is_within_rate` says whether an address may begin a handshake, `outcomes` counts them.
        """
        self._outcomes = outcomes
        self._is_within_rate = is_within_rate
        self._bound = bound
        self._create_protocol = create_protocol
        self._get_context = get_context
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, backlog: int) -> None:
        """Listen, and accept connections from now on."""
        self._bound.listen(backlog)
        self._bound.setblocking(False)  # noqa: FBT003 -- the name is in the method's
        self._start_task(self._accept_forever())

    def close(self) -> None:
        """Accept no more; handshakes end, as nothing is requested on their connections yet."""
        for task in list(self._tasks):
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until no handshake is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start_task(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._bound)
            except OSError:
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            if not self._is_within_rate(str(address[0])):
                self._outcomes[HandshakeOutcome.RATE_LIMITED] += 1
                connection.close()
                continue
            protocol = self._create_protocol()
            if protocol.admit(str(address[0])):
                self._start_task(self._shake_hands(connection, protocol))
            else:
                self._outcomes[HandshakeOutcome.NO_PLACE] += 1
                connection.close()

    async def _shake_hands(self, connection: socket.socket, protocol: AdmittedProtocol) -> None:
        is_complete = is_stopped = False
        try:
            # Clients fail in many ways, all of which are an OSError: an SSLError is one too.
            with suppress(OSError):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=self._get_context(),
                    ssl_handshake_timeout=self._timeout_s,
                    ssl_shutdown_timeout=FLUSH_TIMEOUT_S,
                )
                is_complete = True
                self._outcomes[HandshakeOutcome.COMPLETED] += 1
        except asyncio.CancelledError:
            is_stopped = True
            raise
        finally:
            if not is_complete:
                if not is_stopped:
                    self._outcomes[HandshakeOutcome.FAILED] += 1
                protocol.release_place()
                connection.close()
