"""Who acts: every use case takes a principal, and the history names it."""

import msgspec


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated actor.

    `id` is what the history records as actor. `scopes` are the groups of operations allowed.
    `row_scope` names the subset of rows the principal may see; None is all of them.
    """

    id: str
    scopes: frozenset[str] = frozenset({"read", "write", "admin"})
    row_scope: str | None = None
