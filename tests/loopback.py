"""Ports of the loopback interface, for servers that tests start."""

import random
import socket
from collections.abc import Callable

import tenacity

_FIRST_PORT = 10_000
_LAST_PORT = 32_000
"""Below the ephemeral ports of Linux (32768 and up), which any client may take at any time."""

_random = random.SystemRandom()


def free_port() -> int:
    """Return a port that nobody listens on.

    It is drawn at random, so that parallel test processes hardly ever draw the same one.
    """
    while True:
        port = _random.randint(_FIRST_PORT, _LAST_PORT)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def wait_until_listening(
    port: int, raise_if_over: Callable[[], object] = lambda: None, limit_s: float = 60.0
) -> None:
    """Wait until a server listens on a port; `raise_if_over` ends the wait of one that never will.

    A connection costs a hundredth of a request by an HTTP client, which took from the server the
    processor that it needed to start.

    Raises:
        ConnectionRefusedError: nobody listened in time.
    """
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(ConnectionRefusedError),
        wait=tenacity.wait_fixed(0.02),
        stop=tenacity.stop_after_delay(limit_s),
        reraise=True,
    ):
        with attempt:
            raise_if_over()
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
