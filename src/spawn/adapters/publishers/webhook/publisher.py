"""The webhook publisher: one signed POST per event, in the HTTP binding of CloudEvents.

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
    answered,
    one_by_one,
    retry_after_s,
    trusted_authorities,
)
from spawn.adapters.publishers.url import PublisherUrl, malformed, read_publisher_url
from spawn.adapters.publishers.webhook.address_guard import AddressGuard
from spawn.adapters.publishers.webhook.signing import Signer
from spawn.domain.change import Entry
from spawn.domain.errors import Unavailable
from spawn.domain.events.cloudevents import DATA_MEDIA_TYPE, MEDIA_TYPE, Envelope
from spawn.ports.publishers import Undelivered

CONCURRENCY = 8
_MODES = ("structured", "binary")
_REFUSING = frozenset({400, 413, 415, 422})
"""Statuses that speak of the event itself, not of the endpoint."""

_PATIENT = frozenset({429, 502, 503, 504})
"""Statuses that ask for patience."""

_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")


async def open_webhook(url: str, *, options: PublisherOptions) -> "WebhookPublisher":
    """The publisher to a receiver's URL; nothing is sent yet.

    Raises:
        InvalidInput: the URL, the secrets file or the networks cannot be used.
    """
    read = read_publisher_url(url, "mode")
    if not httpx.URL(read.target).host:
        raise malformed("A webhook's URL names a host.")
    if read.options.get("mode", _MODES[0]) not in _MODES:
        raise malformed(f"mode is one of {', '.join(_MODES)}.")
    if options.secrets_file is None:
        raise malformed("A webhook is signed: SPAWN_WEBHOOK_SECRETS_FILE names its secrets.")
    return WebhookPublisher(read, Signer(options.secrets_file, read.name), options)


class WebhookPublisher:
    """Posts events to one URL."""

    def __init__(self, url: PublisherUrl, signer: Signer, options: PublisherOptions) -> None:
        self.terms = url.terms(concurrency=CONCURRENCY)
        self._url = httpx.URL(url.target)
        self._port = self._url.port or (443 if self._url.scheme == "https" else 80)
        self._binary = url.options.get("mode") == "binary"
        self._envelope = options.envelope
        self._signer = signer
        self._guard = AddressGuard(options.allowed_networks)
        self._timeout_s = options.timeout_s
        self._tls = trusted_authorities() if self._url.scheme == "https" else None
        # No proxy and no redirect: either would reach an address that the guard has not judged.
        self._http = httpx.AsyncClient(
            transport=DirectTransport(verify=self._tls, connections=CONCURRENCY),
            timeout=options.timeout_s,
            follow_redirects=False,
            trust_env=False,
        )

    async def publish(self, entries: Sequence[Entry]) -> Sequence[Undelivered]:
        """Post the events one after another, up to the first that is not taken."""
        await self._signer.refresh()
        return await one_by_one(entries, self._post)

    async def _post(self, entry: Entry) -> tuple[str, bool]:
        """Why the event was not taken, if it was not, and whether it was refused as such."""
        headers, body = self._message(entry)
        message_id = f"evt_{entry.position.replace('.', '_')}"
        headers |= self._signer.headers(message_id, int(time()), body)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._send(headers, body)
        except TimeoutError:
            detail = f"The receiver did not answer within {self._timeout_s:g} s."
            raise Unavailable(detail, retry_after_s=0) from None
        except (httpx.HTTPError, ssl.SSLError, OSError) as failure:
            detail = f"The receiver cannot be reached: {type(failure).__name__}."
            raise Unavailable(detail, retry_after_s=0) from None
        return _judged(answer)

    def _message(self, entry: Entry) -> tuple[dict[str, str], bytes]:
        headers = {"user-agent": f"Spawn/{__version__}"}
        if not self._binary:
            headers["content-type"] = f"{MEDIA_TYPE}; charset=utf-8"
            return headers, self._envelope.structured(entry)
        return binary_message(self._envelope, entry, headers)

    async def _send(self, headers: dict[str, str], body: bytes) -> httpx.Response:
        """Post to the address that the guard lets pass."""
        host = self._url.host
        address = await self._guard.resolve(host, self._port)
        request = self._http.build_request(
            "POST",
            self._url.copy_with(host=address),
            headers={**headers, "host": self._url.netloc.decode()},
            content=body,
            extensions={"sni_hostname": host} if self._tls else {},
        )
        return await answered(self._http, request)

    async def probe(self) -> str:
        """Connect to the receiver and hang up."""
        host = self._url.host
        try:
            async with asyncio.timeout(self._timeout_s):
                address = await self._guard.resolve(host, self._port)
                _, writer = await asyncio.open_connection(
                    address,
                    self._port,
                    ssl=self._tls,
                    server_hostname=host if self._tls else None,
                )
                writer.close()
        except (TimeoutError, ssl.SSLError, OSError) as failure:
            detail = f"{host}:{self._port} cannot be reached: {type(failure).__name__}."
            raise Unavailable(detail) from None
        return f"posted to {self.terms.name}"

    async def close(self) -> None:
        """Close the connections; idempotent."""
        await self._http.aclose()


def binary_message(
    envelope: Envelope, entry: Entry, headers: dict[str, str]
) -> tuple[dict[str, str], bytes]:
    """The headers and body of the binary content mode."""
    attributes, data = envelope.binary(entry)
    encoded = {f"ce-{name}": quote(value, safe=_PRINTABLE) for name, value in attributes.items()}
    return {**headers, **encoded, "content-type": DATA_MEDIA_TYPE}, data


def _judged(answer: httpx.Response) -> tuple[str, bool]:
    """What an answer means for the event.

    Raises:
        Unavailable: it asks for patience.
    """
    if answer.is_success:
        return "", False
    status = answer.status_code
    known = status in HTTPStatus._value2member_map_
    reason = f"The receiver answered {status} {HTTPStatus(status).phrase if known else ''}".strip()
    if answer.is_redirect:
        reason += "; redirects are not followed"
    if status in _PATIENT:
        wait_s = retry_after_s(answer.headers.get("retry-after"), datetime.now(UTC))
        raise Unavailable(f"{reason}.", retry_after_s=wait_s)
    return f"{reason}.", status in _REFUSING
