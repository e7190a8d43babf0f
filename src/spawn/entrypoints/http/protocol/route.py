"""Routes: a declared operation with its handler, checked and encoded as it declares.

A route checks the query parameters, negotiates the media type, validates ids in the path, opens
the span of the use case, and encodes the wire value that the handler returns. The handler keeps
only its own work (ADR 0019).
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, ParamSpec

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from opentelemetry.trace import Status, StatusCode, Tracer

from spawn.domain.errors import InvalidInput
from spawn.entrypoints.http.protocol.cursors import encode_cursor, next_link
from spawn.entrypoints.http.protocol.etags import content_etag, is_not_modified
from spawn.entrypoints.http.protocol.operation import PATH_PATTERNS, Cache, Operation
from spawn.entrypoints.http.protocol.problems import problem_status
from spawn.entrypoints.http.protocol.request import (
    StrictRequest,
    check_access,
    check_parameter_names,
    check_preconditions,
    parse_query,
    require_canonical_id,
)
from spawn.entrypoints.http.protocol.response import Header, Response, encode_json
from spawn.entrypoints.http.state import get_http_state
from spawn.entrypoints.http.wire import PageView
from spawn.entrypoints.request_context import get_request_context
from spawn.ports.client_presence import current_presence

P = ParamSpec("P")
Handler = Callable[..., Awaitable[object]]
"""A function of the request and the path's parameters; it returns a wire value or a response."""

_NO_PARAMETERS: Final[Mapping[str, str]] = MappingProxyType({})
_CACHE_HEADERS: Final[Mapping[Cache | None, tuple[Header, ...]]] = {
    None: (),
    **{cache: ((b"cache-control", cache.value.encode()),) for cache in Cache},
}


class Result(msgspec.Struct, frozen=True):
    """A wire value with headers of its own, or another status than the declared one."""

    value: object
    headers: Iterable[Header] = ()
    status: int | None = None


class Route(msgspec.Struct, frozen=True):
    """An operation and its handler."""

    operation: Operation
    handler: Handler

    def __post_init__(self) -> None:
        """Check that the handler takes the parameters of the path."""
        _, *names = inspect.signature(self.handler).parameters
        if tuple(names) != self.operation.path_parameters:
            raise TypeError(f"{self.operation.id} takes {names}, unlike {self.operation.path}")

    @property
    def description(self) -> str:
        """The description of the operation: its own, or its handler's docstring."""
        docstring = inspect.getdoc(self.handler) or ""
        return self.operation.description or docstring.partition("\n\n")[0]

    def create_handler(self, *, takes_options: bool) -> HTTPRouteHandler:
        """Return the route as Litestar's handler, which finds the state in the scope.

        One route of each path also takes OPTIONS, which the middleware has responded to before:
        otherwise Litestar makes a handler for it, and those double the time that the app takes.
        """
        operation, handler = self.operation, self.handler
        read_query, select_media_type = _query_reader(operation), _media_type_selector(operation)
        ids = [name for name in operation.path_parameters if name not in PATH_PATTERNS]
        respond, use_case = _responder(operation), operation.use_case
        is_command, is_bodiless = operation.is_command, operation.body is None
        ignored_names = operation.ignored_preconditions

        async def endpoint(request: StrictRequest) -> ASGIResponse:
            scope = request.scope
            if is_command:
                current_presence.set(None)  # it runs to its end, also when its client leaves
            state = get_http_state(scope)
            request.context = get_request_context(scope)
            check_access(request.context.authentication, operation, state.product.base_url)
            check_preconditions(request.context.headers, ignored_names)
            request.http_state, request.operation = state, operation
            request.base_dependencies, request.complete_body = state.dependencies, None
            request.checked_preview = None
            query_string = scope["query_string"]
            request.query = read_query(query_string) if query_string else _NO_PARAMETERS
            request.media_type = select_media_type(request)
            if is_command and is_bodiless:
                await request.require_no_body()
            path_params = scope["path_params"]
            for name in ids:
                require_canonical_id(path_params[name])
            if state.tracer is None or not request.context.is_sampled:
                result = await handler(request, **path_params)
            else:
                with _start_span(state.tracer, use_case):
                    result = await handler(request, **path_params)
            return result if isinstance(result, ASGIResponse) else respond(request, result)

        return HTTPRouteHandler(
            operation.path.replace("}", ":str}"),
            http_method=[operation.method, "OPTIONS"] if takes_options else operation.method,  # type: ignore[arg-type, list-item]  # texts of the same set
            status_code=operation.returns.status,
            name=operation.id or None,
        )(endpoint)


def _as_decorator(create: Callable[P, Operation]) -> Callable[P, Callable[[Handler], Route]]:
    def declare(*args: P.args, **kwargs: P.kwargs) -> Callable[[Handler], Route]:
        return partial(Route, create(*args, **kwargs))

    return declare


route: Final = _as_decorator(Operation)
"""Declare the operation of a handler: method, path, id, and the fields of `Operation`."""


def page_result(
    request: StrictRequest,
    items: Iterable[object],
    next_keys: tuple[Any, ...] | None,
    binding: bytes,
    *,
    headers: tuple[Header, ...] = (),
) -> Result:
    """Return one page of a list, with the cursor and the Link of the next page.

    Args:
        request: the request of the page.
        items: wire values.
        next_keys: the sort keys of the last item; None on the last page.
        binding: the digest of the query, to which the cursor is sealed.
        headers: headers before the Link.
    """
    cursor = None if next_keys is None else encode_cursor(next_keys, binding)
    page = PageView(items=tuple(items), next=cursor)
    if cursor is None:
        return Result(page, headers)
    return Result(page, (*headers, next_link(request.scope["path"], request.query, cursor)))


@contextmanager
def _start_span(tracer: Tracer, use_case: str) -> Iterator[None]:
    """Open the span of a use case, marked as failed by an error of the service (5xx) only.

    Most exceptions are problems of the client (404, 422); the log has the cause of the others.
    """
    with tracer.start_as_current_span(
        use_case, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except Exception as error:
            if problem_status(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
                span.set_status(Status(StatusCode.ERROR))
            raise


def _query_reader(operation: Operation) -> Callable[[bytes], Mapping[str, str]]:
    """Return the reader of the query string, which rejects undeclared parameters."""
    parameters = [p for p in operation.all_parameters if p.location == "query"]
    if any(parameter.schema is None for parameter in parameters):
        return parse_query
    names = tuple(parameter.name for parameter in parameters)

    def read(query_string: bytes) -> Mapping[str, str]:
        query = parse_query(query_string)
        check_parameter_names(query, names)
        return query

    return read


def _media_type_selector(operation: Operation) -> Callable[[StrictRequest], str]:
    """Return the function that selects the media type of the response."""
    media_types, formats = operation.media_types, operation.formats

    def select_by_accept(request: StrictRequest) -> str:
        return request.negotiate_media_type(media_types)

    def select_by_format(request: StrictRequest) -> str:
        suffix = request.scope["path"].rpartition(".")[2] if operation.has_suffix else ""
        if suffix in formats:
            return formats[suffix]
        name = request.query.get("format")
        if name is None:
            return request.negotiate_media_type(media_types)
        if name not in formats:
            detail = f"The format must be one of: {', '.join(formats)}."
            raise InvalidInput.at("/format", "not_in_enum", detail)
        return formats[name]

    if not media_types:
        return lambda _: ""
    return select_by_format if formats else select_by_accept


def _responder(operation: Operation) -> Callable[[StrictRequest, object], Response]:
    """Return the function that encodes a wire value as the operation declares."""
    declared_status, cache = operation.returns.status, operation.cache
    cache_headers = _CACHE_HEADERS[cache]

    def respond(request: StrictRequest, value: object) -> Response:
        result = value if isinstance(value, Result) else Result(value)
        body, status = encode_json(result.value), result.status or declared_status
        if cache is not Cache.REVALIDATE:
            return Response(status, body, headers=(*cache_headers, *result.headers))
        tag = content_etag(body)
        headers = ((b"etag", tag.encode()), *cache_headers, *result.headers)
        if is_not_modified(request.header(b"if-none-match"), tag):
            return Response(304, headers=headers)
        return Response(status, body, headers=headers)

    return respond
