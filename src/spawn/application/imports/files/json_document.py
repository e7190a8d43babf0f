"""Records of a JSON document: the items of one array, such as the features of GeoJSON.

Items that are arrays are the rows of a table: the first has the names of the members of the others.
The document is read in blocks and never held as a whole: only the open item is, and its size is
bounded. What an item contains is validated when its record is parsed; between the items the
document must be well-formed, so that no item is passed over.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import BinaryIO, Final

import msgspec

from spawn.application.imports.files.file_records import (
    MAX_LINE_BYTES,
    RAW_PREFIX_BYTES,
    TOO_LONG,
)
from spawn.domain.errors import InvalidInput
from spawn.domain.imports.import_state import RowReason
from spawn.domain.imports.record_parser import Record

_BLOCK_BYTES: Final = 256 * 1024
_MAX_OPEN_BYTES: Final = 2 * MAX_LINE_BYTES
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_TOKEN = re.compile(_STRING + rb"|[{}\[\],:]", re.DOTALL)
_BRACKET = re.compile(_STRING + rb"|[{}\[\]]", re.DOTALL)
_END_OF_FILE_MARK: Final = b"\x1a"  # as tools of DOS write it
_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")
_CELLS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_NO_OBJECT: Final = RowReason("", "malformed_line", "the item of the array is no object")


def read_json_items(file: BinaryIO, element: str | None) -> Iterator[Record]:
    """Yield the items of the array at a path as records.

    Without a path it is the document itself, or the first array of objects among its members. At a
    path there may be an object too, whose members are the records.

    Raises:
        InvalidInput: the document has no such array, or ends early.
    """
    names: tuple[str, ...] | None = None
    for record in _read_items(file, element):
        if not record.raw.startswith(b"[") or record.parse_error is not None:
            yield record
        elif names is None:
            names = _read_names(record.raw)
            if not names:
                yield record
        else:
            yield _name_cells(record, names) if names else record


def _read_items(file: BinaryIO, element: str | None) -> Iterator[Record]:
    reader = _DocumentReader(element)
    while block := file.read(_BLOCK_BYTES):
        yield from reader.feed(block)
    reader.finish()


def _read_names(raw: bytes) -> tuple[str, ...]:
    """Return the names in the first array of a table; empty if it has other values."""
    try:
        names = msgspec.json.decode(raw, type=tuple[str, ...])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()
    return names if len(set(names)) == len(names) else ()


def _name_cells(record: Record, names: tuple[str, ...]) -> Record:
    """Return an array of a table as the object with these members; each keeps its text."""
    try:
        cells = _CELLS.decode(record.raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return record
    if len(cells) != len(names):
        detail = f"{len(cells)} values, where the first array has {len(names)} names"
        reason = RowReason("", "wrong_cell_count", detail)
        return msgspec.structs.replace(record, parse_error=reason)
    raw = msgspec.json.encode(dict(zip(names, cells, strict=True)))
    return msgspec.structs.replace(record, raw=raw)


class _NextToken(Enum):
    """The token that may come next, outside of items."""

    VALUE = auto()
    FIRST_ITEM = auto()
    FIRST_NAME = auto()
    NAME = auto()
    COLON = auto()
    COMMA = auto()
    NOTHING = auto()


_VALUES: Final = frozenset({_NextToken.VALUE, _NextToken.FIRST_ITEM})
_NAMES: Final = frozenset({_NextToken.FIRST_NAME, _NextToken.NAME})


class _Syntax:
    """Syntax of a document outside of its items; numbers and literals may be any text."""

    def __init__(self) -> None:
        self.next_token = _NextToken.VALUE
        self._brackets = bytearray()

    def accepts(self, token: bytes) -> bool:
        """Return whether a token may come next; if so, go to what follows it."""
        next_token = self.next_token
        if token in b"}]":
            return self._accepts_end(token)
        if token in b"{[":
            is_accepted, following = next_token in _VALUES, _NextToken.FIRST_ITEM
            if token == b"{":
                following = _NextToken.FIRST_NAME
        elif token == b":":
            is_accepted, following = next_token is _NextToken.COLON, _NextToken.VALUE
        elif token == b",":
            is_in_object = self._brackets.endswith(b"{")
            is_accepted = next_token is _NextToken.COMMA
            following = _NextToken.NAME if is_in_object else _NextToken.VALUE
        elif next_token in _NAMES:
            is_accepted, following = token.startswith(b'"'), _NextToken.COLON
        else:
            is_accepted = token.startswith(b'"') or len(token.split()) == 1
            is_accepted, following = is_accepted and next_token in _VALUES, self._after_value()
        if is_accepted:
            self.next_token = following
            self._brackets += token if token in b"{[" else b""
        return is_accepted

    def end_value(self) -> None:
        """Go to what follows a value."""
        self.next_token = self._after_value()

    def _after_value(self) -> _NextToken:
        return _NextToken.COMMA if self._brackets else _NextToken.NOTHING

    def _accepts_end(self, token: bytes) -> bool:
        is_object = token == b"}"
        first = _NextToken.FIRST_NAME if is_object else _NextToken.FIRST_ITEM
        is_open = self._brackets.endswith(b"{" if is_object else b"[")
        if not is_open or self.next_token not in {first, _NextToken.COMMA}:
            return False
        del self._brackets[-1:]
        self.end_value()
        return True


class _DocumentReader:
    """Reader of the tokens of a document, with one open item at a time."""

    def __init__(self, element: str | None) -> None:
        self._path = None if element is None else element.split(".")
        self._buffer = b""
        self._scanned = 0  # bytes of the buffer whose tokens are read
        self._base = 0
        self._line = 1
        self._keys: list[str | None] = []  # of the open containers, outside of items
        self._key: str | None = None
        self._string = b""
        self._target: int | None = None  # the depth of the items' container
        self._was_found = False
        self._is_candidate = False
        self._item: int | None = None  # the offset of the open item
        self._item_line = 0
        self._item_depth = 0
        self._prefix = b""  # of an item that is too long
        self._gap = 0  # the offset after the last comma or bracket
        self._end = 0  # the offset after the last token
        self._syntax = _Syntax()

    def feed(self, block: bytes) -> Iterator[Record]:
        """Read the next bytes, and yield the items that they complete."""
        self._buffer += block
        position = self._scanned
        while True:
            pattern = _BRACKET if self._item_depth else _TOKEN
            match = pattern.search(self._buffer, position)
            # A quote that no match begins with belongs to a string which the next block ends.
            if match is None or self._buffer.find(b'"', position, match.start()) >= 0:
                break
            record = self._read(match[0], match.start(), match.end())
            if record is not None:
                yield record
            position = match.end()
        self._discard(position)

    def finish(self) -> None:
        """Check that the document was complete, and had an array of objects.

        Raises:
            InvalidInput: it ended early, went on after its value, or had none.
        """
        text = self._buffer[self._end :].strip().removesuffix(_END_OF_FILE_MARK)
        if text and self._syntax.next_token is _NextToken.NOTHING:
            raise self._describe_error(self._end)
        if self._keys or self._item_depth or b'"' in self._buffer:
            raise InvalidInput.at("", "malformed", "The JSON document ends early")
        if not self._was_found:
            place = "" if self._path is None else f" at {'.'.join(self._path)!r}"
            detail = f"The JSON document has no array of objects{place}; name it in record_element"
            raise InvalidInput.at("", "no_records", detail)

    def _read(self, token: bytes, start: int, end: int) -> Record | None:
        """Read one token; return the item that it completes."""
        if self._item_depth:
            return self._read_in_item(token, end)
        self._check_syntax(token, start, end)
        is_candidate, self._is_candidate = self._is_candidate, False
        if token in b"{[":
            if is_candidate and token == b"{":
                self._target, self._was_found = len(self._keys), True
            self._open(token, start)
        elif token in b"}],":
            record = self._find_scalar(start, end)
            self._gap, self._string = end, b""
            if token != b",":
                self._close()
            return record
        elif token == b":":
            self._key = self._string[1:-1].decode("utf-8", "replace")
            self._string, self._gap = b"", end
        else:
            self._string = token
        return None

    def _check_syntax(self, token: bytes, start: int, end: int) -> None:
        """Check the text before a token, and the token, of which an item may be the value.

        Raises:
            InvalidInput: neither may be there.
        """
        text = self._buffer[self._end : start].strip()
        if text and not self._syntax.accepts(text):
            raise self._describe_error(self._end)
        begins_item = self._target == len(self._keys) and token in b"{["
        begins_item = begins_item or (self._is_candidate and token == b"{")
        if begins_item and self._syntax.next_token in _VALUES:
            self._syntax.end_value()
        elif not self._syntax.accepts(token):
            raise self._describe_error(start)
        self._end = end

    def _describe_error(self, offset: int) -> InvalidInput:
        """Return the error of a document that is not well-formed from an offset on."""
        rest = self._buffer[offset:]
        offset += len(rest) - len(rest.lstrip())
        line = self._line + self._buffer.count(b"\n", 0, offset)
        place = f"line {line}, byte {self._base + offset + 1}"
        detail = f"The JSON document is not well-formed at {place}"
        if self._syntax.next_token is _NextToken.NOTHING:
            detail = (
                f"The JSON document goes on after its end, at {place}; "
                "post one object on each line as application/x-ndjson"
            )
        return InvalidInput.at("", "malformed", detail)

    def _read_in_item(self, token: bytes, end: int) -> Record | None:
        if token in b"{[":
            self._item_depth += 1
        elif token in b"}]":
            self._item_depth -= 1
        if self._item_depth:
            return None
        self._gap, self._string, self._end = end, b"{", end
        start, self._item = self._item, None
        if start is None or end - start > MAX_LINE_BYTES:
            raw = self._prefix or self._buffer[start : (start or 0) + RAW_PREFIX_BYTES]
            self._prefix = b""
            return Record(self._item_line, self._base + end, raw, (), TOO_LONG)
        raw = self._buffer[start:end].translate(_BREAKS)
        return Record(self._item_line, self._base + end, raw)

    def _open(self, token: bytes, start: int) -> None:
        """Open an item, or a container outside of items."""
        if self._target == len(self._keys):
            self._item, self._item_depth = start, 1
            self._item_line = self._line + self._buffer.count(b"\n", 0, start)
            return
        self._keys.append(self._key)
        self._key, self._gap = None, start + 1
        depth = len(self._keys)
        if self._was_found:
            return
        if self._path is not None:
            self._was_found = [key for key in self._keys if key is not None] == self._path
            self._target = depth if self._was_found else None
        elif token == b"[":
            # The only array of a document may be empty; others must begin with an object.
            self._was_found, self._is_candidate = depth == 1, depth <= 2  # noqa: PLR2004 - a member
            self._target = depth if depth == 1 else None

    def _close(self) -> None:
        self._keys.pop()
        if self._target is not None and len(self._keys) < self._target:
            self._target = None

    def _find_scalar(self, start: int, end: int) -> Record | None:
        """Return the item before a comma or a bracket as unreadable if it is no object."""
        if self._target != len(self._keys) or self._string == b"{":
            return None
        text = self._string or self._buffer[self._gap : start].strip()
        if not text:
            return None
        blanks = start - len(self._buffer[self._gap : start].rstrip()) - self._gap
        line = self._line + self._buffer.count(b"\n", 0, start - blanks)
        return Record(line, self._base + end, text[:RAW_PREFIX_BYTES], (), _NO_OBJECT)

    def _discard(self, position: int) -> None:
        """Drop the bytes that are read, but for the open item."""
        if self._item is not None and len(self._buffer) - self._item > MAX_LINE_BYTES:
            self._prefix = self._buffer[self._item : self._item + RAW_PREFIX_BYTES]
            self._item = None
        keep = position if self._item_depth else min(position, self._gap)
        keep = keep if self._item is None else self._item
        if len(self._buffer) - keep > _MAX_OPEN_BYTES:
            detail = f"A value of the JSON document is longer than {_MAX_OPEN_BYTES} bytes"
            raise InvalidInput.at("", "too_large", detail)
        self._line += self._buffer.count(b"\n", 0, keep)
        self._buffer = self._buffer[keep:]
        self._scanned = position - keep
        self._base += keep
        self._gap = max(self._gap - keep, 0)
        self._end = max(self._end - keep, 0)
        if self._item is not None:
            self._item -= keep
