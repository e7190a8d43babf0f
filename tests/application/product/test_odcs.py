"""The data contract equals what the schema and the measurements contain."""

from datetime import date
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import jsonschema_rs
import msgspec
from open_data_contract_standard.model import OpenDataContractStandard
from tests.application.conftest import build_dependencies
from tests.application.product.conftest import SnapshotFactory, a_report

from spawn.adapters.duckdb.store import open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.application.product.odcs import build_data_contract
from spawn.application.product.odps import build_data_product
from spawn.application.product.snapshot import Product, read_physical_types
from spawn.domain.quality.rules import ServiceLevels
from spawn.domain.schema_version import Column, ColumnType, Expectation, RetiredColumn, TypeName
from spawn.domain.schemas.core_columns import NESTED_FIELDS
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
RETIRED = RetiredColumn(
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


def test_contract_lists_exactly_the_served_columns_and_nested_fields(
    snapshots: SnapshotFactory,
) -> None:
    snapshot = snapshots.build(a_schema([RATING]))
    names = set(properties(build_data_contract(snapshot)))
    assert names == {column.name for column in snapshot.columns} | NESTED_FIELDS
    assert "rating" in names
    assert "capacity_mw" not in names


def test_contract_is_valid_by_the_standard(snapshots: SnapshotFactory) -> None:
    standard = files("open_data_contract_standard").joinpath("schema.json").read_text()
    validator = jsonschema_rs.validator_for(standard)
    snapshot = snapshots.build(a_schema([RATING, LONG, CODE], version=2, retired=(RETIRED,)))
    measured = msgspec.structs.replace(snapshot, report=a_report(snapshot.rules, 9, 10))
    for shown in (snapshot, measured):
        contract = build_data_contract(shown)
        validator.validate(contract)
        read = OpenDataContractStandard.model_validate(contract)
        assert read.schema_ is not None
        assert not validator.is_valid({**contract, "colour": "blue"})


def test_contract_has_every_attribute_of_a_column(snapshots: SnapshotFactory) -> None:
    documented = properties(build_data_contract(snapshots.build(a_schema([RATING]))))["rating"]
    assert documented["logicalType"] == "string"
    assert documented["physicalType"] == "VARCHAR"
    assert documented["description"] == "The desk's rating."
    assert documented["required"] is True
    assert [one["value"] for one in documented["enum"]] == ["A", "B"]
    assert documented["deprecated"] is True
    assert [one["synonym"] for one in documented["synonyms"]] == ["grade"]
    assert documented["authoritativeDefinitions"] == [
        {"type": "ontology", "url": "https://example.org/rating"}
    ]
    assert customs(documented) == {"default": "B", "sunset": "2027-01-31"}


def test_numbers_keep_their_bounds_digits_and_unit(snapshots: SnapshotFactory) -> None:
    capacity = Column(
        name="capacity_mw",
        type=ColumnType(TypeName.DECIMAL, precision=12, scale=3),
        minimum=Decimal("0.5"),
        maximum=Decimal(4000),
        unit="MW",
    )
    documented = properties(build_data_contract(snapshots.build(a_schema([capacity]))))
    assert documented["capacity_mw"]["physicalType"] == "DECIMAL(12,3)"
    assert documented["capacity_mw"]["logicalTypeOptions"] == {"minimum": 0.5, "maximum": 4000}
    assert customs(documented["capacity_mw"]) == {"unit": "MW"}
    assert customs(documented["total_amount"])["wireType"] == "decimal string"
    assert documented["project_id"]["primaryKey"] is True


def test_last_day_of_deprecated_and_retired_columns_is_a_service_level(
    snapshots: SnapshotFactory,
) -> None:
    contract = build_data_contract(
        snapshots.build(a_schema([RATING], version=2, retired=(RETIRED,)))
    )
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


async def test_physical_types_are_those_of_the_embedded_store(
    tmp_path: Path, snapshots: SnapshotFactory
) -> None:
    digits = {TypeName.DECIMAL: {"precision": 9, "scale": 2}}
    types = {f"a_{name}": ColumnType(name, **digits.get(name, {})) for name in TypeName}
    schema = a_schema([Column(name=name, type=type_) for name, type_ in types.items()])
    store = await open_duckdb(
        tmp_path / "store.duckdb", clock=SystemClock(), options=StoreOptions()
    )
    await store.adopt(snapshots.build(schema).record)
    physical_types = await read_physical_types(
        build_dependencies(store, BundledRegistry(), tmp_path)
    )
    await store.close()
    with duckdb.connect(tmp_path / "store.duckdb", read_only=True) as connection:
        stored_types = {
            name: kind for name, kind, *_ in connection.execute("describe projects").fetchall()
        }
    documented = properties(
        build_data_contract(snapshots.build(schema, physical_types=physical_types))
    )
    assert types.keys() < stored_types.keys()
    assert {
        name: documented[name]["physicalType"] for name in stored_types if name in documented
    } == {name: kind for name, kind in stored_types.items() if name in documented}
    assert documented["a_decimal"]["physicalType"] == "DECIMAL(9,2)"


def test_columns_of_an_unknown_store_have_no_physical_type(snapshots: SnapshotFactory) -> None:
    contract = build_data_contract(snapshots.build(a_schema([RATING]), physical_types={}))
    assert "physicalType" not in properties(contract)["rating"]
    assert properties(contract)["spv"]["physicalType"] == "VARCHAR"


def test_pattern_is_anchored_as_in_validation(snapshots: SnapshotFactory) -> None:
    documented = properties(build_data_contract(snapshots.build(a_schema([CODE]))))["code"]
    assert documented["logicalTypeOptions"] == {"maxLength": 9, "pattern": "^(?:[A-Z]{3})$"}


def test_a_measurement_does_not_change_the_contract(snapshots: SnapshotFactory) -> None:
    levels = ServiceLevels(changed_s=3600.0)
    product = Product(id="iberia", base_url="https://spawn.example", levels=levels)
    snapshot = snapshots.build(product=product)
    measured = msgspec.structs.replace(snapshot, report=a_report(snapshot.rules, 3, 4))
    contract = build_data_contract(snapshot)
    assert build_data_contract(measured) == contract
    (quality,) = [
        q
        for q in properties(contract)["project_name"]["quality"]
        if q["name"] == "completeness.project_name"
    ]
    assert (quality["metric"], quality["mustBe"]) == ("nullValues", 0)
    assert customs(quality) == {"threshold": 1, "unit": "share"}
    by_id = {one["id"]: one for one in contract["slaProperties"] if "id" in one}
    assert (by_id["completeness"]["value"], by_id["freshness-last_change"]["value"]) == (1, 3600)
    assert "freshness-last_import" not in by_id


def test_an_amount_is_typed_as_the_wire_has_it(snapshots: SnapshotFactory) -> None:
    type_ = ColumnType(TypeName.DECIMAL, precision=20, scale=2)
    fee = Column(name="fee_amount", type=type_, minimum=Decimal(1), enum=(Decimal("1.5"),))
    documented = properties(build_data_contract(snapshots.build(a_schema([fee]))))
    for name, physical_type in (
        ("fee_amount", "DECIMAL(20,2)"),
        ("total_amount", "DECIMAL(22,4)"),
    ):
        assert documented[name]["logicalType"] == "string"
        assert documented[name]["physicalType"] == physical_type
        assert not {"logicalTypeOptions", "enum"} & documented[name].keys()
    assert customs(documented["fee_amount"]) == {
        "wireType": "decimal string",
        "minimum": "1",
        "allowedValues": ["1.5"],
    }


def test_bounds_of_dates_are_no_options_that_tools_compare_with_texts(
    snapshots: SnapshotFactory,
) -> None:
    permit = Column(name="permit_on", type=ColumnType(TypeName.DATE), minimum=date(2000, 1, 1))
    documented = properties(build_data_contract(snapshots.build(a_schema([permit]))))["permit_on"]
    assert "logicalTypeOptions" not in documented
    assert customs(documented) == {"minimum": "2000-01-01"}


def test_only_a_column_that_null_cannot_empty_is_required(snapshots: SnapshotFactory) -> None:
    optional = Column(name="tier", type=ColumnType(TypeName.STRING), default="B")
    snapshot = snapshots.build(a_schema([optional, RATING]))
    documented = properties(build_data_contract(snapshot))
    required = {name for name, one in documented.items() if one["required"]}
    assert {"rating", "status", "currency_code", "project_id"} <= required
    assert "tier" not in required
    assert {q.get("mustBe") for q in documented["tier"]["quality"]} == {None}


def test_the_first_server_is_read_live_and_files_by_format(snapshots: SnapshotFactory) -> None:
    snapshot = snapshots.build()
    live, *others = build_data_contract(snapshot)["servers"]
    assert live["type"] == "api"
    assert live["location"] == "https://spawn.example/v1/data/projects.ndjson?nested=json"
    files = {
        one["server"]: (one["path"], one["format"]) for one in others if one["type"] == "local"
    }
    assert files == {
        "ndjson": ("./{model}.ndjson", "json"),
        "csv": ("./{model}.csv", "csv"),
        "parquet": ("./{model}.parquet", "parquet"),
    }
    older = build_data_contract(snapshots.build(is_active=False))["servers"][0]["location"]
    assert older.endswith("/projects.ndjson?nested=json&schema_version=1")


def test_share_with_a_threshold_is_a_check_that_tools_can_run(snapshots: SnapshotFactory) -> None:
    promise = Expectation(subject="country_code", threshold=Decimal("0.95"), severity="warning")
    contract = build_data_contract(snapshots.build(a_schema(expectations=(promise,))))
    quality = {q["name"]: q for q in properties(contract)["country_code"]["quality"]}
    check = quality["completeness.country_code"]
    assert (check["metric"], check["mustBeLessOrEqualTo"]) == ("nullValues", 5)
    assert (check["unit"], check["severity"]) == ("percent", "warning")
    unique = {q["name"]: q for q in contract["schema"][0]["quality"]}
    assert unique["uniqueness.external_ref"]["type"] == "text"


def test_before_the_first_measurement_levels_have_thresholds_but_no_values(
    snapshots: SnapshotFactory,
) -> None:
    contract = build_data_contract(snapshots.build())
    levels = {one["id"]: one for one in contract["slaProperties"]}
    assert {"completeness", "validity", "uniqueness", "consistency"} <= set(levels)
    assert all("measured" not in customs(level) for level in levels.values())


def test_owner_and_contact_are_absent_unless_declared(snapshots: SnapshotFactory) -> None:
    contract, product = (
        build_data_contract(snapshots.build()),
        build_data_product(snapshots.build()),
    )
    for document in (contract, product):
        assert "team" not in document
        assert "support" not in document
    declared = Product(
        id="iberia",
        base_url="https://spawn.example",
        owner="Iberia desk",
        contact="mailto:desk@spawn.example",
    )
    contract = build_data_contract(snapshots.build(product=declared))
    assert contract["team"] == {"name": "Iberia desk"}
    assert contract["support"][0]["url"] == "mailto:desk@spawn.example"


def test_output_ports_have_the_contracts_id_and_version(snapshots: SnapshotFactory) -> None:
    snapshot = snapshots.build(a_schema(version=7))
    contract, product = build_data_contract(snapshot), build_data_product(snapshot)
    assert contract["version"] == product["version"] == "1.0.0"
    contract_ids = {port["name"]: port["contractId"] for port in product["outputPorts"]}
    assert contract_ids.pop("facilities-dataset") == "iberia.facilities"
    assert set(contract_ids.values()) == {contract["id"]} == {"iberia.projects"}
    assert {port["version"] for port in product["outputPorts"]} == {"1.0.0"}
