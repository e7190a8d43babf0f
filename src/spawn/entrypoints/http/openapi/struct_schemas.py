"""JSON Schemas of wire structs, as components of the OpenAPI document."""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from spawn.application.struct_schemas import (
    DEFINITION_PREFIX,
    Json,
    clean_texts,
    rename_references,
)
from spawn.entrypoints.http.wire import PageView

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


def lift_definitions(schema: Json, components: Json) -> Json:
    """Return a schema whose definitions became components of the document.

    Raises:
        TypeError: a component of that name has another schema.
    """
    definitions = schema.get("$defs", {})
    names = {DEFINITION_PREFIX + name: COMPONENT_PREFIX + name for name in definitions}
    for name, definition in definitions.items():
        renamed = _type_enumeration(rename_references(definition, names))
        if components.setdefault(name, renamed) != renamed:
            raise TypeError(f"two schemas are called {name}")
    plain = {key: value for key, value in schema.items() if key != "$defs"}
    lifted: Json = rename_references(plain, names)
    return lifted


def lift_properties(prefix: str, schema: Json, components: Json) -> Json:
    """Return a schema whose nested objects became components, named for their properties.

    What is read and what is written may differ; then the name of the former ends in Input.
    """
    properties = {
        name: _lift_objects(f"{prefix}{name.title().replace('_', '')}", part, components)
        for name, part in schema["properties"].items()
    }
    return {**schema, "properties": properties}


def _lift_objects(name: str, part: Json, components: Json) -> Json:
    if "properties" in part:
        if components.setdefault(name, part) != part:
            name = f"{name}Input"
            if components.setdefault(name, part) != part:
                raise TypeError(f"two schemas are called {name}")
        return {"$ref": COMPONENT_PREFIX + name}
    if "items" in part:
        return {**part, "items": _lift_objects(name.removesuffix("s"), part["items"], components)}
    if "anyOf" in part:
        return {**part, "anyOf": [_lift_objects(name, one, components) for one in part["anyOf"]]}
    return part


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
    schema = _merge_scalars(_type_enumeration(clean_texts(schema)))
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
