"""The types of aggregate: kind, state, codec, indexed columns and event types of each.

Stores loop over this table. A new aggregate is its module, one entry here, and its use cases.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from types import NoneType
from typing import Annotated, Any, Final, Literal, Protocol, get_args, get_origin

import msgspec

from spawn.domain.access.api_client import API_CLIENT_KIND, ApiClient
from spawn.domain.approvals.approval import (
    APPROVAL_KIND,
    DECIDED_EVENT,
    REQUESTED_EVENT,
    Approval,
)
from spawn.domain.change import EncodedState, Write
from spawn.domain.covenants.cfads_actuals import (
    ACTUALS_KIND,
    ACTUALS_RECORDED_EVENT,
    CfadsActuals,
)
from spawn.domain.covenants.cfads_case import (
    CASE_CREATED_EVENT,
    CASE_KIND,
    CASE_REVISED_EVENT,
    CASE_USED_EVENT,
    CfadsCase,
)
from spawn.domain.covenants.covenant_record import (
    COVENANT_TEST_KIND,
    TEST_RECORDED_EVENT,
    RecordedCovenantTest,
)
from spawn.domain.covenants.covenant_set import (
    COVENANT_AMENDED_EVENT,
    COVENANT_CREATED_EVENT,
    COVENANT_KIND,
    COVENANT_TESTED_EVENT,
    COVENANT_WAIVED_EVENT,
    CovenantSet,
)
from spawn.domain.covenants.project_reserve import (
    RESERVE_AMENDED_EVENT,
    RESERVE_BALANCED_EVENT,
    RESERVE_KIND,
    RESERVE_OPENED_EVENT,
    ReserveAccountState,
)
from spawn.domain.errors import StorageDamaged
from spawn.domain.events.dead_letter import DEAD_LETTER_KIND, DeadLetter
from spawn.domain.facilities.facility import (
    FACILITY_AMENDED_EVENT,
    FACILITY_CREATED_EVENT,
    FACILITY_KIND,
    Facility,
    FacilityTermSheet,
)
from spawn.domain.facilities.facility_codec import FACILITY_STATES
from spawn.domain.facilities.ledger import (
    ENTRY_KIND,
    ENTRY_RECORDED_EVENT,
    LEDGER_KIND,
    FacilityLedger,
    LedgerEntry,
)
from spawn.domain.finance.simulation.simulation_run import SIMULATION_KIND, SimulationRun
from spawn.domain.imports.import_state import (
    IMPORT_KIND,
    QUARANTINE_KIND,
    UPLOAD_KIND,
    ImportState,
    QuarantineChunk,
    UploadProgress,
)
from spawn.domain.imports.mapping import MAPPING_KIND, ImportMapping
from spawn.domain.jobs import JOB_KIND, Job
from spawn.domain.lineage.run import EVENT_TYPES as LINEAGE_EVENT_TYPES
from spawn.domain.lineage.run import RUN_KIND, Run
from spawn.domain.portfolios.fx_rate_set import (
    FX_CORRECTED_EVENT,
    FX_PUBLISHED_EVENT,
    FX_RATE_SET_KIND,
    FxRateSet,
)
from spawn.domain.portfolios.holding import (
    ALLOCATION_KIND,
    HOLDING_AMENDED_EVENT,
    HOLDING_CREATED_EVENT,
    HOLDING_KIND,
    HOLDING_REMOVED_EVENT,
    ExposureAllocation,
    Holding,
)
from spawn.domain.portfolios.portfolio import (
    PORTFOLIO_AMENDED_EVENT,
    PORTFOLIO_CREATED_EVENT,
    PORTFOLIO_KIND,
    Portfolio,
)
from spawn.domain.projects.codec import decode_project, encode_project
from spawn.domain.projects.document_fields import DocumentField, find_document_field
from spawn.domain.projects.project import (
    AMENDED_EVENT,
    CREATED_EVENT,
    PROJECT_KIND,
    RESERVATION_KIND,
    TRANSITIONED_EVENT,
    ExternalRefReservation,
    Project,
)
from spawn.domain.quality.report import (
    BREACHED_EVENT,
    RECOVERED_EVENT,
    REPORT_KIND,
    RULE_KIND,
    QualityReport,
    ServiceLevelStatus,
)
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName, Value
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES, SYSTEM_COLUMNS, CoreAttributes
from spawn.domain.schemas.evolution.schema_consumer import CONSUMER_KIND, SchemaConsumer
from spawn.domain.schemas.schema_status import (
    ADOPTED_EVENT,
    QUARANTINED_EVENT,
    REJECTED_EVENT,
    SCHEMA_KIND,
    SchemaStatus,
)
from spawn.domain.schemas.validator import compile_schema


class StateCodec(Protocol):
    """The encoding of one kind's states as documents."""

    def encode(self, state: Any, schema: Schema) -> bytes:
        """Encode a state under a schema."""
        ...

    def decode(self, document: bytes, schema: Schema) -> msgspec.Struct:
        """Decode a document that was encoded under this schema.

        Raises:
            StorageDamaged: `encode` wrote no such document.
        """
        ...


class StructCodec:
    """Codec of a state that is its struct's JSON under every schema."""

    def __init__(self, kind: str, state_type: type[msgspec.Struct]) -> None:
        self._kind = kind
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(state_type)

    def encode(self, state: Any, schema: Schema) -> bytes:
        """Encode a state; the schema has no part in it."""
        del schema
        return _ENCODER.encode(state)

    def decode(self, document: bytes, schema: Schema) -> msgspec.Struct:
        """Decode a document; the schema has no part in it."""
        del schema
        try:
            state: msgspec.Struct = self._decoder.decode(document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StorageDamaged(f"a stored {self._kind} cannot be read: {error}") from error
        return state


class _ProjectCodec:
    encode = staticmethod(encode_project)
    decode = staticmethod(decode_project)


def _find_no_field(_: str) -> DocumentField | None:
    return None


class AggregateType(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of aggregate.

    `table` names the state table; without one, only id, version and creation can be queried.
    `columns` are the fields of the state that queries name, beside those that the store assigns.
    `id_column` names the id in queries. A governed type has `core` attributes, to which a schema of
    its own adds columns; its states are a `version_conversion.GovernedState`, and its `codec`
    writes flat documents with a member for each column. `terms_type` is the struct of what a client
    states of it; None if a body is read by its columns alone.
    `find_document_field` finds a field that filters may name although it is no column.
    """

    kind: str
    state_type: type[msgspec.Struct]
    codec: StateCodec
    event_types: frozenset[str] = frozenset()
    table: str | None = None
    columns: tuple[Column, ...] = ()
    id_column: str = "id"
    core: CoreAttributes | None = None
    terms_type: type[msgspec.Struct] | None = None
    find_document_field: Callable[[str], DocumentField | None] = _find_no_field

    @property
    def is_governed(self) -> bool:
        """Whether a schema of the kind's own governs its states."""
        return self.core is not None

    def indexed_columns(self, schema: Schema) -> dict[str, Column]:
        """Return the columns that a query may name, the last retired ones included, by name."""
        if self.is_governed:
            retired = {one.name: one.column for one in schema.retired if one.is_indexed}
            return {**compile_schema(schema).fields, **retired}
        identity, version, created_at, updated_at = SYSTEM_COLUMNS
        system = [msgspec.structs.replace(identity, name=self.id_column), version, created_at]
        if self.table is not None:
            system.append(updated_at)
        return {column.name: column for column in (*system, *self.columns)}

    def read_column(self, state: Any, name: str) -> Value | None:
        """Return the state's value of an indexed column; None if absent.

        A query that was parsed under the previous schema may name a column that has retired since.
        """
        value: Value | None
        if not self.is_governed or name in self.state_type.__struct_fields__:
            value = getattr(state, name)
        else:
            value = state.attributes.get(name)
            if value is None and state.hidden_attributes:
                value = state.hidden_attributes.get(name)
        return value


def encode_state(kind: str, state: msgspec.Struct, schema: Schema) -> bytes:
    """Encode a state under a schema as a document.

    Raises:
        TypeError: the state is not of the kind's type.
    """
    if isinstance(state, EncodedState):
        return state.document
    aggregate_type = AGGREGATE_TYPES[kind]
    if not isinstance(state, aggregate_type.state_type):
        raise TypeError(f"a state of kind {kind} is not a {type(state).__name__}")
    return aggregate_type.codec.encode(state, schema)


def encode_write(write: Write, schema: Schema) -> bytes:
    """Return the document of a write, encoded unless the write has it.

    Raises:
        TypeError: the state is not of the kind's type.
    """
    if write.document is not None:
        return write.document
    return encode_state(write.kind, write.state, schema)


def decode_state(kind: str, document: bytes, schema: Schema) -> msgspec.Struct:
    """Decode a document that `encode_state` wrote under this schema.

    Raises:
        StorageDamaged: the document was not written by `encode_state`.
        KeyError: there is no such kind.
    """
    return AGGREGATE_TYPES[kind].codec.decode(document, schema)


def _struct_type(
    kind: str,
    state_type: type[msgspec.Struct],
    *columns: str,
    table: str | None = None,
    id_column: str = "id",
    event_types: Iterable[str] = (),
) -> AggregateType:
    """Return the type of an aggregate that is stored as its struct's JSON."""
    return AggregateType(
        kind=kind,
        state_type=state_type,
        codec=StructCodec(kind, state_type),
        table=table,
        id_column=id_column,
        columns=tuple(_column_of_field(state_type, name) for name in columns),
        event_types=frozenset(event_types),
    )


def _column_of_field(state_type: type[msgspec.Struct], name: str) -> Column:
    """Return the column of a state's scalar field, with the type of its annotation."""
    field = next(f for f in msgspec.structs.fields(state_type) if f.name == name)
    members = [t for t in (get_args(field.type) or (field.type,)) if t is not NoneType]
    value_type = get_args(members[0])[0] if get_origin(members[0]) is Annotated else members[0]
    choices: tuple[str, ...] | None = None
    if get_origin(value_type) is Literal:
        choices, value_type = get_args(value_type), str
    elif issubclass(value_type, StrEnum):
        choices = tuple(value_type)
    column_type = next(each for python, each in _COLUMN_TYPES if issubclass(value_type, python))
    return Column(name=name, type=column_type, enum=choices)


_ENCODER: Final = msgspec.json.Encoder()
DECIMAL_COLUMN: Final = ColumnType(TypeName.DECIMAL, precision=38, scale=12)
"""The type of an indexed decimal: every amount, and rates with at most twelve decimals."""

_COLUMN_TYPES: Final[tuple[tuple[type, ColumnType], ...]] = (
    (bool, ColumnType(TypeName.BOOLEAN)),
    (int, ColumnType(TypeName.BIGINT)),
    (str, ColumnType(TypeName.STRING)),
    (Decimal, DECIMAL_COLUMN),
    (datetime, ColumnType(TypeName.TIMESTAMP)),
    (date, ColumnType(TypeName.DATE)),
)
"""Types of indexed columns; an instant is a date to Python, so it comes first."""

_TYPES: Final = (
    _struct_type(
        APPROVAL_KIND,
        Approval,
        *("state", "maker", "command", "expires_at"),
        table="approvals",
        event_types=(REQUESTED_EVENT, DECIDED_EVENT),
    ),
    _struct_type(API_CLIENT_KIND, ApiClient, table="api_clients"),
    AggregateType(
        kind=PROJECT_KIND,
        state_type=Project,
        codec=_ProjectCodec(),
        event_types=frozenset({CREATED_EVENT, AMENDED_EVENT, TRANSITIONED_EVENT}),
        table="projects",
        id_column="project_id",
        core=CORE_ATTRIBUTES[PROJECT_KIND],
        find_document_field=find_document_field,
    ),
    _struct_type(
        CASE_KIND,
        CfadsCase,
        *("project_id", "name", "kind", "currency_code", "status", "revision", "engine_version"),
        table="cases",
        event_types=(CASE_CREATED_EVENT, CASE_REVISED_EVENT, CASE_USED_EVENT),
    ),
    _struct_type(
        COVENANT_KIND,
        CovenantSet,
        *("project_id", "name", "metric", "definition_version", "lockup_level", "release_level"),
        *("default_level", "window_months", "window_direction"),
        table="covenants",
        event_types=(
            *(COVENANT_CREATED_EVENT, COVENANT_AMENDED_EVENT),
            *(COVENANT_TESTED_EVENT, COVENANT_WAIVED_EVENT),
        ),
    ),
    _struct_type(
        COVENANT_TEST_KIND,
        RecordedCovenantTest,
        *("project_id", "covenant_id", "covenant_version", "metric", "tested_on", "figures"),
        *("currency_code", "case_id", "case_version", "actuals_version", "window_starts_on"),
        *("window_ends_on", "printed_ratio", "untested_reason", "band", "outcome", "is_waived"),
        *("follows", "reason"),
        table="covenant_tests",
        event_types=(TEST_RECORDED_EVENT,),
    ),
    _struct_type(
        RESERVE_KIND,
        ReserveAccountState,
        *("project_id", "name", "kind", "currency_code", "target_months", "target_amount"),
        table="reserve_accounts",
        event_types=(RESERVE_OPENED_EVENT, RESERVE_AMENDED_EVENT, RESERVE_BALANCED_EVENT),
    ),
    _struct_type(
        ACTUALS_KIND,
        CfadsActuals,
        "currency_code",
        table="cfads_actuals",
        event_types=(ACTUALS_RECORDED_EVENT,),
    ),
    _struct_type(
        DEAD_LETTER_KIND,
        DeadLetter,
        *("publisher", "state", "type", "event_time"),
        table="dead_letters",
    ),
    AggregateType(
        kind=FACILITY_KIND,
        state_type=Facility,
        codec=FACILITY_STATES,
        event_types=frozenset({FACILITY_CREATED_EVENT, FACILITY_AMENDED_EVENT}),
        table="facilities",
        columns=CORE_ATTRIBUTES[FACILITY_KIND].columns,
        id_column="facility_id",
        core=CORE_ATTRIBUTES[FACILITY_KIND],
        terms_type=FacilityTermSheet,
    ),
    _struct_type(LEDGER_KIND, FacilityLedger),
    _struct_type(
        ENTRY_KIND,
        LedgerEntry,
        *("facility_id", "project_id", "number", "kind", "value_date", "amount", "currency_code"),
        *("rate", "accrued_interest", "waived", "effect", "external_key", "evidence", "reason"),
        *("reverses", "is_restatement"),
        table="entries",
        id_column="entry_id",
        event_types=(ENTRY_RECORDED_EVENT,),
    ),
    _struct_type(RESERVATION_KIND, ExternalRefReservation),
    _struct_type(
        FX_RATE_SET_KIND,
        FxRateSet,
        *("on", "source", "base_currency"),
        table="fx_rate_sets",
        event_types=(FX_PUBLISHED_EVENT, FX_CORRECTED_EVENT),
    ),
    _struct_type(
        PORTFOLIO_KIND,
        Portfolio,
        *("name", "currency_code", "fx_source", "max_fx_age_days"),
        table="portfolios",
        event_types=(PORTFOLIO_CREATED_EVENT, PORTFOLIO_AMENDED_EVENT),
    ),
    _struct_type(
        HOLDING_KIND,
        Holding,
        *("portfolio_id", "exposure_kind", "exposure_id", "project_id", "share"),
        *("since", "until", "is_active"),
        table="holdings",
        event_types=(HOLDING_CREATED_EVENT, HOLDING_AMENDED_EVENT, HOLDING_REMOVED_EVENT),
    ),
    _struct_type(ALLOCATION_KIND, ExposureAllocation),
    _struct_type(MAPPING_KIND, ImportMapping),
    _struct_type(IMPORT_KIND, ImportState, "mapping", "format", table="imports"),
    _struct_type(JOB_KIND, Job, "kind", "status", table="jobs"),
    _struct_type(
        RUN_KIND,
        Run,
        *("activity", "job", "state"),
        table="lineage_runs",
        event_types=LINEAGE_EVENT_TYPES,
    ),
    _struct_type(
        REPORT_KIND, QualityReport, "schema_version", "measured_at", table="quality_reports"
    ),
    _struct_type(
        RULE_KIND,
        ServiceLevelStatus,
        "is_met",
        table="quality_rules",
        event_types=(BREACHED_EVENT, RECOVERED_EVENT),
    ),
    _struct_type(QUARANTINE_KIND, QuarantineChunk, "import_id", table="quarantines"),
    _struct_type(
        SCHEMA_KIND,
        SchemaStatus,
        event_types=(ADOPTED_EVENT, QUARANTINED_EVENT, REJECTED_EVENT),
    ),
    _struct_type(
        CONSUMER_KIND,
        SchemaConsumer,
        *("schema_id", "schema_version", "is_active"),
        table="schema_consumers",
    ),
    _struct_type(SIMULATION_KIND, SimulationRun, "requested_by", table="simulations"),
    _struct_type(UPLOAD_KIND, UploadProgress),
)
AGGREGATE_TYPES: Final[Mapping[str, AggregateType]] = {t.kind: t for t in _TYPES}
"""Every type of aggregate by kind."""


def governed_kinds() -> tuple[str, ...]:
    """Return the kinds that have a schema of their own, projects first."""
    return tuple(kind for kind, one in AGGREGATE_TYPES.items() if one.is_governed)
