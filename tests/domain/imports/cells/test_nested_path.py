"""Paths into nested records, and choices among repeated elements."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.imports.cells.nested_path import (
    choose_elements,
    is_path,
    parse_path,
    select_values,
)
from spawn.domain.imports.mapping import Choice
from spawn.domain.json_tokens import Token, parse_object

pytestmark = pytest.mark.core

RECORD = parse_object(
    json.dumps(
        {
            "id": "X",
            "title": {"narrative": [{"text": "Coast"}, {"text": "Côte", "@lang": "fr"}]},
            "one": {"narrative": "Alone"},
            "org": [{"role": "1", "name": "A"}, {"role": "4", "name": "B"}, {"name": "C"}],
            "none": None,
            "empty": [],
        }
    ).encode()
)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", "X"),
        ("title.narrative.0.text", "Coast"),
        ("title.narrative.1.@lang", "fr"),
        ("title.narrative.text", ["Coast", "Côte"]),
        ("title.narrative", ["Coast", "Côte"]),
        ("title.narrative[@lang=fr]", "Côte"),
        ("title.narrative.2.text", None),
        ("one.narrative.0.text", "Alone"),
        ("org[role=1|4].name", ["A", "B"]),
        ("org[role=2].name", None),
        ("org.2.name", "C"),
        ("none.x", None),
        ("empty.x", None),
        ("id.x", None),
        ("absent.x", None),
    ],
)
def test_a_path_selects_the_values_of_a_record(path: str, value: Token) -> None:
    steps = parse_path(path)
    assert steps is not None
    assert select_values(RECORD, steps) == value


@pytest.mark.parametrize(
    "path", ["", ".", "a.", ".a", "a..b", "a[b]", "a[b=1", "a]b", "a[b=1]c", ".".join("a" * 17)]
)
def test_what_is_no_path_is_recognised(path: str) -> None:
    assert not is_path(path)


@given(st.text(alphabet="ab.[]=0|@", max_size=12))
def test_any_text_is_a_path_or_none_and_selects_something(text: str) -> None:
    steps = parse_path(text)
    if steps is not None:
        select_values(RECORD, steps)


def budget(year: str, kind: str | None, value: str) -> dict[str, Any]:
    return {"year": year, "value": value} | ({} if kind is None else {"type": kind})


def test_of_equal_elements_the_one_with_the_highest_number_is_chosen() -> None:
    record: dict[str, Token] = {
        "budget": [
            budget("2024", None, "1"),
            budget("2025", "1", "2"),
            budget("2025", "2", "3"),
            budget("2025", "2", "4"),
            budget("2025", "x", "5"),
        ]
    }
    choice = Choice(element="budget", same=("year",), highest="type")
    chosen, notes = choose_elements(record, [choice])
    assert select_values(chosen, parse_path("budget.value") or ()) == ["1", "3", "4"]
    assert notes == []
    _, notes = choose_elements(record, [Choice(element="budget", highest="type")])
    assert notes == ["2 of 5 budget used, by None, 1, 2, 2, x"]
    assert choose_elements({"id": "1"}, [choice])[0] == {"id": "1"}
