"""Columns and structural fields as properties of the Open Data Contract Standard."""

from typing import Any, Final

from spawn.application.product.snapshot import Json, properties, stated
from spawn.domain.schemas.core_columns import READ_ONLY_COLUMNS, STRUCTURE, SYSTEM_COLUMNS
from spawn.domain.schemas.json_schema import plain
from spawn.domain.schemas.model import Column, ColumnType, RetiredColumn, TypeName

_LOGICAL: Final[dict[TypeName, str]] = {
    TypeName.STRING: "string",
    TypeName.INTEGER: "integer",
    TypeName.BIGINT: "integer",
    TypeName.DECIMAL: "number",
    TypeName.DOUBLE: "number",
    TypeName.BOOLEAN: "boolean",
    TypeName.DATE: "date",
    TypeName.TIMESTAMP: "timestamp",
}
_PHYSICAL: Final[dict[TypeName, str]] = {
    TypeName.STRING: "VARCHAR",
    TypeName.INTEGER: "INTEGER",
    TypeName.BIGINT: "BIGINT",
    TypeName.DOUBLE: "DOUBLE",
    TypeName.BOOLEAN: "BOOLEAN",
    TypeName.DATE: "DATE",
    TypeName.TIMESTAMP: "TIMESTAMP",
}
_FORMATS: Final[dict[TypeName, Json]] = {
    TypeName.INTEGER: {"format": "i32"},
    TypeName.BIGINT: {"format": "i64"},
    TypeName.DOUBLE: {"format": "f64"},
    TypeName.TIMESTAMP: {"timezone": False, "defaultTimezone": "Etc/UTC"},
}
_EXAMPLES: Final[dict[str, list[Any]]] = {
    "project_id": ["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"],
    "total_amount": ["125000000.00"],
    "currency_code": ["EUR", "USD"],
    "country_code": ["ESP", "PRT"],
    "sector": ["wind", "transport"],
    "maturity_years": [18],
    "expected_irr": [0.095],
    "dscr": [1.35],
    "financial_close_date": ["2026-03-31"],
}
_STRUCTURE_TEXTS: Final = {
    "spv": "The special-purpose vehicle that borrows.",
    "sponsors": "The equity sponsors; their shares are percentages and add up to 100.",
    "milestones": "Milestones and conditions precedent, in the order given.",
    "external_ref": "The project's key in another system; no two projects share one.",
}
_NEVER_NULL: Final = frozenset(column.name for column in SYSTEM_COLUMNS)


def physical_type(of: ColumnType) -> str:
    """The SQL type of a column, as the embedded store has it; instants are in UTC."""
    if of.name is TypeName.DECIMAL:
        return f"DECIMAL({of.precision},{of.scale})"
    return _PHYSICAL[of.name]


def column_property(column: Column) -> Json:
    """A column as a property."""
    return stated(
        {
            "id": column.name,
            "name": column.name,
            "physicalName": column.name,
            "logicalType": _LOGICAL[column.type.name],
            "logicalTypeOptions": _options(column),
            "physicalType": physical_type(column.type),
            "description": column.description,
            "required": never_null(column),
            "unique": True if column.name == "project_id" else None,
            "primaryKey": True if column.name == "project_id" else None,
            "primaryKeyPosition": 1 if column.name == "project_id" else None,
            "enum": [{"value": plain(value)} for value in column.enum or ()],
            "examples": _EXAMPLES.get(column.name) or [plain(v) for v in (column.enum or ())[:2]],
            "synonyms": [
                {"synonym": alias, "description": "Accepted on input.", "status": "active"}
                for alias in column.aliases
            ],
            "deprecated": True if column.deprecated else None,
            "authoritativeDefinitions": [{"type": "ontology", "url": column.semantic}]
            if column.semantic
            else None,
            "customProperties": _customs(column),
        }
    )


def retired_property(retired: RetiredColumn) -> Json:
    """A column that went, as a custom property of the dataset."""
    return stated(
        {
            "name": retired.name,
            "physicalType": physical_type(retired.column.type),
            "retiredInVersion": retired.since,
            "acceptedUntil": retired.sunset and retired.sunset.isoformat(),
        }
    )


def structural_properties(served: Json) -> list[Json]:
    """The fields that are objects of their own, from the JSON Schema of a project as served."""
    found: list[Json] = []
    for name in (n for n in served["properties"] if n in STRUCTURE):
        shape = _shaped(name, served["properties"][name], required=False)
        found.append({**shape, "description": _STRUCTURE_TEXTS[name]})
    return found


def never_null(column: Column) -> bool:
    """Whether every project as served has a value: what has a default always has one."""
    return column.required or column.default is not None or column.name in _NEVER_NULL


def _options(column: Column) -> Json:
    """Bounds, length and pattern, as far as the standard has words for them."""
    options: Json = {}
    if column.type.name is TypeName.STRING and column.enum is None:
        options["maxLength"] = column.type.max_length
    if column.pattern is not None:
        options["pattern"] = f"^(?:{column.pattern.removeprefix('^').removesuffix('$')})$"
    if column.minimum is not None:
        options["minimum"] = plain(column.minimum)
    if column.maximum is not None:
        options["maximum"] = plain(column.maximum)
    return stated({**options, **_FORMATS.get(column.type.name, {})})


def _customs(column: Column) -> list[Json]:
    """What the standard has no word for."""
    known = {
        "unit": column.unit,
        "default": None if column.default is None else plain(column.default),
        "wireType": "decimal string" if column.is_amount else None,
        "readOnly": True if column.name in READ_ONLY_COLUMNS | _NEVER_NULL else None,
        "sunset": column.announced_sunset and column.announced_sunset.isoformat(),
    }
    return properties(known)


def _shaped(name: str, shape: Json, *, required: bool) -> Json:
    """A JSON Schema as a property, nested ones included."""
    found: Json = {
        "name": name,
        "logicalType": _kind(shape),
        "physicalType": _nested_type(shape),
        "required": required,
    }
    if found["logicalType"] == "object":
        found["properties"] = [
            _shaped(inner, nested, required=inner in shape.get("required", ()))
            for inner, nested in shape["properties"].items()
        ]
    elif found["logicalType"] == "array":
        found["items"] = _shaped("item", shape["items"], required=True)
    elif found["logicalType"] == "string":
        # Patterns are left to OpenAPI here: the engines that test a contract read other dialects.
        keys = ("minLength", "maxLength")
        found["logicalTypeOptions"] = stated({key: shape.get(key) for key in keys})
        found["enum"] = [{"value": value} for value in shape.get("enum", ()) if value is not None]
    return stated(found)


def _kind(shape: Json) -> str:
    """The logical type of a JSON Schema of one type, null aside."""
    kinds = shape["type"] if isinstance(shape["type"], list) else [shape["type"]]
    return "date" if shape.get("format") == "date" else str(kinds[0])


def _nested_type(shape: Json) -> str:
    """The SQL type of a structural field or a part of it."""
    kind = _kind(shape)
    if kind == "array":
        return f"{_nested_type(shape['items'])}[]"
    if kind == "object":
        parts = (f"{name} {_nested_type(part)}" for name, part in shape["properties"].items())
        return f"STRUCT({', '.join(parts)})"
    return _NESTED[kind]


_NESTED: Final = {"string": "VARCHAR", "date": "DATE", "boolean": "BOOLEAN"}
