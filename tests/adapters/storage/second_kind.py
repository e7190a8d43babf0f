"""A second governed kind: turbines of a project, with core attributes and a schema of their own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

import msgspec

from spawn.domain.aggregates import AGGREGATE_TYPES, AggregateType
from spawn.domain.projects.codec import GovernedCodec
from spawn.domain.schema_version import Column, ColumnType, TypeName, Value
from spawn.domain.schemas import json_schema, nested_fields
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES, CoreAttributes
from spawn.domain.schemas.document_parser import read_schema
from spawn.ports.schemas import Provenance, SchemaRecord, SchemaState

TURBINE_KIND = "turbine"


class Turbine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A turbine, with a list that is no column."""

    turbine_id: str
    project_id: str
    rated_mw: Decimal
    built_on: date | None = None
    blades: tuple[str, ...] = ()
    attributes: Mapping[str, Value] = {}
    extensions: Mapping[str, msgspec.Raw] = {}
    hidden_attributes: Mapping[str, Value] = {}


CORE = CoreAttributes(
    kind=TURBINE_KIND,
    description="The turbines of the projects.",
    columns=(
        Column(name="project_id", type=ColumnType(TypeName.STRING), required=True),
        Column(
            name="rated_mw",
            type=ColumnType(TypeName.DECIMAL, precision=12, scale=4),
            required=True,
            minimum=Decimal(0),
        ),
        Column(name="built_on", type=ColumnType(TypeName.DATE)),
    ),
    id_name="turbine_id",
    nested_names=frozenset({"blades"}),
)
TURBINE_TYPE = AggregateType(
    kind=TURBINE_KIND,
    state_type=Turbine,
    codec=GovernedCodec(TURBINE_KIND, Turbine),
    event_types=frozenset({"turbine.created"}),
    table="turbines",
    id_column="turbine_id",
    core=CORE,
)


@contextmanager
def a_second_kind() -> Iterator[None]:
    """Add the kind to those that stores know."""
    tables: tuple[tuple[dict[str, Any], Any], ...] = (
        (CORE_ATTRIBUTES, CORE),
        (cast("dict[str, Any]", AGGREGATE_TYPES), TURBINE_TYPE),
        (nested_fields.NESTED_READERS, {}),
        (json_schema.NESTED_SCHEMAS, _no_nested_schemas),
    )
    for table, value in tables:
        table[TURBINE_KIND] = value
    yield
    for table, _ in tables:
        del table[TURBINE_KIND]


def _no_nested_schemas(*, for_input: bool) -> dict[str, Any]:
    del for_input
    return {"blades": {"type": "array"}}


def turbine_record(
    version: int, *columns: dict[str, Any], rated_mw: dict[str, Any] | None = None
) -> SchemaRecord:
    """Build the record of a version of the schema of turbines, which may tighten a core column."""
    document = msgspec.json.encode(
        {
            "id": "turbine_schema",
            "version": version,
            "name": "Turbines",
            "columns": [
                {"name": "rated_mw", "type": "decimal(12,4)", **(rated_mw or {})},
                *columns,
            ],
        }
    )
    return SchemaRecord(
        schema=read_schema(document, kind=TURBINE_KIND),
        document=document,
        state=SchemaState.CANDIDATE,
        provenance=Provenance.LIVE,
        recorded_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
