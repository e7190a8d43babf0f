"""The unit of work: writes, guards, events and a receipt that a store commits atomically.

A write stores a new state of one aggregate. A guard only names the version that a decision was
based on, so that a rule spanning aggregates holds without write skew.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from spawn.domain.events.event import DomainEvent

S_co = TypeVar("S_co", covariant=True)


class EncodedState(msgspec.Struct, frozen=True):
    """The encoded state of a new aggregate, for changes that create thousands at once.

    `document` is the result of `aggregates.encode_state` for a valid state under the schema of
    the change. Another process may have made it, so that the state need not be rebuilt.
    """

    document: bytes


class Write(msgspec.Struct, frozen=True):
    """A new state after `expected_version`; 0 means that the aggregate must not exist yet.

    `kind` is one of `aggregates.AGGREGATE_TYPES` and `state` an instance of that kind's type or, if
    the write creates the aggregate, an `EncodedState`.
    """

    kind: str
    id: str
    expected_version: int
    state: msgspec.Struct


class Guard(msgspec.Struct, frozen=True):
    """A condition: the aggregate still has this version (0: still does not exist)."""

    kind: str
    id: str
    expected_version: int


class RecordedResponse(msgspec.Struct, frozen=True):
    """The response to a request, stored so that a retry gets the same bytes."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class IdempotencyReceipt(msgspec.Struct, frozen=True):
    """The idempotency record committed with a change.

    `scope` is principal, method and canonical path; `key` the client's; `fingerprint` the SHA-256
    (hex) of body and content type. `render_response` is called once the store has assigned the
    recorded time; it runs in the store's writer, so it must be quick, pure and not fail.
    """

    scope: str
    key: str
    fingerprint: str
    render_response: Callable[[datetime], RecordedResponse]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One atomic change.

    `events` holds at most one event per written aggregate; a write without an event is recorded
    in the journal but not on the feed. At most one write per (kind, id). `schema_version` is that
    of the active schema at the decision.

    Raises:
        ValueError: on construction, if the writes or events break these rules: a programming
            error, which no client can cause.
    """

    writes: tuple[Write, ...]
    guards: tuple[Guard, ...] = ()
    events: tuple[DomainEvent, ...] = ()
    receipt: IdempotencyReceipt | None = None
    actor: str
    schema_version: int
    traceparent: str | None = None

    def __post_init__(self) -> None:
        """Raise if no store could write this as one change."""
        write_keys = {(write.kind, write.id) for write in self.writes}
        if len(write_keys) != len(self.writes):
            raise ValueError("a change writes an aggregate at most once")
        event_keys = {(event.kind, event.id) for event in self.events}
        if len(event_keys) != len(self.events) or not event_keys <= write_keys:
            raise ValueError("a change has at most one event for an aggregate, one that it writes")


class CommitResult(msgspec.Struct, frozen=True):
    """The result of a commit: one recorded time and position for all of its writes.

    If `replayed_response` is set, nothing was written: it is the response of an existing receipt.
    """

    recorded_at: datetime
    position: str
    replayed_response: RecordedResponse | None = None


class StoredAggregate(msgspec.Struct, Generic[S_co], frozen=True, kw_only=True):
    """A stored aggregate: state, version and the store's own times (aware, UTC)."""

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
