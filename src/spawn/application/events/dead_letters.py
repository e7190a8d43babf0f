"""List, replay and discard dead letters: events that a publisher could not deliver."""

from collections import Counter
from typing import Protocol

import msgspec

from spawn.application.commands import Decision, commit
from spawn.application.dependencies import Dependencies, require
from spawn.domain.change import StoredAggregate, Write
from spawn.domain.errors import Conflict, Duplicate, NotFound, StaleVersion
from spawn.domain.events import dead_letter as letters
from spawn.domain.events.dead_letter import DEAD_LETTER_KIND, DeadLetter, DeadLetterState
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.principal import Principal, Scope
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Page, Query
from spawn.domain.schema_version import Value
from spawn.ports.storage import ReadStore

RELAY = Principal(id="relay")
"""Principal that records dead letters."""


class DeadLetterPublisher(Protocol):
    """The part of the relay that dead letters need."""

    async def redeliver(self, letter: DeadLetter) -> None:
        """Publish the event again; see `Relay.redeliver`."""
        ...

    def mark_resolved(self, letter: DeadLetter) -> None:
        """Count the dead letter as resolved."""
        ...


async def list_dead_letters(
    dependencies: Dependencies,
    principal: Principal,
    *,
    after: tuple[Value | None, ...] | None,
    limit: int,
    state: DeadLetterState | None = None,
) -> Page[StoredAggregate[DeadLetter]]:
    """Return a page of dead letters, in the order in which they were recorded."""
    require(principal, Scope.EVENTS_READ)
    filters = () if state is None else (_in_state(state),)
    query = Query(kind=DEAD_LETTER_KIND, filters=filters, limit=limit, after=after)
    return await dependencies.reads.page(query)


def _in_state(state: DeadLetterState) -> Filter:
    return Filter("state", Operator.EQ, (state.value,))


async def get_dead_letter(
    dependencies: Dependencies, principal: Principal, letter_id: str
) -> StoredAggregate[DeadLetter]:
    """Return one dead letter.

    Raises:
        NotFound: no such dead letter.
    """
    require(principal, Scope.EVENTS_READ)
    return await dependencies.reads.get(DEAD_LETTER_KIND, letter_id)


async def replay_dead_letter(
    dependencies: Dependencies, principal: Principal, relay: DeadLetterPublisher, letter_id: str
) -> StoredAggregate[DeadLetter]:
    """Publish the event again and mark the dead letter as replayed.

    Raises:
        NotFound: no such dead letter.
        Conflict: it was already replayed or discarded, or its publisher is not configured.
        DeliveryFailed: the publisher did not accept the event this time either.
    """
    require(principal, Scope.ADMIN)
    before: StoredAggregate[DeadLetter] = await dependencies.reads.get(DEAD_LETTER_KIND, letter_id)
    after = letters.resolve_dead_letter(before.state, DeadLetterState.REPLAYED)
    await relay.redeliver(before.state)
    return await _commit_resolution(dependencies, principal, relay, before, after)


async def discard_dead_letter(
    dependencies: Dependencies, principal: Principal, relay: DeadLetterPublisher, letter_id: str
) -> StoredAggregate[DeadLetter]:
    """Mark a dead letter as discarded; its event stays in the feed.

    Raises:
        NotFound: no such dead letter.
        Conflict: it was already replayed or discarded.
    """
    require(principal, Scope.ADMIN)
    before: StoredAggregate[DeadLetter] = await dependencies.reads.get(DEAD_LETTER_KIND, letter_id)
    after = letters.resolve_dead_letter(before.state, DeadLetterState.DISCARDED)
    return await _commit_resolution(dependencies, principal, relay, before, after)


async def _commit_resolution(
    dependencies: Dependencies,
    principal: Principal,
    relay: DeadLetterPublisher,
    before: StoredAggregate[DeadLetter],
    after: DeadLetter,
) -> StoredAggregate[DeadLetter]:
    try:
        write = Write(DEAD_LETTER_KIND, before.id, before.version, after)
        await commit(dependencies, principal.id, Decision(writes=(write,)))
    except StaleVersion:
        raise Conflict("Another request replayed or discarded the dead letter meanwhile.") from None
    relay.mark_resolved(after)
    return await dependencies.reads.get(DEAD_LETTER_KIND, before.id)


async def record_dead_letter(
    dependencies: Dependencies, publisher: str, entry: JournalEntry, tries: int, reason: str
) -> bool:
    """Record a dead letter; return False if it was already recorded.

    It emits no event: a publisher that accepts nothing would create ever more of them.
    """
    letter = letters.create_dead_letter(publisher, entry, tries, reason)
    try:
        write = Write(DEAD_LETTER_KIND, letter.dead_letter_id, 0, letter)
        await commit(dependencies, RELAY.id, Decision(writes=(write,)))
    except Duplicate:
        return False
    return True


async def load_dead_letter_entry(reads: ReadStore, letter: DeadLetter) -> JournalEntry:
    """Load the journal entry of a dead letter.

    Raises:
        NotFound: the journal has no such entry, which should never happen.
    """
    entries = await reads.history(
        letter.kind, letter.key, after_version=letter.version - 1, limit=1
    )
    if not entries:
        raise NotFound(f"The journal has no version {letter.version} of this {letter.kind}.")
    return entries[0]


async def count_dead_letters(reads: ReadStore) -> Counter[str]:
    """Return the number of waiting dead letters by publisher."""
    waiting: Counter[str] = Counter()
    filters = (_in_state(DeadLetterState.WAITING),)
    query: Query | None = Query(kind=DEAD_LETTER_KIND, filters=filters, limit=MAX_LIMIT)
    while query is not None:
        page: Page[StoredAggregate[DeadLetter]] = await reads.page(query)
        waiting.update(aggregate.state.publisher for aggregate in page.items)
        query = msgspec.structs.replace(query, after=page.next) if page.next else None
    return waiting
