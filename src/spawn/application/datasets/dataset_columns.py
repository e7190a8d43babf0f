"""Names and columns of the datasets."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.approvals.approval import APPROVAL_KIND
from spawn.domain.covenants.cfads_case import CaseKind, CaseStatus
from spawn.domain.covenants.covenant_record import COVENANT_TEST_KIND
from spawn.domain.covenants.covenant_set import COVENANT_KIND
from spawn.domain.covenants.project_reserve import RESERVE_KIND
from spawn.domain.facilities.facility import FACILITY_KIND, FacilityKind
from spawn.domain.facilities.ledger import ENTRY_KIND
from spawn.domain.imports.export_reader import EXTENSIONS_COLUMN
from spawn.domain.portfolios.holding import HOLDING_KIND
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND
from spawn.domain.projects.codes import CODE_FIELDS, CodeField
from spawn.domain.projects.project import CORE_FIELDS
from spawn.domain.quality.rules import Dimension, Severity
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX
from spawn.domain.schemas.validator import compile_schema


class DatasetName(StrEnum):
    """The name of a dataset."""

    PROJECTS = "projects"
    HISTORY = "history"
    EVENTS = "events"
    QUALITY = "quality"
    IMPORTS = "imports"
    APPROVALS = "approvals"
    FACILITIES = "facilities"
    ENTRIES = "entries"
    SCHEDULES = "schedules"
    CASES = "cases"
    PORTFOLIOS = "portfolios"
    HOLDINGS = "holdings"
    FX_RATES = "fx_rates"
    COVENANTS = "covenants"
    COVENANT_TESTS = "covenant_tests"
    RESERVE_ACCOUNTS = "reserve_accounts"


AGGREGATE_DATASETS: Final[Mapping[DatasetName, str]] = {
    DatasetName.APPROVALS: APPROVAL_KIND,
    DatasetName.FACILITIES: FACILITY_KIND,
    DatasetName.ENTRIES: ENTRY_KIND,
    DatasetName.PORTFOLIOS: PORTFOLIO_KIND,
    DatasetName.HOLDINGS: HOLDING_KIND,
    DatasetName.COVENANTS: COVENANT_KIND,
    DatasetName.COVENANT_TESTS: COVENANT_TEST_KIND,
    DatasetName.RESERVE_ACCOUNTS: RESERVE_KIND,
}
"""Kinds of aggregate whose indexed columns are a dataset, one row for each aggregate."""


class DatasetColumn(msgspec.Struct, frozen=True):
    """A column of a dataset; without a type its values are JSON.

    `choices` are all the values that it can have, None where any is possible.
    """

    name: str
    type: ColumnType | None = None
    choices: tuple[str, ...] | None = None

    @property
    def code(self) -> CodeField | None:
        """The list of codes that the values are of, if they are of one."""
        return CODE_FIELDS.get("currency_code" if self.name == "base_currency" else self.name)

    @property
    def is_decimal(self) -> bool:
        """Whether the values are decimals."""
        return self.type is not None and self.type.name is TypeName.DECIMAL


def list_project_columns(schema: Schema, names: tuple[str, ...] = ()) -> tuple[DatasetColumn, ...]:
    """Return the columns of projects in document order.

    Args:
        schema: the schema version of the rows.
        names: the fields beside id and version; empty for all.
    """
    fields = compile_schema(schema).fields
    governed = (column.name for column in schema.governed)
    order = dict.fromkeys(("project_id", "version", *CORE_FIELDS, *governed))
    all_names = [*order, "created_at", "updated_at", EXTENSIONS_COLUMN]
    selection = {"project_id", "version", *names}
    if any(name.startswith(EXTENSION_PREFIX) for name in names):
        selection.add(EXTENSIONS_COLUMN)
    return tuple(
        DatasetColumn(name, fields[name].type if name in fields else None)
        for name in all_names
        if not names or name in selection
    )


def list_columns(
    name: DatasetName, names: tuple[str, ...] = (), schema: Schema | None = None
) -> tuple[DatasetColumn, ...]:
    """Return the columns of a dataset other than projects, all or those of these names.

    `schema` is the active one of the dataset's kind, if it is governed.
    """
    kind = AGGREGATE_DATASETS.get(name)
    columns = _COLUMNS[name] if kind is None else _list_aggregate_columns(kind, schema)
    return tuple(column for column in columns if not names or column.name in names)


def _list_aggregate_columns(kind: str, schema: Schema | None) -> tuple[DatasetColumn, ...]:
    """Return the indexed columns of a kind, between its identity and its times."""
    aggregate_type = AGGREGATE_TYPES[kind]
    more_columns = () if schema is None else schema.governed
    times = (DatasetColumn("created_at", _TIMESTAMP), DatasetColumn("updated_at", _TIMESTAMP))
    return (
        DatasetColumn(aggregate_type.id_column, _TEXT),
        DatasetColumn("version", _INTEGER),
        *map(_of_column, (*aggregate_type.columns, *more_columns)),
        *times,
    )


def _of_column(column: Column) -> DatasetColumn:
    is_text = column.type.name is TypeName.STRING and column.enum is not None
    choices = tuple(map(str, column.enum or ())) if is_text else None
    return DatasetColumn(column.name, column.type, choices)


def _columns(
    names: Iterable[str], **types: ColumnType | type[StrEnum] | None
) -> tuple[DatasetColumn, ...]:
    """Return columns of texts, but for those with another type, or of the texts of an enum."""
    columns = []
    for name in names:
        kind = types.get(name, _TEXT)
        if kind is None or isinstance(kind, ColumnType):
            columns.append(DatasetColumn(name, kind))
        else:
            columns.append(DatasetColumn(name, _TEXT, tuple(kind)))
    return tuple(columns)


_TEXT: Final = ColumnType(TypeName.STRING)
_INTEGER: Final = ColumnType(TypeName.INTEGER)
_DATE: Final = ColumnType(TypeName.DATE)
_AMOUNT: Final = ColumnType(TypeName.DECIMAL, precision=38, scale=4)
_BIGINT: Final = ColumnType(TypeName.BIGINT)
_TIMESTAMP: Final = ColumnType(TypeName.TIMESTAMP)
_COUNTS: Final = (
    *("rows", "accepted", "unchanged", "quarantined", "warnings", "skipped", "merged"),
    *("vanished", "currency_assumed"),
)
_COUNTS_BY_CODE: Final = ("by_reason", "skipped_by", "failed_checks")
_COLUMNS: Final[Mapping[DatasetName, tuple[DatasetColumn, ...]]] = {
    DatasetName.HISTORY: _columns(
        (
            *("project_id", "version", "type", "actor", "recorded_at", "schema_version"),
            *("reason", "changed", "document"),
        ),
        version=_INTEGER,
        recorded_at=_TIMESTAMP,
        schema_version=_INTEGER,
        changed=None,
        document=None,
    ),
    DatasetName.EVENTS: _columns(
        (
            *("specversion", "id", "source", "type", "subject", "time", "datacontenttype"),
            *("dataschema", "sequence", "storeid", "traceparent", "data"),
        ),
        time=_TIMESTAMP,
        data=None,
    ),
    DatasetName.QUALITY: _columns(
        (
            *("run", "measured_at", "schema_version", "projects", "rule_id", "dimension"),
            *("severity", "unit", "columns", "threshold", "value", "met", "checked", "passed"),
        ),
        run=_INTEGER,
        dimension=Dimension,
        severity=Severity,
        measured_at=_TIMESTAMP,
        schema_version=_INTEGER,
        projects=_BIGINT,
        columns=None,
        threshold=ColumnType(TypeName.DECIMAL, precision=38, scale=12),
        value=ColumnType(TypeName.DOUBLE),
        met=_BIGINT,
        checked=_BIGINT,
        passed=ColumnType(TypeName.BOOLEAN),
    ),
    DatasetName.IMPORTS: _columns(
        (
            *("import_id", "kind", "format", "mapping", "mapping_version", "size_bytes"),
            *("sha256", "requested_by", *_COUNTS, "is_correction", *_COUNTS_BY_CODE),
            *("created_at", "updated_at"),
        ),
        mapping_version=_INTEGER,
        size_bytes=_BIGINT,
        is_correction=ColumnType(TypeName.BOOLEAN),
        created_at=_TIMESTAMP,
        updated_at=_TIMESTAMP,
        **dict.fromkeys(_COUNTS_BY_CODE),
        **dict.fromkeys(_COUNTS, _BIGINT),
    ),
    DatasetName.CASES: _columns(
        (
            *("case_id", "project_id", "name", "kind", "currency_code", "status", "revision"),
            *("version", "engine_version", "starts_on", "ends_on", "cfads", "interest"),
            *("principal", "created_at", "updated_at"),
        ),
        kind=CaseKind,
        status=CaseStatus,
        revision=_INTEGER,
        version=_INTEGER,
        starts_on=_DATE,
        ends_on=_DATE,
        cfads=_AMOUNT,
        interest=_AMOUNT,
        principal=_AMOUNT,
        created_at=_TIMESTAMP,
        updated_at=_TIMESTAMP,
    ),
    DatasetName.SCHEDULES: _columns(
        (
            *("facility_id", "project_id", "kind", "currency_code", "day", "amortisation"),
            *("principal", "interest", "balance", "facility_version", "ledger_version"),
        ),
        kind=FacilityKind,
        day=_DATE,
        amortisation=_AMOUNT,
        principal=_AMOUNT,
        interest=_AMOUNT,
        balance=_AMOUNT,
        facility_version=_INTEGER,
        ledger_version=_INTEGER,
    ),
    DatasetName.FX_RATES: _columns(
        (
            *("set_id", "on", "source", "revision", "base_currency", "currency_code", "rate"),
            *("reason", "recorded_at"),
        ),
        on=_DATE,
        revision=_INTEGER,
        rate=ColumnType(TypeName.DECIMAL, precision=21, scale=12),
        recorded_at=_TIMESTAMP,
    ),
}
