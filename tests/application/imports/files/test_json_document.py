"""Items of JSON documents, in blocks of any size."""

import io
import json
from typing import Any

import pytest

from spawn.application.imports.files import json_document
from spawn.application.imports.files.json_document import read_json_items
from spawn.domain.errors import InvalidInput


def read(
    text: str, element: str | None = None, block_bytes: int = 262_144
) -> list[tuple[int, Any, str | None]]:
    """Return line, value and error of each record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_document, "_BLOCK_BYTES", block_bytes)
        records = list(read_json_items(io.BytesIO(text.encode()), element))
    return [
        (one.line, json.loads(one.raw), one.parse_error.code if one.parse_error else None)
        for one in records
    ]


@pytest.mark.parametrize("block_bytes", [1, 7, 262_144])
@pytest.mark.parametrize(
    ("text", "element", "expected"),
    [
        ('[{"a": "x\\\\\\"]}"},\n {"b": [1, {"c": 2}]}]', None, [1, 2]),
        ('{"bbox": [1, 2], "features": [{"a": 1},\n{"a": 2}], "x": [{"z": 1}]}', None, [1, 2]),
        ('{"data": {"n": 1, "projects": [{"a": 1}]}}', "data.projects", [1]),
        ('{"projects": {"P1": {"a": 1}, "P2": {"a": 2}}}', "projects", [1, 1]),
        ('{"a": [{"b": 1}], "a2": [\n{"c": 1}]}', "a2", [2]),
        ('\n[\n\n{"a":\n1}\n]', None, [4]),
        ("[]", None, []),
        ('{"features": []}', "features", []),
    ],
)
def test_the_items_of_an_array_are_records(
    text: str, element: str | None, expected: list[int], block_bytes: int
) -> None:
    records = read(text, element, block_bytes)
    assert [line for line, _, _ in records] == expected
    assert all(isinstance(value, dict) and error is None for _, value, error in records)


@pytest.mark.parametrize("block_bytes", [1, 262_144])
@pytest.mark.parametrize("element", [None, "data"])
def test_the_first_array_of_a_table_names_the_values_of_the_others(
    element: str | None, block_bytes: int
) -> None:
    table = '[["name", "cost"],\n["A, [x]", 1.10], ["B", null],\n["C"], [{"d": 1}, [2]]]'
    text = table if element is None else f'{{"page": 1, "data": {table}}}'
    records = read(text, element, block_bytes)
    assert [(line, value, error) for line, value, error in records] == [
        (2, {"name": "A, [x]", "cost": 1.1}, None),
        (2, {"name": "B", "cost": None}, None),
        (3, ["C"], "wrong_cell_count"),
        (3, {"name": {"d": 1}, "cost": [2]}, None),
    ]
    raw = [one.raw for one in read_json_items(io.BytesIO(text.encode()), element)]
    assert raw[0] == b'{"name":"A, [x]","cost":1.10}'


@pytest.mark.parametrize("block_bytes", [1, 262_144])
def test_an_item_that_is_no_object_is_unreadable(block_bytes: int) -> None:
    records = read('[{"a": 1}, 5, "x, y", null, [1], {"b": 2}]', None, block_bytes)
    assert [(value, error) for _, value, error in records] == [
        ({"a": 1}, None),
        (5, "malformed_line"),
        ("x, y", "malformed_line"),
        (None, "malformed_line"),
        ([1], None),
        ({"b": 2}, None),
    ]


def test_an_item_that_is_too_long_leaves_the_next_one() -> None:
    text = '[{"a": [' + '"' + "x" * 500_000 + '", "' + "y" * 900_000 + '"]}, {"b": 1}]'
    for block_bytes in (65_536, 10_000_000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_document, "_BLOCK_BYTES", block_bytes)
            long, short = read_json_items(io.BytesIO(text.encode()), None)
        assert long.parse_error is not None
        assert (long.parse_error.code, len(long.raw)) == ("line_too_long", 4096)
        assert short.raw == b'{"b": 1}'


@pytest.mark.parametrize(
    ("text", "element", "code"),
    [
        ('{"a": 1}', None, "no_records"),
        ('{"features": []}', None, "no_records"),
        ('[{"a": 1}]', "data", "no_records"),
        ('[{"a": 1}', None, "malformed"),
        ('[{"a": "', None, "malformed"),
        ('[{"a": 1}]]', None, "malformed"),
        ('{"items": [{"a": 1}], "x": }', None, "malformed"),
        ('{"items": [{"a": 1}], "x": 1 2}', None, "malformed"),
        ('{"items": [{"a": 1}], "x"}', None, "malformed"),
        ('{"items": [{"a": 1}], 5: 1}', None, "malformed"),
        ('{"items": [{"a": 1}]]', None, "malformed"),
        ('{"items": [{"a": 1}],}', None, "malformed"),
        ('["' + "x" * 3_000_000 + '"]', None, "too_large"),
    ],
)
def test_other_documents_are_rejected(text: str, element: str | None, code: str) -> None:
    with pytest.raises(InvalidInput) as failure:
        read(text, element)
    assert failure.value.errors[0].code == code


@pytest.mark.parametrize("block_bytes", [1, 262_144])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[{"a": 1}][{"a": 2}]', "after its end, at line 1, byte 11;"),
        ('{"r": [{"a": 1}]}\n {"r": [{"a": 2}]}', "after its end, at line 2, byte 20;"),
        ('{"a": 1}\n{"a": 2}\n', "after its end, at line 2, byte 10; post one object on each"),
        ('[{"a": 1}]\n\n trailing', "after its end, at line 3, byte 14;"),
        ('[{"a": 1},\n]', "not well-formed at line 2, byte 12"),
        ('[{"a": 1},, {"a": 2}]', "not well-formed at line 1, byte 11"),
        ('[{"a": 1} {"a": 2}]', "not well-formed at line 1, byte 11"),
        ('[{"a": 1}, x y, {"a": 2}]', "not well-formed at line 1, byte 12"),
        ('[{"a": 1}}', "not well-formed at line 1, byte 10"),
    ],
)
def test_a_document_that_is_not_one_value_is_rejected_by_its_place(
    text: str, place: str, block_bytes: int
) -> None:
    with pytest.raises(InvalidInput) as failure:
        read(text, None, block_bytes)
    (error,) = failure.value.errors
    assert error.code == "malformed"
    assert place in error.detail


@pytest.mark.parametrize("block_bytes", [1, 262_144])
def test_a_mark_of_the_end_of_a_file_is_no_text(block_bytes: int) -> None:
    assert len(read('[{"a": 1}]\n\x1a', None, block_bytes)) == 1
    assert len(read('{"n": -1.5e3, "s": "x", "l": [], "r": [{"a": 1}]}', None, block_bytes)) == 1
