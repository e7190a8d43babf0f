"""Sockets that listen at the service's address, and the process's limit on open files."""

import contextlib
import resource
import socket
from collections.abc import Iterator
from typing import Final

RESERVED_DESCRIPTORS: Final = 128
"""File descriptors reserved for the store and for outgoing connections."""


class AddressError(Exception):
    """The configured address cannot be bound; the message is one line with the reason."""


@contextlib.contextmanager
def bind_sockets(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Bind sockets to each address of the host, at one port (0: a free one), without listening.

    Binding comes first, so that a port in use is reported before a store is opened, and so that
    the free port is known when addresses are built.

    Raises:
        AddressError: the address is in use, or not one of this machine's.
    """
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            for family, _, _, _, address in dict.fromkeys(infos):
                listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                actual_port = sockets[0].getsockname()[1] if sockets else port
                listener.bind((address[0], actual_port, *address[2:]))
                sockets.append(listener)
        except OSError as error:
            reason = error.strerror or str(error)
            raise AddressError(f"{host}:{port} cannot be listened on: {reason}") from error
        yield sockets


def fit_connections(connections: int) -> int:
    """Return the number of connections, reduced to what the limit on open files allows.

    The soft limit of the process is raised first, as far as the system allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    required = connections + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < required:
        soft = required if hard == resource.RLIM_INFINITY else min(required, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= required:
        return connections
    return max(1, soft - RESERVED_DESCRIPTORS)
