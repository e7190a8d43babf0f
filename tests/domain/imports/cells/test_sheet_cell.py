"""Dates of a sheet as texts that their column reads as the same day."""

from datetime import date

import pytest

from spawn.domain.imports.cells.date_text import compile_date_parser
from spawn.domain.imports.cells.sheet_cell import CellKind, SheetCell, SheetCellFormatter
from spawn.domain.imports.mapping import ColumnMapping, DayOfPeriod, ImportMapping


def format_date(text: str, *formats: str, period: DayOfPeriod | None = None) -> str:
    column = ColumnMapping(
        attribute="cod_date", column="start", date_formats=formats, period=period
    )
    mapping = ImportMapping(name="sheet", columns=(column,))
    (cell,) = SheetCellFormatter(mapping, ("start",)).format([SheetCell(CellKind.DATE, text)])
    return cell


@pytest.mark.parametrize(
    ("day", "formats", "text"),
    [
        ("1963-07-01", ("%m/%Y", "year"), "07/1963"),
        ("1963-01-01", ("year",), "1963"),
        ("2024-02-29", ("%m/%Y", "%d/%m/%Y"), "29/02/2024"),
        ("2024-02-29", ("%m/%Y", "serial"), "45351"),
        ("2024-02-29T18:00:00", ("%d/%m/%Y", "%d/%m/%Y %H:%M"), "29/02/2024 18:00"),
        ("1999-03-15", ("%d/%m/%y",), "15/03/99"),
        ("1950-03-15", ("%d/%m/%y", "%d-%m-%Y"), "15-03-1950"),
    ],
)
def test_a_date_is_written_in_a_form_that_says_its_day(
    day: str, formats: tuple[str, ...], text: str
) -> None:
    assert format_date(day, *formats) == text
    assert compile_date_parser(formats)(text) == date.fromisoformat(day[:10]).isoformat()


@pytest.mark.parametrize(
    ("day", "formats", "period"),
    [
        ("1950-03-15", ("%d/%m/%y",), None),
        ("1963-07-02", ("%m/%Y", "year"), None),
        ("1963-07-01", ("%m/%Y",), DayOfPeriod.END),
    ],
)
def test_a_day_that_no_form_says_is_left_to_be_rejected(
    day: str, formats: tuple[str, ...], period: DayOfPeriod | None
) -> None:
    assert format_date(day, *formats, period=period) == day
    assert compile_date_parser(formats, period)(day) is None
