"""Feed positions, recorded times and changes, as every embedded journal has them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from spawn.domain.aggregates import decode_state
from spawn.domain.change import Change, EncodedState, Write
from spawn.domain.errors import CursorExpired, CursorInvalid, Unavailable
from spawn.domain.events.event import DomainEvent
from spawn.domain.events.position import Position
from spawn.domain.lineage.run import EVENT_TYPES
from spawn.domain.schema_version import Schema
from spawn.ports.runtime import MAX_CLOCK_JUMP_S, Clock

RECEIPT_LIFETIME = timedelta(hours=24)
"""Time for which a receipt replays its response to a repeated request."""

_TICK = timedelta(microseconds=1)


def find_row(position: Position | None, epoch: int, last: int, floor: int = 0) -> int:
    """Return the row number that a feed continues after; None is the beginning.

    Args:
        position: The position to continue after, or None.
        epoch: The journal's epoch.
        last: The last row number.
        floor: The last hidden row number.

    Raises:
        CursorInvalid: never issued by a journal of this epoch that ends at `last`.
        CursorExpired: issued in an earlier epoch, or before the row `floor`.
    """
    if position is None:
        return floor
    if position.epoch < epoch:
        raise CursorExpired(
            "The feed position is of an earlier epoch: start again from the oldest position.",
            oldest=str(Position(epoch, floor)),
        )
    if position.epoch > epoch or position.number > last:
        raise CursorInvalid("The feed position was never issued by this store.")
    if position.number < floor:
        raise CursorExpired(
            "Events before the retention limit are hidden: start again from the oldest position.",
            oldest=str(Position(epoch, floor)),
        )
    return position.number


def next_recorded_at(last: datetime | None, now: datetime) -> datetime:
    """Return the recorded time after `last`, strictly increasing.

    It is the clock's time, unless the clock stands still or went back.
    """
    now = now.astimezone(UTC)
    return now if last is None or now > last else last + _TICK


def latest(*instants: datetime | None) -> datetime | None:
    """Return the latest instant; None stands for none."""
    return max((one for one in instants if one is not None), default=None)


def final_instant(clock: Clock, last: datetime | None) -> datetime:
    """Return the last instant before now: a change of this very moment is recorded after it.

    It is `last`, which every change follows anyway, if the clock stands still, went back or jumped
    ahead: all later changes would follow the instant of a clock that is wrong.

    Raises:
        Unavailable: the clock jumped ahead, and there is no last instant.
    """
    if last is None:
        check_clock(clock)
    elif clock.jump_s() > MAX_CLOCK_JUMP_S:
        return last
    before = clock.now().astimezone(UTC) - _TICK
    return before if last is None else max(before, last)


def seconds_ahead(recorded_at: datetime | None, now: datetime) -> float:
    """Return the seconds by which a recorded time is ahead of the clock; 0 if it is not."""
    return 0.0 if recorded_at is None else max(0.0, (recorded_at - now).total_seconds())


def check_clock(clock: Clock) -> None:
    """Check that the clock is on the course of steady time, before a change is dated.

    One change of a wrong date would drag the dates of all later ones along: they only increase.

    Raises:
        Unavailable: the clock jumped ahead.
    """
    jump_s = clock.jump_s()
    if jump_s > MAX_CLOCK_JUMP_S:
        raise Unavailable(
            f"The clock of the machine jumped {jump_s:.0f} s ahead, so that no change can be dated:"
            " set it right, or restart the service to accept it.",
            retry_after_s=30.0,
        )


def check_change(change: Change) -> None:
    """Check the rules of a change that `Change` itself does not enforce.

    Raises:
        ValueError: a programming error, not an input error.
    """
    if any(write.expected_version and type(write.state) is EncodedState for write in change.writes):
        raise ValueError("only new aggregates may have encoded states")
    if not change.writes and change.receipt is None:
        raise ValueError("a change writes something or carries a receipt")


def with_decoded_states(
    change: Change,
    schema_of_write: Callable[[Change, Write], Schema],
    keep_encoded: Callable[[bytes], bool] | None = None,
) -> Change:
    """Return the change with its encoded states decoded, except where `keep_encoded` is true.

    `schema_of_write` returns the schema of a write of the change. `keep_encoded` is called once
    with all documents, joined by line breaks, before each alone.
    """
    documents = [w.state.document for w in change.writes if isinstance(w.state, EncodedState)]
    if not documents or (keep_encoded is not None and keep_encoded(b"\n".join(documents))):
        return change
    writes = tuple(
        msgspec.structs.replace(
            w, state=decode_state(w.kind, w.state.document, schema_of_write(change, w))
        )
        if isinstance(w.state, EncodedState)
        and not (keep_encoded and keep_encoded(w.state.document))
        else w
        for w in change.writes
    )
    return msgspec.structs.replace(change, writes=writes)


def events_by_key(change: Change) -> dict[tuple[str, str], DomainEvent]:
    """Return the events of the change by the kind and id of their aggregate."""
    return {(event.kind, event.id): event for event in change.events}


class _EventFields(Protocol):
    """The fields of a journal entry, or of a row, that decide on its visibility."""

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def type(self) -> str: ...


def is_visible(
    entry: _EventFields, types: frozenset[str] | None, subject: tuple[str, str] | None
) -> bool:
    """Whether the feed shows the entry: it has an event of these types and this subject.

    Events of lineage are visible only if `types` names them.
    """
    return (
        bool(entry.type)
        and (entry.type not in EVENT_TYPES if types is None else entry.type in types)
        and (subject is None or subject == (entry.kind, entry.id))
    )
