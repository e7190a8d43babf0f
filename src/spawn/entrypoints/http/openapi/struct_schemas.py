"""JSON Schemas of msgspec structs: wire structs of the nouns, calculator cases and results."""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from spawn.application.analysis.calculation import MAX_CASES
from spawn.domain.errors import FieldError
from spawn.domain.struct_reader import MAX_TEXT_LENGTH
from spawn.entrypoints.http.wire import PageView

Json = dict[str, Any]

_REF_PREFIX: Final = "#/structs/"
_EXACT_DECIMAL: Final[Json] = {
    "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]{1,18}(\.[0-9]{1,40})?$"}]
}
_NAME: Final[Json] = {
    "type": "string",
    "maxLength": MAX_TEXT_LENGTH,
    "description": "A name of the case, repeated in its result.",
}
_EXPLAIN: Final[Json] = {
    "type": "boolean",
    "default": False,
    "description": "Add to each headline figure its formula and inputs.",
}


COMPONENT_PREFIX: Final = "#/components/schemas/"
_PAGE_OF: Final = re.compile(r"PageView_(\w+?)(View)?_")
_SCALARS: Final = frozenset({"string", "integer", "number", "boolean", "null"})


class WireSchemas:
    """Schemas of wire types; `components` has those of structs and enumerations by their name.

    `JobView` is the component `Job`, and `PageView[JobView]` is `JobPage`.
    """

    def __init__(self, wire_types: Iterable[Any]) -> None:
        types = list(dict.fromkeys(wire_types))
        references, components = msgspec.json.schema_components(
            types, ref_template=COMPONENT_PREFIX + "{name}"
        )
        self._references = dict(zip(types, map(_clean_wire_schema, references), strict=True))
        self.components: Json = {}
        for name, schema in components.items():
            if self.components.setdefault(_component_name(name), schema) is not schema:
                raise TypeError(f"two wire types are called {_component_name(name)}")
        self.components = {
            name: _clean_wire_schema(schema) for name, schema in self.components.items()
        }

    def schema_of(self, wire_type: Any) -> Json:
        """Return the schema of a wire type: a reference, or the schema of a simple type."""
        schema: Json = self._references[wire_type]
        return schema


def page_schema(item: Json) -> Json:
    """Return the schema of a page of items that no wire type describes."""
    _, components = msgspec.json.schema_components([PageView[int]])
    schema: Json = _clean_wire_schema(next(iter(components.values())))
    schema["properties"]["items"]["items"] = item
    return schema


def _component_name(name: str) -> str:
    page = _PAGE_OF.fullmatch(name)
    return f"{page[1]}Page" if page else name.removesuffix("View")


def _clean_wire_schema(node: Any) -> Any:
    """Return a generated schema in the terms of the document: component names, types of null."""
    if isinstance(node, list | tuple):
        return [_clean_wire_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {key: _clean_wire_schema(value) for key, value in node.items()}
    schema = _merge_scalars(_type_enumeration(_clean_texts(schema)))
    if isinstance(reference := schema.get("$ref"), str):
        schema["$ref"] = COMPONENT_PREFIX + _component_name(
            reference.removeprefix(COMPONENT_PREFIX)
        )
    if "default" in schema and schema["default"] is None:
        del schema["default"]
    return schema


def _type_enumeration(schema: Json) -> Json:
    """Return the schema of an enumeration with its type, or as a constant."""
    values = schema.get("enum")
    if not isinstance(values, list):
        return schema
    if len(values) == 1:
        return {**{k: v for k, v in schema.items() if k != "enum"}, "const": values[0]}
    is_text = all(isinstance(value, str) for value in values)
    return {"type": "string", **schema} if is_text else schema


def _merge_scalars(schema: Json) -> Json:
    """Return `anyOf` of scalars, of which at most the first has more than a type, as one type."""
    parts = schema.get("anyOf")
    if not isinstance(parts, list) or any(part.get("type") not in _SCALARS for part in parts):
        return schema
    first, *others = parts
    if "enum" in first or any(set(part) != {"type"} for part in others):
        return schema
    more = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**first, **more, "type": [part["type"] for part in parts]}


def request_schema(case: type[msgspec.Struct]) -> Json:
    """Return the schema of one case, or several under `cases`."""
    schema = input_schema(case)
    named_case = {**schema, "properties": {**schema["properties"], "name": _NAME}}
    single = {**named_case, "properties": {**named_case["properties"], "explain": _EXPLAIN}}
    several = {
        "type": "object",
        "properties": {
            "cases": {"type": "array", "items": named_case, "minItems": 1, "maxItems": MAX_CASES},
            "explain": _EXPLAIN,
        },
        "required": ["cases"],
        "additionalProperties": False,
    }
    return {"anyOf": [single, several]}


def response_schema(result: type[msgspec.Struct]) -> Json:
    """Return the schema of one result, or of `results` in the order of the cases.

    Among several cases an infeasible one has its errors in place of figures.
    """
    schema = output_schema(result)
    explanations = {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": {
                "value": {},
                "formula": {"type": "string"},
                "inputs": {"type": "object"},
                "note": {"type": "string"},
            },
            "required": ["value", "formula", "inputs", "note"],
        },
    }
    properties = {**schema["properties"], "name": {"type": "string"}, "explain": explanations}
    single = {**schema, "properties": properties}
    infeasible = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "errors": {"type": "array", "minItems": 1, "items": output_schema(FieldError)},
        },
        "required": ["errors"],
    }
    results = {"type": "array", "items": {"anyOf": [single, infeasible]}}
    several = {
        "type": "object",
        "properties": {"results": results},
        "required": ["results"],
    }
    return {"anyOf": [single, several]}


def input_schema(case: type[msgspec.Struct]) -> Json:
    """Return the schema of input to the strict reader."""
    schema: Json = _clean_descriptions(_to_input_schema(_inline_references(case)))
    return schema


def output_schema(result: type[msgspec.Struct]) -> Json:
    """Return the schema of output, with decimals as numbers of exactly their digits."""
    schema: Json = _clean_descriptions(_to_output_schema(_inline_references(result)))
    return schema


def _inline_references(struct: type[msgspec.Struct]) -> Any:
    (top,), components = msgspec.json.schema_components(
        [struct], ref_template=_REF_PREFIX + "{name}"
    )
    return _resolve_references(top, components)


def _resolve_references(node: Any, components: dict[str, Any]) -> Any:
    """Replace every reference by its schema; the structs are not recursive."""
    if isinstance(node, list | tuple):
        return [_resolve_references(item, components) for item in node]
    if not isinstance(node, dict):
        return node
    resolved = {
        key: _resolve_references(value, components) for key, value in node.items() if key != "$ref"
    }
    if "$ref" in node:
        return (
            _resolve_references(components[node["$ref"].removeprefix(_REF_PREFIX)], components)
            | resolved
        )
    return resolved


def _clean_descriptions(node: Any) -> Any:
    """Put descriptions on one line, and drop the titles that repeat class names."""
    if isinstance(node, list):
        return [_clean_descriptions(item) for item in node]
    if not isinstance(node, dict):
        return node
    return _clean_texts({key: _clean_descriptions(value) for key, value in node.items()})


def _clean_texts(schema: Json) -> Json:
    if isinstance(schema.get("title"), str):
        del schema["title"]
    if isinstance(schema.get("description"), str):
        schema["description"] = " ".join(schema["description"].split())
    return schema


def _to_input_schema(node: Any) -> Any:
    if isinstance(node, list):
        return [_to_input_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "decimal":
        return {**_EXACT_DECIMAL, **({"default": node["default"]} if "default" in node else {})}
    schema = {key: _to_input_schema(value) for key, value in node.items() if key != "uniqueItems"}
    if schema.get("type") == "string" and "format" not in schema:
        schema["maxLength"] = MAX_TEXT_LENGTH
    return schema


def _to_output_schema(node: Any) -> Any:
    if isinstance(node, list):
        return [_to_output_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "decimal":
        return {"type": "number"}
    return {key: _to_output_schema(value) for key, value in node.items() if key != "default"}
