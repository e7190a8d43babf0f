"""Workbooks that are written: texts stay texts, and no digit is lost."""

import asyncio
import io
import json
import os
import re
import resource
import zipfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import tenacity

from spawn.adapters.file_encoder import FileEncoder, find_missing_extra
from spawn.adapters.workers import workbook_writer
from spawn.adapters.workers.sheet_scan import scan_sheet
from spawn.adapters.workers.workbook_rows import _read_messages
from spawn.adapters.workers.workbook_writer import write_workbook
from spawn.domain.errors import InvalidInput, Overloaded, StorageFull
from spawn.domain.imports.cells.sheet_cell import SheetRow
from spawn.domain.schema_version import ColumnType, TypeName

KINDS = ("text", "number", "boolean", "date", "timestamp")


def write(
    path: Path,
    rows: list[dict[str, Any]],
    kinds: tuple[str, ...] = KINDS,
    name: str = "projects",
) -> Path:
    head = {"name": name, "columns": [[kind, kind] for kind in kinds]}
    source = "".join(json.dumps(line) + "\n" for line in (head, *rows)).encode()
    sink = io.BytesIO()
    write_workbook(io.BytesIO(source), sink)
    path.write_bytes(sink.getvalue())
    return path


def read(path: Path, sheet: str | int | None = None) -> list[SheetRow]:
    _, *batches = _read_messages(path, sheet)
    return [row for batch in batches for row in batch]  # type: ignore[attr-defined]  # lists of rows


def read_texts(path: Path) -> list[list[str]]:
    return [[c if isinstance(c, str) else c.text for c in row.cells] for row in read(path)][1:]


def test_each_kind_has_its_cells(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            "text": "=1+1",
            "number": "104000000.2500",
            "boolean": True,
            "date": "2024-02-29",
            "timestamp": "2024-02-29T23:59:59.123456Z",
        },
        {"text": "https://x.example", "number": "123456789012345678.2500", "date": "1899-12-31"},
        {"text": "0012", "number": 1.35, "timestamp": "0900-01-01T00:00:00Z"},
        {"text": "a\u0001b_x0041_\n ü", "number": "999999999999999"},
        {"text": "-5", "number": "-0.00000000000000012345678901234567"},
    ]
    path = write(tmp_path / "a.xlsx", rows, name="events")
    texts = read_texts(path)
    assert texts[0] == ["=1+1", "104000000.25", "true", "2024-02-29", "2024-02-29T23:59:59.123000"]
    assert texts[1] == ["https://x.example", "123456789012345678.2500", "", "1899-12-31", ""]
    assert texts[2] == ["0012", "1.35", "", "", "0900-01-01T00:00:00Z"]
    assert texts[3][:2] == ["a\u0001b_x0041_\n ü", "999999999999999"]
    assert texts[4][:2] == ["-5", "-0.00000000000000012345678901234567"]
    assert [cell.kind for cell in read(path)[1].cells if not isinstance(cell, str)] == [
        "number",
        "date",
        "date",
    ]


def test_a_table_that_imports_read_back_has_its_exact_values_as_texts(tmp_path: Path) -> None:
    rows = [
        {"number": 0.1 + 0.2, "timestamp": "2024-02-29T23:59:59.123456Z"},
        {"number": 0.3, "timestamp": "2024-02-29T23:59:59.123Z"},
    ]
    kinds = ("number", "timestamp")
    exact, plain = read_texts(write(tmp_path / "a.xlsx", rows, kinds, "projects"))
    assert exact == ["0.30000000000000004", "2024-02-29T23:59:59.123456Z"]
    assert plain == ["0.3", "2024-02-29T23:59:59.123000"]
    assert read_texts(write(tmp_path / "b.xlsx", rows, kinds, "events")) == [plain, plain]


def test_a_text_that_no_cell_takes_is_cut_and_says_so(tmp_path: Path) -> None:
    rows = [{"text": "é" * 32_767}, {"text": "🌬" * 20_000}]
    whole, short = read_texts(write(tmp_path / "a.xlsx", rows))
    assert whole[0] == "é" * 32_767
    assert short[0].endswith("🌬… (20000 characters)")
    assert len(short[0].encode("utf-16-le")) in {2 * 32_767, 2 * 32_766}


def test_a_table_goes_on_in_another_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook_writer, "MAX_SHEET_ROWS", 4)
    path = write(tmp_path / "a.xlsx", [{"text": str(i)} for i in range(7)], ("text",))
    assert scan_sheet(path, None).sheets == ("projects", "projects 2", "projects 3")
    found = [[row.cells[0] for row in read(path, sheet)] for sheet in (1, 2, 3)]
    assert found == [["text", "0", "1", "2"], ["text", "3", "4", "5"], ["text", "6"]]
    empty = write(tmp_path / "b.xlsx", [], ("text",))
    assert [row.cells for row in read(empty)] == [["text"]]


async def test_the_encoder_streams_a_workbook_and_stops_with_its_reader(tmp_path: Path) -> None:
    async def lines(count: int) -> AsyncGenerator[bytes]:
        for number in range(count):
            yield b'{"id":"%d"}\n' % number

    encoder = FileEncoder()
    columns = [("id", ColumnType(TypeName.STRING))]

    def encode(count: int) -> Any:
        return encoder.encode(lines(count), columns, name="projects", suffix="xlsx")

    async with aclosing(encode(3)) as chunks:
        (tmp_path / "a.xlsx").write_bytes(b"".join([chunk async for chunk in chunks]))
    assert read_texts(tmp_path / "a.xlsx") == [["0"], ["1"], ["2"]]

    first, second, third = encode(10**9), encode(1), encode(1)
    reading = anext(second)
    encoder._workbooks._running = 2
    with pytest.raises(Overloaded):
        await anext(third)
    encoder._workbooks._running = 0
    assert await reading
    await second.aclose()
    await first.aclose()
    assert encoder._workbooks._running == 0


async def test_an_error_of_the_rows_ends_the_workbook() -> None:
    async def lines() -> AsyncGenerator[bytes]:
        yield b'{"id":"1"}\n'
        raise InvalidInput.at("/format", "too_large", "Too many rows.")

    encoder = FileEncoder()
    columns = [("id", ColumnType(TypeName.STRING))]
    async with asyncio.timeout(60):
        with pytest.raises(InvalidInput, match="Too many rows"):
            await anext(encoder.encode(lines(), columns, name="projects", suffix="xlsx"))
    assert encoder._workbooks._running == 0


async def test_a_full_disk_is_reported_as_such_and_leaves_no_file(tmp_path: Path) -> None:
    async def lines() -> AsyncGenerator[bytes]:
        for number in range(20_000):
            yield b'{"id":"%d"}\n' % number

    encoder = FileEncoder(tmp_path)
    columns = [("id", ColumnType(TypeName.STRING))]
    chunks = encoder.encode(lines(), columns, name="projects", suffix="xlsx")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        async with asyncio.timeout(60):
            with pytest.raises(StorageFull, match="no room for the sheets"):
                await anext(chunks)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert encoder._workbooks._running == 0
    assert list_files(tmp_path, "*") == []


def list_files(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


async def test_a_workbook_that_nobody_reads_leaves_no_file(tmp_path: Path) -> None:
    async def endless_lines() -> AsyncGenerator[bytes]:
        while True:
            yield b'{"id":"1"}\n'

    crashed, beside = (tmp_path / f"workbook-{pid}-x" for pid in (2**31 - 1, os.getppid()))
    crashed.mkdir()
    beside.mkdir()
    encoder = FileEncoder(tmp_path)
    # A service beside this one may have its store in the same folder.
    assert list_files(tmp_path, "*") == [beside]
    beside.rmdir()
    columns = [("id", ColumnType(TypeName.STRING))]
    chunks = encoder.encode(endless_lines(), columns, name="projects", suffix="xlsx")
    reading = asyncio.ensure_future(anext(chunks))
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.02),
        stop=tenacity.stop_after_delay(20),
    ):
        with attempt:
            assert list_files(tmp_path, "workbook-*/*")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await chunks.aclose()
    assert list_files(tmp_path, "*") == []


def test_the_extra_of_a_suffix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [find_missing_extra(suffix) for suffix in ("arrow", "xlsx", "parquet")] == [None] * 3
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert [find_missing_extra(s) for s in ("arrow", "xlsx", "parquet")] == ["arrow", "excel", None]


def to_row(texts: tuple[str, ...]) -> str:
    cells = (f'<c t="inlineStr"><is><t>{text}</t></is></c>' for text in texts)
    return f"<row>{''.join(cells)}</row>"


def test_a_row_that_no_import_accepts_is_cut_before_it_is_sent(tmp_path: Path) -> None:
    long_row = ("x" * 1_500_000, "y" * 1_500_000, "z")
    rows = "".join(map(to_row, (("a", "b", "c"), long_row, ("1", "2", "3"))))
    sheet = write(tmp_path / "long.xlsx", [])
    with zipfile.ZipFile(sheet) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    content = re.sub(rb"(?<=<sheetData>).*(?=</sheetData>)", rows.encode(), parts[name])
    with zipfile.ZipFile(sheet, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, data in (parts | {name: content}).items():
            archive.writestr(part, data)
    _, long, short = read(sheet)
    assert sum(map(len, long.cells)) == 2 * 1024 * 1024
    assert list(short.cells) == ["1", "2", "3"]
