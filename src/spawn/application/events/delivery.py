"""The delivery of the feed to one publisher: in order for each aggregate, whatever fails."""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from itertools import count
from time import monotonic
from typing import NamedTuple

import msgspec

from spawn.application.events.journal_watch import GATHER_S, Pulse
from spawn.domain.change import Entry, FeedPage
from spawn.domain.errors import CursorExpired, CursorInvalid, SpawnError, Unavailable
from spawn.ports.publishers import EventPublisher, Undelivered
from spawn.ports.storage import ReadStore

PAGE_ENTRIES = 1_000
"""What is read at once: the more, the less each costs."""

BEGINNING = ""
"""Stands for the position before the first event."""

_IDLE_S = 60.0
_ENTRY_BYTES = 500
_NOW = 0.0

Key = tuple[str, str]
GiveUp = Callable[[Entry, int, str], Awaitable[None]]
"""Keeps an event that is given up, with the tries and the last reason."""


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How a failing consumer is tried again.

    The events of an aggregate wait `first_s` after a failure, twice as long after each further
    one, at most `longest_s`. When `hold_after` batches in a row failed, nothing is sent but one
    batch at a time, after pauses that grow to `hold_s`; a consumer may ask for a pause of at most
    `longest_asked_s`. An event is given up after `tries`: those count in which the consumer
    refused it, or took others meanwhile, so that an outage gives nothing up. Of what waits behind
    failures about `parked_bytes` are held; then nothing further is read.
    """

    tries: int = 10
    first_s: float = 1.0
    longest_s: float = 300.0
    hold_after: int = 3
    hold_s: float = 30.0
    longest_asked_s: float = 3600.0
    parked_bytes: int = 32 * 1024 * 1024


class _Started(NamedTuple):
    """An event under way: the position to go on after if it must be read again, and its time."""

    before: str
    recorded_at: datetime


class _Lane:
    """The events of one aggregate that wait, oldest first, and how the oldest has failed."""

    __slots__ = ("due", "entries", "failing", "failures", "reason", "taken_then", "tries")

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.turn_to("")

    def turn_to(self, failing: str) -> None:
        """Count for another event from now on, the one at this position; or for none yet."""
        self.failing = failing
        self.failures = 0
        self.tries = 0
        self.taken_then = -1
        self.reason = ""
        self.due = _NOW


class Pages:
    """Reads pages of the feed, the last one once for all who stand at the same position.

    `types` are the events wanted; None: all that the feed shows without being asked for types.
    """

    def __init__(self, reads: ReadStore, types: frozenset[str] | None = None) -> None:
        self.reads = reads
        self._types = types
        self._lock = asyncio.Lock()
        self._after = ""
        self._page: FeedPage | None = None

    async def after(self, position: str) -> FeedPage:
        """The page that follows a position."""
        async with self._lock:
            # A page that led nowhere is not kept: there may be more behind it by now.
            known = self._page if self._after == position else None
            if known is None or known.next == position:
                known = await self.reads.feed(
                    after=position or None, limit=PAGE_ENTRIES, types=self._types
                )
                self._after, self._page = position, known
            return known


class Line:
    """One publisher, where it stands, and what is on its way to it.

    What it holds is bounded: one page that is not begun, the batches under way, and what waits
    behind failures. `delivered`, `failed` and `given_up` count events.
    """

    def __init__(
        self,
        publisher: EventPublisher,
        pages: Pages,
        pulse: Pulse,
        give_up: GiveUp,
        patience: Patience,
        on_error: Callable[[BaseException], None],
    ) -> None:
        self.publisher = publisher
        self.terms = publisher.terms
        self.delivered = self.failed = self.given_up = 0
        self._read_error: str | None = None
        self._error: str | None = None
        self._pages = pages
        self._pulse = pulse
        self._give_up = give_up
        self._patience = patience
        self._on_error = on_error
        self._read_to = self._taken_to = ""
        self._read_at = 0.0
        self._ready: deque[Entry] = deque()
        self._started: dict[str, _Started] = {}
        self._lanes: dict[Key, _Lane] = {}
        self._due: list[tuple[float, int, Key]] = []
        self._turns = count()
        self._parked_bytes = 0
        self._busy: set[Key] = set()
        self._failing: set[Key] = set()
        self._flights: set[asyncio.Task[None]] = set()
        self._streak = self._holds = 0
        self._held_until = self._asked_until = 0.0
        self._moved = asyncio.Event()

    # -- where it stands --------------------------------------------------------------------

    def begin(self, position: str) -> None:
        """Start after a position, or at the beginning."""
        self._read_to = self._taken_to = position

    @property
    def error(self) -> str | None:
        """Why something waits, if anything waits for another reason than its turn."""
        return self._read_error or self._error

    @property
    def position(self) -> str:
        """Everything up to here was taken, or given up and kept."""
        for started in self._started.values():
            return started.before
        return self._taken_to if self._ready else self._read_to

    def oldest(self) -> datetime | None:
        """When the oldest event that is known of and not taken was recorded."""
        for started in self._started.values():
            return started.recorded_at
        return self._ready[0].recorded_at if self._ready else None

    async def backlog(self) -> int:
        """How many rows of the journal it is not past yet, whether they carry events or not."""
        try:
            return await self._pages.reads.rows_after(self.position or None)
        except (CursorExpired, CursorInvalid):
            return 0  # what its position means is found out when it is read on from

    def parked(self) -> int:
        """How many aggregates wait behind a failure."""
        return len(self._failing)

    async def settle(self) -> None:
        """Wait until everything there is now was taken, or something fails."""
        newest = await self._pages.reads.position()
        while self.error is None and (self._ready or self._started or self._read_to != newest):
            await self._moved.wait()

    # -- the loop ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until cancelled; what is under way then is cut off and comes again."""
        try:
            while True:
                await self._read_on()
                while batch := self._take():
                    self._flights.add(asyncio.create_task(self._deliver(batch)))
                await self._rest()
        finally:
            for flight in self._flights:
                flight.cancel()
            await asyncio.gather(*self._flights, return_exceptions=True)
            self._flights.clear()

    def _has_room(self) -> bool:
        return not self._ready and self._parked_bytes < self._patience.parked_bytes

    async def _read_on(self) -> None:
        """Read a page if none is in hand, leaving others their turn between two."""
        if not self._has_room() or self._read_to == await self._pages.reads.position():
            return
        await asyncio.sleep(self._read_at + GATHER_S - monotonic())
        try:
            page = await self._pages.after(self._read_to)
        except CursorExpired as expired:
            # Of an earlier epoch: what is there is told from the beginning, rather than left out.
            self.begin(expired.oldest)
            return
        except SpawnError as failure:
            self._read_error = failure.detail
            self._read_at = monotonic() + self._patience.first_s
            return
        self._read_error = None
        self._read_at = monotonic()
        self._ready.extend(page.entries)
        self._taken_to = self._read_to
        self._read_to = page.next

    async def _rest(self) -> None:
        """Wait until a batch has landed, a lane is due, a pause is over or the journal grows."""
        self._moved.set()
        self._moved = asyncio.Event()
        for flight in [flight for flight in self._flights if flight.done()]:
            self._flights.remove(flight)
            flight.result()
        if self._has_room() and self._read_to != await self._pages.reads.position():
            return
        waits: set[asyncio.Task[None]] = set(self._flights)
        if self._has_room():
            waits.add(asyncio.create_task(self._pulse.wait(self._read_to, _IDLE_S)))
        waits.add(asyncio.create_task(asyncio.sleep(self._pause_s())))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits - self._flights:
                waiting.cancel()

    def _pause_s(self) -> float:
        """How long at most until there may be something to send."""
        if len(self._flights) >= self._width() or not (self._ready or self._due):
            return _IDLE_S
        due = self._due[0][0] if self._due and not self._may_take_ready() else _NOW
        return max(due, self._held_until, self._asked_until) - monotonic()

    # -- choosing ---------------------------------------------------------------------------

    def _width(self) -> int:
        """How many batches may be under way: one, while the consumer seems to be away."""
        return 1 if self._streak >= self._patience.hold_after else self.terms.concurrency

    def _may_take_ready(self) -> bool:
        return bool(self._ready) and self._parked_bytes < self._patience.parked_bytes

    def _take(self) -> list[Entry]:
        """The next batch, if one may be sent now; empty if none."""
        now = monotonic()
        if len(self._flights) >= self._width() or now < max(self._held_until, self._asked_until):
            return []
        # After a failure others are tried first: it may be the event's own fault.
        batch = self._take_ready() if self._streak else self._take_due(now)
        batch = batch or (self._take_due(now) if self._streak else self._take_ready())
        if self.terms.concurrency > 1:
            self._busy.update((entry.kind, entry.id) for entry in batch)
        return batch

    def _take_ready(self) -> list[Entry]:
        """New events, but for those whose aggregate has earlier ones waiting or under way."""
        if self.terms.concurrency == 1 and not self._lanes:
            return self._take_slice()
        batch: list[Entry] = []
        while self._may_take_ready() and len(batch) < self.terms.batch:
            entry = self._ready.popleft()
            self._started[entry.position] = _Started(self._taken_to, entry.recorded_at)
            self._taken_to = entry.position
            key = (entry.kind, entry.id)
            lane = self._lanes.get(key)
            if lane is None and key not in self._busy:
                batch.append(entry)
                continue
            if lane is None:
                lane = self._lanes[key] = _Lane()
            lane.entries.append(entry)
            self._parked_bytes += _size(entry)
        return batch

    def _take_slice(self) -> list[Entry]:
        """New events, where nothing waits or is under way that they could overtake.

        Only the first is noted: as long as all are taken, that says enough, and an import's events
        cost little.
        """
        batch = [self._ready.popleft() for _ in range(min(len(self._ready), self.terms.batch))]
        if batch:
            self._started[batch[0].position] = _Started(self._taken_to, batch[0].recorded_at)
            self._taken_to = batch[-1].position
        return batch

    def _note_each(self, batch: list[Entry]) -> None:
        """Note what `_take_slice` did not, before some of it is struck off."""
        first = self._started.get(batch[0].position)
        before = first.before if first else BEGINNING
        for entry in batch:
            self._started.setdefault(entry.position, _Started(before, entry.recorded_at))
            before = entry.position

    def _take_due(self, now: float) -> list[Entry]:
        """Events of lanes whose time has come."""
        batch: list[Entry] = []
        while self._due and self._due[0][0] <= now and len(batch) < self.terms.batch:
            _, _, key = heapq.heappop(self._due)
            entries = self._lanes[key].entries
            for _ in range(min(len(entries), self.terms.batch - len(batch))):
                entry = entries.popleft()
                self._parked_bytes -= _size(entry)
                batch.append(entry)
        return batch

    # -- sending ----------------------------------------------------------------------------

    async def _deliver(self, batch: list[Entry]) -> None:
        undelivered = await self._publish(batch)
        for key in self._land(batch, undelivered):
            await self._bury(key)
        if self._lanes or self._busy:
            for key in {(entry.kind, entry.id) for entry in batch}:
                self._free(key)
        if not self._failing:
            self._error = None

    async def _publish(self, batch: list[Entry]) -> Sequence[Undelivered]:
        """Publish; whatever goes wrong is the fate of the whole batch."""
        try:
            return tuple(await self.publisher.publish(batch))
        except Unavailable as failure:
            asked_s = min(failure.retry_after_s, self._patience.longest_asked_s)
            self._asked_until = max(self._asked_until, monotonic() + asked_s)
            reason = failure.detail
        except Exception as failure:  # noqa: BLE001 -- a third party's code must not end the line
            self._on_error(failure)
            reason = f"The publisher failed: {type(failure).__name__}."
        return [Undelivered(entry, reason) for entry in batch]

    def _land(self, batch: list[Entry], undelivered: Sequence[Undelivered]) -> list[Key]:
        """Strike off what was taken, put the rest back; the aggregates whose patience is over."""
        failed = {failure.entry.position: failure for failure in undelivered}
        if failed:
            self._note_each(batch)
        lost: dict[Key, list[Undelivered]] = {}
        for entry in batch:
            failure = failed.get(entry.position)
            if failure is None:
                self._started.pop(entry.position, None)
            else:
                lost.setdefault((entry.kind, entry.id), []).append(failure)
        taken = len(batch) - len(failed)
        self.delivered += taken
        self.failed += len(failed)
        self._note(taken=taken, reason=undelivered[0].reason if undelivered else None)
        if self._failing:
            for key in {(entry.kind, entry.id) for entry in batch} - lost.keys():
                self._forgive(key)
        return [key for key, failures in lost.items() if self._postpone(key, failures)]

    def _note(self, *, taken: int, reason: str | None) -> None:
        """Whether the consumer is there, going by one batch."""
        if taken:
            if self._streak >= self._patience.hold_after:
                self._hurry()
            self._streak = self._holds = 0
            self._held_until = 0.0
            self._error = reason or self._error
            return
        self._streak += 1
        self._error = reason
        now = monotonic()
        # Batches that were under way together and fail together are one failure.
        if self._streak >= self._patience.hold_after and now >= self._held_until:
            self._held_until = now + self._wait_s(self._holds, self._patience.hold_s)
            self._holds += 1

    def _hurry(self) -> None:
        """The consumer is back: what waited for it waits no longer."""
        self._due = [(_NOW, turn, key) for _, turn, key in self._due]
        heapq.heapify(self._due)

    def _postpone(self, key: Key, failures: list[Undelivered]) -> bool:
        """Put the events of one aggregate back in front; whether the first is to be given up."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
        lane.entries.extendleft(failure.entry for failure in reversed(failures))
        self._parked_bytes += sum(_size(failure.entry) for failure in failures)
        first = failures[0]
        if lane.failing != first.entry.position:
            lane.turn_to(first.entry.position)
        if first.refused or lane.taken_then != self.delivered:
            lane.tries += 1
        lane.taken_then = self.delivered
        lane.due = monotonic() + self._wait_s(lane.failures, self._patience.longest_s)
        lane.failures += 1
        lane.reason = first.reason
        self._failing.add(key)
        return lane.tries >= self._patience.tries

    def _wait_s(self, failures: int, longest_s: float) -> float:
        """Twice as long each time, less up to a half by chance, so that not all come at once."""
        wait_s = min(self._patience.first_s * 2.0 ** min(failures, 32), longest_s)
        return wait_s * random.uniform(0.5, 1.0)  # noqa: S311 -- to spread load, not a secret

    async def _bury(self, key: Key) -> None:
        """Keep the first event of a lane as a dead letter and go on with the next."""
        lane = self._lanes[key]
        entry = lane.entries[0]
        try:
            await self._give_up(entry, lane.tries, lane.reason)
        except SpawnError as failure:
            # The store cannot write now: it stays where it is, and is tried once more.
            self._error = failure.detail
            return
        self.given_up += 1
        lane.entries.popleft()
        self._parked_bytes -= _size(entry)
        del self._started[entry.position]
        self._forgive(key)

    def _forgive(self, key: Key) -> None:
        """The event that failed is out of the way."""
        self._failing.discard(key)
        lane = self._lanes.get(key)
        if lane is not None:
            lane.turn_to("")

    def _free(self, key: Key) -> None:
        """Let the events of an aggregate that wait, if there are any, have their turn."""
        self._busy.discard(key)
        lane = self._lanes.get(key)
        if lane is not None and not lane.entries:
            del self._lanes[key]
        elif lane is not None:
            heapq.heappush(self._due, (lane.due, next(self._turns), key))


def _size(entry: Entry) -> int:
    return _ENTRY_BYTES + len(entry.document)
