"""Canonical JSON (RFC 8785) and the fingerprint made of it: the identity of a schema document."""

import hashlib
import json
from decimal import Decimal
from math import isinf
from typing import Final

from spawn.domain.errors import InvalidInput
from spawn.domain.json_tokens import Number, Token, read_token

_quote = json.JSONEncoder(ensure_ascii=False).encode

_PLAIN_DIGITS: Final = 21
"""ECMAScript writes numbers below 1e21 without an exponent."""
_LEADING_ZEROS: Final = 6
"""…and those from 1e-6 on."""


def canonical_json(document: bytes) -> bytes:
    """The one spelling of a JSON document: sorted keys, no blanks, numbers as ECMAScript has them.

    RFC 8785 reads every number as a double, so 1, 1.0 and 1e0 are the same.

    Raises:
        MalformedBody: not one well-formed JSON document.
        InvalidInput: a number beyond a double.
    """
    return write_canonical(read_token(document)).encode()


def fingerprint(document: bytes) -> str:
    """SHA-256 of the canonical JSON, lower-case hex; raises as `canonical_json` does."""
    return hashlib.sha256(canonical_json(document)).hexdigest()


def write_canonical(token: Token) -> str:
    """The canonical text of a token; keys sort by their UTF-16 code units."""
    if isinstance(token, Number):
        return _number(token)
    if isinstance(token, dict):
        keys = sorted(token, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{_quote(k)}:{write_canonical(token[k])}" for k in keys) + "}"
    if isinstance(token, list):
        return "[" + ",".join(map(write_canonical, token)) + "]"
    return _quote(token)


def _number(text: str) -> str:
    """ECMAScript's Number::toString; Python's repr gives the same shortest digits."""
    value = float(text)
    if isinf(value):
        raise InvalidInput.at("", "out_of_range", f"{text[:40]} is beyond a double")
    if not value:
        return "0"
    sign = "-" if value < 0 else ""
    _, digits, exponent = Decimal(repr(abs(value))).normalize().as_tuple()
    written = "".join(map(str, digits))
    point = len(written) + int(exponent)
    if len(written) <= point <= _PLAIN_DIGITS:
        return sign + written.ljust(point, "0")
    if 0 < point <= _PLAIN_DIGITS:
        return f"{sign}{written[:point]}.{written[point:]}"
    if -_LEADING_ZEROS < point <= 0:
        return f"{sign}0.{'0' * -point}{written}"
    fraction = f".{written[1:]}" if len(written) > 1 else ""
    return f"{sign}{written[0]}{fraction}e{point - 1:+d}"
