"""Idempotency keys, and the stored responses that repeat a first one."""

import hashlib
from collections.abc import Callable

import msgspec

from spawn.application.projects.commands import ProjectIdempotencyKey
from spawn.domain.change import RecordedResponse, StoredAggregate
from spawn.domain.projects.project import Project
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response


class RequestIdempotencyKey(msgspec.Struct, frozen=True, kw_only=True):
    """The idempotency key of a request, with its scope and the fingerprint of the request."""

    scope: str
    key: str
    fingerprint: str

    def with_response(
        self, render: Callable[[StoredAggregate[Project]], Response]
    ) -> ProjectIdempotencyKey:
        """Return the key for a command, with the response that its receipt stores."""
        return ProjectIdempotencyKey(
            scope=self.scope,
            key=self.key,
            fingerprint=self.fingerprint,
            render_response=lambda aggregate: to_stored_response(render(aggregate)),
        )


def read_idempotency_key(
    request: StrictRequest, path: str, body: bytes
) -> RequestIdempotencyKey | None:
    """Return the idempotency key of a request, or None if it has none.

    Args:
        request: the request.
        path: the canonical path; with principal and method it is the scope of the key.
        body: the body of the request.

    Raises:
        InvalidInput: the key is outside its grammar.
    """
    key = request.idempotency_key()
    if key is None:
        return None
    return RequestIdempotencyKey(
        scope=f"{request.principal.id} {request.method} {path}",
        key=key,
        fingerprint=request_fingerprint(body, request.header(b"content-type") or ""),
    )


def request_fingerprint(body: bytes, content_type: str) -> str:
    """Return the lower-case hexadecimal SHA-256 of body and content type."""
    return hashlib.sha256(body + b"\x00" + content_type.encode("latin-1")).hexdigest()


async def find_stored_response(
    request: StrictRequest, key: RequestIdempotencyKey | None
) -> Response | None:
    """Return the stored response of a repeated request; None for a first request.

    Raises:
        IdempotencyMismatch: the key was used for another request.
    """
    if key is None:
        return None
    aggregate = await request.dependencies.commands.find_receipt(
        key.scope, key.key, key.fingerprint
    )
    return None if aggregate is None else restore_response(aggregate)


def to_stored_response(response: Response) -> RecordedResponse:
    """Convert a response to the form that a receipt stores."""
    headers = tuple(
        (name.decode(), value.decode("latin-1")) for name, value in response.head_message["headers"]
    )
    return RecordedResponse(response.status, headers, response.payload)


def restore_response(aggregate: RecordedResponse) -> Response:
    """Rebuild a response from a receipt, header for header."""
    response = Response(aggregate.status, aggregate.body)
    response.head_message["headers"] = [
        (name.encode(), value.encode("latin-1")) for name, value in aggregate.headers
    ]
    return response
