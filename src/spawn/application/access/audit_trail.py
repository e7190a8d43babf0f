"""The audit trail: acts as they happen, denials counted so that a flood of them stays small."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from spawn.application.dependencies import require
from spawn.application.traffic.client_sites import find_network, name_site
from spawn.domain.principal import ANONYMOUS, Principal, Scope
from spawn.domain.text import redact
from spawn.ports.audit import AuditEntry, AuditKind, AuditLog, AuditQuery
from spawn.ports.runtime import Clock

WINDOW_S: Final = 60.0
"""Seconds for which equal denials after the first one are counted, not written."""

MAX_DENIALS: Final = 128
"""Different denials of a window that are written, of all principals; further ones are counted.

As many are those of all sites without valid credentials, so that neither hide the others.
"""

MAX_SOURCE_DENIALS: Final = 32
"""Those of one principal, or of one site without valid credentials."""

RESERVED_DENIALS: Final = 32
"""Those of either that are left to sources without one, so that few hide nobody's first denial."""

MAX_DETAIL_LENGTH: Final = 500
_Cause = tuple[str, str, int, str]
_Source = tuple[str, str]
"""A principal, or none and the site of an address; its network (/48) if it is one of IPv6."""

_FURTHER: Final = "further denials, of other operations"
_FURTHER_OF_OTHERS: Final = "further denials, of other callers or operations"


class AuditTrail:
    """The audit log with its rule for denials.

    The first denial of an actor, operation, status and address in a window is written at once;
    the number of equal ones that follow at the end of the window. Each actor, and each address
    without valid credentials, has a share of what is written, so that a flood of one hides no
    denial of another. `on_failure` is called at the end
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
        self._shares: dict[_Source, int] = {}
        self._further_counts: dict[_Source, int] = {}
        self._further_count = 0
        self._written_counts = [0, 0]

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
        source = _find_source(cause)
        share = self._shares.get(source, 0)
        if share < MAX_SOURCE_DENIALS and self._has_room(source):
            self._shares[source] = share + 1
            self._written_counts[not source[0]] += 1
            return False
        if share:
            self._further_counts[source] = self._further_counts.get(source, 0) + 1
        else:
            self._further_count += 1
        return True

    def _has_room(self, source: _Source) -> bool:
        reserved = RESERVED_DENIALS if source in self._shares else 0
        return self._written_counts[not source[0]] < MAX_DENIALS - reserved

    def end_window(self) -> None:
        """Write the numbers of denials since the last window."""
        now = self._clock.now()
        for cause, number in self._counts.items():
            first = self._first[cause]
            self.log.append(msgspec.structs.replace(first, time=now, count=number, request_id=""))
        for source, number in self._further_counts.items():
            self._append_further(source, number, _FURTHER)
        if self._further_count:
            self._append_further(("", ""), self._further_count, _FURTHER_OF_OTHERS)
        self._first, self._counts = {}, {}
        self._shares, self._further_counts = {}, {}
        self._further_count = 0
        self._written_counts = [0, 0]
        failed_count = self.log.failed_count
        if failed_count > self._failed_count:
            self._on_failure(failed_count - self._failed_count)
            self._failed_count = failed_count

    def _append_further(self, source: _Source, number: int, detail: str) -> None:
        """Append the number of denials that were not written themselves."""
        actor, address = source
        entry = AuditEntry(
            time=self._clock.now(),
            kind=AuditKind.DENIAL,
            actor=actor or (ANONYMOUS.id if address else ""),
            operation="",
            status=0,
            address=address,
            detail=detail,
            count=number,
        )
        self.log.append(entry)

    async def watch(self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """End a window every minute."""
        while True:
            await sleep(WINDOW_S)
            self.end_window()

    async def close(self) -> None:
        """End the last window, and write what is left."""
        self.end_window()
        await self.log.close()


def _find_source(cause: _Cause) -> _Source:
    actor, _, _, address = cause
    if actor != ANONYMOUS.id:
        return actor, ""
    site = name_site(address)
    return "", find_network(site) or site


async def read_audit_log(
    trail: AuditTrail, principal: Principal, query: AuditQuery
) -> list[AuditEntry]:
    """Return a page of the audit log, newest first."""
    require(principal, Scope.ADMIN)
    return await trail.log.read(query)
