"""RFC 9457 problems: one table from code to status, and every error's way to the client."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
)
from loguru import logger

from spawn.domain.errors import CursorExpired, FieldError, InvalidInput, SpawnError, Unavailable
from spawn.entrypoints.http.protocol.response import Header, Reply, encode
from spawn.entrypoints.request_context import context_of

MEDIA_TYPE: Final = b"application/problem+json"
MAX_FIELD_ERRORS: Final = 100
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_RETRY_LATER: Final = (b"retry-after", b"5")


class Problem(msgspec.Struct, frozen=True):
    """A kind of problem: its status, its invariant title and what a reader should do about it."""

    status: int
    title: str
    explanation: str


PROBLEMS: Final[dict[str, Problem]] = {
    "invalid_input": Problem(
        422,
        "The request breaks a rule",
        "Each entry of errors names one offending field by JSON Pointer, or one query parameter by "
        "its name, with a code and a sentence. Correct them and send the request again.",
    ),
    "malformed_body": Problem(
        400,
        "The body cannot be read",
        "The body must be one JSON object in UTF-8, without duplicate keys, NUL characters, NaN or "
        "Infinity, and nested no deeper than the service allows.",
    ),
    "malformed_request": Problem(
        400,
        "The request cannot be read",
        "The request line, a header or the query string is not well formed.",
    ),
    "not_found": Problem(
        404,
        "Not found",
        "There is no such resource, version or page, or not yet at the instant asked for. Paths "
        "are case-sensitive and identifiers are canonical lower-case UUIDs.",
    ),
    "method_not_allowed": Problem(
        405,
        "The method is not allowed here",
        "The Allow header lists the methods that this resource answers to.",
    ),
    "not_acceptable": Problem(
        406,
        "No acceptable representation",
        "The Accept header excludes every media type that this resource has.",
    ),
    "request_timeout": Problem(
        408,
        "The body came too slowly",
        "The rest of the body did not arrive in time. Send the request again.",
    ),
    "conflict": Problem(
        409,
        "The command conflicts with the current state",
        "The state of the resource, or others who were quicker, forbid the command. Read it again, "
        "then decide.",
    ),
    "duplicate": Problem(
        409,
        "Already exists",
        "An identifier, a name or an external reference is already taken.",
    ),
    "illegal_transition": Problem(
        409,
        "The status does not allow this step",
        "The status machine has no such step from where the project stands.",
    ),
    "cursor_expired": Problem(
        410,
        "The cursor is too old",
        "The cursor belongs to an earlier epoch of the store, or events so old are not shown any "
        "more. Start again with the cursor in oldest.",
    ),
    "schema_version_expired": Problem(
        410,
        "The schema version is no longer served",
        "A column of this version went on its Sunset, so answers no longer take its shape. Read "
        "without schema_version, or name a later version.",
    ),
    "stale_version": Problem(
        412,
        "The version is stale",
        "Someone else changed the resource first. Read it again, and send the change with the new "
        "ETag in If-Match.",
    ),
    "body_too_large": Problem(
        413,
        "The body is too large",
        "The body exceeds the limit of this resource. Large sets of records go through an import.",
    ),
    "uri_too_long": Problem(414, "The address is too long", "Shorten the path or the query."),
    "unsupported_media_type": Problem(
        415,
        "The media type is not supported",
        "Content-Type must name a media type that this resource reads; Accept lists them.",
    ),
    "misdirected_request": Problem(
        421,
        "The host is not served here",
        "The Host header names a host that this service does not answer for.",
    ),
    "cursor_invalid": Problem(
        400,
        "The cursor is not valid here",
        "Cursors are opaque: use the next of a page of the very same filters and order.",
    ),
    "idempotency_key_reused": Problem(
        422,
        "The idempotency key belongs to another request",
        "The key was used within the last 24 hours with another body or content type. Use a new "
        "key for a new request.",
    ),
    "precondition_required": Problem(
        428,
        "If-Match is required",
        "A change needs the ETag of the version it was decided on, in If-Match, so that no one "
        "overwrites what they have not seen.",
    ),
    "rate_limited": Problem(
        429,
        "Too many requests",
        "Wait as long as Retry-After says, then go on more slowly.",
    ),
    "headers_too_large": Problem(
        431, "The headers are too large", "Send fewer or shorter header fields."
    ),
    "forbidden": Problem(403, "Not allowed", "The principal lacks the scope that this needs."),
    "internal": Problem(
        500,
        "Internal error",
        "The fault is the service's own and has been logged under the request id.",
    ),
    "registry_error": Problem(
        502,
        "The schema registry failed",
        "The ontology server is absent, slow or answered something senseless. The service goes on "
        "under the schema it has.",
    ),
    "delivery_failed": Problem(
        502,
        "The event was not delivered",
        "The consumer cannot be reached or did not take the event; the detail says why. The dead "
        "letter stays, to be replayed again or discarded.",
    ),
    "unavailable": Problem(
        503, "Temporarily unavailable", "Try again after the time that Retry-After names."
    ),
    "overloaded": Problem(
        503,
        "Too much work in hand",
        "A bounded queue is full and nothing was queued. Try again after Retry-After.",
    ),
    "deadline_exceeded": Problem(
        503,
        "The deadline has passed",
        "The work took too long and was stopped. Narrow the question or try again later.",
    ),
    "storage_full": Problem(
        503,
        "No space left to write",
        "The disk or the reserve kept on it is exhausted; nothing was written. Reads go on.",
    ),
    "storage_damaged": Problem(
        503, "The store is damaged", "An operator must look at it; the log names the remedy."
    ),
    "storage_busy": Problem(
        503, "The store is in use", "Another process holds the file; the log names the remedy."
    ),
}
"""Every problem this service can answer with, by code; documented at /problems/{code}."""


class Refusal(Exception):
    """A request refused by the protocol rather than by the domain; `code` is in `PROBLEMS`."""

    def __init__(self, code: str, detail: str, *, headers: Iterable[Header] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = tuple(headers)


def problem_reply(
    code: str,
    detail: str,
    *,
    instance: str,
    trace_id: str,
    errors: tuple[FieldError, ...] = (),
    headers: Iterable[Header] = (),
    more: Mapping[str, object] = _NOTHING,
) -> Reply:
    """The answer that tells of one problem; `more` are members that its kind adds."""
    problem = PROBLEMS[code]
    body: dict[str, Any] = {
        "type": f"/problems/{code.replace('_', '-')}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "instance": instance,
        "code": code,
    }
    if errors:
        body["errors"] = errors[:MAX_FIELD_ERRORS]
    body["trace_id"] = trace_id
    body |= more
    return Reply(problem.status, encode(body), media_type=MEDIA_TYPE, headers=headers)


def on_exception(request: Request[Any, Any, Any], failure: Exception) -> Reply:
    """The edge: whatever was raised becomes a problem, and is logged here if it is our fault."""
    scope = request.scope
    code, detail, errors, headers = _describe(request, failure)
    if PROBLEMS[code].status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        where = logger.bind(code=code, method=scope["method"], path=scope["path"])
        if code == "internal":
            where.opt(exception=failure).error("a request failed unexpectedly")
        else:
            where.warning("a request could not be served: {}", detail)
    return problem_reply(
        code,
        detail,
        instance=scope["path"],
        trace_id=context_of(scope).trace_id,
        errors=errors,
        headers=headers,
        more={"oldest": failure.oldest} if isinstance(failure, CursorExpired) else _NOTHING,
    )


Described = tuple[str, str, tuple[FieldError, ...], tuple[Header, ...]]


def _describe(request: Request[Any, Any, Any], failure: Exception) -> Described:
    """Code, detail, offences and headers of a failure; nothing internal is told."""
    if isinstance(failure, Refusal):
        return failure.code, failure.detail, (), failure.headers
    if isinstance(failure, SpawnError) and failure.code in PROBLEMS:
        return _describe_core(failure)
    if isinstance(failure, HTTPException):
        return _describe_router(request, failure)
    return "internal", "Something failed inside the service.", (), ()


def _describe_core(failure: SpawnError) -> Described:
    """What the core or an adapter refuses."""
    if isinstance(failure, InvalidInput):
        return failure.code, failure.detail[:1000], failure.errors, ()
    if isinstance(failure, Unavailable):
        retry = str(max(1, round(failure.retry_after_s))).encode()
        return failure.code, failure.detail, (), ((b"retry-after", retry),)
    if PROBLEMS[failure.code].status == HTTPStatus.SERVICE_UNAVAILABLE:
        # What an operator must mend names files: that stays in the log.
        return failure.code, "The store cannot serve this now.", (), (_RETRY_LATER,)
    return failure.code, failure.detail, (), ()


def _describe_router(request: Request[Any, Any, Any], failure: HTTPException) -> Described:
    """What Litestar itself refuses: unknown paths, methods, oversized bodies."""
    if isinstance(failure, MethodNotAllowedException):
        allow = request.app.state.allowed(request.scope["path"])
        return (
            "method_not_allowed",
            f"{request.scope['method']} is not among: {allow}.",
            (),
            ((b"allow", allow.encode()),),
        )
    if isinstance(failure, NotFoundException):
        return "not_found", "There is nothing at this address.", (), ()
    if failure.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return "body_too_large", "The body exceeds the limit of this resource.", (), ()
    if isinstance(failure, InternalServerException):
        # Litestar's word for a body that broke off: nobody is there to read the answer.
        return "request_timeout", "The client went away.", (), ()
    return "malformed_request", "The request cannot be read.", (), ()
