"""Fast path of the row reader: flat, valid JSON rows become project documents directly.

An import has hundreds of thousands of rows, and nearly all of them are flat and valid. Such a row
is not parsed into tokens, values and an aggregate: the text of each field is validated by the
schema's own readers and the domain's own rules, the result is cached by text, and the document is
assembled from the cached texts.

This module rejects nothing. Every other row (an alias, an extension, an escape, a list, a violated
rule) is left to `RowReader`, which returns the same document or the reasons against it.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple, cast

import msgspec

from spawn.domain.errors import InvalidInput, MalformedBody
from spawn.domain.imports.row_reader import read_reference_key
from spawn.domain.json_tokens import MAX_NUMBER_LENGTH, NumberToken, Token, parse_token
from spawn.domain.money import fit_amount
from spawn.domain.projects.codec import encode_project, to_json_value
from spawn.domain.projects.codes import CODE_FIELDS
from spawn.domain.projects.project import (
    CORE_FIELDS,
    INITIAL_STATUS_REASON,
    MAX_ATTRIBUTE_TEXT,
    MAX_ATTRIBUTES,
    ORDERED_DATES,
    ExternalRef,
    build_reservation_id,
    propose_project,
)
from spawn.domain.schema_version import Schema, Value
from spawn.domain.schemas.core_columns import NESTED_FIELDS
from spawn.domain.schemas.validator import SchemaValidator
from spawn.domain.struct_reader import TokenReader

MAX_CACHED_TEXTS = 4096
"""Cached texts per field."""
MAX_CACHED_BYTES = 64
"""Bytes of a cached text, at most."""

_MAX_FIELD_SETS = 256
_NULL, _EMPTY = b"null", b"[]"
_QUOTE = 0x22
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?").fullmatch
_LITERALS: dict[bytes, Token] = {b"true": True, b"false": False}
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_WITHIN = {code.name: code.within for code in CODE_FIELDS.values() if code.within}
_CROSS_FIELD = frozenset({"total_amount", "external_ref", *_WITHIN})
_UNSUPPORTED = NESTED_FIELDS - {"external_ref"}
_FREE_TEXT = frozenset({"project_name", "description", "sector"})
_MINIMAL_FIELDS: Mapping[str, object] = {"project_name": "-", "total_amount": Decimal(0)}


class FastRowResult(NamedTuple):
    """A valid new project: its document, and the rest of a `RowResult` and its project.

    `has_currency` is false if the row has none, and the project that of the product.
    """

    document: bytes
    changed: tuple[str, ...]
    reason: str | None
    key: str | None
    reference: str | None
    has_currency: bool = True


class FastRowReader:
    """A reader of plain rows under one schema; for one thread at a time."""

    def __init__(self, validator: SchemaValidator) -> None:
        readers = validator.plain_field_readers()
        self._cross_field_readers = {
            name: readers[name] for name in _CROSS_FIELD if name in readers
        }
        self._fields = {
            name: _Field(name, read, validator.schema)
            for name, read in readers.items()
            if name not in _UNSUPPORTED
        }
        self._required = frozenset(validator.required)
        self._defaults = validator.defaults
        self._absent_texts = _build_texts(_MINIMAL_FIELDS, self._defaults, validator.schema)
        self._template = b"{%b}" % b",".join(b'"%b":%%b' % n.encode() for n in self._absent_texts)
        self._changed_fields: dict[tuple[str, ...], tuple[str, ...]] = {}

    def read(self, row: bytes, project_id: str) -> FastRowResult | None:
        """Return the row's project, or None if the row needs `RowReader`."""
        if b"\\" in row:
            return None
        try:
            members = _MEMBERS.decode(row)
            # Without escapes every quote belongs to a key or to a value. The decoder keeps the last
            # of two equal keys, so a duplicate key leaves quotes over.
            values = b"".join(cast("Any", members.values()))
            if row.count(b'"') != 2 * len(members) + values.count(b'"'):
                return None
            return self._read_members(members, project_id)
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidInput, MalformedBody, _NotPlain):
            return None
        except RecursionError:  # The decoder's own for a row that nests too deeply.
            return None

    def _read_members(
        self, members: dict[str, msgspec.Raw], project_id: str
    ) -> FastRowResult | None:
        fields = self._fields
        if not members.keys() <= fields.keys():
            return None
        texts: dict[str, bytes] = {}
        for name, raw in members.items():
            text = bytes(raw)
            if text != _NULL:
                field = fields[name]
                texts[name] = field.cached_texts.get(text) or field.convert(text)
        self._fit_amount(texts)
        for name, other in _WITHIN.items():
            if name in texts:
                texts[name] = fields[name].convert_within(texts[name], other, texts.get(other))
        days = [day for name in ORDERED_DATES if (day := texts.get(name))]
        if days != sorted(days):
            return None
        reason = key = reference = None
        if "status" in texts and texts["status"] != self._absent_texts["status"]:
            reason = INITIAL_STATUS_REASON
            texts["status_reason"] = b'"%b"' % reason.encode()
        if "external_ref" in texts:
            key, reference = self._read_reference(texts)
        has_currency = "currency_code" in texts
        names = tuple(texts)
        changed = self._changed_fields.get(names) or self._list_changed_fields(names)
        texts["project_id"] = b'"%b"' % project_id.encode()
        document = self._template % tuple((self._absent_texts | texts).values())
        return FastRowResult(document, changed, reason, key, reference, has_currency)

    def _fit_amount(self, texts: dict[str, bytes]) -> None:
        """Set the amount to the scale of its currency, as in a document."""
        if "total_amount" not in texts:
            raise _NotPlain
        amount = self._cross_field_readers["total_amount"](_to_token(texts["total_amount"]), "")
        currency = texts.get("currency_code") or self._absent_texts["currency_code"]
        scaled = fit_amount(cast("Decimal", amount), currency[1:-1].decode())
        if scaled < 0:
            raise _NotPlain
        texts["total_amount"] = b'"%b"' % str(scaled).encode()

    def _read_reference(self, texts: dict[str, bytes]) -> tuple[str | None, str]:
        """Return the row's key in its file and the id of its reservation."""
        token = parse_token(texts["external_ref"])
        reference = cast("ExternalRef", self._cross_field_readers["external_ref"](token, ""))
        texts["external_ref"] = _encode(reference)
        return read_reference_key(token), build_reservation_id(reference)

    def _list_changed_fields(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return `list_changed_fields` of a new project with these fields, and cache it.

        The rows of a file have few different sets of fields.
        """
        if not self._required.issubset(names):
            raise _NotPlain
        core = [
            n for n in CORE_FIELDS[1:] if n in names or self._absent_texts[n] not in (_NULL, _EMPTY)
        ]
        governed = [name for name in names if name not in CORE_FIELDS]
        governed += [name for name in self._defaults if name not in names]
        if len(governed) > MAX_ATTRIBUTES:
            raise _NotPlain
        if len(self._changed_fields) >= _MAX_FIELD_SETS:
            self._changed_fields.clear()
        changed = self._changed_fields[names] = (*core, *governed)
        return changed


class _NotPlain(Exception):
    """The row needs `RowReader`."""


class _Field:
    """One field: the texts of documents by the texts of rows."""

    def __init__(self, name: str, read: TokenReader, schema: Schema) -> None:
        self.cached_texts: dict[bytes, bytes] = {}
        self._name = name
        self._read = read
        self._schema = schema
        self._is_governed = name not in CORE_FIELDS

    def convert(self, text: bytes) -> bytes:
        """Return the document's text for a row's text, and cache it."""
        if self._name in _CROSS_FIELD:
            return text
        token = _to_token(text)
        value = self._read(token, "")
        if (
            type(token) is str
            and value == token
            and (self._is_governed or self._name in _FREE_TEXT)
        ):
            result = text
        elif self._is_governed:
            result = _encode(to_json_value(self._name, cast("Value", value)))
        else:
            # Alone in a project, so that the domain's own rules validate it.
            result = _build_texts({**_MINIMAL_FIELDS, self._name: value}, {}, self._schema)[
                self._name
            ]
        return self._cache(text, result)

    def convert_within(self, text: bytes, other: str, other_text: bytes | None) -> bytes:
        """Return the document's text for a text that is valid only with another field's."""
        key = b"%b,%b" % (text, other_text or _NULL)
        if cached := self.cached_texts.get(key):
            return cached
        fields = {**_MINIMAL_FIELDS, self._name: self._read(_to_token(text), "")}
        if other_text is not None:
            fields[other] = msgspec.json.decode(other_text)
        return self._cache(key, _build_texts(fields, {}, self._schema)[self._name])

    def _cache(self, key: bytes, result: bytes) -> bytes:
        if len(key) <= MAX_CACHED_BYTES and len(self.cached_texts) < MAX_CACHED_TEXTS:
            self.cached_texts[key] = result
        return result


def _to_token(text: bytes) -> Token:
    """Return the text of a scalar as a token; the surrounding JSON is valid."""
    if text[0] == _QUOTE:
        token = text[1:-1].decode()
        if len(token) > MAX_ATTRIBUTE_TEXT:
            raise _NotPlain
        return token
    if len(text) <= MAX_NUMBER_LENGTH and _NUMBER(text):
        return NumberToken(text.decode())
    if text in _LITERALS:
        return _LITERALS[text]
    raise _NotPlain


def _build_texts(
    fields: Mapping[str, object], attributes: Mapping[str, Value], schema: Schema
) -> dict[str, bytes]:
    """Return the document of a new project, as the text of each member."""
    project = propose_project(project_id="-", fields=fields, attributes=attributes, extensions={})
    document = encode_project(project, schema)
    return {name: bytes(raw) for name, raw in _MEMBERS.decode(document).items()}


_encode = msgspec.json.Encoder().encode
