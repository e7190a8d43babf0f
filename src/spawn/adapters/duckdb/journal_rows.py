"""Journal rows: what is kept of a change, its hash chain, the way back to entries and states."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from spawn.adapters.embedded.journal import cursor
from spawn.domain.change import Answer, Entry, Stored

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

RECEIPT_KIND = "receipt"
"""The kind of a row that carries nothing but a receipt."""


class JournalRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One row, in the order and with the names of the table's columns, without its hash.

    `recorded_at` counts microseconds since 1970; `receipt_body` is base64. The JSON of this struct
    is both what is sent to the engine and what is hashed, so its order is part of the format.
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


ROW_COLUMNS: tuple[str, ...] = JournalRow.__struct_fields__
SELECT_ROW = ", ".join(
    {
        "recorded_at": "epoch_us(recorded_at)",
        "receipt_body": "to_base64(receipt_body)",
    }.get(name, name)
    for name in ROW_COLUMNS
)
"""The select list that `row_from` understands."""

_encoder = msgspec.json.Encoder()


def row_from(values: Sequence[Any]) -> JournalRow:
    """A row as selected by `SELECT_ROW`."""
    fields = dict(zip(ROW_COLUMNS, values, strict=True))
    # A row without an event leaves `changed` out of its JSON, and so out of its hash, only while
    # it is the empty tuple that it was written with.
    return JournalRow(**{**fields, "changed": _names(fields["changed"])})


def _names(listed: str) -> tuple[str, ...]:
    """Names of fields as the table has them, with commas between."""
    return tuple(listed.split(",")) if listed else ()


class Chained(NamedTuple):
    """Rows as one JSON array with their hashes, and the hash that the chain ends with."""

    payload: str
    hash: bytes


def chain(rows: Iterable[JournalRow], before: bytes) -> Chained:
    """Link the rows to the chain that ends with `before`: SHA-256 over it and the row's JSON."""
    parts: list[bytes] = []
    for row in rows:
        encoded = _encoder.encode(row)
        before = hashlib.sha256(before + encoded).digest()
        parts.append(b'%s,"hash":"%s"}' % (encoded[:-1], before.hex().encode()))
    return Chained("[" + b",".join(parts).decode() + "]", before)


def link(row: JournalRow, before: bytes) -> bytes:
    """The hash of one stored row after `before`, computed anew."""
    return hashlib.sha256(before + _encoder.encode(row)).digest()


def micros(instant: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (instant - EPOCH) // _MICROSECOND


def instant(microseconds: int) -> datetime:
    """The aware UTC instant, exactly."""
    return EPOCH + timedelta(microseconds=microseconds)


_same_instant = lru_cache(maxsize=8)(instant)
"""`instant`, for rows that follow one another: those of one change have one recorded time."""

SELECT_ENTRY = ", ".join(
    {"recorded_at": "epoch_us(recorded_at)"}.get(name, name) for name in Entry.__struct_fields__
)
"""The select list that `entry_from` understands."""


def entry_from(values: Sequence[Any], epoch: int) -> Entry:
    """A row as history and feed show it."""
    fields = dict(zip(Entry.__struct_fields__, values, strict=True))
    fields["position"] = cursor(epoch, fields["position"])
    fields["recorded_at"] = instant(fields["recorded_at"])
    fields["changed"] = _names(fields["changed"])
    fields["document"] = (fields["document"] or "").encode()
    return Entry(**fields)


def entry_of(row: JournalRow, epoch: int) -> Entry:
    """A row that was just written as history and feed show it."""
    return Entry(
        position=cursor(epoch, row.position),
        kind=row.kind,
        id=row.id,
        version=row.version,
        type=row.type,
        actor=row.actor,
        recorded_at=_same_instant(row.recorded_at),
        schema_version=row.schema_version,
        changed=tuple(row.changed),
        document=(row.document or "").encode(),
        reason=row.reason,
        traceparent=row.traceparent,
    )


def receipt_columns(scope: str, key: str, fingerprint: str, answer: Answer) -> dict[str, Any]:
    """The columns that keep a receipt."""
    return {
        "receipt_scope": scope,
        "receipt_key": key,
        "receipt_fingerprint": fingerprint,
        "receipt_status": answer.status,
        "receipt_headers": msgspec.json.encode(answer.headers).decode(),
        "receipt_body": b64encode(answer.body).decode(),
    }


def answer_from(status: int, headers: str, body: bytes) -> Answer:
    """The answer that a receipt keeps."""
    return Answer(
        status, msgspec.json.decode(headers, type=tuple[tuple[str, str], ...]), bytes(body)
    )


class Place(NamedTuple):
    """Where an aggregate stands: newest version, and the rows that created and last wrote it."""

    version: int
    created: int
    position: int
    created_at: int


class Held(NamedTuple):
    """An aggregate's newest state with its place."""

    stored: Stored[Any]
    place: Place


def key_of(kind: str, name: str) -> str:
    """One text per aggregate; kinds have no colon, so it is unambiguous."""
    return f"{kind}:{name}"
