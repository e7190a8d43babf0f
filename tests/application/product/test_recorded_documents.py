"""Standards give the members of the product documents their values: none changes unnoticed.

Each line of a record is a path in a document and a value there, as `schema.name = projects`; an
index says less than the values beside it and is left out. A text for people is only named.
`python -m tests.application.product.test_recorded_documents` writes the records anew.
"""

import sys
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from tests.application.product.conftest import SnapshotFactory, a_report
from tests.application.product.test_odcs import CODE, LONG, RATING, RETIRED

from spawn import __version__
from spawn.application.product.api_catalog import build_api_catalog
from spawn.application.product.asyncapi import build_asyncapi
from spawn.application.product.dcat import build_catalog, build_schema_org_dataset
from spawn.application.product.jsonld_context import build_jsonld_context
from spawn.application.product.odcs import build_data_contract
from spawn.application.product.odps import build_data_product
from spawn.application.product.snapshot import ProductSnapshot
from spawn.domain.quality.rules import Dimension, MeasureUnit, QualityRule, Severity
from spawn.domain.schema_version import Column, ColumnType, TypeName
from spawn.entrypoints.http.product.identity import product_from_settings
from spawn.entrypoints.settings import Settings
from spawn.testing.builders import a_schema

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
RECORDS: Final = Path(__file__).with_name("recorded_documents")
DOCUMENTS: Final[dict[str, Callable[[ProductSnapshot], Any]]] = {
    "api_catalog": lambda snapshot: build_api_catalog(snapshot.product),
    "asyncapi": build_asyncapi,
    "catalog": build_catalog,
    "context": build_jsonld_context,
    "contract": build_data_contract,
    "product": build_data_product,
    "schema_org": build_schema_org_dataset,
}
COLUMNS: Final = (
    *(RATING, LONG, CODE),
    Column(
        name="capacity_mw",
        type=ColumnType(TypeName.DECIMAL, precision=12, scale=3),
        minimum=Decimal("0.5"),
        maximum=Decimal(4000),
        unit="MW",
        default=Decimal(1),
    ),
    Column(name="load_factor", type=ColumnType(TypeName.DOUBLE), maximum=1),
    Column(name="units", type=ColumnType(TypeName.INTEGER), deprecated=True),
    Column(name="is_listed", type=ColumnType(TypeName.BOOLEAN)),
    Column(name="permit_until", type=ColumnType(TypeName.DATE), sunset=date(2031, 1, 31)),
    Column(name="inspected_at", type=ColumnType(TypeName.TIMESTAMP)),
)
AGE: Final = QualityRule(
    rule_id="freshness.projects",
    dimension=Dimension.FRESHNESS,
    columns=(),
    severity=Severity.WARNING,
    description="The age of the last write.",
    threshold=Decimal(86_400),
    unit=MeasureUnit.SECONDS,
)
SETTINGS: Final = Settings(
    public_url="https://spawn.example/data",
    product_id="iberia",
    product_owner="Iberia desk",
    product_contact="mailto:desk@spawn.example",
    events_url=("https://risk.example/hook#name=risk", "nats://nats.example:4222/desk.events"),
)


def build_snapshot() -> ProductSnapshot:
    """Build a snapshot with each kind of column, an owner, receivers and measurements."""
    schema = a_schema(COLUMNS, version=2, retired=(RETIRED,))
    snapshot = SnapshotFactory().build(schema, product=product_from_settings(SETTINGS))
    measured = [rule for rule in snapshot.rules if rule.rule_id in MEASURED]
    report = a_report([*measured, AGE], met=3, checked=4)
    return msgspec.structs.replace(snapshot, report=report)


MEASURED: Final = ("completeness.project_name", "validity.rating", "uniqueness.external_ref")


def list_values(node: Any, path: str = "") -> Iterator[str]:
    """Yield each value with its path; instead of a text for people, that there is one."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from list_values(value, f"{path}.{name}" if path else name)
    elif isinstance(node, list):
        for value in node:
            yield from list_values(value, path)
    elif not isinstance(node, str):
        yield f"{path} = {_ENCODER.encode(node).decode()}"
    else:
        is_text = " " in node or "\n" in node
        yield f"{path} {'is a text' if is_text else f'= {node}'.replace(__version__, 'VERSION')}"


def record(name: str) -> str:
    """Return the record of a document."""
    return "\n".join(sorted(set(list_values(DOCUMENTS[name](build_snapshot()))))) + "\n"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_have_the_recorded_values(name: str) -> None:
    recorded = RECORDS / f"{name}.txt"
    assert record(name).splitlines() == recorded.read_text().splitlines()


if __name__ == "__main__":
    for document in DOCUMENTS:
        (RECORDS / f"{document}.txt").write_text(record(document))
    sys.stdout.write("Review the difference: clients of the product see it.\n")
