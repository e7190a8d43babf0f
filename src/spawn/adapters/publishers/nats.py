"""Publisher to NATS JetStream: acknowledged by the stream, deduplicated by message id.

`nats://[user:password@]host[:port]/subject.prefix` sends an event of type `project.created` to the
subject `subject.prefix.project.created`; with `nats+tls` the connection must be encrypted. The
option `stream=NAME` names the stream that must accept the events; it is created if absent.
Without it, any stream with that subject will do.
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
    malformed_url_error,
    parse_publisher_url,
    parse_subject_prefix,
)
from spawn.domain.errors import Unavailable
from spawn.domain.events.cloudevents import MEDIA_TYPE
from spawn.domain.events.journal_entry import JournalEntry
from spawn.ports.publishers import DeliveryFailure

BATCH_SIZE = 256
DUPLICATE_WINDOW_S = 600.0
"""Seconds for which a stream created here recognizes a repeated message id."""

_CLOSE_TIMEOUT_S = 2.0
_TOKEN_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


async def open_nats_publisher(url: str, *, options: PublisherOptions) -> "NatsPublisher":
    """Return the publisher to a NATS server; it connects later.

    Raises:
        InvalidInput: the URL is malformed.
    """
    publisher_url = parse_publisher_url(url, "stream")
    parts = urlsplit(publisher_url.target)
    prefix = parse_subject_prefix(publisher_url.target)
    if not parts.hostname or parts.query:
        raise malformed_url_error("A NATS URL is nats://host:port/subject.prefix and has no query.")
    if not all(token and _TOKEN_CHARACTERS.issuperset(token) for token in prefix.split(".")):
        raise malformed_url_error(
            "A subject's prefix is words of letters, digits, - and _ joined by dots."
        )
    stream = publisher_url.options.get("stream")
    if stream is not None and not (stream and _TOKEN_CHARACTERS.issuperset(stream)):
        raise malformed_url_error("A stream's name is letters, digits, - and _.")
    return NatsPublisher(publisher_url, prefix, stream, options)


class NatsPublisher:
    """Publisher of events to subjects with one prefix.

    It connects on first use, and again after the connection broke; the relay waits between
    attempts, so the client's own reconnecting is off.
    """

    def __init__(
        self, url: PublisherUrl, prefix: str, stream: str | None, options: PublisherOptions
    ) -> None:
        self.delivery_options = url.delivery_options(batch=BATCH_SIZE)
        parts = urlsplit(url.target)
        scheme = "tls" if parts.scheme == "nats+tls" else "nats"
        self._server = f"{scheme}://{parts.netloc}"
        self._prefix = prefix
        self._stream = stream
        self._envelope = options.envelope
        self._timeout_s = options.timeout_s
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        """Publish the events, in order for each aggregate and concurrently for different ones."""
        context = await self._connected_context()
        queues: dict[tuple[str, str], list[JournalEntry]] = {}
        for entry in entries:
            queues.setdefault((entry.kind, entry.id), []).append(entry)
        results = await asyncio.gather(
            *(self._publish_in_order(context, queue) for queue in queues.values())
        )
        return [failure for result in results for failure in result]

    async def _publish_in_order(
        self, context: JetStreamContext, queue: list[JournalEntry]
    ) -> list[DeliveryFailure]:
        for number, entry in enumerate(queue):
            reason, is_rejected = await self._send(context, entry)
            if reason:
                blocked = "It waits for an earlier event of its aggregate that failed."
                later = [DeliveryFailure(other, blocked) for other in queue[number + 1 :]]
                return [DeliveryFailure(entry, reason, is_rejected), *later]
        return []

    async def _send(self, context: JetStreamContext, entry: JournalEntry) -> tuple[str, bool]:
        """Publish one event; return the reason of a failure and whether it is permanent."""
        try:
            await context.publish(
                f"{self._prefix}.{entry.type}",
                self._envelope.encode_structured(entry),
                timeout=self._timeout_s,
                stream=self._stream,
                headers={
                    "Nats-Msg-Id": f"{entry.position}@{self._envelope.source}",
                    "Content-Type": MEDIA_TYPE,
                },
            )
        except nats.errors.MaxPayloadError:
            return "The event is larger than the server accepts.", True
        except nats.js.errors.NoStreamResponseError:
            return f"No stream accepts {self._prefix}.{entry.type}.", False
        except (TimeoutError, OSError, nats.errors.Error) as failure:
            return f"The stream did not accept the event: {type(failure).__name__}.", False
        return "", False

    async def _connected_context(self) -> JetStreamContext:
        """Return the JetStream context of a live connection.

        Raises:
            Unavailable: the server cannot be reached.
        """
        async with self._connecting:
            if self._client is None or not self._client.is_connected:
                await self._disconnect()
                try:
                    async with asyncio.timeout(self._timeout_s):
                        self._client = await self._connect()
                except (TimeoutError, OSError, nats.errors.Error) as failure:
                    await self._disconnect()
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
                error_cb=_drop_log_record,
            )
            if self._stream is not None:
                await self._create_missing_stream(client.jetstream())
        except BaseException:
            await _close_client(client)
            raise
        return client

    async def _create_missing_stream(self, context: JetStreamContext) -> None:
        """Create the stream unless it exists; an existing one is not changed."""
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
        """Connect and find the stream."""
        context = await self._connected_context()
        subject = f"{self._prefix}.>"
        try:
            stream = self._stream or await context.find_stream_name_by_subject(subject)
        except (TimeoutError, OSError, nats.errors.Error) as failure:
            detail = f"no stream listens to {subject}: {type(failure).__name__}"
            raise Unavailable(detail) from None
        return f"published to {subject} of stream {stream}"

    async def _disconnect(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await _close_client(client)

    async def close(self) -> None:
        """Close the connection; idempotent."""
        await self._disconnect()


async def _close_client(client: Client) -> None:
    """Close a connection in any state."""
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await client.close()
    except (TimeoutError, OSError, nats.errors.Error):
        return  # the server is gone, so there is nothing left to close


async def _drop_log_record(_failure: Exception) -> None:
    """Suppress the client's own log line; the caller reports the error."""
