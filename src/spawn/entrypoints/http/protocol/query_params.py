"""Typed queries out of query strings, and the cursors that continue them."""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from spawn.domain.dates import parse_instant
from spawn.domain.errors import CursorInvalid, FieldError, InvalidInput
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Query, Sort
from spawn.domain.schemas.core_columns import STRUCTURE
from spawn.domain.schemas.model import TypeName, Value
from spawn.domain.schemas.validator import Conformance
from spawn.entrypoints.http.protocol.response import Header

T = TypeVar("T")
DEFAULT_LIMIT: Final = 50
MAX_SORTS: Final = 8
MAX_FILTERS: Final = 32
MAX_OPERANDS: Final = 500
MAX_TEXT: Final = 500
"""Characters of a text to look for: texts that are longer are descriptions, which `like` finds."""

MAX_FIELDS: Final = 200
MAX_CURSOR: Final = 2048
_FILTER: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,127})(?:\[([a-z]+)\])?")
_LIMIT: Final = re.compile(r"[0-9]{1,6}")
_EXTENSION: Final = re.compile(r"x_[A-Za-z0-9_]{1,126}")
_BESIDE: Final = frozenset({"fields", "limit", "after", "schema_version"})
"""What a list is asked beside its filters and order."""
_UNORDERED: Final = frozenset({Operator.EQ, Operator.NE, Operator.IN, Operator.EXISTS})
_BASE64: Final = re.compile(r"[A-Za-z0-9_-]{1,2048}")


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A list request: the query, the fields to show (empty: all), and what its cursors bind to."""

    query: Query
    fields: tuple[str, ...]
    binding: bytes


def read_listing(given: Mapping[str, str], conformance: Conformance) -> Listing:
    """The query that list parameters ask.

    Raises:
        InvalidInput: naming each parameter that is unknown or not of its type.
        CursorInvalid: `after` is not the `next` of a page of this query.
    """
    errors: list[FieldError] = []
    filters: list[Filter] = []
    for name, text in given.items():
        if name == "sort" or name in _BESIDE:
            continue
        try:
            filters.append(_filter(name, text, conformance))
        except InvalidInput as failure:
            errors.extend(failure.errors)
    if len(filters) > MAX_FILTERS:
        errors.append(FieldError("", "too_many", f"At most {MAX_FILTERS} filters."))
    sort = _collect(errors, lambda: _sort(given.get("sort"), conformance)) or ()
    fields = _collect(errors, lambda: read_fields(given.get("fields"), conformance)) or ()
    limit = _collect(errors, lambda: read_limit(given.get("limit"))) or DEFAULT_LIMIT
    if errors:
        raise InvalidInput(errors)
    binding = _binding(given)
    after = given.get("after")
    return Listing(
        query=Query(
            filters=tuple(filters),
            sort=sort,
            limit=limit,
            after=None if after is None else read_cursor(after, binding),
        ),
        fields=fields,
        binding=binding,
    )


def read_limit(text: str | None) -> int:
    """A page's limit, at most the cap; the default when absent."""
    if text is None:
        return DEFAULT_LIMIT
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidInput.at("/limit", "out_of_range", f"A limit is a number 1 to {MAX_LIMIT}.")
    return int(text)


def read_fields(text: str | None, conformance: Conformance) -> tuple[str, ...]:
    """The fields to show, by canonical name, each once; empty for all of them."""
    if text is None:
        return ()
    names: list[str] = []
    errors: list[FieldError] = []
    for name in text.split(",")[: MAX_FIELDS + 1]:
        canonical = conformance.alias(name)
        if canonical is None and (name in STRUCTURE or _EXTENSION.fullmatch(name)):
            canonical = name
        if canonical is None:
            errors.append(FieldError("/fields", "unknown_field", f"No field '{name[:64]}'."))
        elif canonical not in names:
            names.append(canonical)
    if len(names) > MAX_FIELDS:
        errors.append(FieldError("/fields", "too_many", f"At most {MAX_FIELDS} fields."))
    if errors:
        raise InvalidInput(errors)
    return tuple(names)


def _collect(errors: list[FieldError], read: Callable[[], T]) -> T | None:
    """What is read, or None with the offences added."""
    try:
        return read()
    except InvalidInput as failure:
        errors.extend(failure.errors)
        return None


def _filter(name: str, text: str, conformance: Conformance) -> Filter:
    """One filter: `field=value` or `field[operator]=value`."""
    match = _FILTER.fullmatch(name)
    pointer = f"/{name[:128]}"
    canonical = conformance.alias(match[1]) if match else None
    if match is None or canonical is None:
        raise InvalidInput.at(pointer, "unknown_parameter", "No such parameter or field.")
    try:
        operator = Operator(match[2] or "eq")
    except ValueError as failure:
        listed = ", ".join(Operator)
        raise InvalidInput.at(pointer, "unknown_operator", f"Operators are {listed}.") from failure
    kind = conformance.fields[canonical].type.name
    if operator is Operator.EXISTS:
        return Filter(canonical, operator, (_boolean(pointer, text),))
    if operator is Operator.LIKE:
        if kind is not TypeName.STRING:
            raise InvalidInput.at(pointer, "operator_unsuitable", "like is for text.")
        _refuse_long(pointer, [text])
        return Filter(canonical, operator, (text,))
    if kind is TypeName.BOOLEAN and operator not in _UNORDERED:
        raise InvalidInput.at(pointer, "operator_unsuitable", "Booleans have no order.")
    texts = text.split(",") if operator is Operator.IN else [text]
    _refuse_long(pointer, texts)
    if len(texts) > MAX_OPERANDS:
        raise InvalidInput.at(pointer, "too_many", f"At most {MAX_OPERANDS} values.")
    return Filter(
        canonical, operator, tuple(conformance.read_value(match[1], item) for item in texts)
    )


def _refuse_long(pointer: str, texts: list[str]) -> None:
    if any(len(text) > MAX_TEXT for text in texts):
        raise InvalidInput.at(pointer, "too_long", f"At most {MAX_TEXT} characters.")


def _boolean(pointer: str, text: str) -> bool:
    if text not in {"true", "false"}:
        raise InvalidInput.at(pointer, "wrong_type", "exists is true or false.")
    return text == "true"


def _sort(text: str | None, conformance: Conformance) -> tuple[Sort, ...]:
    """`-total_amount,project_name`: descending, then ascending."""
    if text is None:
        return ()
    sorts: list[Sort] = []
    errors: list[FieldError] = []
    for item in text.split(",")[: MAX_SORTS + 1]:
        canonical = conformance.alias(item.removeprefix("-"))
        if canonical is None:
            errors.append(FieldError("/sort", "unknown_field", f"No field '{item[:64]}'."))
        elif canonical in {sort.field for sort in sorts}:
            errors.append(FieldError("/sort", "repeated_field", f"'{canonical}' comes twice."))
        else:
            sorts.append(Sort(canonical, descending=item.startswith("-")))
    if len(sorts) > MAX_SORTS:
        errors.append(FieldError("/sort", "too_many", f"At most {MAX_SORTS} fields."))
    if errors:
        raise InvalidInput(errors)
    return tuple(sorts)


def _binding(given: Mapping[str, str]) -> bytes:
    """What a cursor of this query may continue: the same filters and order, whatever the limit.

    As they were asked, so that a scan goes on when a schema gives a column another name or type.
    """
    asked = sorted((name, text) for name, text in given.items() if name not in _BESIDE)
    return hashlib.blake2b(msgspec.json.encode(asked), digest_size=8).digest()


def write_cursor(keys: tuple[Value | None, ...], binding: bytes) -> str:
    """An opaque cursor: the keys to continue after, sealed against changes and other queries."""
    payload = msgspec.json.encode([_tagged(key) for key in keys])
    seal = hashlib.blake2b(payload, digest_size=8, key=binding).digest()
    return base64.urlsafe_b64encode(seal + payload).rstrip(b"=").decode()


def read_cursor(text: str, binding: bytes) -> tuple[Value | None, ...]:
    """The keys of a cursor of this very query.

    Raises:
        CursorInvalid: anything else.
    """
    refusal = CursorInvalid("The cursor is not the next of a page of this query.")
    if len(text) > MAX_CURSOR or not _BASE64.fullmatch(text):
        raise refusal
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        seal, payload = raw[:8], raw[8:]
        if seal != hashlib.blake2b(payload, digest_size=8, key=binding).digest():
            raise refusal
        return tuple(_untagged(tag, value) for tag, value in _KEYS.decode(payload))
    except (binascii.Error, msgspec.DecodeError, ValueError, InvalidOperation) as failure:
        raise refusal from failure


_KEYS: Final = msgspec.json.Decoder(list[tuple[str, str]])


def _tagged(value: Value | None) -> tuple[str, str]:
    """A value as type letter and text, so that it comes back as what it was."""
    if value is None:
        return ("n", "")
    # Enumerations of texts (the status) go as texts.
    letter, write = _TAG.get(type(value), _TEXT)
    return (letter, write(value))


_TEXT: Final = ("s", str)
_TAG: Final[Mapping[type, tuple[str, Callable[[Any], str]]]] = {
    bool: ("b", lambda value: "1" if value else ""),
    datetime: ("t", datetime.isoformat),
    date: ("a", date.isoformat),
    Decimal: ("d", str),
    int: ("i", str),
    float: ("f", float.hex),
}


def _untagged(tag: str, text: str) -> Value | None:
    if tag == "n":
        return None
    return _UNTAG[tag](text) if tag in _UNTAG else text


_UNTAG: Final[Mapping[str, Callable[[str], Value]]] = {
    "b": bool,
    "t": parse_instant,
    "a": date.fromisoformat,
    "d": Decimal,
    "i": int,
    "f": float.fromhex,
}


def next_link(path: str, given: Mapping[str, str], cursor: str) -> Header:
    """The Link to the page after: the same request with the cursor."""
    continued = {**given, "after": cursor}
    query = "&".join(f"{quote(k)}={quote(v, safe=',')}" for k, v in continued.items())
    return (b"link", f'<{path}?{query}>; rel="next"'.encode())
