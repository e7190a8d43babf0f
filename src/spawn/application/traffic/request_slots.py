"""Slots of requests that run: limited in all and for each client, in turns, and by latency."""

import asyncio
from collections import deque
from time import monotonic
from typing import Final

from spawn.application.traffic.shared_places import SharedPlaces
from spawn.domain.errors import DeadlineExceeded, Overloaded
from spawn.ports.client_presence import waiting_for_client

TURNS: Final = 4
"""Requests of one client that run at once while another client has requests too."""

CONTENTION_S: Final = 1.0
"""Time for which two clients count as concurrent after both had a request."""

LARGE_BODY_BYTES: Final = 4 * 1024
"""Size beyond which a body keeps the event loop busy: 1 MiB of small values took 0.2 to 0.4 s."""

LARGE_BYTES_S: Final = 512 * 1024
"""Bytes of large bodies of one client that begin in a second while another has requests too."""

MAX_LARGE_WAIT_S: Final = 5.0
"""Time after which a large body must be able to begin; otherwise it is rejected at once."""

MIN_SLOTS: Final = 32
TARGET_LAG_S: Final = 0.25
"""Delay of the event loop above which the number of slots is reduced."""

_GROWTH: Final = 1.25


class RequestSlots(SharedPlaces):
    """Slots of running requests; a request takes one once its body has arrived.

    While several clients have requests, each runs `TURNS` at once and its others wait for a turn:
    nobody waits behind more than that of another client. A client alone runs all it has. While the
    event loop is late there are fewer slots, down to `MIN_SLOTS`: requests are rejected before all
    of them are slow. `contended_until_s` is 0 until a second client came.
    """

    def __init__(self, places: int) -> None:
        super().__init__(places)
        self._max_places = places
        self._last_client = ""
        self.contended_until_s = 0.0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._next_large_s: dict[str, float] = {}
        self.lag_s = 0.0

    @property
    def is_reduced(self) -> bool:
        """Whether there are fewer slots because the event loop was late."""
        return self.places < self._max_places

    def take(self, client: str) -> bool:
        """Take a slot; return False if none is left for the client."""
        self._note_client(client)
        return super().take(client)

    def _note_client(self, client: str) -> None:
        """Note that a client has a request; two clients in turn are in contention for a while."""
        if client != self._last_client:
            if self._last_client:
                self.contended_until_s = monotonic() + CONTENTION_S
            self._last_client = client

    def must_wait(self, client: str) -> bool:
        """Whether a client that has taken a slot waits for a turn, because others wait too."""
        return bool(
            self._held[client] - len(self._waiting.get(client, ())) > TURNS and self._is_contended()
        )

    async def wait_for_turn(self, client: str) -> None:
        """Wait until fewer than `TURNS` requests of the client run."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._waiting.setdefault(client, deque())
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in queue:
                queue.remove(turn)
            raise

    def book_large_body(self, client: str, body_bytes: int) -> float:
        """Book the time of a whole body, and return the seconds until it; 0 for small bodies.

        Bodies are read on the event loop: 16 connections that sent 1 MiB of small values delayed
        each command of another client by 12 s. A body waits before it takes a slot, so that those
        that wait are neither in contention nor in the way of the client's small requests.

        Raises:
            Overloaded: it would begin later than in `MAX_LARGE_WAIT_S`; nothing is booked.
        """
        if body_bytes <= LARGE_BODY_BYTES:
            return 0.0
        self._note_client(client)
        now_s = monotonic()
        self._next_large_s = {c: at_s for c, at_s in self._next_large_s.items() if at_s > now_s}
        if not self._is_contended():
            return 0.0
        begin_s = self._next_large_s.get(client, now_s)
        delay_s = begin_s - now_s
        if delay_s > MAX_LARGE_WAIT_S:
            raise Overloaded(
                "Large bodies of this client are still waiting, and other clients have requests:"
                " send fewer of them at once.",
                retry_after_s=delay_s,
            )
        self._next_large_s[client] = begin_s + body_bytes / LARGE_BYTES_S
        return delay_s

    def cancel_large_body(self, client: str, body_bytes: int) -> None:
        """Give back the time that was booked for a body whose client left before it began."""
        if client in self._next_large_s:
            self._next_large_s[client] -= body_bytes / LARGE_BYTES_S

    def release(self, client: str) -> None:
        """Release a slot, and give a turn to the request of the client that waits longest."""
        super().release(client)
        if client in self._waiting:
            self._give_turns(client)

    def _give_turns(self, client: str) -> None:
        queue = self._waiting[client]
        is_contended = self._is_contended()
        while queue and not (is_contended and self.held_by(client) - len(queue) >= TURNS):
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
        if not queue:
            del self._waiting[client]

    def _is_contended(self) -> bool:
        # A request that lasts longer than the time of contention must not lose its turns by it.
        return len(self._held) > 1 or monotonic() < self.contended_until_s

    def adapt(self, lag_s: float) -> None:
        """Adapt the number of slots to the delay of the event loop, measured at intervals."""
        self.lag_s = lag_s
        if lag_s > TARGET_LAG_S:
            self.resize(max(min(MIN_SLOTS, self._max_places), self.places // 2))
        elif self.is_reduced:
            self.resize(min(self._max_places, int(self.places * _GROWTH) + 1))


class HeldPlace:
    """The place that one request of a client holds at present.

    `has_response`: the response has begun, so that the request has no deadline any more.
    """

    __slots__ = ("_client", "_is_expired", "_pool", "_task", "has_response")

    def __init__(self, client: str) -> None:
        self._client = client
        self._pool: SharedPlaces | None = None
        self._task: asyncio.Task[object] | None = None
        self._is_expired = self.has_response = False

    def take(self, pool: SharedPlaces) -> None:
        """Take a place, instead of the one held.

        Raises:
            Overloaded: none is left for the client.
        """
        if self._pool is not None:
            self.release()
        if not pool.take(self._client):
            raise Overloaded("The service handles as much of this client, or of all, as it may.")
        self._pool = pool

    @property
    def client(self) -> str:
        """The client whose place it is."""
        return self._client

    async def take_slot(self, slots: RequestSlots) -> None:
        """Take a slot, and wait for the client's turn.

        Raises:
            CancelledError: the client disconnected meanwhile.
            Overloaded: none is left for the client.
        """
        self.take(slots)
        if slots.contended_until_s and slots.must_wait(self._client):
            with waiting_for_client():
                await slots.wait_for_turn(self._client)

    def begin(self) -> None:
        """Begin a request that `expire` may end: it is served by the current task."""
        self._task = asyncio.current_task()

    def expire(self) -> None:
        """End the request, which is beyond its deadline."""
        if self._task is not None:
            self._is_expired = True
            self._task.cancel()

    def raise_if_expired(self) -> None:
        """Convert the cancellation of an expired request to an error.

        Raises:
            DeadlineExceeded: the request was cancelled by `expire`.
        """
        if self._is_expired and self._task is not None:
            self._task.uncancel()
            raise DeadlineExceeded(
                "The request took too long and was stopped. A command may have been carried out:"
                " repeat it with its Idempotency-Key."
            )

    def release(self) -> None:
        """Release the place; idempotent."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.release(self._client)
