"""Options of stores and publishers, independent of the adapter."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from spawn.adapters.embedded.archive import Archive
from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.domain.events.cloudevents import EventEnvelope


class RebuildProgress(msgspec.Struct, frozen=True):
    """Journal rows that a rebuild of derived tables has read, of all, in seconds."""

    rows: int
    total_rows: int
    duration_s: float

    def __str__(self) -> str:
        """Return the progress as a sentence."""
        rate = self.rows / self.duration_s if self.duration_s else 0.0
        return (
            f"rebuilding state tables: {self.rows:,} of {self.total_rows:,} journal rows,"
            f" {rate:,.0f} rows/s"
        )


ReportRebuild = Callable[[RebuildProgress], None]


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of an embedded store; each adapter reads those that concern it.

    `queue_limit` changes may wait; at most `group_cap` are committed together. `readers` threads
    run queries, each within `query_timeout_s`; scans of all data (quality, migrations) have a
    thread of their own and `survey_timeout_s`. `memory_limit` is the engine's, in its own notation.
    `reserve_bytes` of the disk stay free: below that, commands are rejected. `cached_entities` and
    `cached_pages` are cached decoded, and the versions of `cached_heads` aggregates. About
    `recent_bytes` of the end of the journal are cached for followers. Once the log has
    `checkpoint_bytes`, an idle store checkpoints it into the file. `report_rebuild` is called, on
    another thread, while derived tables are rebuilt, which delays the opening. `renew_mark` accepts
    a journal whose high-water mark was lost, in a new epoch. `encryption_key` encrypts the file,
    its log, temporary files and backups.
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
    report_rebuild: ReportRebuild | None = None
    renew_mark: bool = False
    encryption_key: EncryptionKey | None = None


class BackupOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Target, schedule and retention of backups.

    A backup is added every `interval_s` seconds, 0 for on request only. After `full_interval_s` a
    new set of files begins with the whole journal; the newest `retained_sets` are kept. The
    `signing_key` signs indexes and heads. `reserve_bytes` of the disk of a folder stay free.
    """

    archive: Archive
    interval_s: float = 300.0
    full_interval_s: float = 604_800.0
    retained_sets: int = 4
    signing_key: bytes | None = None
    reserve_bytes: int = 16 * 1024 * 1024


class PublisherOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of event publishers; each adapter reads those that concern it.

    `envelope` builds the CloudEvents. `secrets_file` contains the webhook secrets, and webhooks may
    reach addresses of `allowed_networks` although they are not public. One delivery ends within
    `timeout_s`.
    """

    envelope: EventEnvelope
    secrets_file: Path | None = None
    allowed_networks: tuple[str, ...] = ()
    timeout_s: float = 10.0
