"""HTTP transport, delivery order and Retry-After for publishers over HTTP."""

import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import certifi
import httpx

from spawn.domain.events.journal_entry import JournalEntry
from spawn.ports.publishers import DeliveryFailure

MAX_RESPONSE_BYTES = 64 * 1024
"""Bytes read of a response, so that its connection can be used again."""

MAX_RETRY_AFTER_S: Final = 3_600.0
"""Longest wait in seconds that a consumer may ask for; a slip would pause it for years."""


class DirectTransport(httpx.AsyncHTTPTransport):
    """httpx transport without proxies that reports a reset during connect as a ConnectError.

    `verify` is the TLS context; None where there is no TLS.
    """

    def __init__(self, *, verify: ssl.SSLContext | None, connections: int) -> None:
        super().__init__(
            verify=verify or False,
            trust_env=False,
            limits=httpx.Limits(max_connections=connections),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; see httpx.

        Raises:
            httpx.TransportError: there is no response.
        """
        request.extensions = {
            "sni_hostname": format_tls_name(request.url.raw_host.decode("ascii")),
            **request.extensions,
        }
        try:
            return await super().handle_async_request(request)
        except AttributeError as failure:
            # anyio then asks a socket for its peer that uvloop has closed already.
            raise httpx.ConnectError("reset while connecting", request=request) from failure


async def send_request(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """Send the request and return the response, reading at most `MAX_RESPONSE_BYTES` of its body.

    The body itself is discarded.
    """
    response = await client.send(request, stream=True)
    try:
        size = 0
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                break
    finally:
        await response.aclose()
    return response


async def post_in_order(
    entries: Sequence[JournalEntry], post: Callable[[JournalEntry], Awaitable[tuple[str, bool]]]
) -> Sequence[DeliveryFailure]:
    """Post the events one after another, up to the first that fails.

    `post` returns the reason of a failure, empty on success, and whether the consumer rejected
    the event itself.
    """
    for number, entry in enumerate(entries):
        reason, is_rejected = await post(entry)
        if reason:
            first = DeliveryFailure(entry, reason, is_rejected)
            blocked = "It waits for an earlier event of the same batch that failed."
            return [first, *(DeliveryFailure(later, blocked) for later in entries[number + 1 :])]
    return ()


def describe_unreachable(failure: BaseException) -> str:
    """Return why there was no response: what the certificate or the system says, in one phrase.

    Texts of transports contain addresses and vary; without a cause it is the kind of error.
    """
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message.rstrip('.')}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {(cause.reason or 'unknown').replace('_', ' ').lower()}"
        if isinstance(cause, socket.gaierror):
            return "its name has no address"
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno).lower()
        cause = cause.__cause__ or cause.__context__
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(failure).__name__).lower()


def parse_retry_after_s(value: str | None, now: datetime) -> float:
    """Return the seconds of a Retry-After header, at most an hour; 0 if absent or malformed."""
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        wait_s = (moment - now).total_seconds()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, wait_s), MAX_RETRY_AFTER_S)


def format_tls_name(host: str) -> str:
    """Return the name of a host as TLS has it: without the dot at its end (RFC 6066, 3)."""
    return host.removesuffix(".")


class _Version(NamedTuple):
    """Path, time and size of a file or folder of authorities."""

    path: str
    modified_ns: int
    size: int


def get_shared_ssl_context() -> ssl.SSLContext:
    """Return the TLS context of all clients that neither change it nor need one of their own.

    Loading the authorities takes 85 ms and 1 MB, and a service may have hundreds of webhooks. They
    are loaded again once the machine's have changed.
    """
    paths = ssl.get_default_verify_paths()
    return _load_shared_context(_read_version(paths.cafile), _read_version(paths.capath))


def _read_version(path: str | None) -> _Version | None:
    """Return the version of a file or folder; None if there is none."""
    if path is None:
        return None
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return _Version(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _load_shared_context(_file: _Version | None, _folder: _Version | None) -> ssl.SSLContext:
    return create_ssl_context()


def create_ssl_context() -> ssl.SSLContext:
    """Return a TLS context that trusts the machine's authorities and those of certifi.

    Some machines have no authorities of their own. httpx sets the protocols of its context, so each
    of its clients has its own.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
