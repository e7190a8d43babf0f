"""The contract's version follows from what a client of the older version would notice."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from spawn.application.product.contract_version import (
    ChangeLevel,
    compute_contract_version,
    judge_change,
)
from spawn.domain.schema_version import Column, ColumnType, Expectation, Schema, TypeName
from spawn.domain.schemas.evolution.column_mapping import carry_retired_columns
from spawn.testing.builders import a_schema

TEXT = ColumnType(TypeName.STRING)
GRADE: dict[str, Any] = {"name": "grade", "type": TEXT}


def version(number: int, *columns: dict[str, Any], **members: Any) -> Schema:
    return a_schema([Column(**{**GRADE, **one}) for one in columns], version=number, **members)


def history(*versions: Schema) -> list[Schema]:
    """The versions, newest first, each with the columns that were removed before it."""
    found = [versions[0]]
    for one in versions[1:]:
        found.append(carry_retired_columns(found[-1], one))
    return found[::-1]


@pytest.mark.parametrize(
    ("before", "after", "level"),
    [
        ({}, {"description": "Said."}, ChangeLevel.PATCH),
        ({}, {"aliases": ("tier",)}, ChangeLevel.MINOR),
        ({}, {"deprecated": True, "sunset": date(2030, 1, 1)}, ChangeLevel.MINOR),
        ({}, {"default": "B"}, ChangeLevel.MINOR),
        ({"enum": ("A", "B")}, {"enum": ("A",)}, ChangeLevel.MINOR),
        ({}, {"required": True, "default": "B"}, ChangeLevel.MINOR),
        ({"enum": ("A",)}, {"enum": ("A", "B")}, ChangeLevel.MAJOR),
        ({"required": True, "default": "B"}, {"default": "B"}, ChangeLevel.MAJOR),
        ({"pattern": "a"}, {}, ChangeLevel.MAJOR),
        ({}, {"name": "tier", "aliases": ("grade",)}, ChangeLevel.MAJOR),
        ({}, {"name": "other"}, ChangeLevel.MAJOR),
        (
            {"type": ColumnType(TypeName.INTEGER)},
            {"type": ColumnType(TypeName.BIGINT)},
            ChangeLevel.MAJOR,
        ),
    ],
)
def test_a_change_has_the_level_of_its_effect_on_readers(
    before: dict[str, Any], after: dict[str, Any], level: ChangeLevel
) -> None:
    assert judge_change(version(1, before), version(2, after)) is level


def test_a_lower_promise_of_quality_is_a_break() -> None:
    promise = Expectation(subject="grade", threshold=Decimal("0.9"))
    lower = Expectation(subject="grade", threshold=Decimal("0.5"))
    with_promise = version(1, {}, expectations=(promise,))
    assert judge_change(version(1, {}), with_promise) is ChangeLevel.PATCH
    assert judge_change(with_promise, version(2, {}, expectations=(lower,))) is ChangeLevel.MAJOR
    assert judge_change(with_promise, version(2, {})) is ChangeLevel.MAJOR


def test_a_removal_is_a_major_version_and_an_addition_a_minor_one() -> None:
    added = version(2, {}, {"name": "zone"})
    renamed = version(3, {"name": "tier", "aliases": ("grade",)}, {"name": "zone"})
    texts = version(
        4, {"name": "tier", "aliases": ("grade",), "description": "T."}, {"name": "zone"}
    )
    removed = version(9, {"name": "tier", "aliases": ("grade",), "description": "T."})
    path = history(version(0, {}), added, renamed, texts, removed)
    found = [compute_contract_version(path[index:]) for index in reversed(range(len(path)))]
    assert found == ["1.0.0", "1.1.0", "2.0.0", "2.0.1", "3.0.0"]
    assert compute_contract_version(path) == "3.0.0"
