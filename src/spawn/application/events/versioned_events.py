"""Events of governed kinds in the fields of one adopted schema version each.

Without a version an event is as it was stored, under the version of its commit. A client that reads
one version is given all events in its names and types, as reads give it the states.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.served_versions import (
    VersionConversion,
    find_conversion,
    find_schema,
    get_version_view,
)
from spawn.application.schemas.version_selection import VersionSelection
from spawn.domain.aggregates import decode_state, encode_state
from spawn.domain.errors import InvalidInput
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.schema_version import Schema

ConvertEntries = Callable[
    [tuple[JournalEntry, ...], VersionSelection], Awaitable[tuple[JournalEntry, ...]]
]
"""Function that returns journal entries under schema versions."""


async def convert_entries(
    dependencies: Dependencies, entries: tuple[JournalEntry, ...], selection: VersionSelection
) -> tuple[JournalEntry, ...]:
    """Return the entries with the states of the selected kinds under an adopted schema version.

    Entries of other kinds stay as they are. Values of retired columns that the version lacks are
    left out, as in reads.

    Raises:
        NotFound: a version never had data in this store.
        SchemaVersionExpired: the Sunset of one of its columns is over.
    """
    for kind, version in selection:
        entries = await _convert_kind(dependencies, entries, kind, version)
    return entries


async def _convert_kind(
    dependencies: Dependencies, entries: tuple[JournalEntry, ...], kind: str, version: int
) -> tuple[JournalEntry, ...]:
    schema = (await get_version_view(dependencies, version, kind)).schema
    written = {entry.schema_version for entry in entries if entry.kind == kind}
    conversions = {
        one: (
            await find_schema(dependencies, one, kind),
            await find_conversion(dependencies, one, version, kind),
        )
        for one in written
    }
    return tuple(
        _convert(entry, *conversions[entry.schema_version], schema) if entry.kind == kind else entry
        for entry in entries
    )


def _convert(
    entry: JournalEntry, written: Schema, conversion: VersionConversion, schema: Schema
) -> JournalEntry:
    try:
        state: Any = decode_state(entry.kind, entry.document, written)
        converted_state = conversion.convert(state)
    except InvalidInput:
        # The state breaks a rule of this release: like the feed, it is given as it was stored.
        return entry
    shown = msgspec.structs.replace(converted_state, hidden_attributes={})
    names = (conversion.rename(name) for name in entry.changed)
    return msgspec.structs.replace(
        entry,
        document=encode_state(entry.kind, shown, schema),
        changed=tuple(dict.fromkeys(name for name in names if name is not None)),
        schema_version=schema.version,
    )
