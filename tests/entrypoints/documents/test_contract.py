"""The contract says what the schema and the measurements say, and nothing else."""

from datetime import date
from decimal import Decimal
from importlib.resources import files
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from open_data_contract_standard.model import OpenDataContractStandard
from tests.entrypoints.documents.conftest import Viewer, report_of

from spawn.adapters.duckdb.tables import sql_type
from spawn.application.product.odcs import data_contract
from spawn.application.product.odcs_properties import physical_type
from spawn.application.product.odps import data_product
from spawn.application.product.snapshot import Product
from spawn.domain.schemas.core_columns import STRUCTURE
from spawn.domain.schemas.model import Column, ColumnType, Promise, RetiredColumn, TypeName
from spawn.testing.builders import a_schema

RATING = Column(
    name="rating",
    type=ColumnType(TypeName.STRING),
    description="The desk's rating.",
    enum=("A", "B"),
    required=True,
    default="B",
    semantic="https://example.org/rating",
    aliases=("grade",),
    deprecated=True,
    sunset=date(2027, 1, 31),
)

LONG = Column(name="long", type=ColumnType(TypeName.BIGINT), minimum=-5, maximum=2**40)
CODE = Column(name="code", type=ColumnType(TypeName.STRING, max_length=9), pattern="[A-Z]{3}")
GONE = RetiredColumn(
    column=Column(
        name="old_code",
        type=ColumnType(TypeName.STRING),
        deprecated=True,
        sunset=date(2026, 12, 31),
    ),
    since=2,
)


def properties(contract: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in contract["schema"][0]["properties"]}


def customs(node: dict[str, Any]) -> dict[str, Any]:
    return {one["property"]: one["value"] for one in node.get("customProperties", ())}


def test_contract_names_exactly_the_columns_served_and_the_structure(viewer: Viewer) -> None:
    view = viewer.of(a_schema([RATING]))
    names = set(properties(data_contract(view)))
    assert names == {column.name for column in view.columns} | STRUCTURE
    assert "rating" in names
    assert "capacity_mw" not in names


def test_contract_is_valid_by_the_standard(viewer: Viewer) -> None:
    standard = files("open_data_contract_standard").joinpath("schema.json").read_text()
    validator = jsonschema_rs.validator_for(standard)
    view = viewer.of(a_schema([RATING, LONG, CODE], version=2, retired=(GONE,)))
    measured = msgspec.structs.replace(view, report=report_of(view.rules, 9, 10))
    for shown in (view, measured):
        contract = data_contract(shown)
        validator.validate(contract)
        read = OpenDataContractStandard.model_validate(contract)
        assert read.schema_ is not None
        assert not validator.is_valid({**contract, "colour": "blue"})


def test_a_column_is_told_with_all_that_the_schema_says_of_it(viewer: Viewer) -> None:
    told = properties(data_contract(viewer.of(a_schema([RATING]))))["rating"]
    assert told["logicalType"] == "string"
    assert told["physicalType"] == "VARCHAR"
    assert told["description"] == "The desk's rating."
    assert told["required"] is True
    assert [one["value"] for one in told["enum"]] == ["A", "B"]
    assert told["deprecated"] is True
    assert [one["synonym"] for one in told["synonyms"]] == ["grade"]
    assert told["authoritativeDefinitions"] == [
        {"type": "ontology", "url": "https://example.org/rating"}
    ]
    assert customs(told) == {"default": "B", "sunset": "2027-01-31"}


def test_numbers_keep_their_bounds_digits_and_unit(viewer: Viewer) -> None:
    capacity = Column(
        name="capacity_mw",
        type=ColumnType(TypeName.DECIMAL, precision=12, scale=3),
        minimum=Decimal("0.5"),
        maximum=Decimal(4000),
        unit="MW",
    )
    told = properties(data_contract(viewer.of(a_schema([capacity]))))
    assert told["capacity_mw"]["physicalType"] == "DECIMAL(12,3)"
    assert told["capacity_mw"]["logicalTypeOptions"] == {"minimum": 0.5, "maximum": 4000}
    assert customs(told["capacity_mw"]) == {"unit": "MW"}
    assert customs(told["total_amount"])["wireType"] == "decimal string"
    assert told["project_id"]["primaryKey"] is True


def test_deprecated_and_retired_columns_have_their_last_day_as_service_level(
    viewer: Viewer,
) -> None:
    contract = data_contract(viewer.of(a_schema([RATING], version=2, retired=(GONE,))))
    ends = {
        one["element"]: (one["property"], one["value"])
        for one in contract["slaProperties"]
        if one["property"].startswith("endOf")
    }
    assert ends == {
        "projects.rating": ("endOfSupport", "2027-01-31"),
        "projects.old_code": ("endOfLife", "2026-12-31"),
    }
    retired = customs(contract["schema"][0])["retiredColumns"]
    assert retired == [
        {
            "name": "old_code",
            "physicalType": "VARCHAR",
            "retiredInVersion": 2,
            "acceptedUntil": "2026-12-31",
        }
    ]
    assert "old_code" not in properties(contract)


@pytest.mark.parametrize("name", TypeName)
def test_physical_types_are_those_of_the_embedded_store(name: TypeName) -> None:
    digits = {"precision": 9, "scale": 2} if name is TypeName.DECIMAL else {}
    assert physical_type(ColumnType(name, **digits)) == sql_type(ColumnType(name, **digits))


def test_a_pattern_is_anchored_as_it_is_checked(viewer: Viewer) -> None:
    told = properties(data_contract(viewer.of(a_schema([CODE]))))["code"]
    assert told["logicalTypeOptions"] == {"maxLength": 9, "pattern": "^(?:[A-Z]{3})$"}


def test_what_was_measured_stands_beside_what_is_promised(viewer: Viewer) -> None:
    view = viewer.of()
    name = next(rule for rule in view.rules if rule.rule_id == "completeness.project_name")
    view = msgspec.structs.replace(view, report=report_of([name], 3, 4))
    contract = data_contract(view)
    (quality,) = [
        q
        for q in properties(contract)["project_name"]["quality"]
        if q["name"] == "completeness.project_name"
    ]
    assert (quality["metric"], quality["mustBe"]) == ("nullValues", 0)
    found = customs(quality)
    assert (found["threshold"], found["measured"], found["passed"]) == (1, 0.75, False)
    assert found["measuredAt"] == "2026-03-02T00:00:00Z"
    (level,) = [one for one in contract["slaProperties"] if one["id"] == "completeness"]
    assert level["value"] == 1
    assert (customs(level)["measured"], customs(level)["broken"]) == (0.75, 1)


def test_a_promised_share_is_a_check_that_tools_can_run(viewer: Viewer) -> None:
    promise = Promise(about="country_code", threshold=Decimal("0.95"), severity="warning")
    contract = data_contract(viewer.of(a_schema(promises=(promise,))))
    quality = {q["name"]: q for q in properties(contract)["country_code"]["quality"]}
    check = quality["completeness.country_code"]
    assert (check["metric"], check["mustBeLessOrEqualTo"]) == ("nullValues", 5)
    assert (check["unit"], check["severity"]) == ("percent", "warning")
    unique = {q["name"]: q for q in contract["schema"][0]["quality"]}
    assert unique["uniqueness.external_ref"]["type"] == "text"


def test_before_the_first_measurement_levels_are_promised_and_nothing_is_measured(
    viewer: Viewer,
) -> None:
    contract = data_contract(viewer.of())
    levels = {one["id"]: one for one in contract["slaProperties"]}
    assert {"completeness", "validity", "uniqueness", "consistency"} <= set(levels)
    assert all("measured" not in customs(level) for level in levels.values())


def test_nobody_is_named_who_was_not_declared(viewer: Viewer) -> None:
    contract, product = data_contract(viewer.of()), data_product(viewer.of())
    for document in (contract, product):
        assert "team" not in document
        assert "support" not in document
    declared = Product(
        id="iberia",
        base_url="https://spawn.example",
        owner="Iberia desk",
        contact="mailto:desk@spawn.example",
    )
    contract = data_contract(viewer.of(product=declared))
    assert contract["team"] == {"name": "Iberia desk"}
    assert contract["support"][0]["url"] == "mailto:desk@spawn.example"


def test_ports_are_under_the_contract_and_its_version(viewer: Viewer) -> None:
    view = viewer.of(a_schema(version=7))
    contract, product = data_contract(view), data_product(view)
    assert contract["version"] == product["version"] == "1.7.0"
    for port in product["outputPorts"]:
        assert (port["contractId"], port["version"]) == (contract["id"], "1.7.0")
    assert contract["id"] == "iberia.projects"
