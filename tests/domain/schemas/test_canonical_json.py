"""Canonical JSON by RFC 8785: one spelling, so that one content has one fingerprint."""

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import InvalidInput
from spawn.domain.schemas.document_parser import compute_fingerprint, to_canonical_json
from spawn.testing.strategies import json_values

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("bits", "written"),
    [  # RFC 8785, appendix B
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_written_as_the_standard_lists_them(bits: str, written: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert to_canonical_json(repr(value).encode()) == written.encode()


def test_the_example_of_the_standard_is_reproduced() -> None:
    document = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert to_canonical_json(document) == expected.encode()


def test_keys_sort_by_utf_16_code_units() -> None:
    # RFC 8785, 3.2.3: by code point the emoji would come after the Hebrew letter.
    document = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\xf6": 7}
    written = json.loads(to_canonical_json(json.dumps(document).encode()))
    assert list(written.values()) == [2, 4, 6, 7, 1, 5, 3]


@given(json_values())
def test_canonical_json_is_a_fixed_point_with_the_same_content(value: object) -> None:
    written = to_canonical_json(json.dumps(value).encode())
    assert to_canonical_json(written) == written
    assert json.loads(written) == json.loads(json.dumps(value), parse_int=float)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_the_same_double(value: float) -> None:
    assert math.isclose(float(to_canonical_json(repr(value).encode())), value, rel_tol=0, abs_tol=0)


def test_spelling_does_not_change_the_fingerprint_and_content_does() -> None:
    one = compute_fingerprint(b'{"b": 1.0, "a": "\\u00e9"}')
    assert one == compute_fingerprint('{"a":"é","b":1}'.encode())
    assert one != compute_fingerprint('{"a":"é","b":2}'.encode())
    assert len(one) == 64


def test_a_number_beyond_a_double_has_no_canonical_form() -> None:
    with pytest.raises(InvalidInput, match="1e400"):
        to_canonical_json(b"[1e400]")
