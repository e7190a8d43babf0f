"""Selection of served schema versions, one for each governed kind at most."""

import re
from collections.abc import Mapping
from typing import Final

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.served_versions import get_version_view, is_version_served
from spawn.domain.aggregates import governed_kinds
from spawn.domain.errors import InvalidInput
from spawn.domain.projects.project import PROJECT_KIND

VersionSelection = tuple[tuple[str, int], ...]
"""Selected versions as pairs of a governed kind and a version number, by kind."""

VERSION_SELECTION: Final = (
    r"([a-z][a-z0-9_]{0,62}@)?(0|[1-9][0-9]{0,8})(,[a-z][a-z0-9_]{0,62}@(0|[1-9][0-9]{0,8}))*"
)
"""Pattern of the text of a selection."""

_ITEM: Final = re.compile(r"(?:([a-z][a-z0-9_]{0,62})@)?(0|[1-9][0-9]{0,8})")
_POINTER: Final = "/schema_version"


async def read_version_selection(
    dependencies: Dependencies, text: str | None, kind: str = PROJECT_KIND
) -> VersionSelection:
    """Read the selection in a text such as `3`, `facility_schema@2` or both with a comma.

    Args:
        dependencies: the ports.
        text: the text; None selects nothing.
        kind: the kind whose version a number alone is.

    Raises:
        InvalidInput: the text has another form, or names an unknown schema or a kind twice.
        NotFound: the store never had data under a version.
        SchemaVersionExpired: a version is no longer served.
    """
    if text is None:
        return ()
    schema_ids = await _list_schema_ids(dependencies)
    versions_by_kind: dict[str, int] = {}
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            detail = "A schema version is a whole number, or schema_id@number for each schema."
            raise InvalidInput.at(_POINTER, "out_of_range", detail)
        one = kind if match[1] is None else schema_ids.get(match[1])
        if one is None:
            raise InvalidInput.at(_POINTER, "unknown_version", f"There is no schema {match[1]}.")
        if one in versions_by_kind:
            raise InvalidInput.at(_POINTER, "given_twice", f"A version of a {one} is given twice.")
        versions_by_kind[one] = (
            await get_version_view(dependencies, int(match[2]), one)
        ).schema.version
    return tuple(sorted(versions_by_kind.items()))


async def is_selection_served(dependencies: Dependencies, selection: VersionSelection) -> bool:
    """Return whether clients still get responses under every selected version."""
    for kind, version in selection:
        if not await is_version_served(dependencies, version, kind):
            return False
    return True


async def read_schema_kind(dependencies: Dependencies, schema_id: str | None) -> str:
    """Return the kind whose active schema has an id; that of projects without an id.

    Raises:
        InvalidInput: no kind has this schema.
    """
    if schema_id is None:
        return PROJECT_KIND
    kind = (await _list_schema_ids(dependencies)).get(schema_id)
    if kind is None:
        raise InvalidInput.at("/schema_id", "unknown_version", "There is no such schema.")
    return kind


async def _list_schema_ids(dependencies: Dependencies) -> Mapping[str, str]:
    """Return the kind of each active schema, by its id."""
    kinds = governed_kinds()
    return {(await dependencies.active_schema(kind)).schema.id: kind for kind in kinds}
