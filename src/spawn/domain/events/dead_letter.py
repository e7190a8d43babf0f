"""Dead letters: events that a publisher could not deliver, until replayed or discarded."""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

import msgspec

from spawn.domain.errors import Conflict
from spawn.domain.events.journal_entry import JournalEntry

DEAD_LETTER_KIND: Final = "dead_letter"
MAX_REASON = 500
"""Characters of the reason."""

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class DeadLetterState(StrEnum):
    """The state of a dead letter; the last two are final."""

    WAITING = "waiting"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One event that one publisher could not deliver in `tries` attempts.

    `kind`, `key` and `version` identify the journal entry; `event_id` is its position. `reason`
    describes the consumer's last response.
    """

    dead_letter_id: str
    publisher: str
    event_id: str
    type: str
    kind: str
    key: str
    version: int
    tries: int
    reason: str
    event_time: _Instant
    state: DeadLetterState = DeadLetterState.WAITING


def create_dead_letter(publisher: str, entry: JournalEntry, tries: int, reason: str) -> DeadLetter:
    """Return the dead letter of an event that could not be delivered."""
    return DeadLetter(
        dead_letter_id=derive_dead_letter_id(publisher, entry),
        publisher=publisher,
        event_id=str(entry.position),
        type=entry.type,
        kind=entry.kind,
        key=entry.id,
        version=entry.version,
        tries=tries,
        reason=reason[:MAX_REASON],
        event_time=entry.recorded_at,
    )


def derive_dead_letter_id(publisher: str, entry: JournalEntry) -> str:
    """Return a UUIDv7 of the event's time, always the same for one event and publisher.

    An event that fails again after a crash therefore makes no second dead letter.
    """
    digest = hashlib.sha256(f"{publisher} {entry.position}".encode()).digest()
    milliseconds = int(entry.recorded_at.timestamp() * 1000)
    value = milliseconds << 80 | int.from_bytes(digest[:10])
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))


def resolve_dead_letter(letter: DeadLetter, state: DeadLetterState) -> DeadLetter:
    """Return the dead letter in a final state.

    Raises:
        Conflict: it already has a final state.
    """
    if letter.state is not DeadLetterState.WAITING:
        raise Conflict(f"the dead letter is already {letter.state.value}")
    return msgspec.structs.replace(letter, state=state)
