"""What a route says of itself, for OpenAPI: kept beside its handler, in `opt["operation"]`."""

from collections.abc import Mapping
from typing import Any

import msgspec


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """A request body: media types and the schema they share (a component's name or a schema)."""

    media_types: tuple[str, ...] = ("application/json",)
    schema: str | dict[str, Any]
    example: Any = None
    required: bool = True


class Success(msgspec.Struct, frozen=True, kw_only=True):
    """One successful answer; `headers` are names of header components.

    `also` has the schemas of further media types, for tables beside the JSON.
    """

    description: str
    schema: str | dict[str, Any] | None = None
    media_types: tuple[str, ...] = ("application/json",)
    headers: tuple[str, ...] = ()
    example: Any = None
    also: Mapping[str, dict[str, Any]] = {}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation.

    `parameters` are names of parameter components or parameter objects; path parameters are
    supplied from the path. `problems` are codes of `PROBLEMS`: their statuses become responses,
    beside those that every operation can give.
    """

    id: str
    tag: str
    summary: str
    description: str = ""
    parameters: tuple[str | dict[str, Any], ...] = ()
    body: Body | None = None
    answers: Mapping[int, Success]
    problems: tuple[str, ...] = ()


def described(operation: Operation) -> dict[str, Any]:
    """The `opt` of a handler that carries its description."""
    return {"operation": operation}
