"""Reading a schema document: data from elsewhere, let in through a whitelist or refused by path.

Two generations of documents exist. The first has `name`, `description` and `columns` of `name`,
`type`, `description` and `required`, and no version: it is read through an anti-corruption map
into the present shape, and its claims about core attributes are taken as description only.
"""

import hashlib
import re
from typing import Any, Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput, MalformedBody, RegistryError
from spawn.domain.json_tokens import Token, read_object, write_token
from spawn.domain.schemas.canonical_json import canonical_json, fingerprint, write_canonical
from spawn.domain.schemas.column_parser import (
    IDENTIFIER,
    MAX_TEXT,
    Members,
    check_column,
    read_column,
    read_type,
    text_reader,
)
from spawn.domain.schemas.core_columns import CORE_BY_NAME, READ_ONLY_COLUMNS
from spawn.domain.schemas.expectations import read_promises
from spawn.domain.schemas.model import Column, ColumnType, Schema, TypeName
from spawn.domain.schemas.value_readers import type_reader, wrong_type

__all__ = [
    "DocumentRefused",
    "canonical_json",
    "fingerprint",
    "is_schema_id",
    "read_schema",
    "recall_schema",
]

MAX_DOCUMENT_BYTES: Final = 1 << 20
MAX_COLUMNS: Final = 500
MAX_CONTEXT_BYTES: Final = 65_536
PERCENT_COLUMN: Final = "expected_tri"
"""The first generation's column for `expected_irr`, as a percentage."""

# A title may end up in logs, pages and reports: letters, digits and quiet punctuation only.
_TITLE = re.compile(r"\w[\w .,()/&+:-]{0,119}")
_FIRST_GENERATION_MEMBERS = ("name", "type", "description", "required")
# The first generation listed what the service assigns beside what a client says.
_FIRST_GENERATION_IDENTITY = frozenset({"id", "project_id", "created_at", "updated_at"})

_NUMERIC = frozenset({TypeName.DECIMAL, TypeName.DOUBLE, TypeName.INTEGER, TypeName.BIGINT})
_COMPATIBLE: Final[dict[TypeName, frozenset[TypeName]]] = {
    TypeName.STRING: frozenset({TypeName.STRING}),
    TypeName.DECIMAL: frozenset({TypeName.DECIMAL, TypeName.DOUBLE}),
    TypeName.INTEGER: frozenset({TypeName.INTEGER, TypeName.BIGINT}),
    TypeName.DATE: frozenset({TypeName.DATE}),
}
_COMPATIBLE_AT_FIRST: Final[dict[TypeName, frozenset[TypeName]]] = {
    TypeName.STRING: frozenset({TypeName.STRING}),
    TypeName.DECIMAL: _NUMERIC,
    TypeName.INTEGER: _NUMERIC,
    TypeName.DATE: frozenset({TypeName.DATE, TypeName.TIMESTAMP, TypeName.STRING}),
}


class DocumentRefused(RegistryError):
    """A registry served a document that is no acceptable schema; `errors` says where and why."""

    def __init__(self, document: bytes, refusal: InvalidInput) -> None:
        super().__init__(f"the registry's document is refused: {refusal.detail[:500]}")
        self.document = document
        self.errors = refusal.errors


def is_schema_id(text: str) -> bool:
    """Whether a text may name a schema: safe in a URL, a file name and a message."""
    return IDENTIFIER.fullmatch(text) is not None


def read_schema(
    document: bytes, *, ordinal: int | None = None, schema_id: str | None = None
) -> Schema:
    """The schema that a registry's document states.

    `ordinal` is the version of a document that has none (1 if not given); `schema_id` the id it was
    asked for by, taken for a document without one and demanded of a document with one.

    Raises:
        InvalidInput: not JSON, too large, or naming each path that breaks a rule.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise InvalidInput.at("", "too_long", f"is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        tokens = read_object(document)
    except MalformedBody as error:
        raise InvalidInput.at("", "malformed", error.detail) from None
    canonical = write_canonical(tokens).encode()
    members = Members(tokens, "", [])
    schema = _read_members(members, tokens, ordinal, schema_id)
    if members.errors:
        raise InvalidInput(members.errors[:100])
    return msgspec.structs.replace(schema, fingerprint=hashlib.sha256(canonical).hexdigest())


def recall_schema(document: bytes, *, schema_id: str, version: int) -> Schema:
    """The schema of a recorded document, under the version it was recorded by.

    A document that was refused has only a name, a version and a fingerprint: no columns.

    Raises:
        MalformedBody, InvalidInput: not even one JSON document of finite numbers.
    """
    try:
        schema = read_schema(document, ordinal=version, schema_id=schema_id)
    except InvalidInput:
        mark = fingerprint(document)
        return Schema(id=schema_id, version=version, name=schema_id, fingerprint=mark)
    return msgspec.structs.replace(schema, version=version)


def _read_members(
    members: Members, tokens: dict[str, Token], ordinal: int | None, schema_id: str | None
) -> Schema:
    first_generation = tokens.get("version") is None
    fallback = ordinal if ordinal is not None else 1
    title = members.take("name", _read_title)
    id_ = members.take("id", _read_schema_id) or schema_id or title
    if id_ is None or not is_schema_id(id_):
        members.refuse("name" if title else "id", "invalid_identifier", "names no schema")
    elif schema_id is not None and id_ != schema_id:
        members.refuse("id", "other_schema", f"is not {schema_id}, which was asked for")
    columns = _read_columns(tokens.get("columns"), members, first_generation=first_generation)
    known = CORE_BY_NAME | {column.name: column for column in columns}
    return Schema(
        id=id_ or "",
        version=members.take("version", _read_version, fallback),
        name=title or id_ or "",
        description=members.take("description", text_reader(MAX_TEXT), ""),
        columns=tuple(columns),
        governed=tuple(c for c in columns if c.name not in CORE_BY_NAME),
        context=members.take("@context", _read_context),
        promises=members.take("quality", lambda t, at: read_promises(t, at, known), ()),
    )


def _read_title(token: Token, pointer: str) -> str:
    if type(token) is not str:
        raise wrong_type(pointer, "a string", token)
    if _TITLE.fullmatch(token) is None:
        detail = "must be 1 to 120 letters, digits, blanks and . , ( ) / & + : - _"
        raise InvalidInput.at(pointer, "invalid_identifier", detail)
    return token


def _read_schema_id(token: Token, pointer: str) -> str:
    if type(token) is not str:
        raise wrong_type(pointer, "a string", token)
    if not is_schema_id(token):
        detail = "must be lower-case letters, digits and _, begin with a letter, at most 63 long"
        raise InvalidInput.at(pointer, "invalid_identifier", detail)
    return token


def _read_version(token: Token, pointer: str) -> int:
    version: Any = type_reader(ColumnType(TypeName.INTEGER))(token, pointer)
    if version < 0:
        raise InvalidInput.at(pointer, "out_of_range", "must be at least 0")
    return int(version)


def _read_context(token: Token, pointer: str) -> msgspec.Raw:
    raw = write_token(token).encode()
    if len(raw) > MAX_CONTEXT_BYTES:
        raise InvalidInput.at(pointer, "too_long", f"is larger than {MAX_CONTEXT_BYTES} bytes")
    return msgspec.Raw(raw)


def _read_columns(token: Token, members: Members, *, first_generation: bool) -> list[Column]:
    if type(token) is not list:
        members.refuse("columns", "missing" if token is None else "wrong_type", "must be an array")
        return []
    if len(token) > MAX_COLUMNS:
        members.refuse("columns", "too_many", f"has more than {MAX_COLUMNS} columns")
        return []
    columns: list[Column] = []
    owners = {PERCENT_COLUMN: "expected_irr"}
    for at, item in enumerate(token):
        pointer = f"/columns/{at}"
        try:
            column = _read_one(item, pointer, first_generation=first_generation)
            if column is not None:
                _claim(column, pointer, owners)
                columns.append(column)
        except InvalidInput as error:
            members.errors.extend(error.errors)
    _check_aliases(columns, members.errors)
    return columns


def _read_one(token: Token, pointer: str, *, first_generation: bool) -> Column | None:
    """One column; None for a first-generation column that the service itself supplies."""
    if type(token) is not dict:
        raise wrong_type(pointer, "an object", token)
    name = token.get("name")
    if first_generation and isinstance(name, str) and name in _FIRST_GENERATION_IDENTITY:
        return None
    if first_generation:
        token = {key: token[key] for key in _FIRST_GENERATION_MEMBERS if key in token}
    if name == PERCENT_COLUMN:
        # A percentage's bounds say nothing about the fraction that is kept.
        kept: dict[str, Token] = {
            key: token[key] for key in ("type", "description") if key in token
        }
        token, name = {**kept, "name": "expected_irr"}, "expected_irr"
    core = CORE_BY_NAME.get(name) if isinstance(name, str) else None
    if core is None:
        return read_column(token, pointer)
    return _describe(core, token, pointer, first_generation=first_generation)


def _describe(
    core: Column, token: dict[str, Token], pointer: str, *, first_generation: bool
) -> Column:
    """What a document says of a core column: described and perhaps tightened, never redefined."""
    declared = read_type({} if (t := token.get("type")) is None else t, f"{pointer}/type")
    allowed = _COMPATIBLE_AT_FIRST if first_generation else _COMPATIBLE
    if declared.name not in allowed[core.type.name]:
        detail = f"{core.name} is a {core.type} of the core, which {declared} is not"
        raise InvalidInput.at(f"{pointer}/type", "core_redefined", detail)
    said = read_column(token, pointer, core.type)
    _refuse_redefinition(core, said, pointer)
    required = said.required and core.default is None and not first_generation
    column = msgspec.structs.replace(
        said,
        description=said.description or core.description,
        required=core.required or required,
        default=core.default,
        enum=said.enum or core.enum,
        minimum=core.minimum if said.minimum is None else said.minimum,
        maximum=core.maximum if said.maximum is None else said.maximum,
        semantic=said.semantic or core.semantic,
        unit=said.unit or core.unit,
        aliases=tuple(alias for alias in said.aliases if alias != PERCENT_COLUMN),
    )
    check_column(column, pointer)
    return column


def _refuse_redefinition(core: Column, said: Column, pointer: str) -> None:
    errors: list[FieldError] = []

    def refuse(member: str) -> None:
        detail = f"contradicts what the core says of {core.name}"
        errors.append(FieldError(f"{pointer}/{member}", "core_redefined", detail))

    if said.default not in {None, core.default}:
        refuse("default")
    if said.enum is not None and core.enum is not None and {*said.enum} != {*core.enum}:
        refuse("enum")
    if _below(said.minimum, core.minimum):
        refuse("minimum")
    if _below(core.maximum, said.maximum):
        refuse("maximum")
    if said.required and core.name in READ_ONLY_COLUMNS:
        refuse("required")
    if errors:
        raise InvalidInput(errors)


def _below(value: Any, bound: Any) -> bool:
    return value is not None and bound is not None and value < bound


def _claim(column: Column, pointer: str, owners: dict[str, str]) -> None:
    if column.name in owners:
        raise InvalidInput.at(f"{pointer}/name", "duplicate", f"{column.name} is named twice")
    owners[column.name] = column.name


def _check_aliases(columns: list[Column], errors: list[FieldError]) -> None:
    """An alias must not be anyone's name, nor anyone else's alias."""
    taken = {*CORE_BY_NAME, PERCENT_COLUMN, *(column.name for column in columns)}
    for column in columns:
        for alias in column.aliases:
            if alias in taken:
                detail = f"the alias {alias} of {column.name} is taken"
                errors.append(FieldError("/columns", "duplicate", detail))
            taken.add(alias)
