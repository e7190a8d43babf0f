"""JSON Schemas of structs: what the strict reader accepts, and what is written.

A schema refers to those of its nested structs under `$defs`, each by the name of its struct.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from spawn.domain.struct_reader import MAX_TEXT_LENGTH

Json = dict[str, Any]

DEFINITION_PREFIX: Final = "#/$defs/"
_BESIDE_NULL: Final = ("default", "description")
_EXACT_DECIMAL: Final[Json] = {
    "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]{1,18}(\.[0-9]{1,40})?$"}]
}


def input_schema(case: type[msgspec.Struct]) -> Json:
    """Return the schema of input to the strict reader; its structs are named as input."""
    return _describe_struct(case, _to_input_schema, _name_input)


def output_schema(result: type[msgspec.Struct]) -> Json:
    """Return the schema of output, with decimals as numbers of exactly their digits."""
    return _describe_struct(result, _to_output_schema, lambda name, _: name)


def state_schema(state: type[msgspec.Struct]) -> Json:
    """Return the schema of a struct as it is written, with decimals as strings."""
    return _describe_struct(state, _drop_defaults, lambda name, _: name)


def split_definition(schema: Json) -> tuple[str, Json, Json]:
    """Return the name of the struct that a schema describes, its schema, and those it refers to."""
    name = schema["$ref"].removeprefix(DEFINITION_PREFIX)
    others = {key: one for key, one in schema["$defs"].items() if key != name}
    return name, schema["$defs"][name], others


def patch_schema(terms: type[msgspec.Struct], name: str, description: str, **others: Json) -> Json:
    """Return the schema of a merge patch of terms: any members, each as a whole.

    Args:
        terms: the struct of the terms; null removes a member that it does not require.
        name: the name of the patch among the definitions.
        description: its description.
        others: schemas of members of the patch that are no terms.
    """
    schema = input_schema(terms)
    _, whole, nested = split_definition(schema)
    properties = {
        member: {key: value for key, value in one.items() if key != "default"}
        for member, one in accept_null_members(whole)["properties"].items()
    }
    patch = {
        "description": description,
        "type": "object",
        "properties": {**properties, **others},
        "additionalProperties": False,
    }
    return {"$defs": {**nested, name: patch}, **reference(name)}


def accept_null_members(schema: Json) -> Json:
    """Return the schema of a struct for a reader to which null is an absent member."""
    required = set(schema.get("required", ()))
    properties = {
        name: one if name in required else _accept_null(one)
        for name, one in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties} if properties else schema


def _accept_null(schema: Json) -> Json:
    parts = schema.get("anyOf", [schema])
    if any(part.get("type") == "null" for part in parts):
        return schema
    if "anyOf" in schema:
        return {**schema, "anyOf": [*parts, {"type": "null"}]}
    # Absent members of an object have the defaults of its own schema, and generators take no
    # object as the default of what may be null.
    names = ("description",) if isinstance(schema.get("default"), dict) else _BESIDE_NULL
    outer: Json = {name: schema[name] for name in names if name in schema}
    inner = {name: value for name, value in schema.items() if name not in _BESIDE_NULL}
    return {**outer, "anyOf": [inner, {"type": "null"}]}


def reference(name: str) -> Json:
    """Return a reference to a definition."""
    return {"$ref": DEFINITION_PREFIX + name}


def rename_references(node: Any, names: Mapping[str, str]) -> Any:
    """Return a schema in which each reference that `names` has is replaced."""
    if isinstance(node, list | tuple):
        return [rename_references(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {key: rename_references(value, names) for key, value in node.items()}
    if isinstance(target := schema.get("$ref"), str):
        schema["$ref"] = names.get(target, target)
    return schema


def _describe_struct(
    struct: type[msgspec.Struct],
    convert: Callable[[Any], Any],
    rename: Callable[[str, Json], str],
) -> Json:
    """Return a reference to the schema of a struct beside the definitions of all its structs."""
    (top,), components = msgspec.json.schema_components(
        [struct], ref_template=DEFINITION_PREFIX + "{name}"
    )
    names = {name: rename(name, schema) for name, schema in components.items()}
    targets = {DEFINITION_PREFIX + name: DEFINITION_PREFIX + names[name] for name in names}
    definitions = {
        names[name]: rename_references(_clean_descriptions(convert(schema)), targets)
        for name, schema in components.items()
    }
    return {"$defs": definitions, **rename_references(top, targets)}


def _name_input(name: str, schema: Json) -> str:
    """Return the name of an input: what is read and what is written may differ, codes do not."""
    return name if "enum" in schema or name.endswith("Case") else f"{name}Input"


def _clean_descriptions(node: Any) -> Any:
    """Put descriptions on one line, and drop the titles that repeat class names."""
    if isinstance(node, list | tuple):
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
    if isinstance(node, list | tuple):
        return [_to_input_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "decimal":
        return {**_EXACT_DECIMAL, **({"default": node["default"]} if "default" in node else {})}
    schema = {key: _to_input_schema(value) for key, value in node.items() if key != "uniqueItems"}
    if schema.get("type") == "string" and "format" not in schema:
        schema["maxLength"] = MAX_TEXT_LENGTH
    return schema


def _drop_defaults(node: Any) -> Any:
    if isinstance(node, list | tuple):
        return [_drop_defaults(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: _drop_defaults(value) for key, value in node.items() if key != "default"}


def _to_output_schema(node: Any) -> Any:
    if isinstance(node, list | tuple):
        return [_to_output_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "decimal":
        return {"type": "number"}
    return {key: _to_output_schema(value) for key, value in node.items() if key != "default"}
