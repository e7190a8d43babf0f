"""Commands and queries of API clients: create, rotate, revoke, list, the first key."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from spawn.application.access.scoped_rows import normalize_row_scope
from spawn.application.commands import Decision, execute
from spawn.application.dependencies import Dependencies, require
from spawn.domain.access import api_client
from spawn.domain.access.api_client import API_CLIENT_KIND, ApiClient
from spawn.domain.access.key_text import SECRET_BYTES, format_key, hash_secret
from spawn.domain.change import StoredAggregate, Write
from spawn.domain.errors import Duplicate, InvalidInput, StaleVersion
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND
from spawn.domain.principal import (
    ALL_SCOPES,
    PORTFOLIO_RULE,
    SERVICE_PRINCIPAL,
    Principal,
    RowScope,
    Scope,
)
from spawn.domain.query import Page, Query

DEFAULT_LIFETIME: Final = timedelta(days=365)
"""Lifetime of a key whose request names none."""

FIRST_CLIENT: Final = "first"
"""Name of the client that a store without clients gets at its first start."""


class IssuedKey(msgspec.Struct, frozen=True):
    """A new key; this is the only time that its text exists."""

    client: ApiClient
    number: int
    text: str

    def __repr__(self) -> str:
        """Return a text without the key, so that no log or traceback has it."""
        return f"IssuedKey({self.client.name!r}, {self.number})"


async def create_api_client(
    dependencies: Dependencies,
    principal: Principal,
    name: str,
    scopes: frozenset[Scope],
    *,
    environment: str,
    expires_at: datetime | None = None,
    row_scope: RowScope | None = None,
) -> IssuedKey:
    """Create a client with its first key.

    Raises:
        InvalidInput: the name, the scopes, the row scope or the expiry are invalid.
        Duplicate: a client has, or had, this name.
    """
    require(principal, Scope.ADMIN)
    secret, now = secrets.token_bytes(SECRET_BYTES), dependencies.clock.now()
    if row_scope is not None:
        row_scope = normalize_row_scope(row_scope, await dependencies.validator())
        await _check_portfolios(dependencies, row_scope)
    client = api_client.create_client(
        name,
        scopes,
        hash_secret(secret),
        now,
        expires_at or now + DEFAULT_LIFETIME,
        row_scope=row_scope,
    )

    async def decide() -> Decision:
        return Decision(writes=(Write(API_CLIENT_KIND, name, 0, client),))

    try:
        await execute(dependencies, principal.id, decide, lost_races=())
    except (Duplicate, StaleVersion):
        detail = f"A client has the name {name} already; rotate its key, or choose another name."
        raise Duplicate(detail) from None
    return IssuedKey(client, 1, format_key(environment, name, secret))


async def _check_portfolios(dependencies: Dependencies, row_scope: RowScope) -> None:
    """Check that the portfolios of a row scope exist: a mistyped one would show nothing.

    Raises:
        InvalidInput: one does not.
    """
    ids = row_scope.portfolio_ids or ()
    missing = sorted(set(ids) - (await dependencies.reads.get_many(PORTFOLIO_KIND, ids)).keys())
    if missing:
        detail = f"there is no portfolio {missing[0]}"
        raise InvalidInput.at(f"/row_scope/{PORTFOLIO_RULE}", "not_found", detail)


async def rotate_key(
    dependencies: Dependencies,
    principal: Principal,
    name: str,
    *,
    environment: str,
    expires_at: datetime | None = None,
) -> IssuedKey:
    """Add a key to a client; the earlier one stays valid until it is revoked or expires.

    Raises:
        NotFound: no such client.
        Conflict: two keys are valid already.
        InvalidInput: the expiry is in the past.
    """
    require(principal, Scope.ADMIN)
    secret, now = secrets.token_bytes(SECRET_BYTES), dependencies.clock.now()
    client = await _change(
        dependencies,
        principal,
        name,
        lambda before: api_client.add_key(
            before, hash_secret(secret), now, expires_at or now + DEFAULT_LIFETIME
        ),
    )
    return IssuedKey(client, client.keys[-1].number, format_key(environment, name, secret))


async def revoke_key(
    dependencies: Dependencies, principal: Principal, name: str, number: int
) -> ApiClient:
    """Revoke one key of a client; the next request with it is rejected.

    Raises:
        NotFound: no such client or key.
    """
    require(principal, Scope.ADMIN)
    now = dependencies.clock.now()
    return await _change(
        dependencies, principal, name, lambda before: api_client.revoke_key(before, number, now)
    )


async def revoke_api_client(
    dependencies: Dependencies, principal: Principal, name: str
) -> ApiClient:
    """Revoke every key of a client.

    Raises:
        NotFound: no such client.
    """
    require(principal, Scope.ADMIN)
    now = dependencies.clock.now()
    return await _change(
        dependencies, principal, name, lambda before: api_client.revoke_all(before, now)
    )


async def get_api_client(dependencies: Dependencies, principal: Principal, name: str) -> ApiClient:
    """Return a client.

    Raises:
        NotFound: no such client.
    """
    require(principal, Scope.ADMIN)
    return (await load_api_client(dependencies, name)).state


async def list_api_clients(
    dependencies: Dependencies, principal: Principal, query: Query
) -> Page[StoredAggregate[ApiClient]]:
    """Return one page of clients."""
    require(principal, Scope.ADMIN)
    return await dependencies.reads.page(msgspec.structs.replace(query, kind=API_CLIENT_KIND))


async def load_api_client(dependencies: Dependencies, name: str) -> StoredAggregate[ApiClient]:
    """Load a client.

    Raises:
        NotFound: no such client.
    """
    return await dependencies.reads.get(API_CLIENT_KIND, name)


async def create_first_key(dependencies: Dependencies, environment: str) -> IssuedKey | None:
    """Create a client with every scope if the store has no client; None if it has one."""
    if (await dependencies.reads.page(Query(kind=API_CLIENT_KIND, limit=1))).items:
        return None
    return await create_api_client(
        dependencies, SERVICE_PRINCIPAL, FIRST_CLIENT, ALL_SCOPES, environment=environment
    )


async def _change(
    dependencies: Dependencies,
    principal: Principal,
    name: str,
    decide: Callable[[ApiClient], ApiClient],
) -> ApiClient:
    """Commit another state of a client, unless it is the same."""

    async def decide_writes() -> "_ClientDecision":
        before = await load_api_client(dependencies, name)
        after = decide(before.state)
        is_same = after == before.state
        write = Write(API_CLIENT_KIND, name, before.version, after)
        return _ClientDecision(writes=() if is_same else (write,), after=after)

    outcome = await execute(dependencies, principal.id, decide_writes)
    return outcome.decision.after


class _ClientDecision(Decision, frozen=True, kw_only=True):
    after: ApiClient
