"""Scan of a workbook before it is read: its limits, the errors of cells, the merged cells.

The native reader loads a sheet as a full rectangle, and shows a cell with an error as empty. The
scan reads the sheet as a stream, and rejects one that is too large before any of it is loaded.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.parsers import expat

import msgspec

from spawn.domain.errors import InvalidInput

MEMORY_BYTES: Final = 1024 * 1024 * 1024
"""Address space of the process that reads a workbook, at most."""
MAX_UNPACKED_BYTES: Final = 1024 * 1024 * 1024
"""Bytes of all parts of a workbook, at most."""
MAX_SHEET_CELLS: Final = 20_000_000
"""Cells of the rectangle that a sheet's values span, at most."""
MAX_PARTS: Final = 10_000
MAX_MERGED_RANGES: Final = 100_000

TOO_LARGE: Final = (
    f"The workbook cannot be read in {MEMORY_BYTES // 1024**2} MiB of memory; save the sheet as CSV"
)
_BLOCK_BYTES: Final = 256 * 1024
_MAX_INDEX_BYTES: Final = 8 * 1024 * 1024
_MAX_ERRORS: Final = 1_000_000
_MAX_LISTED_NAMES: Final = 20
_OLE_MARK: Final = b"\xd0\xcf\x11\xe0"
_OFFICE_DOCUMENT: Final = "/relationships/officeDocument"
_WORKSHEET: Final = "/relationships/worksheet"
_REFERENCE = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")
_RANGE = re.compile(r"([A-Z]{1,3}[1-9][0-9]{0,6}):([A-Z]{1,3}[1-9][0-9]{0,6})")


class SheetScan(msgspec.Struct, frozen=True):
    """The name of a sheet, and those of all sheets.

    `errors` are the texts of errors by row and column from 0; `merged_ranges` have a first row,
    a last row and a column.
    """

    name: str
    sheets: tuple[str, ...]
    errors: dict[int, dict[int, str]]
    merged_ranges: list[tuple[int, int, int]]


class _Sheet(msgspec.Struct, frozen=True):
    """A sheet of the index: its part of the file, and whether it is shown."""

    name: str
    part: str
    is_visible: bool


def scan_sheet(path: Path, sheet: str | int | None) -> SheetScan:
    """Scan a sheet: by its name, its number from 1, or the first visible one.

    Raises:
        InvalidInput: the file is no workbook, is damaged or too large, or lacks the sheet.
    """
    with path.open("rb") as file:
        if file.read(4) == _OLE_MARK:
            detail = "The workbook is encrypted or an .xls file: save it as .xlsx, without password"
            raise InvalidInput.at("", "encrypted", detail)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_size(archive)
            sheets = _list_sheets(archive)
            target = _select_sheet(sheets, sheet)
            scanner = _Scanner()
            for block in _read_blocks(archive, target.part):
                scanner.feed(block)
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, NotImplementedError, RuntimeError):
        raise InvalidInput.at("", "malformed", "The file is no Excel workbook (.xlsx)") from None
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise InvalidInput.at("", "malformed", f"The workbook is damaged: {reason}") from None
    names = tuple(one.name for one in sheets)
    return SheetScan(target.name, names, scanner.errors, scanner.merged_ranges)


def _check_size(archive: zipfile.ZipFile) -> None:
    parts = archive.infolist()
    size = sum(part.file_size for part in parts)
    if len(parts) > MAX_PARTS or size > MAX_UNPACKED_BYTES:
        detail = (
            f"The workbook has {size} bytes unpacked in {len(parts)} parts; the maximum is "
            f"{MAX_UNPACKED_BYTES} in {MAX_PARTS}"
        )
        raise InvalidInput.at("", "too_large", detail)


def _list_sheets(archive: zipfile.ZipFile) -> list[_Sheet]:
    """Return the worksheets in their order; charts are none."""
    relations = _list_relations(archive, "_rels/.rels", "")
    index = next((part for kind, _, part in relations if kind.endswith(_OFFICE_DOCUMENT)), "")
    folder, _, file_name = index.rpartition("/")
    relations = _list_relations(archive, f"{folder}/_rels/{file_name}.rels", folder)
    parts = {ident: target for kind, ident, target in relations if kind.endswith(_WORKSHEET)}
    sheets = []
    for name, attributes in _read_elements(archive, index):
        if name != "sheet":
            continue
        ident = next((v for n, v in attributes.items() if n.rpartition(":")[2] == "id"), "")
        if ident in parts:
            is_visible = attributes.get("state", "visible") == "visible"
            sheets.append(_Sheet(attributes.get("name", ""), parts[ident], is_visible))
    return sheets


def _list_relations(archive: zipfile.ZipFile, part: str, folder: str) -> list[tuple[str, str, str]]:
    """Return type, id and part of each relation of a part."""
    relations = []
    for name, attributes in _read_elements(archive, part):
        if name == "Relationship" and attributes.get("TargetMode") != "External":
            target = attributes.get("Target", "")
            is_absolute = target.startswith("/") or not folder
            path = target.removeprefix("/") if is_absolute else f"{folder}/{target}"
            relations.append((attributes.get("Type", ""), attributes.get("Id", ""), path))
    return relations


def _read_elements(archive: zipfile.ZipFile, part: str) -> list[tuple[str, dict[str, str]]]:
    """Return the name and the attributes of each element of a small part."""
    elements: list[tuple[str, dict[str, str]]] = []
    if archive.getinfo(part).file_size > _MAX_INDEX_BYTES:
        raise InvalidInput.at("", "too_large", "The index of the workbook is too large")
    parser = _create_parser()
    parser.StartElementHandler = lambda name, attributes: elements.append(
        (name.rpartition(":")[2], attributes)
    )
    for block in _read_blocks(archive, part):
        parser.Parse(block, not block)
    return elements


def _read_blocks(archive: zipfile.ZipFile, part: str) -> Iterator[bytes]:
    """Yield the blocks of a part, and at the end an empty one."""
    with archive.open(part) as file:
        while block := file.read(_BLOCK_BYTES):
            yield block
        yield b""


def _create_parser() -> expat.XMLParserType:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.EntityDeclHandler = _reject_entity
    return parser


def _reject_entity(name: str, *_: object) -> None:
    raise InvalidInput.at("", "entity_declared", f"The workbook declares the entity {name[:40]!r}")


def _select_sheet(sheets: list[_Sheet], sheet: str | int | None) -> _Sheet:
    target: _Sheet | None = None
    if isinstance(sheet, int):
        target = sheets[sheet - 1] if sheet <= len(sheets) else None
    elif sheet is not None:
        folded_name = sheet.strip().casefold()
        target = next((s for s in sheets if s.name == sheet), None) or next(
            (s for s in sheets if s.name.strip().casefold() == folded_name), None
        )
    else:
        target = next((s for s in sheets if s.is_visible), None)
    if target is None:
        names = ", ".join(repr(one.name) for one in sheets[:_MAX_LISTED_NAMES])
        label = "worksheet" if sheet is None else f"sheet {sheet!r}"
        raise InvalidInput.at(
            "", "unknown_sheet", f"The workbook has no {label}; its sheets are {names or 'none'}"
        )
    return target


class _Scanner:
    """Scanner of the stream of one sheet."""

    def __init__(self) -> None:
        self.errors: dict[int, dict[int, str]] = {}
        self.merged_ranges: list[tuple[int, int, int]] = []
        self._parser = _create_parser()
        self._parser.StartElementHandler = self._start_root
        self._row = -1
        self._column = -1
        self._reference: str | None = None
        self._is_error = False
        self._text: list[str] = []
        self._error_count = 0
        # The first and the last value of the row: references, or columns where there are none.
        self._row_values: list[str | int] = []
        self._first = (2**31, 2**31)
        self._last = (-1, -1)

    def feed(self, block: bytes) -> None:
        """Read the next bytes; none at the end."""
        self._parser.Parse(block, not block)
        if not block:
            self._extend_span()

    def _start_root(self, name: str, _: dict[str, str]) -> None:
        prefix = name.rpartition(":")[0]
        prefix = f"{prefix}:" if prefix else ""
        handlers = {
            "row": self._start_row,
            "c": self._start_cell,
            "v": self._start_value,
            "is": self._start_value,
            "mergeCell": self._add_range,
        }
        find = {f"{prefix}{one}": handle for one, handle in handlers.items()}.get

        def start(element: str, attributes: dict[str, str]) -> None:
            if (handle := find(element)) is not None:
                handle(attributes)

        self._parser.StartElementHandler = start

    def _start_row(self, attributes: dict[str, str]) -> None:
        self._extend_span()
        number = attributes.get("r", "")
        self._row = int(number) - 1 if number.isdecimal() else self._row + 1
        self._column = -1

    def _start_cell(self, attributes: dict[str, str]) -> None:
        self._reference = attributes.get("r")
        self._column += 1
        self._is_error = attributes.get("t") == "e"

    def _start_value(self, _: dict[str, str]) -> None:
        value = self._column if self._reference is None else self._reference
        self._row_values[1:] = (value,)
        if self._is_error:
            self._text = []
            self._parser.CharacterDataHandler = self._text.append
            self._parser.EndElementHandler = self._end_error

    def _locate(self, value: str | int) -> tuple[int, int]:
        return (self._row, value) if isinstance(value, int) else _parse_reference(value)

    def _extend_span(self) -> None:
        """Add the values of a row to the rectangle that they span."""
        for row, column in map(self._locate, self._row_values):
            self._first = (min(self._first[0], row), min(self._first[1], column))
            self._last = (max(self._last[0], row), max(self._last[1], column))
        self._row_values = []
        rows, columns = (self._last[i] - self._first[i] + 1 for i in (0, 1))
        if rows > 0 and rows * columns > MAX_SHEET_CELLS:
            detail = (
                f"The sheet spans {rows} rows of {columns} columns; the maximum is "
                f"{MAX_SHEET_CELLS} cells: delete what is beyond the table"
            )
            raise InvalidInput.at("", "too_large", detail)

    def _end_error(self, _: str) -> None:
        self._parser.CharacterDataHandler = None
        self._parser.EndElementHandler = None
        self._error_count += 1
        if self._error_count > _MAX_ERRORS:
            detail = f"More than {_MAX_ERRORS} cells of the sheet are errors"
            raise InvalidInput.at("", "too_large", detail)
        row, column = self._locate(self._column if self._reference is None else self._reference)
        self.errors.setdefault(row, {})[column] = "".join(self._text)

    def _add_range(self, attributes: dict[str, str]) -> None:
        match = _RANGE.fullmatch(attributes.get("ref", ""))
        if match is None:
            return
        if len(self.merged_ranges) >= MAX_MERGED_RANGES:
            detail = f"The sheet has more than {MAX_MERGED_RANGES} merged ranges"
            raise InvalidInput.at("", "too_large", detail)
        (first, column), (last, _) = _parse_reference(match[1]), _parse_reference(match[2])
        if last > first:
            self.merged_ranges.append((first, last, column))


def _parse_reference(text: str) -> tuple[int, int]:
    """Return row and column from 0 of a reference such as B3."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise InvalidInput.at("", "malformed", f"The workbook has a cell {text[:20]!r}")
    column = 0
    for letter in match[1]:
        column = column * 26 + ord(letter) - 64
    return int(match[2]) - 1, column - 1
