"""HTTP client of the ontology server: one bounded GET with retries and a circuit breaker.

The retries are outside the breaker and never repeat a call that the breaker rejected. One
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

from spawn.adapters.ontology.circuit_breaker import CircuitBreaker, CircuitLimits
from spawn.adapters.publishers.http_client import (
    DirectTransport,
    create_ssl_context,
    describe_unreachable,
)
from spawn.domain.errors import NotFound, RegistryError
from spawn.domain.schemas.document_parser import MAX_DOCUMENT_BYTES

MAX_ATTEMPTS: Final = 3
MAX_CONNECTIONS: Final = 4
MAX_REDIRECTS: Final = 3
DEFAULT_MAX_AGE_S: Final = 60.0
MAX_AGE_LIMIT_S: Final = 86_400.0

_MAX_AGE: Final = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)
_UNCACHEABLE: Final = re.compile(r"(?:^|,)\s*no-(?:store|cache)\s*(?:$|[,=])", re.IGNORECASE)
_tracer = trace.get_tracer("spawn.adapters.ontology")


class TransientRegistryError(RegistryError):
    """The registry did not respond or is overloaded; it counts as a failure and may be retried."""


class RegistryResponse(msgspec.Struct, frozen=True):
    """Response of the registry; `document` is None for 304, where the cached one still holds.

    `has_next` if a Link header names a next page.
    """

    document: bytes | None
    etag: str | None
    max_age_s: float
    has_next: bool = False


class RegistryClient:
    """Client of one ontology server."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        transport: httpx.AsyncBaseTransport | None = None,
        limits: CircuitLimits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        base = httpx.URL(url.rstrip("/"))
        self.url = str(base.copy_with(userinfo=b""))
        self.breaker = CircuitBreaker(limits or CircuitLimits(), monotonic=monotonic)
        self._base = str(base)
        self._timeout_s = timeout_s
        self._timeout_detail = f"the registry did not respond within {timeout_s:g} s"
        self._monotonic = monotonic
        self._sleep = sleep
        ssl_context = create_ssl_context() if base.scheme == "https" else None
        # The environment's proxies are for the outside world; the registry is named by its URL.
        self._http = httpx.AsyncClient(
            timeout=timeout_s,
            transport=transport or DirectTransport(verify=ssl_context, connections=MAX_CONNECTIONS),
            follow_redirects=False,
            trust_env=False,
        )

    async def get(
        self, path: str, *, etag: str | None = None, is_secondary: bool = False
    ) -> RegistryResponse:
        """Get the document at a path below the URL, unless that of `etag` is still current.

        One that `is_secondary` is requested once, while the breaker is closed, and does not count.

        Raises:
            NotFound: the registry has none.
            CircuitOpen: no request was sent.
            RegistryError: no usable response within the deadline.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientRegistryError),
            stop=stop_after_attempt(MAX_ATTEMPTS) | stop_before_delay(self._timeout_s),
            wait=wait_random_exponential(multiplier=0.1, max=1.0),
            sleep=self._sleep,
            reraise=True,
        )
        deadline = self._monotonic() + self._timeout_s
        with _tracer.start_as_current_span("registry.get", attributes={"url.path": path}):
            if is_secondary:
                self.breaker.check_closed()
                return await self._send(path, etag, deadline)
            return await retrying(self._attempt, path, etag, deadline)

    async def close(self) -> None:
        """Close the connections; idempotent."""
        await self._http.aclose()

    async def _attempt(self, path: str, etag: str | None, deadline: float) -> RegistryResponse:
        with self.breaker.guard(TransientRegistryError):
            return await self._send(path, etag, deadline)

    async def _send(self, path: str, etag: str | None, deadline: float) -> RegistryResponse:
        # The time left is this attempt's own timeout, so that slowness counts as a failure.
        remaining_s = deadline - self._monotonic()
        if remaining_s <= 0:
            raise TransientRegistryError(self._timeout_detail)
        try:
            async with asyncio.timeout(remaining_s):
                return await self._request(f"{self._base}{path}", etag)
        except TimeoutError:
            raise TransientRegistryError(self._timeout_detail) from None
        except httpx.TransportError as error:
            detail = f"the registry cannot be reached: {describe_unreachable(error)}"
            raise TransientRegistryError(detail) from None
        except (httpx.InvalidURL, UnicodeError):
            raise RegistryError("the registry redirects to a malformed address") from None

    async def _request(self, url: str, etag: str | None) -> RegistryResponse:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if etag is not None:
            headers["If-None-Match"] = etag
        propagate.inject(headers)
        target = httpx.URL(url)
        for _ in range(MAX_REDIRECTS + 1):
            async with self._http.stream("GET", target, headers=headers) as response:
                if not response.has_redirect_location:
                    return await _read_response(response)
                location = target.join(response.headers["Location"])
            if _origin(location) != _origin(target):
                raise RegistryError("the registry redirects to another host, which is not followed")
            target = location
        raise RegistryError(f"the registry redirects more than {MAX_REDIRECTS} times")


async def _read_response(response: httpx.Response) -> RegistryResponse:
    status = response.status_code
    if status == HTTPStatus.NOT_MODIFIED:
        return RegistryResponse(None, _read_etag(response), _parse_max_age_s(response))
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        raise NotFound("the registry has no such schema or version")
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TransientRegistryError(f"the registry responded with status {status}")
    if status != HTTPStatus.OK:
        raise RegistryError(f"the registry responded with status {status}")
    document = await _read_body(response)
    etag, has_next = _read_etag(response), "next" in response.links
    return RegistryResponse(document, etag, _parse_max_age_s(response), has_next)


def _read_etag(response: httpx.Response) -> str | None:
    """Return the ETag of a response; None for one that no header field can send back."""
    etag = response.headers.get("ETag")
    return etag if etag is not None and etag.isascii() and etag.isprintable() else None


async def _read_body(response: httpx.Response) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RegistryError("the registry compresses its response although asked not to")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            raise RegistryError(
                f"the registry's response is larger than {MAX_DOCUMENT_BYTES} bytes"
            )
    return bytes(body)


def _parse_max_age_s(response: httpx.Response) -> float:
    """Return the seconds of freshness by Cache-Control: at most a day, by default a minute."""
    control = response.headers.get("Cache-Control", "")
    if _UNCACHEABLE.search(control):
        return 0.0
    match = _MAX_AGE.search(control)
    return min(float(match[1]), MAX_AGE_LIMIT_S) if match else DEFAULT_MAX_AGE_S


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
