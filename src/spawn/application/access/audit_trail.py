"""The audit trail: acts as they happen, denials counted so that a flood of them stays small."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from spawn.application.dependencies import require
from spawn.domain.principal import Principal, Scope
from spawn.domain.text import redact
from spawn.ports.audit import AuditEntry, AuditKind, AuditLog, AuditQuery
from spawn.ports.runtime import Clock

WINDOW_S: Final = 60.0
"""Seconds for which equal denials after the first one are counted, not written."""

MAX_DENIALS: Final = 256
"""Different denials of a window that are written; further ones are counted together."""

MAX_DETAIL_LENGTH: Final = 500
_Cause = tuple[str, str, int, str]


class AuditTrail:
    """The audit log with its rule for denials.

    The first denial of an actor, operation, status and address in a window is written at once;
    the number of equal ones that follow at the end of the window. `on_failure` is called at the end
    of a window in which entries could not be written, with their number.
    """

    def __init__(
        self, log: AuditLog, clock: Clock, *, on_failure: Callable[[int], None] | None = None
    ) -> None:
        self.log = log
        self._clock = clock
        self._on_failure = on_failure or (lambda _: None)
        self._failed_count = 0
        self._first: dict[_Cause, AuditEntry] = {}
        self._counts: dict[_Cause, int] = {}
        self._further_count = 0

    def record(
        self,
        kind: AuditKind,
        *,
        actor: str,
        operation: str,
        status: int,
        address: str = "",
        request_id: str = "",
        detail: str = "",
    ) -> None:
        """Record an act or a denial; credentials in the detail are replaced."""
        if kind is AuditKind.DENIAL and self._is_counted((actor, operation, status, address)):
            return
        entry = AuditEntry(
            time=self._clock.now(),
            kind=kind,
            actor=actor,
            operation=operation,
            status=status,
            address=address,
            request_id=request_id,
            detail=redact(detail)[:MAX_DETAIL_LENGTH],
        )
        if kind is AuditKind.DENIAL:
            self._first[actor, operation, status, address] = entry
        self.log.append(entry)

    def _is_counted(self, cause: _Cause) -> bool:
        """Count a denial that need not be written itself."""
        if cause in self._first:
            self._counts[cause] = self._counts.get(cause, 0) + 1
            return True
        if len(self._first) < MAX_DENIALS:
            return False
        self._further_count += 1
        return True

    def end_window(self) -> None:
        """Write the numbers of denials since the last window."""
        now = self._clock.now()
        for cause, number in self._counts.items():
            first = self._first[cause]
            self.log.append(msgspec.structs.replace(first, time=now, count=number, request_id=""))
        if self._further_count:
            further = AuditEntry(
                time=now,
                kind=AuditKind.DENIAL,
                actor="",
                operation="",
                status=0,
                detail="further denials, of other callers or operations",
                count=self._further_count,
            )
            self.log.append(further)
        self._first, self._counts, self._further_count = {}, {}, 0
        failed_count = self.log.failed_count
        if failed_count > self._failed_count:
            self._on_failure(failed_count - self._failed_count)
            self._failed_count = failed_count

    async def watch(self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """End a window every minute."""
        while True:
            await sleep(WINDOW_S)
            self.end_window()

    async def close(self) -> None:
        """End the last window, and write what is left."""
        self.end_window()
        await self.log.close()


async def read_audit_log(
    trail: AuditTrail, principal: Principal, query: AuditQuery
) -> list[AuditEntry]:
    """Return a page of the audit log, newest first."""
    require(principal, Scope.ADMIN)
    return await trail.log.read(query)
