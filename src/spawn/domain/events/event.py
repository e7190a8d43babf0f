"""Domain events: what happened, in the past tense, for the journal and the feed."""

import msgspec


class DomainEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One fact about one aggregate written in the same change.

    `type` is `<aggregate>.<past_tense>` (`project.created`); the wire adds `spawn.` and `.v1`.
    `changed` are the names of the fields that differ from the version before, in document order.
    """

    type: str
    kind: str
    id: str
    changed: tuple[str, ...]
    reason: str | None = None
