"""Port that authenticates the callers of the service."""

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
