"""Import mappings: a declarative conversion of the rows of a foreign file to projects.

A mapping is data from a client. It names columns, attributes and a closed set of conversions; it
contains no expression, pattern or code, and every list in it is bounded.
"""

import re
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

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
MAX_DATE_FORMATS = 10
MAX_SKIPPED_LINES = 1_000

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
DECIMAL_MARKS = frozenset(".,")
THOUSANDS_MARKS = frozenset(".,' _")
"""Marks between groups of digits; blank and apostrophe stand for each kind of theirs."""

DATE_FORMAT_NAMES = frozenset({"year", "year_end", "quarter", "iso", "serial", "serial_1904"})
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
    QUARANTINE = "quarantine"  # none of them


class OnExisting(StrEnum):
    """The policy for a row whose key belongs to an existing project."""

    SKIP_IF_IDENTICAL = "skip_if_identical"  # unchanged if the values are equal, else quarantined
    UPDATE = "update"  # the project takes the row's values
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


class ColumnMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One attribute, from a `column` or from the same `constant` for each row.

    The conversions apply in this order: `whitespace`, null markers (`null` replaces the mapping's
    own for this column), `enum` (text → text; `otherwise` treats a text without entry),
    `date_formats` (tried in order: `%d/%m/%Y` and the like, with a time that is left out or without
    a day, or one of `DATE_FORMAT_NAMES`; `date_format` is a single one), `unit_factor` (exact
    multiplication), `rounding` (to the attribute's scale, from exact digits). `decimal` and
    `thousands` replace the mapping's own marks. `utc_offset` belongs to local times,
    `extension_type` (on the wire: `as`) to `x_` fields.
    """

    attribute: str
    column: str | None = None
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
    rounding: Rounding | None = None
    whitespace: Whitespace = Whitespace.KEEP
    extension_type: ExtensionType | None = msgspec.field(name="as", default=None)

    @property
    def all_date_formats(self) -> tuple[str, ...]:
        """The date formats of the column, in the order in which they are tried."""
        return self.date_formats if self.date_format is None else (self.date_format,)


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
    """The key of a row: external reference `source` with the value of `column` as id."""

    source: str
    column: str


class ImportMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named mapping.

    `encoding` is tried in order for each physical line; the first that decodes it wins. A byte
    order mark has precedence. `delimiter`, `header_row` (the physical line of the header, from 1),
    `skip_rows` (lines before the header) and `ragged_rows` apply to CSV only; in NDJSON a column is
    a top-level key of the row's object.
    """

    name: str
    columns: tuple[ColumnMapping, ...]
    encoding: tuple[str, ...] = ("utf-8",)
    delimiter: str = ","
    header_row: int | None = None
    skip_rows: int | None = None
    ragged_rows: RaggedRows = RaggedRows.QUARANTINE
    null: tuple[str, ...] = ("",)
    decimal: str = "."
    thousands: str | None = None
    checks: tuple[SumCheck, ...] = ()
    key: RowKey | None = None
    duplicates: DuplicatePolicy = DuplicatePolicy.FIRST_WINS
    on_existing: OnExisting = OnExisting.SKIP_IF_IDENTICAL

    @property
    def source_columns(self) -> frozenset[str]:
        """The columns of a file that the mapping reads."""
        names = {column.column for column in self.columns if column.column is not None}
        for check in self.checks:
            names.update(check.sum_of, (check.equals,))
        if self.key:
            names.add(self.key.column)
        return frozenset(names)

    @property
    def title_lines(self) -> int | None:
        """The physical lines before the header; None to look for it."""
        return self.skip_rows if self.header_row is None else self.header_row - 1


def is_mapping_name(name: str) -> bool:
    """Return whether a mapping can have this name."""
    return _NAME.fullmatch(name) is not None
