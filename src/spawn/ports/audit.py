"""Port of the audit log: who was denied, what was exported, and what administrators did."""

from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec


class AuditKind(StrEnum):
    """The reason for which a request is in the audit log."""

    ADMINISTRATION = "administration"
    EXPORT = "export"
    DENIAL = "denial"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One act, or equal denials of one minute.

    `number` orders the entries and is assigned by the log. `operation` is the id of an operation of
    the API or a command; empty if the path has none. `status` is that of the response, 0 if none
    was sent. `address` is the client's. `detail` has no secret. `count` is the number of denials.
    """

    number: int = 0
    time: datetime
    kind: AuditKind
    actor: str
    operation: str
    status: int
    address: str = ""
    request_id: str = ""
    detail: str = ""
    count: int = 1


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of entries, newest first; None and an empty text select all.

    `before` is the number of the last entry of the previous page; times are inclusive.
    """

    kind: AuditKind | None = None
    actor: str = ""
    operation: str = ""
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    limit: int = 50

    def selects(self, entry: AuditEntry) -> bool:
        """Whether an entry belongs to the pages."""
        return (
            (self.before is None or entry.number < self.before)
            and self.kind in {None, entry.kind}
            and self.actor in {"", entry.actor}
            and self.operation in {"", entry.operation}
            and (self.since is None or entry.time >= self.since)
            and (self.until is None or entry.time <= self.until)
        )


class AuditLog(Protocol):
    """Port of a bounded, append-only log; the oldest entries are dropped.

    Denials MUST NOT drop other entries, however many there are.
    """

    @property
    def failed_count(self) -> int:
        """The number of entries that could not be written since the log was opened."""
        ...

    def append(self, entry: AuditEntry) -> None:
        """Append an entry with the next number; it never raises and never waits."""
        ...

    async def read(self, query: AuditQuery) -> list[AuditEntry]:
        """Return a page with every entry appended before the call that is still there."""
        ...

    async def close(self) -> None:
        """Write what is left; idempotent."""
        ...
