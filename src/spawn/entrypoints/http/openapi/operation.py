"""OpenAPI metadata of a route, stored beside its handler in `opt["operation"]`."""

from collections.abc import Mapping
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
    schema: str | dict[str, Any] | None = None
    media_types: tuple[str, ...] = ("application/json",)
    headers: tuple[str, ...] = ()
    example: Any = None
    alternative_schemas: Mapping[str, dict[str, Any]] = {}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
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


def operation_options(operation: Operation) -> dict[str, Any]:
    """Return the `opt` of a handler with its operation."""
    return {"operation": operation}
