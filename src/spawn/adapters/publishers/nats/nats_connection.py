"""Connection to a NATS server: encrypted where asked for, with errors in the server's words."""

import asyncio
import random
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig, StreamInfo
from nats.js.client import JetStreamContext

from spawn.adapters.publishers.http_client import (
    create_ssl_context,
    format_tls_name,
    get_shared_ssl_context,
)
from spawn.adapters.publishers.nats.credentials_file import read_credentials_file
from spawn.adapters.publishers.nats.nats_url import NatsUrl
from spawn.adapters.publishers.url import malformed_url_error
from spawn.domain.errors import InvalidInput, Unavailable

DUPLICATE_WINDOW_S = 600.0
"""Seconds for which a stream created here recognizes a repeated message id."""

DEFAULT_MAX_PAYLOAD = 1 << 20
"""Bytes of a message that a server accepts unless it is configured otherwise."""

MAX_WORDS = 200
"""Characters of a server's message that are reported."""

_CLOSE_TIMEOUT_S = 2.0
_DENIAL = re.compile(r'permissions violation for publish to "([^"]*)"')
CLIENT_ERRORS = (TimeoutError, OSError, nats.errors.Error)
"""Errors of the client, its sockets and its TLS."""


class TlsNotOffered(nats.errors.Error):
    """The server offers no TLS, so nothing is sent to it."""


class GreetingMalformed(nats.errors.Error):
    """The server's greeting has not the form of a NATS server's."""

    def __init__(self) -> None:
        super().__init__("the server's greeting is malformed")


class _EncryptedClient(Client):
    """Client that encrypts the connection before it sends anything, or sends nothing.

    The client of the library encrypts only when the server's greeting, which anybody on the way
    can change, asks for it; without that it sends the password in clear.
    """

    async def _process_info(
        self,
        info: dict[str, Any],
        initial_connection: bool = False,  # noqa: FBT001, FBT002 -- the library's signature
    ) -> None:
        if initial_connection:
            if not (info.get("tls_required") or info.get("tls_available")):
                raise TlsNotOffered("the server offers no TLS, which nats+tls requires")
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)


class NatsConnection:
    """Connection that is opened on first use, and again after it broke.

    The relay waits between attempts, so the client's own reconnecting is off.
    """

    def __init__(self, url: NatsUrl, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._words = ""
        self._is_suspect = True
        self._deadlines: dict[str, set[asyncio.Timeout]] = {}
        self._denials: dict[str, str] = {}

    async def context(self) -> JetStreamContext:
        """Return the JetStream context of a live connection.

        Raises:
            Unavailable: the server cannot be reached, or does not accept this client.
        """
        async with self._connecting:
            if self._client is not None and not self._client.is_connected:
                await self._disconnect()
            if self._client is None or self._is_suspect:
                self._words = ""
                try:
                    client = self._client or await self._connect()
                    self._client = client
                    await self._prepare_stream(client)
                except InvalidInput as failure:
                    raise Unavailable(failure.errors[0].detail, retry_after_s=0) from None
                except (*CLIENT_ERRORS, ValueError) as failure:
                    detail = f"The NATS server cannot be used: {self.describe(failure)}."
                    await self._disconnect()  # the next attempt may find another server
                    raise Unavailable(detail, retry_after_s=0) from None
                self._is_suspect = False
            return self._client.jetstream(timeout=self._timeout_s)

    async def request(self, subject: str, body: bytes, headers: dict[str, str]) -> bytes:
        """Send a message and return the response to it.

        Raises:
            TimeoutError: the server does not respond, or denies the subject.
            nats.errors.Error: nobody listens to the subject, or the connection is closed.
        """
        if self._client is None:
            raise nats.errors.ConnectionClosedError
        async with self.deadline(subject):
            response = await self._client.request(
                subject, body, timeout=self._timeout_s, headers=headers
            )
        return response.data

    def suspect_stream(self) -> None:
        """Look at the stream again before it is used: it did not acknowledge an event."""
        self._is_suspect = True

    async def _prepare_stream(self, client: Client) -> None:
        """Create the named stream if it is missing, and check that it acknowledges events."""
        context = client.jetstream(timeout=self._timeout_s)
        if self._url.stream is None:
            await self._check_matching_stream(context)
        else:
            await self._create_missing_stream(context, self._url.stream)

    async def _connect(self) -> Client:
        """Connect to one of the servers, in random order."""
        # Read each time, so that a renewed file counts from the next connection on.
        ssl_context = await asyncio.to_thread(build_ssl_context, self._url)
        login = await asyncio.to_thread(_build_login, self._url)
        *others, last = random.sample(self._url.servers, len(self._url.servers))
        for server in others:
            with suppress(*CLIENT_ERRORS):
                return await self._connect_to(server, ssl_context, login)
        return await self._connect_to(last, ssl_context, login)

    async def _connect_to(
        self, server: str, ssl_context: ssl.SSLContext, login: Mapping[str, Any]
    ) -> Client:
        client = _EncryptedClient() if self._url.is_encrypted else Client()
        timeout_s = self._timeout_s / len(self._url.servers)
        parts = urlsplit(f"//{server}")
        host, scheme = parts.hostname or "", "tls" if self._url.is_encrypted else "nats"
        async with asyncio.timeout(timeout_s):
            # The library's own lookup of a name that hangs would hold up others.
            addresses = await _look_up(host)
            try:
                await client.connect(
                    [f"{scheme}://{address}:{parts.port}" for address in addresses],
                    dont_randomize=True,
                    name="spawn",
                    **login,
                    tls=ssl_context,
                    tls_hostname=format_tls_name(host),
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=max(1, round(timeout_s)),
                    error_cb=self._note_error,
                )
                _check_greeting(client)
            except BaseException as failure:
                # Not awaited: a connection whose handshake failed takes until the timeout to close.
                closing = asyncio.create_task(_close_client(client))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
                if isinstance(failure, Exception) and not isinstance(failure, CLIENT_ERRORS):
                    # The library reads the greeting unchecked, so any error may come of it.
                    raise GreetingMalformed from failure
                raise
        return client

    async def _create_missing_stream(self, context: JetStreamContext, stream: str) -> None:
        """Create the stream unless it exists; an existing one is not changed.

        A client that may only publish cannot ask for the stream; the server then compares its name
        with that of the stream that gets an event.
        """
        question = f"$JS.API.STREAM.INFO.{stream}"
        try:
            check_acknowledges(await self.read_stream(context, stream))
        except nats.js.errors.NotFoundError:
            config = StreamConfig(
                name=stream,
                subjects=[f"{self._url.prefix}.>"],
                duplicate_window=DUPLICATE_WINDOW_S,
            )
            async with self.deadline(f"$JS.API.STREAM.CREATE.{stream}"):
                await context.add_stream(config)
        except TimeoutError:
            if question.lower() not in self._denials:
                raise

    async def _check_matching_stream(self, context: JetStreamContext) -> None:
        """Check the stream that gets the events, if this client may ask for it.

        Raises:
            Unavailable: it acknowledges nothing.
        """
        try:
            async with self.deadline("$JS.API.STREAM.NAMES"):
                name = await context.find_stream_name_by_subject(f"{self._url.prefix}.>")
            info = await self.read_stream(context, name)
        except CLIENT_ERRORS:
            return  # the delivery of an event tells more
        check_acknowledges(info)

    async def read_stream(self, context: JetStreamContext, stream: str) -> StreamInfo:
        """Return the configuration and state of a stream.

        Raises:
            TimeoutError: the server does not respond, or denies the request.
            NotFoundError: there is no such stream.
        """
        async with self.deadline(f"$JS.API.STREAM.INFO.{stream}"):
            return await context.stream_info(stream)

    @property
    def max_payload(self) -> int:
        """Bytes of a message with its headers that the server accepts at most."""
        return DEFAULT_MAX_PAYLOAD if self._client is None else self._client.max_payload

    async def close(self) -> None:
        """Close the connection; idempotent."""
        await self._disconnect()
        await asyncio.gather(*self._closing)

    async def _disconnect(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await _close_client(client)

    # -- errors -----------------------------------------------------------------------------

    @asynccontextmanager
    async def deadline(self, subject: str) -> AsyncIterator[None]:
        """Limit a request, which ends at once when the server denies its subject.

        Raises:
            TimeoutError: the time is over, or the server denies the subject.
        """
        key = subject.lower()  # as the client passes on what the server says
        self._denials.pop(key, None)
        deadlines = self._deadlines.setdefault(key, set())
        try:
            async with asyncio.timeout(self._timeout_s) as timeout:
                deadlines.add(timeout)
                yield
        finally:
            deadlines.discard(timeout)
            if not deadlines:
                self._deadlines.pop(key, None)

    async def _note_error(self, failure: Exception) -> None:
        """Note what the server said; the client reports it to nobody else."""
        self._words = _read_words(failure) or self._words
        denial = _DENIAL.search(self._words)
        if denial:
            self._denials[denial[1]] = self._words
            now_s = asyncio.get_running_loop().time()
            for timeout in self._deadlines.get(denial[1], ()):
                timeout.reschedule(now_s)

    def describe(self, failure: BaseException, subject: str = "") -> str:
        """Return the reason of a failure, in the server's words where it said something."""
        if subject.lower() in self._denials:
            return self._denials[subject.lower()]
        if isinstance(failure, nats.errors.NoServersError) or not subject:
            return self._words or _read_words(failure) or "no server responds"
        if isinstance(failure, TimeoutError):
            return f"no response within {self._timeout_s:g} s"
        return _read_words(failure) or self._words or type(failure).__name__


async def _look_up(host: str) -> list[str]:
    """Return the addresses of a host as URLs have them.

    Raises:
        OSError: it has none.
    """
    loop = asyncio.get_running_loop()
    records = await loop.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    addresses = dict.fromkeys(str(record[4][0]) for record in records)
    return [f"[{address}]" if ":" in address else address for address in addresses]


def _check_greeting(client: Client) -> None:
    """Check what the library takes from the server's greeting as it is.

    Raises:
        GreetingMalformed: the size of a message is no number.
    """
    if not isinstance(client.max_payload, int):
        raise GreetingMalformed


def check_acknowledges(info: StreamInfo) -> None:
    """Check that a stream acknowledges what it stores.

    Raises:
        Unavailable: it does not, so that each event would be sent again and again.
    """
    if info.config.no_ack:
        name = info.config.name
        raise Unavailable(
            f"The stream {name} acknowledges nothing (no_ack), so that every event would be"
            " repeated: switch no_ack off, or take another stream.",
            retry_after_s=0,
        )


def find_loss(info: StreamInfo) -> str:
    """Return how a stream may drop events that it acknowledged; empty if it keeps them."""
    config, state = info.config, info.state
    if config.retention == RetentionPolicy.INTEREST and not state.consumer_count:
        return "it drops every event, since its retention is interest and it has no consumer"
    limits = {"max_msgs": config.max_msgs, "max_bytes": config.max_bytes}
    limited = [name for name, limit in limits.items() if limit is not None and limit > 0]
    if limited and config.discard in {None, DiscardPolicy.OLD}:
        return f"it drops the oldest events beyond {' and '.join(limited)} (discard old)"
    return ""


def _read_words(failure: BaseException) -> str:
    """Return the words of an error, on one line; empty if it has none."""
    if isinstance(failure, nats.js.errors.APIError):
        text = failure.description or ""
    elif isinstance(failure, ssl.SSLCertVerificationError):
        text = f"its certificate is not accepted: {failure.verify_message}"
    elif isinstance(failure, TimeoutError):
        text = ""
    elif isinstance(failure, OSError):
        text = failure.strerror or str(failure)
    else:
        text = str(failure).removeprefix("nats: ").strip().strip("'")
    return " ".join(text.split())[:MAX_WORDS]


async def _close_client(client: Client) -> None:
    """Close a connection in any state."""
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await client.close()
    except CLIENT_ERRORS:
        return  # the server is gone, so there is nothing left to close


# -- files ----------------------------------------------------------------------------------


def check_files(url: NatsUrl) -> None:
    """Read the files that a URL names, so that a wrong one stops the start.

    Raises:
        InvalidInput: a file cannot be read or used; no error quotes its contents.
    """
    try:
        build_ssl_context(url)
    except (OSError, ValueError):
        names = ", ".join(Path(url.files[n]).name for n in ("ca", "cert", "key") if n in url.files)
        raise malformed_url_error(f"The files for TLS cannot be used: {names}.") from None
    if "creds" in url.files:
        read_credentials_file(Path(url.files["creds"]))


def _build_login(url: NatsUrl) -> dict[str, Any]:
    """Return the options of the client with which it logs in.

    Raises:
        InvalidInput: the creds file cannot be used.
    """
    if "creds" in url.files:
        credentials_file = read_credentials_file(Path(url.files["creds"]))
        return {
            "user_jwt_cb": lambda: credentials_file.jwt,
            "signature_cb": credentials_file.sign,
        }
    credentials = url.credentials
    return {
        "user": credentials.user,
        "password": credentials.password,
        "token": credentials.token,
    }


def build_ssl_context(url: NatsUrl) -> ssl.SSLContext:
    """Return the TLS context with the authorities and the certificate that the URL names.

    Raises:
        OSError, ValueError: a file cannot be read or used.
    """
    authorities = url.files.get("ca")
    if not authorities and "cert" not in url.files:
        return get_shared_ssl_context()
    context = (
        ssl.create_default_context(cafile=authorities) if authorities else create_ssl_context()
    )
    if "cert" in url.files:
        context.load_cert_chain(url.files["cert"], url.files["key"])
    return context
