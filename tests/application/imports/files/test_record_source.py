"""Files in the shapes of registers: marks, encodings, line ends, title lines, ragged rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from spawn.adapters.workers.subprocess_workers import SubprocessWorkers
from spawn.application.imports.files.record_source import RecordSource
from spawn.application.imports.files.text_stream import open_text
from spawn.domain.errors import InvalidInput
from spawn.domain.imports.import_state import FileFormat, ImportState, RowReason
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.imports.record_parser import FileLayout, Record, RecordParser
from spawn.domain.json_tokens import parse_object

COLUMNS = [
    {"attribute": "project_name", "column": "name"},
    {"attribute": "total_amount", "column": "amount"},
]


def read_rows(
    folder: Path, data: bytes, file_format: FileFormat = FileFormat.CSV, **members: Any
) -> list[Any]:
    """Return the rows of a file as a mapping reads them; the code of a reason for a bad one."""
    path = folder / "upload"
    path.write_bytes(data)
    document = {"columns": COLUMNS, **members}
    mapping = read_mapping("m", parse_object(json.dumps(document).encode()))
    state = ImportState(
        import_id="i", format=file_format, size_bytes=len(data), sha256="", requested_by="a"
    )
    source = RecordSource(path, state, mapping, SubprocessWorkers())
    try:
        source.read_header()
        parser = RecordParser(source.layout)
        rows = [parser.parse(record) for record in source.read_records()]
        # A second reading, as for keys before the rows, finds the same records.
        assert len(list(source.read_records())) == len(rows)
    finally:
        source.close()
    return [row.code if isinstance(row, RowReason) else row for row in rows]


ROW = {"name": "Ágüeda", "amount": "5"}
TEXT = "name,amount\nÁgüeda,5\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode("utf-8-sig"), "cp1252"),
        ('"name","amount"\r\n"Ágüeda","5"\r\n'.encode("utf-8-sig"), "utf-8"),
        (TEXT.encode("utf-16"), "utf-8"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-16-le"), "utf-16"),
        (TEXT.encode("utf-16-be"), "utf-16"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-8"),
        (TEXT.encode("utf-32"), "utf-8"),
        (TEXT.replace("\n", "\r").encode(), "utf-8"),
        (TEXT.replace("\n", "\r").encode("utf-16"), "utf-8"),
        (TEXT.replace("\n", "\r\n").encode("cp1252"), "cp1252"),
        (TEXT.rstrip("\n").encode("cp850"), "cp850"),
    ],
)
def test_marks_encodings_and_line_ends_are_recognised(
    tmp_path: Path, data: bytes, encoding: str
) -> None:
    assert read_rows(tmp_path, data, encoding=encoding) == [ROW]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("shift_jis", "東京ソーラー"),  # ソ ends with the byte of a backslash
        ("cp932", "表示①"),
        ("euc-jp", "風力発電"),
        ("iso-2022-jp", "風力発電"),
        ("gb18030", "三峡水电站"),
        ("gbk", "三峡"),
        ("big5", "許功蓋"),
        ("euc-kr", "태양광"),
        ("cp949", "똠방각하"),
        ("cp874", "โรงไฟฟ้า"),
        ("cp1256", "محطة"),
        ("cp1251", "ГЭС"),
    ],
)
def test_files_of_other_scripts_are_read(tmp_path: Path, encoding: str, name: str) -> None:
    data = f"name|amount\n{name}|5\n".encode(encoding)
    rows = read_rows(tmp_path, data, encoding=encoding, delimiter="|")
    assert rows == [{"name": name, "amount": "5"}]


def test_carriage_returns_at_the_end_of_a_block_are_one_line_end(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    for size in range(65530, 65540):
        path.write_bytes(b"a\r" + b"x" * size + b"\r\nb\rc")
        stream = open_text(path, ("utf-8",))
        lines = stream.file.read().split(b"\n")
        stream.file.close()
        assert [line[:1] for line in lines] == [b"a", b"x", b"b", b"c"]


def test_utf_16_that_ends_early_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not UTF-16-LE"):
        read_rows(tmp_path, (TEXT * 2).encode("utf-16")[:-1])


def test_ndjson_may_have_a_mark_and_utf_16(tmp_path: Path) -> None:
    line = json.dumps(ROW, ensure_ascii=False) + "\n"
    for data in (line.encode("utf-8-sig"), line.encode("utf-16")):
        assert read_rows(tmp_path, data, FileFormat.NDJSON) == [ROW]


def test_ndjson_may_have_record_separators_and_an_array_is_named(tmp_path: Path) -> None:
    line = json.dumps(ROW, ensure_ascii=False).encode()
    assert read_rows(tmp_path, b"\x1e%s\n\x1e%s\n" % (line, line), FileFormat.NDJSON) == [ROW] * 2
    layout = FileLayout(FileFormat.NDJSON, None, ())
    for raw in (b"[%s,\n", b"%s,\n", b"[%s]\n"):
        reason = RecordParser(layout).parse(Record(1, 0, raw % line))
        assert isinstance(reason, RowReason)
        assert reason.detail.endswith("; post an array of objects as application/json")


@pytest.mark.parametrize("members", [{"header_row": 4}, {"skip_rows": 3}, {}])
def test_title_lines_precede_the_header(tmp_path: Path, members: dict[str, Any]) -> None:
    data = f'Hydro, of Norway\n\n"as of" 2026;;\n{TEXT}'.encode()
    assert read_rows(tmp_path, data, **members) == [ROW]


def test_a_header_is_looked_for_only_among_the_first_records(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="it has: 1, 2"):
        read_rows(tmp_path, b"1,2\n" * 50 + TEXT.encode())


def test_a_header_that_lacks_a_name_is_reported_with_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"lacks amount; it has: name, cost"):
        read_rows(tmp_path, b"name,cost\nA,5\n")
    with pytest.raises(InvalidInput, match="the file is empty"):
        read_rows(tmp_path, b"\xef\xbb\xbf")


def test_surplus_cells_without_content_carry_nothing(tmp_path: Path) -> None:
    assert read_rows(tmp_path, f"{TEXT}B,6,\nC,7, ,\n".encode())[1:] == [
        {"name": "B", "amount": "6"},
        {"name": "C", "amount": "7"},
    ]
    assert read_rows(tmp_path, f"{TEXT}B,6,x\n".encode())[1:] == ["wrong_cell_count"]
    # The header ends with a delimiter, and its rows do not.
    assert read_rows(tmp_path, b"name,amount,,\nB,6\n") == [{"name": "B", "amount": "6"}]


def test_missing_cells_are_empty_only_on_request(tmp_path: Path) -> None:
    data = b"name,amount,note\nB,6\n"
    assert read_rows(tmp_path, data) == ["wrong_cell_count"]
    assert read_rows(tmp_path, data, ragged_rows="refuse") == ["wrong_cell_count"]
    assert read_rows(tmp_path, data, ragged_rows="pad") == [{"name": "B", "amount": "6"}]


def test_rows_without_content_are_skipped(tmp_path: Path) -> None:
    data = f"{TEXT},\n , \n\n,,,\n   \n\t\n".encode()
    assert read_rows(tmp_path, data)[1:] == ["blank_row"] * 5


def test_a_column_without_a_name_has_the_empty_one(tmp_path: Path) -> None:
    columns = [*COLUMNS, {"attribute": "x_index", "column": ""}]
    rows = read_rows(tmp_path, b",name,amount\n0,A,5\n", columns=columns)
    assert rows == [{"": "0", "name": "A", "amount": "5"}]


def test_quarantined_rows_come_back_without_their_guard(tmp_path: Path) -> None:
    data = b"line,reasons,raw_line,name,amount\n2,bad,x,'@Home,'+5\n3,bad,x,''=A,1\n"
    assert read_rows(tmp_path, data, skip_rows=9) == [
        {"name": "@Home", "amount": "+5"},
        {"name": "'=A", "amount": "1"},
    ]
    assert read_rows(tmp_path, b"name,amount\n'@Home,1\n")[0]["name"] == "'@Home"


def test_the_envelope_of_a_quarantined_row_is_opened(tmp_path: Path) -> None:
    envelope = {"line": 2, "fields": ROW, "reasons": [], "raw_line": "?"}
    lines = "\n".join(json.dumps(e) for e in (envelope, {**envelope, "fields": None}))
    assert read_rows(tmp_path, lines.encode(), FileFormat.NDJSON) == [ROW, "no_fields"]
