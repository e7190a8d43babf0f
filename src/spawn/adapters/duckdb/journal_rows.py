"""Codec of journal rows, their hash chain, and their conversion to entries."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from spawn.domain.change import (
    IdempotencyReceipt,
    RecordedResponse,
    ResponseRecipe,
    StoredAggregate,
    StoredResponse,
)
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

RECEIPT_KIND = "receipt"
"""Kind of a row that carries only a receipt."""


class JournalRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One row, with the order and names of the table's columns, without its hash.

    `recorded_at` counts microseconds since 1970; `receipt_body` is base64. The JSON of this struct
    is both sent to the engine and hashed, so its order is part of the format. Status, headers and
    body of a receipt are those of earlier releases; a recipe replaces them.
    """

    position: int
    kind: str
    id: str
    version: int
    type: str
    actor: str
    recorded_at: int
    schema_version: int
    changed: Sequence[str] = ()
    reason: str | None = None
    traceparent: str | None = None
    document: str | None = None
    receipt_scope: str | None = None
    receipt_key: str | None = None
    receipt_fingerprint: str | None = None
    receipt_status: int | None = None
    receipt_headers: str | None = None
    receipt_body: str | None = None
    receipt_recipe: str | None = None


ROW_COLUMNS: tuple[str, ...] = JournalRow.__struct_fields__
SELECT_ROW = ", ".join(
    {
        "recorded_at": "epoch_us(recorded_at)",
        "receipt_body": "to_base64(receipt_body)",
    }.get(name, name)
    for name in ROW_COLUMNS
)
"""Select list that `read_row` reads."""

_encoder = msgspec.json.Encoder()


def read_row(values: Sequence[Any]) -> JournalRow:
    """Build a row from values selected by `SELECT_ROW`."""
    fields = dict(zip(ROW_COLUMNS, values, strict=True))
    # The JSON of a row without an event, and so its hash, omits `changed` only if it is the empty
    # tuple that it was written with.
    return JournalRow(**{**fields, "changed": _split_names(fields["changed"])})


def _split_names(text: str) -> tuple[str, ...]:
    """Split the comma-separated field names of the table."""
    return tuple(text.split(",")) if text else ()


class ChainedRows(NamedTuple):
    """Rows as one JSON array with their hashes, and the last hash of the chain."""

    payload: str
    hash: bytes


def chain_rows(rows: Iterable[JournalRow], previous_hash: bytes) -> ChainedRows:
    """Link the rows to the chain: SHA-256 over `previous_hash` and the row's JSON."""
    parts: list[bytes] = []
    for row in rows:
        encoded = _encoder.encode(row)
        previous_hash = hashlib.sha256(previous_hash + encoded).digest()
        parts.append(b'%s,"hash":"%s"}' % (encoded[:-1], previous_hash.hex().encode()))
    return ChainedRows("[" + b",".join(parts).decode() + "]", previous_hash)


def hash_row(row: JournalRow, previous_hash: bytes) -> bytes:
    """Compute the hash of one stored row after `previous_hash`."""
    return hashlib.sha256(previous_hash + _encoder.encode(row)).digest()


def to_microseconds(moment: datetime) -> int:
    """Return the microseconds since 1970, exactly."""
    return (moment - UNIX_EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the aware UTC instant, exactly."""
    return UNIX_EPOCH + timedelta(microseconds=microseconds)


_cached_from_microseconds = lru_cache(maxsize=8)(from_microseconds)
"""`from_microseconds` for consecutive rows: those of one change share one recorded time."""

SELECT_ENTRY = ", ".join(
    {"recorded_at": "epoch_us(recorded_at)"}.get(name, name)
    for name in JournalEntry.__struct_fields__
)
"""Select list that `read_entry` reads."""


def read_entry(values: Sequence[Any], epoch: int) -> JournalEntry:
    """Build the entry of history and feed from values selected by `SELECT_ENTRY`."""
    fields = dict(zip(JournalEntry.__struct_fields__, values, strict=True))
    fields["position"] = Position(epoch, fields["position"])
    fields["recorded_at"] = from_microseconds(fields["recorded_at"])
    fields["changed"] = _split_names(fields["changed"])
    fields["document"] = (fields["document"] or "").encode()
    return JournalEntry(**fields)


def entry_of_row(row: JournalRow, epoch: int) -> JournalEntry:
    """Build the entry of history and feed from a row that was just written."""
    return JournalEntry(
        position=Position(epoch, row.position),
        kind=row.kind,
        id=row.id,
        version=row.version,
        type=row.type,
        actor=row.actor,
        recorded_at=_cached_from_microseconds(row.recorded_at),
        schema_version=row.schema_version,
        changed=tuple(row.changed),
        document=(row.document or "").encode(),
        reason=row.reason,
        traceparent=row.traceparent,
    )


SELECT_RESPONSE = (
    "select receipt_status, receipt_headers, receipt_body, receipt_recipe"
    " from journal where position = ?"
)
"""Query of the row at a position that `read_response` reads."""

_read_recipe = msgspec.json.Decoder(ResponseRecipe).decode
_read_headers = msgspec.json.Decoder(tuple[tuple[str, str], ...]).decode


def receipt_columns(receipt: IdempotencyReceipt) -> dict[str, Any]:
    """Return the columns that store a receipt."""
    return {
        "receipt_scope": receipt.key.scope,
        "receipt_key": receipt.key.key,
        "receipt_fingerprint": receipt.key.fingerprint,
        "receipt_recipe": _encoder.encode(receipt.recipe).decode(),
    }


def read_response(
    status: int | None, headers: str | None, body: bytes | None, recipe: str | None
) -> StoredResponse | None:
    """Build the response of a receipt; None if the row has no receipt."""
    if recipe is not None:
        return _read_recipe(recipe)
    if status is None or headers is None or body is None:
        return None
    return RecordedResponse(status, _read_headers(headers), bytes(body))


class AggregateLocation(NamedTuple):
    """Newest version of an aggregate, and the rows that created and last wrote it."""

    version: int
    created_position: int
    position: int
    created_at: int


class CachedAggregate(NamedTuple):
    """Newest state of an aggregate with its location."""

    stored: StoredAggregate[Any]
    location: AggregateLocation


def aggregate_key(kind: str, aggregate_id: str) -> str:
    """Return one text per aggregate; kinds contain no colon, so it is unambiguous."""
    return f"{kind}:{aggregate_id}"
