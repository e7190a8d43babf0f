"""JSON Schemas of msgspec structs: calculator cases and results."""

from typing import Any, Final

import msgspec

from spawn.application.analysis.calculation import MAX_CASES
from spawn.domain.struct_reader import MAX_TEXT_LENGTH

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
    """Return the schema of one result, or of `results` in the order of the cases."""
    schema = output_schema(result)
    explanations = {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": {
                "value": {},
                "formula": {"type": "string"},
                "inputs": {"type": "object"},
            },
            "required": ["value", "formula", "inputs"],
        },
    }
    properties = {**schema["properties"], "name": {"type": "string"}, "explain": explanations}
    single = {**schema, "properties": properties}
    several = {
        "type": "object",
        "properties": {"results": {"type": "array", "items": single}},
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
    schema = {key: _clean_descriptions(value) for key, value in node.items()}
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
