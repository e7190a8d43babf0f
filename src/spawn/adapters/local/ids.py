"""UUIDv7 ids."""

import secrets
import struct
import threading
import time
from collections.abc import Iterator

_RANDOM_WORDS = struct.Struct("<256Q")
_MAX_STEP = (1 << 40) - 1


class Uuid7Ids:
    """UUIDv7 (RFC 9562) that strictly increase within the process.

    The millisecond is followed by a counter of 74 bits that starts at random in its lower half
    and grows by random steps: ids of one millisecond stay ordered and cannot be guessed. If the
    clock stands still or goes back, the last millisecond is used again.
    """

    _COUNTER_LIMIT = 1 << 74

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._millisecond = 0
        self._counter = 0
        self._words = _random_words()

    def new(self) -> str:
        """Return a new id in canonical lower-case form."""
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._millisecond:
                self._millisecond = now
                self._counter = self._random_start()
            else:
                self._counter += 1 + (next(self._words) & _MAX_STEP)
                if self._counter >= self._COUNTER_LIMIT:
                    self._millisecond += 1
                    self._counter = self._random_start()
            millisecond, counter = self._millisecond, self._counter
        high, low = counter >> 62, counter & ((1 << 62) - 1)
        text = f"{millisecond << 16 | 0x7000 | high:016x}{1 << 63 | low:016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _random_start(self) -> int:
        return next(self._words) << 9 | next(self._words) >> 55


def _random_words() -> Iterator[int]:
    """Yield random 64-bit numbers without end.

    They are read from the system in blocks: each read releases the interpreter lock, and on the
    event loop, beside a busy thread, taking it back means to wait.
    """
    while True:
        yield from _RANDOM_WORDS.unpack(secrets.token_bytes(_RANDOM_WORDS.size))
