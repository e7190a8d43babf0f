"""Columns and nested fields as properties of the Open Data Contract Standard."""

from typing import Any, Final

from spawn.application.product.snapshot import Json, omit_empty, property_list
from spawn.domain.projects.codes import CODE_FIELDS
from spawn.domain.schema_version import Column, RetiredColumn, TypeName, Value
from spawn.domain.schemas.core_columns import (
    CoreAttributes,
)
from spawn.domain.schemas.json_schema import format_wire_literal
from spawn.domain.schemas.linear_regex import format_ecma_pattern

_LOGICAL_TYPES: Final[dict[TypeName, str]] = {
    TypeName.STRING: "string",
    TypeName.INTEGER: "integer",
    TypeName.BIGINT: "integer",
    TypeName.DECIMAL: "number",
    TypeName.DOUBLE: "number",
    TypeName.BOOLEAN: "boolean",
    TypeName.DATE: "date",
    TypeName.TIMESTAMP: "timestamp",
}
_TYPE_OPTIONS: Final[dict[TypeName, Json]] = {
    TypeName.INTEGER: {"format": "i32"},
    TypeName.BIGINT: {"format": "i64"},
    TypeName.DOUBLE: {"format": "f64"},
    TypeName.TIMESTAMP: {"timezone": False, "defaultTimezone": "Etc/UTC"},
}
_EXAMPLES: Final[dict[str, list[Any]]] = {
    "project_id": ["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"],
    "total_amount": ["125000000.00"],
    **{code.name: [*code.examples] for code in CODE_FIELDS.values()},
    "sector": ["wind", "transport"],
    "maturity_years": [18, 18.5],
    "expected_irr": [0.095],
    "dscr": [1.35],
    "financial_close_date": ["2026-03-31"],
}
_NESTED_DESCRIPTIONS: Final = {
    "spv": "The special-purpose vehicle that borrows.",
    "sponsors": "The equity sponsors; their shares are percentages and add up to 100.",
    "milestones": "Milestones and conditions precedent, in the order given.",
    "external_ref": "The project's key in another system; no two projects share one.",
}


def build_column_property(
    column: Column, physical_type: str | None, attributes: CoreAttributes
) -> Json:
    """Build the property of a column; without a physical type it names none.

    An amount is the text that it is on the wire, so its bounds and members are custom properties:
    tools compare options of a property with the text.
    """
    members = [format_wire_literal(column, value, attributes) for value in column.enum or ()]
    is_amount, is_key = attributes.is_amount(column), column.name == attributes.id_name
    return omit_empty(
        {
            "id": column.name,
            "name": column.name,
            "physicalName": column.name,
            "logicalType": "string" if is_amount else _LOGICAL_TYPES[column.type.name],
            "logicalTypeOptions": _logical_type_options(column, attributes),
            "physicalType": physical_type,
            "description": column.description,
            "required": is_never_null(column, attributes),
            "unique": True if is_key else None,
            "primaryKey": True if is_key else None,
            "primaryKeyPosition": 1 if is_key else None,
            "enum": [] if is_amount else [{"value": value} for value in members],
            "examples": _find_examples(column.name, attributes) or members[:2],
            "synonyms": [
                {"synonym": alias, "description": "Accepted on input.", "status": "active"}
                for alias in column.aliases
            ],
            "deprecated": True if column.deprecated else None,
            "authoritativeDefinitions": [{"type": "ontology", "url": column.semantic}]
            if column.semantic
            else None,
            "customProperties": _custom_properties(column, attributes),
        }
    )


def _find_examples(name: str, attributes: CoreAttributes) -> list[Any]:
    """Return examples of a core column; a column of a schema may have its name in another kind."""
    is_core = name in attributes.by_name or name in attributes.system_names
    return _EXAMPLES.get(name, []) if is_core else []


def build_retired_property(retired: RetiredColumn, physical_type: str | None) -> Json:
    """Build the custom property of a retired column."""
    return omit_empty(
        {
            "name": retired.name,
            "physicalType": physical_type,
            "retiredInVersion": retired.since,
            "acceptedUntil": retired.sunset and retired.sunset.isoformat(),
        }
    )


def build_structural_properties(state_schema: Json, attributes: CoreAttributes) -> list[Json]:
    """Build the properties of nested fields, from the JSON Schema of a served state."""
    properties: list[Json] = []
    for name in (n for n in state_schema["properties"] if n in attributes.nested_names):
        schema = _property_from_schema(name, state_schema["properties"][name], required=False)
        # Tables and files have the nested fields as JSON texts.
        properties.append(
            {**schema, "physicalType": "VARCHAR", "description": _NESTED_DESCRIPTIONS[name]}
        )
    return properties


def is_never_null(column: Column, attributes: CoreAttributes) -> bool:
    """Whether every served state has a value."""
    return attributes.is_always_present(column) or column.name in attributes.system_names


def _logical_type_options(column: Column, attributes: CoreAttributes) -> Json:
    """Return bounds, length and pattern, as far as the standard has options for them."""
    options: Json = {}
    if column.type.name is TypeName.STRING and column.enum is None:
        options["maxLength"] = column.type.max_length
    if column.pattern is not None:
        options["pattern"] = format_ecma_pattern(column.pattern)
    if not _has_custom_bounds(column, attributes):
        options |= _bounds(column, attributes)
    return omit_empty({**options, **_TYPE_OPTIONS.get(column.type.name, {})})


def _has_custom_bounds(column: Column, attributes: CoreAttributes) -> bool:
    """Whether tools cannot compare the bounds: those of texts on the wire."""
    return attributes.is_amount(column) or column.type.name in {TypeName.DATE, TypeName.TIMESTAMP}


def _bounds(column: Column, attributes: CoreAttributes) -> Json:
    bounds = {"minimum": column.minimum, "maximum": column.maximum}
    return {
        name: format_wire_literal(column, bound, attributes)
        for name, bound in bounds.items()
        if bound is not None
    }


def _custom_properties(column: Column, attributes: CoreAttributes) -> list[Json]:
    """Return the attributes that the standard has no field for."""
    is_amount = attributes.is_amount(column)
    read_only_names = attributes.read_only_names | attributes.system_names

    def format_literal(value: Value) -> Any:
        return format_wire_literal(column, value, attributes)

    fields = {
        "unit": column.unit,
        "default": None if column.default is None else format_literal(column.default),
        **(_bounds(column, attributes) if _has_custom_bounds(column, attributes) else {}),
        "allowedValues": list(map(format_literal, column.enum or ())) if is_amount else None,
        "wireType": "decimal string" if is_amount else None,
        "readOnly": True if column.name in read_only_names else None,
        "sunset": column.announced_sunset and column.announced_sunset.isoformat(),
    }
    return property_list(fields)


def _property_from_schema(name: str, schema: Json, *, required: bool) -> Json:
    """Convert a JSON Schema to a property, with its nested ones."""
    result: Json = {
        "name": name,
        "logicalType": _logical_type(schema),
        "required": required,
    }
    if result["logicalType"] == "object":
        result["properties"] = [
            _property_from_schema(member, nested, required=member in schema.get("required", ()))
            for member, nested in schema["properties"].items()
        ]
    elif result["logicalType"] == "array":
        result["items"] = _property_from_schema("item", schema["items"], required=True)
    elif result["logicalType"] == "string":
        # Patterns are only in OpenAPI: engines that test contracts read other regex dialects.
        keys = ("minLength", "maxLength")
        result["logicalTypeOptions"] = omit_empty({key: schema.get(key) for key in keys})
        result["enum"] = [{"value": value} for value in schema.get("enum", ()) if value is not None]
    return omit_empty(result)


def _logical_type(schema: Json) -> str:
    """Return the logical type of a JSON Schema that has one type beside null."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return "date" if schema.get("format") == "date" else str(kinds[0])
