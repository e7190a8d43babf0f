"""Examples of the properties of JSON Schema components, taken from examples of whole documents."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

Json = dict[str, Any]

MAX_ITEMS: Final = 3
"""Items of an example that is a list."""

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
_FORMATS: Final[Mapping[str, Any]] = {"date": "2031-06-30", "date-time": "2026-11-29T08:30:00Z"}
_CHOICES: Final = ("anyOf", "oneOf", "allOf")
_NULL: Final = {"type": "null"}


class PropertyExamples:
    """Examples by component and property; `document` is the OpenAPI document that has both.

    Values of the document's whole requests and responses come first, since these belong together.
    `named_examples` has values by `Component.property` or by `property`. Then comes the value that
    a property of the same name has in another component, and at last that of a type.
    """

    def __init__(self, document: Json, named_examples: Mapping[str, Any]) -> None:
        self._document = document
        self._schemas: Json = document["components"]["schemas"]
        self._named_examples = named_examples
        self._values: dict[tuple[str, str], Any] = {}
        self._values_by_name: dict[str, list[Any]] = {}
        for schema, value in self._iter_contents():
            self._collect(schema, value, "")

    def add_to_components(self) -> Json:
        """Return the components, with an example for each property that has values of its own."""
        return {
            component: self._add_to_properties(component, schema)
            for component, schema in self._schemas.items()
        }

    def _add_to_properties(self, component: str, schema: Json) -> Json:
        if "properties" not in schema:
            return schema
        properties = dict(schema["properties"])
        for name, part in properties.items():
            value = self._find(component, name, part) if self.is_needed(part) else None
            if value is not None:
                properties[name] = {**part, "examples": [value]}
        return {**schema, "properties": properties}

    def _iter_contents(self) -> Iterator[tuple[Json, Any]]:
        """Yield the schema and each example of the contents of requests and responses."""
        for item in self._document["paths"].values():
            for operation in item.values():
                bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
                for media in (m for body in bodies for m in body.get("content", {}).values()):
                    for example in media.get("examples", {}).values():
                        if "value" in example:
                            yield media["schema"], example["value"]
        problem = {"$ref": "#/components/schemas/Problem"}
        for example in self._document["components"]["examples"].values():
            yield problem, example["value"]

    def _collect(self, schema: Json, value: Any, component: str) -> None:
        """Record the values of the properties within a value."""
        if "$ref" in schema:
            component = schema["$ref"].rpartition("/")[2]
            schema = self._schemas[component]
        for part in (part for choice in _CHOICES for part in schema.get(choice, ())):
            self._collect(part, value, "")
        if isinstance(value, list) and isinstance(schema.get("items"), dict):
            for item in value:
                self._collect(schema["items"], item, "")
        if isinstance(value, dict):
            properties = schema.get("properties", {})
            for name in properties.keys() & value.keys():
                self._record(component, name, value[name])
                self._collect(properties[name], value[name], "")

    def _record(self, component: str, name: str, value: Any) -> None:
        if value is None or value in ([], {}):
            return
        if isinstance(value, list):
            value = value[:MAX_ITEMS]
        self._values.setdefault((component, name), value)
        self._values_by_name.setdefault(name, []).append(value)

    def is_needed(self, schema: Json) -> bool:
        """Whether a property has values of its own, not those of another component."""
        if any(key in schema for key in ("examples", "enum", "const")):
            return False
        if "$ref" in schema or schema == _NULL:
            return False
        if "items" in schema:
            return self.is_needed(schema["items"])
        choices = [part for choice in _CHOICES for part in schema.get(choice, ())]
        return not choices or any(map(self.is_needed, choices))

    def _find(self, component: str, name: str, schema: Json) -> Any:
        """Return the first candidate that the schema allows; None if there is none."""
        named_values = [
            self._named_examples[key]
            for key in (f"{component}.{name}", name)
            if key in self._named_examples
        ]
        own_values = [self._values[component, name]] if (component, name) in self._values else []
        values_by_type = [_FORMATS.get(_find_format(schema), True)]
        candidates = [
            *own_values,
            *named_values,
            *self._values_by_name.get(name, []),
            *values_by_type,
        ]
        return next((value for value in candidates if self._allows(schema, value)), None)

    def _allows(self, schema: Json, value: Any) -> bool:
        """Whether the types and choices of a schema allow a value."""
        if "$ref" in schema:
            return self._allows(self._schemas[schema["$ref"].rpartition("/")[2]], value)
        if "enum" in schema:
            return value in schema["enum"]
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return any(self._allows(part, value) for part in schema[choice])
        types = schema.get("type", [])
        names = [types] if isinstance(types, str) else types
        if names and not any(_is_instance(value, name) for name in names):
            return False
        items = schema.get("items")
        if isinstance(value, list) and isinstance(items, dict):
            return all(self._allows(items, item) for item in value)
        return True


def _is_instance(value: Any, type_name: str) -> bool:
    if isinstance(value, bool):
        return type_name == "boolean"
    return isinstance(value, _TYPES.get(type_name, ()))


def _find_format(schema: Json) -> str:
    """Return the format of a schema or of its first choice that has one; empty without."""
    parts = [schema, *(part for choice in _CHOICES for part in schema.get(choice, ()))]
    return next((str(part["format"]) for part in parts if "format" in part), "")
