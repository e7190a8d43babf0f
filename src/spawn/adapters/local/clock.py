"""The system clock."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from spawn.ports.runtime import MAX_CLOCK_JUMP_S


def _read_boot_time() -> float:
    """Return steady time in seconds, which goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SystemClock:
    """The machine's clock, compared with its steady time since the process started.

    The steady course follows the clock through small adjustments, so that years of them do not add
    up to a jump. It does not follow a clock that was set back, which may be set right again.
    """

    def __init__(
        self,
        *,
        wall_time: Callable[[], float] = time.time,
        steady_time: Callable[[], float] = _read_boot_time,
    ) -> None:
        self._wall_time = wall_time
        self._steady_time = steady_time
        self._course_s = wall_time() - steady_time()

    def now(self) -> datetime:
        """Return the current instant in UTC."""
        return datetime.now(UTC)

    def jump_s(self) -> float:
        """Return the seconds by which the clock has left its course; see `Clock.jump_s`."""
        offset_s = self._wall_time() - self._steady_time()
        jump_s = offset_s - self._course_s
        if abs(jump_s) <= MAX_CLOCK_JUMP_S:
            self._course_s = offset_s
        return jump_s
