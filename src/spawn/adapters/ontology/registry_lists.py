"""Lists of the registry: its schemas, and the versions of one, as external data."""

from typing import Final

from spawn.domain.errors import InvalidInput, MalformedBody, RegistryError
from spawn.domain.json_tokens import Token, format_token, parse_object
from spawn.domain.schema_version import MAX_VERSION
from spawn.domain.schemas.document_parser import is_schema_id
from spawn.ports.schemas import PublishedSchema

_MAX_TITLE: Final = 120
_PAGE_MEMBERS: Final = (
    *("next", "next_page", "nextPage", "next_page_token", "nextPageToken", "next_cursor"),
    *("has_more", "hasMore", "has_next", "hasNext", "hasNextPage"),
    *("next_link", "nextLink", "@nextLink", "@odata.nextLink", "nextCursor", "cursor"),
)
_COUNT_MEMBERS: Final = (
    *("total", "total_count", "totalCount", "count", "@odata.count"),
    *("total_items", "totalItems", "total_elements", "totalElements"),
)
_PAGE_COUNT_MEMBERS: Final = ("pages", "page_count", "pageCount", "total_pages", "totalPages")
_HOLDERS: Final = (
    *("links", "_links", "pagination", "paging", "page", "meta", "metadata"),
    *("page_info", "pageInfo"),
)
_MAX_SHOWN: Final = 40
_MAX_DIGITS: Final = 20


def parse_versions(body: bytes) -> tuple[int, ...] | None:
    """Return the version numbers of a list, ascending; None if the body is a schema document.

    Some servers have no list and respond with the latest document to every path. A number may be
    a text of digits. Numbers beyond `MAX_VERSION` come after all others and are left out. Any other
    entry, or a list that is a page of a longer one, would hide a version.

    Raises:
        RegistryError: the body is no JSON object, has no `versions`, is not the whole list, or an
            entry has no number.
    """
    members = _read_object(body)
    entries = members.get("versions")
    if not isinstance(entries, list):
        if "columns" in members:
            return None
        raise RegistryError("the registry's list of versions has no array /versions")
    _check_whole(members, len(entries))
    numbers = {_read_number(entry, index) for index, entry in enumerate(entries)}
    return tuple(sorted(number for number in numbers if number <= MAX_VERSION))


def _check_whole(members: dict[str, Token], entry_count: int) -> None:
    """Raise RegistryError if a list says that it is not the whole one."""
    for place, holder in (("", members), *((f"/{name}", members.get(name)) for name in _HOLDERS)):
        if not isinstance(holder, dict):
            continue
        for member in _PAGE_MEMBERS:
            if holder.get(member):
                raise page_error(f"{place}/{member}")
        for member in _PAGE_COUNT_MEMBERS:
            if (_parse_number(holder.get(member)) or 0) > 1:
                raise page_error(f"{place}/{member}")
        for member in _COUNT_MEMBERS:
            count = _parse_number(holder.get(member))
            if count is not None and count > entry_count:
                raise RegistryError(
                    f"the registry's list of versions has {entry_count} of {count} entries"
                    f" ({place}/{member}): list all versions in one response"
                )


def page_error(place: str) -> RegistryError:
    """Return the error of a list that is one page of several, as a member or header says."""
    return RegistryError(
        f"the registry's list of versions is one page of several ({place}):"
        " list all versions in one response"
    )


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
                latest_version=_read_latest(entry),
            )
    return tuple(schemas[schema_id] for schema_id in sorted(schemas))


def _read_object(body: bytes) -> dict[str, Token]:
    try:
        return parse_object(body)
    except (MalformedBody, InvalidInput) as error:
        raise RegistryError(f"the registry's list is no JSON object: {error.detail}") from None


def _read_number(entry: Token, index: int) -> int:
    token = entry.get("version") if isinstance(entry, dict) else entry
    number = _parse_number(token)
    if number is None:
        pointer = f"/versions/{index}" + ("/version" if isinstance(entry, dict) else "")
        shown = format_token(token)[:_MAX_SHOWN]
        raise RegistryError(
            f"the registry's list of versions has an entry without a number: {pointer} is {shown}"
        )
    return number


def _parse_number(token: Token) -> int | None:
    """Return a whole number that is not negative, also of a text of digits; else None."""
    if not isinstance(token, str) or len(token) > _MAX_DIGITS:
        return None
    return int(token) if token.isascii() and token.isdecimal() else None


def _read_latest(entry: dict[str, Token]) -> int | None:
    number = _parse_number(entry.get("latest_version"))
    return number if number is not None and number <= MAX_VERSION else None


def _read_title(entry: dict[str, Token]) -> str:
    for member in ("title", "name"):
        title = entry.get(member)
        if isinstance(title, str):
            return "".join(character for character in title if character.isprintable())[:_MAX_TITLE]
    return ""
