"""Core attributes of each governed kind as columns, which every schema of it has implicitly.

A schema may describe a core column (text, semantics, unit, aliases) and tighten it; the domain
defines its type and meaning.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Final

import msgspec

from spawn.domain.facilities.facility import FACILITY_KIND, FacilityKind
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
    PROJECT_KIND,
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


FORMER_CORE_COLUMNS: dict[str, Column] = {
    "maturity_years": Column(
        name="maturity_years",
        type=ColumnType(TypeName.INTEGER),
        minimum=1,
        maximum=MAX_MATURITY_YEARS,
    ),
}
"""Narrower definitions by earlier releases, which published schema documents repeat (ADR 0023)."""


READ_ONLY_COLUMNS: frozenset[str] = frozenset(
    {"status_reason", "status_effective_on", "suspended_from"}
)
"""Core columns that transitions set: served and filterable, never read from a body."""


class CoreAttributes(msgspec.Struct, frozen=True, kw_only=True, eq=False, dict=True):
    """Core attributes of one governed kind.

    `columns` are in document order, `nested_names` the fields that hold objects or lists and are no
    columns. `read_only_names` are set by the service, never read from a body. `may_be_unknown` must
    be set by a request and may be absent all the same. `amount_names` are decimal strings on the
    wire, as columns are whose name ends in `_amount`. `code_names` have the domain's list of
    codes, `line_names` are texts of one line and `prose_names` of many. `percent_name` has the
    first-generation alias that states a percentage. `id_name` is the column of the id.
    `description` says in a sentence for readers of the product's documents what the states are.
    `former_columns` are narrower definitions by earlier releases, which documents repeat.
    """

    kind: str
    description: str
    columns: tuple[Column, ...]
    id_name: str
    nested_names: frozenset[str] = frozenset()
    read_only_names: frozenset[str] = frozenset()
    may_be_unknown: frozenset[str] = frozenset()
    amount_names: frozenset[str] = frozenset()
    code_names: frozenset[str] = frozenset()
    line_names: frozenset[str] = frozenset()
    prose_names: frozenset[str] = frozenset()
    percent_name: str | None = None
    former_columns: Mapping[str, Column] = {}

    @cached_property
    def by_name(self) -> Mapping[str, Column]:
        """The columns by name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def reserved_names(self) -> frozenset[str]:
        """Names of this kind that no governed column may have."""
        return self.nested_names | {self.id_name}

    @cached_property
    def system_columns(self) -> tuple[Column, ...]:
        """Columns that the store assigns: filterable and sortable, never input."""
        version = Column(
            name="version",
            type=ColumnType(TypeName.INTEGER),
            description=f"Number of writes of the {self.kind}; also its event sequence.",
            minimum=1,
        )
        return Column(name=self.id_name, type=_string(36), description=_ID_TEXT), version, *_TIMES

    @cached_property
    def system_names(self) -> frozenset[str]:
        """Names of the columns that the store assigns; they have a value in every state."""
        return frozenset(column.name for column in self.system_columns)

    def is_always_present(self, column: Column) -> bool:
        """Return whether every state has a value; null removes that of an optional column."""
        has_fixed_default = column.default is not None and column.name in self.by_name
        return (column.required or has_fixed_default) and column.name not in self.may_be_unknown

    def is_amount(self, column: Column) -> bool:
        """Return whether a column is money and therefore a decimal string on the wire."""
        return column.is_amount or column.name in self.amount_names


_ID_TEXT: Final = "UUIDv7, assigned by the service."
_TIMES: Final = (
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


NESTED_FIELDS: frozenset[str] = frozenset(CORE_FIELDS) - CORE_BY_NAME.keys() - {"project_id"}
"""Fields of a project that hold objects or lists and are not columns."""

_PROJECT: Final = CoreAttributes(
    kind=PROJECT_KIND,
    description=(
        "The system of record for financed infrastructure and energy projects: their attributes, "
        "costs, sponsors and status, with a full history of changes."
    ),
    columns=CORE_COLUMNS,
    id_name="project_id",
    nested_names=NESTED_FIELDS,
    read_only_names=READ_ONLY_COLUMNS,
    may_be_unknown=MAY_BE_UNKNOWN,
    code_names=frozenset({"status", *CODE_FIELDS}),
    line_names=frozenset({"project_name", "sector"}),
    prose_names=frozenset({"description"}),
    percent_name="expected_irr",
    former_columns=FORMER_CORE_COLUMNS,
)

SYSTEM_COLUMNS: tuple[Column, ...] = _PROJECT.system_columns
"""Columns that the store assigns to a project: filterable and sortable, never input."""

_NAME: Final = _string(200)
_FACILITY: Final = CoreAttributes(
    kind=FACILITY_KIND,
    description=(
        "The loans, grants and equity that finance the projects: their commitments, availability "
        "and maturity, with a full history of changes."
    ),
    id_name="facility_id",
    amount_names=frozenset({"commitment"}),
    columns=(
        Column(
            name="project_id",
            type=_string(36),
            description="The project that the facility finances.",
            required=True,
        ),
        Column(name="name", type=_NAME, description="Name of the facility.", required=True),
        Column(
            name="kind",
            type=_string(32),
            description="Kind of the facility.",
            required=True,
            enum=tuple(kind.value for kind in FacilityKind),
        ),
        Column(
            name="currency_code",
            type=_string(3),
            description="Currency of every amount: ISO 4217.",
            required=True,
        ),
        Column(
            name="commitment",
            type=AMOUNT_TYPE,
            description="Amount that may be drawn, in major units of its currency.",
            required=True,
            minimum=Decimal(0),
        ),
        Column(
            name="availability_start", type=_DATE, description="First day of a draw.", required=True
        ),
        Column(
            name="availability_end", type=_DATE, description="Last day of a draw.", required=True
        ),
        Column(
            name="rank",
            type=ColumnType(TypeName.INTEGER),
            description="Rank of payment; a lower one is paid first.",
            default=1,
        ),
        Column(
            name="is_revolving",
            type=ColumnType(TypeName.BOOLEAN),
            description="Whether what was repaid can be drawn again.",
            default=False,
        ),
        Column(name="day_count", type=_string(32), description="Day count of the interest."),
        Column(name="maturity_date", type=_DATE, description="The last payment date."),
    ),
    nested_names=frozenset(
        {"lenders", "lender_steps", "rate", "fees", "payment_dates", "dates", "repayment"},
    ),
    read_only_names=frozenset({"project_id"}),
)

CORE_ATTRIBUTES: Final[dict[str, CoreAttributes]] = {
    core.kind: core for core in (_PROJECT, _FACILITY)
}
"""Core attributes of every governed kind, by kind."""


def get_core_columns(schema: Schema) -> tuple[Column, ...]:
    """Return the core columns as a schema describes them, in document order."""
    core = CORE_ATTRIBUTES[schema.kind]
    descriptions = {column.name: column for column in schema.columns if column.name in core.by_name}
    return tuple(descriptions.get(column.name, column) for column in core.columns)


RESERVED_NAMES: frozenset[str] = frozenset(
    {
        "version",
        *(column.name for column in _TIMES),
        # Names that the store and the wire use beside the fields of an aggregate.
        *("attributes", "extensions", "hidden_attributes", "position", "sequence"),
        *("recorded_at", "epoch", "schema_version", "document", "actor", "kind", "id"),
        # Query parameters of a list: no filter could use a column of that name.
        *("sort", "fields", "limit", "after", "as_of"),
    }
)
"""Names that no column of any schema may have, beside the reserved names of its kind."""

PERCENT_ALIAS = "expected_tri"
"""First-generation name of a project's `expected_irr`, which states it as a percentage."""

EXTENSION_PREFIX = "x_"
"""Name prefix of extension fields, stored as received outside the schema."""
