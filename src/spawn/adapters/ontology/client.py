"""The HTTP side of the ontology protocol: one bounded, retried, guarded GET.

The retries stand outside the breaker and never repeat a call that the breaker refused. One
deadline covers all attempts. Bodies are bounded while they arrive and are never decompressed;
redirects are followed only within the same origin.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import httpx
import msgspec
from opentelemetry import propagate, trace
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from spawn.adapters.ontology.circuit_breaker import Breaker, BreakerLimits
from spawn.adapters.publishers.http_client import DirectTransport, trusted_authorities
from spawn.domain.errors import NotFound, RegistryError
from spawn.domain.schemas.document_parser import MAX_DOCUMENT_BYTES

ATTEMPTS: Final = 3
CONNECTIONS: Final = 4
MAX_REDIRECTS: Final = 3
DEFAULT_MAX_AGE_S: Final = 60.0
MAX_AGE_LIMIT_S: Final = 86_400.0

_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)
_UNCACHEABLE = re.compile(r"(?:^|,)\s*no-(?:store|cache)\s*(?:$|[,=])", re.IGNORECASE)
_tracer = trace.get_tracer("spawn.adapters.ontology")


class Transient(RegistryError):
    """The registry did not answer, or said that it cannot now: counts, and may be retried."""


class Reply(msgspec.Struct, frozen=True):
    """An answer; `document` is None where the registry says that what is known still holds."""

    document: bytes | None
    etag: str | None
    max_age_s: float


class RegistryClient:
    """Asks one ontology server."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        transport: httpx.AsyncBaseTransport | None = None,
        limits: BreakerLimits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        base = httpx.URL(url.rstrip("/"))
        self.url = str(base.copy_with(userinfo=b""))
        self.breaker = Breaker(limits or BreakerLimits(), monotonic=monotonic)
        self._base = str(base)
        self._timeout_s = timeout_s
        self._too_slow = f"the registry did not answer within {timeout_s:g} s"
        self._monotonic = monotonic
        self._sleep = sleep
        trusted = trusted_authorities() if base.scheme == "https" else None
        # The environment's proxies are for the outside world; the registry is named by its URL.
        self._http = httpx.AsyncClient(
            timeout=timeout_s,
            transport=transport or DirectTransport(verify=trusted, connections=CONNECTIONS),
            follow_redirects=False,
            trust_env=False,
        )

    async def get(self, path: str, *, etag: str | None = None) -> Reply:
        """The document at a path below the URL, or word that the one of `etag` still holds.

        Raises:
            NotFound: the registry has none.
            BreakerOpen: nobody was asked.
            RegistryError: no sensible answer within the deadline.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Transient),
            stop=stop_after_attempt(ATTEMPTS) | stop_before_delay(self._timeout_s),
            wait=wait_random_exponential(multiplier=0.1, max=1.0),
            sleep=self._sleep,
            reraise=True,
        )
        deadline = self._monotonic() + self._timeout_s
        with _tracer.start_as_current_span("registry.get", attributes={"url.path": path}):
            return await retrying(self._attempt, path, etag, deadline)

    async def close(self) -> None:
        """Close the connections; idempotent."""
        await self._http.aclose()

    async def _attempt(self, path: str, etag: str | None, deadline: float) -> Reply:
        # The time left is this attempt's own timeout, so that slowness counts as a failure.
        remaining_s = deadline - self._monotonic()
        if remaining_s <= 0:
            raise RegistryError(self._too_slow)
        with self.breaker.guard(Transient):
            try:
                async with asyncio.timeout(remaining_s):
                    return await self._ask(f"{self._base}{path}", etag)
            except TimeoutError:
                raise Transient(self._too_slow) from None
            except httpx.TransportError as error:
                raise Transient(f"the registry cannot be reached: {_reason(error)}") from None
            except httpx.InvalidURL:
                raise RegistryError("the registry redirects to a malformed address") from None

    async def _ask(self, url: str, etag: str | None) -> Reply:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if etag is not None:
            headers["If-None-Match"] = etag
        propagate.inject(headers)
        target = httpx.URL(url)
        for _ in range(MAX_REDIRECTS + 1):
            async with self._http.stream("GET", target, headers=headers) as response:
                if not response.has_redirect_location:
                    return await _reply(response)
                following = target.join(response.headers["Location"])
            if _origin(following) != _origin(target):
                raise RegistryError("the registry redirects to another host, which is not followed")
            target = following
        raise RegistryError(f"the registry redirects more than {MAX_REDIRECTS} times")


async def _reply(response: httpx.Response) -> Reply:
    status = response.status_code
    if status == HTTPStatus.NOT_MODIFIED:
        return Reply(None, response.headers.get("ETag"), _max_age_s(response))
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        raise NotFound("the registry has no such schema or version")
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Transient(f"the registry answered with status {status}")
    if status != HTTPStatus.OK:
        raise RegistryError(f"the registry answered with status {status}")
    return Reply(await _body(response), response.headers.get("ETag"), _max_age_s(response))


async def _body(response: httpx.Response) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RegistryError("the registry compresses its answer although asked not to")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            raise RegistryError(f"the registry's answer is larger than {MAX_DOCUMENT_BYTES} bytes")
    return bytes(body)


def _max_age_s(response: httpx.Response) -> float:
    """How long the answer holds by its Cache-Control: at most a day, a minute if unsaid."""
    control = response.headers.get("Cache-Control", "")
    if _UNCACHEABLE.search(control):
        return 0.0
    match = _MAX_AGE.search(control)
    return min(float(match[1]), MAX_AGE_LIMIT_S) if match else DEFAULT_MAX_AGE_S


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _reason(error: httpx.TransportError) -> str:
    """The kind of failure in words; the texts of transports carry addresses and vary."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
