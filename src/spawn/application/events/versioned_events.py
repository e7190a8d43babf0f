"""Events of projects in the fields of one adopted schema version.

Without a version an event is as it was stored, under the version of its commit. A client that reads
one version is given all events in its names and types, as reads give it projects.
"""

from collections.abc import Awaitable, Callable

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.served_versions import (
    VersionConversion,
    find_conversion,
    find_schema,
    get_version_view,
)
from spawn.domain.errors import InvalidInput
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.projects.codec import decode_project, encode_project
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schema_version import Schema

ConvertEntries = Callable[[tuple[JournalEntry, ...], int], Awaitable[tuple[JournalEntry, ...]]]
"""Function that returns journal entries under a schema version."""


async def convert_entries(
    dependencies: Dependencies, entries: tuple[JournalEntry, ...], version: int
) -> tuple[JournalEntry, ...]:
    """Return the entries with their projects under an adopted schema version.

    Entries of other kinds stay as they are: no schema governs them. Values of retired columns that
    the version lacks are left out, as in reads.

    Raises:
        NotFound: the version never had data in this store.
        SchemaVersionExpired: the Sunset of one of its columns is over.
    """
    schema = (await get_version_view(dependencies, version)).schema
    written = {entry.schema_version for entry in entries if entry.kind == PROJECT_KIND}
    conversions = {
        one: (
            await find_schema(dependencies, one),
            await find_conversion(dependencies, one, version),
        )
        for one in written
    }
    return tuple(
        _convert(entry, *conversions[entry.schema_version], schema)
        if entry.kind == PROJECT_KIND
        else entry
        for entry in entries
    )


def _convert(
    entry: JournalEntry, written: Schema, conversion: VersionConversion, schema: Schema
) -> JournalEntry:
    try:
        project = conversion.convert(decode_project(entry.document, written))
    except InvalidInput:
        # The state breaks a rule of this release: like the feed, it is given as it was stored.
        return entry
    shown = msgspec.structs.replace(project, hidden_attributes={})
    names = (conversion.rename(name) for name in entry.changed)
    return msgspec.structs.replace(
        entry,
        document=encode_project(shown, schema),
        changed=tuple(dict.fromkeys(name for name in names if name is not None)),
        schema_version=schema.version,
    )
