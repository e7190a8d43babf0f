"""JSON Schemas of structs: what the strict reader accepts, and what is written."""

from typing import Any, Final

import msgspec

from spawn.domain.struct_reader import MAX_TEXT_LENGTH

Json = dict[str, Any]

_REF_PREFIX: Final = "#/structs/"
_EXACT_DECIMAL: Final[Json] = {
    "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]{1,18}(\.[0-9]{1,40})?$"}]
}


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
    return clean_texts({key: _clean_descriptions(value) for key, value in node.items()})


def clean_texts(schema: Json) -> Json:
    """Put the description on one line, and drop a title that repeats a class name."""
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
