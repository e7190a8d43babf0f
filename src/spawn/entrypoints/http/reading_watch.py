"""Watch over clients that read what waits for them, in the buffers of the kernel too."""

import array
import asyncio
import socket
import sys
from contextlib import suppress
from typing import Final

STALLED_S: Final = 60.0
"""Time in which a client must read at the least rate of what waits for it."""

_CHECKS: Final = 12
"""Checks in that time, so that a client which stops reading is disconnected soon after it."""

_SEND_BUFFER_BYTES: Final = 256 * 1024
"""Send buffer where the kernel does not report what it holds: less is hidden in it."""

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ as UNSENT_QUEUE
else:
    UNSENT_QUEUE = 0


class ReadingWatch:
    """Aborts a connection while its client reads less than a least rate of what waits for it.

    The send buffer of the kernel takes 4 MB and reports that it has room once a third of them is
    free: the buffer of the transport alone shows no progress of a client below 15 to 20 KB/s.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        least_bytes_s: int,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._least_bytes_s = least_bytes_s
        self._socket: socket.socket | None = transport.get_extra_info("socket")
        self._timer: asyncio.TimerHandle | None = None
        self._begin_s = 0.0
        self._unread_bytes = 0
        if not UNSENT_QUEUE and self._socket is not None:
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def start(self) -> None:
        """Watch until nothing waits in the transport any more."""
        if self._timer is None:
            self.note_progress()
            self._schedule()

    def note_progress(self) -> None:
        """Measure from now on: the client has read enough until now."""
        self._begin_s, self._unread_bytes = self._loop.time(), self._count_unread_bytes()

    def stop(self) -> None:
        """Watch no more; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._timer = self._loop.call_later(STALLED_S / _CHECKS, self._check)

    def _check(self) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            return
        read_bytes = self._unread_bytes - self._count_unread_bytes()
        if read_bytes >= self._least_bytes_s * STALLED_S:
            self.note_progress()
        elif self._loop.time() - self._begin_s >= STALLED_S:
            self._transport.abort()
            return
        self._schedule()

    def _count_unread_bytes(self) -> int:
        """Return the bytes in the transport, and those that the peer has not acknowledged."""
        kernel_bytes = array.array("i", [0])
        if UNSENT_QUEUE and self._socket is not None:
            with suppress(OSError, ValueError):  # the socket is closed
                ioctl(self._socket.fileno(), UNSENT_QUEUE, kernel_bytes)
        return self._transport.get_write_buffer_size() + kernel_bytes[0]
