"""The publisher to a NATS JetStream: acknowledged by the stream, told apart by message id.

`nats://[user:password@]host[:port]/subject.prefix` sends an event of type `project.created` to the
subject `subject.prefix.project.created`; with `nats+tls` the connection must be encrypted. The
option `stream=NAME` names the stream that must take the events; it is made if it does not exist.
Without it, any stream that listens to the subject will do.
"""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import StreamConfig
from nats.js.client import JetStreamContext

from spawn.adapters.embedded.options import PublisherOptions
from spawn.adapters.publishers.url import (
    PublisherUrl,
    malformed,
    read_publisher_url,
    subject_prefix,
)
from spawn.domain.change import Entry
from spawn.domain.errors import Unavailable
from spawn.domain.events.cloudevents import MEDIA_TYPE
from spawn.ports.publishers import Undelivered

BATCH = 256
DUPLICATE_WINDOW_S = 600.0
"""How long a stream that is made here knows messages by their ids."""

_CLOSE_S = 2.0
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


async def open_jetstream(url: str, *, options: PublisherOptions) -> "JetStreamPublisher":
    """The publisher to a server's URL; nothing is connected yet.

    Raises:
        InvalidInput: the URL is not of its form.
    """
    read = read_publisher_url(url, "stream")
    parts = urlsplit(read.target)
    prefix = subject_prefix(read.target)
    if not parts.hostname or parts.query:
        raise malformed("A NATS URL is nats://host:port/subject.prefix and has no query.")
    if not all(token and _TOKEN.issuperset(token) for token in prefix.split(".")):
        raise malformed("A subject's prefix is words of letters, digits, - and _ joined by dots.")
    stream = read.options.get("stream")
    if stream is not None and not (stream and _TOKEN.issuperset(stream)):
        raise malformed("A stream's name is letters, digits, - and _.")
    return JetStreamPublisher(read, prefix, stream, options)


class JetStreamPublisher:
    """Publishes events to one prefix of subjects.

    The connection is made when it is first needed and anew whenever it broke; between tries the
    relay waits, so the client's own reconnecting is off.
    """

    def __init__(
        self, url: PublisherUrl, prefix: str, stream: str | None, options: PublisherOptions
    ) -> None:
        self.terms = url.terms(batch=BATCH)
        parts = urlsplit(url.target)
        scheme = "tls" if parts.scheme == "nats+tls" else "nats"
        self._server = f"{scheme}://{parts.netloc}"
        self._prefix = prefix
        self._stream = stream
        self._envelope = options.envelope
        self._timeout_s = options.timeout_s
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def publish(self, entries: Sequence[Entry]) -> Sequence[Undelivered]:
        """Publish: one after another for each aggregate, side by side for different ones."""
        stream = await self._connected()
        lanes: dict[tuple[str, str], list[Entry]] = {}
        for entry in entries:
            lanes.setdefault((entry.kind, entry.id), []).append(entry)
        results = await asyncio.gather(*(self._in_order(stream, lane) for lane in lanes.values()))
        return [undelivered for result in results for undelivered in result]

    async def _in_order(self, stream: JetStreamContext, lane: list[Entry]) -> list[Undelivered]:
        for number, entry in enumerate(lane):
            reason, refused = await self._send(stream, entry)
            if reason:
                waiting = "It waits behind one that was not taken."
                later = [Undelivered(other, waiting) for other in lane[number + 1 :]]
                return [Undelivered(entry, reason, refused), *later]
        return []

    async def _send(self, stream: JetStreamContext, entry: Entry) -> tuple[str, bool]:
        """Why the stream did not take the event, if it did not, and whether it never will."""
        try:
            await stream.publish(
                f"{self._prefix}.{entry.type}",
                self._envelope.structured(entry),
                timeout=self._timeout_s,
                stream=self._stream,
                headers={
                    "Nats-Msg-Id": f"{entry.position}@{self._envelope.source}",
                    "Content-Type": MEDIA_TYPE,
                },
            )
        except nats.errors.MaxPayloadError:
            return "The event is larger than the server takes.", True
        except nats.js.errors.NoStreamResponseError:
            return f"No stream takes {self._prefix}.{entry.type}.", False
        except (TimeoutError, OSError, nats.errors.Error) as failure:
            return f"The stream did not take the event: {type(failure).__name__}.", False
        return "", False

    async def _connected(self) -> JetStreamContext:
        """The stream's context over a connection that stands.

        Raises:
            Unavailable: there is none.
        """
        async with self._connecting:
            if self._client is None or not self._client.is_connected:
                await self._drop()
                try:
                    async with asyncio.timeout(self._timeout_s):
                        self._client = await self._connect()
                except (TimeoutError, OSError, nats.errors.Error) as failure:
                    await self._drop()
                    detail = f"The NATS server cannot be reached: {type(failure).__name__}."
                    raise Unavailable(detail, retry_after_s=0) from None
            return self._client.jetstream()

    async def _connect(self) -> Client:
        client = Client()
        try:
            await client.connect(
                self._server,
                name="spawn",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=max(1, round(self._timeout_s)),
                error_cb=_unheard,
            )
            if self._stream is not None:
                await self._demand_stream(client.jetstream())
        except BaseException:
            await _hang_up(client)
            raise
        return client

    async def _demand_stream(self, context: JetStreamContext) -> None:
        """Make the stream unless it is there; one that is there is left as it is."""
        try:
            await context.stream_info(str(self._stream))
        except nats.js.errors.NotFoundError:
            await context.add_stream(
                StreamConfig(
                    name=self._stream,
                    subjects=[f"{self._prefix}.>"],
                    duplicate_window=DUPLICATE_WINDOW_S,
                )
            )

    async def probe(self) -> str:
        """Connect, and look for the stream."""
        context = await self._connected()
        subject = f"{self._prefix}.>"
        try:
            found = self._stream or await context.find_stream_name_by_subject(subject)
        except (TimeoutError, OSError, nats.errors.Error) as failure:
            detail = f"no stream listens to {subject}: {type(failure).__name__}"
            raise Unavailable(detail) from None
        return f"published to {subject} of stream {found}"

    async def _drop(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await _hang_up(client)

    async def close(self) -> None:
        """Hang up; idempotent."""
        await self._drop()


async def _hang_up(client: Client) -> None:
    """Close a connection, whatever state it is in."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await client.close()
    except (TimeoutError, OSError, nats.errors.Error):
        return  # there is nobody to take leave of


async def _unheard(_failure: Exception) -> None:
    """What fails is told by who asked; the client's own log line would repeat it."""
