"""Events and dead letters on the wire; events themselves are CloudEvents."""

from typing import Annotated, Self

from msgspec import Meta

from spawn.domain.change import StoredAggregate
from spawn.domain.events.cloudevents import (
    CloudEvent,
    EventEnvelope,
    format_event_type,
    format_subject,
)
from spawn.domain.events.dead_letter import DeadLetter, DeadLetterState
from spawn.domain.events.position import Position
from spawn.entrypoints.http.wire import Count, Instant, ResourceId, WireStruct


class FeedView(WireStruct, frozen=True):
    """Events after a position, and the position after them."""

    events: tuple[CloudEvent, ...]
    next: str


class DeadLetterView(WireStruct, frozen=True, kw_only=True):
    """An event that a publisher could not deliver."""

    dead_letter_id: ResourceId
    publisher: str
    state: DeadLetterState
    event_id: str
    event_type: Annotated[str, Meta(examples=["spawn.project.created.v1"])]
    subject: str
    sequence: Annotated[str, Meta(extra_json_schema={"pattern": r"^[0-9]{10}$"})]
    event_time: Instant
    tries: Count
    reason: Annotated[str, Meta(description="The consumer's last error.")]
    recorded_at: Instant
    updated_at: Instant

    @classmethod
    def of_letter(cls, aggregate: StoredAggregate[DeadLetter], envelope: EventEnvelope) -> Self:
        """Return the wire form of a stored dead letter."""
        letter = aggregate.state
        return cls.of(
            letter,
            event_id=envelope.format_id(Position.parse(letter.event_id)),
            event_type=format_event_type(letter.type),
            subject=format_subject(letter.kind, letter.key),
            sequence=f"{letter.version:010d}",
            recorded_at=aggregate.created_at,
            updated_at=aggregate.updated_at,
        )
