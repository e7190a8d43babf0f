"""Watch over clients that read what waits for them, in the buffers of the kernel too."""

import array
import asyncio
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

STALLED_S: Final = 60.0
"""Time in which a client must read at the least rate of what waits for it."""

_CHECKS: Final = 12
"""Checks in that time, so that a client which stops reading is disconnected soon after it."""

_SEND_BUFFER_BYTES: Final = 256 * 1024
"""Send buffer where the kernel does not report what it holds: less is hidden in it."""

CONFIRMATION_S: Final = 3.0
"""Time in which a client confirms the end of a TLS connection that it has read to its end."""

_ACKNOWLEDGED: Final = struct.Struct("=120xQ")
"""Bytes that the peer has acknowledged, in the kernel's description of a TCP connection."""

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ as UNSENT_QUEUE
else:
    UNSENT_QUEUE = 0


class CountedTransport:
    """A transport that counts the bytes written to it."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.written_bytes = 0

    def write(self, data: bytes) -> None:
        """Write the bytes and count them."""
        self.written_bytes += len(data)
        self._transport.write(data)

    def writelines(self, parts: Sequence[bytes]) -> None:
        """Write the parts and count their bytes."""
        self.written_bytes += sum(map(len, parts))
        self._transport.writelines(parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class ReadingWatch:
    """Aborts a connection while its client reads less than a least rate of what waits for it.

    The send buffer of the kernel takes 4 MB and reports that it has room once a third of them is
    free: the buffer of the transport alone shows no progress of a client below 15 to 20 KB/s. Under
    TLS the event loop has a buffer of its own besides, which it reports to nobody: what waits is
    known by the kernel's alone. What was read is what the client acknowledged over TCP, or else
    what was written and does not wait: a stream writes megabytes at once whenever there is room,
    so that what waits grows while the client reads. `transport` is the one to write to.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop, least_bytes_s: int) -> None:
        self._loop = loop
        self._least_bytes_s = least_bytes_s
        self._socket: socket.socket | None = transport.get_extra_info("socket")
        self._has_tls = transport.get_extra_info("sslcontext") is not None
        self._counter = None if self._is_acknowledged() else CountedTransport(transport)
        self.transport: Any = self._counter or transport
        self._timer: asyncio.TimerHandle | None = None
        self._begin_s = 0.0
        self._read_bytes = 0
        if not UNSENT_QUEUE and self._socket is not None:
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def start(self) -> None:
        """Watch until nothing waits for the client any more."""
        if self._timer is None:
            self.note_progress()
            self._schedule()

    def note_progress(self) -> None:
        """Measure from now on: the client has read enough until now."""
        self._begin_s, self._read_bytes = self._loop.time(), self._count_read_bytes()

    def stop(self) -> None:
        """Watch no more; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def has_unread(self) -> bool:
        """Whether something waits for the client."""
        waits = self.transport.get_write_buffer_size() > 0
        return waits or (self._has_tls and self._count_queued_bytes() > 0)

    def _schedule(self) -> None:
        interval_s, check = STALLED_S / _CHECKS, self._check
        if self._is_ending():
            interval_s = min(interval_s, CONFIRMATION_S)
            if not self.has_unread():
                interval_s, check = CONFIRMATION_S, self._end
        self._timer = self._loop.call_later(interval_s, check)

    def _is_ending(self) -> bool:
        """Whether the client has yet to confirm the end of a TLS connection."""
        return self._has_tls and bool(self.transport.is_closing())

    def _check(self) -> None:
        self._timer = None
        if not self.has_unread():
            if self._is_ending():
                self._schedule()
            return
        read_bytes = self._count_read_bytes() - self._read_bytes
        if read_bytes >= self._least_bytes_s * STALLED_S:
            self.note_progress()
        elif self._loop.time() - self._begin_s >= STALLED_S:
            self.transport.abort()
            return
        self._schedule()

    def _end(self) -> None:
        """Abort a TLS connection that its client does not end, unless bytes wait again."""
        self._timer = None
        if self.has_unread():
            self._schedule()
        else:
            self.transport.abort()

    def _is_acknowledged(self) -> bool:
        """Whether the kernel reports what the client has acknowledged."""
        has_tcp = self._socket is not None and self._socket.family != socket.AF_UNIX
        return has_tcp and sys.platform == "linux"

    def _count_read_bytes(self) -> int:
        """Return the bytes that the client has read, from any number on."""
        if self._counter is not None:
            waiting_bytes = self.transport.get_write_buffer_size() + self._count_queued_bytes()
            return self._counter.written_bytes - int(waiting_bytes)
        if self._socket is not None:
            with suppress(OSError, ValueError, AttributeError, struct.error):  # it is closed
                state = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
                return int(_ACKNOWLEDGED.unpack(state)[0])
        return self._read_bytes

    def _count_queued_bytes(self) -> int:
        """Return the bytes in the kernel that the client has not acknowledged."""
        queued_bytes = array.array("i", [0])
        if UNSENT_QUEUE and self._socket is not None:
            with suppress(OSError, ValueError):  # the socket is closed
                ioctl(self._socket.fileno(), UNSENT_QUEUE, queued_bytes)
        return queued_bytes[0]
