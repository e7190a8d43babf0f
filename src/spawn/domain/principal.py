"""The caller of a use case: id, kind, scopes and row scope."""

from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.text import check_line

MAX_ID_LENGTH = 200
"""Characters of a principal's id."""


class Scope(StrEnum):
    """A group of operations that a principal is permitted."""

    PROJECTS_READ = "projects:read"
    PROJECTS_WRITE = "projects:write"
    ANALYSIS = "analysis"
    EVENTS_READ = "events:read"
    DATA_EXPORT = "data:export"
    SCHEMA_ADMIN = "schema:admin"
    ADMIN = "admin"
    METRICS_READ = "metrics:read"


ALL_SCOPES: Final = frozenset(Scope)


class PrincipalKind(StrEnum):
    """The way in which a principal is known.

    `service` is the process itself, `local` a caller of a service without access control or a
    command that opens the file, `key` a client with an API key, `token` the subject of a bearer
    token, `anonymous` a caller without valid credentials.
    """

    SERVICE = "service"
    LOCAL = "local"
    KEY = "key"
    TOKEN = "token"  # noqa: S105 - a kind of principal, not a secret
    ANONYMOUS = "anonymous"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The actor of a use case.

    `id` is recorded as actor in the history; that of a key begins with `key:`, that of a token with
    `token:`. `scopes` are the permitted groups of operations. `row_scope` names the subset of rows
    the principal may see; None is all of them.

    Raises:
        InvalidInput: on construction, if the id is not a valid line of text.
    """

    id: str
    kind: PrincipalKind = PrincipalKind.LOCAL
    scopes: frozenset[Scope] = ALL_SCOPES
    row_scope: str | None = None

    def __post_init__(self) -> None:
        """Check the id, which the history will record."""
        errors: list[FieldError] = []
        check_line(self.id, "", MAX_ID_LENGTH, errors)
        if errors:
            raise InvalidInput(errors)


SERVICE_PRINCIPAL: Final = Principal(id="service", kind=PrincipalKind.SERVICE)
"""The principal of background work: schema refreshes, measurements, the end of jobs."""

LOCAL_PRINCIPAL: Final = Principal(id="local")
"""The principal of every request to a service without access control."""

ANONYMOUS: Final = Principal(id="anonymous", kind=PrincipalKind.ANONYMOUS, scopes=frozenset())
"""The principal of a request without valid credentials."""
