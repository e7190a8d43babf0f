"""A governed schema as a value: columns with types, bounds and meaning.

A schema says what a project may carry beside its structure. It is data from elsewhere, so every
identifier and type here has passed a whitelist before it exists (`read_schema` in `reading`).
"""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

Value = str | bool | int | Decimal | float | date | datetime
"""What a governed attribute may hold once read; an absent one is None."""


AMOUNT_SUFFIX = "_amount"
"""Decimals of this name are money: decimal strings on the wire, lest a client read a float."""


class TypeName(StrEnum):
    """The closed set of column types; none is ever taken from a document as text."""

    STRING = "string"
    INTEGER = "integer"  # 32 bits, signed
    BIGINT = "bigint"  # 64 bits, signed
    DECIMAL = "decimal"  # exact, with precision and scale
    DOUBLE = "double"  # IEEE 754, finite only
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"  # an instant; held and served in UTC


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
        """The canonical spelling: `decimal(18,4)`, `string(200)`, `date`."""
        if self.name is TypeName.DECIMAL:
            return f"decimal({self.precision},{self.scale})"
        if self.name is TypeName.STRING and self.max_length is not None:
            return f"string({self.max_length})"
        return self.name.value

    @property
    def phrase(self) -> str:
        """The type with its article, as a sentence has it: `a string(200)`, `an integer`."""
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
        """Whether the column is money by name, so that the wire carries it as a string."""
        return self.type.name is TypeName.DECIMAL and self.name.endswith(AMOUNT_SUFFIX)

    @property
    def announced_sunset(self) -> date | None:
        """The day from which it may go; a `sunset` counts for a deprecated column only."""
        return self.sunset if self.deprecated else None


class RetiredColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A governed column that the schema no longer has; `since` is the version without it.

    Its values stay in the documents, unserved. Requests that name it are heard until its Sunset:
    the value is ignored, with a warning. A column that went without a Sunset is ignored for good.
    """

    column: Column
    since: int

    @property
    def name(self) -> str:
        """The name, which no column of another type or meaning may take."""
        return self.column.name

    @property
    def sunset(self) -> date | None:
        """The day from which requests that name it are refused."""
        return self.column.announced_sunset


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What a schema promises of all projects together.

    Either that the column `about` is there in a share of at least `threshold`; or, with `sum_of`,
    that these columns add up to `equals`, within `tolerance` times it, in such a share. `severity`
    is `error` or `warning`.
    """

    about: str
    sum_of: tuple[str, ...] = ()
    equals: str | None = None
    tolerance: Decimal = Decimal(0)
    threshold: Decimal = Decimal(1)
    severity: str = "error"
    description: str = ""


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a schema: its governed columns beside what it says of core attributes.

    `columns` holds every column the document declares, core ones included, in its order;
    `governed` those that are not core. `version` 0 is the bundled schema. `context` is the
    JSON-LD context as received (never dereferenced).
    """

    id: str
    version: int
    name: str
    description: str = ""
    columns: tuple[Column, ...] = ()
    governed: tuple[Column, ...] = ()
    context: msgspec.Raw | None = None
    fingerprint: str = ""
    """Lower-case hex SHA-256 over the RFC 8785 canonical JSON of the document."""
    promises: tuple[Promise, ...] = ()
    retired: tuple[RetiredColumn, ...] = ()
    """Columns of earlier versions: no part of the document, known by `revision.succeed`."""
