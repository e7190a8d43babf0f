"""Domain events of the journal and the feed, named in the past tense."""

import msgspec


class DomainEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of one aggregate that is written in the same change.

    `type` is `<aggregate>.<past_tense>` (`project.created`); the wire adds `spawn.` and `.v1`.
    `changed` lists the fields that differ from the previous version, in document order.
    """

    type: str
    kind: str
    id: str
    changed: tuple[str, ...]
    reason: str | None = None
