"""Command `spawn schema check`: the changes, and an exit code for pipelines."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.product.service import Service

from spawn.entrypoints.cli import main
from spawn.entrypoints.settings import PREFIX

CAPACITY = {"name": "capacity_mw", "type": "decimal(10,3)", "unit": "MW"}
UNKNOWN = "Responses may have values that old clients do not know."
DEFAULTED = (
    "Rows and requests without it get Z. Stored values of x_zone become its values, and all"
    " must be valid."
)
GRADE = {"name": "grade", "type": "string(10)", "enum": ["A", "B"]}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write_schema(
    folder: Path,
    version: int | None,
    *columns: dict[str, Any],
    schema_id: str = "project_schema",
) -> str:
    """Write a schema document to a file."""
    document = {"id": schema_id, "version": version, "name": "P", "columns": columns}
    if version is None:
        del document["version"]
    path = folder / f"{version}.json"
    path.write_text(json.dumps(document))
    return str(path)


def test_a_compatible_document_ends_with_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write_schema(tmp_path, 1, CAPACITY, GRADE)
    extended_grade = {**GRADE, "enum": ["A", "B", "C"]}
    zone = {"name": "zone", "type": "string", "required": True, "default": "Z"}
    new = write_schema(tmp_path, 2, CAPACITY, extended_grade, zone)
    assert main(["schema", "check", new, "--against", old]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "project_schema 2 after 1",
        "  /columns/grade/enum: grade may also be C.",
        f"    rows yes, writers yes, readers no. {UNKNOWN}",
        "  /columns/zone: zone is new.",
        f"    rows if_proven, writers yes, readers yes. {DEFAULTED}",
        "plan",
        "  Add zone, a string, filled from x_zone, else Z.",
        "to be proven by stored data",
        "  x_zone",
        "adoptable (backward_transitive)",
    ]
    assert main(["schema", "check", new, "--against", old, "--mode", "full"]) == 1


def test_an_incompatible_document_ends_with_1_and_all_violations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write_schema(tmp_path, 1, CAPACITY, GRADE)
    new = write_schema(tmp_path, 2, {**CAPACITY, "unit": "kW"}, {**GRADE, "enum": ["A"]})
    assert main(["schema", "check", new, "--against", old, "--json"]) == 1
    proposal = json.loads(capsys.readouterr().out)
    assert proposal["adoptable"] is False
    findings = proposal["comparisons"][0]["findings"]
    assert [(f["path"], f["kind"]) for f in findings] == [
        ("/columns/capacity_mw/unit", "meaning_changed"),
        ("/columns/grade/enum", "enum_reduced"),
    ]
    assert [text.split(" breaks ")[0] for text in proposal["objections"]] == [
        "/columns/capacity_mw/unit",
        "/columns/grade/enum",
    ]


def test_each_earlier_document_is_compared_and_retired_columns_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_schema(tmp_path, 1, {**CAPACITY, "aliases": ["power"]})
    second = write_schema(tmp_path, 2)
    third = write_schema(tmp_path, 3, {**CAPACITY, "unit": "kW"})
    assert main(["schema", "check", third, "--against", second, "--against", first]) == 1
    output = capsys.readouterr().out
    assert "project_schema 3 after 2\n" in output
    assert "project_schema 3 after 1\n" in output
    assert "Version 2 retired capacity_mw." in output


def test_a_version_number_cannot_be_used_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old").mkdir()
    old = write_schema(tmp_path / "old", 2, CAPACITY)
    new = write_schema(tmp_path, 2, CAPACITY, GRADE)
    assert main(["schema", "check", new, "--against", old]) == 1
    assert "Version 2 does not come after version 2." in capsys.readouterr().out
    assert main(["schema", "check", old, "--against", old]) == 0


def test_documents_without_a_version_are_numbered(tmp_path: Path) -> None:
    capacity = {"name": "capacity_mw", "type": "decimal(10,3)"}
    old, new = write_schema(tmp_path, 1, capacity), write_schema(tmp_path, None, capacity)
    assert main(["schema", "check", new, "--against", old]) == 0


def test_an_invalid_schema_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write_schema(tmp_path, 1, CAPACITY)
    bad = write_schema(tmp_path, 2, {"name": "sponsors", "type": "string"}, {"name": "a"})
    assert main(["schema", "check", bad, "--against", old]) == 1
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert "2.json is not a valid schema: /columns/0/name" in output
    assert "/columns/1/type" in output
    assert main(["schema", "check", "absent.json", "--against", old]) == 1
    assert "absent.json: No such file" in capsys.readouterr().err


def test_a_schema_of_facilities_is_known_by_its_id_or_by_a_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The column is a core attribute of projects, of another type."""
    sector = {"name": "sector", "type": "integer"}
    for name in ("facility_schema", "loan_schema"):
        old = write_schema(tmp_path, 1, schema_id=name)
        new = write_schema(tmp_path, 2, sector, schema_id=name)
        assert main(["schema", "check", new, "--against", old, "--kind", "project"]) == 1
        assert "not a valid schema: /columns/0/type" in capsys.readouterr().err
        kind = ["--kind", "facility"] if name == "loan_schema" else []
        assert main(["schema", "check", new, "--against", old, *kind]) == 0
        assert capsys.readouterr().out.startswith(f"{name} 2 after 1\n  /columns/sector: ")


@pytest.mark.real
def test_the_data_are_checked_in_a_running_service_or_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(tmp_path)
    service.start()
    body = {"project_name": "Dam", "total_amount": "1", "capacity_mw": 50}
    httpx.post(f"{service.url}/v1/ops/projects", json=body).raise_for_status()
    columns = httpx.get(f"{service.url}/v1/governance/schemas/project_schema").json()["document"]
    for column in columns["columns"]:
        if column["name"] == "capacity_mw":
            column["maximum"] = 10
    path = tmp_path / "proposed.json"
    path.write_text(json.dumps({**columns, "version": 1}))
    outputs = []
    assert main(["schema", "check", str(path), "--url", service.url]) == 1
    outputs.append(capsys.readouterr().out)
    monkeypatch.setenv("SPAWN_URL", service.url)
    assert main(["schema", "check", str(path)]) == 1
    assert capsys.readouterr().out == outputs[0]
    desk = {"name": "desk", "type": "string"}
    of_facilities = write_schema(tmp_path, 1, desk, schema_id="facility_schema")
    assert main(["schema", "check", of_facilities]) == 0
    output = capsys.readouterr().out
    assert output.startswith("facility_schema 1 after 0\n")
    assert 'alter table facilities add column "desk" VARCHAR' in output
    service.stop()
    monkeypatch.delenv("SPAWN_URL")
    monkeypatch.setenv("SPAWN_STORAGE_URL", service.environment["SPAWN_STORAGE_URL"])
    assert main(["schema", "check", str(path), "--mode", "none"]) == 1
    outputs.append(capsys.readouterr().out)
    assert outputs[0].endswith("not adoptable (backward_transitive)\n")
    assert outputs[1].endswith("not adoptable (none)\n")
    for output in outputs:
        assert "refuted by stored data\n  capacity_mw of 1 row must be at most 10: " in output
