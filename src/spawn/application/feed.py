"""The feed of events, and the relay that hands it to publishers."""

import asyncio
import time
from collections.abc import Sequence

from spawn.application.services import Services, require
from spawn.domain.change import FeedPage
from spawn.domain.errors import SpawnError
from spawn.domain.principal import Principal
from spawn.ports.events import EventPublisher
from spawn.ports.storage import ReadStore

FEED_LIMIT = 500
"""The cap on one page of the feed, entries."""

MAX_LOOKS = 20
"""How often an empty page that leads on is followed within one request."""

RELAY_LIMIT = 1_000
"""What the relay reads at once, entries: the more, the less each costs."""

GATHER_S = 0.01
"""After each page: what is committed meanwhile goes together, and others get their turn."""

_IDLE_S = 60.0


async def read_feed(
    services: Services,
    principal: Principal,
    *,
    after: str | None,
    limit: int,
    types: frozenset[str] | None = None,
    subject: tuple[str, str] | None = None,
) -> FeedPage:
    """Entries that carry an event, after a position.

    A store may look at a part of the journal at a time: an empty answer that leads on is followed,
    so that a rare type or subject costs a client few requests.

    Raises:
        CursorInvalid: the position was never issued.
        CursorExpired: it belongs to an earlier epoch or fell below the retention floor.
    """
    require(principal, "read")
    reads = services.reads
    page = await reads.feed(after=after, limit=limit, types=types, subject=subject)
    for _ in range(MAX_LOOKS):
        if page.entries or page.next == after:
            break
        after = page.next
        page = await reads.feed(after=after, limit=limit, types=types, subject=subject)
    return page


class Relay:
    """Hands journal entries to each publisher, in order, at least once.

    One slow or failing publisher delays only itself: each has its own position. Positions are held
    in memory and start at the newest one, so this serves publishers whose state dies with the
    process (metrics, logs).
    """

    def __init__(
        self,
        reads: ReadStore,
        publishers: Sequence[EventPublisher],
        *,
        backoff_s: float = 0.5,
        max_backoff_s: float = 30.0,
    ) -> None:
        pages = _Pages(reads)
        self._lines = [_Line(pages, publisher) for publisher in publishers]
        self._reads = reads
        self._backoff_s = backoff_s
        self._max_backoff_s = max_backoff_s

    async def start(self) -> None:
        """Note where the journal stands now; entries from here on are relayed. Comes first."""
        position = await self._reads.position()
        for line in self._lines:
            line.position = position

    async def run(self) -> None:
        """Relay until cancelled."""
        await asyncio.gather(*(self._serve(line) for line in self._lines))

    async def drain(self) -> None:
        """Hand over what is there now, once; a failure is left as it is."""
        for line in self._lines:
            try:
                await line.advance()
            except SpawnError as failure:
                line.error = failure.detail

    def lag_s(self) -> float:
        """Seconds since the slowest publisher was last level with the journal; 0 when all are."""
        return max((line.lag_s() for line in self._lines), default=0.0)

    def last_error(self) -> str | None:
        """Why a publisher is behind, if one is."""
        return next((line.error for line in self._lines if line.error), None)

    async def _serve(self, line: "_Line") -> None:
        backoff_s = self._backoff_s
        while True:
            try:
                await line.advance(GATHER_S)
                await self._reads.await_change(line.position, _IDLE_S)
                backoff_s = self._backoff_s
            except SpawnError as failure:
                # The publisher or the journal answers later: say it, and try again.
                line.error = failure.detail
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, self._max_backoff_s)

    async def close(self) -> None:
        """Close every publisher."""
        for line in self._lines:
            await line.publisher.close()


class _Pages:
    """Reads pages of the feed, the last one once for all who stand at the same position."""

    def __init__(self, reads: ReadStore) -> None:
        self._reads = reads
        self._lock = asyncio.Lock()
        self._after = ""
        self._page: FeedPage | None = None

    async def newest(self) -> str:
        return await self._reads.position()

    async def after(self, position: str) -> FeedPage:
        async with self._lock:
            # A page that led nowhere is not kept: there may be more behind it by now.
            known = self._page if self._after == position else None
            if known is None or known.next == position:
                known = await self._reads.feed(after=position, limit=RELAY_LIMIT)
                self._after, self._page = position, known
            return known


class _Line:
    """One publisher with where it stands."""

    def __init__(self, pages: _Pages, publisher: EventPublisher) -> None:
        self.publisher = publisher
        self.position = ""
        self.error: str | None = None
        self._pages = pages
        self._behind_since: float | None = None

    def lag_s(self) -> float:
        """Seconds since this publisher was last level with the journal."""
        return 0.0 if self._behind_since is None else time.monotonic() - self._behind_since

    async def advance(self, pause_s: float = 0.0) -> None:
        """Publish page after page, with pauses, until level with the journal."""
        while self.position != await self._pages.newest():
            if self._behind_since is None:
                self._behind_since = time.monotonic()
            page = await self._pages.after(self.position)
            if page.entries:
                await self.publisher.publish(page.entries)
            if page.next == self.position:
                break
            self.position = page.next
            await asyncio.sleep(pause_s)
        self._behind_since = None
        self.error = None
