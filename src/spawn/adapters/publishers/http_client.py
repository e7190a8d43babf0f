"""What adapters over HTTP share: the way out, whom they trust, turns, when to come again."""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import certifi
import httpx

from spawn.domain.change import Entry
from spawn.ports.publishers import Undelivered

MAX_ANSWER_BYTES = 64 * 1024
"""What is read of an answer at most, so that its connection can be used again."""


class DirectTransport(httpx.AsyncHTTPTransport):
    """httpx's own, past any proxy, that also tells of a connection reset as it was made.

    `verify` says whom to trust over TLS; None where there is none.
    """

    def __init__(self, *, verify: ssl.SSLContext | None, connections: int) -> None:
        super().__init__(
            verify=verify or False,
            trust_env=False,
            limits=httpx.Limits(max_connections=connections),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask; see httpx.

        Raises:
            httpx.TransportError: no answer.
        """
        try:
            return await super().handle_async_request(request)
        except AttributeError as failure:
            # anyio then asks a socket for its peer that uvloop has let go of already.
            raise httpx.ConnectError("reset while connecting", request=request) from failure


async def answered(http: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """Send and wait for the answer, whose body is of no interest and read no further than a bit."""
    answer = await http.send(request, stream=True)
    try:
        size = 0
        async for chunk in answer.aiter_raw():
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                break
    finally:
        await answer.aclose()
    return answer


async def one_by_one(
    entries: Sequence[Entry], post: Callable[[Entry], Awaitable[tuple[str, bool]]]
) -> Sequence[Undelivered]:
    """Post the events one after another, up to the first that is not taken.

    `post` says why an event was not taken, if it was not, and whether it was refused as such.
    """
    for number, entry in enumerate(entries):
        reason, refused = await post(entry)
        if reason:
            first = Undelivered(entry, reason, refused)
            waiting = "It waits behind one that was not taken."
            return [first, *(Undelivered(later, waiting) for later in entries[number + 1 :])]
    return ()


def retry_after_s(value: str | None, now: datetime) -> float:
    """The seconds that a Retry-After header asks to wait; 0 if it is absent or senseless."""
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def trusted_authorities() -> ssl.SSLContext:
    """The machine's authorities, and those that come with the package where it has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
