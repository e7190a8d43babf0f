"""OpenAPI metadata of a route, stored beside its handler in `opt["operation"]`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec


class RequestBody(msgspec.Struct, frozen=True, kw_only=True):
    """A request body: media types and their common schema (a component's name or a schema)."""

    media_types: tuple[str, ...] = ("application/json",)
    schema: str | dict[str, Any]
    example: Any = None
    required: bool = True


class SuccessResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A successful response; `headers` are names of header components.

    `alternative_schemas` has the schemas of further media types, for tables beside the JSON.
    """

    description: str
    schema: Any = None
    media_types: tuple[str, ...] = ("application/json",)
    headers: tuple[str, ...] = ()
    example: Any = None
    alternative_schemas: Mapping[str, dict[str, Any]] = {}


class HandlerOperation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation.

    `parameters` are names of parameter components or parameter objects; path parameters are
    derived from the path. `problems` are codes of `PROBLEMS`: their statuses become responses,
    beside those of every operation.
    """

    id: str
    tag: str
    summary: str
    description: str = ""
    parameters: tuple[str | dict[str, Any], ...] = ()
    body: RequestBody | None = None
    responses: Mapping[int, SuccessResponse]
    problems: tuple[str, ...] = ()


def operation_options(operation: HandlerOperation) -> dict[str, Any]:
    """Return the `opt` of a handler with its operation."""
    return {"operation": operation}


def convert_handler(handler: Any) -> Any:
    """Return a handler with an old declaration as a route."""
    from spawn.entrypoints.http.protocol import operation as new
    from spawn.entrypoints.http.protocol.query_params import AFTER, LIMIT
    from spawn.entrypoints.http.protocol.route import Route
    from spawn.entrypoints.http.protocol.route_table import plain_template

    if isinstance(handler, Route):
        return handler
    old = handler.opt.get("operation")
    if old is None:
        return None

    def parameter(one: Any) -> Any:
        shared = {"IdempotencyKey": new.IDEMPOTENCY_KEY, "Limit": LIMIT, "After": AFTER}
        if isinstance(one, str):
            return shared[one]
        found, name = one, ""
        return new.Parameter(
            found["name"],
            found["schema"],
            found.get("description", ""),
            found["in"],
            is_required=found.get("required", False),
            examples=found.get("examples", {}),
            component=name,
        )

    successes = [
        new.Success(
            s.schema,
            s.description,
            status,
            s.media_types,
            s.headers,
            s.example,
            s.alternative_schemas,
        )
        for status, s in old.responses.items()
        if status != HTTPStatus.NOT_MODIFIED or "IfNoneMatch" not in old.parameters
    ]
    body = old.body and new.Body(old.body.schema, old.body.media_types, old.body.example)
    operation = new.Operation(
        next(iter(handler.http_methods)),
        plain_template(next(iter(handler.paths))),
        old.id,
        tag=old.tag,
        summary=old.summary,
        description=old.description or (handler.fn.__doc__ or "").partition("\n\n")[0],
        parameters=tuple(
            new.IF_NONE_MATCH if p == "IfNoneMatch" else parameter(p) for p in old.parameters
        ),
        body=body,
        returns=successes[0],
        also=tuple(successes[1:]),
        problems=old.problems,
    )

    from types import SimpleNamespace

    return SimpleNamespace(operation=operation, description=operation.description)
