"""Outputs of a result: the number that a pointer names."""

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import inspect

from spawn.application.analysis.sensitivity.field_pointers import (
    ANY_ITEM,
    PointerParts,
    describe_struct,
    find_type,
    is_numeric,
    list_types,
    parse_pointer,
)
from spawn.domain.errors import InvalidInput


class ResultOutput(msgspec.Struct, frozen=True):
    """One number of a result, with the place of its pointer in the request."""

    text: str
    parts: PointerParts
    pointer: str

    def read(self, result: msgspec.Struct) -> float | None:
        """Return the number; None where the result has none.

        Raises:
            InvalidInput: the output is no number.
        """
        value: Any = result
        for part in self.parts:
            value = _read_member(value, part)
            if value is None:
                return None
        return self._to_number(value)

    def _to_number(self, value: Any) -> float | None:
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            number = float(value)
            return number if math.isfinite(number) else None
        if isinstance(value, str):
            try:
                return float(Decimal(value))
            except InvalidOperation:
                pass
        raise InvalidInput.at(self.pointer, "wrong_type", f"{self.text} is not a number")


def resolve_output(struct: type[msgspec.Struct], text: str, pointer: str) -> ResultOutput:
    """Return the output that a pointer names in results of a type.

    Args:
        struct: the type of the result.
        text: the JSON Pointer of the output.
        pointer: the place of that pointer in the request.

    Raises:
        InvalidInput: there is no such field, or it is no single number.
    """
    parts = parse_pointer(text, pointer)
    if ANY_ITEM in parts:
        raise InvalidInput.at(pointer, "invalid_value", "must name one number; give an index")
    info = find_type(describe_struct(struct), parts, pointer)
    others = (inspect.StrType, inspect.AnyType)
    if not is_numeric(info) and not any(isinstance(part, others) for part in list_types(info)):
        detail = f"{text} is not a number; name a number inside it or another output"
        raise InvalidInput.at(pointer, "wrong_type", detail)
    return ResultOutput(text, parts, pointer)


def _read_member(value: Any, part: str) -> Any:
    if isinstance(value, msgspec.Struct):
        return getattr(value, _list_attributes(type(value))[part])
    if isinstance(value, tuple):
        return value[int(part)] if int(part) < len(value) else None
    return value.get(part) if isinstance(value, Mapping) else None


_ATTRIBUTES: dict[type, dict[str, str]] = {}


def _list_attributes(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return the attribute of each name that a struct has on the wire."""
    if struct not in _ATTRIBUTES:
        fields = msgspec.structs.fields(struct)
        _ATTRIBUTES[struct] = {field.encode_name: field.name for field in fields}
    return _ATTRIBUTES[struct]
