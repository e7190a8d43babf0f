"""Wire structs of API clients and their keys."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, Self

from msgspec import Meta

from spawn.application.access.api_clients import IssuedKey
from spawn.domain.access.api_client import ApiClient, ApiKey
from spawn.domain.dates import parse_instant
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import RowScope, Scope
from spawn.domain.struct_reader import TokenReader, compile_reader, text_reader
from spawn.entrypoints.http.wire import Day, Instant, Version, WireStruct

_NAME_PATTERN = "^[a-z0-9][a-z0-9._-]{0,62}$"
RowValues = dict[str, Annotated[tuple[str, ...], Meta(min_length=1)]]
"""Values by field; a project of a row scope has one of the values in each field."""


class ApiClientRequestView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A client to create; its first key expires after a year unless `expires_at` says otherwise.

    `row_scope` has the values of which a project must have one, for each of its fields.
    """

    name: Annotated[str, Meta(pattern=_NAME_PATTERN)]
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)]
    expires_at: Instant | None = None
    row_scope: RowValues | None = None

    @property
    def rows(self) -> RowScope | None:
        """The row scope.

        Raises:
            InvalidInput: it has no field, too many, or a name or value that is none.
        """
        return None if self.row_scope is None else RowScope.of(self.row_scope)


class KeyRequestView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to add; it expires after a year unless `expires_at` says otherwise."""

    expires_at: Instant | None = None


_INSTANTS: Final[Mapping[str, TokenReader]] = {"expires_at": text_reader(parse_instant)}
_CLIENT_REQUEST: Final = compile_reader(ApiClientRequestView, fields=_INSTANTS, null_is_absent=True)
_KEY_REQUEST: Final = compile_reader(KeyRequestView, fields=_INSTANTS, null_is_absent=True)


def read_client_request(document: bytes) -> ApiClientRequestView:
    """Read the request of a client.

    Raises:
        MalformedBody, InvalidInput: the document is not one.
    """
    view: ApiClientRequestView = _CLIENT_REQUEST(parse_object(document), "")
    return view


def read_key_request(document: bytes) -> KeyRequestView:
    """Read the request of a key.

    Raises:
        MalformedBody, InvalidInput: the document is not one.
    """
    view: KeyRequestView = _KEY_REQUEST(parse_object(document), "")
    return view


class ApiKeyView(WireStruct, frozen=True, kw_only=True):
    """A key without its secret; `last_used_on` is a day in UTC."""

    number: Version
    is_live: bool
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None
    last_used_on: Day | None

    @classmethod
    def of_key(cls, key: ApiKey, now: datetime) -> Self:
        """Return the wire form of a key."""
        return cls.of(key, is_live=key.is_live(now))


class ApiClientView(WireStruct, frozen=True, kw_only=True):
    """A client and its keys, oldest first; `actor` is its name in histories."""

    name: str
    actor: str
    scopes: tuple[Scope, ...]
    row_scope: RowValues | None
    keys: tuple[ApiKeyView, ...]

    @classmethod
    def of_client(cls, client: ApiClient, now: datetime) -> Self:
        """Return the wire form of a client."""
        return cls(
            name=client.name,
            actor=client.principal.id,
            scopes=client.scopes,
            row_scope=None if client.row_scope is None else client.row_scope.to_mapping(),
            keys=tuple(ApiKeyView.of_key(key, now) for key in client.keys),
        )


class IssuedKeyView(WireStruct, frozen=True, kw_only=True):
    """A new key; no other response has its text."""

    key: Annotated[str, Meta(description="Send it as `Authorization: Bearer <key>`.")]
    number: Version
    client: ApiClientView

    @classmethod
    def of_issued(cls, new_key: IssuedKey, now: datetime) -> Self:
        """Return the wire form of a new key."""
        client = ApiClientView.of_client(new_key.client, now)
        return cls(key=new_key.text, number=new_key.number, client=client)
