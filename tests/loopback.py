"""Ports of the loopback interface, for servers that tests start."""

import random
import socket

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
