"""Schemas of stored documents: thousands of versions share what they have in common.

Successive versions differ in a column or two, so each distinct column is read once, and the
versions share its object. A document that differs in more than its columns' pieces is read whole.
"""

import re
from collections.abc import Collection
from hashlib import sha256
from typing import Final

import msgspec

from spawn.domain.errors import InvalidInput, MalformedBody
from spawn.domain.schema_version import Column, Schema
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES
from spawn.domain.schemas.document_parser import read_schema, restore_schema, to_canonical_json

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_POINTER: Final = re.compile(r"/columns/0(?=[/:])")
_SHARED_MEMBERS: Final = frozenset({"id", "version", "columns"})


class _Piece(msgspec.Struct, frozen=True):
    """A column of a document: as a column, as canonical JSON, and what of it changes nothing."""

    column: Column
    canonical: str
    ineffective: tuple[str, ...]


class SchemaRestorer:
    """Reader of stored documents of one kind, with the pieces that it has met."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._core = CORE_ATTRIBUTES[kind].by_name
        self._pieces: dict[bytes, _Piece] = {}
        self._frames: dict[bytes, tuple[Schema, dict[str, str]]] = {}

    def restore(self, document: bytes, *, schema_id: str, version: int) -> Schema:
        """Read a schema; see `document_parser.restore_schema`.

        Raises:
            MalformedBody, InvalidInput: see there.
        """
        try:
            schema = self._assemble(document, schema_id, version)
        except (msgspec.DecodeError, InvalidInput, MalformedBody, KeyError):
            schema = None
        return schema or restore_schema(
            document, schema_id=schema_id, version=version, kind=self._kind
        )

    def _assemble(self, document: bytes, schema_id: str, version: int) -> Schema | None:
        """Return the schema of known and new pieces; None if it must be read whole."""
        members = _MEMBERS.decode(document)
        if not members.keys() >= _SHARED_MEMBERS or not all(name.isascii() for name in members):
            return None
        if "quality" in members:
            # An expectation depends on other columns.
            return None
        items = [bytes(item) for item in _ITEMS.decode(members.pop("columns"))]
        number = to_canonical_json(bytes(members.pop("version"))).decode()
        frame, canonical_members = self._read_frame(members, schema_id)
        pieces = [self._pieces.get(item) or self._read_piece(item, schema_id) for item in items]
        columns = tuple(piece.column for piece in pieces)
        if not number.isdecimal() or not _are_distinct(columns, self._core):
            return None
        canonical_members = canonical_members | {
            "version": number,
            "columns": f"[{','.join(piece.canonical for piece in pieces)}]",
        }
        canonical = ",".join(f'"{name}":{text}' for name, text in sorted(canonical_members.items()))
        ineffective = [
            _POINTER.sub(f"/columns/{index}", statement)
            for index, piece in enumerate(pieces)
            for statement in piece.ineffective
        ]
        return msgspec.structs.replace(
            frame,
            version=version,
            columns=columns,
            governed=tuple(column for column in columns if column.name not in self._core),
            fingerprint=sha256(f"{{{canonical}}}".encode()).hexdigest(),
            ineffective=(*frame.ineffective, *ineffective),
        )

    def _read_frame(
        self, members: dict[str, msgspec.Raw], schema_id: str
    ) -> tuple[Schema, dict[str, str]]:
        """Read the members beside version and columns, as a schema and as canonical JSON."""
        key = msgspec.json.encode([schema_id, *members.items()])
        frame = self._frames.get(key)
        if frame is None:
            document = msgspec.json.encode({**members, "version": 1, "columns": ()})
            schema = read_schema(document, schema_id=schema_id, kind=self._kind)
            canonical = {
                name: to_canonical_json(bytes(value)).decode() for name, value in members.items()
            }
            frame = self._frames[key] = (schema, canonical)
        return frame

    def _read_piece(self, item: bytes, schema_id: str) -> _Piece:
        document = b'{"id":"%s","version":1,"columns":[%s]}' % (schema_id.encode(), item)
        schema = read_schema(document, schema_id=schema_id, kind=self._kind)
        (column,) = schema.columns
        piece = _Piece(column, to_canonical_json(item).decode(), schema.ineffective)
        self._pieces[item] = piece
        return piece


def _are_distinct(columns: tuple[Column, ...], core: Collection[str]) -> bool:
    """Whether no two columns share a name or alias, and no alias is a core column's."""
    names = [name for column in columns for name in (column.name, *column.aliases)]
    aliases = {alias for column in columns for alias in column.aliases}
    return len(set(names)) == len(names) and aliases.isdisjoint(core)


def share_columns(schema: Schema, earlier: Schema) -> Schema:
    """Return a schema with the column objects of an earlier version where they are equal."""
    by_name = {column.name: column for column in earlier.columns}

    def share(column: Column) -> Column:
        earlier_column = by_name.get(column.name)
        return column if earlier_column != column or earlier_column is None else earlier_column

    columns = tuple(map(share, schema.columns))
    core = CORE_ATTRIBUTES[schema.kind].by_name
    governed = tuple(column for column in columns if column.name not in core)
    return msgspec.structs.replace(schema, columns=columns, governed=governed)
