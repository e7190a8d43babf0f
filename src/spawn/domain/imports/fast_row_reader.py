"""Straight through: a plain row from its JSON to a project's document, with nothing in between.

An import reads rows by the hundred thousand, and nearly all of them are flat and faultless. Such a
row is not taken apart into tokens, values and an aggregate: the text of each of its fields is
judged as it stands, by the schema's own readers and the domain's own rules, what was found of a
text is remembered, and the document is made of the texts.

Nothing is decided here, only recognised. Whatever is not beyond doubt (an alias, an extension, an
escape, a list, a broken rule) is left to `RowReader`, which comes to the same document or to the
reasons why there is none.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple, cast

import msgspec

from spawn.domain import serialization
from spawn.domain.errors import InvalidInput, MalformedBody
from spawn.domain.imports.row_reader import reference_key
from spawn.domain.json_tokens import MAX_NUMBER_LENGTH, Number, Token, read_token
from spawn.domain.money import fit
from spawn.domain.projects.project import (
    FIELDS,
    INITIAL_STATUS_REASON,
    MAX_ATTRIBUTE_TEXT,
    MAX_ATTRIBUTES,
    ExternalRef,
    propose,
    reference_id,
)
from spawn.domain.schemas.model import Schema, Value
from spawn.domain.schemas.validator import Conformance, FieldReader

MAX_KNOWN = 4096
"""Texts remembered of one field."""
MAX_KNOWN_BYTES = 64
"""The longest text that is remembered."""

_MAX_SHAPES = 256
_NULL, _EMPTY = b"null", b"[]"
_QUOTE = 0x22
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?").fullmatch
_LITERALS: dict[bytes, Token] = {b"true": True, b"false": False}
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_APART = frozenset({"total_amount", "external_ref"})
_LEFT_OUT = frozenset({"spv", "sponsors", "milestones"})
_FREE_TEXT = frozenset({"project_name", "description", "sector"})
_DATES = ("financial_close_date", "cod_date", "end_date")
_LEAST: Mapping[str, object] = {"project_name": "-", "total_amount": Decimal(0)}


class Straight(NamedTuple):
    """A valid new project: its document, and what else `Draft` and its project would tell."""

    document: bytes
    changed: tuple[str, ...]
    reason: str | None
    key: str | None
    reference: str | None


class StraightThrough:
    """Recognises plain rows under one schema; for one thread at a time."""

    def __init__(self, conformance: Conformance) -> None:
        readers = conformance.plain_fields()
        self._apart = {name: readers[name] for name in _APART if name in readers}
        self._fields = {
            name: _Field(name, read, conformance.schema)
            for name, read in readers.items()
            if name not in _LEFT_OUT
        }
        self._required = frozenset(conformance.required)
        self._defaults = conformance.defaults
        self._blank = _texts(_LEAST, self._defaults, conformance.schema)
        self._template = b"{%b}" % b",".join(b'"%b":%%b' % n.encode() for n in self._blank)
        self._shapes: dict[tuple[str, ...], tuple[str, ...]] = {}

    def read(self, row: bytes, project_id: str) -> Straight | None:
        """The project that the row proposes, or None if it takes a closer look to say."""
        if b"\\" in row:
            return None
        try:
            members = _MEMBERS.decode(row)
            # Without escapes every quote is one of a key's or of a value's: a key that was given
            # twice, of which the decoder keeps the last, leaves some over.
            values = b"".join(cast("Any", members.values()))
            if row.count(b'"') != 2 * len(members) + values.count(b'"'):
                return None
            return self._straight(members, project_id)
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidInput, MalformedBody, _Doubt):
            return None

    def _straight(self, members: dict[str, msgspec.Raw], project_id: str) -> Straight | None:
        fields = self._fields
        if not members.keys() <= fields.keys():
            return None
        texts: dict[str, bytes] = {}
        for name, raw in members.items():
            text = bytes(raw)
            if text != _NULL:
                field = fields[name]
                texts[name] = field.known.get(text) or field.learn(text)
        self._fit_amount(texts)
        days = [day for name in _DATES if (day := texts.get(name))]
        if days != sorted(days):
            return None
        reason = key = reference = None
        if "status" in texts and texts["status"] != self._blank["status"]:
            reason = INITIAL_STATUS_REASON
            texts["status_reason"] = b'"%b"' % reason.encode()
        if "external_ref" in texts:
            key, reference = self._refer(texts)
        shape = tuple(texts)
        changed = self._shapes.get(shape) or self._changed(shape)
        texts["project_id"] = b'"%b"' % project_id.encode()
        document = self._template % tuple((self._blank | texts).values())
        return Straight(document, changed, reason, key, reference)

    def _fit_amount(self, texts: dict[str, bytes]) -> None:
        """Bring the amount to the scale of its currency, at which a document has it."""
        if "total_amount" not in texts:
            raise _Doubt
        amount = self._apart["total_amount"](_token(texts["total_amount"]), "")
        currency = texts.get("currency_code") or self._blank["currency_code"]
        fitted = fit(cast("Decimal", amount), currency[1:-1].decode())
        if fitted < 0:
            raise _Doubt
        texts["total_amount"] = b'"%b"' % str(fitted).encode()

    def _refer(self, texts: dict[str, bytes]) -> tuple[str | None, str]:
        """The row's key in its file and the id of its reservation."""
        token = read_token(texts["external_ref"])
        found = cast("ExternalRef", self._apart["external_ref"](token, ""))
        texts["external_ref"] = _encode(found)
        return reference_key(token), reference_id(found)

    def _changed(self, shape: tuple[str, ...]) -> tuple[str, ...]:
        """What `changed_fields` says of a new project with these fields; a file has few shapes."""
        if not self._required.issubset(shape):
            raise _Doubt
        core = [n for n in FIELDS[1:] if n in shape or self._blank[n] not in (_NULL, _EMPTY)]
        governed = [name for name in shape if name not in FIELDS]
        governed += [name for name in self._defaults if name not in shape]
        if len(governed) > MAX_ATTRIBUTES:
            raise _Doubt
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        found = self._shapes[shape] = (*core, *governed)
        return found


class _Doubt(Exception):
    """It takes a closer look."""


class _Field:
    """One field: which text a document has for the text that a row has."""

    def __init__(self, name: str, read: FieldReader, schema: Schema) -> None:
        self.known: dict[bytes, bytes] = {}
        self._name = name
        self._read = read
        self._schema = schema
        self._governed = name not in FIELDS

    def learn(self, text: bytes) -> bytes:
        """The document's text, worked out and remembered."""
        if self._name in _APART:
            return text
        token = _token(text)
        value = self._read(token, "")
        if type(token) is str and value == token and (self._governed or self._name in _FREE_TEXT):
            found = text
        elif self._governed:
            found = _encode(serialization.plain(self._name, cast("Value", value)))
        else:
            # Alone in a project, so that the domain's own rules are heard on it.
            found = _texts({**_LEAST, self._name: value}, {}, self._schema)[self._name]
        if len(text) <= MAX_KNOWN_BYTES and len(self.known) < MAX_KNOWN:
            self.known[text] = found
        return found


def _token(text: bytes) -> Token:
    """The text of a scalar as a token; the JSON around it is known to be sound."""
    if text[0] == _QUOTE:
        token = text[1:-1].decode()
        if len(token) > MAX_ATTRIBUTE_TEXT:
            raise _Doubt
        return token
    if len(text) <= MAX_NUMBER_LENGTH and _NUMBER(text):
        return Number(text.decode())
    if text in _LITERALS:
        return _LITERALS[text]
    raise _Doubt


def _texts(
    fields: Mapping[str, object], attributes: Mapping[str, Value], schema: Schema
) -> dict[str, bytes]:
    """The document of a new project, as the text of each of its members."""
    project = propose(project_id="-", fields=fields, attributes=attributes, extensions={})
    document = serialization.encode("project", project, schema)
    return {name: bytes(raw) for name, raw in _MEMBERS.decode(document).items()}


_encode = msgspec.json.Encoder().encode
