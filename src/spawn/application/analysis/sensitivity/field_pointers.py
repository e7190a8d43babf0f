"""JSON Pointers into the types of cases and results, with the nearest name for one misspelt."""

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import inspect

from spawn.domain.errors import InvalidInput
from spawn.domain.text import escape_pointer_token

ANY_ITEM: Final = "*"
"""The token of a pointer that stands for every item of an array."""

MAX_POINTER_LENGTH: Final = 500
"""Characters of a pointer."""

_NUMBERS: Final = (inspect.FloatType, inspect.IntType, inspect.DecimalType)
_MAX_DEPTH: Final = 8
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,7}")

PointerParts = tuple[str, ...]


def parse_pointer(text: str, pointer: str) -> PointerParts:
    """Return the tokens of a JSON Pointer (RFC 6901) that names a field.

    Raises:
        InvalidInput: the text at `pointer` is no pointer or names the whole document.
    """
    if not text.startswith("/") or len(text) > MAX_POINTER_LENGTH:
        detail = f"must be a JSON Pointer of at most {MAX_POINTER_LENGTH} characters, such as /debt"
        raise InvalidInput.at(pointer, "invalid_value", detail)
    parts = text[1:].split("/")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)


def list_types(info: inspect.Type) -> list[inspect.Type]:
    """Return the types that a value may have, without null."""
    parts = info.types if isinstance(info, inspect.UnionType) else (info,)
    return [part for part in parts if not isinstance(part, inspect.NoneType)]


def is_numeric(info: inspect.Type) -> bool:
    """Return whether a value of the type may be one number."""
    return any(isinstance(part, _NUMBERS) for part in list_types(info))


def is_array(info: inspect.Type) -> bool:
    """Return whether a value of the type may be an array."""
    return any(isinstance(part, inspect.VarTupleType) for part in list_types(info))


def is_index(part: str) -> bool:
    """Return whether a token is an index of an array, without leading zeros."""
    return _INDEX.fullmatch(part) is not None


def find_type(root: inspect.Type, parts: Sequence[str], pointer: str) -> inspect.Type:
    """Return the type of the field that a pointer names.

    Raises:
        InvalidInput: there is no such field; the detail names the nearest one.
    """
    info = root
    for depth, part in enumerate(parts):
        step = _find_step(info, part)
        if step is None:
            raise _unknown_field_error(root, info, parts, depth, pointer)
        info = step
    return info


def _find_step(info: inspect.Type, part: str) -> inspect.Type | None:
    for candidate in list_types(info):
        if isinstance(candidate, inspect.StructType):
            for field in candidate.fields:
                if field.encode_name == part:
                    return field.type
        elif isinstance(candidate, inspect.DictType):
            return candidate.value_type
        elif isinstance(candidate, inspect.VarTupleType) and (is_index(part) or part == ANY_ITEM):
            return candidate.item_type
    return None


def _unknown_field_error(
    root: inspect.Type, info: inspect.Type, parts: Sequence[str], depth: int, pointer: str
) -> InvalidInput:
    name, text = parts[depth], format_pointer(parts[: depth + 1])
    names = _list_names(info)
    if not names:
        detail = f"{text} is not a field: {format_pointer(parts[:depth]) or 'the whole'} has none"
        if is_array(info):
            detail = f"{text} is not an item: name one by its index from 0"
        return InvalidInput.at(pointer, "unknown_field", detail)
    prefix = format_pointer(parts[:depth])
    close = difflib.get_close_matches(name, names, n=1)
    known = [f"{prefix}/{close[0]}"] if close else _find_elsewhere(root, name)
    hint = f"did you mean {known[0]}?" if known else f"the fields are: {', '.join(names)}"
    return InvalidInput.at(pointer, "unknown_field", f"{text} is not a field; {hint}")


def _list_names(info: inspect.Type) -> list[str]:
    return [
        field.encode_name
        for candidate in list_types(info)
        if isinstance(candidate, inspect.StructType)
        for field in candidate.fields
    ]


def _find_elsewhere(root: inspect.Type, name: str) -> list[str]:
    """Return the pointers of numbers whose last name is the nearest to `name`."""
    pointers = list_number_pointers(root)
    by_name = {pointer.rpartition("/")[2]: pointer for pointer in reversed(pointers)}
    close = difflib.get_close_matches(name, list(by_name), n=1)
    return [by_name[close[0]]] if close else []


def format_pointer(parts: Sequence[str]) -> str:
    """Return the JSON Pointer of its tokens."""
    return "".join(f"/{escape_pointer_token(part)}" for part in parts)


def describe_struct(struct: type[msgspec.Struct]) -> inspect.Type:
    """Return the type of a struct; its inspection takes milliseconds and is cached."""
    if struct not in _TYPES:
        _TYPES[struct] = inspect.type_info(struct)
    return _TYPES[struct]


_TYPES: dict[type[msgspec.Struct], inspect.Type] = {}


def list_number_pointers(root: inspect.Type) -> list[str]:
    """Return the pointers of all numbers and series of numbers of a type, in order of depth."""
    return sorted(_iterate_numbers(root, "", 0), key=lambda pointer: pointer.count("/"))


def _iterate_numbers(info: inspect.Type, prefix: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        return
    for candidate in list_types(info):
        if isinstance(candidate, _NUMBERS):
            yield prefix
        elif isinstance(candidate, inspect.VarTupleType):
            yield from _iterate_numbers(candidate.item_type, f"{prefix}/0", depth + 1)
        elif isinstance(candidate, inspect.StructType):
            for field in candidate.fields:
                name = escape_pointer_token(field.encode_name)
                yield from _iterate_numbers(field.type, f"{prefix}/{name}", depth + 1)
