"""Records of an XML document: each element of one name, as the JSON of its attributes and content.

An attribute is a member `@name`, a repeated element a list, and the text of an element that has
attributes or elements its member `text`, which is empty where it has attributes alone; an element
with text alone is that text. Text with elements in it, `A <b>bold</b> name`, is read as a whole,
and the elements also by their names. `xsi:nil` is no attribute of the data: the element has no
content. A document cannot grow beyond its bytes: it may not declare entities, and a record is
bounded in size and depth.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO, Final
from xml.parsers import expat

import msgspec

from spawn.application.imports.files.file_records import (
    MAX_LINE_BYTES,
    RAW_PREFIX_BYTES,
    TOO_LONG,
)
from spawn.domain.errors import InvalidInput
from spawn.domain.imports.cells.nested_path import TEXT_MEMBER
from spawn.domain.imports.record_parser import Record

MAX_XML_DEPTH: Final = 24
"""Levels of elements, at most: less than the levels of a JSON record."""

_BLOCK_BYTES: Final = 64 * 1024
_encode = msgspec.json.Encoder().encode


def read_xml_records(file: BinaryIO, element: str | None) -> Iterator[Record]:
    """Yield the elements of a name as records; without a name, those below the root.

    Raises:
        InvalidInput: the document is not well-formed, declares entities, or is nested too deeply.
    """
    reader = _XmlReader(element)
    while True:
        block = file.read(_BLOCK_BYTES)
        reader.feed(block)
        yield from reader.take_records()
        if not block:
            return


class _OpenElement(msgspec.Struct):
    """An element that has begun: its attributes and elements, and its texts with theirs."""

    name: str
    members: dict[str, Any]
    texts: list[str] = msgspec.field(default_factory=list)
    has_text: bool = False


class _XmlReader:
    """Reader of the events of a parser, with one open record at a time."""

    def __init__(self, element: str | None) -> None:
        self._element = element
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._add_text
        self._parser.EntityDeclHandler = self._reject_entity
        self._records: deque[Record] = deque()
        self._depth = 0
        self._stack: list[_OpenElement] = []
        self._line = 0
        self._size = 0

    def feed(self, block: bytes) -> None:
        try:
            self._parser.Parse(block, not block)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            detail = f"The document is not well-formed XML: {reason}, line {error.lineno}"
            raise InvalidInput.at("", "malformed", detail) from None

    def take_records(self) -> Iterator[Record]:
        while self._records:
            yield self._records.popleft()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_XML_DEPTH:
            detail = f"The document has more than {MAX_XML_DEPTH} levels of elements"
            raise InvalidInput.at("", "too_deep", detail)
        is_record = name == self._element if self._element else self._depth == 2  # noqa: PLR2004 - below the root
        if not self._stack and not is_record:
            return
        if not self._stack:
            self._line, self._size = self._parser.CurrentLineNumber, 0
        self._size += len(name) + sum(len(n) + len(v) for n, v in attributes.items())
        members = {f"@{n}": value for n, value in attributes.items()}
        self._stack.append(_OpenElement(name, members))

    def _add_text(self, text: str) -> None:
        if self._stack:
            self._size += len(text)
            if self._size <= MAX_LINE_BYTES:
                self._stack[-1].texts.append(text)
                self._stack[-1].has_text |= not text.isspace()

    def _end(self, _: str) -> None:
        self._depth -= 1
        if not self._stack:
            return
        element = self._stack.pop()
        name, members = element.name, element.members
        _drop_nil(members)
        whole = "".join(element.texts)
        text = whole.strip() if element.has_text else ""
        if self._stack and self._size <= MAX_LINE_BYTES:
            self._stack[-1].texts.append(whole)
        value: Any = members
        if text or all(name.startswith("@") for name in members):
            value = {**members, TEXT_MEMBER: text} if members else text
        if self._stack:
            if self._size <= MAX_LINE_BYTES:
                _add_member(self._stack[-1].members, name, value)
            return
        record = _encode(value if isinstance(value, dict) else {TEXT_MEMBER: value})
        end = max(self._parser.CurrentByteIndex, 1)
        if self._size > MAX_LINE_BYTES or len(record) > MAX_LINE_BYTES:
            raw = record[:RAW_PREFIX_BYTES]
            self._records.append(Record(self._line, end, raw, (), TOO_LONG))
        else:
            self._records.append(Record(self._line, end, record))

    def _reject_entity(self, name: str, *_: object) -> None:
        detail = f"The document declares the entity {name[:40]!r}; remove its document type"
        raise InvalidInput.at("", "entity_declared", detail)


def _drop_nil(members: dict[str, Any]) -> None:
    """Remove the attribute `xsi:nil`; an element that has it and other attributes has no text."""
    nil_names = [name for name in members if name[0] == "@" and name.endswith(":nil")]
    values = {members.pop(name).strip() for name in nil_names}
    if members and not values.isdisjoint({"true", "1"}):
        members.setdefault(TEXT_MEMBER, "")


def _add_member(parent: dict[str, Any], name: str, value: object) -> None:
    """Add an element; a second one of the name makes a list of both."""
    if name not in parent:
        parent[name] = value
    elif isinstance(parent[name], list):
        parent[name].append(value)
    else:
        parent[name] = [parent[name], value]
