"""Records of an uploaded file, their encodings, and their cells or members as tokens."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from spawn.domain.errors import InvalidInput, MalformedBody
from spawn.domain.imports.import_state import FileFormat, RowReason
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.json_tokens import Token, parse_object

QUARANTINE_ENVELOPE = frozenset({"line", "fields", "reasons", "raw_line"})
"""Members of a quarantined row as it is downloaded, and posted back with corrected fields."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record: its first physical `line`, the byte offset after it, its bytes.

    `cells` are those of a CSV record; `parse_error` is the reason why there are none.
    """

    line: int
    end: int
    raw: bytes
    cells: Sequence[str] = ()
    parse_error: RowReason | None = None


class FileLayout(msgspec.Struct, frozen=True):
    """Layout of a file's records; `columns` are those of a CSV header."""

    file_format: FileFormat
    mapping: ImportMapping | None
    columns: tuple[str, ...] = ()


class RecordParser:
    """Parser of records: column → token, or the reason why a record is unreadable."""

    def __init__(self, layout: FileLayout) -> None:
        self._columns = layout.columns
        self._csv = layout.file_format is FileFormat.CSV
        encodings = list_encodings(layout.file_format, layout.mapping)
        self._decode = None if encodings == ("utf-8",) else build_decoder(encodings)
        self._has_mapping = layout.mapping is not None

    def parse(self, record: Record) -> Mapping[str, Token] | RowReason:
        """Return the tokens of a record by column, or the reason why it is unreadable."""
        if record.parse_error is not None:
            return record.parse_error
        if self._csv:
            if len(record.cells) != len(self._columns):
                detail = f"{len(record.cells)} cells, where the header has {len(self._columns)}"
                return RowReason("", "wrong_cell_count", detail)
            return dict(zip(self._columns, record.cells, strict=True))
        return self._parse_json(record.raw)

    def _parse_json(self, raw: bytes) -> Mapping[str, Token] | RowReason:
        if self._decode is not None:
            raw = (self._decode(raw) or "").encode()
        try:
            tokens = parse_object(raw)
        except MalformedBody as error:
            return RowReason("", "malformed_line", error.detail)
        except InvalidInput as error:
            return RowReason("", "malformed_line", error.errors[0].detail)
        if self._has_mapping and tokens.keys() == QUARANTINE_ENVELOPE:
            fields = tokens["fields"]
            return fields if isinstance(fields, dict) else tokens
        return tokens


def list_encodings(file_format: FileFormat, mapping: ImportMapping | None) -> tuple[str, ...]:
    """Return the encodings to try for each line, in order; JSON always tries UTF-8 first."""
    mapping_encodings = ("utf-8",) if mapping is None else mapping.encoding
    return (
        mapping_encodings
        if file_format is FileFormat.CSV
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
