"""Records read from an uploaded file: physical lines, and quoted line breaks.

Memory is bounded by one line, not by the file, and nothing is dropped: an unreadable record has a
`parse_error`.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import msgspec

from spawn.domain.imports.export_reader import mark_empty_texts
from spawn.domain.imports.import_state import RowReason
from spawn.domain.imports.mapping import CsvDialect
from spawn.domain.imports.record_parser import Record

MAX_LINE_BYTES = 1024 * 1024
"""Maximum length of a record, line breaks inside quotes included."""

RAW_PREFIX_BYTES = 4096
"""Length of the prefix that represents a longer line."""

_END_OF_TEXT = b"\x1a"
"""Control-Z, by which tools of DOS and CP/M mark the end of a text, repeated to fill a block."""

_RECORD_SEPARATOR = b"\x1e"

PhysicalLine = tuple[int, int, bytes, bool]
"""A physical line: number from 1, offset after it, its bytes, and whether they are complete."""


def read_physical_lines(file: BinaryIO, start: int = 0) -> Iterator[PhysicalLine]:
    """Yield the lines of a file, each cut at the maximum length; `start` bytes precede them."""
    number, end = 0, start
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        end += len(raw)
        if raw.endswith(_END_OF_TEXT) and len(raw) <= MAX_LINE_BYTES:
            raw = raw.rstrip(_END_OF_TEXT)  # only the last line has no line end
            if not raw:
                return
        is_complete = len(raw) <= MAX_LINE_BYTES or raw.endswith(b"\n")
        while not raw.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
            end += len(rest)
            if rest.endswith(b"\n"):
                break
        yield number, end, raw, is_complete


def read_json_records(lines: Iterator[PhysicalLine]) -> Iterator[Record]:
    """Yield one record per line; skip blank lines.

    A record separator may precede each record, as in a JSON text sequence (RFC 7464).
    """
    for number, end, text, is_complete in lines:
        raw = text.removeprefix(_RECORD_SEPARATOR)
        if not is_complete:
            yield Record(number, end, raw[:RAW_PREFIX_BYTES], (), TOO_LONG)
        elif not raw.isspace():
            yield Record(number, end, raw)


def read_csv_records(
    lines: Iterator[PhysicalLine], decode: Callable[[bytes], str | None], dialect: CsvDialect
) -> Iterator[Record]:
    """Yield CSV records (RFC 4180), whose quoted fields may span lines; skip blank lines.

    `decode` returns the text of one physical line, or None. An unclosed quote invalidates only the
    line it is on: reading restarts on the next line.
    """
    csv_lines = _CsvLines(lines, decode)
    reader = dialect.read(csv_lines)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _LineTooLong) as error:
            if csv_lines.split_first_line():
                reader = dialect.read(csv_lines)
                continue
            yield csv_lines.reject_first_line(
                TOO_LONG if isinstance(error, _LineTooLong) else _malformed_line(error)
            )
            reader = dialect.read(csv_lines)
            continue
        record = csv_lines.take_record(cells)
        if cells:
            yield record


def distinguish_null(record: Record, delimiter: str) -> Record:
    """Return a record of an export in which empty texts differ from null."""
    cells = mark_empty_texts(record.raw, record.cells, delimiter)
    return record if cells is record.cells else msgspec.structs.replace(record, cells=cells)


_LONE_RETURN = re.compile(rb"(?<=\r)(?!\n)")


class _LineTooLong(Exception):
    pass


class _CsvLines:
    """Iterator of lines for the CSV reader that tracks the lines of the current record."""

    def __init__(
        self, lines: Iterator[PhysicalLine], decode: Callable[[bytes], str | None]
    ) -> None:
        self._lines = lines
        self._decode = decode
        self._pushed_back: deque[PhysicalLine] = deque()
        self._record_lines: list[PhysicalLine] = []
        self._size = 0
        self._parse_error: RowReason | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._pushed_back.popleft() if self._pushed_back else next(self._lines)
        raw = line[2]
        self._record_lines.append(line)
        self._size += len(raw)
        if self._size > MAX_LINE_BYTES or not line[3]:
            raise _LineTooLong
        if b"\0" in raw:
            self._parse_error = RowReason("", "malformed_line", "the line contains U+0000")
        text = self._decode(raw)
        if text is None:
            self._parse_error = RowReason(
                "", "undecodable", "none of the mapping's encodings fits the line"
            )
            return raw.decode("latin-1")
        # Files that were joined have a byte order mark at the beginning of each.
        return text.removeprefix("\ufeff") if len(self._record_lines) == 1 else text

    def take_record(self, cells: Sequence[str]) -> Record:
        """Return the record of the lines read since the last one."""
        lines, parse_error = self._record_lines, self._parse_error
        self._record_lines, self._size, self._parse_error = [], 0, None
        raw = lines[0][2] if len(lines) == 1 else b"".join(line[2] for line in lines)
        return Record(lines[0][0], lines[-1][1], raw, cells, parse_error)

    def split_first_line(self) -> bool:
        """Divide the first of those lines at carriage returns alone, where a file mixes line ends.

        Returns:
            False if it has none.
        """
        (number, end, raw, is_complete), *others = self._record_lines
        parts = [part for part in _LONE_RETURN.split(raw) if part]
        if not is_complete or len(parts) == 1:
            return False
        starts = [end - sum(map(len, parts[index + 1 :])) for index in range(len(parts))]
        lines = [(number, start, part, True) for start, part in zip(starts, parts, strict=True)]
        self._pushed_back.extendleft(reversed([*lines, *others]))
        self._record_lines, self._size, self._parse_error = [], 0, None
        return True

    def reject_first_line(self, parse_error: RowReason) -> Record:
        """Return the first of those lines as a record with an error; push back the others."""
        first, *others = self._record_lines
        self._pushed_back.extendleft(reversed(others))
        self._record_lines, self._size, self._parse_error = [], 0, None
        raw = first[2] if first[3] else first[2][:RAW_PREFIX_BYTES]
        return Record(first[0], first[1], raw, (), parse_error)


TOO_LONG = RowReason(
    "", "line_too_long", f"the record exceeds {MAX_LINE_BYTES} bytes; only its start is stored"
)
"""Reason against a record that is too long."""


def _malformed_line(error: csv.Error) -> RowReason:
    detail = f"not a CSV record: {error}"
    if "expected after" in str(error):
        detail += "; the mapping's quote is empty if the file has no quoted cells"
    return RowReason("", "malformed_line", detail)
