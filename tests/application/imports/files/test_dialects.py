r"""CSV that databases, R and spreadsheets write: escapes, single quotes, notes around the table."""

from pathlib import Path
from typing import Any

import pytest
from tests.application.imports.files.test_record_source import read_rows

from spawn.domain.errors import InvalidInput
from spawn.domain.imports.mapping import CsvDialect


def read_names(folder: Path, data: str, **members: Any) -> list[Any]:
    """Return the names of the rows that are read, and the codes of the others."""
    rows = read_rows(folder, data.encode(), **members)
    return [row if isinstance(row, str) else row["name"] for row in rows]


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (r'"Dam \"A\""', 'Dam "A"'),
        (r'"Dam, ""A"""', 'Dam, "A"'),
        (r"Dam\, lower", "Dam, lower"),
        (r"C:\\new\\N", r"C:\new\N"),
        (r'"C:\\"', "C:\\"),
        (r"two\nlines", "two\nlines"),
        (r"a\tb", "a\tb"),
        (r"\N", ""),
        (r"\\N", r"\N"),
        (r"\No", "No"),
    ],
)
def test_a_backslash_makes_the_next_mark_text(tmp_path: Path, cell: str, name: str) -> None:
    assert read_names(tmp_path, f"name,amount\n{cell},5\n", escape="\\") == [name]


def test_a_null_of_a_database_is_empty_in_each_column(tmp_path: Path) -> None:
    rows = read_rows(
        tmp_path, b"name\tamount\n\\N\t\\N\n\\N\t5\nDam\t\\N\n", escape="\\", delimiter="\t"
    )
    assert rows == ["blank_row", {"name": "", "amount": "5"}, {"name": "Dam", "amount": ""}]


def test_an_escaped_line_break_belongs_to_its_cell(tmp_path: Path) -> None:
    data = "name,amount\nUpper\\\nDam,5\nWeir,6\n"
    assert read_names(tmp_path, data, escape="\\") == ["Upper\nDam", "Weir"]


def test_single_quotes_enclose_cells(tmp_path: Path) -> None:
    data = "'name','amount'\n'Salto, d''Aigua','5'\n'6\" pipe','7'\nO'Brien,8\n"
    assert read_names(tmp_path, data, quote="'") == ["Salto, d'Aigua", '6" pipe', "O'Brien"]


@pytest.mark.parametrize(
    "dialect",
    [
        CsvDialect(";", "'"),
        CsvDialect(",", "'", "\\"),
        CsvDialect("\t", '"', "\\"),
        CsvDialect("|", '"'),
    ],
)
def test_a_row_is_read_as_it_was_written(dialect: CsvDialect) -> None:
    row = ["\\N", "a\\nb", 'it\'s "so"', "x;y,z|w\tv", "", "two\nlines", "N", "\\"]
    line = dialect.format(row)
    assert list(dialect.read(line.splitlines(keepends=True))) == [row]


def test_a_row_without_marks_has_no_delimiter_in_a_cell() -> None:
    dialect = CsvDialect(";", "")
    line = dialect.format(["5; 6", '"so"', "two\nlines", "it's"])
    assert list(dialect.read([line])) == [["5  6", '"so"', "two lines", "it's"]]


@pytest.mark.parametrize("member", [{"quote": "`"}, {"escape": "/"}, {"quote": " "}])
def test_other_marks_are_rejected(tmp_path: Path, member: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_rows(tmp_path, b"name,amount\n", **member)
    assert [error.pointer for error in caught.value.errors] == [f"/{next(iter(member))}"]


HEADER = "name,amount,state,year\n"


@pytest.mark.parametrize(
    "note",
    [
        "NOTES: Capacity is of the summer.,,,",
        "NOTES: Capacity is of the summer.",
        "Source: Form 860, detailed data, final",
        '"Note 1: one, two",,,',
        "* preliminary,,,",
        "(1) without the third unit",
        "1/ without the third unit,,,",
        "Fuente: registro,,,",
        ",,preliminary data,",
    ],
)
@pytest.mark.parametrize("ragged_rows", ["pad", "refuse"])
def test_a_note_beside_the_table_is_no_row_of_it(
    tmp_path: Path, note: str, ragged_rows: str
) -> None:
    if ragged_rows == "pad" and note.startswith("Source"):
        pytest.skip("a padded row may have so few cells")
    data = f"{HEADER}Dam,5,CA,1990\n{note}\nWeir,6,OR,1991\n"
    assert read_names(tmp_path, data, ragged_rows=ragged_rows) == ["Dam", "note_row", "Weir"]


@pytest.mark.parametrize(
    ("row", "result"),
    [
        ("Dam,,,", "Dam"),
        ("Source Dam,,,", "Source Dam"),
        ("Note: a name,5,,", "Note: a name"),
        (",5,,", ""),
        ("Salto del Ejemplo,5", "wrong_cell_count"),
    ],
)
def test_a_row_with_few_values_is_not_taken_for_a_note(
    tmp_path: Path, row: str, result: str
) -> None:
    assert read_names(tmp_path, f"{HEADER}{row}\n") == [result]


def test_a_table_of_two_columns_has_no_notes(tmp_path: Path) -> None:
    assert read_names(tmp_path, "name,amount\n* Dam,\n") == ["* Dam"]
