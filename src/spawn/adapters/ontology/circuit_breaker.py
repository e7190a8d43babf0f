"""Circuit breaker: too many failures stop all calls for a while, then one probe is admitted."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.errors import RegistryError

_OPEN_DETAIL: Final = "the registry failed too often and is given time to recover"


class CircuitState(StrEnum):
    """Closed admits calls, open rejects them, half-open admits one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitOpen(RegistryError):
    """The breaker rejected the call; no request was sent."""


class CircuitLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`failures` within `window_s` seconds open the breaker, for `open_s` seconds."""

    failures: int = 5
    window_s: float = 60.0
    open_s: float = 15.0


class CircuitBreaker:
    """Guard of calls made inside `with breaker.guard(Failure):`.

    For use on one event loop: between two awaits nothing else runs, so no lock is needed. A call
    that was admitted before the breaker changed its state no longer counts when it ends.
    """

    def __init__(self, limits: CircuitLimits, *, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._failure_times: deque[float] = deque(maxlen=limits.failures)
        self._opened_at: float | None = None
        self._is_probing = False
        self._generation = 0

    @property
    def state(self) -> CircuitState:
        """The current state; an open breaker becomes half-open as time passes."""
        if self._opened_at is None:
            return CircuitState.CLOSED
        if self._monotonic() - self._opened_at < self._limits.open_s:
            return CircuitState.OPEN
        return CircuitState.HALF_OPEN

    @contextmanager
    def guard(self, *failures: type[Exception]) -> Iterator[None]:
        """Run the block if the breaker admits it, and record its outcome.

        The given exceptions are failures; any other one counts as a success, since the registry
        responded. A cancelled block is no evidence either way: the next call may probe.

        Raises:
            CircuitOpen: the block must not run now.
        """
        generation = self._admit()
        try:
            yield
        except failures:
            self._record_failure(generation)
            raise
        except Exception:
            self._record_success(generation)
            raise
        except BaseException:
            self._release_probe(generation)
            raise
        self._record_success(generation)

    def check_closed(self) -> None:
        """Check that a call which does not count may be made: it neither fails nor probes.

        Raises:
            CircuitOpen: the breaker is open or half-open.
        """
        if self.state is not CircuitState.CLOSED:
            raise CircuitOpen(_OPEN_DETAIL)

    def _admit(self) -> int:
        state = self.state
        if state is CircuitState.OPEN:
            raise CircuitOpen(_OPEN_DETAIL)
        if state is CircuitState.HALF_OPEN:
            if self._is_probing:
                raise CircuitOpen("the registry is being probed after failing too often")
            self._is_probing = True
        return self._generation

    def _record_failure(self, generation: int) -> None:
        if generation != self._generation:
            return
        now = self._monotonic()
        self._failure_times.append(now)
        is_full = len(self._failure_times) == self._limits.failures
        if self._is_probing or (is_full and now - self._failure_times[0] <= self._limits.window_s):
            self._change(opened_at=now)

    def _record_success(self, generation: int) -> None:
        if generation == self._generation and self._is_probing:
            self._change(opened_at=None)

    def _release_probe(self, generation: int) -> None:
        if generation == self._generation:
            self._is_probing = False

    def _change(self, *, opened_at: float | None) -> None:
        self._opened_at = opened_at
        self._is_probing = False
        self._failure_times.clear()
        self._generation += 1
