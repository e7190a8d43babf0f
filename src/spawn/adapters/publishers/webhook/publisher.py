"""Webhook publisher: one signed POST per event, in the HTTP binding of CloudEvents.

The options of its URL are `mode=structured` (default: the whole event is the body, so that the
signature covers all of it) or `mode=binary` (attributes as headers, the data as the body).
"""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from time import time
from urllib.parse import quote

import httpx

from spawn import __version__
from spawn.adapters.embedded.options import PublisherOptions
from spawn.adapters.publishers.http_client import (
    describe_unreachable,
    format_tls_name,
    get_shared_ssl_context,
    parse_retry_after_s,
    post_in_order,
)
from spawn.adapters.publishers.url import PublisherUrl, malformed_url_error, parse_publisher_url
from spawn.adapters.publishers.webhook.address_guard import AddressGuard
from spawn.adapters.publishers.webhook.post_client import (
    ConnectionEnded,
    PostClient,
    PostResponse,
    ResponseMalformed,
)
from spawn.adapters.publishers.webhook.signing import Signer
from spawn.domain.errors import Unavailable
from spawn.domain.events.cloudevents import DATA_MEDIA_TYPE, MEDIA_TYPE, EventEnvelope
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.text import split_web_url
from spawn.ports.publishers import ConsumerGone, DeliveryFailure

CONCURRENCY = 8
_MODES = ("structured", "binary")
_REJECTING_STATUSES = frozenset({400, 413, 415, 422})
"""Statuses about the event itself, not about the endpoint."""

_SUCCESS = range(200, 300)
_REDIRECTS = range(300, 400)
_RETRY_STATUSES = frozenset({429, 502, 503, 504})
"""Statuses that ask the sender to wait."""

_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")


async def open_webhook_publisher(url: str, *, options: PublisherOptions) -> "WebhookPublisher":
    """Return the publisher to a receiver's URL; it connects later.

    Raises:
        InvalidInput: the URL, the secrets file or the networks cannot be used.
    """
    publisher_url = parse_publisher_url(url, "mode")
    try:
        split_web_url(publisher_url.target)
        httpx.URL(publisher_url.target)
    except (ValueError, httpx.InvalidURL) as failure:
        raise malformed_url_error(f"The webhook's URL is malformed: {failure}.") from None
    if publisher_url.options.get("mode", _MODES[0]) not in _MODES:
        raise malformed_url_error(f"mode is one of {', '.join(_MODES)}.")
    if options.secrets_file is None:
        raise malformed_url_error(
            "A webhook needs secrets to sign with: set SPAWN_WEBHOOK_SECRETS_FILE."
        )
    signer = Signer(options.secrets_file, publisher_url.name)
    return WebhookPublisher(publisher_url, signer, options)


class WebhookPublisher:
    """Publisher of events to one URL."""

    def __init__(self, url: PublisherUrl, signer: Signer, options: PublisherOptions) -> None:
        self.delivery_options = url.delivery_options(concurrency=CONCURRENCY)
        self._url = httpx.URL(url.target)
        # The A-labels of an international name, as in `Host`. Python encodes the decoded name by
        # IDNA 2003, which makes another domain of one with ß, ς or a joiner.
        self._host = self._url.raw_host.decode("ascii")
        self._is_binary = url.options.get("mode") == "binary"
        self._envelope = options.envelope
        self._signer = signer
        self._guard = AddressGuard(options.allowed_networks)
        self._timeout_s = options.timeout_s
        self._head = _encode_head(self._url)
        is_encrypted = self._url.scheme == "https"
        self._client = PostClient(
            self._url.port or (443 if is_encrypted else 80),
            connections=CONCURRENCY,
            ssl_context=get_shared_ssl_context() if is_encrypted else None,
            server_name=format_tls_name(self._host),
        )

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        """Post the events one after another, up to the first that fails."""
        await self._signer.refresh()
        return await post_in_order(entries, self._post)

    async def _post(self, entry: JournalEntry) -> tuple[str, bool]:
        """Post one event; return the reason of a failure and whether the event was rejected."""
        headers, body = self._encode_message(entry)
        position = entry.position
        message_id = f"evt_{self._envelope.store_id}_{position.epoch}_{position.number}"
        headers |= self._signer.headers(message_id, int(time()), body)
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = b"%b%bcontent-length: %d\r\n\r\n%b" % (
            self._head,
            fields.encode("ascii"),
            len(body),
            body,
        )
        try:
            return _classify_response(await self._send(request))
        except Unavailable:
            # What failed or is overloaded may have moved.
            self._guard.forget(self._host)
            raise

    async def _send(self, request: bytes) -> PostResponse:
        try:
            async with asyncio.timeout(self._timeout_s):
                # To the very addresses that the guard permits.
                addresses = await self._guard.resolve(self._host)
                return await self._client.post(addresses, request)
        except TimeoutError:
            detail = f"The receiver did not respond within {self._timeout_s:g} s."
            raise Unavailable(detail, retry_after_s=0) from None
        except (ResponseMalformed, ConnectionEnded, ssl.SSLError, OSError) as failure:
            detail = f"The receiver cannot be reached: {describe_unreachable(failure)}."
            raise Unavailable(detail, retry_after_s=0) from None

    def _encode_message(self, entry: JournalEntry) -> tuple[dict[str, str], bytes]:
        if not self._is_binary:
            headers = {"content-type": f"{MEDIA_TYPE}; charset=utf-8"}
            return headers, self._envelope.encode_structured(entry)
        return encode_binary_message(self._envelope, entry)

    async def probe(self) -> str:
        """Connect to the receiver and disconnect."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.probe(await self._guard.resolve(self._host))
        except (TimeoutError, ssl.SSLError, OSError) as failure:
            address = f"{self._host}:{self._client.port}"
            detail = f"{address} cannot be reached: {describe_unreachable(failure)}."
            raise Unavailable(detail) from None
        return f"posted to {self.delivery_options.name}"

    async def close(self) -> None:
        """Close the connections; idempotent."""
        self._client.close()


def _encode_head(url: httpx.URL) -> bytes:
    """Encode what all requests to a URL begin with; its user and password become a header."""
    head = b"POST %b HTTP/1.1\r\nhost: %b\r\n" % (url.raw_path, url.netloc)
    head += f"user-agent: Spawn/{__version__}\r\naccept: */*\r\n".encode()
    if url.username or url.password:
        credentials = b64encode(f"{url.username}:{url.password}".encode())
        head += b"authorization: Basic %b\r\n" % credentials
    return head


def encode_binary_message(
    envelope: EventEnvelope, entry: JournalEntry
) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of the binary content mode."""
    attributes, data = envelope.encode_binary(entry)
    headers = {f"ce-{name}": quote(value, safe=_PRINTABLE) for name, value in attributes.items()}
    return {**headers, "content-type": DATA_MEDIA_TYPE}, data


def _classify_response(response: PostResponse) -> tuple[str, bool]:
    """Return the reason of a failure, empty on success, and whether the event was rejected.

    Raises:
        Unavailable: the receiver asks to wait.
        ConsumerGone: the receiver responds that it is gone for good.
    """
    status = response.status
    if status in _SUCCESS:
        return "", False
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    reason = f"The receiver responded with {status} {phrase}".strip()
    if status == HTTPStatus.GONE:
        raise ConsumerGone(f"{reason}, so nothing further is sent until a restart.")
    if status in _REDIRECTS:
        reason += "; redirects are not followed"
    if status in _RETRY_STATUSES:
        wait_s = parse_retry_after_s(response.retry_after, datetime.now(UTC))
        raise Unavailable(f"{reason}.", retry_after_s=wait_s)
    return f"{reason}.", status in _REJECTING_STATUSES
