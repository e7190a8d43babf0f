"""Snapshots of a product without a service, with any schema and any measurement."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from spawn.adapters.duckdb.tables import sql_type
from spawn.application.product.snapshot import Product, ProductSnapshot
from spawn.domain.aggregates import governed_kinds
from spawn.domain.quality.measures import MeasureTally
from spawn.domain.quality.report import QualityReport, evaluate_share
from spawn.domain.quality.rules import QualityRule, derive_rules
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.schemas import Provenance, SchemaRecord, SchemaState
from spawn.testing.builders import a_schema

ADOPTED = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEASURED = datetime(2026, 3, 2, tzinfo=UTC)


def a_report(rules: Iterable[QualityRule], met: int, checked: int) -> QualityReport:
    """Build a measurement in which each rule is met by `met` of `checked` projects."""
    results = tuple(
        evaluate_share(rule, MeasureTally(met, checked), measured_at=MEASURED, position="1.9")
        for rule in rules
    )
    return QualityReport(
        dataset="projects",
        schema_id="project_schema",
        schema_version=1,
        position="1.9",
        projects=checked,
        measured_at=MEASURED,
        changed_at=MEASURED,
        imported_at=None,
        results=results,
    )


def a_core_schema(kind: str) -> Schema:
    """Build the schema of a kind's core attributes alone."""
    return Schema(id=f"{kind}_schema", version=0, name=kind, kind=kind)


class SnapshotFactory:
    """Builder of snapshots; overrides replace any other member."""

    def build(self, schema: Schema | None = None, **overrides: Any) -> ProductSnapshot:
        schema = schema or a_schema()
        snapshot = self._build_one(schema)
        kinds = [kind for kind in governed_kinds() if kind != schema.kind]
        others = tuple(self._build_one(a_core_schema(kind)) for kind in kinds)
        return msgspec.structs.replace(snapshot, **{"others": others, **overrides})

    def _build_one(self, schema: Schema) -> ProductSnapshot:
        record = SchemaRecord(
            schema=schema,
            document=b"{}",
            state=SchemaState.ACTIVE,
            provenance=Provenance.LIVE,
            recorded_at=ADOPTED,
        )
        rules = tuple(one.rule for one in derive_rules(schema))
        product = Product(id="iberia", base_url="https://spawn.example")
        columns = {**compile_schema(schema).fields, **{r.name: r.column for r in schema.retired}}
        return ProductSnapshot(
            product=product,
            record=record,
            history=(schema,),
            rules=rules,
            physical_types={name: sql_type(column.type) for name, column in columns.items()},
        )


@pytest.fixture
def snapshots() -> SnapshotFactory:
    return SnapshotFactory()
