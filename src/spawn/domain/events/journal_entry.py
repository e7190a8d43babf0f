"""Journal entries, as the history of an aggregate and the feed return them."""

from datetime import datetime

import msgspec

from spawn.domain.events.position import Position


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the journal, as history and feed return it.

    `position` is never reused; `type` is an event type such as `project.created`; `changed` lists
    field names in document order; `document` is the state's flat JSON as encoded at commit, never
    rendered again.
    """

    position: Position
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
    """Entries in journal order; `next` continues after the last row read, included or not."""

    entries: tuple[JournalEntry, ...]
    next: Position
