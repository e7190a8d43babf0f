"""Texts of documents in YAML, which readers of its versions 1.1 and 1.2 take for texts."""

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types of its own

from spawn.entrypoints.http.product.document_encoding import encode_yaml_document

# Each is a number or a boolean by one of the two versions if it is not quoted.
AMBIGUOUS = ("1e3", "2E5", "1e-3", "0.1e1", "0o14", "012", "0x1F", ".5", "yes", "y", "N", "null")


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_a_text_that_looks_like_another_value_is_quoted(text: str) -> None:
    assert encode_yaml_document({"enum": [text]}) == f"enum:\n- '{text}'\n".encode()


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85", "\u2029"])
def test_a_line_break_of_one_version_alone_is_escaped(text: str) -> None:
    content = encode_yaml_document({"description": text})
    assert content.count(b"\n") == 1
    assert text.encode() not in content
    assert yaml.safe_load(content) == {"description": text}


def test_numbers_are_not_quoted() -> None:
    assert encode_yaml_document([1, -3, 1.5, True]) == b"- 1\n- -3\n- 1.5\n- true\n"
