"""JSON Schemas of cases and results, out of the structs that they are read into and made from."""

from typing import Any, Final

import msgspec

from spawn.application.analysis.calculation import MAX_CASES
from spawn.domain.struct_reader import MAX_TEXT

Json = dict[str, Any]

_REF: Final = "#/shapes/"
_EXACT: Final[Json] = {
    "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]{1,18}(\.[0-9]{1,40})?$"}]
}
_NAME: Final[Json] = {
    "type": "string",
    "maxLength": MAX_TEXT,
    "description": "A name of the case, given back with its result.",
}
_EXPLAIN: Final[Json] = {
    "type": "boolean",
    "default": False,
    "description": "Add to each headline figure its formula and inputs.",
}


def request_schema(case: type[msgspec.Struct]) -> Json:
    """One case, or several under `cases`."""
    shape = input_schema(case)
    named = {**shape, "properties": {**shape["properties"], "name": _NAME}}
    single = {**named, "properties": {**named["properties"], "explain": _EXPLAIN}}
    several = {
        "type": "object",
        "properties": {
            "cases": {"type": "array", "items": named, "minItems": 1, "maxItems": MAX_CASES},
            "explain": _EXPLAIN,
        },
        "required": ["cases"],
        "additionalProperties": False,
    }
    return {"anyOf": [single, several]}


def answer_schema(result: type[msgspec.Struct]) -> Json:
    """The result of one case, or `results` in the order of the cases."""
    shape = output_schema(result)
    explained = {
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
    properties = {**shape["properties"], "name": {"type": "string"}, "explain": explained}
    one = {**shape, "properties": properties}
    several = {
        "type": "object",
        "properties": {"results": {"type": "array", "items": one}},
        "required": ["results"],
    }
    return {"anyOf": [one, several]}


def input_schema(case: type[msgspec.Struct]) -> Json:
    """What the strict reader takes."""
    shape: Json = _whole(_taken(_inlined(case)))
    return shape


def output_schema(result: type[msgspec.Struct]) -> Json:
    """What is sent: decimals as numbers with exactly their digits."""
    shape: Json = _whole(_sent(_inlined(result)))
    return shape


def _inlined(struct: type[msgspec.Struct]) -> Any:
    (top,), found = msgspec.json.schema_components([struct], ref_template=_REF + "{name}")
    return _resolve(top, found)


def _resolve(node: Any, found: dict[str, Any]) -> Any:
    """The schema with every reference replaced by what it means; the structs do not recur."""
    if isinstance(node, list | tuple):
        return [_resolve(item, found) for item in node]
    if not isinstance(node, dict):
        return node
    resolved = {key: _resolve(value, found) for key, value in node.items() if key != "$ref"}
    if "$ref" in node:
        return _resolve(found[node["$ref"].removeprefix(_REF)], found) | resolved
    return resolved


def _whole(node: Any) -> Any:
    """Descriptions on one line, without the titles that repeat a class's name."""
    if isinstance(node, list):
        return [_whole(item) for item in node]
    if not isinstance(node, dict):
        return node
    shown = {key: _whole(value) for key, value in node.items()}
    if isinstance(shown.get("title"), str):
        del shown["title"]
    if isinstance(shown.get("description"), str):
        shown["description"] = " ".join(shown["description"].split())
    return shown


def _taken(node: Any) -> Any:
    if isinstance(node, list):
        return [_taken(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "decimal":
        return {**_EXACT, **({"default": node["default"]} if "default" in node else {})}
    shown = {key: _taken(value) for key, value in node.items() if key != "uniqueItems"}
    if shown.get("type") == "string" and "format" not in shown:
        shown["maxLength"] = MAX_TEXT
    return shown


def _sent(node: Any) -> Any:
    if isinstance(node, list):
        return [_sent(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "decimal":
        return {"type": "number"}
    return {key: _sent(value) for key, value in node.items() if key != "default"}
