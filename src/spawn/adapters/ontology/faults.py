"""Fault injection for drills: slow, failing, malformed or missing responses."""

import asyncio
import random
from http import HTTPStatus
from typing import Final

import msgspec

from spawn.domain.errors import InvalidInput

MAX_DELAY_S: Final = 300.0
"""Seconds that a drill may delay or withhold a response."""

_GARBAGE: Final = b'{"columns": [{"name": "oops", <!doctype html><title>502 Bad Gateway</title>'


class FaultSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Faults that a drill injects; none by default.

    Each response is delayed by `latency_s`, then fails with `error_status` at the rate
    `error_rate` (0 to 1). `garbage` sends a body that is not JSON, `hang` sends no response until
    the drill ends. `accept_invalid` lets any document be published.
    """

    latency_s: float = 0.0
    error_rate: float = 0.0
    error_status: int = 503
    garbage: bool = False
    hang: bool = False
    accept_invalid: bool = False

    def __post_init__(self) -> None:
        """Raise InvalidInput for a fault that is out of range."""
        if not 0 <= self.latency_s <= MAX_DELAY_S:
            detail = f"must be 0 to {MAX_DELAY_S:g} seconds"
            raise InvalidInput.at("/latency_s", "out_of_range", detail)
        if not 0 <= self.error_rate <= 1:
            raise InvalidInput.at("/error_rate", "out_of_range", "must be 0 to 1")
        failures = [status for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST]
        if self.error_status not in failures:
            raise InvalidInput.at("/error_status", "out_of_range", "must be a status from 400 on")


class InjectedError(Exception):
    """An error that a drill injects instead of a response."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class FaultInjector:
    """The active fault settings, applied to each response."""

    def __init__(self) -> None:
        self.settings = FaultSettings()
        self._changed = asyncio.Event()

    def configure(self, settings: FaultSettings) -> None:
        """Activate the settings and release the responses that hang under the last ones."""
        self.settings = settings
        self._changed.set()
        self._changed = asyncio.Event()

    async def inject(self) -> bytes | None:
        """Apply the faults to one response; return a body that replaces its own, or None.

        Raises:
            InjectedError: the response fails.
        """
        settings = self.settings
        if settings.hang:
            try:
                async with asyncio.timeout(MAX_DELAY_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
        if settings.latency_s:
            await asyncio.sleep(settings.latency_s)
        if random.random() < settings.error_rate:  # noqa: S311  # a drill, not a secret
            raise InjectedError(HTTPStatus(settings.error_status))
        return _GARBAGE if settings.garbage else None
