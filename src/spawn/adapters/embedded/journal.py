"""What every embedded journal has in common: feed cursors, recorded time, entries of a change."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from spawn.domain import serialization
from spawn.domain.change import Change, Encoded, Write
from spawn.domain.errors import CursorExpired, CursorInvalid
from spawn.domain.events.event import DomainEvent
from spawn.domain.lineage.run import EVENT_TYPES
from spawn.domain.schemas.model import Schema

RECEIPT_LIFE = timedelta(hours=24)
"""How long a receipt answers a repeated request."""

_CURSOR = re.compile(r"(0|[1-9]\d{0,17})\.(0|[1-9]\d{0,17})", re.ASCII)
_TICK = timedelta(microseconds=1)


def cursor(epoch: int, number: int) -> str:
    """The feed position of journal row `number`; 0 is before the first."""
    return f"{epoch}.{number}"


def read_cursor(text: str | None, epoch: int, last: int, floor: int = 0) -> int:
    """The row number that `text` continues after; None is the beginning.

    Raises:
        CursorInvalid: never issued by a journal of this epoch that ends at `last`.
        CursorExpired: issued in an earlier epoch, or before the row `floor`, the last hidden one.
    """
    if text is None:
        return floor
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise CursorInvalid("The feed position is not of the form epoch.number.")
    issued, number = int(found[1]), int(found[2])
    if issued < epoch:
        raise CursorExpired(
            "The feed position is of an earlier epoch; start again from the oldest one.",
            oldest=cursor(epoch, floor),
        )
    if issued > epoch or number > last:
        raise CursorInvalid("The feed position was never issued by this store.")
    if number < floor:
        raise CursorExpired(
            "Events so old are not shown any more; start again from the oldest position.",
            oldest=cursor(epoch, floor),
        )
    return number


def next_instant(last: datetime | None, now: datetime) -> datetime:
    """The recorded time after `last`: the clock's, unless it stands still or went back."""
    now = now.astimezone(UTC)
    return now if last is None or now > last else last + _TICK


def check_change(change: Change) -> None:
    """Refuse what no caller may build and `Change` itself cannot see: it keeps its own rules.

    Raises:
        ValueError: a programming error, not an input error.
    """
    if any(write.expected_version and type(write.state) is Encoded for write in change.writes):
        raise ValueError("only what is created may be encoded already")
    if not change.writes and change.receipt is None:
        raise ValueError("a change writes something or carries a receipt")


def spelled_out(
    change: Change, schema: Schema, unless: Callable[[bytes], bool] | None = None
) -> Change:
    """The change with its encoded states decoded, but for those `unless` is true of.

    `unless` is asked of all of them at once, line by line, before it is asked of each.
    """
    encoded = [w.state.document for w in change.writes if isinstance(w.state, Encoded)]
    if not encoded or (unless is not None and unless(b"\n".join(encoded))):
        return change
    writes = tuple(
        Write(w.kind, w.id, 0, serialization.decode(w.kind, w.state.document, schema))
        if isinstance(w.state, Encoded) and not (unless and unless(w.state.document))
        else w
        for w in change.writes
    )
    return msgspec.structs.replace(change, writes=writes)


def events_by_key(change: Change) -> dict[tuple[str, str], DomainEvent]:
    """The change's events by the aggregate they are about."""
    return {(event.kind, event.id): event for event in change.events}


class _About(Protocol):
    """What an entry, or a row that becomes one, is about."""

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def type(self) -> str: ...


def entry_shown(
    entry: _About, types: frozenset[str] | None, subject: tuple[str, str] | None
) -> bool:
    """Whether the feed shows the entry: it carries an event, of these types, of this subject.

    Events of lineage are shown only to who names them.
    """
    return (
        bool(entry.type)
        and (entry.type not in EVENT_TYPES if types is None else entry.type in types)
        and (subject is None or subject == (entry.kind, entry.id))
    )
