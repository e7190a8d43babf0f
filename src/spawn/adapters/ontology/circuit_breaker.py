"""A circuit breaker: after too many failures nobody asks for a while, and then exactly one does."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import msgspec

from spawn.domain.errors import RegistryError


class BreakerState(StrEnum):
    """Closed lets calls through, open refuses them, half-open lets one probe through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerOpen(RegistryError):
    """The breaker refused the call; nothing was asked."""


class BreakerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`failures` within `window_s` seconds open the breaker, for `open_s` seconds."""

    failures: int = 5
    window_s: float = 60.0
    open_s: float = 15.0


class Breaker:
    """Guards calls made with `with breaker.guard(Failure):`.

    For use on one event loop: between two awaits nothing else runs, so no lock is needed. A call
    that was let through before the breaker changed its state no longer counts when it ends.
    """

    def __init__(self, limits: BreakerLimits, *, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._failures: deque[float] = deque(maxlen=limits.failures)
        self._opened_at: float | None = None
        self._probing = False
        self._generation = 0

    @property
    def state(self) -> BreakerState:
        """The state now; an open breaker becomes half-open by the passing of time."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        if self._monotonic() - self._opened_at < self._limits.open_s:
            return BreakerState.OPEN
        return BreakerState.HALF_OPEN

    @contextmanager
    def guard(self, *failures: type[Exception]) -> Iterator[None]:
        """Let the block run and learn from how it ends.

        The given exceptions are failures and any other is an answer. A cancelled block says nothing
        of the other side: a probe that was cancelled makes way for the next.

        Raises:
            BreakerOpen: the block must not run now.
        """
        generation = self._admit()
        try:
            yield
        except failures:
            self._failed(generation)
            raise
        except Exception:
            self._succeeded(generation)
            raise
        except BaseException:
            self._withdrawn(generation)
            raise
        self._succeeded(generation)

    def _admit(self) -> int:
        state = self.state
        if state is BreakerState.OPEN:
            raise BreakerOpen("the registry failed too often and is given time to recover")
        if state is BreakerState.HALF_OPEN:
            if self._probing:
                raise BreakerOpen("the registry is being probed after failing too often")
            self._probing = True
        return self._generation

    def _failed(self, generation: int) -> None:
        if generation != self._generation:
            return
        now = self._monotonic()
        self._failures.append(now)
        full = len(self._failures) == self._limits.failures
        if self._probing or (full and now - self._failures[0] <= self._limits.window_s):
            self._change(opened_at=now)

    def _succeeded(self, generation: int) -> None:
        if generation == self._generation and self._probing:
            self._change(opened_at=None)

    def _withdrawn(self, generation: int) -> None:
        if generation == self._generation:
            self._probing = False

    def _change(self, *, opened_at: float | None) -> None:
        self._opened_at = opened_at
        self._probing = False
        self._failures.clear()
        self._generation += 1
