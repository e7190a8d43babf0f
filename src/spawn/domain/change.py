"""What one command changes, as a value: the store writes it whole or not at all.

A write puts a new state of one aggregate; a guard only states which version a decision was made
on, so that a rule spanning aggregates is kept without write skew.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from spawn.domain.events.event import DomainEvent

S_co = TypeVar("S_co", covariant=True)


class Encoded(msgspec.Struct, frozen=True):
    """A new aggregate's state, encoded already: for changes that create thousands at once.

    `document` is what `documents.encode` made of a valid state under the schema of the change; it
    may have been made in another process, and no one here need build the state again.
    """

    document: bytes


class Write(msgspec.Struct, frozen=True):
    """Put `state` as the version after `expected_version`; 0 means that it must not exist yet.

    `kind` is one of `documents.KINDS` and `state` an instance of that kind's type, or, if it
    creates the aggregate, `Encoded`.
    """

    kind: str
    id: str
    expected_version: int
    state: msgspec.Struct


class Guard(msgspec.Struct, frozen=True):
    """Commit only if the aggregate still has this version (0: still does not exist)."""

    kind: str
    id: str
    expected_version: int


class Answer(msgspec.Struct, frozen=True):
    """The answer a client was given: kept, so that a repeated request gets it byte for byte."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Receipt(msgspec.Struct, frozen=True):
    """The idempotency record committed with a change.

    `scope` is principal, method and canonical path; `key` the client's; `fingerprint` the SHA-256
    (hex) of body and content type. `answer` makes the answer once the store has assigned the
    recorded time; it is called in the store's writer, so it must be quick, pure and not fail.
    """

    scope: str
    key: str
    fingerprint: str
    answer: Callable[[datetime], Answer]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One atomic change.

    `events` name at most one event per written aggregate; a write without an event is recorded in
    the journal but not shown on the feed. At most one write per (kind, id). `schema_version` is
    that of the active schema the decision was made under.

    Raises:
        ValueError: on construction, if the writes or events break these rules: a programmer's
            mistake, which no client can cause.
    """

    writes: tuple[Write, ...]
    guards: tuple[Guard, ...] = ()
    events: tuple[DomainEvent, ...] = ()
    receipt: Receipt | None = None
    actor: str
    schema_version: int
    traceparent: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no store could write as one change."""
        written = {(write.kind, write.id) for write in self.writes}
        if len(written) != len(self.writes):
            raise ValueError("a change writes an aggregate at most once")
        told = {(event.kind, event.id) for event in self.events}
        if len(told) != len(self.events) or not told <= written:
            raise ValueError("a change has at most one event for an aggregate, one that it writes")


class Committed(msgspec.Struct, frozen=True):
    """What became of a change: one recorded time and position for all of its writes.

    If `replayed` is set, nothing was written: the receipt was already there and this is its answer.
    """

    recorded_at: datetime
    position: str
    replayed: Answer | None = None


class Stored(msgspec.Struct, Generic[S_co], frozen=True, kw_only=True):
    """An aggregate as stored: state, version and the store's own times (aware, UTC)."""

    kind: str
    id: str
    version: int
    state: S_co
    created_at: datetime
    updated_at: datetime
    schema_version: int


class Head(msgspec.Struct, frozen=True):
    """The newest acknowledged version of an aggregate, and the epoch of the store."""

    version: int
    epoch: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the journal, as history and feed show it.

    `position` is the opaque feed cursor `{epoch}.{n}` and unique for ever; `type` is
    `project.created` and the like; `changed` are field names in document order; `document` is the
    state's flat JSON as encoded at commit, never rendered again.
    """

    position: str
    kind: str
    id: str
    version: int
    type: str
    actor: str
    recorded_at: datetime
    schema_version: int
    changed: tuple[str, ...]
    document: bytes
    reason: str | None = None
    traceparent: str | None = None


class FeedPage(msgspec.Struct, frozen=True):
    """Entries in journal order; `next` continues after the last row looked at, shown or not."""

    entries: tuple[Entry, ...]
    next: str
