"""Route of the audit log."""

from collections.abc import Mapping
from typing import Annotated, Final, Self

from msgspec import Meta

from spawn.application.access.audit_trail import read_audit_log
from spawn.domain.principal import Scope
from spawn.entrypoints.http.protocol.cursors import cursor_binding, decode_cursor_key
from spawn.entrypoints.http.protocol.operation import Cache, Parameter, Success
from spawn.entrypoints.http.protocol.query_params import (
    AFTER,
    LIMIT,
    read_choice,
    read_limit,
    read_moment,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.wire import Count, Instant, PageView, WireStruct
from spawn.ports.audit import AuditEntry, AuditKind, AuditQuery

AUDIT: Final = "/v1/admin/audit"
_MOMENT: Final = {"type": "string", "format": "date-time"}
_NAME: Final = {"type": "string"}


class AuditEntryView(WireStruct, frozen=True, kw_only=True):
    """An act, or the denials of a minute that are equal; without secrets.

    `operation` is the id of an operation, or a command such as `keys create`; empty for a path
    without one. `count` is the number of denials that the entry stands for.
    """

    time: Instant
    kind: AuditKind
    actor: str
    operation: str
    status: Annotated[int, Meta(ge=0, le=599)]
    address: str
    request_id: str
    detail: str
    count: Count

    @classmethod
    def of_entry(cls, entry: AuditEntry) -> Self:
        """Return the wire form of an entry."""
        return cls.of(entry)


@route(
    "GET",
    AUDIT,
    "readAuditLog",
    tag="admin",
    scopes=(Scope.ADMIN,),
    summary="Read the audit log",
    description=(
        "Denials (401 and 403), exports, and every request to an operation of administration, by "
        "whom and from where. Equal denials of a minute are one entry with their number. The "
        "oldest entries are dropped; denials do not drop others."
    ),
    parameters=(
        Parameter("kind", AuditKind, "Entries of one kind."),
        Parameter("actor", _NAME, "Entries of one actor, such as `key:pricing-desk`."),
        Parameter("operation", _NAME, "Entries of one operation, such as `createApiClient`."),
        Parameter("since", _MOMENT, "Entries from this time on."),
        Parameter("until", _MOMENT, "Entries up to this time."),
        LIMIT,
        AFTER,
    ),
    returns=Success(PageView[AuditEntryView], "One page, newest first.", headers=("Link",)),
    problems=("cursor_invalid",),
    cache=Cache.NO_STORE,
)
async def get_audit_log(request: StrictRequest) -> Result:
    """Return a page of the audit log, newest first."""
    audit_query, binding = read_audit_query(request.query)
    entries = await read_audit_log(request.http_state.audit, request.principal, audit_query)
    next_keys = (entries[-1].number,) if len(entries) == audit_query.limit else None
    return page_result(request, map(AuditEntryView.of_entry, entries), next_keys, binding)


def read_audit_query(parameters: Mapping[str, str]) -> tuple[AuditQuery, bytes]:
    """Return the query of the parameters, and the binding of its cursors.

    Raises:
        InvalidInput: a parameter is not of its type.
        CursorInvalid: `after` is no cursor of this query.
    """
    selection = sorted(f"{n}={v}" for n, v in parameters.items() if n not in {"limit", "after"})
    binding, after = cursor_binding(AUDIT, *selection), parameters.get("after")
    query = AuditQuery(
        kind=read_choice(parameters, "kind", AuditKind),
        actor=parameters.get("actor", ""),
        operation=parameters.get("operation", ""),
        since=read_moment(parameters, "since", is_start=True),
        until=read_moment(parameters, "until"),
        before=None if after is None else decode_cursor_key(after, binding, int),
        limit=read_limit(parameters.get("limit")),
    )
    return query, binding


ROUTES: Final[list[Route]] = [get_audit_log]
"""Routes of the audit log."""
