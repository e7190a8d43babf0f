"""The state of an import: counts, checkpoint, quarantined rows and row keys."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.facilities.ledger import ENTRY_KIND
from spawn.domain.projects.project import PROJECT_KIND

IMPORT_KIND: Final = "import"
QUARANTINE_KIND: Final = "quarantine"
UPLOAD_KIND: Final = "upload"
"""Kinds of the aggregates of this module."""


class ImportKind(StrEnum):
    """The kind of the aggregates that the rows of a file are."""

    PROJECT = PROJECT_KIND
    FACILITY = FACILITY_KIND
    ENTRY = ENTRY_KIND


class FileFormat(StrEnum):
    """The format of an uploaded file."""

    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"
    XML = "xml"
    XLSX = "xlsx"

    @property
    def has_cells(self) -> bool:
        """Whether its rows are cells under a header."""
        return self in {FileFormat.CSV, FileFormat.XLSX}

    @property
    def media_type(self) -> str:
        """Media type of such a file."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    FileFormat.CSV: "text/csv",
    FileFormat.NDJSON: "application/x-ndjson",
    FileFormat.JSON: "application/json",
    FileFormat.XML: "application/xml",
    FileFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


class RowReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reason to quarantine a row or to warn about it: field, stable code, sentence."""

    field: str
    code: str
    detail: str


BLANK_ROW: Final = RowReason("", "blank_row", "the row has no content")
FILTERED_ROW: Final = RowReason("", "filtered_row", "the row does not meet `where`")
NOTE_ROW: Final = RowReason("", "note_row", "the row is a note on the table")
REPEATED_HEADER: Final = RowReason("", "repeated_header", "the row is the header again")
"""Reasons of rows that are skipped and counted, neither imported nor quarantined."""

SKIP_CODES: Final = frozenset(
    {BLANK_ROW.code, FILTERED_ROW.code, NOTE_ROW.code, REPEATED_HEADER.code}
)
"""Codes of the reasons for which a row is skipped."""


class RowCounts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The row counts so far; `rows` is the sum of the next four and of `merged`.

    `accepted` rows created or updated a project; `skipped` ones are no projects, such as blank
    rows, by their reason in `skipped_by`; `merged` ones belong to the group of another row.
    `vanished` counts the projects of the mapping's source that the file lacks. `currency_assumed`
    counts the accepted rows that made a project and have no currency: it has that of the product.
    `warnings` counts rows, not reasons; `by_reason` the
    quarantined rows with each code (a row may have several), and `failed_checks` the rows, accepted
    or not, that failed a check of the mapping, by the column that the sum was compared with.
    """

    rows: int = 0
    accepted: int = 0
    unchanged: int = 0
    quarantined: int = 0
    warnings: int = 0
    by_reason: dict[str, int] = msgspec.field(default_factory=dict)
    failed_checks: dict[str, int] = msgspec.field(default_factory=dict)
    skipped: int = 0
    skipped_by: dict[str, int] = msgspec.field(default_factory=dict)
    merged: int = 0
    vanished: int = 0
    currency_assumed: int = 0


CHECK_CODES = frozenset({"sum_differs", "check_unreadable"})
"""The reason codes of failed checks."""


class ImportState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One import: its parameters and its checkpoint, committed with the rows it covers.

    `size_bytes` and `sha256` are the file's. The first `offset` bytes of it are processed.
    `mapping_version` pins the mapping at the time of the request. `from_export` means a file that
    this service has exported. `chunk_count` counts the chunks
    of quarantined rows and warnings, numbered from 0. `vanished_after` is the last reservation that
    was compared with the rows of the file. `encodings` are those of the file, where they
    differ from the mapping's. `may_restate` means that entries of closed periods are permitted.
    `is_correction` means that rows of a quarantine were posted back: they are no edition of the
    register, and no project vanishes.
    """

    import_id: str
    format: FileFormat
    size_bytes: int
    sha256: str
    requested_by: str
    mapping: str | None = None
    mapping_version: int | None = None
    from_export: bool = False
    kind: ImportKind = ImportKind.PROJECT
    may_restate: bool = False
    columns: tuple[str, ...] = ()
    encodings: tuple[str, ...] = ()
    is_correction: bool = False
    offset: int = 0
    vanished_after: str | None = None
    chunk_count: int = msgspec.field(name="notes", default=0)
    counts: RowCounts = msgspec.field(default_factory=RowCounts)


class RowNote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row with reasons: quarantined if it has no project, else accepted with a warning.

    `line` counts physical lines from 1; `raw_line` is the record as received, decoded.
    """

    line: int
    reasons: tuple[RowReason, ...]
    raw_line: str | None = None
    project_id: str | None = None


class VanishedProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project of the mapping's source that a file does not have, unchanged by the import."""

    project_id: str
    source: str
    id: str
    project_name: str
    status: str


class QuarantineChunk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The quarantined rows and warnings of one chunk of an import, or vanished projects."""

    import_id: str
    quarantined: tuple[RowNote, ...] = ()
    warnings: tuple[RowNote, ...] = ()
    vanished: tuple[VanishedProject, ...] = ()


class UploadProgress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The import that processed most of a content; the id is the content's fingerprint.

    It identifies rows that have no key: importing the same bytes again changes nothing.
    """

    import_id: str
    offset: int


def build_chunk_id(import_id: str, number: int) -> str:
    """Return the id of the quarantine aggregate of an import's chunk."""
    return f"{import_id}.{number}"


def build_upload_id(sha256: str, mapping: str | None) -> str:
    """Return the id of the upload aggregate of a content under a mapping (or none)."""
    return f"{sha256}.{mapping or ''}"


def add_chunk(
    counts: RowCounts,
    *,
    accepted: int,
    unchanged: int,
    quarantined: Iterable[RowNote],
    warnings: Iterable[RowNote],
    skipped: Mapping[str, int] | None = None,
    merged: int = 0,
    currency_assumed: int = 0,
) -> RowCounts:
    """Return the counts after one more chunk."""
    rejects, warning_notes = tuple(quarantined), tuple(warnings)
    reasons, failures = Counter(counts.by_reason), Counter(counts.failed_checks)
    skips = Counter(skipped or {})
    for note in rejects:
        reasons.update({reason.code for reason in note.reasons})
    for note in (*rejects, *warning_notes):
        failures.update({reason.field for reason in note.reasons if reason.code in CHECK_CODES})
    return RowCounts(
        rows=counts.rows + accepted + unchanged + len(rejects) + skips.total() + merged,
        accepted=counts.accepted + accepted,
        unchanged=counts.unchanged + unchanged,
        quarantined=counts.quarantined + len(rejects),
        warnings=counts.warnings + len(warning_notes),
        by_reason=dict(sorted(reasons.items())),
        failed_checks=dict(sorted(failures.items())),
        skipped=counts.skipped + skips.total(),
        skipped_by=dict(sorted((skips + Counter(counts.skipped_by)).items())),
        merged=counts.merged + merged,
        vanished=counts.vanished,
        currency_assumed=counts.currency_assumed + currency_assumed,
    )


class KeySet:
    """The row keys of a file so far, as 64-bit hashes in one flat table.

    The number of rows is unbounded, and a set of strings takes about 100 bytes per row; this takes
    11 to 22. Two of ten million different keys share a hash with a chance of 3 in a million.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * 1024))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: str) -> bool:
        value = _hash(key)
        return self._table[_find_slot(self._table, value)] == value

    def add(self, key: str) -> None:
        """Add `key`, unless it is present."""
        self._insert(self._table, _hash(key))
        if self._count * 4 > len(self._table) * 3:
            self._grow()

    def _insert(self, table: "array[int]", value: int) -> None:
        slot = _find_slot(table, value)
        if not table[slot]:
            table[slot] = value
            self._count += 1

    def _grow(self) -> None:
        table = array("Q", bytes(16 * len(self._table)))
        for value in self._table:
            if value:
                table[_find_slot(table, value)] = value
        self._table = table


def _hash(key: str) -> int:
    # Zero marks an empty slot, so no key may hash to it.
    return hash(key) & 0xFFFFFFFFFFFFFFFF or 1


def _find_slot(table: "array[int]", value: int) -> int:
    mask = len(table) - 1
    slot = value & mask
    while table[slot] and table[slot] != value:
        slot = (slot + 1) & mask
    return slot
