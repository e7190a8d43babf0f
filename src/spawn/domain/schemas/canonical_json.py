"""Canonical JSON (RFC 8785), and the fingerprint that identifies a schema document."""

import hashlib
import json
from decimal import Decimal
from math import isinf
from typing import Final

from spawn.domain.errors import InvalidInput
from spawn.domain.json_tokens import NumberToken, Token, parse_token

_quote = json.JSONEncoder(ensure_ascii=False).encode

_PLAIN_DIGITS: Final = 21
"""ECMAScript writes numbers below 1e21 without an exponent."""
_LEADING_ZEROS: Final = 6
"""ECMAScript writes numbers from 1e-6 on without an exponent."""


def to_canonical_json(document: bytes) -> bytes:
    """Return a JSON document with sorted keys, no blanks and ECMAScript numbers.

    RFC 8785 reads every number as a double, so 1, 1.0 and 1e0 are the same.

    Raises:
        MalformedBody: not one well-formed JSON document.
        InvalidInput: a number is beyond a double.
    """
    return write_canonical(parse_token(document)).encode()


def compute_fingerprint(document: bytes) -> str:
    """Return the SHA-256 of the canonical JSON in lower-case hex.

    Raises:
        MalformedBody, InvalidInput: see `to_canonical_json`.
    """
    return hashlib.sha256(to_canonical_json(document)).hexdigest()


def write_canonical(token: Token) -> str:
    """Return the canonical text of a token; keys sort by UTF-16 code units."""
    if isinstance(token, NumberToken):
        return _number(token)
    if isinstance(token, dict):
        keys = sorted(token, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{_quote(k)}:{write_canonical(token[k])}" for k in keys) + "}"
    if isinstance(token, list):
        return "[" + ",".join(map(write_canonical, token)) + "]"
    return _quote(token)


def _number(text: str) -> str:
    """Format a number as ECMAScript does; Python's repr gives the same shortest digits."""
    value = float(text)
    if isinf(value):
        raise InvalidInput.at("", "out_of_range", f"{text[:40]} is beyond a double")
    if not value:
        return "0"
    sign = "-" if value < 0 else ""
    _, digits, exponent = Decimal(repr(abs(value))).normalize().as_tuple()
    digit_text = "".join(map(str, digits))
    point = len(digit_text) + int(exponent)
    if len(digit_text) <= point <= _PLAIN_DIGITS:
        return sign + digit_text.ljust(point, "0")
    if 0 < point <= _PLAIN_DIGITS:
        return f"{sign}{digit_text[:point]}.{digit_text[point:]}"
    if -_LEADING_ZEROS < point <= 0:
        return f"{sign}0.{'0' * -point}{digit_text}"
    fraction = f".{digit_text[1:]}" if len(digit_text) > 1 else ""
    return f"{sign}{digit_text[0]}{fraction}e{point - 1:+d}"
