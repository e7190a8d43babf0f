"""Idempotency keys, and the stored responses that repeat a first one."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

from spawn.application.dependencies import Dependencies
from spawn.domain.change import IdempotencyKey, RecordedResponse, ResponseRecipe, StoredResponse
from spawn.domain.errors import Conflict, InvalidInput, SpawnError
from spawn.entrypoints.http.protocol.operation import IDEMPOTENCY_KEY
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response, decode_headers
from spawn.entrypoints.http.state import StateKey

ResponseCodec = Callable[[Dependencies, ResponseRecipe], Awaitable[Response]]
"""Function that renders the response of a receipt."""

RESPONSE_CODECS: Final[StateKey[dict[str, ResponseCodec]]] = StateKey(dict)
"""Codecs by their name in receipts; `create_app` registers them."""


def read_idempotency_key(request: StrictRequest, path: str, body: bytes) -> IdempotencyKey | None:
    """Return the idempotency key of a request, or None if it has none.

    Args:
        request: the request.
        path: the canonical path; with principal and method it is the scope of the key.
        body: the body of the request.

    Raises:
        InvalidInput: the key is outside its grammar, or absent where the operation requires one.
    """
    key = request.idempotency_key()
    if key is None:
        parameters = request.operation.parameters
        if any(one.name == IDEMPOTENCY_KEY.name and one.is_required for one in parameters):
            detail = "is required: a command on money must be safe to repeat"
            raise InvalidInput.at("/Idempotency-Key", "missing", detail)
        return None
    return IdempotencyKey(
        scope=f"{request.principal.id} {request.method} {path}",
        key=key,
        fingerprint=request_fingerprint(body, request.header(b"content-type") or ""),
    )


def request_fingerprint(body: bytes, content_type: str) -> str:
    """Return the lower-case hexadecimal SHA-256 of body and content type."""
    return hashlib.sha256(body + b"\x00" + content_type.encode("latin-1")).hexdigest()


async def find_stored_response(
    request: StrictRequest, key: IdempotencyKey | None
) -> Response | None:
    """Return the stored response of a repeated request; None for a first request.

    Raises:
        IdempotencyMismatch: the key was used for another request.
    """
    if key is None:
        return None
    stored_response = await request.dependencies.commands.find_receipt(key)
    return (
        None if stored_response is None else await render_stored_response(request, stored_response)
    )


async def run_once(
    request: StrictRequest, key: IdempotencyKey | None, command: Callable[[], Awaitable[Response]]
) -> Response:
    """Run a command, or return the response of the same earlier request.

    Two attempts of one request may be under way at once: the later one finds what the earlier one
    has recorded, as a duplicate, an older version or a limit, and has its response all the same.

    Raises:
        IdempotencyMismatch: the key was used for another request.
        SpawnError: as the command.
    """
    if earlier := await find_stored_response(request, key):
        return earlier
    try:
        return await command()
    except SpawnError:
        if earlier := await find_stored_response(request, key):
            return earlier
        raise


async def render_stored_response(
    request: StrictRequest, stored_response: StoredResponse
) -> Response:
    """Render the response of a receipt again, header for header.

    Raises:
        Conflict: another release made the receipt, with a codec that this one does not have.
    """
    if isinstance(stored_response, RecordedResponse):
        response = Response(stored_response.status, stored_response.body)
        response.head_message["headers"] = decode_headers(stored_response.headers)
        return response
    codec = request.http_state[RESPONSE_CODECS].get(stored_response.codec)
    if codec is None:
        raise Conflict(
            "The request was carried out before, by a release whose response this one cannot"
            " repeat: read the resource."
        )
    return await codec(request.dependencies, stored_response)
