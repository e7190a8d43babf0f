"""What may be set of a store or a publisher, whatever its adapter."""

from pathlib import Path

import msgspec

from spawn.domain.events.cloudevents import Envelope


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of an embedded store; each adapter uses those that concern it.

    `queue_limit` changes may wait; at most `group_cap` are committed together. `readers` threads
    answer queries, each within `query_timeout_s`; a survey of all data has a thread of its own and
    `survey_timeout_s`. `memory_limit` is the engine's, in its own spelling. `reserve_bytes` of the
    disk stay free: below them commands are refused. `cached_entities` and `cached_pages` are kept
    decoded, `cached_heads` versions known by heart. About `recent_bytes` of the journal's end are
    kept for those who follow it. `checkpoint_bytes` of log make the store fold it into the file
    when idle.
    """

    queue_limit: int = 1024
    group_cap: int = 128
    readers: int = 2
    query_timeout_s: float = 5.0
    survey_timeout_s: float = 60.0
    memory_limit: str = "1GiB"
    reserve_bytes: int = 64 * 1024 * 1024
    cached_entities: int = 20_000
    cached_heads: int = 200_000
    cached_pages: int = 256
    cached_receipts: int = 200_000
    recent_bytes: int = 16 * 1024 * 1024
    checkpoint_bytes: int = 16 * 1024 * 1024


class PublisherOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What publishers of events share; each adapter uses what concerns it.

    `envelope` makes the CloudEvents. `secrets_file` holds the secrets of webhooks, and webhooks may
    reach addresses of `allowed_networks` although they are not public. One delivery ends within
    `timeout_s`.
    """

    envelope: Envelope
    secrets_file: Path | None = None
    allowed_networks: tuple[str, ...] = ()
    timeout_s: float = 10.0
