"""Rows of workbooks: which sheet, which texts, and which files are refused before they are read."""

import io
import pickle
import zipfile
from collections.abc import Callable
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter  # type: ignore[import-untyped]  # the package has no types

from spawn.adapters.workers import sheet_scan
from spawn.adapters.workers.sheet_scan import scan_sheet
from spawn.adapters.workers.workbook_reader import WorkbookSubprocess
from spawn.adapters.workers.workbook_rows import serve_rows
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.imports.cells.sheet_cell import CellKind, SheetCell, SheetRow

Fill = Callable[[Any, Any], None]


def write_workbook(path: Path, *fill: Fill, names: tuple[str, ...] = ()) -> Path:
    with xlsxwriter.Workbook(path) as book:
        for index, function in enumerate(fill):
            function(book, book.add_worksheet(names[index] if names else None))
    return path


def read_messages(path: Path, sheet: str | int | None = None) -> list[Any]:
    sink = io.BytesIO()
    serve_rows(path, sheet, sink)
    sink.seek(0)
    messages = []
    while sink.tell() < len(sink.getvalue()):
        messages.append(pickle.load(sink))  # noqa: S301 - written above
    return messages


def fill_types(book: Any, sheet: Any) -> None:
    day, hour, span = (
        book.add_format({"num_format": text}) for text in ("d-mmm-yy", "hh:mm", "[h]:mm")
    )
    sheet.write(1, 1, "text\r \u00fc")
    for column, value in enumerate((0.1, 0.1 + 0.2, 1990, 2**53, 1e20, 1e-7, -2.5), start=2):
        sheet.write_number(1, column, value)
    sheet.write_datetime(1, 9, datetime(2024, 2, 29), day)  # noqa: DTZ001 - a sheet has local times
    sheet.write_number(1, 10, 45351.75, day)
    sheet.write_datetime(1, 11, time(3, 4), hour)
    sheet.write_datetime(1, 12, timedelta(hours=36), span)
    sheet.write_boolean(1, 13, True)  # noqa: FBT003 - the library's signature
    sheet.write_formula(1, 14, "=1/0", None, "#DIV/0!")
    sheet.write_rich_string(1, 15, "a", book.add_format({"bold": True}), "b", "c")
    sheet.write_formula(1, 16, "=A1", None, 7.25)
    sheet.write_blank(500, 40, None, day)


def test_each_type_of_cell_has_its_text(tmp_path: Path) -> None:
    names, rows, end = read_messages(write_workbook(tmp_path / "a.xlsx", fill_types))
    assert (names, end) == (("Sheet1",), [])
    ((number, cells),) = rows
    numbers = ("0.1", "0.3", "1990", "9007199254740992", "1" + 20 * "0", "0.0000001", "-2.5")
    assert number == 2
    assert cells == [
        "text\r \u00fc",
        *(SheetCell(CellKind.NUMBER, text) for text in numbers),
        SheetCell(CellKind.DATE, "2024-02-29"),
        SheetCell(CellKind.DATE, "2024-02-29T18:00:00"),
        "03:04:00",
        "1 day, 12:00:00",
        "true",
        "#DIV/0!",
        "abc",
        SheetCell(CellKind.NUMBER, "7.25"),
    ]


def test_merged_cells_are_marked_in_their_rows(tmp_path: Path) -> None:
    def fill(_: Any, sheet: Any) -> None:
        sheet.merge_range(2, 1, 4, 1, "all")
        sheet.merge_range(2, 2, 2, 3, "wide")
        for row in range(2, 6):
            sheet.write_number(row, 4, row)

    _, rows, _ = read_messages(write_workbook(tmp_path / "a.xlsx", fill))
    copy = SheetCell(CellKind.TEXT, "all", is_merged=True)
    assert [row.cells[:3] for row in rows] == [
        ["all", "wide", ""],
        [copy, "", ""],
        [copy, "", ""],
        ["", "", ""],
    ]
    assert [row.number for row in rows] == [3, 4, 5, 6]


def test_the_sheet_is_selected_by_name_number_or_visibility(tmp_path: Path) -> None:
    def hide(_: Any, sheet: Any) -> None:
        sheet.hide()

    def activate(_: Any, sheet: Any) -> None:
        sheet.activate()

    names = ("Notes", "Plants 2024", "Old")
    path = write_workbook(tmp_path / "a.xlsx", hide, activate, hide, names=names)
    selected = (None, 3, 1, "plants 2024 ", "Old")
    assert [scan_sheet(path, sheet).name for sheet in selected] == [
        "Plants 2024",
        "Old",
        "Notes",
        "Plants 2024",
        "Old",
    ]
    for wanted in (4, "none"):
        with pytest.raises(InvalidInput, match=r"no sheet .*its sheets are 'Notes', 'Plants"):
            scan_sheet(path, wanted)


def replace_part(content: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """Return a workbook with a changed part."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        for part in old.namelist():
            data = old.read(part)
            new.writestr(part, change(data) if part == name else data)
    return target.getvalue()


def spread_cells(data: bytes) -> bytes:
    row = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    return data.replace(b"</sheetData>", row + b"</sheetData>")


def declare_entity(data: bytes) -> bytes:
    return data.replace(b"<worksheet", b'<!DOCTYPE x [<!ENTITY a "b">]><worksheet', 1)


def halve(data: bytes) -> bytes:
    return data[: len(data) // 2]


SHEET, STRINGS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda _: b"Id,Plant\n1,A\n", "malformed"),
        (lambda _: b"", "malformed"),
        (lambda _: b"\xd0\xcf\x11\xe0" + bytes(4096), "encrypted"),
        (halve, "malformed"),
        (lambda book: replace_part(book, "_rels/.rels", lambda _: b"<a/>"), "malformed"),
        (lambda book: replace_part(book, SHEET, spread_cells), "too_large"),
        (lambda book: replace_part(book, SHEET, declare_entity), "entity_declared"),
        (lambda book: replace_part(book, SHEET, halve), "malformed"),
        (lambda book: replace_part(book, STRINGS, halve), "malformed"),
        (lambda book: replace_part(book, SHEET, lambda s: s.replace(b'"B2"', b'"?"')), "malformed"),
    ],
    ids=(
        *("text", "empty", "encrypted", "cut", "no_index", "spread", "entity", "sheet"),
        *("strings", "reference"),
    ),
)
def test_a_file_that_is_no_workbook_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], code: str
) -> None:
    path = write_workbook(tmp_path / "a.xlsx", fill_types)
    path.write_bytes(change(path.read_bytes()))
    error = read_messages(path)[-1]
    assert isinstance(error, FieldError)
    assert (error.pointer, error.code) == ("", code)


def test_a_workbook_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_workbook(tmp_path / "a.xlsx", fill_types)
    monkeypatch.setattr(sheet_scan, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(InvalidInput, match="bytes unpacked in"):
        scan_sheet(path, None)


def test_a_process_without_memory_is_an_error_of_the_file(tmp_path: Path) -> None:
    reader = WorkbookSubprocess(write_workbook(tmp_path / "a.xlsx", fill_types), None)
    assert reader._process is not None
    reader._process.kill()
    reader._process.wait()
    with pytest.raises(InvalidInput, match="MiB of memory"):
        reader.read_rows()
    reader.close()


def test_the_process_reads_a_sheet_to_its_end(tmp_path: Path) -> None:
    def fill(_: Any, sheet: Any) -> None:
        for row in range(600):
            sheet.write_string(row, 0, str(row))

    reader = WorkbookSubprocess(write_workbook(tmp_path / "a.xlsx", fill), "Sheet1")
    batches = [reader.read_rows() for _ in range(3)]
    assert [len(rows) for rows in batches] == [500, 100, 0]
    assert batches[1][-1] == SheetRow(600, ["599"])
    assert reader.sheets == ("Sheet1",)
    reader.close()
