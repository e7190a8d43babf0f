"""Context and catalogue: what fields mean, and what a harvester is told."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.entrypoints.documents.conftest import MEASURED, Viewer, report_of

from spawn.application.product.dcat import catalog, dataset_of_schema_org
from spawn.application.product.jsonld_context import json_ld_context
from spawn.application.product.odcs import data_contract
from spawn.application.product.snapshot import Product
from spawn.domain.quality.rules import Levels, Tally, freshness_rules, share_result
from spawn.domain.schemas.model import Column, ColumnType, TypeName
from spawn.testing.builders import a_schema

OWN = "https://spawn.example/v1/governance/schemas/project_schema#"


def column(name: str, **more: Any) -> Column:
    return Column(name=name, type=ColumnType(TypeName.STRING), **more)


def terms(viewer: Viewer, *columns: Column, context: object = None) -> dict[str, Any]:
    raw = None if context is None else msgspec.Raw(msgspec.json.encode(context))
    found = json_ld_context(viewer.of(a_schema(columns, context=raw)))
    terms: dict[str, Any] = found["@context"]
    return terms


def test_a_semantic_iri_wins_over_the_schemas_context_and_our_own_terms(viewer: Viewer) -> None:
    given = {"offtaker": "https://example.org/context"}
    meant = column("offtaker", semantic="https://example.org/semantic")
    assert terms(viewer, meant, context=given)["offtaker"] == "https://example.org/semantic"
    assert terms(viewer, column("offtaker"), context=given)["offtaker"] == given["offtaker"]
    assert terms(viewer, column("offtaker"))["offtaker"] == f"{OWN}offtaker"


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
    viewer: Viewer, value: object, iri: str
) -> None:
    given = {"@vocab": "https://vocab.example/", "ex": "https://example.org/", "offtaker": value}
    assert terms(viewer, column("offtaker"), context=given)["offtaker"] == iri


@pytest.mark.parametrize("context", ["https://evil.example/context", ["https://evil.example/"]])
def test_a_context_elsewhere_is_not_passed_on(viewer: Viewer, context: object) -> None:
    assert "evil" not in str(terms(viewer, column("offtaker"), context=context))


def test_a_column_keeps_its_meaning_whatever_it_is_called(viewer: Viewer) -> None:
    found = terms(viewer, column("items"), column("next"), column("schema"))
    assert found["items"] == f"{OWN}items"
    assert found["next"] == f"{OWN}next"
    assert found["schema"] == f"{OWN}schema"


def test_values_carry_their_datatype_and_parties_their_fibo_terms(viewer: Viewer) -> None:
    found = terms(viewer)
    assert found["total_amount"]["@type"].endswith("#decimal")
    assert found["created_at"]["@type"].endswith("#dateTime")
    assert found["spv"]["@id"].endswith("/Debt/hasBorrower")
    for name in ("MonetaryAmount", "Currency", "Borrower", "Lender", "SpecialPurposeVehicle"):
        assert found[name].startswith("https://spec.edmcouncil.org/fibo/ontology/")


def test_catalogue_shows_what_was_measured_and_who_answers(viewer: Viewer) -> None:
    view = viewer.of()
    rule = view.rules[0]
    product = Product(id="iberia", base_url="https://spawn.example", owner="Iberia desk")
    view = msgspec.structs.replace(view, report=report_of([rule], 1, 2), product=product)
    nodes = {node["@id"].partition("#")[2]: node for node in catalog(view)["@graph"]}
    measured = nodes[f"measured-{rule.rule_id.replace('.', '-')}"]
    assert measured["dqv:value"]["@value"] == 0.5
    assert measured["dqv:isMeasurementOf"]["rdfs:label"] == rule.rule_id
    assert nodes["owner"]["foaf:name"] == "Iberia desk"
    assert nodes["product"]["dprod:dataProductOwner"] == {"@id": nodes["owner"]["@id"]}


def test_what_an_earlier_schema_promised_of_its_columns_is_not_shown_any_more(
    viewer: Viewer,
) -> None:
    gone = Column(name="gone_since", type=ColumnType(TypeName.STRING, max_length=9))
    ages = freshness_rules(Levels(changed_s=60))
    report = report_of([*viewer.of(a_schema([gone])).rules, *ages], 1, 2)
    view = viewer.of(report=report)
    for document in (catalog(view), data_contract(view)):
        shown = msgspec.json.encode(document)
        assert b"gone_since" not in shown
        assert b"last_change" in shown


def test_a_rule_that_found_nothing_to_look_at_measures_nothing(viewer: Viewer) -> None:
    view = viewer.of()
    result = share_result(view.rules[0], Tally(0, 0), measured_at=MEASURED, position="1.1")
    report = msgspec.structs.replace(report_of([], 0, 0), results=(result,))
    view = msgspec.structs.replace(view, report=report)
    kinds = {str(node["@type"]) for node in catalog(view)["@graph"]}
    assert "dqv:QualityMeasurement" not in kinds


def test_schema_org_view_has_a_variable_for_each_column(viewer: Viewer) -> None:
    view = viewer.of()
    dataset = dataset_of_schema_org(view)
    assert dataset["@context"] == "https://schema.org"
    names = [variable["name"] for variable in dataset["variableMeasured"]]
    assert names == [one.name for one in view.columns]
    assert "schema:" not in str(dataset)


def test_schema_org_view_keeps_texts_and_bounds_as_they_are(viewer: Viewer) -> None:
    capacity = Column(
        name="capacity_mw",
        type=ColumnType(TypeName.DECIMAL, precision=9, scale=2),
        description="schema: not a prefix here",
        minimum=Decimal("0.5"),
    )
    dataset = dataset_of_schema_org(viewer.of(a_schema([capacity])))
    (told,) = [v for v in dataset["variableMeasured"] if v["name"] == "capacity_mw"]
    assert told["@type"] == "PropertyValue"
    assert told["description"] == "schema: not a prefix here"
    assert told["minValue"] == 0.5
    assert "maxValue" not in told
