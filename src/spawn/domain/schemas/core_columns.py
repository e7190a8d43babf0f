"""Core attributes of a project as columns, which every schema has implicitly.

A schema may describe a core column (text, semantics, unit, aliases) and tighten it; the domain
defines its type and meaning.
"""

from decimal import Decimal

from spawn.domain.projects.codes import CODE_FIELDS
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.projects.project import (
    CORE_FIELDS,
    MATURITY_DECIMALS,
    MAX_DESCRIPTION,
    MAX_MATURITY_YEARS,
    MAX_NAME,
    MAX_REASON,
    MAX_SECTOR,
    MIN_MATURITY_YEARS,
)
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName

AMOUNT_TYPE = ColumnType(TypeName.DECIMAL, precision=22, scale=4)
"""Type of amounts: 18 digits before the point and, by currency, at most 4 after it."""


def _string(max_length: int) -> ColumnType:
    return ColumnType(TypeName.STRING, max_length=max_length)


_DATE = ColumnType(TypeName.DATE)
_STATUSES = tuple(status.value for status in ProjectStatus)

_COLUMNS = (
    Column(
        name="project_name",
        type=_string(MAX_NAME),
        description="Name of the project; trimmed, without control characters.",
        required=True,
    ),
    Column(
        name="total_amount",
        type=AMOUNT_TYPE,
        description="Total cost of the project in major units of its currency.",
        required=True,
        minimum=Decimal(0),
        semantic="https://spec.edmcouncil.org/fibo/ontology/FND/Accounting/CurrencyAmount/MonetaryAmount",
    ),
    Column(
        name="status",
        type=_string(32),
        description="Lifecycle status of the project; changed by transitions after its creation.",
        default=ProjectStatus.PROPOSED.value,
        enum=_STATUSES,
    ),
    Column(
        name="status_reason",
        type=_string(MAX_REASON),
        description="Reason for the status; recorded by the transition.",
    ),
    Column(
        name="status_effective_on",
        type=_DATE,
        description="Day from which the status applies; recorded by the transition.",
    ),
    Column(
        name="suspended_from",
        type=_string(32),
        description="Status to which a suspended project may return.",
        enum=_STATUSES,
    ),
    Column(name="description", type=_string(MAX_DESCRIPTION), description="Free text."),
    Column(name="sector", type=_string(MAX_SECTOR), description="Sector of the asset."),
    Column(
        name="maturity_years",
        type=ColumnType(TypeName.DECIMAL, precision=12, scale=MATURITY_DECIMALS),
        description="Years from financial close to the last repayment, such as 17.5.",
        minimum=MIN_MATURITY_YEARS,
        maximum=Decimal(MAX_MATURITY_YEARS),
        unit="a",
    ),
    Column(
        name="expected_irr",
        type=ColumnType(TypeName.DECIMAL, precision=18, scale=10),
        description="Expected internal rate of return per annum, as a fraction: 0.095 is 9.5 %.",
        minimum=Decimal(-1),
        unit="1",
    ),
    Column(
        name="dscr",
        type=ColumnType(TypeName.DECIMAL, precision=18, scale=8),
        description="Debt service coverage ratio: CFADS over debt service.",
        unit="1",
    ),
    Column(name="financial_close_date", type=_DATE, description="Financial close."),
    Column(name="cod_date", type=_DATE, description="Commercial operation date."),
    Column(name="end_date", type=_DATE, description="End of the project's life."),
    *(
        Column(
            name=code.name,
            type=_string(code.max_length),
            description=code.description,
            default=code.default,
            semantic=code.semantic,
        )
        for code in CODE_FIELDS.values()
    ),
)

CORE_COLUMNS: tuple[Column, ...] = tuple(
    sorted(_COLUMNS, key=lambda column: CORE_FIELDS.index(column.name))
)
"""Core columns in document order, without any description by a schema."""

MAY_BE_UNKNOWN = frozenset({"total_amount"})
"""Columns that a request must set, and that an imported project may lack all the same."""


CORE_BY_NAME: dict[str, Column] = {column.name: column for column in CORE_COLUMNS}


def is_always_present(column: Column) -> bool:
    """Return whether every project has a value; null removes that of an optional column."""
    has_fixed_default = column.default is not None and column.name in CORE_BY_NAME
    return (column.required or has_fixed_default) and column.name not in MAY_BE_UNKNOWN


FORMER_CORE_COLUMNS: dict[str, Column] = {
    "maturity_years": Column(
        name="maturity_years",
        type=ColumnType(TypeName.INTEGER),
        minimum=1,
        maximum=MAX_MATURITY_YEARS,
    ),
}
"""Narrower definitions by earlier releases, which published schema documents repeat (ADR 0023)."""


def get_core_columns(schema: Schema) -> tuple[Column, ...]:
    """Return the core columns as a schema describes them, in document order."""
    descriptions = {column.name: column for column in schema.columns if column.name in CORE_BY_NAME}
    return tuple(descriptions.get(column.name, column) for column in CORE_COLUMNS)


READ_ONLY_COLUMNS: frozenset[str] = frozenset(
    {"status_reason", "status_effective_on", "suspended_from"}
)
"""Core columns that transitions set: served and filterable, never read from a body."""

SYSTEM_COLUMNS: tuple[Column, ...] = (
    Column(name="project_id", type=_string(36), description="UUIDv7, assigned by the service."),
    Column(
        name="version",
        type=ColumnType(TypeName.INTEGER),
        description="Number of writes of the project; also its event sequence.",
        minimum=1,
    ),
    Column(
        name="created_at",
        type=ColumnType(TypeName.TIMESTAMP),
        description="Time at which the store recorded the first version.",
    ),
    Column(
        name="updated_at",
        type=ColumnType(TypeName.TIMESTAMP),
        description="Time at which the store recorded this version.",
    ),
)
"""Columns that the store assigns: filterable and sortable, never input."""

NESTED_FIELDS: frozenset[str] = frozenset(CORE_FIELDS) - CORE_BY_NAME.keys() - {"project_id"}
"""Fields of a project that hold objects or lists and are not columns."""

RESERVED_NAMES: frozenset[str] = (
    NESTED_FIELDS
    | frozenset(column.name for column in SYSTEM_COLUMNS)
    | frozenset(
        {
            # Names that the store and the wire use beside a project's fields.
            *("attributes", "extensions", "hidden_attributes", "position", "sequence"),
            *("recorded_at", "epoch", "schema_version", "document", "actor", "kind", "id"),
            # Query parameters of a list: no filter could use a column of that name.
            *("sort", "fields", "limit", "after", "as_of"),
        }
    )
)
"""Names that no governed column may have."""

PERCENT_ALIAS = "expected_tri"
"""First-generation name of `expected_irr`, which states it as a percentage."""

EXTENSION_PREFIX = "x_"
"""Name prefix of extension fields, stored as received outside the schema."""
