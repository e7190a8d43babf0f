"""The OpenAPI document, built from the operations of the routes and the active schema."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from spawn import __version__
from spawn.application.projects.list_query import EXTENSION_FILTERS, build_filter_properties
from spawn.application.schema_examples import PropertyExamples
from spawn.application.struct_schemas import accept_null_members, input_schema
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.projects.codes import CodeField
from spawn.domain.schema_version import Schema as SchemaVersion
from spawn.domain.schemas.json_schema import (
    SchemaUse,
    build_response_schema,
)
from spawn.domain.schemas.validator import SchemaValidator, compile_schema
from spawn.entrypoints.http.approvals.wire import ApprovalView, CommandDryRunView
from spawn.entrypoints.http.openapi.components import (
    HEADERS,
    SCHEMAS,
    TAGS,
    code_schema_name,
    load_property_examples,
    path_parameter,
)
from spawn.entrypoints.http.openapi.struct_schemas import (
    COMPONENT_PREFIX,
    WireSchemas,
    lift_definitions,
    lift_properties,
    page_schema,
)
from spawn.entrypoints.http.protocol.operation import (
    HTML,
    Body,
    Computed,
    Operation,
    Parameter,
    Schema,
    Success,
)
from spawn.entrypoints.http.protocol.problems import PROBLEMS, ProblemView, problem_path
from spawn.entrypoints.http.protocol.route import Route

COMMON_PROBLEMS: Final = (
    "malformed_request",
    "unsupported_precondition",
    "invalid_input",
    "not_acceptable",
    "uri_too_long",
    "misdirected_request",
    "rate_limited",
    "headers_too_large",
    "internal",
    "unavailable",
)
"""Problems that every operation can return."""

Json = dict[str, Any]
_REQUESTED: Final = Success(
    ApprovalView,
    "Not carried out: it waits for the decision of another person, at `Location`.",
    status=202,
    headers=("Location",),
)
_DRY_RUN: Final = Success(CommandDryRunView, "The effect that the command would have.")

ACCESS_PROBLEMS: Final = ("unauthenticated", "forbidden")
"""Problems of every operation that needs a scope."""

COMMAND_PROBLEMS: Final = ("cross_origin_request",)
"""Problems of every operation that a page of another origin may not call."""

ROW_SCOPE: Final = "x-row-scope"
"""Member of operations: whether callers with a row scope may call it."""

_BEARER: Final = "bearer"
_NO_CREDENTIALS: Final[tuple[Json, ...]] = ({},)


class OpenApiBuilder:
    """Builder of the document from the routes of an application."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = [one for one in routes if one.operation.id]
        schemas = [schema for one in self._routes for schema in _iter_schemas(one.operation)]
        self._wire = WireSchemas(
            [ProblemView, ApprovalView, CommandDryRunView, *filter(_is_wire_type, schemas)]
        )
        self._lifted = dict(self._wire.components)

    def build(
        self,
        validator: SchemaValidator,
        contact: Json | None = None,
        base_url: str = "",
        *,
        others: Iterable[SchemaVersion] = (),
        is_open: bool = False,
    ) -> Json:
        """Build the document under a schema.

        Args:
            validator: the active schema, compiled.
            others: the active schemas of governed kinds other than projects.
            contact: an OpenAPI contact object.
            base_url: the address of the service, perhaps with a path; relative if empty.
            is_open: whether credentials are optional, since there is no access control.
        """
        paths: dict[str, Json] = {}
        for one in self._routes:
            operation = one.operation
            item = paths.setdefault(operation.path, {})
            item[operation.method.lower()] = self._build_operation(one, is_open=is_open)
        document: Json = {
            "openapi": "3.1.0",
            "info": _build_info(validator, contact or {}),
            "servers": [{"url": base_url or "/", "description": "This service."}],
            "security": [*(_NO_CREDENTIALS if is_open else ()), {_BEARER: []}],
            "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
            "paths": dict(sorted(paths.items())),
            "components": self._build_components(validator, others),
        }
        examples = PropertyExamples(document, load_property_examples())
        document["components"]["schemas"] = examples.add_to_components()
        return document

    def _build_components(
        self, validator: SchemaValidator, others: Iterable[SchemaVersion]
    ) -> Json:
        schemas: Json = {
            **SCHEMAS,
            "ProjectPage": page_schema({"$ref": f"{COMPONENT_PREFIX}Project"}),
        }
        projects = {
            "Project": build_response_schema(validator.json_schema(SchemaUse.OUTPUT)),
            "ProjectInput": validator.json_schema(SchemaUse.INPUT),
            "ProjectPatch": validator.json_schema(SchemaUse.PATCH),
        }
        for name, schema in projects.items():
            schemas[name] = lift_properties("Project", _move_number_enums(schema), schemas)
        if names := schemas.keys() & self._lifted.keys():
            raise TypeError(f"wire types have the names of other components: {sorted(names)}")
        governed_schemas = self._build_governed_schemas(others)
        operations = [one.operation for one in self._routes]
        return {
            "schemas": schemas | self._lifted | governed_schemas,
            "parameters": {
                parameter.component: self._build_parameter(parameter)
                for operation in operations
                for parameter in operation.all_parameters
                if parameter.component
            }
            | {"ProjectFilters": _filter_parameter(validator)},
            "securitySchemes": {
                _BEARER: {
                    "type": "http",
                    "scheme": _BEARER,
                    "description": (
                        "An API key, or an access token (JWT) of the configured issuer. Each "
                        "operation lists the scopes of which the caller needs one."
                    ),
                }
            },
            "headers": HEADERS,
            "responses": {
                _response_name(status, codes, has_page=has_page): _problem_response(
                    status, codes, has_page=has_page
                )
                for operation in operations
                for has_page in (HTML in operation.media_types,)
                for status, codes in _group_by_status(_list_problems(operation))
            },
            "examples": {
                code: {"value": _problem_example(code)}
                for code in sorted({code for o in operations for code in _list_problems(o)})
            },
        }

    def _build_governed_schemas(self, versions: Iterable[SchemaVersion]) -> Json:
        """Return the components of kinds whose terms a struct defines, by name.

        A kind without a version has its core attributes alone.
        """
        by_kind = {version.kind: version for version in versions}
        schemas: Json = {}
        for kind, aggregate_type in AGGREGATE_TYPES.items():
            terms_type = aggregate_type.terms_type
            if terms_type is None:
                continue
            core = SchemaVersion(id=f"{kind}_schema", version=0, name=kind, kind=kind)
            name, validator = kind.capitalize(), compile_schema(by_kind.get(kind, core))
            lift_definitions(input_schema(terms_type), self._lifted)
            body = accept_null_members(self._lifted.pop(f"{terms_type.__name__}Input"))
            schemas |= {
                name: validator.join_terms(self._lifted[name], SchemaUse.OUTPUT),
                f"{name}Input": validator.join_terms(body, SchemaUse.INPUT),
                f"{name}Patch": validator.join_terms(body, SchemaUse.PATCH),
            }
        return {name: _move_number_enums(schema) for name, schema in schemas.items()}

    def _build_operation(self, one: Route, *, is_open: bool) -> Json:
        operation = one.operation
        security: list[Json] = [{_BEARER: [scope.value]} for scope in operation.scopes]
        document: Json = {
            "operationId": operation.id,
            "tags": [operation.tag],
            "summary": operation.summary,
            "description": one.description,
            "security": [*_NO_CREDENTIALS, *security] if is_open and security else security,
            **({ROW_SCOPE: operation.serves_row_scopes} if security else {}),
        }
        parameters = [path_parameter(name) for name in operation.path_parameters]
        parameters += [
            {"$ref": f"#/components/parameters/{parameter.component}"}
            if parameter.component
            else self._build_parameter(parameter)
            for parameter in operation.all_parameters
        ]
        if parameters:
            document["parameters"] = parameters
        if operation.body is not None:
            document["requestBody"] = self._build_body(operation.body)
        responses = {
            str(success.status): self._build_response(success) for success in operation.responses
        }
        if operation.approval is not None:
            self._add_approval_responses(responses)
        for status, codes in _group_by_status(_list_problems(operation)):
            has_page = HTML in operation.media_types
            if status in responses:
                # Health has its own 503 body; a full queue or disk returns a problem with 503.
                content = _problem_response(status, codes, has_page=has_page)["content"]
                responses[status]["content"] |= content
            else:
                name = _response_name(status, codes, has_page=has_page)
                responses[status] = {"$ref": f"#/components/responses/{name}"}
        document["responses"] = dict(sorted(responses.items()))
        return document

    def _add_approval_responses(self, responses: Json) -> None:
        """Add the responses of a command that may need an approval: to it, and to a dry run."""
        responses["202"] = self._build_response(_REQUESTED)
        dry_run = self._build_response(_DRY_RUN)
        if "200" not in responses:
            responses["200"] = dry_run
            return
        for media_type, media in responses["200"]["content"].items():
            other = dry_run["content"][media_type]["schema"]
            media["schema"] = {"anyOf": [media["schema"], other]}

    def _schema_of(self, schema: Schema) -> Json:
        schema = _resolve(schema)
        if isinstance(schema, str):
            return {"$ref": f"{COMPONENT_PREFIX}{schema}"}
        if isinstance(schema, dict):
            return lift_definitions(schema, self._lifted)
        return self._wire.schema_of(schema)

    def _build_parameter(self, parameter: Parameter) -> Json:
        return {
            "name": parameter.name,
            "in": parameter.location,
            "description": parameter.description,
            "schema": {} if parameter.schema is None else self._schema_of(parameter.schema),
            **({"required": True} if parameter.is_required else {}),
            **({"examples": parameter.examples} if parameter.examples else {}),
        }

    def _build_body(self, body: Body) -> Json:
        content: Json = {}
        for media_type in body.media_types:
            content[media_type] = {"schema": self._schema_of(body.schema)}
            if media_type in body.file_examples:
                example = {"value": body.file_examples[media_type]}
                content[media_type]["examples"] = {"typical": example}
            elif body.example is not None:
                content[media_type]["examples"] = _build_examples(body)
        return {"required": True, "content": content}

    def _build_response(self, success: Success) -> Json:
        names = (*success.headers, "X-Request-ID")
        response: Json = {
            "description": success.description,
            "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        }
        if success.schema is None:
            return response
        media: Json = {"schema": self._schema_of(success.schema)}
        if success.example is not None:
            media["examples"] = _build_examples(success)
        response["content"] = dict.fromkeys(success.media_types, media)
        for media_type, schema in success.alternatives.items():
            response["content"][media_type] = {"schema": self._schema_of(schema)}
        return response


def _list_problems(operation: Operation) -> tuple[str, ...]:
    """Return the codes of all problems that an operation can return, each once."""
    access = ACCESS_PROBLEMS if operation.scopes else ()
    command = COMMAND_PROBLEMS if operation.method not in {"GET", "HEAD"} else ()
    gate = () if operation.approval is None else ("conflict", "idempotency_key_reused")
    return tuple(dict.fromkeys((*COMMON_PROBLEMS, *access, *command, *gate, *operation.problems)))


def _build_examples(content: Body | Success) -> Json:
    examples = {"typical": content.example, **content.further_examples}
    return {name: {"value": _resolve(example)} for name, example in examples.items()}


def _resolve(value: Any) -> Any:
    return value.compute() if isinstance(value, Computed) else value


def _is_wire_type(schema: Schema) -> bool:
    return schema is not None and not isinstance(schema, str | dict | Computed)


def _iter_schemas(operation: Operation) -> Iterator[Schema]:
    """Yield the schemas of the parameters, the body and the responses of an operation."""
    for parameter in operation.all_parameters:
        yield parameter.schema
    if operation.body is not None:
        yield operation.body.schema
    for success in operation.responses:
        yield success.schema
        yield from success.alternatives.values()


def _build_info(validator: SchemaValidator, contact: Json) -> Json:
    schema = validator.schema
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


def _group_by_status(codes: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each status as text, with the codes of its problems."""
    codes_by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        codes_by_status.setdefault(PROBLEMS[code].status, []).append(code)
    for status, names in codes_by_status.items():
        yield str(status), tuple(names)


def _response_name(status: str, codes: tuple[str, ...], *, has_page: bool) -> str:
    return "-".join((status, *codes, *(("page",) if has_page else ())))


def _problem_response(status: str, codes: tuple[str, ...], *, has_page: bool) -> Json:
    """Return the response of the problems of one status, each with an example.

    `has_page`: a client that prefers HTML gets a page.
    """
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
            },
            **({HTML: {"schema": {"type": "string"}}} if has_page else {}),
        },
    }


def _problem_example(code: str) -> Json:
    problem = PROBLEMS[code]
    return {
        "type": problem_path(code),
        "title": problem.title,
        "status": problem.status,
        "detail": problem.explanation,
        "instance": "/v1/ops/projects",
        "code": code,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }


def _move_number_enums(schema: Json) -> Json:
    """Return an object's schema with each enumeration of fractions as `x-enum` and in words.

    Generators have no type of them: one of them dropped the project and all its operations.
    """
    properties = {name: _move_number_enum(one) for name, one in schema["properties"].items()}
    return schema | {"properties": properties}


def _move_number_enum(schema: Json) -> Json:
    if "anyOf" in schema:
        return schema | {"anyOf": [_move_number_enum(one) for one in schema["anyOf"]]}
    values = [value for value in schema.get("enum", ()) if value is not None]
    if "number" not in schema.get("type", ()) or not values:
        return schema
    text = f"{schema.get('description', '')} One of: {', '.join(map(str, values))}.".strip()
    others = {name: value for name, value in schema.items() if name != "enum"}
    return others | {"description": text, "x-enum": values}


def _filter_parameter(validator: SchemaValidator) -> Json:
    """Return the filters of all fields as one exploded object parameter."""
    properties = build_filter_properties(validator, _code_reference)
    return {
        "name": "filters",
        "in": "query",
        "description": "Filters by field: `field=value` or `field[operator]=value`.",
        "style": "form",
        "explode": True,
        "schema": {
            "type": "object",
            "properties": properties,
            "patternProperties": EXTENSION_FILTERS,
            "additionalProperties": False,
        },
        "examples": {
            "operating": {"value": {"status": "OPERATION"}},
            "large": {"value": {"total_amount[gte]": "1000000"}},
            "reference": {"value": {"external_ref": "erp:P-17"}},
            "names": {"value": {"project_name[in]": '"Alpha, Beta JV",Gamma'}},
            "sponsor": {"value": {"sponsors.name[like]": "hydro"}},
            "extension": {"value": {"x_region": "North"}},
        },
    }


def _code_reference(code: CodeField) -> Json:
    return {"$ref": f"{COMPONENT_PREFIX}{code_schema_name(code)}"}
