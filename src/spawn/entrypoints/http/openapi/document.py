"""The OpenAPI document: built from what each route says of itself and from the active schema."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute

from spawn import __version__
from spawn.domain.query import Operator
from spawn.domain.schemas.model import Column, TypeName
from spawn.domain.schemas.validator import Conformance
from spawn.entrypoints.http.openapi.components import (
    HEADERS,
    PARAMETERS,
    SCHEMAS,
    TAGS,
    parameter_of_path,
)
from spawn.entrypoints.http.openapi.operation import Body, Operation, Success
from spawn.entrypoints.http.protocol.problems import PROBLEMS
from spawn.entrypoints.http.protocol.query_params import MAX_TEXT
from spawn.entrypoints.http.protocol.route_table import plain_template

COMMON_PROBLEMS: Final = (
    "malformed_request",
    "invalid_input",
    "not_acceptable",
    "uri_too_long",
    "misdirected_request",
    "rate_limited",
    "headers_too_large",
    "internal",
    "unavailable",
)
"""What any operation can answer with."""

_WITHOUT_EXAMPLES: Final = frozenset({"application/x-ndjson"})
"""Tools take an example for one JSON value, which lines of JSON are not."""

Json = dict[str, Any]
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")


class Description:
    """The document of an application: what its routes say of themselves."""

    def __init__(self, app: Litestar) -> None:
        self._operations = list(_operations(app))

    def build(self, conformance: Conformance, contact: Json | None = None) -> Json:
        """The document under a schema; `contact` is an OpenAPI contact object."""
        paths: dict[str, Json] = {}
        for path, method, operation in self._operations:
            paths.setdefault(path, {})[method] = _operation(path, operation)
        return {
            "openapi": "3.1.0",
            "info": _info(conformance, contact or {}),
            "servers": [{"url": "/"}],
            "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
            "paths": dict(sorted(paths.items())),
            "components": {
                **_components(conformance),
                "responses": self._responses(),
                "examples": {code: {"value": _problem_example(code)} for code in self._codes()},
            },
        }

    def _codes(self) -> list[str]:
        """Every problem that some operation has."""
        named = {code for _, _, operation in self._operations for code in operation.problems}
        return sorted(named | set(COMMON_PROBLEMS))

    def _responses(self) -> Json:
        """Every response of problems that some operation has."""
        return {
            _response_name(status, codes): _problem_response(status, codes)
            for _, _, operation in self._operations
            for status, codes in _by_status((*COMMON_PROBLEMS, *operation.problems))
        }


def _operations(app: Litestar) -> Iterator[tuple[str, str, Operation]]:
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            operation = handler.opt.get("operation")
            if isinstance(operation, Operation):
                operation = _explained(operation, handler.fn.__doc__ or "")
                for method in handler.http_methods:
                    yield plain_template(route.path), str(method).lower(), operation


def _explained(operation: Operation, docstring: str) -> Operation:
    """The operation with a description: its own, or else what its handler says of itself."""
    if operation.description:
        return operation
    return msgspec.structs.replace(operation, description=docstring.partition("\n\n")[0])


def _info(conformance: Conformance, contact: Json) -> Json:
    schema = conformance.schema
    return {
        "title": "Spawn",
        "version": __version__,
        "summary": "A project-finance data product in a box.",
        "description": (
            "Projects under a governed schema. Errors are RFC 9457 problems; changes need If-Match "
            "and may carry an Idempotency-Key; amounts are decimal strings. The project schemas "
            f"below are those of `{schema.id}` version {schema.version}."
        ),
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        **({"contact": contact} if contact else {}),
    }


def _operation(path: str, operation: Operation) -> Json:
    described: Json = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
    }
    parameters: list[Json] = [parameter_of_path(name) for name in _PATH_PARAMETER.findall(path)]
    parameters += [
        {"$ref": f"#/components/parameters/{one}"} if isinstance(one, str) else one
        for one in operation.parameters
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = _body(operation.body)
    responses = {str(status): _success(answer) for status, answer in operation.answers.items()}
    for status, codes in _by_status((*COMMON_PROBLEMS, *operation.problems)):
        if status in responses:
            # Health answers 503 in its own shape; a full queue or disk does so as a problem.
            responses[status]["content"] |= _problem_response(status, codes)["content"]
        else:
            responses[status] = {"$ref": f"#/components/responses/{_response_name(status, codes)}"}
    described["responses"] = dict(sorted(responses.items()))
    return described


def _schema_ref(schema: str | Json) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"} if isinstance(schema, str) else schema


def _body(body: Body) -> Json:
    content: Json = {}
    for media_type in body.media_types:
        content[media_type] = {"schema": _schema_ref(body.schema)}
        if body.example is not None and media_type not in _WITHOUT_EXAMPLES:
            content[media_type]["examples"] = {"typical": {"value": body.example}}
    return {"required": body.required, "content": content}


def _success(answer: Success) -> Json:
    response: Json = {
        "description": answer.description,
        "headers": {
            name: {"$ref": f"#/components/headers/{name}"}
            for name in (*answer.headers, "X-Request-ID")
        },
    }
    if answer.schema is not None:
        media: Json = {"schema": _schema_ref(answer.schema)}
        if answer.example is not None:
            media["examples"] = {"typical": {"value": answer.example}}
        response["content"] = dict.fromkeys(answer.media_types, media)
        for media_type, schema in answer.also.items():
            response["content"][media_type] = {"schema": schema}
    return response


def _by_status(codes: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Statuses as texts, with the codes of problems that have them."""
    found: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        found.setdefault(PROBLEMS[code].status, []).append(code)
    for status, names in found.items():
        yield str(status), tuple(names)


def _response_name(status: str, codes: tuple[str, ...]) -> str:
    return "-".join((status, *codes))


def _problem_response(status: str, codes: tuple[str, ...]) -> Json:
    """The response of some problems of one status, each with an example."""
    names = ["X-Request-ID"]
    if status in {"429", "503"}:
        names.append("Retry-After")
    return {
        "description": "; ".join(PROBLEMS[code].title for code in codes) + ".",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }


def _problem_example(code: str) -> Json:
    problem = PROBLEMS[code]
    return {
        "type": f"/problems/{code.replace('_', '-')}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.explanation,
        "instance": "/v1/ops/projects",
        "code": code,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }


def _components(conformance: Conformance) -> Json:
    given = conformance.json_schema(for_input=True)
    patch = _merge_patch(given)
    return {
        "schemas": {
            **SCHEMAS,
            "Project": _shown(conformance.json_schema(for_input=False)),
            "ProjectInput": given,
            "ProjectPatch": patch,
        },
        "parameters": {**PARAMETERS, "ProjectFilters": _filters(conformance)},
        "headers": HEADERS,
    }


def _shown(served: Json) -> Json:
    """A project as served; with `fields=` anything but id and version may be left out."""
    return {**served, "required": ["project_id", "version"]}


def _merge_patch(given: Json) -> Json:
    """The input schema as a merge patch: nothing required, no defaults, the status left out."""
    properties = {
        name: {key: value for key, value in shape.items() if key != "default"}
        for name, shape in given["properties"].items()
        if name != "status"
    }
    return {**given, "properties": properties, "required": []}


_ORDERED: Final = (Operator.LT, Operator.LTE, Operator.GT, Operator.GTE)


def _filters(conformance: Conformance) -> Json:
    """Every filter there is, as one exploded object parameter."""
    properties: Json = {}
    for column in conformance.fields.values():
        shape = _filter_shape(column)
        properties[column.name] = shape
        properties[f"{column.name}[exists]"] = {"type": "string", "enum": ["true", "false"]}
        if column.type.name is TypeName.STRING:
            properties[f"{column.name}[like]"] = _BY_TYPE[TypeName.STRING]
        for operator in _operators(column):
            properties[f"{column.name}[{operator}]"] = shape
        properties[f"{column.name}[in]"] = _SEVERAL
    return {
        "name": "filters",
        "in": "query",
        "description": "Filters by field: `field=value` or `field[operator]=value`.",
        "style": "form",
        "explode": True,
        "schema": {"type": "object", "properties": properties, "additionalProperties": False},
        "examples": {
            "operating": {"value": {"status": "OPERATION"}},
            "large": {"value": {"total_amount[gte]": "1000000"}},
        },
    }


def _operators(column: Column) -> tuple[Operator, ...]:
    """The operators of a column that take one value of its type, beside equality."""
    return (Operator.NE,) if column.type.name is TypeName.BOOLEAN else (Operator.NE, *_ORDERED)


def _filter_shape(column: Column) -> Json:
    """What the text of a filter looks like, by the column's type."""
    if column.enum is not None:
        return {"type": "string", "enum": [str(value) for value in column.enum]}
    if column.name in {"currency_code", "country_code"}:
        return {"$ref": f"#/components/schemas/{_CODES[column.name]}"}
    return _BY_TYPE[column.type.name]


_SEVERAL: Final[Json] = {"type": "string", "description": "Values, separated by commas."}
_CODES: Final = {"currency_code": "CurrencyCode", "country_code": "CountryCode"}
_BY_TYPE: Final[dict[TypeName, Json]] = {
    TypeName.STRING: {"type": "string", "maxLength": MAX_TEXT},
    TypeName.INTEGER: {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    TypeName.BIGINT: {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    TypeName.DECIMAL: {"type": "string", "pattern": r"^-?(0|[1-9][0-9]{0,6})(\.[0-9]{1,4})?$"},
    TypeName.DOUBLE: {"type": "string", "pattern": r"^-?(0|[1-9][0-9]{0,6})(\.[0-9]{1,4})?$"},
    TypeName.BOOLEAN: {"type": "string", "enum": ["true", "false"]},
    TypeName.DATE: {"type": "string", "format": "date"},
    TypeName.TIMESTAMP: {"type": "string", "format": "date-time"},
}
