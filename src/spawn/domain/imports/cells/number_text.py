"""Numbers as people write them: decimal marks, groups of digits, exponents."""

import re
from collections.abc import Callable
from decimal import Decimal

from spawn.domain.json_tokens import NumberToken

# 48 digits times a factor of 30 stay below the 80 digits of the decimal context: nothing rounds.
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,23})(?:\.\d{1,24})?", re.ASCII)
_BLANKS = "[ \u00a0\u2009\u202f]"
_APOSTROPHES = "['\u2019]"
_MINUS_SIGNS = "\u2212\u2012\u2013"
_WHOLE = re.compile(r"[+-]?\d{1,24}\.0{1,2}", re.ASCII)
_MAX_EXPONENT = 40


def compile_number_parser(decimal: str, thousands: str | None) -> Callable[[str], str | None]:
    """Return a function from a number to plain digits with a point; None: it is no number.

    `decimal` is the mark before the decimals, `thousands` the mark between groups of digits. A
    group has three digits; those before the last one may have two, as in 12,34,567. The first one
    does not begin with a zero: 0,500 is a half by another mark. Groups of zeros alone are zero.
    """
    if decimal == "." and thousands is None:
        return _parse_plain
    mark = {" ": _BLANKS, "'": _APOSTROPHES}.get(thousands or "", re.escape(thousands or ""))
    groups = (
        rf"|[1-9]\d{{0,2}}(?:{mark}\d{{2,3}}){{0,7}}{mark}\d{{3}}|0{{1,3}}(?:{mark}000){{1,7}}"
        if thousands
        else ""
    )
    point = re.escape(decimal)
    match_number = re.compile(
        rf"([+\-{_MINUS_SIGNS}]?)(\d{{1,24}}{groups})?(?:{point}(\d{{0,24}}))?([eE][+-]?\d{{1,2}})?",
        re.ASCII,
    ).fullmatch
    remove = re.compile(rf"{mark}").sub if thousands else None

    def parse(text: str) -> str | None:
        match = match_number(text)
        if match is None:
            # Beside decimal commas a whole number may have the point of a data frame: 1990.0.
            return text.partition(".")[0] if _WHOLE.fullmatch(text) else None
        sign, whole, fraction, exponent = match.groups()
        if not whole and not fraction:
            return None
        if remove is not None and whole:
            whole = remove("", whole)
        digits = f"{whole or '0'}.{fraction}" if fraction else whole
        return ("-" if sign and sign != "+" else "") + digits + (exponent or "")

    return parse


_PLAIN = re.compile(r"[+-]?(?:\d{1,24}\.?\d{0,24}|\.\d{1,24})(?:[eE][+-]?\d{1,2})?", re.ASCII)


def _parse_plain(text: str) -> str | None:
    return text if _PLAIN.fullmatch(text) else None


def to_number_token(text: str) -> NumberToken | None:
    """Return plain digits as a JSON number, by their exact value; None if out of range."""
    if _JSON_NUMBER.fullmatch(text):
        return NumberToken(text)
    value = Decimal(text)
    return NumberToken(format(value, "f")) if is_in_range(value) else None


def is_in_range(value: Decimal) -> bool:
    """Return whether the exponent of a number is one of a quantity."""
    return not value or -_MAX_EXPONENT <= value.adjusted() <= _MAX_EXPONENT
