"""Client extension fields (`x_…`): bounded JSON, stored as received, never interpreted."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from spawn.domain.errors import FieldError
from spawn.domain.text import escape_pointer_token

EXTENSION_NAME = re.compile(r"x_[A-Za-z0-9_]{1,62}")
"""The pattern of a whole extension name."""

MAX_COUNT = 32
"""Extensions in one aggregate."""
MAX_BYTES = 4096
"""Bytes of JSON in one extension."""
MAX_DEPTH = 8
"""Nesting levels of arrays and objects in one extension."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def check_extensions(extensions: Mapping[str, msgspec.Raw], errors: list[FieldError]) -> None:
    """Append the errors of the extensions: number, names, size, depth, JSON."""
    if len(extensions) > MAX_COUNT:
        errors.append(FieldError("", "too_many", f"at most {MAX_COUNT} extensions are allowed"))
        return
    for name, raw in extensions.items():
        error = _find_error(name, bytes(raw))
        if error is not None:
            errors.append(FieldError(f"/{escape_pointer_token(name)}", *error))


def _find_error(name: str, document: bytes) -> tuple[str, str] | None:
    if EXTENSION_NAME.fullmatch(name) is None:
        return "invalid_name", "an extension is named x_ and 1 to 62 letters, digits or underscores"
    if len(document) > MAX_BYTES:
        return "too_long", f"an extension has at most {MAX_BYTES} bytes of JSON"
    # The depth is checked before the parser runs, because it bounds the parser's recursion.
    if _measure_depth(document) > MAX_DEPTH:
        return "too_deep", f"an extension nests at most {MAX_DEPTH} levels"
    try:
        value = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return (
            "malformed",
            "an extension is one JSON value in UTF-8, its numbers within a float's range",
        )
    if b"\\u" in document and _has_unstorable_text(value):
        return "control_character", "an extension must not hold U+0000 or lone surrogates"
    return None


def _measure_depth(document: bytes) -> int:
    bracket_count = document.count(b"[") + document.count(b"{")
    if bracket_count <= MAX_DEPTH:
        return bracket_count
    depth = deepest = 0
    for byte in _STRING.sub(b"", document):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _has_unstorable_text(value: Any) -> bool:
    if isinstance(value, str):
        return any(char == "\x00" or "\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, list):
        return any(map(_has_unstorable_text, value))
    if isinstance(value, dict):
        return any(
            _has_unstorable_text(key) or _has_unstorable_text(item) for key, item in value.items()
        )
    return False
