"""Authentication of requests: the principal behind the credentials."""

from typing import Final

from spawn.domain.principal import LOCAL_PRINCIPAL
from spawn.ports.access import Authentication

_LOCAL: Final = Authentication(principal=LOCAL_PRINCIPAL)


class OpenAccess:
    """Authenticator of a service without access control: every caller is the local one."""

    async def authenticate(self, authorization: bytes | None) -> Authentication:  # noqa: ARG002 - of the port
        """Return the local principal."""
        return _LOCAL
