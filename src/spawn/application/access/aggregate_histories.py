"""Histories of aggregates of any kind: their versions, and who made each."""

from spawn.application.dependencies import Dependencies
from spawn.domain.errors import NotFound
from spawn.domain.events.journal_entry import JournalEntry


async def list_history(
    dependencies: Dependencies, kind: str, key: str, *, after_version: int, limit: int
) -> list[JournalEntry]:
    """Return a page of the versions of an aggregate, oldest first.

    The caller has checked the scope, which depends on the kind.

    Raises:
        NotFound: there is no such aggregate.
    """
    entries = await dependencies.reads.history(kind, key, after_version=after_version, limit=limit)
    if not entries and not after_version:
        raise NotFound(f"There is no {kind} of this id.")
    return entries
