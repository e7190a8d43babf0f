"""Records of an uploaded file, their encodings, and their cells or members as tokens."""

import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

import msgspec

from spawn.domain.errors import InvalidInput, MalformedBody
from spawn.domain.imports.export_reader import EMPTY_TEXT
from spawn.domain.imports.formula_guard import unescape_formula
from spawn.domain.imports.header import (
    QUARANTINE_COLUMNS,
    count_named_columns,
    find_columns,
    is_quarantine_header,
)
from spawn.domain.imports.import_state import (
    BLANK_ROW,
    NOTE_ROW,
    REPEATED_HEADER,
    FileFormat,
    RowReason,
)
from spawn.domain.imports.mapping import ImportMapping, RaggedRows
from spawn.domain.json_tokens import Token, parse_object

QUARANTINE_ENVELOPE = frozenset({"line", "fields", "reasons", "raw_line"})
"""Members of a quarantined row as it is downloaded, and posted back with corrected fields."""

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MIN_COLUMNS_BESIDE_NOTES = 3
_NOTE = re.compile(
    r"\s*(?:[*\u2020\u2021\u00a7\u00a9]|[(\[]\d{1,2}[)\]]|\d{1,2}[)/]\s"
    r"|(?:(?:foot)?notes?|sources?|notas?|fuentes?|fontes?|anmerkung(?:en)?|quellen?|remarques?"
    r"|bron(?:nen)?|opmerking(?:en)?|uwag[ai]|\u017ar\u00f3d\u0142[ao])\s*\d*\s*(?:[:.\u2013-]|$))",
    re.IGNORECASE,
).match
"""Beginnings of notes on a table: a sign, a number such as (1) or 1/, or a word for it."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record: its first physical `line`, the byte offset after it, its bytes.

    `cells` are those of a CSV record; `parse_error` is the reason why there are none. A record with
    a `group` stands for the records in it.
    """

    line: int
    end: int
    raw: bytes
    cells: Sequence[str] = ()
    parse_error: RowReason | None = None
    group: "tuple[Record, ...]" = ()


class FileLayout(msgspec.Struct, frozen=True):
    """Layout of a file's records; `columns` are those of a CSV header.

    `encodings` are those of the file, if it has others than its mapping names. `from_export` means
    a file that the service has exported.
    """

    file_format: FileFormat
    mapping: ImportMapping | None
    columns: tuple[str, ...] = ()
    encodings: tuple[str, ...] = ()
    from_export: bool = False

    def list_encodings(self) -> tuple[str, ...]:
        """Return the encodings to try for each line, in order."""
        return self.encodings or list_encodings(self.file_format, self.mapping)


class RecordParser:
    """Parser of records: column → token, or the reason why a record is unreadable."""

    def __init__(self, layout: FileLayout) -> None:
        self._has_cells = layout.file_format.has_cells
        encodings = layout.list_encodings()
        self._decode = None if encodings == ("utf-8",) else build_decoder(encodings)
        self._cells = CellSelector(layout)

    def parse(self, record: Record) -> Mapping[str, Token] | RowReason:
        """Return the tokens of a record by column, or the reason why it is unreadable."""
        if record.parse_error is not None:
            return record.parse_error
        if self._has_cells:
            return self._cells.select(record.cells)
        return self._parse_json(record.raw)

    def _parse_json(self, raw: bytes) -> Mapping[str, Token] | RowReason:
        if self._decode is not None:
            raw = (self._decode(raw) or "").encode()
        try:
            tokens = parse_object(raw)
        except MalformedBody as error:
            return RowReason("", "malformed_line", error.detail + _suggest_format(raw))
        except InvalidInput as error:
            detail = error.errors[0].detail + _suggest_format(raw)
            return RowReason("", "malformed_line", detail)
        return _open_envelope(tokens) if tokens.keys() == QUARANTINE_ENVELOPE else tokens


def _suggest_format(raw: bytes) -> str:
    """Return what to do with a line of an array of objects; empty for another line."""
    line = raw.strip()
    is_array = line.startswith((b"[", b"]")) or line.endswith(b",")
    return "; post an array of objects as application/json" if is_array else ""


class CellSelector:
    """Selector of the cells of a CSV record that a mapping reads, by the mapping's names."""

    def __init__(self, layout: FileLayout) -> None:
        columns, mapping = layout.columns, layout.mapping
        is_returned = is_quarantine_header(columns)
        self._is_export = layout.from_export
        self._is_workbook = layout.file_format is FileFormat.XLSX
        first = len(QUARANTINE_COLUMNS) if is_returned and self._is_export else 0
        indexes = {name: index for index, name in enumerate(columns) if index >= first}
        if mapping is not None and not self._is_export:
            indexes = find_columns(columns, mapping.source_columns).indexes
        self._names = tuple(indexes)
        # Two indexes at least, so that the getter returns a tuple.
        self._pick = itemgetter(*indexes.values(), 0, 0)
        self._width = len(columns)
        self._columns = columns
        self._first_name = columns[0] if len(columns) > 1 else None
        self._named_width = self._required_width = count_named_columns(columns)
        if mapping is not None and mapping.ragged_rows is RaggedRows.PAD:
            self._required_width = 1
        self._mapped_indexes = frozenset(indexes.values())
        self._may_have_notes = (
            self._named_width >= _MIN_COLUMNS_BESIDE_NOTES
            and not self._is_export
            and not is_returned
        )
        # Quarantined rows that come back are guarded against formulas.
        self._is_guarded = is_returned or (self._is_export and not self._is_workbook)

    def select(self, cells: Sequence[str]) -> Mapping[str, Token] | RowReason:
        """Return the cells by name, or the reason against the record.

        Surplus cells without content carry nothing; a record without any content is skipped.
        """
        if self._may_have_notes and _may_be_note(cells, self._width) and self._is_note(cells):
            return NOTE_ROW
        if len(cells) != self._width:
            fitted_cells = self.fit(cells)
            if fitted_cells is None:
                if len(cells) == 1 and cells[0].isspace():  # a line of blanks is an empty line
                    return BLANK_ROW
                detail = f"{len(cells)} cells, where the header has {self._width}"
                return RowReason("", "wrong_cell_count", detail)
            cells = fitted_cells
        if not any(cell and not cell.isspace() for cell in cells):
            return BLANK_ROW
        if cells[0] == self._first_name and tuple(cells) == self._columns:
            return REPEATED_HEADER
        if self._is_guarded:
            cells = [unescape_formula(cell) for cell in cells]
        row = dict(zip(self._names, self._pick(cells), strict=False))
        return self._read_nulls(row) if self._is_export else row

    def _is_note(self, cells: Sequence[str]) -> bool:
        """Return whether a record is a note on the table, above or below its rows.

        It has content in one cell alone, which is the first and begins as a note, or is in a column
        that the mapping does not read. A note that was divided at its commas has too few cells.
        """
        texts = [(index, cell) for index, cell in enumerate(cells) if cell and not cell.isspace()]
        if not texts:
            return False
        index, text = texts[0]
        if index == 0 and _NOTE(text) is not None:
            return len(texts) == 1 or len(cells) < self._required_width
        return len(texts) == 1 and index not in self._mapped_indexes

    def _read_nulls(self, row: Mapping[str, str]) -> Mapping[str, Token]:
        """Return a row of an export; in a workbook an empty text and null are the same cell."""
        if self._is_workbook:
            return {name: cell for name, cell in row.items() if cell}
        return {n: ("" if c == EMPTY_TEXT else c) if c else None for n, c in row.items()}

    def fit(self, cells: Sequence[str]) -> Sequence[str] | None:
        """Return the cells in the number of the header's names; None: they are others."""
        surplus = self._width - len(cells)
        if surplus >= 0:
            return (
                [*cells, *("" for _ in range(surplus))]
                if len(cells) >= self._required_width
                else None
            )
        is_empty = not any(cell.strip() for cell in cells[self._width :])
        return cells[: self._width] if is_empty else None


def _may_be_note(cells: Sequence[str], width: int) -> bool:
    """Return quickly whether a record may have one cell alone, or too few."""
    return len(cells) < width or not (cells[0] and cells[1])


def is_envelope(raw: bytes) -> bool:
    """Return whether a line of JSON is a quarantined row that was posted back."""
    if b'"raw_line"' not in raw:
        return False
    try:
        return _MEMBERS.decode(raw).keys() == QUARANTINE_ENVELOPE
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _open_envelope(tokens: Mapping[str, Token]) -> Mapping[str, Token] | RowReason:
    """Return the fields of a quarantined row, corrected and posted back."""
    fields = tokens["fields"]
    if isinstance(fields, dict):
        return fields
    detail = "the row has no fields: write them into `fields`, by the names of the columns"
    return RowReason("fields", "no_fields", detail)


def list_encodings(file_format: FileFormat, mapping: ImportMapping | None) -> tuple[str, ...]:
    """Return the encodings to try for each line, in order; JSON always tries UTF-8 first."""
    mapping_encodings = ("utf-8",) if mapping is None else mapping.encoding
    return (
        mapping_encodings
        if file_format.has_cells
        else tuple(dict.fromkeys(("utf-8", *mapping_encodings)))
    )


def build_encoder(encodings: Sequence[str]) -> Callable[[str], bytes]:
    """Return a function that encodes a line so that `build_decoder` reads it again."""
    decode = build_decoder(encodings)

    def encode(text: str) -> bytes:
        for encoding in encodings:
            try:
                raw = text.encode(encoding)
            except UnicodeEncodeError:
                continue
            if decode(raw) == text:
                return raw
        return text.encode(encodings[0], "backslashreplace")

    return encode


def build_decoder(encodings: Sequence[str]) -> Callable[[bytes], str | None]:
    """Return a function that decodes a line with the first of `encodings` that fits."""

    def decode(raw: bytes) -> str | None:
        for encoding in encodings:
            try:
                return raw.decode(encoding)
            except UnicodeDecodeError:
                continue
        return None

    return decode
