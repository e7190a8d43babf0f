"""Webhook publisher: one signed POST per event, in the HTTP binding of CloudEvents.

The options of its URL are `mode=structured` (default: the whole event is the body, so that the
signature covers all of it) or `mode=binary` (attributes as headers, the data as the body).
"""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from time import time
from urllib.parse import quote

import httpx

from spawn import __version__
from spawn.adapters.embedded.options import PublisherOptions
from spawn.adapters.publishers.http_client import (
    DirectTransport,
    create_ssl_context,
    describe_unreachable,
    parse_retry_after_s,
    post_in_order,
    send_request,
)
from spawn.adapters.publishers.url import PublisherUrl, malformed_url_error, parse_publisher_url
from spawn.adapters.publishers.webhook.address_guard import AddressGuard
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
    except ValueError as failure:
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
        self._port = self._url.port or (443 if self._url.scheme == "https" else 80)
        self._is_binary = url.options.get("mode") == "binary"
        self._envelope = options.envelope
        self._signer = signer
        self._guard = AddressGuard(options.allowed_networks)
        self._timeout_s = options.timeout_s
        self._ssl_context = create_ssl_context() if self._url.scheme == "https" else None
        # No proxy and no redirect: either would reach an address that the guard has not checked.
        self._http = httpx.AsyncClient(
            transport=DirectTransport(verify=self._ssl_context, connections=CONCURRENCY),
            timeout=options.timeout_s,
            follow_redirects=False,
            trust_env=False,
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
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._send(headers, body)
        except TimeoutError:
            detail = f"The receiver did not respond within {self._timeout_s:g} s."
            raise Unavailable(detail, retry_after_s=0) from None
        except (httpx.HTTPError, ssl.SSLError, OSError) as failure:
            detail = f"The receiver cannot be reached: {describe_unreachable(failure)}."
            raise Unavailable(detail, retry_after_s=0) from None
        return _classify_response(response)

    def _encode_message(self, entry: JournalEntry) -> tuple[dict[str, str], bytes]:
        headers = {"user-agent": f"Spawn/{__version__}"}
        if not self._is_binary:
            headers["content-type"] = f"{MEDIA_TYPE}; charset=utf-8"
            return headers, self._envelope.encode_structured(entry)
        return encode_binary_message(self._envelope, entry, headers)

    async def _send(self, headers: dict[str, str], body: bytes) -> httpx.Response:
        """Post to an address that the guard permits."""
        host = self._url.host
        address = await self._guard.resolve(host, self._port)
        request = self._http.build_request(
            "POST",
            self._url.copy_with(host=address),
            headers={**headers, "host": self._url.netloc.decode()},
            content=body,
            extensions={"sni_hostname": host} if self._ssl_context else {},
        )
        return await send_request(self._http, request)

    async def probe(self) -> str:
        """Connect to the receiver and disconnect."""
        host = self._url.host
        try:
            async with asyncio.timeout(self._timeout_s):
                address = await self._guard.resolve(host, self._port)
                _, writer = await asyncio.open_connection(
                    address,
                    self._port,
                    ssl=self._ssl_context,
                    server_hostname=host if self._ssl_context else None,
                )
                writer.close()
        except (TimeoutError, ssl.SSLError, OSError) as failure:
            detail = f"{host}:{self._port} cannot be reached: {describe_unreachable(failure)}."
            raise Unavailable(detail) from None
        return f"posted to {self.delivery_options.name}"

    async def close(self) -> None:
        """Close the connections; idempotent."""
        await self._http.aclose()


def encode_binary_message(
    envelope: EventEnvelope, entry: JournalEntry, headers: dict[str, str]
) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of the binary content mode."""
    attributes, data = envelope.encode_binary(entry)
    event_headers = {
        f"ce-{name}": quote(value, safe=_PRINTABLE) for name, value in attributes.items()
    }
    return {**headers, **event_headers, "content-type": DATA_MEDIA_TYPE}, data


def _classify_response(response: httpx.Response) -> tuple[str, bool]:
    """Return the reason of a failure, empty on success, and whether the event was rejected.

    Raises:
        Unavailable: the receiver asks to wait.
        ConsumerGone: the receiver responds that it is gone for good.
    """
    if response.is_success:
        return "", False
    status = response.status_code
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    reason = f"The receiver responded with {status} {phrase}".strip()
    if status == HTTPStatus.GONE:
        raise ConsumerGone(f"{reason}, so nothing further is sent until a restart.")
    if response.is_redirect:
        reason += "; redirects are not followed"
    if status in _RETRY_STATUSES:
        wait_s = parse_retry_after_s(response.headers.get("retry-after"), datetime.now(UTC))
        raise Unavailable(f"{reason}.", retry_after_s=wait_s)
    return f"{reason}.", status in _REJECTING_STATUSES
