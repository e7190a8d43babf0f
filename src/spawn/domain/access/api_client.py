"""API clients: programs with keys, their scopes, and the rotation and revocation of keys."""

import hmac
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Final

import msgspec

from spawn.domain.errors import Conflict, FieldError, InvalidInput, NotFound
from spawn.domain.principal import (
    WHOLE_STORE_SCOPES,
    Principal,
    PrincipalKind,
    RowScope,
    Scope,
)

API_CLIENT_KIND: Final = "api_client"
MAX_LIVE_KEYS: Final = 2
"""Keys of a client that are valid at once: the present one and its successor."""

MAX_KEYS: Final = 100
"""Keys of a client in all; the oldest ones that have ended are dropped."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a client, without its secret.

    `number` counts the keys of the client from 1. `last_used_on` is the last day (UTC) on which a
    request had the key.
    """

    number: int
    secret_sha256: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_on: date | None = None

    def is_live(self, now: datetime) -> bool:
        """Whether the key is valid at an instant."""
        is_expired = self.expires_at is not None and self.expires_at <= now
        return self.revoked_at is None and not is_expired


class ApiClient(msgspec.Struct, frozen=True, kw_only=True):
    """A program that calls the service with keys; its name is for ever.

    `row_scope` limits the projects that it may see and change; None is all of them.
    """

    name: str
    scopes: tuple[Scope, ...]
    keys: tuple[ApiKey, ...]
    row_scope: RowScope | None = None

    @property
    def principal(self) -> Principal:
        """The principal of requests with a key of this client."""
        return Principal(
            id=f"key:{self.name}",
            kind=PrincipalKind.KEY,
            scopes=frozenset(self.scopes),
            row_scope=self.row_scope,
        )

    def live_keys(self, now: datetime) -> tuple[ApiKey, ...]:
        """Return the keys that are valid at an instant."""
        return tuple(key for key in self.keys if key.is_live(now))

    def find_key(self, secret_sha256: str, now: datetime) -> ApiKey | None:
        """Return the live key with this hash; every key is compared in constant time."""
        match = None
        for key in self.keys:
            if hmac.compare_digest(key.secret_sha256, secret_sha256) and key.is_live(now):
                match = key
        return match


def create_client(
    name: str,
    scopes: frozenset[Scope],
    secret_sha256: str,
    now: datetime,
    expires_at: datetime,
    *,
    row_scope: RowScope | None = None,
) -> ApiClient:
    """Return a client with its first key.

    Raises:
        InvalidInput: the name or the scopes are invalid, the row scope contradicts the scopes, or
            the key would have expired already.
    """
    errors = []
    if not _NAME.fullmatch(name):
        detail = "must be 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a-z or 0-9"
        errors.append(FieldError("/name", "invalid_name", detail))
    if not scopes:
        errors.append(FieldError("/scopes", "empty", "must have at least one scope"))
    if row_scope is not None and (useless := scopes & WHOLE_STORE_SCOPES):
        names = ", ".join(sorted(useless))
        detail = f"it has no effect with {names}, for the whole store: leave one of both out"
        errors.append(FieldError("/row_scope", "contradiction", detail))
    if errors:
        raise InvalidInput(errors)
    _check_expiry(expires_at, now)
    key = ApiKey(number=1, secret_sha256=secret_sha256, created_at=now, expires_at=expires_at)
    return ApiClient(name=name, scopes=tuple(sorted(scopes)), keys=(key,), row_scope=row_scope)


def add_key(
    client: ApiClient, secret_sha256: str, now: datetime, expires_at: datetime
) -> ApiClient:
    """Return the client with one more key; the earlier one stays valid.

    Raises:
        Conflict: two keys are valid already.
        InvalidInput: the key would have expired already.
    """
    _check_expiry(expires_at, now)
    if len(client.live_keys(now)) >= MAX_LIVE_KEYS:
        detail = f"The client has {MAX_LIVE_KEYS} valid keys; revoke one of them first."
        raise Conflict(detail)
    number = client.keys[-1].number + 1
    key = ApiKey(number=number, secret_sha256=secret_sha256, created_at=now, expires_at=expires_at)
    old = [one for one in client.keys[:-MAX_KEYS] if one.is_live(now)]
    keys = (*old, *client.keys[-MAX_KEYS:], key)
    return msgspec.structs.replace(client, keys=keys)


def revoke_key(client: ApiClient, number: int, now: datetime) -> ApiClient:
    """Return the client with a key revoked; a key that has ended stays as it is.

    Raises:
        NotFound: the client has no key of this number.
    """
    if all(key.number != number for key in client.keys):
        raise NotFound("The client has no key of this number.")
    return _replace_keys(client, lambda key: _revoke(key, now) if key.number == number else key)


def revoke_all(client: ApiClient, now: datetime) -> ApiClient:
    """Return the client with every key revoked."""
    return _replace_keys(client, lambda key: _revoke(key, now))


def record_use(client: ApiClient, number: int, day: date) -> ApiClient:
    """Return the client with the last day on which a key was used."""
    return _replace_keys(
        client,
        lambda key: msgspec.structs.replace(key, last_used_on=day) if key.number == number else key,
    )


def _replace_keys(client: ApiClient, change: Callable[[ApiKey], ApiKey]) -> ApiClient:
    return msgspec.structs.replace(client, keys=tuple(map(change, client.keys)))


def _revoke(key: ApiKey, now: datetime) -> ApiKey:
    return msgspec.structs.replace(key, revoked_at=now) if key.is_live(now) else key


def _check_expiry(expires_at: datetime, now: datetime) -> None:
    if expires_at <= now:
        raise InvalidInput.at("/expires_at", "in_the_past", "must be in the future")
