"""The unit of work: writes, guards, events and a receipt that a store commits atomically.

A write stores a new state of one aggregate. A guard only names the version that a decision was
based on, so that a rule spanning aggregates holds without write skew.
"""

import hashlib
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from spawn.domain.events.event import DomainEvent
from spawn.domain.events.position import Position

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
    the write creates the aggregate, an `EncodedState`. `document` is the result of
    `aggregates.encode_state` for it under the schema of the write, if the caller has it already.
    `schema_version` is the version of the kind's own schema that the state was decided under; None
    if it is the version of the change. With `needs_active_schema` it must still be the active one.
    `actor` is recorded in the history of the aggregate instead of the change's.
    """

    kind: str
    id: str
    expected_version: int
    state: msgspec.Struct
    document: bytes | None = None
    schema_version: int | None = None
    needs_active_schema: bool = False
    actor: str | None = None


class Guard(msgspec.Struct, frozen=True):
    """A condition: the aggregate still has this version (0: still does not exist)."""

    kind: str
    id: str
    expected_version: int


class RecordedResponse(msgspec.Struct, frozen=True):
    """The whole response to a request, as receipts of earlier releases stored it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class VersionReference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of an aggregate; a governed one also names the schema version of its fields."""

    kind: str
    id: str
    version: int
    schema_version: int | None = None


class ResponseRecipe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Data from which the response to a command is rendered, the first time and again.

    `codec` names the renderer, `headers` are those that do not derive from `subject`, the version
    that the response shows; `epoch` is that of the store. The journal keeps the version's document
    for ever, so the recipe need not hold the body. A change of what a codec renders is a new codec.
    """

    codec: str
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    epoch: int = 0
    subject: VersionReference | None = None


StoredResponse = RecordedResponse | ResponseRecipe
"""The response of a receipt: whole, or as data to render it from."""


class IdempotencyKey(msgspec.Struct, frozen=True, kw_only=True):
    """Key under which a client may repeat a request.

    `scope` is principal, method and canonical path; `key` the client's; `fingerprint` the SHA-256
    (hex) of body and content type, which tells another request under the same key.
    """

    scope: str
    key: str
    fingerprint: str

    def for_content(self, sha256: str) -> "IdempotencyKey":
        """Return the key once the content is hashed; until then `fingerprint` is its type."""
        content = f"{sha256} {self.fingerprint}".encode()
        return msgspec.structs.replace(self, fingerprint=hashlib.sha256(content).hexdigest())


class IdempotencyReceipt(msgspec.Struct, frozen=True):
    """The idempotency record committed with a change; the recipe renders its response again."""

    key: IdempotencyKey
    recipe: ResponseRecipe

    def with_subject(self, subject: VersionReference | None) -> "IdempotencyReceipt":
        """Return the receipt of a response that shows this version."""
        return IdempotencyReceipt(self.key, msgspec.structs.replace(self.recipe, subject=subject))


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One atomic change.

    `events` holds at most one event per written aggregate; a write without an event is recorded
    in the journal but not on the feed. At most one write per (kind, id). `schema_version` is that
    of projects, which the states were decided under unless a write has its own;
    `expected_schema_version`, if any, is a guard: that version must still be the active one.

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
    expected_schema_version: int | None = None
    traceparent: str | None = None

    def __post_init__(self) -> None:
        """Raise if no store could write this as one change."""
        write_keys = {(write.kind, write.id) for write in self.writes}
        if len(write_keys) != len(self.writes):
            raise ValueError("a change writes an aggregate at most once")
        event_keys = {(event.kind, event.id) for event in self.events}
        if len(event_keys) != len(self.events) or not event_keys <= write_keys:
            raise ValueError("a change has at most one event for an aggregate, one that it writes")

    def schema_version_of(self, write: Write) -> int:
        """Return the schema version that a write of this change is recorded under."""
        return self.schema_version if write.schema_version is None else write.schema_version


class CommitResult(msgspec.Struct, frozen=True):
    """The result of a commit: one recorded time and position for all of its writes.

    If `replayed_response` is set, nothing was written: it is the response of an existing receipt.
    """

    recorded_at: datetime
    position: Position
    replayed_response: StoredResponse | None = None


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
