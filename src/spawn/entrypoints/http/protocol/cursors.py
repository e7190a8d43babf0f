"""Opaque page cursors: sealed sort keys that only continue the query they belong to."""

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
from spawn.domain.errors import CursorInvalid
from spawn.domain.schema_version import Value
from spawn.entrypoints.http.protocol.response import Header

K = TypeVar("K", int, datetime)
MAX_CURSOR_LENGTH: Final = 2048
_BASE64: Final = re.compile(r"[A-Za-z0-9_-]{1,2048}")
_SEAL_BYTES: Final = 8
_KEYS: Final = msgspec.json.Decoder(list[tuple[str, str]])
_TEXT_WRITER: Final = ("s", str)
_WRITERS: Final[Mapping[type, tuple[str, Callable[[Any], str]]]] = {
    bool: ("b", lambda value: "1" if value else ""),
    datetime: ("t", datetime.isoformat),
    date: ("a", date.isoformat),
    Decimal: ("d", str),
    int: ("i", str),
    float: ("f", float.hex),
}
_READERS: Final[Mapping[str, Callable[[str], Value]]] = {
    "b": bool,
    "t": parse_instant,
    "a": date.fromisoformat,
    "d": Decimal,
    "i": int,
    "f": float.fromhex,
}


def cursor_binding(*parts: str) -> bytes:
    """Return the binding of the cursors of one list: a digest of its kind and filters."""
    return hashlib.blake2b(",".join(parts).encode(), digest_size=6).digest()


def encode_cursor(keys: tuple[Value | None, ...], binding: bytes) -> str:
    """Return an opaque cursor: the keys to continue after, sealed to one query.

    Args:
        keys: the sort keys of the last item of the page.
        binding: the key of the seal, a digest of the query.
    """
    payload = msgspec.json.encode([_encode_key(key) for key in keys])
    seal = hashlib.blake2b(payload, digest_size=_SEAL_BYTES, key=binding).digest()
    return base64.urlsafe_b64encode(seal + payload).rstrip(b"=").decode()


def decode_cursor(text: str, binding: bytes) -> tuple[Value | None, ...]:
    """Return the keys of a cursor of the query that `binding` stands for.

    Raises:
        CursorInvalid: the cursor is malformed, changed or of another query.
    """
    invalid = CursorInvalid("The cursor is not the next of a page of this query.")
    if len(text) > MAX_CURSOR_LENGTH or not _BASE64.fullmatch(text):
        raise invalid
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        seal, payload = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
        if seal != hashlib.blake2b(payload, digest_size=_SEAL_BYTES, key=binding).digest():
            raise invalid
        return tuple(_decode_key(letter, value) for letter, value in _KEYS.decode(payload))
    except (binascii.Error, msgspec.DecodeError, ValueError, InvalidOperation) as error:
        raise invalid from error


def decode_cursor_key(text: str, binding: bytes, key_type: type[K]) -> K:
    """Return the only key of a cursor, of the type that its list sorts by.

    Raises:
        CursorInvalid: as `decode_cursor`, or the cursor has other keys.
    """
    keys = decode_cursor(text, binding)
    if len(keys) != 1 or not isinstance(keys[0], key_type):
        raise CursorInvalid("The cursor is not one of this list. Start from its first page.")
    return keys[0]


def _encode_key(value: Value | None) -> tuple[str, str]:
    """Return a key as type letter and text, so that decoding restores its type."""
    if value is None:
        return ("n", "")
    # Enumerations of texts (the status) are encoded as texts.
    letter, write = _WRITERS.get(type(value), _TEXT_WRITER)
    return (letter, write(value))


def _decode_key(letter: str, text: str) -> Value | None:
    if letter == "n":
        return None
    return _READERS[letter](text) if letter in _READERS else text


def next_link(path: str, parameters: Mapping[str, str], cursor: str) -> Header:
    """Return the Link header to the next page: the same request with the cursor."""
    next_parameters = {**parameters, "after": cursor}
    query = "&".join(f"{quote(k)}={quote(v, safe=',')}" for k, v in next_parameters.items())
    return (b"link", f'<{path}?{query}>; rel="next"'.encode())
