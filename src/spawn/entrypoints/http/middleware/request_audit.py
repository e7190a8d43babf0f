"""The requests that belong in the audit log: denials, exports, administration."""

from collections.abc import Iterable
from typing import Final

from litestar.types import HTTPScope

from spawn.application.access.audit_trail import AuditTrail
from spawn.domain.principal import Scope
from spawn.entrypoints.http.protocol.operation import Operation
from spawn.entrypoints.http.protocol.route_table import plain_template
from spawn.entrypoints.request_context import RequestContext
from spawn.ports.audit import AuditKind

_ACCEPTED: Final = 202
_DENIED: Final = frozenset({401, 403})
_ADMINISTRATION: Final = frozenset({Scope.ADMIN, Scope.SCHEMA_ADMIN})
_EXPORT: Final = frozenset({Scope.DATA_EXPORT})


class RequestAudit:
    """Recorder of the requests to an application, by the scopes of their operations."""

    def __init__(self, trail: AuditTrail, operations: Iterable[Operation]) -> None:
        self._trail = trail
        operations = tuple(operations)
        self._operations: dict[tuple[str, str], tuple[str, AuditKind | None]] = {
            (one.method, plain_template(one.path)): (one.id, _find_kind(one)) for one in operations
        }
        self._approvable = {
            (one.method, plain_template(one.path)): one.id
            for one in operations
            if one.approval is not None
        }
        self._audited = {key: act for key, act in self._operations.items() if act[1] is not None}

    def observe(
        self, scope: HTTPScope, context: RequestContext, template: str, status: int
    ) -> None:
        """Record a request if it was denied, or is one that is always recorded."""
        method = "GET" if context.is_head else scope["method"]
        if status in _DENIED:
            operation = self._operations.get((method, template), ("", None))[0]
            self._record(AuditKind.DENIAL, operation, scope, context, status)
        elif (act := self._audited.get((method, template))) and act[1] is not None:
            self._record(act[1], act[0], scope, context, status)
        elif status == _ACCEPTED and (name := self._approvable.get((method, template))):
            self._record(AuditKind.ADMINISTRATION, name, scope, context, status)

    def _record(
        self,
        kind: AuditKind,
        operation: str,
        scope: HTTPScope,
        context: RequestContext,
        status: int,
    ) -> None:
        client, query = scope["client"], scope["query_string"].decode("latin-1")
        address = f"{scope['method']} {scope['path']}{'?' if query else ''}{query}"
        self._trail.record(
            kind,
            actor=context.authentication.principal.id,
            operation=operation,
            status=status,
            address=client[0] if client else "",
            request_id=context.request_id,
            detail=f"{address} {context.audit_detail}".rstrip(),
        )


def _find_kind(operation: Operation) -> AuditKind | None:
    scopes = frozenset(operation.scopes)
    if operation.is_audited:
        return AuditKind.ADMINISTRATION
    if scopes and scopes <= _ADMINISTRATION:
        return AuditKind.ADMINISTRATION
    return AuditKind.EXPORT if scopes == _EXPORT else None
