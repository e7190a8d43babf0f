"""Parser of schema documents: external data, checked by a whitelist, with errors by path.

Two generations of documents exist. The first has `name`, `description` and `columns` of `name`,
`type`, `description` and `required`, and no version: an anti-corruption mapping converts it to the
current fields, and what it states about core attributes is used as description only.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput, MalformedBody, RegistryError
from spawn.domain.json_tokens import Token, format_token, parse_object
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schema_version import Column, ColumnType, Expectation, Schema, TypeName
from spawn.domain.schemas.canonical_json import (
    compute_fingerprint,
    to_canonical_json,
    write_canonical,
)
from spawn.domain.schemas.column_parser import (
    COLUMN_MEMBERS,
    IDENTIFIER,
    MAX_ALIASES,
    MAX_TEXT,
    check_column,
    read_column,
    read_type,
)
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES, PERCENT_ALIAS, CoreAttributes
from spawn.domain.schemas.expectations import read_expectations
from spawn.domain.schemas.value_readers import type_reader
from spawn.domain.struct_reader import (
    TokenReader,
    collect_members,
    prose_reader,
    read_string,
    wrong_type_error,
)

__all__ = [
    "InvalidSchemaDocument",
    "compute_fingerprint",
    "is_schema_id",
    "read_schema",
    "restore_schema",
    "to_canonical_json",
]

MAX_DOCUMENT_BYTES: Final = 1 << 20
MAX_COLUMNS: Final = 500
MAX_DOCUMENT_ERRORS: Final = 100
MAX_NAMES: Final = MAX_COLUMNS * (MAX_ALIASES + 1)
"""Names and aliases of the columns of one version; a document with more is none."""

MAX_CONTEXT_BYTES: Final = 65_536
MAX_INEFFECTIVE: Final = 20
"""Statements without effect that are listed of a document."""

# A title may end up in logs, pages and reports: letters, digits and quiet punctuation only.
_TITLE = re.compile(r"\w[\w .,()/&+:-]{0,119}")
_MAX_MEMBER_NAME: Final = 80
_DOCUMENT_MEMBERS: Final = frozenset(
    {"name", "id", "version", "description", "@context", "columns", "quality"}
)
_FIRST_GENERATION_MEMBERS = ("name", "type", "description", "required")
# The first generation also listed columns that the service assigns.
_FIRST_GENERATION_IDENTITY = frozenset({"id", "project_id", "created_at", "updated_at"})

_NUMERIC = frozenset({TypeName.DECIMAL, TypeName.DOUBLE, TypeName.INTEGER, TypeName.BIGINT})
_OF_ANOTHER: Final = frozenset({"other_version", "other_schema"})
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


class InvalidSchemaDocument(RegistryError):
    """The registry returned an invalid schema document; `errors` lists the violations."""

    def __init__(self, document: bytes, error: InvalidInput) -> None:
        super().__init__(f"the registry's document is invalid: {error.detail[:500]}")
        self.document = document
        self.errors = error.errors

    @cached_property
    def fingerprint(self) -> str | None:
        """Fingerprint of the document; None if it is no JSON that has one."""
        try:
            return compute_fingerprint(self.document)
        except (MalformedBody, InvalidInput):
            return None

    @cached_property
    def is_version(self) -> bool:
        """Whether the document is a version of the schema, though a bad one.

        A page of a proxy, an error as an object, and the document of another version or schema say
        nothing about the version that was requested. One without a fingerprint, such as with a
        number beyond a double, and one with more names than a version may have could not be
        recorded as passed over.
        """
        if self.fingerprint is None or _OF_ANOTHER & {error.code for error in self.errors}:
            return False
        try:
            tokens = parse_object(self.document)
        except (MalformedBody, InvalidInput):
            return False
        return "columns" in tokens and _count_names(tokens["columns"]) <= MAX_NAMES


def is_schema_id(text: str) -> bool:
    """Whether a text is a valid schema id: safe in URLs, file names and messages."""
    return IDENTIFIER.fullmatch(text) is not None


def read_schema(
    document: bytes,
    *,
    default_version: int | None = None,
    schema_id: str | None = None,
    kind: str = PROJECT_KIND,
) -> Schema:
    """Read the schema from a registry's document, for a governed kind of aggregate.

    `default_version` is the version of a document without one (1 if None). `schema_id` is the
    requested id: the id of a document without one, and required of a document with one.

    Raises:
        InvalidInput: not JSON, too large, or one error for each path that violates a rule.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise InvalidInput.at("", "too_long", f"is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        tokens = parse_object(document)
    except MalformedBody as error:
        raise InvalidInput.at("", "malformed", error.detail) from None
    canonical = write_canonical(tokens).encode()
    errors: list[FieldError] = []
    schema = _read_document(tokens, default_version, schema_id, CORE_ATTRIBUTES[kind], errors)
    if errors:
        raise InvalidInput(errors[:MAX_DOCUMENT_ERRORS])
    return msgspec.structs.replace(schema, fingerprint=hashlib.sha256(canonical).hexdigest())


def restore_schema(
    document: bytes, *, schema_id: str, version: int, kind: str = PROJECT_KIND
) -> Schema:
    """Read the schema of a recorded document, under its recorded version.

    A rejected document yields only a name, a version and a fingerprint, no columns.

    Raises:
        MalformedBody, InvalidInput: not one JSON document of finite numbers.
    """
    try:
        schema = read_schema(document, default_version=version, schema_id=schema_id, kind=kind)
    except InvalidInput:
        return Schema(
            id=schema_id,
            version=version,
            name=schema_id,
            kind=kind,
            fingerprint=compute_fingerprint(document),
        )
    return msgspec.structs.replace(schema, version=version)


def _read_document(
    tokens: dict[str, Token],
    default_version: int | None,
    schema_id: str | None,
    core: CoreAttributes,
    errors: list[FieldError],
) -> Schema:
    is_first_generation = tokens.get("version") is None
    members = collect_members(tokens, "", _MEMBER_READERS, errors, ignores_unknown=True)
    title = members.get("name")
    id_ = members.get("id") or schema_id or title
    if id_ is None or not is_schema_id(id_):
        pointer = "/name" if title else "/id"
        errors.append(FieldError(pointer, "invalid_identifier", "is no valid schema id"))
    elif schema_id is not None and id_ != schema_id:
        errors.append(FieldError("/id", "other_schema", f"is not the requested {schema_id}"))
    ineffective = [*_find_unknown_members(tokens, "", _DOCUMENT_MEMBERS)]
    columns = _read_columns(
        tokens.get("columns"), core, errors, ineffective, is_first_generation=is_first_generation
    )
    columns_by_name = {**core.by_name, **{column.name: column for column in columns}}

    def read_quality(token: Token, pointer: str) -> tuple[Expectation, ...]:
        return read_expectations(token, pointer, columns_by_name)

    quality = collect_members(tokens, "", {"quality": read_quality}, errors, ignores_unknown=True)
    return Schema(
        id=id_ or "",
        version=members.get("version", 1 if default_version is None else default_version),
        name=title or id_ or "",
        kind=core.kind,
        description=members.get("description", ""),
        columns=tuple(columns),
        governed=tuple(c for c in columns if c.name not in core.by_name),
        context=members.get("@context"),
        expectations=quality.get("quality", ()),
        ineffective=_limit_statements(ineffective),
    )


def _read_title(token: Token, pointer: str) -> str:
    title = read_string(token, pointer)
    if _TITLE.fullmatch(title) is None:
        detail = "must be 1 to 120 letters, digits, blanks and . , ( ) / & + : - _"
        raise InvalidInput.at(pointer, "invalid_identifier", detail)
    return title


def _read_schema_id(token: Token, pointer: str) -> str:
    schema_id = read_string(token, pointer)
    if not is_schema_id(schema_id):
        detail = "must be lower-case letters, digits and _, begin with a letter, at most 63 long"
        raise InvalidInput.at(pointer, "invalid_identifier", detail)
    return schema_id


def _read_version(token: Token, pointer: str) -> int:
    version: Any = type_reader(ColumnType(TypeName.INTEGER))(token, pointer)
    if version < 0:
        raise InvalidInput.at(pointer, "out_of_range", "must be at least 0")
    return int(version)


def _read_context(token: Token, pointer: str) -> msgspec.Raw:
    raw = format_token(token).encode()
    if len(raw) > MAX_CONTEXT_BYTES:
        raise InvalidInput.at(pointer, "too_long", f"is larger than {MAX_CONTEXT_BYTES} bytes")
    return msgspec.Raw(raw)


def _read_columns(
    token: Token,
    core: CoreAttributes,
    errors: list[FieldError],
    ineffective: list[str],
    *,
    is_first_generation: bool,
) -> list[Column]:
    if type(token) is not list:
        code = "missing" if token is None else "wrong_type"
        errors.append(FieldError("/columns", code, "must be an array"))
        return []
    if len(token) > MAX_COLUMNS:
        detail = f"has more than {MAX_COLUMNS} columns"
        errors.append(FieldError("/columns", "too_many", detail))
        return []
    columns: list[Column] = []
    owners = {} if core.percent_name is None else {PERCENT_ALIAS: core.percent_name}
    for index, item in enumerate(token):
        pointer = f"/columns/{index}"
        try:
            column = _read_column_entry(
                item, pointer, core, is_first_generation=is_first_generation
            )
            if column is not None:
                _check_unique_name(column, pointer, owners)
                columns.append(column)
                if isinstance(item, dict) and is_first_generation:
                    ineffective += _find_unversioned_members(item, pointer)
                elif isinstance(item, dict):
                    ineffective += _find_ineffective(item, column, core, pointer)
        except InvalidInput as error:
            errors.extend(error.errors)
    _check_aliases(columns, core, errors)
    return columns


def _read_column_entry(
    token: Token, pointer: str, core: CoreAttributes, *, is_first_generation: bool
) -> Column | None:
    """Read one column; None for a first-generation column that the service assigns."""
    if type(token) is not dict:
        raise wrong_type_error(pointer, "an object", token)
    name = token.get("name")
    if is_first_generation and isinstance(name, str) and name in _FIRST_GENERATION_IDENTITY:
        return None
    if is_first_generation:
        token = {key: token[key] for key in _FIRST_GENERATION_MEMBERS if key in token}
    if name == PERCENT_ALIAS and core.percent_name is not None:
        # The bounds of the percentage do not apply to the stored fraction.
        fields: dict[str, Token] = {
            key: token[key] for key in ("type", "description") if key in token
        }
        token, name = {**fields, "name": core.percent_name}, core.percent_name
    if isinstance(name, str) and name in core.reserved_names:
        raise InvalidInput(_list_reserved_errors(name, token, pointer))
    core_column = core.by_name.get(name) if isinstance(name, str) else None
    if core_column is None:
        return read_column(token, pointer)
    return _merge_core_column(
        core_column, core, token, pointer, is_first_generation=is_first_generation
    )


def _list_reserved_errors(name: str, token: Token, pointer: str) -> list[FieldError]:
    """Return the error of a reserved name, and all others of the column."""
    detail = f"{name} is reserved for the service"
    errors = [FieldError(f"{pointer}/name", "structural_name", detail)]
    try:
        read_column(token, pointer)
    except InvalidInput as error:
        errors.extend(error.errors)
    return errors


def _merge_core_column(
    core: Column,
    attributes: CoreAttributes,
    token: dict[str, Token],
    pointer: str,
    *,
    is_first_generation: bool,
) -> Column:
    """Merge a document's description of a core column, which may only tighten it."""
    type_token = token.get("type")
    # An absent type is reported as a wrong one: `{}` is no type name.
    declared_type = read_type({} if type_token is None else type_token, f"{pointer}/type")
    former = attributes.former_columns.get(core.name)
    compatible_types = _COMPATIBLE_AT_FIRST if is_first_generation else _COMPATIBLE
    is_former = former is not None and declared_type.name in _COMPATIBLE[former.type.name]
    if not is_former and declared_type.name not in compatible_types[core.type.name]:
        detail = f"{core.name} is a core column of type {core.type}, not {declared_type}"
        raise InvalidInput.at(f"{pointer}/type", "core_redefined", detail)
    declared_column = read_column(token, pointer, core.type)
    if former is not None and is_former:
        declared_column = _drop_former_bounds(declared_column, former)
    _check_no_redefinition(core, attributes, declared_column, pointer)
    has_percent = attributes.percent_name is not None
    is_required = declared_column.required and core.default is None and not is_first_generation
    column = msgspec.structs.replace(
        declared_column,
        description=declared_column.description or core.description,
        required=core.required or is_required,
        default=core.default,
        enum=declared_column.enum or core.enum,
        minimum=core.minimum if declared_column.minimum is None else declared_column.minimum,
        maximum=core.maximum if declared_column.maximum is None else declared_column.maximum,
        semantic=declared_column.semantic or core.semantic,
        unit=declared_column.unit or core.unit,
        aliases=tuple(a for a in declared_column.aliases if a != PERCENT_ALIAS or not has_percent),
    )
    check_column(column, pointer)
    return column


def _find_ineffective(
    token: dict[str, Token], column: Column, attributes: CoreAttributes, pointer: str
) -> Iterator[str]:
    """Yield the statements about a column that change nothing."""
    yield from _find_unknown_members(token, pointer, COLUMN_MEMBERS)
    if column.sunset is not None and not column.deprecated:
        yield f"{pointer}/sunset: {column.name} is not deprecated, so nobody is warned."
    core = attributes.by_name.get(column.name)
    if core is None:
        return
    if core.required and token.get("required") is False:
        yield f"{pointer}/required: {core.name} stays required."
    declared_type = read_type(token["type"], pointer)
    former = attributes.former_columns.get(core.name, core)
    is_stated = declared_type.name is not core.type.name or declared_type.has_parameters
    if is_stated and declared_type not in {core.type, former.type}:
        yield f"{pointer}/type: {core.name} stays {core.type.with_article}."


def _find_unknown_members(
    token: dict[str, Token], pointer: str, known_members: frozenset[str]
) -> Iterator[str]:
    """Yield the members that nothing reads; `@`, `$` and `x` begin annotations of others."""
    for name in token:
        if name not in known_members and not name.startswith(("@", "$", "x-", "x_")):
            yield f"{pointer}/{name[:_MAX_MEMBER_NAME]}: no such member has an effect."


def _find_unversioned_members(token: dict[str, Token], pointer: str) -> Iterator[str]:
    """Yield the members of a column that a document has to be versioned for.

    The first generation had other columns under these names, so none of them is read.
    """
    for name in token:
        if name in COLUMN_MEMBERS and name not in _FIRST_GENERATION_MEMBERS:
            yield f"{pointer}/{name}: it has no effect in a document without a version."
    yield from _find_unknown_members(token, pointer, COLUMN_MEMBERS)


def _limit_statements(statements: list[str]) -> tuple[str, ...]:
    more = len(statements) - MAX_INEFFECTIVE
    if more <= 0:
        return tuple(statements)
    return (*statements[:MAX_INEFFECTIVE], f"/: {more} more statements have no effect.")


def _drop_former_bounds(column: Column, former: Column) -> Column:
    """Drop the bounds that repeat a former core definition, so that they restrict nothing."""
    minimum = None if column.minimum == former.minimum else column.minimum
    maximum = None if column.maximum == former.maximum else column.maximum
    return msgspec.structs.replace(column, minimum=minimum, maximum=maximum)


def _check_no_redefinition(
    core: Column, attributes: CoreAttributes, declared_column: Column, pointer: str
) -> None:
    errors: list[FieldError] = []

    def reject(member: str) -> None:
        detail = f"contradicts the core definition of {core.name}"
        errors.append(FieldError(f"{pointer}/{member}", "core_redefined", detail))

    if declared_column.default not in {None, core.default}:
        reject("default")
    if (
        declared_column.enum is not None
        and core.enum is not None
        and {*declared_column.enum} != {*core.enum}
    ):
        reject("enum")
    if _is_below(declared_column.minimum, core.minimum):
        reject("minimum")
    if _is_below(core.maximum, declared_column.maximum):
        reject("maximum")
    if declared_column.required and core.name in attributes.read_only_names:
        reject("required")
    if errors:
        raise InvalidInput(errors)


def _is_below(value: Any, bound: Any) -> bool:
    return value is not None and bound is not None and value < bound


def _check_unique_name(column: Column, pointer: str, owners: dict[str, str]) -> None:
    if column.name in owners:
        raise InvalidInput.at(f"{pointer}/name", "duplicate", f"{column.name} is declared twice")
    owners[column.name] = column.name


def _check_aliases(columns: list[Column], core: CoreAttributes, errors: list[FieldError]) -> None:
    """Append an error for each alias that is another column's name or alias, or reserved."""
    names = {*core.by_name, *core.reserved_names, *(column.name for column in columns)}
    if core.percent_name is not None:
        names.add(PERCENT_ALIAS)
    for column in columns:
        for alias in column.aliases:
            if alias in names:
                detail = f"the alias {alias} of {column.name} is taken"
                errors.append(FieldError("/columns", "duplicate", detail))
            names.add(alias)


_MEMBER_READERS: Final[dict[str, TokenReader]] = {
    "name": _read_title,
    "id": _read_schema_id,
    "version": _read_version,
    "description": prose_reader(MAX_TEXT),
    "@context": _read_context,
}


def find_stated_id(document: bytes) -> str | None:
    """Return the schema id that a document states; None without one, or if it is no JSON object."""
    try:
        schema_id = parse_object(document).get("id")
    except MalformedBody:
        return None
    return schema_id if isinstance(schema_id, str) else None


def read_column_aliases(document: bytes) -> dict[str, tuple[str, ...]]:
    """Return the aliases by column of a document that may be invalid; empty without any.

    A document without a version has columns, but no aliases. One of more than `MAX_NAMES` has none.
    """
    try:
        tokens = parse_object(document)
    except (MalformedBody, InvalidInput):
        return {}
    columns, is_versioned = tokens.get("columns"), tokens.get("version") is not None
    if _count_names(columns) > MAX_NAMES:
        return {}
    aliases_by_name: dict[str, tuple[str, ...]] = {}
    for column in columns if isinstance(columns, list) else ():
        name = column.get("name") if isinstance(column, dict) else None
        if isinstance(column, dict) and type(name) is str:
            aliases = column.get("aliases") if is_versioned else None
            listed_aliases = aliases if isinstance(aliases, list) else ()
            aliases_by_name[name] = tuple(a for a in listed_aliases if type(a) is str)
    return aliases_by_name


def _count_names(columns: Token) -> int:
    """Return the number of columns and their aliases in a document that may be invalid."""
    listed_columns = columns if isinstance(columns, list) else []
    aliases = (column.get("aliases") for column in listed_columns if isinstance(column, dict))
    return len(listed_columns) + sum(len(one) for one in aliases if isinstance(one, list))


def find_stated_version(document: bytes) -> int | None:
    """Return the version number that a document states; None without one."""
    try:
        token = parse_object(document).get("version")
        return None if token is None else _read_version(token, "/version")
    except (InvalidInput, MalformedBody):
        return None
