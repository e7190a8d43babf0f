"""The `x_…` fields of a client: bounded JSON, kept as received and never interpreted."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from spawn.domain.errors import FieldError
from spawn.domain.text import pointer_token

EXTENSION_NAME = re.compile(r"x_[A-Za-z0-9_]{1,62}")
"""What the whole name of an extension looks like."""

MAX_COUNT = 32
"""Extensions in one aggregate."""
MAX_BYTES = 4096
"""Bytes of JSON in one extension."""
MAX_DEPTH = 8
"""Arrays and objects within each other in one extension."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def check_extensions(extensions: Mapping[str, msgspec.Raw], faults: list[FieldError]) -> None:
    """Append what is wrong with the extensions: number, names, size, depth, JSON."""
    if len(extensions) > MAX_COUNT:
        faults.append(FieldError("", "too_many", f"at most {MAX_COUNT} extensions are kept"))
        return
    for name, raw in extensions.items():
        fault = _fault_in(name, bytes(raw))
        if fault is not None:
            faults.append(FieldError(f"/{pointer_token(name)}", *fault))


def _fault_in(name: str, document: bytes) -> tuple[str, str] | None:
    if EXTENSION_NAME.fullmatch(name) is None:
        return "invalid_name", "an extension is named x_ and 1 to 62 letters, digits or underscores"
    if len(document) > MAX_BYTES:
        return "too_long", f"an extension has at most {MAX_BYTES} bytes of JSON"
    # The depth is known before the parser is let in, whose recursion it bounds.
    if _depth(document) > MAX_DEPTH:
        return "too_deep", f"an extension nests at most {MAX_DEPTH} levels"
    try:
        value = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return (
            "malformed",
            "an extension is one JSON value in UTF-8, its numbers within a float's range",
        )
    if b"\\u" in document and _has_unstorable(value):
        return "control_character", "an extension must not hold U+0000 or lone surrogates"
    return None


def _depth(document: bytes) -> int:
    opened = document.count(b"[") + document.count(b"{")
    if opened <= MAX_DEPTH:
        return opened
    depth = deepest = 0
    for byte in _STRING.sub(b"", document):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _has_unstorable(value: Any) -> bool:
    if isinstance(value, str):
        return any(char == "\x00" or "\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, list):
        return any(map(_has_unstorable, value))
    if isinstance(value, dict):
        return any(_has_unstorable(key) or _has_unstorable(item) for key, item in value.items())
    return False
