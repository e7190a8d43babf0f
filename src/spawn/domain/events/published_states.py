"""States of aggregates as events publish them, where subscribers are meant to see a part alone."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec


class PublishedDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision about a command, without its reason."""

    verdict: str
    actor: str
    decided_at: datetime


class PublishedApproval(msgspec.Struct, frozen=True, kw_only=True):
    """A command that waits for a decision, or the record of one, without what it contains.

    `command` is the id of an operation and `target` the path that it was sent to. `kind` and
    `amount` are those of the command, empty if it has none. The body, the changed fields and the
    reasons are left out: they hold rows that a subscriber need not be permitted to read.
    """

    approval_id: str
    command: str
    target: str
    kind: str = ""
    amount: str = ""
    maker: str
    state: str
    expires_at: datetime
    decision: PublishedDecision | None = None


PUBLISHED_STATES: Final[Mapping[str, type[msgspec.Struct]]] = {"approval": PublishedApproval}
"""Types of the published states by kind; those of other kinds are published as they are stored."""

_DECODERS: Final = {kind: msgspec.json.Decoder(each) for kind, each in PUBLISHED_STATES.items()}
_ENCODER: Final = msgspec.json.Encoder()


def publish_state(kind: str, document: bytes) -> bytes:
    """Return a stored document with the fields that events publish."""
    decoder = _DECODERS.get(kind)
    return document if decoder is None else _ENCODER.encode(decoder.decode(document))
