"""Makers and checkers of commands: their rights at the time of a decision."""

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.domain.access.api_client import API_CLIENT_KIND, ApiClient
from spawn.domain.approvals.approval import Approval
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import Conflict, Forbidden, NotFound
from spawn.domain.principal import Principal, PrincipalKind, Scope

NOT_PERMITTED = "The maker may no longer make this command: reject it."
_KEY_PREFIX = "key:"
_HISTORY_PAGE = 100


async def load_maker(
    dependencies: Dependencies, approval: Approval, scopes: tuple[Scope, ...]
) -> Principal:
    """Return the maker of a command as a principal, with the rights that it has now.

    The rights of a token end with its issuer, which the service cannot ask: those at the request
    count until the approval expires.

    Raises:
        Conflict: the maker may no longer make the command.
    """
    if approval.maker_kind is PrincipalKind.KEY:
        maker = await _load_client_principal(dependencies, approval.maker)
    else:
        maker = Principal(
            id=approval.maker,
            kind=approval.maker_kind,
            scopes=frozenset(approval.maker_scopes),
            row_scope=approval.maker_rows,
        )
    if maker is None or maker.scopes.isdisjoint(scopes):
        raise Conflict(NOT_PERMITTED)
    return maker


async def _load_client_principal(dependencies: Dependencies, actor: str) -> Principal | None:
    name = actor.removeprefix(_KEY_PREFIX)
    try:
        client: StoredAggregate[ApiClient] = await dependencies.reads.get(API_CLIENT_KIND, name)
    except NotFound:
        return None
    has_key = bool(client.state.live_keys(dependencies.clock.now()))
    return client.state.principal if has_key else None


async def check_independence(dependencies: Dependencies, checker: Principal, maker: str) -> None:
    """Check that neither the checker's credentials are the maker's work, nor the other way round.

    Raises:
        Forbidden: one of them created the client of the other one or one of its keys, itself or by
            a client whose credentials are its work.
    """
    if await _is_issued_by(dependencies, checker.id, maker):
        raise Forbidden(
            "The maker of the command has issued your key, or the key of its issuer: another "
            "must decide."
        )
    if await _is_issued_by(dependencies, maker, checker.id):
        raise Forbidden(
            "You have issued the key of the command's maker, or the key of its issuer: another "
            "must decide."
        )


async def _is_issued_by(dependencies: Dependencies, actor: str, issuer: str) -> bool:
    """Whether the issuer created an actor's client or a key of it, itself or through others."""
    unseen, seen = [actor], {actor}
    while unseen:
        name = unseen.pop()
        if not name.startswith(_KEY_PREFIX):
            continue  # callers with tokens, commands and the service have no history of keys
        issuers = await _list_issuers(dependencies, name.removeprefix(_KEY_PREFIX))
        if issuer in issuers:
            return True
        unseen += issuers - seen
        seen |= issuers
    return False


class _KeyNumber(msgspec.Struct):
    number: int


class _Keys(msgspec.Struct):
    keys: tuple[_KeyNumber, ...]


async def _list_issuers(dependencies: Dependencies, name: str) -> set[str]:
    """Return who added a key to a client, but itself; nobody if there is no such client.

    Who revokes a key gets no right by it, and would keep a checker from every decision.
    """
    issuers: set[str] = set()
    version, newest_number = 0, 0
    while True:
        try:
            entries = await dependencies.reads.history(
                API_CLIENT_KIND, name, after_version=version, limit=_HISTORY_PAGE
            )
        except NotFound:
            return issuers
        for entry in entries:
            number = msgspec.json.decode(entry.document, type=_Keys).keys[-1].number
            if number > newest_number:
                issuers.add(entry.actor)
            newest_number = number
        if len(entries) < _HISTORY_PAGE:
            return issuers - {f"{_KEY_PREFIX}{name}"}
        version = entries[-1].version
