"""RFC 9457 problems: the table of problem types, and the mapping of errors to them."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from importlib.resources import files
from math import ceil
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

from spawn.domain.errors import (
    CursorExpired,
    FieldError,
    Forbidden,
    InvalidInput,
    Overloaded,
    SpawnError,
    Unavailable,
)
from spawn.domain.text import redact_keys
from spawn.entrypoints.http.protocol.error_log import INTERNAL_CODE, log_server_error
from spawn.entrypoints.http.protocol.response import Header, Response, encode_json
from spawn.entrypoints.http.wire import WireStruct
from spawn.entrypoints.request_context import RequestContext, get_request_context

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


PROBLEMS: Final = msgspec.json.decode(
    (files("spawn.entrypoints.http.protocol") / "problems.json").read_bytes(),
    type=dict[str, ProblemType],
)
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
    context: RequestContext,
    errors: tuple[FieldError, ...] = (),
    headers: Iterable[Header] = (),
    oldest: str | None = None,
    error_id: str | None = None,
) -> Response:
    """Return the response of one problem, whose addresses are those of clients.

    Keys and tokens are replaced: a client may log a problem that it gets.
    """
    problem, prefix = PROBLEMS[code], context.path_prefix
    body = ProblemView(
        type=prefix + problem_path(code),
        title=problem.title,
        status=problem.status,
        detail=redact_keys(detail),
        instance=instance and prefix + redact_keys(instance),
        code=code,
        errors=tuple(map(_without_keys, errors[:MAX_FIELD_ERRORS])) or UNSET,
        trace_id=context.trace_id,
        oldest=oldest or UNSET,
        error_id=error_id or UNSET,
    )
    return Response(problem.status, encode_json(body), media_type=MEDIA_TYPE, headers=headers)


def _without_keys(error: FieldError) -> FieldError:
    pointer, detail = redact_keys(error.pointer), redact_keys(error.detail)
    return msgspec.structs.replace(error, pointer=pointer, detail=detail)


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
    context, error_id = get_request_context(scope), None
    context.is_rejected = isinstance(exception, Overloaded)
    if PROBLEMS[code].status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        error_id = log_server_error(
            code, detail, method=scope["method"], path=scope["path"], error=exception
        )
    return problem_response(
        code,
        detail,
        instance=scope["path"],
        context=context,
        errors=errors,
        headers=headers,
        oldest=exception.oldest if isinstance(exception, CursorExpired) else None,
        error_id=error_id,
    )


Description = tuple[str, str, tuple[FieldError, ...], tuple[Header, ...]]


def problem_status(exception: Exception) -> int:
    """Return the status of the problem response to an exception."""
    return PROBLEMS[_describe(exception)[0]].status


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


def retry_after_field(seconds: float) -> Header:
    """Return the field Retry-After, in whole seconds that are not too few."""
    return b"retry-after", b"%d" % max(1, ceil(seconds))


def _describe_spawn_error(error: SpawnError) -> Description:
    """Describe an error of the domain, a use case or an adapter."""
    if isinstance(error, InvalidInput):
        return error.code, error.detail[:1000], error.errors, ()
    if isinstance(error, Forbidden) and error.scopes:
        challenge = f'Bearer realm="spawn", error="insufficient_scope", scope="{error.scopes[0]}"'
        return error.code, error.detail, (), ((b"www-authenticate", challenge.encode()),)
    if isinstance(error, Unavailable):
        return error.code, error.detail, (), (retry_after_field(error.retry_after_s),)
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
