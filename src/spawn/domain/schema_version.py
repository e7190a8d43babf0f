"""Schema versions: columns with types, bounds and semantics.

A schema defines the attributes of one kind of aggregate beside its nested fields. It is external
data, so every identifier and type has passed a whitelist first (`document_parser.read_schema`).
"""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

Value = str | bool | int | Decimal | float | date | datetime
"""Typed value of a governed attribute; None stands for absent."""


AMOUNT_SUFFIX = "_amount"
"""Name suffix of money columns: decimal strings on the wire, so that no client reads a float."""

MAX_VERSION = 999_999_999
"""Highest version number that is adopted: paths, pins and filters have nine digits."""


class TypeName(StrEnum):
    """Closed set of column types; a type is never taken from a document as text."""

    STRING = "string"
    INTEGER = "integer"  # 32 bits, signed
    BIGINT = "bigint"  # 64 bits, signed
    DECIMAL = "decimal"  # exact, with precision and scale
    DOUBLE = "double"  # IEEE 754, finite only
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"  # an instant; stored and served in UTC


class ColumnType(msgspec.Struct, frozen=True):
    """A type with its parameters.

    `precision` and `scale` count decimal digits and belong to DECIMAL (1-38, scale ≤ precision);
    `max_length` counts characters and belongs to STRING.
    """

    name: TypeName
    precision: int | None = None
    scale: int | None = None
    max_length: int | None = None

    def __str__(self) -> str:
        """Return the canonical spelling: `decimal(18,4)`, `string(200)`, `date`."""
        if self.name is TypeName.DECIMAL:
            return f"decimal({self.precision},{self.scale})"
        if self.name is TypeName.STRING and self.max_length is not None:
            return f"string({self.max_length})"
        return self.name.value

    @property
    def has_parameters(self) -> bool:
        """Whether the type states digits or characters."""
        return self.precision is not None or self.max_length is not None

    @property
    def with_article(self) -> str:
        """The type with its article: `a string(200)`, `an integer`."""
        return f"{'an' if self.name is TypeName.INTEGER else 'a'} {self}"


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a schema.

    `minimum` and `maximum` are inclusive and of the column's type; `pattern` is of the safe subset
    and matches the whole value; `semantic` is an IRI; `unit` a UCUM code, currency or word;
    `aliases` are further names accepted on input; `deprecated` columns are served with notice.
    """

    name: str
    type: ColumnType
    description: str = ""
    required: bool = False
    default: Value | None = None
    enum: tuple[Value, ...] | None = None
    minimum: Value | None = None
    maximum: Value | None = None
    pattern: str | None = None
    semantic: str | None = None
    unit: str | None = None
    aliases: tuple[str, ...] = ()
    deprecated: bool = False
    sunset: date | None = None

    @property
    def is_amount(self) -> bool:
        """Whether the column is money by its name and therefore a string on the wire."""
        return self.type.name is TypeName.DECIMAL and self.name.endswith(AMOUNT_SUFFIX)

    @property
    def announced_sunset(self) -> date | None:
        """Day from which the column may be removed; None unless it is deprecated."""
        return self.sunset if self.deprecated else None


MAX_INDEXED_RETIRED = 50
"""Retired columns that queries may still name. The values of others are in the documents alone: a
table that kept every one outgrew the engine's memory after a few thousand."""


class RetiredColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A removed governed column; `since` is the first version without it.

    Its values stay in the documents, unserved. Until its Sunset, a request that names it is
    accepted with a warning and the value ignored; without a Sunset this lasts forever. Queries may
    name it while it `is_indexed`.
    """

    column: Column
    since: int
    is_indexed: bool = True

    @property
    def name(self) -> str:
        """Name of the column, closed to columns of another type or meaning."""
        return self.column.name

    @property
    def sunset(self) -> date | None:
        """Day from which requests that name the column are rejected."""
        return self.column.announced_sunset


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """A data-quality expectation that a schema declares for all projects together.

    Either the column `subject` has a value in at least the share `threshold` of projects; or, with
    `sum_of`, these columns add up to `equals` in that share, within `tolerance` times `equals`.
    `severity` is `error` or `warning`.
    """

    subject: str
    sum_of: tuple[str, ...] = ()
    equals: str | None = None
    tolerance: Decimal = Decimal(0)
    threshold: Decimal = Decimal(1)
    severity: str = "error"
    description: str = ""


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """One schema version: governed columns, and descriptions of core columns.

    `kind` is the kind of aggregate that it governs. `columns` holds every column of the document,
    core ones included, in its order; `governed` those that are not core. `version` 0 is the bundled
    schema. `context` is the JSON-LD context as received (never dereferenced).
    """

    id: str
    version: int
    name: str
    kind: str = "project"
    description: str = ""
    columns: tuple[Column, ...] = ()
    governed: tuple[Column, ...] = ()
    context: msgspec.Raw | None = None
    fingerprint: str = ""
    """Lower-case hex SHA-256 over the RFC 8785 canonical JSON of the document."""
    expectations: tuple[Expectation, ...] = ()
    retired: tuple[RetiredColumn, ...] = ()
    """Removed columns of earlier versions, added by `column_mapping.carry_retired_columns`."""
    ineffective: tuple[str, ...] = ()
    """Statements of the document that change nothing, each a JSON Pointer and a sentence."""
