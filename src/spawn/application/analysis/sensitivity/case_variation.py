"""Variation of a case: one number set, scaled or shifted in the fields that pointers name.

The case stays as its JSON tokens, and every variation of it is read anew by the strict reader: what
a calculator rejects, it rejects here with the same words.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import inspect

from spawn.application.analysis.sensitivity.field_pointers import (
    ANY_ITEM,
    PointerParts,
    describe_struct,
    find_type,
    format_pointer,
    is_array,
    is_index,
    is_numeric,
    list_types,
    parse_pointer,
)
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import NumberToken, Token

Change = Literal["value", "factor", "shift"]
"""Set the field to the number, multiply it, or add the number; a series changes as a whole."""

MAX_FIELDS: Final = 8
"""Fields that vary together."""

Convert = Callable[[Token], Token]


class CaseVariation(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a case that one number varies, and how."""

    paths: tuple[PointerParts, ...]
    change: Change
    is_integer: bool

    def apply(self, case: dict[str, Token], number: float) -> dict[str, Token]:
        """Return the case with the number in the fields; what stays is shared with the original."""
        convert = self._converter(number)
        varied: Token = case
        for path in self.paths:
            varied = _replace(varied, path, convert)
        assert isinstance(varied, dict)  # noqa: S101 - a path has at least one name
        return varied

    def owns(self, error: FieldError) -> bool:
        """Return whether an error points to one of the fields or inside it."""
        pointers = [format_pointer(path) for path in self.paths]
        return any(error.pointer == p or error.pointer.startswith(f"{p}/") for p in pointers)

    def _converter(self, number: float) -> Convert:
        if self.change == "value":
            token = format_number(number, is_integer=self.is_integer)
            return lambda _token: token
        is_factor = self.change == "factor"

        def convert(token: Token) -> Token:
            if isinstance(token, list):
                return [convert(item) for item in token]
            if not isinstance(token, str):
                return token
            value = float(token) * number if is_factor else float(token) + number
            return format_number(value, is_integer=self.is_integer)

        return convert


def format_number(number: float, *, is_integer: bool = False) -> NumberToken:
    """Return a number as the token that reads as the same float64."""
    value = float(number)
    return NumberToken(int(value) if is_integer and value.is_integer() else repr(value))


def resolve_variation(
    struct: type[msgspec.Struct],
    case: dict[str, Token],
    vary: str | Sequence[str],
    change: Change,
    pointer: str,
) -> CaseVariation:
    """Return the variation of the fields that `vary` names in a case.

    Args:
        struct: the type of the case.
        case: its tokens.
        vary: one JSON Pointer or several; `*` stands for every item of an array.
        change: the change of each field.
        pointer: the place of `vary` in the request.

    Raises:
        InvalidInput: an unknown field, one that is no number, absent, or a series that the change
            would replace by a number.
    """
    if isinstance(vary, str):
        named = {pointer: vary}
    else:
        if not 1 <= len(vary) <= MAX_FIELDS:
            detail = f"must name from 1 to {MAX_FIELDS} fields"
            raise InvalidInput.at(pointer, "wrong_length", detail)
        named = {f"{pointer}/{index}": text for index, text in enumerate(vary)}
    paths: list[PointerParts] = []
    is_integer = False
    for place, text in named.items():
        parts = parse_pointer(text, place)
        info = find_type(describe_struct(struct), parts, place)
        for path in _expand(case, parts, place):
            _check_field(case, path, info, change, place)
            if any(_overlaps(path, other) for other in paths):
                detail = f"{format_pointer(path)} is named twice"
                raise InvalidInput.at(place, "duplicate", detail)
            paths.append(path)
        is_integer = is_integer or _is_integer(info)
    if is_integer and change == "factor":
        detail = "a factor makes fractions of an integer; use value or shift"
        raise InvalidInput.at(pointer, "not_applicable", detail)
    return CaseVariation(paths=tuple(paths), change=change, is_integer=is_integer)


def _overlaps(first: PointerParts, second: PointerParts) -> bool:
    length = min(len(first), len(second))
    return first[:length] == second[:length]


def share_a_field(first: CaseVariation, second: CaseVariation) -> bool:
    """Return whether two variations change one field."""
    return any(_overlaps(a, b) for a in first.paths for b in second.paths)


def _is_integer(info: inspect.Type) -> bool:
    items = [
        item
        for part in list_types(info)
        for item in (
            list_types(part.item_type) if isinstance(part, inspect.VarTupleType) else [part]
        )
    ]
    return all(isinstance(item, inspect.IntType) for item in items)


def _expand(case: Token, parts: PointerParts, pointer: str) -> list[PointerParts]:
    """Return a path for every item that `*` stands for; the field itself may be absent."""
    paths: list[tuple[PointerParts, Token]] = [((), case)]
    for depth, part in enumerate(parts):
        is_last = depth == len(parts) - 1
        paths = [
            ((*path, name), token)
            for path, holder in paths
            for name, token in _step(holder, part, path, pointer, is_last=is_last)
        ]
    return [path for path, _ in paths]


def _step(
    holder: Token, part: str, path: PointerParts, pointer: str, *, is_last: bool
) -> list[tuple[str, Token]]:
    where = format_pointer(path) or "the case"
    if isinstance(holder, list):
        if part == ANY_ITEM:
            return [(str(index), item) for index, item in enumerate(holder)]
        if is_index(part) and int(part) < len(holder):
            return [(part, holder[int(part)])]
        detail = f"{where} has {len(holder)} items, numbered from 0"
        raise InvalidInput.at(pointer, "out_of_range", detail)
    if isinstance(holder, dict) and (is_last or part in holder):
        return [(part, holder.get(part))]
    if isinstance(holder, dict):
        detail = f"{format_pointer((*path, part))} is absent; give it in the case to vary it"
        raise InvalidInput.at(pointer, "missing", detail)
    detail = f"{where} has no {part} in this case"
    raise InvalidInput.at(pointer, "missing", detail)


def _check_field(
    case: Token, path: PointerParts, info: inspect.Type, change: Change, pointer: str
) -> None:
    token, text = read_token(case, path), format_pointer(path)
    if not (is_numeric(info) or _is_series(info)):
        detail = f"{text} is neither a number nor a series of numbers"
        raise InvalidInput.at(pointer, "wrong_type", detail)
    if change == "value":
        if isinstance(token, list) or not is_numeric(info):
            detail = f"{text} is a series; name one item, or change it by factor or shift"
            raise InvalidInput.at(pointer, "wrong_type", detail)
        return
    if token is None:
        detail = f"{text} is absent; a {change} changes what the case has"
        raise InvalidInput.at(pointer, "missing", detail)
    items = token if isinstance(token, list) else [token]
    if not all(item is None or _is_number(item) for item in items):
        detail = f"{text} must hold numbers for a {change}"
        raise InvalidInput.at(pointer, "wrong_type", detail)


def _is_series(info: inspect.Type) -> bool:
    return is_array(info) and any(
        is_numeric(part.item_type)
        for part in list_types(info)
        if isinstance(part, inspect.VarTupleType)
    )


def _is_number(token: Token) -> bool:
    """Return whether a token is a number, or a string of one as decimals may be."""
    if not isinstance(token, str):
        return False
    try:
        return math.isfinite(float(token))
    except ValueError:
        return False


def read_token(case: Token, path: Sequence[str]) -> Token:
    """Return the token at a path; None where there is none."""
    token = case
    for part in path:
        if isinstance(token, list):
            token = token[int(part)]
        elif isinstance(token, Mapping):
            token = token.get(part)
        else:
            return None
    return token


def _replace(token: Token, path: Sequence[str], convert: Convert) -> Token:
    """Return a token with another value at a path; only the holders on the path are copied."""
    if not path:
        return convert(token)
    part, rest = path[0], path[1:]
    holder: Any = list(token) if isinstance(token, list) else dict(token)  # type: ignore[arg-type]  # the path leads through holders
    key: Any = int(part) if isinstance(holder, list) else part
    item = holder[key] if isinstance(holder, list) else holder.get(key)
    holder[key] = _replace(item, rest, convert)
    return holder  # type: ignore[no-any-return]  # a list or a dictionary of tokens
