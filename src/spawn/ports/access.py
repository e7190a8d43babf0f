"""Ports that authenticate the callers of the service."""

from datetime import datetime
from typing import Protocol

import msgspec

from spawn.domain.errors import Unavailable
from spawn.domain.principal import ANONYMOUS, Principal


class Authentication(msgspec.Struct, frozen=True, kw_only=True):
    """The principal behind the credentials of a request.

    `expires_at` is when the credentials stop being valid; None is never. `rejection` is why
    credentials were not accepted, in one sentence without any part of them; empty if there were
    none. `failure` is set while credentials cannot be checked. In both cases the principal is
    anonymous.
    """

    principal: Principal
    expires_at: datetime | None = None
    rejection: str = ""
    failure: Unavailable | None = None


UNAUTHENTICATED = Authentication(principal=ANONYMOUS)
"""The authentication of a request without credentials."""


class Authenticator(Protocol):
    """Port that finds the principal of a request; it is called for every one."""

    async def authenticate(self, authorization: bytes | None) -> Authentication:
        """Return the authentication of an Authorization header; None without one.

        It never raises, and an unknown id has the same result as a wrong secret.
        """
        ...


class InvalidToken(Exception):
    """A token that is not accepted; the text is the reason, without any part of the token."""


class VerifiedToken(msgspec.Struct, frozen=True):
    """A token whose signature and claims hold until it expires."""

    principal: Principal
    expires_at: datetime


class TokenVerifier(Protocol):
    """Port that verifies bearer tokens of an identity provider."""

    @property
    def generation(self) -> int:
        """Number that changes whenever tokens of before must be verified again."""
        ...

    async def verify(self, token: str) -> VerifiedToken:
        """Return the principal of a token and the end of its validity.

        Raises:
            InvalidToken: a check fails.
            Unavailable: the provider's keys cannot be loaded.
        """
        ...

    async def renew(self) -> None:
        """Load the provider's keys again if they are old; it never raises."""
        ...

    async def close(self) -> None:
        """Release connections; idempotent."""
        ...
