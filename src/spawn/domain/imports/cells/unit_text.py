"""Numbers with a unit before or after them: currencies, millions, per cent."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from spawn.domain.money import DECIMAL_CONTEXT

_SIGNS: Final = "+-\u2212\u2012\u2013"
_PARTS = re.compile(
    rf"([^\d{re.escape(_SIGNS)}]*?)([{re.escape(_SIGNS)}]?)([^\d{re.escape(_SIGNS)}]*?)"
    r"([.,]?\d(?:.*\d)?[.,]?)(\D*)",
    re.DOTALL,
)

NumberParser = Callable[[str], str | None]
"""Function from a number to plain digits with a point; None: it is no number."""


def read_negative(text: str) -> str:
    """Return a number in parentheses, or with its sign behind it, with the sign before it."""
    text = text.strip()
    if text.startswith("(") and text.endswith(")"):
        inner = text[1:-1].strip()
    elif len(text) > 1 and text[-1] in _SIGNS[1:]:
        inner = text[:-1].strip()
    else:
        return text
    return f"-{inner}" if inner and inner[0] not in _SIGNS else text


def split_unit(text: str) -> tuple[str, str]:
    """Return the number of a text with its sign, and what is written beside it."""
    match = _PARTS.fullmatch(read_negative(text))
    if match is None:
        return "", text.strip()
    before, sign, between, number, after = match.groups()
    unit = " ".join(part for one in (before, between, after) if (part := one.strip()))
    return sign + number, unit


def compile_unit_parser(parse: NumberParser, units: Mapping[str, Decimal]) -> NumberParser:
    """Return a parser of numbers that multiplies by what the units beside them are worth.

    A unit before the number and one after it count both, as in `US$ 5 million`. A text with another
    unit is no number, nor is one that says the same worth twice, such as `5 m million`; a sign of
    worth 1 may be repeated, as in `$ 5 $`.
    """
    folded_units = {name.strip().casefold(): factor for name, factor in units.items()}

    def parse_with_unit(text: str) -> str | None:
        number, unit = split_unit(text)
        digits = parse(number) if number else None
        if digits is None or not unit:
            return digits
        factor = _find_factor(unit.casefold(), folded_units)
        if factor is None:
            return None
        result = format(DECIMAL_CONTEXT.multiply(Decimal(digits), factor), "f")
        return result.rstrip("0").removesuffix(".") if "." in result else result

    return parse_with_unit


def _find_factor(unit: str, units: Mapping[str, Decimal]) -> Decimal | None:
    """Return the worth of a unit, or of the two that it consists of."""
    if (factor := units.get(unit)) is not None:
        return factor
    first, _, second = unit.partition(" ")
    while second:
        before, after = units.get(first), units.get(second)
        if before is not None and after is not None:
            is_repeated = before == after != 1
            return None if is_repeated else DECIMAL_CONTEXT.multiply(before, after)
        word, _, second = second.partition(" ")
        first = f"{first} {word}"
    return None
