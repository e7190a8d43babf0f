"""The contract in an OpenAPI document, without its texts and without regard to where it puts them.

Schemas are resolved and named by a digest of their content, so that lifting one into a component
changes nothing here; neither does the order of required members, of types or of an enumeration.
`python -m tests.http.openapi_surface DOCUMENT` writes the record anew.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Final

RECORD: Final = Path(__file__).with_name("openapi_surface.json")
_TEXTS: Final = frozenset({"summary", "description", "title", "example", "examples"})
_NAMES: Final = frozenset({"properties", "patternProperties", "$defs", "headers", "content"})
"""Members whose own members are names, of which none is a text."""

_SETS: Final = frozenset({"required", "enum", "type"})
"""Members whose items have no order."""

_MAX_CHARACTERS: Final = 100
"""Shorter objects stay where they are: a digest would say less."""


class Surface:
    """Reduces a document; `schemas` collects the resolved parts by digest."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.schemas: dict[str, Any] = {}

    def operations(self) -> dict[str, Any]:
        """Each operation by method and path."""
        return {
            f"{method.upper()} {path}": self._operation(item, operation)
            for path, item in sorted(self._document["paths"].items())
            for method, operation in sorted(item.items())
            if method != "parameters"
        }

    def _operation(self, item: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
        listed = operation.get("parameters", item.get("parameters", []))
        parameters = [self._resolve(parameter) for parameter in listed]
        return {
            "id": operation["operationId"],
            "parameters": {
                f"{p['in']} {p['name']}": self._reduce(
                    {key: value for key, value in p.items() if key not in {"in", "name"}}
                )
                for p in sorted(parameters, key=lambda p: (p["in"], p["name"]))
            },
            "body": self._reduce(operation.get("requestBody")),
            "responses": {
                status: self._reduce(response)
                for status, response in sorted(operation["responses"].items())
            },
        }

    def _resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            target: Any = self._document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            node = target
        return node

    def _reduce(self, node: Any, *, named: bool = False) -> Any:
        if isinstance(node, list):
            return [self._reduce(item) for item in node]
        if not isinstance(node, dict):
            return node
        if not named:
            node = self._resolve(node)
        reduced = {
            key: sorted(value, key=str)
            if not named and key in _SETS and isinstance(value, list)
            else self._reduce(value, named=not named and key in _NAMES)
            for key, value in sorted(node.items())
            if named or key not in _TEXTS
        }
        text = json.dumps(reduced, sort_keys=True)
        if named or len(text) <= _MAX_CHARACTERS:
            return reduced
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        self.schemas[digest] = reduced
        return f"#{digest}"


def surface_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a document: operations, and the schemas that they use."""
    surface = Surface(document)
    operations = surface.operations()
    return {"operations": operations, "schemas": dict(sorted(surface.schemas.items()))}


def write_record(document: dict[str, Any], path: Path = RECORD) -> None:
    """Write the record, one operation or schema a line."""
    surface = surface_of(document)
    parts = []
    for name, members in surface.items():
        lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in members.items())
        parts.append(f'"{name}": {{\n{lines}\n}}')
    path.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    write_record(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
