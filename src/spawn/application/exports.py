"""Data out as lines: every project page by page, rows set aside, and CSV that is safe to open.

A spreadsheet takes a cell that begins with `= + - @`, a tab or a carriage return for a formula.
Such a text gets a leading apostrophe in CSV; numbers and NDJSON stay exactly as they are.
"""

import csv
import io
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import msgspec

from spawn.application.dependencies import Services, require
from spawn.application.imports.file_records import encoder, encodings_of
from spawn.application.projects.versioned_views import shown_under
from spawn.domain.change import Stored
from spawn.domain.imports.import_state import FileFormat, Import, Note
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.principal import Principal
from spawn.domain.projects.project import FIELDS, Project
from spawn.domain.query import MAX_LIMIT, Page, Query
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX
from spawn.domain.schemas.model import Schema

EXTENSIONS_COLUMN = "extensions"
"""Where CSV keeps all `x_` fields, as one JSON object: each project may have others."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


async def every_project(
    services: Services, principal: Principal, schema: Schema, *, page_size: int = MAX_LIMIT
) -> AsyncIterator[Stored[Project]]:
    """All projects in the order of their creation, never more than a page in memory.

    All have the shape of the schema, which ruled when this began, even if another comes to rule.
    """
    require(principal, "read")
    query: Query | None = Query(limit=page_size)
    while query is not None:
        page: Page[Stored[Project]] = await services.reads.page(query)
        for stored in page.items:
            yield await shown_under(services, stored, schema.version)
        query = Query(limit=page_size, after=page.next) if page.next else None


async def lines_of(
    documents: AsyncIterator[bytes], file_format: FileFormat
) -> AsyncIterator[bytes]:
    """Flat JSON documents as the lines of a file; CSV begins with its header."""
    if file_format is FileFormat.CSV:
        async for line in csv_of_documents(documents):
            yield line
        return
    async for document in documents:
        yield document + b"\n"


async def csv_of_documents(documents: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """CSV of flat JSON documents: the first says which columns there are.

    Text is neutralised, objects and arrays are JSON in their cell, and null is an empty cell.
    """
    columns: tuple[str, ...] = ()
    async for document in documents:
        members = _members.decode(document)
        if not columns:
            columns = tuple(name for name in members if not name.startswith(EXTENSION_PREFIX))
            yield csv_line((*columns, EXTENSIONS_COLUMN))
        yield csv_line(_project_cells(members, columns))
    if not columns:
        yield csv_line((*FIELDS, EXTENSIONS_COLUMN))


def _project_cells(members: Mapping[str, msgspec.Raw], columns: Sequence[str]) -> list[str]:
    cells = [_cell(members.get(name)) for name in columns]
    extensions = {k: v for k, v in members.items() if k.startswith(EXTENSION_PREFIX)}
    cells.append(_encode(extensions).decode() if extensions else "")
    return cells


def _cell(value: msgspec.Raw | None) -> str:
    """A JSON value as the text of a cell; numbers keep their digits."""
    if value is None:
        return ""
    raw = bytes(value)
    if raw.startswith(b'"'):
        return neutralised(msgspec.json.decode(raw, type=str))
    if raw in {b"null", b"[]", b"{}"}:
        return ""
    return raw.decode()


def neutralised(text: str) -> str:
    """The text, unless a spreadsheet would take it for a formula: then behind an apostrophe."""
    if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def csv_line(cells: Iterable[str]) -> bytes:
    """One CSV record as in RFC 4180, in UTF-8."""
    return _csv_text(cells).encode()


def _csv_text(cells: Iterable[str], delimiter: str = ",") -> str:
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter).writerow(cells)
    return line.getvalue()


class QuarantineLines:
    """The rows that an import set aside, as lines to download, correct and post back.

    NDJSON has `{line, fields, reasons, raw_line}`; an import takes such an object for its `fields`.
    CSV has the file's own columns after `line`, `reasons` and `raw_line`, which the same mapping
    passes over, with its delimiter and in its encodings, so that it reads what it is given back.
    A row that could not be taken apart has no fields, only its raw line.
    """

    def __init__(self, order: Import, mapping: ImportMapping | None) -> None:
        self._order = order
        self._delimiter = mapping.delimiter if mapping else ","
        self._needed = mapping.needed if mapping else frozenset()
        encodings = encodings_of(order.format, mapping)
        self._encode = encoder(encodings)
        self.charset = encodings[0]

    def ndjson(self, note: Note) -> bytes:
        """One row as a line of NDJSON."""
        shown = {
            "line": note.line,
            "fields": self._fields(note),
            "reasons": note.reasons,
            "raw_line": note.raw_line,
        }
        return _encode(shown) + b"\n"

    def csv_header(self) -> bytes:
        """The header of the CSV form."""
        # A name that the mapping looks for stays as it is: it could not be found again.
        columns = (n if n in self._needed else neutralised(n) for n in self._order.columns)
        return self._line((*self._own_names(), *columns))

    def csv(self, note: Note) -> bytes:
        """One row as a line of CSV."""
        reasons = "; ".join(
            f"{reason.field}: {reason.detail} ({reason.code})"
            if reason.field
            else f"{reason.detail} ({reason.code})"
            for reason in note.reasons
        )
        cells = self._cells(note.raw_line or "")
        own = (str(note.line), neutralised(reasons), neutralised(note.raw_line or ""))
        return self._line((*own, *(neutralised(cell) for cell in cells)))

    def _line(self, cells: Iterable[str]) -> bytes:
        return self._encode(_csv_text(cells, self._delimiter))

    def _own_names(self) -> tuple[str, ...]:
        """`line`, `reasons`, `raw_line`, told apart from columns of the file of the same name."""
        names = ("line", "reasons", "raw_line")
        return tuple(f"spawn_{n}" if n in self._order.columns else n for n in names)

    def _fields(self, note: Note) -> Mapping[str, object] | None:
        raw = note.raw_line or ""
        if self._order.format is FileFormat.CSV:
            cells = self._cells(raw)
            return dict(zip(self._order.columns, cells, strict=True)) if cells else None
        try:
            return _members.decode(raw.encode())
        except (msgspec.DecodeError, UnicodeError):
            return None

    def _cells(self, raw: str) -> list[str]:
        if self._order.format is not FileFormat.CSV:
            return []
        try:
            rows = list(
                csv.reader(io.StringIO(raw, newline=""), delimiter=self._delimiter, strict=True)
            )
        except csv.Error:
            return []
        whole = len(rows) == 1 and len(rows[0]) == len(self._order.columns)
        return rows[0] if whole else []
