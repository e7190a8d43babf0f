"""JSON Schema 2020-12 of a project under a schema, for OpenAPI and whoever validates before."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from spawn.domain.projects.extensions import EXTENSION_NAME, MAX_COUNT
from spawn.domain.projects.milestones import (
    MAX_EVIDENCE,
    MAX_ID,
    MAX_MILESTONES,
    MAX_TITLE,
    MilestoneKind,
)
from spawn.domain.projects.parties import MAX_NAME, MAX_REGISTRATION, MAX_SPONSORS
from spawn.domain.projects.project import MAX_KEY, MAX_REF_ID
from spawn.domain.schemas.core_columns import READ_ONLY_COLUMNS, SYSTEM_COLUMNS
from spawn.domain.schemas.model import Column, TypeName, Value
from spawn.domain.schemas.value_readers import INTEGER_RANGE, longest

AMOUNT_PATTERN = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,4})?$"
_UNSIGNED_AMOUNT = AMOUNT_PATTERN.replace("-?", "")
_DECIMAL_PATTERN = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"
_LINE_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_DATE: dict[str, Any] = {"type": "string", "format": "date"}


def project_json_schema(
    core: tuple[Column, ...],
    governed: tuple[Column, ...],
    aliases: Mapping[str, str],
    *,
    for_input: bool,
) -> dict[str, Any]:
    """The schema of a project body as accepted, or of a project as served."""
    if for_input:
        columns = (*(c for c in core if c.name not in READ_ONLY_COLUMNS), *governed)
    else:
        identity, version, *times = SYSTEM_COLUMNS
        columns = (identity, version, *core, *governed, *times)
    properties = {c.name: _property(c, for_input=for_input) for c in columns}
    properties |= {name: _nullable(shape) for name, shape in _structure().items()}
    if for_input:
        properties |= _alias_properties(columns, aliases)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "patternProperties": {f"^{EXTENSION_NAME.pattern}$": {}},
    }
    if for_input:
        schema["required"] = [c.name for c in columns if c.required and c.default is None]
        schema["additionalProperties"] = False
        # Every property and every extension at once is the most that a body can hold.
        schema["maxProperties"] = len(properties) + MAX_COUNT
    else:
        always = {c.name for c in columns if c.required or c.default is not None}
        schema["required"] = [c.name for c in columns if c.name in always or c in SYSTEM_COLUMNS]
    return schema


def column_json_schema(column: Column) -> dict[str, Any]:
    """The schema of one column's present values."""
    shape = _TYPES[column.type.name] | {}
    if column.type.name is TypeName.STRING and column.enum is None:
        shape["maxLength"] = longest(column)
    if column.type.name in INTEGER_RANGE:
        shape["minimum"], shape["maximum"] = INTEGER_RANGE[column.type.name]
    if column.type.name is TypeName.DECIMAL:
        edge = 10 ** ((column.type.precision or 0) - (column.type.scale or 0))
        shape["exclusiveMinimum"], shape["exclusiveMaximum"] = -edge, edge
    if column.minimum is not None:
        shape.pop("exclusiveMinimum", None)
        shape["minimum"] = plain(column.minimum)
    if column.maximum is not None:
        shape.pop("exclusiveMaximum", None)
        shape["maximum"] = plain(column.maximum)
    if column.enum is not None:
        shape["enum"] = [plain(member) for member in column.enum]
    if column.pattern is not None:
        inner = column.pattern.removeprefix("^").removesuffix("$")
        shape["pattern"] = f"^(?:{inner})$"
    return shape


def _property(column: Column, *, for_input: bool) -> dict[str, Any]:
    shape = _own_shape(column, for_input=for_input) or column_json_schema(column)
    if not column.required:
        shape = _nullable(shape)
    if column.description:
        shape["description"] = column.description
    if column.default is not None and for_input:
        shape["default"] = plain(column.default)
    if column.deprecated:
        shape["deprecated"] = True
    if column.semantic:
        shape["x-semantic"] = column.semantic
    if column.unit:
        shape["x-unit"] = column.unit
    return shape


def _amount_shape(column: Column, *, for_input: bool) -> dict[str, Any]:
    """A decimal string as served; as accepted, a number too."""
    if column.name == "total_amount":
        text = {"type": "string", "pattern": _UNSIGNED_AMOUNT}
        number: dict[str, Any] = {"type": "number", "minimum": 0, "exclusiveMaximum": 10**18}
    else:
        text = {"type": "string", "pattern": _DECIMAL_PATTERN}
        number = column_json_schema(column)
    return {"anyOf": [text, number]} if for_input else text


def _own_shape(column: Column, *, for_input: bool) -> dict[str, Any] | None:
    """The wire shape of columns, core ones and amounts, whose JSON differs from their type."""
    if column.is_amount:
        return _amount_shape(column, for_input=for_input)
    if column.name in {"project_name", "sector"}:
        limits = {"minLength": 1, "maxLength": column.type.max_length, "pattern": _LINE_PATTERN}
        return {"type": "string", **limits}
    if column.name == "currency_code":
        return {"type": "string", "pattern": "^[A-Z]{3}$"}
    if column.name == "country_code":
        return {"type": "string", "pattern": "^[A-Z]{2,3}$" if for_input else "^[A-Z]{3}$"}
    if column.name == "status" and for_input:
        return {"type": "string", "enum": [*map(plain, column.enum or ()), "ACTIVE"]}
    return None


def _alias_properties(
    columns: tuple[Column, ...], aliases: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    by_name = {column.name: column for column in columns}
    shapes: dict[str, dict[str, Any]] = {}
    for alias, name in aliases.items():
        column = by_name.get(name)
        if column is None:
            continue
        shape = _nullable(column_json_schema(column))
        if alias == "expected_tri":
            shape = {"type": ["number", "null"], "minimum": -100}
        shapes[alias] = {**shape, "description": f"Alias of {name}.", "deprecated": True}
    return shapes


def _nullable(shape: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in shape:
        return {**shape, "anyOf": [*shape["anyOf"], {"type": "null"}]}
    nullable = {**shape, "type": [shape["type"], "null"]}
    if "enum" in shape:
        nullable["enum"] = [*shape["enum"], None]
    return nullable


def plain(value: Value) -> Any:
    """A value as JSON carries it; a bound as a number, whole where it is whole."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, str) else value


_TYPES: dict[TypeName, dict[str, Any]] = {
    TypeName.STRING: {"type": "string"},
    TypeName.INTEGER: {"type": "integer"},
    TypeName.BIGINT: {"type": "integer"},
    TypeName.DECIMAL: {"type": "number"},
    TypeName.DOUBLE: {"type": "number"},
    TypeName.BOOLEAN: {"type": "boolean"},
    TypeName.DATE: _DATE,
    TypeName.TIMESTAMP: {"type": "string", "format": "date-time"},
}


def _line(maximum: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": maximum, "pattern": _LINE_PATTERN}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    optional = {
        name: shape if name in required else _nullable(shape) for name, shape in properties.items()
    }
    return {
        "type": "object",
        "properties": optional,
        "required": required,
        "additionalProperties": False,
    }


def _structure() -> dict[str, dict[str, Any]]:
    sponsor = {
        "name": _line(MAX_NAME),
        "share": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,8})?$"},
    }
    milestone = {
        "milestone_id": _line(MAX_ID),
        "title": _line(MAX_TITLE),
        "kind": {"type": "string", "enum": [member.value for member in MilestoneKind]},
        "due_date": _DATE,
        "met_on": _DATE,
        "waived_on": _DATE,
        "draw_stop": {"type": "boolean"},
        "evidence": {"type": "string", "maxLength": MAX_EVIDENCE},
    }
    spv = {
        "name": _line(MAX_NAME),
        "registration_number": _line(MAX_REGISTRATION),
        "country_code": {"type": "string", "pattern": "^[A-Z]{2,3}$"},
    }
    reference = {"source": _line(MAX_KEY), "id": _line(MAX_REF_ID)}
    return {
        "spv": _object(spv, ["name"]),
        "sponsors": _array(_object(sponsor, ["name", "share"]), MAX_SPONSORS),
        "milestones": _array(_object(milestone, ["milestone_id", "title"]), MAX_MILESTONES),
        "external_ref": _object(reference, ["source", "id"]),
    }


def _array(items: dict[str, Any], maximum: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": maximum}
