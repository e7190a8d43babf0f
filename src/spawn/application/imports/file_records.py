"""The records of an uploaded file: physical lines, quoted line breaks, per-line encodings.

Everything here is bounded by one line, not by the file, and nothing is dropped: what cannot be
read comes out as a record with a fault.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import msgspec

from spawn.domain.imports.import_state import FileFormat, Reason
from spawn.domain.imports.mapping import ImportMapping

MAX_LINE_BYTES = 1024 * 1024
"""The longest record, line breaks inside quotes included."""

RAW_KEPT_BYTES = 4096
"""How much is kept of a line that is longer than that."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record: the physical `line` it begins on, the byte offset after it, its bytes.

    `cells` are a CSV record's; `fault` says why there are none.
    """

    line: int
    end: int
    raw: bytes
    cells: Sequence[str] = ()
    fault: Reason | None = None


Line = tuple[int, int, bytes, bool]
"""A physical line: number from 1, offset after it, its bytes, whether they are all of it."""


def physical_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines of a file from its beginning, each cut at the cap."""
    number = end = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        end += len(raw)
        whole = len(raw) <= MAX_LINE_BYTES or raw.endswith(b"\n")
        while not raw.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
            end += len(rest)
            if rest.endswith(b"\n"):
                break
        yield number, end, raw, whole


def json_records(lines: Iterator[Line]) -> Iterator[Record]:
    """One record a line; blank lines are none."""
    for number, end, raw, whole in lines:
        if not whole:
            yield Record(number, end, raw[:RAW_KEPT_BYTES], (), _TOO_LONG)
        elif not raw.isspace():
            yield Record(number, end, raw)


def csv_records(
    lines: Iterator[Line], decode: Callable[[bytes], str | None], delimiter: str
) -> Iterator[Record]:
    """CSV records as in RFC 4180, where a field in quotes may span lines; blank lines are none.

    `decode` gives the text of one physical line, or None. A quote that nothing closes spoils the
    line it is on and no other: reading starts afresh on the line after it.
    """
    feed = _Feed(lines, decode)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _LineTooLong) as error:
            yield feed.give_up(_TOO_LONG if isinstance(error, _LineTooLong) else _malformed(error))
            reader = csv.reader(feed, delimiter=delimiter, strict=True)
            continue
        record = feed.take(cells)
        if cells:
            yield record


class _LineTooLong(Exception):
    pass


class _Feed:
    """Hands lines to the CSV reader and remembers which of them its current record took."""

    def __init__(self, lines: Iterator[Line], decode: Callable[[bytes], str | None]) -> None:
        self._lines = lines
        self._decode = decode
        self._again: deque[Line] = deque()
        self._taken: list[Line] = []
        self._size = 0
        self._fault: Reason | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        raw = line[2]
        self._taken.append(line)
        self._size += len(raw)
        if self._size > MAX_LINE_BYTES or not line[3]:
            raise _LineTooLong
        if b"\0" in raw:
            self._fault = Reason("", "malformed_line", "the line contains U+0000")
        text = self._decode(raw)
        if text is None:
            self._fault = Reason("", "undecodable", "none of the mapping's encodings fits the line")
            return raw.decode("latin-1")
        return text

    def take(self, cells: Sequence[str]) -> Record:
        """The record that the lines since the last one make."""
        taken, fault = self._taken, self._fault
        self._taken, self._size, self._fault = [], 0, None
        raw = taken[0][2] if len(taken) == 1 else b"".join(line[2] for line in taken)
        return Record(taken[0][0], taken[-1][1], raw, cells, fault)

    def give_up(self, fault: Reason) -> Record:
        """The first of those lines as a faulty record; the others will be read again."""
        first, *others = self._taken
        self._again.extendleft(reversed(others))
        self._taken, self._size, self._fault = [], 0, None
        raw = first[2] if first[3] else first[2][:RAW_KEPT_BYTES]
        return Record(first[0], first[1], raw, (), fault)


_TOO_LONG = Reason(
    "", "line_too_long", f"a record may be {MAX_LINE_BYTES} bytes long; only its start is kept"
)


def _malformed(error: csv.Error) -> Reason:
    return Reason("", "malformed_line", f"not a CSV record: {error}")


def encodings_of(file_format: FileFormat, mapping: ImportMapping | None) -> tuple[str, ...]:
    """What to try for each line, in order; JSON is UTF-8 first, whatever the mapping says."""
    named = ("utf-8",) if mapping is None else mapping.encoding
    return named if file_format is FileFormat.CSV else tuple(dict.fromkeys(("utf-8", *named)))


def encoder(encodings: Sequence[str]) -> Callable[[str], bytes]:
    """A function that encodes a line so that the decoder of the same encodings reads it again."""
    decode = decoder(encodings)

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


def decoder(encodings: Sequence[str]) -> Callable[[bytes], str | None]:
    """A function that decodes a line with the first of `encodings` that can."""

    def decode(raw: bytes) -> str | None:
        for encoding in encodings:
            try:
                return raw.decode(encoding)
            except UnicodeDecodeError:
                continue
        return None

    return decode
