"""Posts lineage to a collector that speaks OpenLineage: one RunEvent for each state of a run."""

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
    answered,
    one_by_one,
    retry_after_s,
    trusted_authorities,
)
from spawn.domain.change import Entry
from spawn.domain.errors import InvalidInput, Unavailable
from spawn.domain.lineage.openlineage import PUBLISHER, Emitter, run_event
from spawn.domain.lineage.run import EVENT_TYPES, Run
from spawn.ports.publishers import Terms, Undelivered

DEFAULT_PATH = "/api/v1/lineage"
"""Where collectors take events, unless the URL names another path."""

CONCURRENCY = 4
TIMEOUT_S = 10.0
MAX_KEY_BYTES = 4096
_REFUSING = frozenset({400, 409, 413, 415, 422})
"""Statuses that speak of the event itself, not of the collector."""

_decode_run = msgspec.json.Decoder(Run).decode
_encode = msgspec.json.Encoder().encode


class OpenLineagePublisher:
    """Posts the events of runs to one URL.

    The collector is named by whoever operates the service, so unlike a webhook's receiver it may be
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
        """Nothing is sent yet.

        Raises:
            InvalidInput: the key file cannot be used.
        """
        parsed = httpx.URL(url)
        self._url = parsed if parsed.path.strip("/") else parsed.copy_with(path=DEFAULT_PATH)
        self._emitter = emitter
        self._key_file = key_file
        self._timeout_s = timeout_s
        trusted = trusted_authorities() if self._url.scheme == "https" else None
        self._http = httpx.AsyncClient(
            transport=DirectTransport(verify=trusted, connections=CONCURRENCY),
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            headers={"user-agent": f"Spawn/{__version__}", "content-type": "application/json"},
        )
        self._key()

    @property
    def terms(self) -> Terms:
        """Every event of lineage there is, from the oldest on."""
        return Terms(name=PUBLISHER, concurrency=CONCURRENCY, from_oldest=True, types=EVENT_TYPES)

    async def publish(self, entries: Sequence[Entry]) -> Sequence[Undelivered]:
        """Post the events one after another, up to the first that is not taken."""
        headers = await asyncio.to_thread(self._authorization)
        return await one_by_one(entries, partial(self._post, headers))

    async def _post(self, headers: dict[str, str], entry: Entry) -> tuple[str, bool]:
        """Why the event was not taken, if it was not, and whether it was refused as such."""
        event = run_event(_decode_run(entry.document), entry.recorded_at, self._emitter)
        try:
            async with asyncio.timeout(self._timeout_s):
                request = self._http.build_request(
                    "POST", self._url, content=_encode(event), headers=headers
                )
                answer = await answered(self._http, request)
        except TimeoutError:
            detail = f"The collector did not answer within {self._timeout_s:g} s."
            raise Unavailable(detail, retry_after_s=0) from None
        except (httpx.HTTPError, ssl.SSLError, OSError) as failure:
            detail = f"The collector cannot be reached: {type(failure).__name__}."
            raise Unavailable(detail, retry_after_s=0) from None
        return _judged(answer)

    def _authorization(self) -> dict[str, str]:
        try:
            key = self._key()
        except InvalidInput as failure:
            raise Unavailable(failure.errors[0].detail) from failure
        return {"authorization": f"Bearer {key}"} if key else {}

    def _key(self) -> str:
        """The key as the file has it now; no error ever quotes it."""
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
        """Ask for the collector's address; whatever it answers, it is there."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await answered(self._http, self._http.build_request("OPTIONS", self._url))
        except (TimeoutError, httpx.HTTPError, ssl.SSLError, OSError) as failure:
            detail = f"{self._url.host} cannot be reached: {type(failure).__name__}."
            raise Unavailable(detail) from None
        return f"posted to {self._url.host}"

    async def close(self) -> None:
        """Close the connections; idempotent."""
        await self._http.aclose()


def _judged(answer: httpx.Response) -> tuple[str, bool]:
    """What an answer means for the event.

    Raises:
        Unavailable: the collector cannot take any event now, or does not know who sends them.
    """
    if answer.is_success:
        return "", False
    status = answer.status_code
    known = status in HTTPStatus._value2member_map_
    reason = f"The collector answered {status} {HTTPStatus(status).phrase if known else ''}".strip()
    if status in _REFUSING:
        return f"{reason}.", True
    wait_s = retry_after_s(answer.headers.get("retry-after"), datetime.now(UTC))
    raise Unavailable(f"{reason}.", retry_after_s=wait_s)
