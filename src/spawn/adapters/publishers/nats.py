"""Publisher to NATS JetStream: acknowledged by the stream, deduplicated by message id.

`nats://[user:password@]host[:port]/subject.prefix` sends an event of type `project.created` to the
subject `subject.prefix.project.created`; with `nats+tls` the connection must be encrypted. The
option `stream=NAME` names the stream that must accept the events; it is created if absent.
Without it, any stream with that subject will do.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import PubAck, StreamConfig
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

MAX_ATTEMPTED_IDS = 10_000
"""Ids remembered of events that the stream may have although it did not say so."""

_CLOSE_TIMEOUT_S = 2.0
_OTHER_EVENT = (
    "The stream has another event under this id and dropped this one: another service publishes"
    " from a copy of this store, or something else under its ids."
)
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


class _StoredEvent(msgspec.Struct, frozen=True):
    """The attributes of an event in the stream that tell it from any other."""

    id: str
    subject: str
    sequence: str
    time: datetime


_decode_stored_event = msgspec.json.Decoder(_StoredEvent).decode


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
        self._attempted_ids: dict[str, None] = {}
        self._opened_at = datetime.now(UTC)
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
        event_id = self._envelope.format_id(entry.position)
        try:
            receipt = await context.publish(
                f"{self._prefix}.{entry.type}",
                self._envelope.encode_structured(entry),
                timeout=self._timeout_s,
                stream=self._stream,
                headers={
                    "Nats-Msg-Id": event_id,
                    "Content-Type": MEDIA_TYPE,
                },
            )
        except nats.errors.MaxPayloadError:
            return "The event is larger than the server accepts.", True
        except nats.js.errors.NoStreamResponseError:
            return f"No stream accepts {self._prefix}.{entry.type}.", False
        except (TimeoutError, OSError, nats.errors.Error) as failure:
            self._note_attempt(event_id)
            return f"The stream did not accept the event: {type(failure).__name__}.", False
        if receipt.duplicate and not await self._has_stored(context, entry, receipt):
            return _OTHER_EVENT, False
        return "", False

    def _note_attempt(self, event_id: str) -> None:
        """Note that the stream may have the event although it did not say so."""
        self._attempted_ids[event_id] = None
        if len(self._attempted_ids) > MAX_ATTEMPTED_IDS:
            del self._attempted_ids[next(iter(self._attempted_ids))]

    async def _has_stored(
        self, context: JetStreamContext, entry: JournalEntry, receipt: PubAck
    ) -> bool:
        """Return whether the message that the stream took this one for is the same event.

        A message that cannot be read, for example because it was consumed, is taken for the event
        if an earlier attempt or an earlier process may have sent it.
        """
        event = self._envelope.to_cloudevent(entry)
        own = _StoredEvent(event.id, event.subject, event.sequence, event.time)
        try:
            stored = await context.get_msg(receipt.stream, receipt.seq)
            stored_event = _decode_stored_event(stored.data or b"")
        except (TimeoutError, OSError, nats.errors.Error):
            return event.id in self._attempted_ids or entry.recorded_at <= self._opened_at
        except msgspec.MsgspecError:
            return False
        return stored_event == own

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
