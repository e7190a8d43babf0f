"""Groups of rows that form one record, such as one line for each turbine of a wind farm.

A group may have rows anywhere in a file, so all rows are read before the first group is known. They
are stored as their bytes, in the order of the first row of each group.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from spawn.application.imports.files.file_records import MAX_LINE_BYTES, RAW_PREFIX_BYTES
from spawn.domain.errors import InvalidInput
from spawn.domain.imports.import_state import RowReason
from spawn.domain.imports.mapping import CsvDialect
from spawn.domain.imports.record_parser import FileLayout, Record, RecordParser, build_decoder
from spawn.domain.imports.row_drafter import read_source
from spawn.domain.imports.row_reader import RowReader

MAX_GROUPED_BYTES: Final = 128 * 1024 * 1024
"""Bytes of the rows of a file with groups, at most."""

_TOO_LARGE = f"A file with groups has at most {MAX_GROUPED_BYTES} bytes of rows; divide it"
_TOO_LONG = RowReason(
    "", "line_too_long", f"the rows of the group exceed {MAX_LINE_BYTES} bytes; divide the group"
)


class _Group(msgspec.Struct):
    """The rows of a group: their lines and their bytes."""

    lines: list[int]
    rows: list[bytes]


def group_records(
    records: Iterable[Record], layout: FileLayout, reader: RowReader
) -> Iterator[Record]:
    """Yield one record for each group of rows; rows that are skipped or unreadable are alone.

    Raises:
        InvalidInput: the rows take more than the maximum.
    """
    parser = RecordParser(layout)
    entries: list[_Group | Record] = []
    groups: dict[tuple[str | None, ...], _Group] = {}
    size = 0
    for record in records:
        size += len(record.raw)
        if size > MAX_GROUPED_BYTES:
            raise InvalidInput.at("", "too_large", _TOO_LARGE)
        source = read_source(record, parser, reader)
        if isinstance(source, RowReason):
            entries.append(msgspec.structs.replace(record, cells=(), parse_error=source))
            continue
        key = reader.read_group(source)
        # Rows without any value of the group's columns have nothing in common.
        group = groups.get(key) if any(key) else None
        if group is None:
            group = groups[key] = _Group([], [])
            entries.append(group)
        group.lines.append(record.line)
        group.rows.append(record.raw)
    yield from _build_records(entries, layout)


def _build_records(entries: list[_Group | Record], layout: FileLayout) -> Iterator[Record]:
    """Yield the records of the groups; the end of each is the sum of bytes so far."""
    split = _RowSplitter(layout)
    end = 0
    for index, entry in enumerate(entries):
        entries[index] = _EMPTY  # Releases the rows of the group.
        if isinstance(entry, Record):
            end += len(entry.raw)
            yield msgspec.structs.replace(entry, end=end)
            continue
        raw = b"\n".join(row.rstrip(b"\r\n") for row in entry.rows)
        end += sum(map(len, entry.rows))
        line = entry.lines[0]
        if len(raw) > MAX_LINE_BYTES:
            yield Record(line, end, raw[:RAW_PREFIX_BYTES], (), _TOO_LONG)
            continue
        members = tuple(
            Record(number, end, row, split.split(row))
            for number, row in zip(entry.lines, entry.rows, strict=True)
        )
        yield Record(line, end, raw, group=members)


class _RowSplitter:
    """Splitter of the bytes of a row into its cells; only CSV has any."""

    def __init__(self, layout: FileLayout) -> None:
        self._has_cells = layout.file_format.has_cells
        self._dialect = layout.mapping.dialect if layout.mapping else CsvDialect()
        self._decode = build_decoder(layout.list_encodings())

    def split(self, row: bytes) -> Sequence[str]:
        if not self._has_cells:
            return ()
        lines = (self._decode(line) or "" for line in row.splitlines(keepends=True))
        return next(self._dialect.read(lines), ())


_EMPTY = Record(0, 0, b"")
