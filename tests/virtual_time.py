"""An event loop whose clock stands still while work is ready, and jumps to the next timer."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Event loop in which hours of waiting take no time; threads and sockets work as ever.

    `delivery_s` is the real time in which the kernel delivers what was sent on a socket.
    """

    def __init__(self, delivery_s: float = 0.0) -> None:
        super().__init__(_JumpingSelector(self, delivery_s))
        self.elapsed_s = 0.0

    def time(self) -> float:
        return self.elapsed_s


class _JumpingSelector(selectors.DefaultSelector):
    """Selector that advances the loop's clock instead of waiting for a timer."""

    def __init__(self, loop: VirtualTimeLoop, delivery_s: float) -> None:
        super().__init__()
        self._loop = loop
        self._delivery_s = delivery_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(timeout if not timeout else self._delivery_s)
        if timeout and not events:
            self._loop.elapsed_s += timeout
        return events


def run_in_virtual_time(main: Coroutine[Any, Any, None], *, delivery_s: float = 0.0) -> None:
    """Run a coroutine to its end."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(delivery_s)) as runner:
        runner.run(main)
