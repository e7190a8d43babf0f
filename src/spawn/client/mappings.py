"""Types of import mappings, by which editors and type checkers know the members.

A mapping is a plain JSON object; the guide to imports explains each member with an example.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal, Required, TypedDict

Rounding = Literal["half_even", "half_up", "down", "up", "floor", "ceiling"]
DecimalMark = Literal[",", "."]
ThousandsMark = Literal[" ", "'", ",", ".", "_"]


class RowKeyDocument(TypedDict, total=False):
    """External reference of a row: its source, and the columns of its id."""

    source: str
    source_column: str
    column: str
    columns: Sequence[str]


RowConditionDocument = TypedDict(
    "RowConditionDocument",
    {"column": Required[str], "in": Sequence[str], "not_in": Sequence[str], "is_null": bool},
    total=False,
)
"""A condition that a row must meet to be imported."""


class SumCheckDocument(TypedDict, total=False):
    """A check that columns sum up to another one, within a fraction of it."""

    sum_of: Required[Sequence[str]]
    equals: Required[str]
    tolerance: Decimal | float | str
    on_failure: Literal["warn", "quarantine"]


class ChoiceDocument(TypedDict, total=False):
    """A choice among repeated elements: those with the highest number."""

    element: Required[str]
    highest: Required[str]
    same: Sequence[str]


class SponsorColumnsDocument(TypedDict, total=False):
    """Columns of the name of a sponsor and of its share in percent."""

    name: Required[str]
    share: str


ColumnMappingDocument = TypedDict(
    "ColumnMappingDocument",
    {
        "attribute": Required[str],
        "column": str,
        "columns": Sequence[str | SponsorColumnsDocument],
        "combine": Literal["first", "join", "sum"],
        "aggregate": Literal["count", "first", "join", "last", "max", "min", "sum"],
        "separator": str,
        "constant": str | int | bool,
        "null": Sequence[str],
        "enum": Mapping[str, str],
        "otherwise": Literal["keep", "null", "quarantine"],
        "date_format": str,
        "date_formats": Sequence[str],
        "period": Literal["start", "end"],
        "utc_offset": str,
        "decimal": DecimalMark,
        "thousands": ThousandsMark,
        "unit_factor": Decimal | float | str,
        "units": Mapping[str, Decimal | float | str],
        "part": Literal["unit"],
        "rounding": Rounding,
        "whitespace": Literal["keep", "collapse"],
        "as": Literal["boolean", "date", "integer", "number", "text"],
    },
    total=False,
)
"""One attribute, from a column, from several ones or from a constant."""


class ImportMappingDocument(TypedDict, total=False):
    """A conversion of the rows of a file to projects, facilities or entries."""

    name: str
    kind: Literal["project", "facility", "entry"]
    columns: Sequence[ColumnMappingDocument]
    from_export: bool
    encoding: str | Sequence[str]
    delimiter: Literal[",", ";", "|", "\t"]
    quote: Literal['"', "'", ""]
    escape: Literal["\\"]
    header_row: int
    skip_rows: int
    ragged_rows: Literal["pad", "refuse"]
    null: Sequence[str]
    decimal: DecimalMark
    thousands: ThousandsMark
    record_element: str
    sheet: str | int
    fill_merged: Sequence[str]
    where: RowConditionDocument | Sequence[RowConditionDocument]
    choose: Sequence[ChoiceDocument]
    group_by: str | Sequence[str]
    checks: Sequence[SumCheckDocument]
    key: RowKeyDocument
    duplicates: Literal["first_wins", "first_valid_wins", "last_wins", "quarantine"]
    on_existing: Literal["skip_if_identical", "update", "quarantine"]
    vanished: Literal["ignore", "report"]
    missing_amount: Literal["quarantine", "unknown"]
