"""A view of a product without a service: any schema, any measurement."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from spawn.domain.quality import rules_of
from spawn.domain.schema.conformance import compile_schema
from spawn.domain.schema.value import Schema
from spawn.entrypoints.http.product.view import Product, View
from spawn.ports.governance import Provenance, SchemaRecord, SchemaState
from spawn.testing.builders import a_schema

ADOPTED = datetime(2026, 3, 1, 12, tzinfo=UTC)


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
        rules = tuple(one.rule for one in rules_of(compile_schema(schema).fields))
        product = Product(id="iberia", base_url="https://spawn.example")
        view = View(product=product, record=record, rules=rules)
        return msgspec.structs.replace(view, **overrides)


@pytest.fixture
def viewer() -> Viewer:
    return Viewer()
