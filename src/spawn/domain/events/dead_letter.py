"""Events that a consumer would not take: kept until someone replays or discards them."""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import msgspec

from spawn.domain.change import Entry
from spawn.domain.errors import Conflict

KIND = "dead_letter"
MAX_REASON = 500

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class LetterState(StrEnum):
    """What became of a dead letter; the last two are final."""

    WAITING = "waiting"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One event that one publisher gave up on after so many tries.

    `kind`, `key` and `version` name the journal's entry; `event_id` is its position. `reason` is
    the consumer's last answer in a sentence.
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
    state: LetterState = LetterState.WAITING


def dead_letter(publisher: str, entry: Entry, tries: int, reason: str) -> DeadLetter:
    """The letter of an event that was given up."""
    return DeadLetter(
        dead_letter_id=letter_id(publisher, entry),
        publisher=publisher,
        event_id=entry.position,
        type=entry.type,
        kind=entry.kind,
        key=entry.id,
        version=entry.version,
        tries=tries,
        reason=reason[:MAX_REASON],
        event_time=entry.recorded_at,
    )


def letter_id(publisher: str, entry: Entry) -> str:
    """A UUIDv7 of the event's time that is the same whenever this event fails this publisher.

    So an event that is given up again after a crash makes no second letter.
    """
    digest = hashlib.sha256(f"{publisher} {entry.position}".encode()).digest()
    milliseconds = int(entry.recorded_at.timestamp() * 1000)
    value = milliseconds << 80 | int.from_bytes(digest[:10])
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))


def resolve(letter: DeadLetter, state: LetterState) -> DeadLetter:
    """The letter in a final state.

    Raises:
        Conflict: it is in one already.
    """
    if letter.state is not LetterState.WAITING:
        raise Conflict(f"The dead letter was {letter.state.value} already.")
    return msgspec.structs.replace(letter, state=state)
