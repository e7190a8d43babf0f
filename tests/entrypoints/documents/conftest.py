"""A view of a product without a service: any schema, any measurement."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from spawn.application.product.snapshot import Product, View
from spawn.domain.quality.rules import Report, Rule, Tally, rules_of, share_result
from spawn.domain.schemas.model import Schema
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.schemas import Provenance, SchemaRecord, SchemaState
from spawn.testing.builders import a_schema

ADOPTED = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEASURED = datetime(2026, 3, 2, tzinfo=UTC)


def report_of(rules: Iterable[Rule], met: int, checked: int) -> Report:
    """A measurement in which each rule holds for `met` of `checked`."""
    results = tuple(
        share_result(rule, Tally(met, checked), measured_at=MEASURED, position="1.9")
        for rule in rules
    )
    return Report(
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


class Viewer:
    """Makes views; `of` takes the schema and whatever else matters."""

    def of(self, schema: Schema | None = None, **overrides: Any) -> View:
        schema = schema or a_schema()
        record = SchemaRecord(
            schema=schema,
            document=b"{}",
            state=SchemaState.ACTIVE,
            provenance=Provenance.LIVE,
            recorded_at=ADOPTED,
        )
        rules = tuple(one.rule for one in rules_of(compile_schema(schema).fields, schema.promises))
        product = Product(id="iberia", base_url="https://spawn.example")
        view = View(product=product, record=record, rules=rules)
        return msgspec.structs.replace(view, **overrides)


@pytest.fixture
def viewer() -> Viewer:
    return Viewer()
