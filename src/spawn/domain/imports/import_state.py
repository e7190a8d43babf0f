"""An import as an aggregate, the rows it set aside, and the keys it has seen."""

from array import array
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

import msgspec


class FileFormat(StrEnum):
    """What an uploaded file is."""

    CSV = "csv"
    NDJSON = "ndjson"


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a row was set aside, or what is odd about it: the field, a stable code, a sentence."""

    field: str
    code: str
    detail: str


class Counts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of the rows so far; `rows` is `accepted` + `unchanged` + `quarantined`.

    `accepted` rows created or updated a project. `warnings` counts rows, not sentences;
    `by_reason` the quarantined rows that carry each code (a row may carry several), and
    `failed_checks` the rows, accepted or not, that failed a check of the mapping, by the column
    that the sum was compared with.
    """

    rows: int = 0
    accepted: int = 0
    unchanged: int = 0
    quarantined: int = 0
    warnings: int = 0
    by_reason: dict[str, int] = msgspec.field(default_factory=dict)
    failed_checks: dict[str, int] = msgspec.field(default_factory=dict)


CHECK_CODES = frozenset({"sum_differs", "check_unreadable"})
"""The codes of reasons that checks give."""


class Import(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One import: its order and its checkpoint, which is committed with the rows it covers.

    `size_bytes` and `sha256` are the file's. The first `offset` bytes of it are dealt with.
    `mapping_version` pins the mapping as it was when the import was asked for. `notes` counts the
    chunks of set-aside rows and warnings, numbered from 0.
    """

    import_id: str
    format: FileFormat
    size_bytes: int
    sha256: str
    requested_by: str
    mapping: str | None = None
    mapping_version: int | None = None
    columns: tuple[str, ...] = ()
    offset: int = 0
    notes: int = 0
    counts: Counts = msgspec.field(default_factory=Counts)


class Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row with reasons: set aside if it became no project, else accepted with a warning.

    `line` counts physical lines from 1; `raw_line` is the record as received, decoded.
    """

    line: int
    reasons: tuple[Reason, ...]
    raw_line: str | None = None
    project_id: str | None = None


class Quarantine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The notes of one chunk of an import, in the order of the file."""

    import_id: str
    quarantined: tuple[Note, ...] = ()
    warnings: tuple[Note, ...] = ()


class Upload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which import dealt with this content most completely; the id is the content's fingerprint.

    Rows without a key of their own are recognised by it: the same bytes again change nothing.
    """

    import_id: str
    offset: int


def chunk_id(import_id: str, number: int) -> str:
    """The id of the quarantine aggregate of an import's chunk."""
    return f"{import_id}.{number}"


def upload_id(sha256: str, mapping: str | None) -> str:
    """The id of the upload aggregate of a content read through a mapping (or none)."""
    return f"{sha256}.{mapping or ''}"


def add(
    counts: Counts,
    *,
    accepted: int,
    unchanged: int,
    quarantined: Iterable[Note],
    warnings: Iterable[Note],
) -> Counts:
    """The counts after one more chunk."""
    notes, warned = tuple(quarantined), tuple(warnings)
    reasons, failed = Counter(counts.by_reason), Counter(counts.failed_checks)
    for note in notes:
        reasons.update({reason.code for reason in note.reasons})
    for note in (*notes, *warned):
        failed.update({reason.field for reason in note.reasons if reason.code in CHECK_CODES})
    return Counts(
        rows=counts.rows + accepted + unchanged + len(notes),
        accepted=counts.accepted + accepted,
        unchanged=counts.unchanged + unchanged,
        quarantined=counts.quarantined + len(notes),
        warnings=counts.warnings + len(warned),
        by_reason=dict(sorted(reasons.items())),
        failed_checks=dict(sorted(failed.items())),
    )


class KeySet:
    """The keys a file has shown so far, as 64-bit hashes in one flat table.

    A file has as many rows as it likes, and a set of strings takes about 100 bytes a row; this
    takes 11 to 22. Two different keys of ten million share a hash with a chance of 3 in a million.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * 1024))
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def __contains__(self, key: str) -> bool:
        value = _hash(key)
        return self._table[_slot(self._table, value)] == value

    def add(self, key: str) -> None:
        """Remember `key`; again is fine."""
        self._put(self._table, _hash(key))
        if self._used * 4 > len(self._table) * 3:
            self._grow()

    def _put(self, table: "array[int]", value: int) -> None:
        slot = _slot(table, value)
        if not table[slot]:
            table[slot] = value
            self._used += 1

    def _grow(self) -> None:
        wider = array("Q", bytes(16 * len(self._table)))
        for value in self._table:
            if value:
                wider[_slot(wider, value)] = value
        self._table = wider


def _hash(key: str) -> int:
    # Zero marks an empty slot, so no key may hash to it.
    return hash(key) & 0xFFFFFFFFFFFFFFFF or 1


def _slot(table: "array[int]", value: int) -> int:
    mask = len(table) - 1
    slot = value & mask
    while table[slot] and table[slot] != value:
        slot = (slot + 1) & mask
    return slot
