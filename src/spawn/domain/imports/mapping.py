"""Import mappings: a declarative conversion of the rows of a foreign file to projects.

A mapping is data from a client. It names columns, attributes and a closed set of conversions; it
contains no expression, pattern or code, and every list in it is bounded.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.imports.import_state import ImportKind
from spawn.domain.money import Rounding

MAPPING_KIND: Final = "import_mapping"

MAX_COLUMNS = 200
MAX_CHECKS = 20
MAX_ADDENDS = 50
MAX_NULL_MARKERS = 20
MAX_ENUM_ENTRIES = 1_000
MAX_NAME_LENGTH = 200
MAX_TEXT_LENGTH = 1_000
MAX_FACTOR_DIGITS = 30
MAX_UNITS = 50
MAX_DATE_FORMATS = 10
MAX_SKIPPED_LINES = 1_000
MAX_SOURCES = 20
"""Columns of one attribute, of a key or of a group."""
MAX_CONDITIONS = 20
MAX_CHOICES = 10
MAX_SEPARATOR_LENGTH = 10
MAX_SHEET_NUMBER = 1_000
MAX_SHEET_NAME_LENGTH = 31
"""Length of the name of a sheet, as spreadsheets limit it."""

UTF_16_ENCODINGS = frozenset({"utf-16", "utf-16-le", "utf-16-be"})
"""Encodings in which a line feed is two bytes; a file in one is read as UTF-8."""

ENCODINGS = UTF_16_ENCODINGS | frozenset(
    {
        *("utf-8", "ascii", "cp437", "cp850", "cp852", "cp866", "cp874", "koi8-r", "koi8-u"),
        *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
        *("iso-8859-1", "iso-8859-2", "iso-8859-5", "iso-8859-7", "iso-8859-9", "iso-8859-13"),
        *("iso-8859-15", "mac-roman", "shift_jis", "cp932", "euc-jp", "iso-2022-jp"),
        *("gb2312", "gbk", "gb18030", "big5", "big5hkscs", "euc-kr", "cp949"),
    }
)
"""Encodings that a mapping may name; but for UTF-16, no character in them contains a line feed."""

DELIMITERS = frozenset(",;|\t")
QUOTES = frozenset({'"', "'", ""})
ESCAPES = frozenset("\\")
DECIMAL_MARKS = frozenset(".,")
THOUSANDS_MARKS = frozenset(".,' _")
"""Marks between groups of digits; blank and apostrophe stand for each kind of theirs."""

FISCAL_YEAR: Final = "fiscal_year_"
"""Beginning of the formats of fiscal years, before the month in which the year begins: 04."""

DATE_FORMAT_NAMES = frozenset(
    {
        *("year", "year_end", "quarter", "half_year", "iso", "serial", "serial_1904"),
        *(f"{FISCAL_YEAR}{month:02}" for month in range(1, 13)),
    }
)
"""Date formats with a name; the others consist of directives such as %Y."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


class Whitespace(StrEnum):
    """The treatment of white space in a cell."""

    KEEP = "keep"  # the cell unchanged
    COLLAPSE = "collapse"  # trimmed; each run, line breaks included, becomes one space


class OnFailure(StrEnum):
    """The effect of a failed check on its row."""

    WARN = "warn"
    QUARANTINE = "quarantine"


class DuplicatePolicy(StrEnum):
    """The policy for several rows of one file with the same key."""

    FIRST_WINS = "first_wins"  # the first row, valid or not
    FIRST_VALID_WINS = "first_valid_wins"  # the first row that is a valid project
    LAST_WINS = "last_wins"  # the last row, valid or not
    QUARANTINE = "quarantine"  # none of them


class OnExisting(StrEnum):
    """The policy for a row whose key belongs to an existing project."""

    SKIP_IF_IDENTICAL = "skip_if_identical"  # unchanged if the values are equal, else quarantined
    UPDATE = "update"  # the project takes the row's values, its status by a transition
    QUARANTINE = "quarantine"  # always


class RaggedRows(StrEnum):
    """The policy for rows with fewer cells than the header; surplus empty cells carry nothing."""

    PAD = "pad"  # the missing cells are empty
    QUARANTINE = "refuse"


class Otherwise(StrEnum):
    """The treatment of a text without an entry in an enum map."""

    KEEP = "keep"
    NULL = "null"
    QUARANTINE = "quarantine"


class DayOfPeriod(StrEnum):
    """The day that stands for a year, a quarter or a month."""

    START = "start"
    END = "end"


class ExtensionType(StrEnum):
    """The JSON type of an `x_` field that is read from text."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"


class Combination(StrEnum):
    """The use of several columns for one attribute."""

    FIRST = "first"  # the first one with a value
    JOIN = "join"  # their texts, with a separator between them
    SUM = "sum"  # of their numbers


class Aggregation(StrEnum):
    """The use of several values of one column: rows of a group, elements of a document."""

    FIRST = "first"
    LAST = "last"
    JOIN = "join"  # the different texts, with a separator between them
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    COUNT = "count"  # without a column: of the rows of a group


class CellPart(StrEnum):
    """The part of a cell with a number and a unit that a column reads."""

    UNIT = "unit"


class MissingAmount(StrEnum):
    """The treatment of a row without a total amount."""

    QUARANTINE = "quarantine"
    UNKNOWN = "unknown"  # the project's amount is unknown, with a warning


class VanishedPolicy(StrEnum):
    """The treatment of projects of the mapping's source that a file does not have."""

    IGNORE = "ignore"
    REPORT = "report"  # they stay as they are, and the import lists them


_ESCAPED = re.compile(r"\\([nrt])|\\[\s\S]")
_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t"}


class CsvDialect(msgspec.Struct, frozen=True):
    r"""The marks of a CSV file: between cells, around them, and before a mark that is text.

    Without a mark around cells none of them has a delimiter or a line break, and marks are text.
    After an escape `n`, `r` and `t` are control characters, as databases write them, and a cell
    that is `\N` alone is empty: it is their null.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None

    def read(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Return the rows of physical lines.

        Raises:
            csv.Error: while iterating, if a row is malformed.
        """
        if self.escape is not None:
            lines = map(self._resolve_escapes, lines)
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape,
            strict=True,
        )

    def format(self, cells: Iterable[str]) -> str:
        """Return a row as a line that `read` reads again."""
        if not self.quote:
            # The cells of such a file have no marks; those of notes on it lose theirs.
            marks = str.maketrans(dict.fromkeys(f"{self.delimiter}\r\n", " "))
            return self.delimiter.join(cell.translate(marks) for cell in cells) + "\r\n"
        line = io.StringIO()
        csv.writer(
            line, delimiter=self.delimiter, quotechar=self.quote, escapechar=self.escape
        ).writerow(cells)
        return line.getvalue()

    def _resolve_escapes(self, line: str) -> str:
        """Return a line in which an escape stands only before a character that is text."""
        if "\\" not in line:
            return line
        mark = re.escape(self.delimiter)
        line = re.sub(rf"(?:^|(?<={mark}))\\N(?=[{mark}\r\n]|$)", "", line)
        return _ESCAPED.sub(
            lambda match: "\\" + _CONTROLS[match[1]] if match[1] else match[0], line
        )


class SponsorColumns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sponsor: the column of its name, and the column of its share in percent."""

    name: str
    share: str | None = None


class RowCondition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition that a row must meet to be imported; `texts` is `in` on the wire."""

    column: str
    texts: tuple[str, ...] | None = msgspec.field(name="in", default=None)
    not_in: tuple[str, ...] | None = None
    is_null: bool | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A choice among repeated elements of a nested record.

    Of the elements at `element` that have equal values at the paths `same`, the one with the
    highest number at `highest` is used; an absent number is the lowest.
    """

    element: str
    highest: str
    same: tuple[str, ...] = ()


class ColumnMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One attribute, from a `column`, several `columns` or the same `constant` for each row.

    Several columns are combined by `combine`, several values of a column by `aggregate`, texts with
    `separator` between them; sponsors have columns of names and shares, or with `separator` cells
    of several names, each with its share in brackets.
    The conversions apply in this order: `whitespace`, null markers (`null` replaces the mapping's
    own for this column), `enum` (text → text; `otherwise` treats a text without entry),
    `date_formats` (tried in order: `%d/%m/%Y` and the like, with a time that is left out or without
    a day, or one of `DATE_FORMAT_NAMES`; `date_format` is a single one), `unit_factor` (exact
    multiplication), `rounding` (to the attribute's scale, from exact digits). `decimal` and
    `thousands` replace the mapping's own marks. `units` says what the texts before or after a
    number are worth, such as `million`; `part` reads these texts in place of the number.
    `utc_offset` belongs to local times, `extension_type` (on the wire: `as`) to `x_` fields.
    """

    attribute: str
    column: str | None = None
    columns: tuple[str | SponsorColumns, ...] = ()
    combine: Combination | None = None
    aggregate: Aggregation | None = None
    separator: str | None = None
    constant: str | int | bool | None = None
    null: tuple[str, ...] | None = None
    enum: dict[str, str] | None = None
    otherwise: Otherwise | None = None
    date_format: str | None = None
    date_formats: tuple[str, ...] = ()
    period: DayOfPeriod | None = None
    utc_offset: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    unit_factor: Decimal | None = None
    units: dict[str, Decimal] | None = None
    part: CellPart | None = None
    rounding: Rounding | None = None
    whitespace: Whitespace = Whitespace.KEEP
    extension_type: ExtensionType | None = msgspec.field(name="as", default=None)

    @property
    def all_date_formats(self) -> tuple[str, ...]:
        """The date formats of the column, in the order in which they are tried."""
        return self.date_formats if self.date_format is None else (self.date_format,)

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of its columns in a file."""
        if self.column is not None:
            return (self.column,)
        return tuple(name for name in self.columns if isinstance(name, str))

    @property
    def sponsor_columns(self) -> tuple[SponsorColumns, ...]:
        """The columns of its sponsors."""
        return tuple(pair for pair in self.columns if isinstance(pair, SponsorColumns))

    @property
    def label(self) -> str:
        """The name of the column by which reasons name the attribute."""
        if self.sponsor_columns:
            return self.sponsor_columns[0].name
        return self.sources[0] if self.sources else self.attribute


class SumCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A check that the sum of the columns `sum_of` equals the column `equals`.

    It fails if the two differ by `tolerance` times |equals| or more. It is skipped if every addend
    is absent, or if `equals` is.
    """

    sum_of: tuple[str, ...]
    equals: str
    tolerance: Decimal = Decimal(0)
    on_failure: OnFailure = OnFailure.QUARANTINE


class RowKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key of a row: external reference `source` with the value of `column` as id.

    The values of several `columns` form an id with `|` between them; `source_column` has another
    source for each row.
    """

    source: str | None = None
    source_column: str | None = None
    column: str | None = None
    columns: tuple[str, ...] = ()

    @property
    def id_columns(self) -> tuple[str, ...]:
        """The columns of the id."""
        return self.columns if self.column is None else (self.column,)

    @property
    def label(self) -> str:
        """The name of the column by which reasons name the key."""
        return self.id_columns[0]


class ImportMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named mapping of files whose rows are of a `kind`, by default projects.

    `encoding` is tried in order for each physical line; the first that decodes it wins. A byte
    order mark has precedence. `delimiter`, `header_row` (the physical line of the header, from 1),
    `skip_rows` (lines before the header) and `ragged_rows` apply to CSV only; in NDJSON a column is
    a top-level key of the row's object, or a path such as `title.narrative.0.text`. The records
    of XML are the elements `record_element`, by default those below the root; those of a JSON
    document the items of the array at that path, by default of its first array of objects. `sheet`
    is the name of a workbook's sheet or its number from 1, by default the first visible one; a
    merged cell of
    the columns `fill_merged` stands for each of its rows. Rows that do not meet each condition of
    `where` are skipped. `choose` selects among repeated elements of a record.
    Rows with equal values of the columns `group_by` form one record.
    `from_export` means files that the service has exported, which name their columns themselves:
    only the layout of the file and the treatment of its rows are left to say.
    """

    name: str
    kind: ImportKind = ImportKind.PROJECT
    columns: tuple[ColumnMapping, ...] = ()
    from_export: bool = False
    encoding: tuple[str, ...] = ("utf-8",)
    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None
    header_row: int | None = None
    skip_rows: int | None = None
    ragged_rows: RaggedRows = RaggedRows.QUARANTINE
    record_element: str | None = None
    sheet: str | int | None = None
    fill_merged: tuple[str, ...] = ()
    null: tuple[str, ...] = ("",)
    decimal: str = "."
    thousands: str | None = None
    where: tuple[RowCondition, ...] = ()
    choose: tuple[Choice, ...] = ()
    group_by: tuple[str, ...] = ()
    checks: tuple[SumCheck, ...] = ()
    key: RowKey | None = None
    duplicates: DuplicatePolicy = DuplicatePolicy.FIRST_WINS
    on_existing: OnExisting = OnExisting.SKIP_IF_IDENTICAL
    vanished: VanishedPolicy = VanishedPolicy.IGNORE
    missing_amount: MissingAmount = MissingAmount.QUARANTINE

    @property
    def source_columns(self) -> frozenset[str]:
        """The columns of a file that the mapping reads."""
        names = {*self.group_by, *self.fill_merged, *(condition.column for condition in self.where)}
        for column in self.columns:
            names.update(column.sources)
            for pair in column.sponsor_columns:
                names.update((pair.name,) if pair.share is None else (pair.name, pair.share))
        for check in self.checks:
            names.update(check.sum_of, (check.equals,))
        if self.key:
            names.update(self.key.id_columns)
            names.update((self.key.source_column,) if self.key.source_column is not None else ())
        return frozenset(names)

    @property
    def dialect(self) -> CsvDialect:
        """The marks of a CSV file."""
        return CsvDialect(self.delimiter, self.quote, self.escape)

    @property
    def title_lines(self) -> int | None:
        """The physical lines before the header; None to look for it."""
        return self.skip_rows if self.header_row is None else self.header_row - 1


def is_mapping_name(name: str) -> bool:
    """Return whether a mapping can have this name."""
    return _NAME.fullmatch(name) is not None
