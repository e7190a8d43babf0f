"""Lists of the registry: its schemas, and the versions of one, as external data."""

from typing import Final

from spawn.domain.errors import InvalidInput, MalformedBody, RegistryError
from spawn.domain.json_tokens import NumberToken, Token, parse_object
from spawn.domain.schema_version import MAX_VERSION
from spawn.domain.schemas.document_parser import is_schema_id
from spawn.ports.schemas import PublishedSchema

_MAX_TITLE: Final = 120
_MAX_DIGITS: Final = 10


def parse_versions(body: bytes) -> tuple[int, ...] | None:
    """Return the version numbers of a list, ascending; None if the body is no such list.

    Entries without a usable number are left out: the versions that have one still count.

    Raises:
        RegistryError: the body is no JSON object.
    """
    entries = _read_object(body).get("versions")
    if not isinstance(entries, list):
        return None
    numbers = (_read_number(entry) for entry in entries)
    return tuple(sorted({number for number in numbers if number is not None}))


def parse_schemas(body: bytes) -> tuple[PublishedSchema, ...]:
    """Return the schemas of a list, by id; none if the body is no such list.

    Raises:
        RegistryError: the body is no JSON object.
    """
    entries = _read_object(body).get("schemas")
    schemas: dict[str, PublishedSchema] = {}
    for entry in entries if isinstance(entries, list) else []:
        schema_id = entry.get("id") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and isinstance(schema_id, str) and is_schema_id(schema_id):
            schemas[schema_id] = PublishedSchema(
                schema_id=schema_id,
                title=_read_title(entry),
                latest_version=_parse_number(entry.get("latest_version")),
            )
    return tuple(schemas[schema_id] for schema_id in sorted(schemas))


def _read_object(body: bytes) -> dict[str, Token]:
    try:
        return parse_object(body)
    except (MalformedBody, InvalidInput) as error:
        raise RegistryError(f"the registry's list is no JSON object: {error.detail}") from None


def _read_number(entry: Token) -> int | None:
    return _parse_number(entry.get("version") if isinstance(entry, dict) else entry)


def _parse_number(token: Token) -> int | None:
    if not isinstance(token, NumberToken) or not token.isdecimal() or len(token) > _MAX_DIGITS:
        return None
    number = int(token)
    return number if number <= MAX_VERSION else None


def _read_title(entry: dict[str, Token]) -> str:
    for member in ("title", "name"):
        title = entry.get(member)
        if isinstance(title, str):
            return "".join(character for character in title if character.isprintable())[:_MAX_TITLE]
    return ""
