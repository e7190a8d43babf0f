"""JSON Schema 2020-12 of a project, for OpenAPI and for client-side validation."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from spawn.domain.projects.codes import CODE_FIELDS
from spawn.domain.projects.extensions import EXTENSION_NAME, MAX_COUNT
from spawn.domain.projects.milestones import (
    MAX_EVIDENCE_LENGTH,
    MAX_ID_LENGTH,
    MAX_MILESTONES,
    MAX_TITLE_LENGTH,
    MilestoneKind,
)
from spawn.domain.projects.parties import MAX_NAME, MAX_REGISTRATION, MAX_SPONSORS
from spawn.domain.projects.project import MAX_KEY, MAX_REF_ID
from spawn.domain.schema_version import Column, TypeName, Value
from spawn.domain.schemas.core_columns import READ_ONLY_COLUMNS, SYSTEM_COLUMNS
from spawn.domain.schemas.value_readers import INTEGER_RANGE, max_characters

AMOUNT_PATTERN = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,4})?$"
_UNSIGNED_AMOUNT = AMOUNT_PATTERN.replace("-?", "")
_DECIMAL_PATTERN = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"
_LINE_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_DATE: dict[str, Any] = {"type": "string", "format": "date"}


def build_project_schema(
    core: tuple[Column, ...],
    governed: tuple[Column, ...],
    aliases: Mapping[str, str],
    *,
    for_input: bool,
) -> dict[str, Any]:
    """Build the schema of a project body as accepted, or of a project as served."""
    if for_input:
        columns = (*(c for c in core if c.name not in READ_ONLY_COLUMNS), *governed)
    else:
        identity, version, *times = SYSTEM_COLUMNS
        columns = (identity, version, *core, *governed, *times)
    properties = {c.name: _build_property(c, for_input=for_input) for c in columns}
    properties |= {
        name: _make_nullable(property_schema)
        for name, property_schema in _build_nested_schemas().items()
    }
    if for_input:
        properties |= _build_alias_properties(columns, aliases)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "patternProperties": {f"^{EXTENSION_NAME.pattern}$": {}},
    }
    if for_input:
        schema["required"] = [c.name for c in columns if c.required and c.default is None]
        schema["additionalProperties"] = False
        # A body holds at most every property and the maximum number of extensions.
        schema["maxProperties"] = len(properties) + MAX_COUNT
    else:
        always_present = {c.name for c in columns if c.required or c.default is not None}
        schema["required"] = [
            c.name for c in columns if c.name in always_present or c in SYSTEM_COLUMNS
        ]
    return schema


def build_response_schema(output_schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a project in a response; `fields=` may omit all but id and version."""
    return {**output_schema, "required": ["project_id", "version"]}


def build_patch_schema(input_schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a merge patch: nothing required, no defaults, no status."""
    properties = {
        name: {key: value for key, value in property_schema.items() if key != "default"}
        for name, property_schema in input_schema["properties"].items()
        if name != "status"
    }
    return {**input_schema, "properties": properties, "required": []}


def build_column_schema(column: Column) -> dict[str, Any]:
    """Build the schema of a column's values other than null."""
    property_schema = _TYPE_SCHEMAS[column.type.name] | {}
    if column.type.name is TypeName.STRING and column.enum is None:
        property_schema["maxLength"] = max_characters(column)
    if column.type.name in INTEGER_RANGE:
        property_schema["minimum"], property_schema["maximum"] = INTEGER_RANGE[column.type.name]
    if column.type.name is TypeName.DECIMAL:
        limit = 10 ** ((column.type.precision or 0) - (column.type.scale or 0))
        property_schema["exclusiveMinimum"], property_schema["exclusiveMaximum"] = -limit, limit
    if column.minimum is not None:
        property_schema.pop("exclusiveMinimum", None)
        property_schema["minimum"] = to_json_literal(column.minimum)
    if column.maximum is not None:
        property_schema.pop("exclusiveMaximum", None)
        property_schema["maximum"] = to_json_literal(column.maximum)
    if column.enum is not None:
        property_schema["enum"] = [to_json_literal(member) for member in column.enum]
    if column.pattern is not None:
        body = column.pattern.removeprefix("^").removesuffix("$")
        property_schema["pattern"] = f"^(?:{body})$"
    return property_schema


def _build_property(column: Column, *, for_input: bool) -> dict[str, Any]:
    property_schema = _build_special_schema(column, for_input=for_input) or build_column_schema(
        column
    )
    if not column.required:
        property_schema = _make_nullable(property_schema)
    if column.description:
        property_schema["description"] = column.description
    if column.default is not None and for_input:
        property_schema["default"] = to_json_literal(column.default)
    if column.deprecated:
        property_schema["deprecated"] = True
    if column.semantic:
        property_schema["x-semantic"] = column.semantic
    if column.unit:
        property_schema["x-unit"] = column.unit
    return property_schema


def _build_amount_schema(column: Column, *, for_input: bool) -> dict[str, Any]:
    """Build a schema of decimal strings; accepted input may be a number too."""
    if column.name == "total_amount":
        text = {"type": "string", "pattern": _UNSIGNED_AMOUNT}
        number: dict[str, Any] = {"type": "number", "minimum": 0, "exclusiveMaximum": 10**18}
    else:
        text = {"type": "string", "pattern": _DECIMAL_PATTERN}
        number = build_column_schema(column)
    return {"anyOf": [text, number]} if for_input else text


def _build_special_schema(column: Column, *, for_input: bool) -> dict[str, Any] | None:
    """Build the schema of core and amount columns whose JSON differs from their type."""
    if column.is_amount:
        return _build_amount_schema(column, for_input=for_input)
    if column.name in {"project_name", "sector"}:
        limits = {"minLength": 1, "maxLength": column.type.max_length, "pattern": _LINE_PATTERN}
        return {"type": "string", **limits}
    if code := CODE_FIELDS.get(column.name):
        pattern = code.input_pattern if for_input and code.input_pattern else code.pattern
        return {"type": "string", "pattern": pattern}
    if column.name == "status" and for_input:
        return {"type": "string", "enum": [*map(to_json_literal, column.enum or ()), "ACTIVE"]}
    return None


def _build_alias_properties(
    columns: tuple[Column, ...], aliases: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    by_name = {column.name: column for column in columns}
    schemas: dict[str, dict[str, Any]] = {}
    for alias, name in aliases.items():
        column = by_name.get(name)
        if column is None:
            continue
        property_schema = _make_nullable(build_column_schema(column))
        if alias == "expected_tri":
            property_schema = {"type": ["number", "null"], "minimum": -100}
        schemas[alias] = {**property_schema, "description": f"Alias of {name}.", "deprecated": True}
    return schemas


def _make_nullable(property_schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in property_schema:
        return {**property_schema, "anyOf": [*property_schema["anyOf"], {"type": "null"}]}
    nullable = {**property_schema, "type": [property_schema["type"], "null"]}
    if "enum" in property_schema:
        nullable["enum"] = [*property_schema["enum"], None]
    return nullable


def to_json_literal(value: Value) -> Any:
    """Convert a value to a JSON literal; a whole decimal becomes an integer."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, str) else value


_TYPE_SCHEMAS: dict[TypeName, dict[str, Any]] = {
    TypeName.STRING: {"type": "string"},
    TypeName.INTEGER: {"type": "integer"},
    TypeName.BIGINT: {"type": "integer"},
    TypeName.DECIMAL: {"type": "number"},
    TypeName.DOUBLE: {"type": "number"},
    TypeName.BOOLEAN: {"type": "boolean"},
    TypeName.DATE: _DATE,
    TypeName.TIMESTAMP: {"type": "string", "format": "date-time"},
}


def _build_line_schema(maximum: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": maximum, "pattern": _LINE_PATTERN}


def _build_object_schema(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    optional = {
        name: property_schema if name in required else _make_nullable(property_schema)
        for name, property_schema in properties.items()
    }
    return {
        "type": "object",
        "properties": optional,
        "required": required,
        "additionalProperties": False,
    }


def _build_nested_schemas() -> dict[str, dict[str, Any]]:
    sponsor = {
        "name": _build_line_schema(MAX_NAME),
        "share": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,8})?$"},
    }
    milestone = {
        "milestone_id": _build_line_schema(MAX_ID_LENGTH),
        "title": _build_line_schema(MAX_TITLE_LENGTH),
        "kind": {"type": "string", "enum": [member.value for member in MilestoneKind]},
        "due_date": _DATE,
        "met_on": _DATE,
        "waived_on": _DATE,
        "draw_stop": {"type": "boolean"},
        "evidence": {"type": "string", "maxLength": MAX_EVIDENCE_LENGTH},
    }
    spv = {
        "name": _build_line_schema(MAX_NAME),
        "registration_number": _build_line_schema(MAX_REGISTRATION),
        "country_code": {"type": "string", "pattern": CODE_FIELDS["country_code"].input_pattern},
    }
    reference = {"source": _build_line_schema(MAX_KEY), "id": _build_line_schema(MAX_REF_ID)}
    return {
        "spv": _build_object_schema(spv, ["name"]),
        "sponsors": _build_array_schema(_build_object_schema(sponsor, ["name"]), MAX_SPONSORS),
        "milestones": _build_array_schema(
            _build_object_schema(milestone, ["milestone_id", "title"]), MAX_MILESTONES
        ),
        "external_ref": _build_object_schema(reference, ["source", "id"]),
    }


def _build_array_schema(items: dict[str, Any], maximum: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": maximum}
