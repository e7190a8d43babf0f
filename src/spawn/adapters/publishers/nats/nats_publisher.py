"""Publisher to NATS JetStream: acknowledged by the stream, deduplicated by message id.

`nats://[user:password@]host[:port]/subject.prefix` sends an event of type `project.created` to the
subject `subject.prefix.project.created`; with `nats+tls` the connection must be encrypted. The
option `stream=NAME` names the stream that must accept the events; it is created if absent.
Without it, any stream with that subject will do. `subject=type.id` appends the aggregate's id.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import nats.errors
import nats.js.errors
from nats.js.api import Header
from nats.js.client import JetStreamContext

from spawn.adapters.embedded.options import PublisherOptions
from spawn.adapters.publishers.nats.nats_connection import (
    CLIENT_ERRORS,
    NatsConnection,
    check_acknowledges,
    check_files,
    find_loss,
)
from spawn.adapters.publishers.nats.nats_url import NatsUrl, format_token, parse_nats_url
from spawn.domain.errors import Unavailable
from spawn.domain.events.cloudevents import MEDIA_TYPE
from spawn.domain.events.journal_entry import JournalEntry
from spawn.ports.publishers import DeliveryFailure

BATCH_SIZE = 256
MAX_ATTEMPTED_IDS = 10_000
"""Ids remembered of events that the stream may have although it did not say so."""

_PROBED_TYPE = "project.created"
_NO_STREAM = "spawn-probe"
_WRONG_STREAM_CODE = 10060
_TOO_LARGE_CODE = 10054
_OTHER_EVENT = (
    "The stream has another event under this id and dropped this one: another service publishes"
    " from a copy of this store, or something else under its ids."
)


async def open_nats_publisher(url: str, *, options: PublisherOptions) -> "NatsPublisher":
    """Return the publisher to a NATS server; it connects later.

    Raises:
        InvalidInput: the URL is malformed, or a file that it names cannot be used.
    """
    nats_url = parse_nats_url(url)
    await asyncio.to_thread(check_files, nats_url)
    return NatsPublisher(nats_url, options)


def _count_header_bytes(headers: Mapping[str, str]) -> int:
    """Return the size of headers, which the server counts as part of the payload."""
    fields = sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())
    return len(b"NATS/1.0\r\n") + fields + len(b"\r\n")


class _Error(msgspec.Struct, frozen=True):
    """Reason for which the server did not store a message."""

    code: int
    err_code: int = 0
    description: str = ""


class Acknowledgement(msgspec.Struct, frozen=True):
    """Response to a message: its place in a stream, or an error."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _Error | None = None


_decode_acknowledgement = msgspec.json.Decoder(Acknowledgement).decode


class NotAcknowledged(nats.errors.Error):
    """Something else than the stream responded to a message."""

    def __init__(self, stream: str | None) -> None:
        name = f"the stream {stream}" if stream else "a stream"
        super().__init__(f"the response is no acknowledgement of {name}, but of a subscriber")


class _StoredEvent(msgspec.Struct, frozen=True):
    """The attributes of an event in the stream that tell it from any other."""

    id: str
    subject: str
    sequence: str
    time: datetime


_decode_stored_event = msgspec.json.Decoder(_StoredEvent).decode


class NatsPublisher:
    """Publisher of events to subjects with one prefix."""

    def __init__(self, url: NatsUrl, options: PublisherOptions) -> None:
        self.delivery_options = url.publisher_url.delivery_options(batch=BATCH_SIZE)
        self._url = url
        self._envelope = options.envelope
        self._connection = NatsConnection(url, options.timeout_s)
        self._attempted_ids: dict[str, None] = {}
        self._opened_at = datetime.now(UTC)

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        """Publish the events, in order for each aggregate and concurrently for different ones."""
        context = await self._connection.context()
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
        event_id, subject = self._envelope.format_id(entry.position), self._format_subject(entry)
        headers = {"Nats-Msg-Id": event_id, "Content-Type": MEDIA_TYPE}
        if self._url.stream is not None:
            headers[Header.EXPECTED_STREAM.value] = self._url.stream
        body = self._envelope.encode_structured(entry)
        size, limit = _count_header_bytes(headers) + len(body), self._connection.max_payload
        if size > limit:
            # The server would close the connection, under the other events too.
            detail = f"{size:,} bytes with its headers, and the server accepts {limit:,}"
            return f"The event is too large (maximum payload violation): {detail}.", True
        try:
            receipt = await self._publish_to(subject, body, self._url.stream, headers)
        except nats.errors.NoRespondersError:
            self._connection.suspect_stream()
            return f"No stream accepts {subject}.", False
        except CLIENT_ERRORS as failure:
            self._connection.suspect_stream()
            self._note_attempt(event_id)
            reason = self._connection.describe(failure, subject)
            is_rejected = getattr(failure, "err_code", None) == _TOO_LARGE_CODE
            return f"The stream did not accept the event: {reason}.", is_rejected
        if receipt.duplicate and not await self._has_stored(context, entry, receipt):
            return _OTHER_EVENT, False
        return "", False

    async def _publish_to(
        self, subject: str, body: bytes, stream: str | None, headers: dict[str, str]
    ) -> Acknowledgement:
        """Publish a message and return its acknowledgement.

        Anybody who may subscribe to the subject can respond before the stream does.

        Raises:
            NotAcknowledged: the response is no acknowledgement of the stream.
            NoRespondersError: no stream has the subject.
            APIError: the server did not store the message.
        """
        response = await self._connection.request(subject, body, headers)
        try:
            acknowledgement = _decode_acknowledgement(response)
        except (msgspec.MsgspecError, ValueError, RecursionError) as failure:
            raise NotAcknowledged(stream) from failure
        error = acknowledgement.error
        if error is not None:
            raise nats.js.errors.APIError(error.code, error.description, error.err_code)
        is_stored = acknowledgement.stream and acknowledgement.seq > 0
        if not is_stored or stream not in {None, acknowledgement.stream}:
            raise NotAcknowledged(stream)
        return acknowledgement

    def _format_subject(self, entry: JournalEntry) -> str:
        subject = f"{self._url.prefix}.{entry.type}"
        return f"{subject}.{format_token(entry.id)}" if self._url.has_id_in_subject else subject

    def _note_attempt(self, event_id: str) -> None:
        """Note that the stream may have the event although it did not say so."""
        self._attempted_ids[event_id] = None
        if len(self._attempted_ids) > MAX_ATTEMPTED_IDS:
            del self._attempted_ids[next(iter(self._attempted_ids))]

    async def _has_stored(
        self, context: JetStreamContext, entry: JournalEntry, receipt: Acknowledgement
    ) -> bool:
        """Return whether the message that the stream took this one for is the same event.

        A message that cannot be read, for example because it was consumed, is taken for the event
        if an earlier attempt or an earlier process may have sent it.
        """
        event = self._envelope.to_cloudevent(entry)
        own = _StoredEvent(event.id, event.subject, event.sequence, event.time)
        try:
            message = await context.get_msg(receipt.stream, receipt.seq)
            stored_event = _decode_stored_event(message.data or b"")
        except CLIENT_ERRORS:
            return event.id in self._attempted_ids or entry.recorded_at <= self._opened_at
        except msgspec.MsgspecError:
            return False
        return stored_event == own

    async def probe(self) -> str:
        """Connect, find the stream, and check that it would accept an event.

        The message of the check names a stream that does not exist, so that none stores it; the
        server checks before that whether this client may publish to the subject.
        """
        context = await self._connection.context()
        subject, everything = f"{self._url.prefix}.{_PROBED_TYPE}", f"{self._url.prefix}.>"
        if self._url.has_id_in_subject:
            subject += f".{_NO_STREAM}"
        stream: str = self._url.stream or ""
        try:
            stream = stream or await context.find_stream_name_by_subject(everything)
            await self._publish_to(
                subject, b"", _NO_STREAM, {Header.EXPECTED_STREAM.value: _NO_STREAM}
            )
        except nats.js.errors.APIError as failure:
            if failure.err_code != _WRONG_STREAM_CODE:
                reason = self._connection.describe(failure, subject)
                raise Unavailable(f"no stream listens to {everything}: {reason}") from None
        except nats.errors.NoRespondersError:
            raise Unavailable(f"no stream listens to {subject}") from None
        except CLIENT_ERRORS as failure:
            reason = self._connection.describe(failure, subject)
            raise Unavailable(f"events cannot be published to {everything}: {reason}") from None
        risk = await self._find_risk(context, stream)
        return f"published to {everything} of stream {stream}{risk}"

    async def _find_risk(self, context: JetStreamContext, stream: str) -> str:
        """Return how a stream may lose events; empty if it does not, or cannot be asked.

        Raises:
            Unavailable: it acknowledges nothing, so that every event would be repeated.
        """
        try:
            info = await self._connection.read_stream(context, stream)
        except CLIENT_ERRORS:
            return ""
        check_acknowledges(info)
        risk = find_loss(info)
        return f"; {risk}" if risk else ""

    async def close(self) -> None:
        """Close the connection; idempotent."""
        await self._connection.close()
