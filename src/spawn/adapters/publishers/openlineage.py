"""Publisher of lineage to an OpenLineage collector: one RunEvent for each state of a run."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path

import httpx
import msgspec

from spawn import __version__
from spawn.adapters.publishers.http_client import (
    DirectTransport,
    create_ssl_context,
    describe_unreachable,
    parse_retry_after_s,
    post_in_order,
    send_request,
)
from spawn.domain.errors import InvalidInput, Unavailable
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.lineage.openlineage import PUBLISHER_NAME, Emitter, build_run_event
from spawn.domain.lineage.run import EVENT_TYPES, Run
from spawn.ports.publishers import DeliveryFailure, DeliveryOptions

DEFAULT_PATH = "/api/v1/lineage"
"""Path at which collectors accept events, unless the URL names another."""

CONCURRENCY = 4
TIMEOUT_S = 10.0
MAX_KEY_BYTES = 4096
_REJECTING_STATUSES = frozenset({400, 409, 413, 415, 422})
"""Statuses about the event itself, not about the collector."""

_decode_run = msgspec.json.Decoder(Run).decode
_encode = msgspec.json.Encoder().encode


class OpenLineagePublisher:
    """Publisher of the events of runs to one URL.

    The operator of the service names the collector, so unlike a webhook's receiver it may be
    anywhere. Redirects are not followed: they would carry the key elsewhere.
    """

    def __init__(
        self,
        url: str,
        emitter: Emitter,
        *,
        key_file: Path | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Prepare the client; nothing is sent yet.

        Raises:
            InvalidInput: the key file cannot be used.
        """
        base = httpx.URL(url)
        self._url = base if base.path.strip("/") else base.copy_with(path=DEFAULT_PATH)
        self._emitter = emitter
        self._key_file = key_file
        self._timeout_s = timeout_s
        ssl_context = create_ssl_context() if self._url.scheme == "https" else None
        self._http = httpx.AsyncClient(
            transport=DirectTransport(verify=ssl_context, connections=CONCURRENCY),
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            headers={"user-agent": f"Spawn/{__version__}", "content-type": "application/json"},
        )
        self._read_key()

    @property
    def delivery_options(self) -> DeliveryOptions:
        """All lineage events, from the oldest on."""
        return DeliveryOptions(
            name=PUBLISHER_NAME, concurrency=CONCURRENCY, from_oldest=True, types=EVENT_TYPES
        )

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        """Post the events one after another, up to the first that fails."""
        headers = await asyncio.to_thread(self._authorization_headers)
        return await post_in_order(entries, partial(self._post, headers))

    async def _post(self, headers: dict[str, str], entry: JournalEntry) -> tuple[str, bool]:
        """Post one event; return the reason of a failure and whether the event was rejected."""
        event = build_run_event(_decode_run(entry.document), entry.recorded_at, self._emitter)
        try:
            async with asyncio.timeout(self._timeout_s):
                request = self._http.build_request(
                    "POST", self._url, content=_encode(event), headers=headers
                )
                response = await send_request(self._http, request)
        except TimeoutError:
            detail = f"The collector did not respond within {self._timeout_s:g} s."
            raise Unavailable(detail, retry_after_s=0) from None
        except (httpx.HTTPError, ssl.SSLError, OSError) as failure:
            detail = f"The collector cannot be reached: {describe_unreachable(failure)}."
            raise Unavailable(detail, retry_after_s=0) from None
        return _classify_response(response)

    def _authorization_headers(self) -> dict[str, str]:
        try:
            key = self._read_key()
        except InvalidInput as failure:
            raise Unavailable(failure.errors[0].detail) from failure
        return {"authorization": f"Bearer {key}"} if key else {}

    def _read_key(self) -> str:
        """Read the current key from the file; no error ever quotes it."""
        if self._key_file is None:
            return ""
        try:
            with self._key_file.open("rb") as file:
                key = file.read(MAX_KEY_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            key = ""
        if not key or not key.isprintable() or " " in key:
            detail = f"The key file {self._key_file.name} does not hold one key."
            raise InvalidInput.at("", "secrets_unusable", detail)
        return key

    async def probe(self) -> str:
        """Send an OPTIONS request to the collector; any response means that it is there."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await send_request(self._http, self._http.build_request("OPTIONS", self._url))
        except (TimeoutError, httpx.HTTPError, ssl.SSLError, OSError) as failure:
            detail = f"{self._url.host} cannot be reached: {describe_unreachable(failure)}."
            raise Unavailable(detail) from None
        return f"posted to {self._url.host}"

    async def close(self) -> None:
        """Close the connections; idempotent."""
        await self._http.aclose()


def _classify_response(response: httpx.Response) -> tuple[str, bool]:
    """Return the reason of a failure, empty on success, and whether the event was rejected.

    Raises:
        Unavailable: the collector accepts no event now, or does not know the sender.
    """
    if response.is_success:
        return "", False
    status = response.status_code
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    reason = f"The collector responded with {status} {phrase}".strip()
    if status in _REJECTING_STATUSES:
        return f"{reason}.", True
    wait_s = parse_retry_after_s(response.headers.get("retry-after"), datetime.now(UTC))
    raise Unavailable(f"{reason}.", retry_after_s=wait_s)
