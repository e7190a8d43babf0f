"""Authentication of requests: the principal behind an API key or a bearer token."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, time, timedelta
from typing import Final

import msgspec

from spawn.application.access.api_clients import load_api_client
from spawn.application.bounded_cache import BoundedCache
from spawn.application.commands import Decision, execute
from spawn.application.dependencies import Dependencies
from spawn.domain.access import api_client
from spawn.domain.access.api_client import API_CLIENT_KIND, ApiKey
from spawn.domain.access.key_text import PREFIX, parse_key
from spawn.domain.change import Write
from spawn.domain.errors import NotFound, SpawnError, Unavailable
from spawn.domain.principal import ANONYMOUS, LOCAL_PRINCIPAL, SERVICE_PRINCIPAL
from spawn.ports.access import UNAUTHENTICATED, Authentication, InvalidToken, TokenVerifier

MAX_CACHED_CREDENTIALS: Final = 10_000
_SCHEME: Final = b"bearer "
_LOCAL: Final = Authentication(principal=LOCAL_PRINCIPAL)
_REJECTED: Final = Authentication(
    principal=ANONYMOUS, rejection="The credentials are unknown, expired or revoked."
)
_OTHER_SCHEME: Final = Authentication(
    principal=ANONYMOUS, rejection="The header Authorization needs the scheme Bearer."
)


RENEWAL_S: Final = 60.0
"""Seconds between looks at the age of the issuer's keys."""


async def renew_keys_forever(
    tokens: TokenVerifier, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Load the issuer's keys again when they are old, so that a withdrawn key is noticed."""
    while True:
        await tokens.renew()
        await sleep(RENEWAL_S)


class OpenAccess:
    """Authenticator of a service without access control: every caller is the local one."""

    async def authenticate(self, authorization: bytes | None) -> Authentication:  # noqa: ARG002 - of the port
        """Return the local principal."""
        return _LOCAL


class _VerifiedCredential(msgspec.Struct, frozen=True):
    """A verified key or token, valid until an instant.

    A key is valid while its client has this version; a token has no client, and is valid while
    the keys of its issuer have this generation.
    """

    client: str | None
    version: int
    valid_until: datetime
    authentication: Authentication


class CredentialAccess:
    """Authenticator by API keys and, with a verifier, by tokens.

    Verified credentials are cached by the hash of the header. A cached key costs a look at the
    version of its client, so that a revocation holds from the next request on. The last use of a
    key is recorded once a day.
    """

    def __init__(self, dependencies: Dependencies, tokens: TokenVerifier | None = None) -> None:
        self._dependencies = dependencies
        self._tokens = tokens
        self._cache: BoundedCache[_VerifiedCredential] = BoundedCache(
            MAX_CACHED_CREDENTIALS, MAX_CACHED_CREDENTIALS, lambda _: 1
        )
        self._recordings: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def authenticate(self, authorization: bytes | None) -> Authentication:
        """Return the principal of an Authorization header, anonymous without a valid one."""
        if authorization is None:
            return UNAUTHENTICATED
        digest = hashlib.sha256(authorization).digest()
        try:
            entry = self._cache.get(digest)
            if entry is not None and await self._is_current(entry):
                return entry.authentication
            return await self._verify(authorization, digest)
        except Unavailable as failure:
            return Authentication(principal=ANONYMOUS, failure=failure)
        except SpawnError:
            detail = "Credentials cannot be checked now."
            return Authentication(principal=ANONYMOUS, failure=Unavailable(detail))

    async def close(self) -> None:
        """Wait for the records of last uses, and close the verifier."""
        await asyncio.gather(*self._recordings.values(), return_exceptions=True)
        if self._tokens is not None:
            await self._tokens.close()

    async def _is_current(self, entry: _VerifiedCredential) -> bool:
        if self._dependencies.clock.now() >= entry.valid_until:
            return False
        if entry.client is None:
            return self._tokens is not None and self._tokens.generation == entry.version
        head = await self._dependencies.reads.head(API_CLIENT_KIND, entry.client)
        return head.version == entry.version

    async def _verify(self, authorization: bytes, digest: bytes) -> Authentication:
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            return _OTHER_SCHEME
        text = authorization[len(_SCHEME) :].strip().decode("latin-1")
        if text.startswith(PREFIX):
            return await self._verify_key(text, digest)
        return await self._verify_token(text, digest)

    async def _verify_token(self, text: str, digest: bytes) -> Authentication:
        if self._tokens is None:
            return _REJECTED
        try:
            token = await self._tokens.verify(text)
        except InvalidToken as error:
            return Authentication(
                principal=ANONYMOUS, rejection=f"The token is not accepted: {error}."
            )
        authentication = Authentication(principal=token.principal, expires_at=token.expires_at)
        entry = _VerifiedCredential(None, self._tokens.generation, token.expires_at, authentication)
        self._cache.put(digest, entry)
        return authentication

    async def _verify_key(self, text: str, digest: bytes) -> Authentication:
        parts = parse_key(text)
        if parts is None:
            return _REJECTED
        now = self._dependencies.clock.now()
        try:
            aggregate = await load_api_client(self._dependencies, parts.client)
        except NotFound:
            return _REJECTED
        key = aggregate.state.find_key(parts.secret_sha256, now)
        if key is None:
            return _REJECTED
        authentication = Authentication(
            principal=aggregate.state.principal, expires_at=key.expires_at
        )
        self._record_use(parts.client, key, now)
        # The day ends before the key does: the first request of the next day records its use.
        end_of_day = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        valid_until = end_of_day if key.expires_at is None else min(end_of_day, key.expires_at)
        entry = _VerifiedCredential(parts.client, aggregate.version, valid_until, authentication)
        self._cache.put(digest, entry)
        return authentication

    def _record_use(self, name: str, key: ApiKey, now: datetime) -> None:
        """Record the day of a key's use, in the background and once."""
        if key.last_used_on == now.date() or (name, key.number) in self._recordings:
            return
        task = asyncio.create_task(self._commit_use(name, key.number, now))
        self._recordings[name, key.number] = task
        task.add_done_callback(lambda _: self._recordings.pop((name, key.number), None))

    async def _commit_use(self, name: str, number: int, now: datetime) -> None:
        async def decide() -> Decision:
            before = await load_api_client(self._dependencies, name)
            after = api_client.record_use(before.state, number, now.date())
            return Decision(writes=(Write(API_CLIENT_KIND, name, before.version, after),))

        try:
            await execute(self._dependencies, SERVICE_PRINCIPAL.id, decide)
        except SpawnError:
            return  # A full disk must not keep a reader out; the next verification tries again.
