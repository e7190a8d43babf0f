"""Dead letters: what the relay gave up, for people to look at, replay or discard."""

from collections import Counter
from typing import Protocol

from spawn.application.dependencies import Services, require
from spawn.domain.change import Change, Entry, Stored, Write
from spawn.domain.errors import Conflict, Duplicate, NotFound, Stale
from spawn.domain.events import dead_letter as letters
from spawn.domain.events.dead_letter import KIND, DeadLetter, LetterState
from spawn.domain.principal import Principal
from spawn.domain.query import MAX_LIMIT, Page, Query
from spawn.domain.schemas.model import Value
from spawn.ports.storage import ReadStore

RELAY = Principal(id="relay")
"""Who records that an event was given up."""


MAX_LOOKS = 20
"""How many pages one request goes through for letters of one state."""


class Redelivery(Protocol):
    """The relay, as far as dead letters need it."""

    async def redeliver(self, letter: DeadLetter) -> None:
        """Hand the event to its publisher again; see `Relay.redeliver`."""
        ...

    def letter_resolved(self, letter: DeadLetter) -> None:
        """One letter waits no longer."""
        ...


async def list_letters(
    services: Services,
    principal: Principal,
    *,
    after: tuple[Value | None, ...] | None,
    limit: int,
    state: LetterState | None = None,
) -> Page[Stored[DeadLetter]]:
    """A page of dead letters in the order in which they were recorded.

    Of one state, a page may be short although there are more: `next` tells.
    """
    require(principal, "read")
    for _ in range(MAX_LOOKS):
        query = Query(kind=KIND, limit=limit, after=after)
        page: Page[Stored[DeadLetter]] = await services.reads.page(query)
        found = tuple(one for one in page.items if state is None or one.state.state is state)
        after = page.next
        if found or after is None:
            break
    return Page(found, after)


async def get_letter(
    services: Services, principal: Principal, letter_id: str
) -> Stored[DeadLetter]:
    """One dead letter.

    Raises:
        NotFound: no such letter.
    """
    require(principal, "read")
    return await services.reads.get(KIND, letter_id)


async def replay_letter(
    services: Services, principal: Principal, relay: Redelivery, letter_id: str
) -> Stored[DeadLetter]:
    """Hand the event to its publisher again; the letter is done with once it was taken.

    Raises:
        NotFound: no such letter.
        Conflict: it was replayed or discarded already, or its publisher is not configured.
        DeliveryFailed: the event was not taken this time either.
    """
    require(principal, "write")
    before: Stored[DeadLetter] = await services.reads.get(KIND, letter_id)
    after = letters.resolve(before.state, LetterState.REPLAYED)
    await relay.redeliver(before.state)
    return await _resolved(services, principal, relay, before, after)


async def discard_letter(
    services: Services, principal: Principal, relay: Redelivery, letter_id: str
) -> Stored[DeadLetter]:
    """Let the event go; it stays in the feed, and the letter stays as discarded.

    Raises:
        NotFound: no such letter.
        Conflict: it was replayed or discarded already.
    """
    require(principal, "write")
    before: Stored[DeadLetter] = await services.reads.get(KIND, letter_id)
    after = letters.resolve(before.state, LetterState.DISCARDED)
    return await _resolved(services, principal, relay, before, after)


async def _resolved(
    services: Services,
    principal: Principal,
    relay: Redelivery,
    before: Stored[DeadLetter],
    after: DeadLetter,
) -> Stored[DeadLetter]:
    try:
        await _commit(services, principal, Write(KIND, before.id, before.version, after))
    except Stale:
        raise Conflict("Someone else replayed or discarded the dead letter meanwhile.") from None
    relay.letter_resolved(after)
    return await services.reads.get(KIND, before.id)


async def record_letter(
    services: Services, publisher: str, entry: Entry, tries: int, reason: str
) -> bool:
    """Keep an event that is given up; False if it was kept before.

    It is no event itself: a consumer that takes nothing would make ever more of them.
    """
    letter = letters.dead_letter(publisher, entry, tries, reason)
    try:
        await _commit(services, RELAY, Write(KIND, letter.dead_letter_id, 0, letter))
    except Duplicate:
        return False
    return True


async def _commit(services: Services, principal: Principal, write: Write) -> None:
    generation = (await services.active()).schema.version
    change = Change(writes=(write,), actor=principal.id, schema_version=generation)
    await services.commands.commit(change)


async def letter_entry(reads: ReadStore, letter: DeadLetter) -> Entry:
    """The entry of the journal that a letter is about.

    Raises:
        NotFound: the journal has none, which it never should.
    """
    found = await reads.history(letter.kind, letter.key, after_version=letter.version - 1, limit=1)
    if not found:
        raise NotFound(f"The journal has no version {letter.version} of this {letter.kind}.")
    return found[0]


async def count_letters(reads: ReadStore) -> Counter[str]:
    """How many letters wait, by publisher."""
    waiting: Counter[str] = Counter()
    query: Query | None = Query(kind=KIND, limit=MAX_LIMIT)
    while query is not None:
        page: Page[Stored[DeadLetter]] = await reads.page(query)
        for stored in page.items:
            waiting[stored.state.publisher] += stored.state.state is LetterState.WAITING
        query = Query(kind=KIND, limit=MAX_LIMIT, after=page.next) if page.next else None
    return waiting
