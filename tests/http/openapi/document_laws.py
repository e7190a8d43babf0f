"""Law of the OpenAPI document and the contract: they are valid under any schema that is adopted.

`python -m tests.http.openapi.document_laws 10000` checks that many random schemas; the tests
check a few. A random schema may have wide decimals, hostile patterns, aliases, enumerations, dates.
"""

import random
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import jsonschema_rs
import msgspec
from tests.application.product.conftest import SnapshotFactory
from tests.domain.schemas.json_schema_laws import ENCODER, read_exactly, write_schema

from spawn.application.product.odcs import build_data_contract
from spawn.domain.schema_version import RetiredColumn, Schema
from spawn.domain.schemas.validator import compile_schema
from spawn.entrypoints.http.app import ROUTES
from spawn.entrypoints.http.openapi.document import OpenApiBuilder
from spawn.testing.builders import a_schema

Json = dict[str, Any]

LOGICAL_TYPES: Final = frozenset(
    {"string", "date", "timestamp", "time", "number", "integer", "object", "array", "boolean"}
)
"""Logical types of the Open Data Contract Standard."""

_COMPONENT: Final = re.compile(r"[A-Za-z0-9._-]+")
_BUILDER: Final = OpenApiBuilder(ROUTES)
_PROJECT_BUILDER: Final = OpenApiBuilder(
    one for one in ROUTES if one.operation.path.startswith("/v1/ops/projects")
)
"""Builder of the operations on projects: no schema changes the others, nine tenths of the time."""


def write_adopted_schema(rng: random.Random) -> Schema:
    """Return a random schema, perhaps with the columns of an earlier one that it removed."""
    schema = write_schema(rng)
    names = {column.name for column in schema.columns}
    removed = [column for column in write_schema(rng).governed if column.name not in names]
    retired = tuple(RetiredColumn(column=column, since=2) for column in removed)
    return msgspec.structs.replace(schema, retired=retired if rng.random() < 0.5 else ())


def find_violation(schema: Schema) -> str | None:
    """Return what is invalid in the documents under a schema; None if nothing is."""
    document = _PROJECT_BUILDER.build(compile_schema(schema))
    # What no schema changes is checked once: it is nearly all of the document.
    base = _build_base()
    components = {
        group: {name: part for name, part in parts.items() if part != base[group].get(name)}
        for group, parts in document["components"].items()
    }
    changed = read_exactly(ENCODER.encode({"components": components, "paths": {}}))
    return find_openapi_violation(changed, document) or _find_contract_violation(schema)


def build_openapi(schema: Schema) -> Json:
    """Return the OpenAPI document under a schema."""
    return _BUILDER.build(compile_schema(schema))


@cache
def _build_base() -> Json:
    document = build_openapi(a_schema())
    if violation := find_openapi_violation(read_exactly(ENCODER.encode(document))):
        raise ValueError(violation)
    components: Json = _PROJECT_BUILDER.build(compile_schema(a_schema()))["components"]
    return components


def find_openapi_violation(document: Json, whole: Json | None = None) -> str | None:
    """Return an invalid schema, name or reference of a document; None without one.

    Args:
        document: the document, or the part of it that is to be checked.
        whole: the document that references lead into, if that is another one.
    """
    for place, schema in _iter_schemas(document):
        try:
            jsonschema_rs.meta.validate(schema)
        except (jsonschema_rs.ValidationError, ValueError) as error:
            return f"{place}: {error}"
    for group in document["components"].values():
        for name in group:
            if not _COMPONENT.fullmatch(name):
                return f"{name!r} is no name of a component"
    if violation := next(_iter_shapes_without_types(document), None):
        return violation
    lost = (one for one in _iter_references(document) if not _leads(whole or document, one))
    return next((f"{one} leads nowhere" for one in lost), None)


def _iter_shapes_without_types(document: Json) -> Iterator[str]:
    """Yield schemas that generators of clients drop, or type as something else.

    They name the class of an inline object for its place, so that two of them may have one name,
    and take no object as the default of what may be null.
    """
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                if any(map(_is_inline_object, _iter_alternatives(media["schema"]))):
                    yield f"the body of {method} {path} is an object that is no component"
    for name, schema in schemas.items():
        for member, part in schema.get("properties", {}).items():
            place, alternatives = f"{name}.{member}", list(_iter_alternatives(part))
            class_name = name + "".join(word.capitalize() for word in member.split("_"))
            if class_name in schemas and any(map(_is_inline_object, alternatives)):
                yield f"generators call {place} {class_name}, as another component"
            is_nullable_reference = {"type": "null"} in alternatives and any(
                "$ref" in one for one in alternatives
            )
            if is_nullable_reference and isinstance(part.get("default"), dict):
                yield f"{place} may be null, and has an object as its default"


def _iter_alternatives(schema: Json) -> Iterator[Json]:
    for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _iter_alternatives(one)
    yield schema


def _is_inline_object(schema: Json) -> bool:
    return "object" in schema.get("type", ())


def _iter_schemas(document: Json) -> Iterator[tuple[str, Any]]:
    """Yield the Schema Objects of the components and of the parameters, with their place."""
    components = document["components"]
    for name, schema in components["schemas"].items():
        yield name, schema
    for name, parameter in components["parameters"].items():
        yield name, parameter.get("schema", {})
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", ()):
                yield f"{method} {path}", parameter.get("schema", {})


def _iter_references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str):
            yield reference
        for member in part.values():
            yield from _iter_references(member)
    elif isinstance(part, list):
        for member in part:
            yield from _iter_references(member)


def _leads(document: Json, reference: str) -> bool:
    """Whether a reference of the document leads to a part of it."""
    part: Any = document
    for token in reference.removeprefix("#/").split("/"):
        name = token.replace("~1", "/").replace("~0", "~")
        if not isinstance(part, dict) or name not in part:
            return False
        part = part[name]
    return reference.startswith("#/")


def _find_contract_violation(schema: Schema) -> str | None:
    """Return a property of the contract that no validator of the standard accepts."""
    contract = build_data_contract(SnapshotFactory().build(schema))
    for table in contract["schema"]:
        properties = table["properties"]
        names = [one["name"] for one in properties]
        if len(set(names)) < len(names):
            return f"the contract names a property twice: {sorted(names)}"
        for one in properties:
            if one["logicalType"] not in LOGICAL_TYPES or not one.get("physicalType"):
                return f"the contract has no type of {one['name']}: {one}"
    return None


def main() -> int:
    """Check random schemas, and print the first violation."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    for seed in range(number):
        if violation := find_violation(write_adopted_schema(random.Random(seed))):
            sys.stdout.write(f"seed {seed}: {violation}\n")
            return 1
    sys.stdout.write(f"{number} random schemas: OpenAPI and contract are valid\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
