"""JSON-LD context and catalogue entry: meanings of fields, and metadata for harvesters."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.application.product.conftest import MEASURED, SnapshotFactory, a_report

from spawn.application.product.dcat import build_catalog, build_schema_org_dataset
from spawn.application.product.jsonld_context import build_jsonld_context
from spawn.application.product.odcs import build_data_contract
from spawn.application.product.snapshot import Product
from spawn.domain.quality.measures import MeasureTally
from spawn.domain.quality.report import KindFigures, QualityReport, evaluate_share
from spawn.domain.quality.rules import ServiceLevels, build_freshness_rules
from spawn.domain.schema_version import Column, ColumnType, TypeName
from spawn.testing.builders import a_schema

OWN = "https://spawn.example/v1/governance/schemas/project_schema#"


def column(name: str, **more: Any) -> Column:
    return Column(name=name, type=ColumnType(TypeName.STRING), **more)


def terms(snapshots: SnapshotFactory, *columns: Column, context: object = None) -> dict[str, Any]:
    raw = None if context is None else msgspec.Raw(msgspec.json.encode(context))
    found = build_jsonld_context(snapshots.build(a_schema(columns, context=raw)))
    terms: dict[str, Any] = found["@context"]
    return terms


def test_semantic_iri_takes_precedence_over_the_schemas_context_and_own_terms(
    snapshots: SnapshotFactory,
) -> None:
    given = {"offtaker": "https://example.org/context"}
    meant = column("offtaker", semantic="https://example.org/semantic")
    assert terms(snapshots, meant, context=given)["offtaker"] == "https://example.org/semantic"
    assert terms(snapshots, column("offtaker"), context=given)["offtaker"] == given["offtaker"]
    assert terms(snapshots, column("offtaker"))["offtaker"] == f"{OWN}offtaker"


@pytest.mark.parametrize(
    ("value", "iri"),
    [
        ("ex:buyer", "https://example.org/buyer"),
        ({"@id": "ex:buyer"}, "https://example.org/buyer"),
        ("buyer", "https://vocab.example/buyer"),
        ("no such thing", f"{OWN}offtaker"),
        (["buyer"], f"{OWN}offtaker"),
        (7, f"{OWN}offtaker"),
    ],
)
def test_the_schemas_context_is_read_by_its_prefixes_and_vocabulary(
    snapshots: SnapshotFactory, value: object, iri: str
) -> None:
    given = {"@vocab": "https://vocab.example/", "ex": "https://example.org/", "offtaker": value}
    assert terms(snapshots, column("offtaker"), context=given)["offtaker"] == iri


@pytest.mark.parametrize("context", ["https://evil.example/context", ["https://evil.example/"]])
def test_reference_to_a_remote_context_is_dropped(
    snapshots: SnapshotFactory, context: object
) -> None:
    assert "evil" not in str(terms(snapshots, column("offtaker"), context=context))


def test_column_named_like_a_page_member_keeps_its_meaning(snapshots: SnapshotFactory) -> None:
    found = terms(snapshots, column("items"), column("next"), column("schema"))
    assert found["items"] == f"{OWN}items"
    assert found["next"] == f"{OWN}next"
    assert found["schema"] == f"{OWN}schema"


def test_values_carry_their_datatype_and_parties_their_fibo_terms(
    snapshots: SnapshotFactory,
) -> None:
    found = terms(snapshots)
    assert found["total_amount"]["@type"].endswith("#decimal")
    assert found["created_at"]["@type"].endswith("#dateTime")
    assert found["spv"]["@id"].endswith("/Debt/hasBorrower")
    for name in ("MonetaryAmount", "Currency", "Borrower", "Lender", "SpecialPurposeVehicle"):
        assert found[name].startswith("https://spec.edmcouncil.org/fibo/ontology/")


def test_each_dataset_has_the_last_change_of_its_own_states(snapshots: SnapshotFactory) -> None:
    changes = {"facility": MEASURED - timedelta(days=2), "project": MEASURED}
    kinds = tuple(
        KindFigures(
            kind=kind,
            schema_id=f"{kind}_schema",
            schema_version=0,
            position="1.9",
            states=1,
            changed_at=changed_at,
        )
        for kind, changed_at in changes.items()
    )
    report = msgspec.structs.replace(a_report((), 1, 1), kinds=kinds)
    empty = msgspec.structs.replace(report, kinds=(), changed_at=None)
    assert find_changes(snapshots, report) == {
        "projects": "2026-03-02T00:00:00Z",
        "facilities": "2026-02-28T00:00:00Z",
    }
    # DCAT 3 requires no date of a change: there was none, or nobody has measured it.
    assert find_changes(snapshots, empty) == find_changes(snapshots, None) == {}


def find_changes(snapshots: SnapshotFactory, report: QualityReport | None) -> dict[str, str]:
    """Return the date of the last change of each dataset of the catalogue that has one."""
    snapshot = snapshots.build(report=report)
    others = tuple(msgspec.structs.replace(one, report=report) for one in snapshot.others)
    catalog = build_catalog(msgspec.structs.replace(snapshot, others=others))
    return {
        node["rdfs:label"]: node["dcterms:modified"]["@value"]
        for node in catalog["@graph"]
        if "dcterms:modified" in node
    }


def test_catalogue_has_measurements_and_owner(snapshots: SnapshotFactory) -> None:
    snapshot = snapshots.build()
    rule = snapshot.rules[0]
    product = Product(id="iberia", base_url="https://spawn.example", owner="Iberia desk")
    snapshot = msgspec.structs.replace(snapshot, report=a_report([rule], 1, 2), product=product)
    nodes = {node["@id"].partition("#")[2]: node for node in build_catalog(snapshot)["@graph"]}
    measured = nodes[f"measured-{rule.rule_id.replace('.', '-')}"]
    assert measured["dqv:value"]["@value"] == 0.5
    assert measured["dqv:isMeasurementOf"]["rdfs:label"] == rule.rule_id
    assert nodes["owner"]["foaf:name"] == "Iberia desk"
    assert nodes["product"]["dprod:dataProductOwner"] == {"@id": nodes["owner"]["@id"]}


def test_rules_of_an_earlier_schemas_columns_are_not_in_the_documents(
    snapshots: SnapshotFactory,
) -> None:
    gone = Column(name="gone_since", type=ColumnType(TypeName.STRING, max_length=9))
    ages = build_freshness_rules(ServiceLevels(changed_s=60))
    report = a_report([*snapshots.build(a_schema([gone])).rules, *ages], 1, 2)
    snapshot = snapshots.build(report=report)
    for document in (build_catalog(snapshot), build_data_contract(snapshot)):
        shown = msgspec.json.encode(document)
        assert b"gone_since" not in shown
        assert (b"last_change" in shown) == ("@graph" in document)


def test_rule_without_projects_to_check_has_no_measurement(snapshots: SnapshotFactory) -> None:
    snapshot = snapshots.build()
    result = evaluate_share(
        snapshot.rules[0], MeasureTally(0, 0), measured_at=MEASURED, position="1.1"
    )
    report = msgspec.structs.replace(a_report([], 0, 0), results=(result,))
    snapshot = msgspec.structs.replace(snapshot, report=report)
    kinds = {str(node["@type"]) for node in build_catalog(snapshot)["@graph"]}
    assert "dqv:QualityMeasurement" not in kinds


def test_schema_org_view_has_a_variable_for_each_column(snapshots: SnapshotFactory) -> None:
    snapshot = snapshots.build()
    dataset = build_schema_org_dataset(snapshot)
    assert dataset["@context"] == "https://schema.org"
    names = [variable["name"] for variable in dataset["variableMeasured"]]
    assert names == [one.name for one in snapshot.columns]
    assert "schema:" not in str(dataset)


def test_schema_org_view_keeps_texts_and_bounds_as_they_are(snapshots: SnapshotFactory) -> None:
    capacity = Column(
        name="capacity_mw",
        type=ColumnType(TypeName.DECIMAL, precision=9, scale=2),
        description="schema: not a prefix here",
        minimum=Decimal("0.5"),
    )
    dataset = build_schema_org_dataset(snapshots.build(a_schema([capacity])))
    (documented,) = [v for v in dataset["variableMeasured"] if v["name"] == "capacity_mw"]
    assert documented["@type"] == "PropertyValue"
    assert documented["description"] == "schema: not a prefix here"
    assert documented["minValue"] == 0.5
    assert "maxValue" not in documented
