"""RFC 9457 problems: the table of problem types, and the mapping of errors to them."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from litestar import Request
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
)
from msgspec import UNSET, Meta, UnsetType

from spawn.domain.errors import CursorExpired, FieldError, InvalidInput, SpawnError, Unavailable
from spawn.entrypoints.http.protocol.error_log import INTERNAL_CODE, log_server_error
from spawn.entrypoints.http.protocol.response import Header, Response, encode_json
from spawn.entrypoints.http.wire import WireStruct
from spawn.entrypoints.request_context import get_request_context

MEDIA_TYPE: Final = b"application/problem+json"
MAX_FIELD_ERRORS: Final = 100
INTERNAL_ERROR_DETAIL: Final = "The service failed unexpectedly; the log has the cause."
NO_ROUTE_DETAIL: Final = "No resource has this address."
_RETRY_LATER: Final = (b"retry-after", b"5")


class ProblemType(msgspec.Struct, frozen=True):
    """A problem type: status, invariant title, and what the client should do."""

    status: int
    title: str
    explanation: str


class ProblemView(WireStruct, frozen=True, kw_only=True):
    """A problem (RFC 9457)."""

    type: Annotated[str, Meta(extra_json_schema={"format": "uri-reference"})]
    title: str
    status: Annotated[int, Meta(extra_json_schema={"minimum": 400, "maximum": 599})]
    detail: str
    instance: str
    code: Annotated[str, Meta(description="Stable; new codes may be added.")]
    errors: tuple[FieldError, ...] | UnsetType = UNSET
    trace_id: str
    oldest: (
        Annotated[str, Meta(description="With cursor_expired: the oldest valid cursor.")]
        | UnsetType
    ) = UNSET
    error_id: (
        Annotated[
            str,
            Meta(description="The id of the log line with the cause of a 5xx; for the operator."),
        ]
        | UnsetType
    ) = UNSET


PROBLEMS: Final[dict[str, ProblemType]] = {
    "invalid_input": ProblemType(
        422,
        "The request violates a rule",
        "Each entry of errors names one invalid field by JSON Pointer, or one query parameter by "
        "its name, with a code and a sentence. Correct them and send the request again.",
    ),
    "malformed_body": ProblemType(
        400,
        "The body cannot be read",
        "The body must be one JSON object in UTF-8, without duplicate keys, NUL characters, NaN or "
        "Infinity, and nested no deeper than the service allows.",
    ),
    "malformed_request": ProblemType(
        400,
        "The request cannot be read",
        "The request line, a header or the query string is malformed. Correct it and send the "
        "request again.",
    ),
    "not_found": ProblemType(
        404,
        "Not found",
        "The resource, version or page does not exist, or did not exist at the requested instant. "
        "Check the address: paths are case-sensitive, identifiers canonical lower-case UUIDs.",
    ),
    "method_not_allowed": ProblemType(
        405,
        "Method not allowed",
        "The resource does not support this method. Use one that the Allow header lists.",
    ),
    "not_acceptable": ProblemType(
        406,
        "No acceptable representation",
        "The Accept header excludes every media type of this resource. Accept one that the detail "
        "lists.",
    ),
    "request_timeout": ProblemType(
        408,
        "The request timed out",
        "The head or the body did not arrive in time. Send the request again.",
    ),
    "conflict": ProblemType(
        409,
        "The command conflicts with the current state",
        "The state of the resource, or a concurrent change, forbids the command. Read the resource "
        "again, then decide.",
    ),
    "duplicate": ProblemType(
        409,
        "Already exists",
        "An identifier, a name or an external reference is already in use. Choose another one.",
    ),
    "illegal_transition": ProblemType(
        409,
        "The status does not allow this transition",
        "The status machine has no such transition from the current status. Read the project, then "
        "choose a transition that its status allows.",
    ),
    "cursor_expired": ProblemType(
        410,
        "The cursor has expired",
        "The cursor belongs to an earlier epoch of the store, or to events beyond the retention. "
        "Start again with the cursor in oldest.",
    ),
    "schema_version_expired": ProblemType(
        410,
        "The schema version is no longer served",
        "A column of this version was removed at its Sunset, so responses no longer use this "
        "version. Read without schema_version, or name a later version.",
    ),
    "stale_version": ProblemType(
        412,
        "The version is stale",
        "The resource changed since this version. Read it again, and send the change with the new "
        "ETag in If-Match.",
    ),
    "body_too_large": ProblemType(
        413,
        "The body is too large",
        "The body exceeds the limit of this resource. Send large sets of records as an import.",
    ),
    "uri_too_long": ProblemType(
        414, "The URI is too long", "The path or the query exceeds its limit. Shorten it."
    ),
    "unsupported_media_type": ProblemType(
        415,
        "The media type is not supported",
        "The resource does not read this Content-Type, charset or coding. Send one that the Accept "
        "header of the response lists.",
    ),
    "misdirected_request": ProblemType(
        421,
        "The host is not served",
        "The Host header names a host that this service does not serve. Check the address, or let "
        "the operator add the host.",
    ),
    "cursor_invalid": ProblemType(
        400,
        "The cursor is invalid",
        "The cursor is malformed or belongs to another query. Use the next of a page with the same "
        "filters and order.",
    ),
    "idempotency_key_reused": ProblemType(
        422,
        "The idempotency key belongs to another request",
        "The key was used within the last 24 hours with another body or content type. Use a new "
        "key for a new request.",
    ),
    "precondition_required": ProblemType(
        428,
        "If-Match is required",
        "The change has no If-Match header. Send the ETag of the version that it is based on, so "
        "that it does not overwrite an unseen change.",
    ),
    "rate_limited": ProblemType(
        429,
        "Too many requests",
        "The client exceeded its rate. Wait for Retry-After seconds, then send fewer requests.",
    ),
    "headers_too_large": ProblemType(
        431,
        "The headers are too large",
        "The header fields exceed their limit. Send fewer or shorter ones.",
    ),
    "forbidden": ProblemType(
        403,
        "Not allowed",
        "The principal lacks the required scope. Use a principal that has it.",
    ),
    "internal": ProblemType(
        500,
        "Internal error",
        "The service failed and logged the cause under the error_id. Report the id to the "
        "operator.",
    ),
    "registry_error": ProblemType(
        502,
        "The schema registry failed",
        "The ontology server is unreachable, slow or sent an invalid response. The service keeps "
        "its active schema; try again later.",
    ),
    "delivery_failed": ProblemType(
        502,
        "The event was not delivered",
        "The consumer is unreachable or did not accept the event; the detail has the reason. "
        "Replay the dead letter again, or discard it.",
    ),
    "unavailable": ProblemType(
        503,
        "Temporarily unavailable",
        "The service cannot process the request now. Try again after Retry-After seconds.",
    ),
    "overloaded": ProblemType(
        503,
        "The service is overloaded",
        "A bounded queue is full and nothing was queued. Try again after Retry-After seconds.",
    ),
    "deadline_exceeded": ProblemType(
        503,
        "The deadline was exceeded",
        "The work took too long and was stopped. Narrow the request or try again later.",
    ),
    "storage_full": ProblemType(
        503,
        "No space left to write",
        "The disk or its reserve is exhausted; nothing was written, and reads still work. Free "
        "space, then try again.",
    ),
    "storage_damaged": ProblemType(
        503,
        "The store is damaged",
        "The store cannot be read. An operator must repair it; the log names the remedy.",
    ),
    "storage_busy": ProblemType(
        503,
        "The store is in use",
        "Another process has the file open. An operator must stop it; the log names the remedy.",
    ),
}
"""Problem types by code; documented at /problems/{code}."""


class RequestProblem(Exception):
    """A request that the protocol, not the domain, rejects; `code` is a key of `PROBLEMS`."""

    def __init__(self, code: str, detail: str, *, headers: Iterable[Header] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = tuple(headers)


def problem_path(code: str) -> str:
    """Return the path of the page that explains a problem type; it is the type's URI."""
    return f"/problems/{code.replace('_', '-')}"


def problem_response(
    code: str,
    detail: str,
    *,
    instance: str,
    trace_id: str,
    errors: tuple[FieldError, ...] = (),
    headers: Iterable[Header] = (),
    oldest: str | None = None,
    error_id: str | None = None,
) -> Response:
    """Return the response of one problem."""
    problem = PROBLEMS[code]
    body = ProblemView(
        type=problem_path(code),
        title=problem.title,
        status=problem.status,
        detail=detail,
        instance=instance,
        code=code,
        errors=errors[:MAX_FIELD_ERRORS] or UNSET,
        trace_id=trace_id,
        oldest=oldest or UNSET,
        error_id=error_id or UNSET,
    )
    return Response(problem.status, encode_json(body), media_type=MEDIA_TYPE, headers=headers)


def handle_exception(
    allowed_methods: Callable[[str], str], request: Request[Any, Any, Any], exception: Exception
) -> Response:
    """Convert an exception to a problem response, and log it if its status is 5xx.

    Args:
        allowed_methods: the Allow header by path.
        request: the request.
        exception: the exception of its route, or of Litestar's router.
    """
    scope = request.scope
    if isinstance(exception, MethodNotAllowedException):
        exception = _method_not_allowed(scope["method"], allowed_methods(scope["path"]))
    code, detail, errors, headers = _describe(exception)
    error_id = None
    if PROBLEMS[code].status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        error_id = log_server_error(
            code, detail, method=scope["method"], path=scope["path"], error=exception
        )
    return problem_response(
        code,
        detail,
        instance=scope["path"],
        trace_id=get_request_context(scope).trace_id,
        errors=errors,
        headers=headers,
        oldest=exception.oldest if isinstance(exception, CursorExpired) else None,
        error_id=error_id,
    )


Description = tuple[str, str, tuple[FieldError, ...], tuple[Header, ...]]


def _method_not_allowed(method: str, allow: str) -> RequestProblem:
    detail = f"The resource does not support {method}; use {allow}."
    return RequestProblem("method_not_allowed", detail, headers=((b"allow", allow.encode()),))


def _describe(exception: Exception) -> Description:
    """Return code, detail, field errors and headers of an exception, without internals."""
    if isinstance(exception, RequestProblem):
        return exception.code, exception.detail, (), exception.headers
    if isinstance(exception, SpawnError) and exception.code in PROBLEMS:
        return _describe_spawn_error(exception)
    if isinstance(exception, HTTPException):
        return _describe_http_exception(exception)
    return INTERNAL_CODE, INTERNAL_ERROR_DETAIL, (), ()


def _describe_spawn_error(error: SpawnError) -> Description:
    """Describe an error of the domain, a use case or an adapter."""
    if isinstance(error, InvalidInput):
        return error.code, error.detail[:1000], error.errors, ()
    if isinstance(error, Unavailable):
        retry_after_s = str(max(1, round(error.retry_after_s))).encode()
        return error.code, error.detail, (), ((b"retry-after", retry_after_s),)
    if PROBLEMS[error.code].status == HTTPStatus.SERVICE_UNAVAILABLE:
        # Details for the operator name files, so they stay in the log.
        return error.code, "The store cannot serve this request now.", (), (_RETRY_LATER,)
    return error.code, error.detail, (), ()


def _describe_http_exception(exception: HTTPException) -> Description:
    """Describe an exception of Litestar: unknown paths, oversized bodies."""
    if isinstance(exception, NotFoundException):
        return "not_found", NO_ROUTE_DETAIL, (), ()
    if exception.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return "body_too_large", "The body exceeds the limit of this resource.", (), ()
    if isinstance(exception, InternalServerException):
        # Litestar raises this for an incomplete body; the client has disconnected.
        return "request_timeout", "The client disconnected.", (), ()
    return "malformed_request", "The request cannot be read.", (), ()
