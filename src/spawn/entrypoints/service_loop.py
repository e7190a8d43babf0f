"""Event loop of the service, whose lookups of names hold up neither each other nor the end."""

import socket
from typing import Any

import uvloop

from spawn.adapters.publishers.webhook.name_lookup import LookupsExhausted, NameLookups


class ServiceLoop(uvloop.Loop):
    """uvloop with lookups of host names on threads of their own.

    libuv looks up two names at once, and ends only after them: with a silent name server another
    name waited for 8 s and the process for 30 s at its end (ADR 0050).
    """

    def __init__(self) -> None:
        super().__init__()
        self._lookups = NameLookups()

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        """Return the addresses of a name; hints other than a stream's are those of libuv.

        Raises:
            OSError: the name has no address.
        """
        name = host.decode("ascii") if isinstance(host, bytes) else host
        given = {hint: value for hint, value in hints.items() if value}
        is_stream = given == {"type": socket.SOCK_STREAM} and isinstance(port, int)
        if not is_stream or not name or not name.isascii():
            return await super().getaddrinfo(host, port, **hints)
        try:
            addresses = await self._lookups.look_up(name)
        except LookupsExhausted:
            raise socket.gaierror(socket.EAI_AGAIN, "too many lookups are under way") from None
        return [_build_record(address, port) for address in addresses]


def _build_record(address: str, port: int) -> tuple[Any, ...]:
    stream = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    if ":" in address:
        return (socket.AF_INET6, *stream, (address, port, 0, 0))
    return (socket.AF_INET, *stream, (address, port))
