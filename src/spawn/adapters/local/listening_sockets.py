"""Sockets that listen at the service's addresses, and the process's limit on open files."""

import contextlib
import errno
import fcntl
import os
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

RESERVED_DESCRIPTORS: Final = 128
"""File descriptors reserved for the store and for outgoing connections."""

_LOCK_SUFFIX: Final = ".lock"


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


@contextlib.contextmanager
def bind_unix_socket(path: Path, mode: int) -> Iterator[socket.socket]:
    """Bind a Unix socket with the permissions of `mode`, and remove its file at the end.

    A lock beside the socket is held meanwhile: a process that has bound its socket and does not
    listen yet looks as if it had ended.

    Raises:
        AddressError: another process uses the path, it is no socket, or it cannot be created.
    """
    with contextlib.ExitStack() as stack:
        try:
            _lock_beside(path, stack)
            _remove_stale_socket(path)
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listener.bind(str(path))
            # Nobody can connect before it listens, so the permissions come in time.
            path.chmod(mode)
            identity = path.lstat()
        except OSError as error:
            reason = error.strerror or str(error)
            raise AddressError(f"{path} cannot be listened on: {reason}") from error
        stack.callback(_remove_own_socket, path, identity)
        yield listener


def _lock_beside(path: Path, stack: contextlib.ExitStack) -> None:
    """Hold a lock beside the socket; the lock's file stays, as others may wait for it.

    Raises:
        AddressError: another process holds it.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(f"{path}{_LOCK_SUFFIX}", flags, 0o600)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AddressError(f"{path} cannot be listened on: another process uses it") from None


def _remove_stale_socket(path: Path) -> None:
    """Remove the socket of a process that ended.

    Raises:
        AddressError: a process listens there, or the file is no socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressError(f"{path} cannot be listened on: it exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise AddressError(f"{path} cannot be listened on: another process uses it")
    path.unlink()


def _remove_own_socket(path: Path, identity: os.stat_result) -> None:
    """Remove the socket, unless its file has been replaced by another."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(path.lstat(), identity):
            path.unlink()


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
