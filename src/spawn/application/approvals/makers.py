"""Makers and checkers of commands: their rights at the time of a decision."""

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
    """Check that the checker's credentials are not the maker's own work.

    Raises:
        Forbidden: the maker created the client of the checker or one of its keys, itself or by a
            client whose credentials are its work.
    """
    if checker.kind is not PrincipalKind.KEY:
        return
    unseen, seen = [checker.id], {checker.id}
    while unseen:
        issuers = await _list_issuers(dependencies, unseen.pop().removeprefix(_KEY_PREFIX))
        if maker in issuers:
            raise Forbidden(
                "The maker of the command has issued your key, or the key of its issuer: another "
                "must decide."
            )
        # Callers with tokens, commands and the service have no history of keys.
        unseen += [one for one in issuers - seen if one.startswith(_KEY_PREFIX)]
        seen |= issuers


async def _list_issuers(dependencies: Dependencies, name: str) -> set[str]:
    """Return the actors of every change of a client, but itself; none if there is none."""
    issuers: set[str] = set()
    version = 0
    while True:
        try:
            entries = await dependencies.reads.history(
                API_CLIENT_KIND, name, after_version=version, limit=_HISTORY_PAGE
            )
        except NotFound:
            return issuers
        issuers.update(entry.actor for entry in entries)
        if len(entries) < _HISTORY_PAGE:
            return issuers - {f"{_KEY_PREFIX}{name}"}
        version = entries[-1].version
